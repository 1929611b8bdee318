"""Put on PYTHONPATH as `sitecustomize`: a run crashes, with all secrets it knows in its words.

CRASH names the method of a session that does so: `patient`, which every flow calls once it is
connected, or `observe`, which a task calls.
"""

from __future__ import annotations

import base64
import os
import sys
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote


class _Finder:
    """Has the module of sessions changed when it is imported."""

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> Any:
        if name != "vllm_flows.session":
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]  # it has what is asked of it
        spec: Any = find_spec(name)
        execute = spec.loader.exec_module

        def changed(module: Any) -> None:
            execute(module)
            setattr(module.Session, os.environ["CRASH"], _crash)

        spec.loader.exec_module = changed
        return spec


def _crash(session: Any, *_: object) -> None:
    import httpx

    known = [session.token().value, session.api_key().value]
    known.append(session.cluster.api.configuration.api_key["BearerToken"])
    known += [base64.b64encode(f"x{one}".encode()).decode() for one in known]
    text = f"a crash with {known} {[quote(one) for one in known]}"
    request = httpx.Request("GET", "http://hub", headers={"Authorization": known[0]})
    error = httpx.HTTPStatusError(text, request=request, response=httpx.Response(401))
    raise error from ValueError(text)


if os.environ.get("CRASH"):
    sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]  # it has what is asked of it

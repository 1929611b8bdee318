"""Asking a Prefect server as the tests do."""

from __future__ import annotations

import time
from typing import Any

import httpx

_PATIENCE = 120.0
_PAUSE = 0.5


def ask(api: str, path: str, method: str = "POST", **body: object) -> Any:
    """Ask a Prefect API, and again while it says (503) that its SQLite is busy."""
    end = time.monotonic() + _PATIENCE
    while True:
        answer = httpx.request(method, f"{api}/{path}", json=body, trust_env=False, timeout=90)
        busy = answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        if not busy or time.monotonic() > end:
            break
        time.sleep(_PAUSE)
    assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None

"""Models and charts that change, well or badly, and what is seen of it meanwhile."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support import asked_often
from vllm_flows.session import Session
from vllm_flows.settings import load_settings

if TYPE_CHECKING:
    from conftest import Product

REPOSITORY = "microsoft/Phi-4-mini-instruct"
QWEN = "- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n"
DEPLOYMENT = "vllm-phi4-deployment-vllm"
SERVICE = "vllm-phi4-engine-service"


def phi(revision: str = "main", *lines: str) -> str:
    """Return the model's entry of models.yaml."""
    more = "".join(f"  {line.strip()}\n" for line in lines)
    return f"- name: phi4\n  modelURL: {REPOSITORY}\n  revision: {revision}\n{more}"


def commit(product: Product, fault: str | None = None) -> str:
    """Return a new commit of the model, bad in one way or good; `main` is good afterwards."""
    for wanted in dict.fromkeys([fault, None]):
        body = {"repo": REPOSITORY, "kind": "config", "config": {"sandbox_fault": wanted}}
        url = f"{product.sandbox.hub_url}/_sandbox/commit"
        answer = httpx.post(url, json=body, trust_env=False).raise_for_status().json()
        if wanted == fault:
            found = str(answer["sha"])
    return found


def made_chart(folder: Path, version: str, *, bad: bool = False) -> Path:
    """Copy the sandbox's chart; a `bad` one gives engines an option that vLLM does not know."""
    shutil.copytree(Path(__file__).parents[3] / "sandbox" / "chart", folder)
    _replace(folder / "Chart.yaml", "version: 0.1.8", f"version: {version}")
    for kind in ("test", "router"):
        _replace(folder / "values.yaml", f"release: {kind}}}", f"release: {kind}, part-of: stack}}")
    if bad:
        command = '"vllm" "serve" .model.modelURL'
        _replace(folder / "templates/_engine.tpl", command, f'{command} "--no-such-option"')
    return folder


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def session_of(product: Product, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Open a session in this process."""
    for name, value in product.environ.items():
        monkeypatch.setenv(name, value)
    return Session.open(load_settings())


def served(session: Session) -> str:
    """Return the commit of the model that answers now, by its own words."""
    with session.models_api("phi4") as api:
        text = api.complete("phi4", "hi").text
    found = re.search(r"at revision (\w+):", text)
    assert found, text
    return found[1]


def deployed_commit(product: Product) -> str:
    """Return the commit that the model's Deployment names, be it ready or not."""
    (found,) = product.objects("deployments", "model=phi4")
    return str(found["spec"]["template"]["metadata"]["annotations"]["vllm-flows.io/revision"])


@contextmanager
def asked(session: Session) -> Iterator[list[bool]]:
    """Ask the model all the time while the block runs; what was heard is in the list."""
    with (
        session.models_api("phi4") as api,
        asked_often(lambda: api.alive("phi4")) as heard,
    ):
        yield heard


def history(product: Product) -> list[dict[str, Any]]:
    """Return the release's revisions, oldest first."""
    found: list[dict[str, Any]] = json.loads(product.helm("history", "vllm", "-o", "json"))
    return found


def versions(product: Product) -> dict[str, str]:
    """Return the version of every object of the namespace, its leases too."""
    leases = product.objects("leases")
    return product.versions() | {
        f"lease/{item['metadata']['name']}": item["metadata"]["resourceVersion"] for item in leases
    }


def pods_of(product: Product, model: str) -> dict[str, int]:
    """Return the unique ids of a model's pods, each with how often its container restarted."""
    pods = product.objects("pods", f"model={model}")
    return {
        pod["metadata"]["uid"]: pod["status"]["containerStatuses"][0]["restartCount"]
        for pod in pods
    }


def change_port(product: Product) -> None:
    """Change the port of the model's Service, as a person would; helm finds ports by it."""
    port = '[{"op": "replace", "path": "/spec/ports/0/port", "value": 81}]'
    product.kubectl("patch", "service", SERVICE, "--type=json", "-p", port)

"""Asking a Prefect server as the tests do."""

from __future__ import annotations

import time
from typing import Any

import httpx

_PATIENCE = 120.0
_PAUSE = 0.5


def answer(api: str, path: str, method: str = "POST", body: object = None) -> httpx.Response:
    """Ask a Prefect API, and again while it says (503) that its SQLite is busy."""
    end = time.monotonic() + _PATIENCE
    while True:
        heard = httpx.request(method, f"{api}/{path}", json=body, trust_env=False, timeout=90)
        busy = heard.status_code == httpx.codes.SERVICE_UNAVAILABLE
        if not busy or time.monotonic() > end:
            return heard
        time.sleep(_PAUSE)


def send(api: str, path: str, body: object) -> Any:
    """Send a body that need not be an object, as `ask` does."""
    return content(answer(api, path, "POST", body))


def ask(api: str, path: str, method: str = "POST", **body: object) -> Any:
    """Ask as `answer` does, insist on success, and return what came."""
    return content(answer(api, path, method, body))


def content(heard: httpx.Response) -> Any:
    """Insist on success, and return what came."""
    request = heard.request
    assert heard.is_success, f"{request.method} {request.url}: {heard.status_code} {heard.text}"
    return heard.json() if heard.content else None

"""The node agent's connection to the API, against a scripted server."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sandbox.agent.api import Api, ApiError

Answer = tuple[int, list[dict[str, Any]]]


class Script:
    """What the server answers, in order, and what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str, str, str]] = []


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def api(script: Script, tmp_path: Path) -> Iterator[Api]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            kind = self.headers.get("Content-Type", "")
            script.asked.append((self.command, self.path, kind, body))
            status, documents = script.answers.pop(0)
            self.send_response(status)
            self.end_headers()
            for document in documents:
                self.wfile.write(json.dumps(document).encode() + b"\n")

        do_GET = do_POST = answer  # noqa: N815 -- the standard library's names
        do_PATCH = do_DELETE = answer  # noqa: N815 -- likewise

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    kubeconfig = tmp_path / "kubeconfig"
    address = f"http://127.0.0.1:{server.server_address[1]}"
    content = {"clusters": [{"cluster": {"server": address}}], "users": [{"user": {}}]}
    kubeconfig.write_text(json.dumps(content))
    yield Api(kubeconfig)
    server.shutdown()
    server.server_close()


def pod(name: str, version: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": version}}


def test_a_refusal_carries_status_and_message(api: Api, script: Script) -> None:
    script.answers = [(403, [{"message": "pods is forbidden"}])]
    with pytest.raises(ApiError, match=r"^pods is forbidden$") as refused:
        api.get("/api/v1/pods")
    assert refused.value.status == 403


def test_a_server_that_is_away_has_status_0(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    content = {"clusters": [{"cluster": {"server": "http://127.0.0.1:1"}}], "users": [{"user": {}}]}
    kubeconfig.write_text(json.dumps(content))
    with pytest.raises(ApiError) as refused:
        Api(kubeconfig).get("/api/v1/pods")
    assert refused.value.status == 0


def test_a_patch_names_its_kind_and_its_manager(api: Api, script: Script) -> None:
    script.answers = [(200, [{}])]
    api.patch("/api/v1/pods/a", {"x": 1}, "apply")
    method, path, kind, body = script.asked[0]
    assert (method, kind, body) == ("PATCH", "application/apply-patch+yaml", '{"x": 1}')
    assert path == "/api/v1/pods/a?fieldManager=sandbox-node-agent&force=true"


def test_what_is_gone_may_be_deleted(api: Api, script: Script) -> None:
    script.answers = [(404, [{}])]
    api.delete("/api/v1/pods/a", uid="u", grace_seconds=0)
    body = json.loads(script.asked[0][3])
    assert body["preconditions"] == {"uid": "u"}
    assert body["gracePeriodSeconds"] == 0


def test_following_lists_then_watches_and_lists_again_when_the_version_is_too_old(
    api: Api, script: Script
) -> None:
    listing = {"metadata": {"resourceVersion": "5"}, "items": [pod("a", "3")]}
    changed = {"type": "MODIFIED", "object": pod("a", "6")}
    bookmark = {"type": "BOOKMARK", "object": pod("", "8")}
    expired = {"type": "ERROR", "object": {"code": 410, "message": "too old"}}
    script.answers = [
        (200, [listing]),
        (200, [changed, bookmark]),
        (200, [expired]),
        (200, [listing]),
    ]
    events = list(itertools.islice(api.follow("/api/v1/pods", fieldSelector="x!="), 3))
    assert [each.kind for each in events] == ["LISTED", "MODIFIED", "LISTED"]
    assert events[1].objects[0]["metadata"]["resourceVersion"] == "6"
    assert "resourceVersion=5" in script.asked[1][1]
    assert "resourceVersion=8" in script.asked[2][1]
    assert all("fieldSelector=x" in each[1] for each in script.asked)

"""What can become of a repository of the sandbox's Hub, as the real `huggingface_hub` sees it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
import uvicorn
from huggingface_hub import HfApi, WebhookPayload
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from sandbox.hub.access import TOKEN_WITHOUT_GRANT
from sandbox.hub.app import Hub, build_app
from sandbox.hub.repository import Store
from sandbox.hub.samples import SAMPLES

SMALL = "microsoft/Phi-4-mini-instruct"
TAGGED = "Qwen/Qwen3-4B"
TOKEN = "hf_sandbox_test"


@dataclass
class Running:
    """A Hub of one repository, and the client's view of it."""

    url: str

    @property
    def api(self) -> HfApi:
        return HfApi(endpoint=self.url, token=TOKEN)

    def control(self, route: str, **body: object) -> dict[str, object]:
        answer = httpx.post(f"{self.url}/_sandbox/{route}", json=body)
        answer.raise_for_status()
        document: dict[str, object] = answer.json()
        return document

    def commit(self, kind: str) -> str:
        return str(self.control("commit", repo=SMALL, kind=kind)["sha"])

    def files(self, revision: str) -> dict[str, str | None]:
        found = self.api.model_info(SMALL, revision=revision, files_metadata=True).siblings or []
        return {one.rfilename: one.blob_id for one in found}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    small = [replace(one, shards=(1,)) for one in SAMPLES if one.repo_id in {SMALL, TAGGED}]
    hub = Hub(Store(tmp_path, small), TOKEN)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(build_app(hub), log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}")
    server.should_exit = server.force_exit = True  # the client's connections stay open
    thread.join()
    listener.close()


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("docs", {"README.md"}),
        ("license", {"README.md"}),
        ("tokenizer", {"tokenizer_config.json"}),
        ("template", {"tokenizer_config.json"}),
        ("weights", {"model.safetensors"}),
        ("code", {"config.json", "modeling_new.py"}),
        ("pickle", {".gitattributes", "model.safetensors", "pytorch_model.bin"}),
    ],
)
def test_a_commit_changes_what_its_kind_says(running: Running, kind: str, changed: set[str]):
    before = running.files("main")
    after = running.files(running.commit(kind))
    assert {one for one in before | after if before.get(one) != after.get(one)} == changed


def test_a_license_belongs_to_its_commit(running: Running):
    first = running.api.model_info(SMALL)
    running.commit("license")
    licenses = [
        running.api.model_info(SMALL, revision=one).card_data for one in (first.sha, "main")
    ]
    assert [one and one.license for one in licenses] == ["mit", "sandbox-1"]


def test_a_forced_push_takes_a_commit_away_and_the_same_one_can_come_back(running: Running):
    first = running.api.model_info(SMALL).sha
    second = running.commit("weights")
    assert running.commit("reset") == first
    with pytest.raises(RevisionNotFoundError):
        running.api.model_info(SMALL, revision=second)
    assert running.commit("weights") == second


def test_a_hub_can_be_rewound_to_how_it_began(running: Running):
    first = [running.api.model_info(one).sha for one in (SMALL, TAGGED)]
    running.commit("weights")
    running.commit("docs")
    running.control("rewind")
    assert [running.api.model_info(one).sha for one in (SMALL, TAGGED)] == first
    assert running.api.model_info(TAGGED, revision="v1.0").sha != first[1]


def test_an_owner_gates_hides_and_shows_without_a_commit(running: Running):
    before = running.api.model_info(SMALL)
    running.control("repository", repo=SMALL, gated="manual")
    assert running.api.model_info(SMALL).gated == "manual"
    running.control("repository", repo=SMALL, private=True)
    with pytest.raises(RepositoryNotFoundError):
        HfApi(endpoint=running.url, token=TOKEN_WITHOUT_GRANT).model_info(SMALL)
    running.control("behave")
    after = running.api.model_info(SMALL)
    assert (after.sha, after.gated, after.private) == (before.sha, False, False)


def test_who_knows_the_newest_answer_is_told_that_nothing_changed(running: Running):
    url = f"{running.url}/api/models/{SMALL}/revision/main?expand=sha"
    etag = httpx.get(url).headers["ETag"]
    again = httpx.get(url, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    running.commit("docs")
    assert httpx.get(url, headers={"If-None-Match": etag}).status_code == 200


def test_a_commit_is_told_to_the_webhooks_that_watch_it(running: Running):
    heard: list[tuple[str, dict[str, object]]] = []
    arrived = threading.Event()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.headers["X-Webhook-Secret"], json.loads(body)))
            self.send_response(202)
            self.end_headers()
            arrived.set()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its base's name
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/webhook"
    watched = [{"type": "model", "name": SMALL}]
    running.api.create_webhook(url=address, watched=watched, domains=["repo"], secret="told")
    others = [{"type": "org", "name": "others"}]
    running.api.create_webhook(url=address, watched=others, domains=["repo"], secret="not told")
    sha = running.commit("weights")
    assert arrived.wait(10)
    server.shutdown()
    server.server_close()
    thread.join()
    ((secret, document),) = heard
    told = WebhookPayload.model_validate(document)
    assert secret == "told"
    assert [one.newSha for one in told.updatedRefs or []] == [sha]
    assert (told.event.action, told.event.scope, told.repo.name) == (
        "update",
        "repo.content",
        SMALL,
    )

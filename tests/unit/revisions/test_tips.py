"""The question where a revision stands, put to a Hub that answers what a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.support import VirtualClock
from vllm_flows.hub import Hub
from vllm_flows.hub_revisions import Tips
from vllm_flows.revision_memory import Tip

if TYPE_CHECKING:
    from conftest import tracked
else:
    from tests.unit.revisions.conftest import tracked

SHA = "a" * 40
ORG, KEY = tracked(repository="org/name"), "org/name@main"


@dataclass
class ToldHub:
    """A fake: answers everything with the same status, headers and body; notes what was asked."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: object = field(default_factory=lambda: {"_id": "65f0", "id": "org/name", "sha": SHA})
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    clock: VirtualClock = field(default_factory=VirtualClock)
    moved: str = ""

    def tips(self, *before: Tip, quiet_until: float = 0.0) -> Tips:
        hub = Hub(self.url, "hf_token", "this test", clock=self.clock)
        return Tips(hub, dict.fromkeys([KEY], *before) if before else {}, quiet_until, lambda: 1e9)


@pytest.fixture
def told() -> Iterator[ToldHub]:
    told = ToldHub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append((self.path, self.headers["If-None-Match"]))
            renamed = told.moved and told.moved not in self.path
            self.send_response(307 if renamed else told.status)
            if renamed:
                self.send_header("Location", f"/api/models/{told.moved}/revision/main")
            for name, value in told.headers.items():
                self.send_header(name, value)
            data = b"" if renamed or told.status == 304 else json.dumps(told.body).encode()
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its base's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield told
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_answer_is_kept_with_its_etag(told: ToldHub):
    told.headers["ETag"] = 'W/"one"'
    told.body = {"_id": "65f0", "id": "org/name", "sha": SHA, "gated": "auto"}
    tips = told.tips()
    tips.ask([ORG])
    assert tips.found == {KEY: Tip(SHA, 'W/"one"', "auto", "org/name", "65f0")}
    ((path, etag),) = told.asked
    assert path.startswith("/api/models/org/name/revision/main?expand=sha&expand=gated")
    assert etag is None


def test_what_is_known_is_asked_for_by_its_etag(told: ToldHub):
    told.status = 304
    before = Tip(SHA, 'W/"one"')
    tips = told.tips(before)
    tips.ask([ORG])
    assert tips.found == {KEY: before}
    assert told.asked[0][1] == 'W/"one"'


def test_a_branch_with_a_slash_is_one_name(told: ToldHub):
    tips = told.tips()
    tips.ask([tracked(repository="org/name", revision="refs/pr/1")])
    assert told.asked[0][0].startswith("/api/models/org/name/revision/refs%2Fpr%2F1?")


def test_a_renamed_repository_is_followed_and_called_by_its_new_name(told: ToldHub):
    told.moved = "org/new"
    told.body = {"_id": "65f0", "id": "org/new", "sha": SHA}
    tips = told.tips()
    tips.ask([ORG])
    assert tips.found[KEY].name == "org/new"


def test_a_refusal_is_noted_and_asked_once(told: ToldHub):
    told.status, told.headers = 404, {"X-Error-Code": "RevisionNotFound"}
    tips = told.tips(Tip(SHA, "e"))
    tips.ask([ORG])
    assert (tips.found, tips.refused, tips.silence) == ({}, {KEY}, None)
    assert len(told.asked) == 1


def test_a_pause_that_the_hub_asks_for_is_kept_to_and_outlives_the_look(told: ToldHub):
    told.status, told.headers = 429, {"Retry-After": "600"}
    tips = told.tips()
    tips.ask([ORG])
    assert tips.quiet_until == 1e9 + 600
    assert "limits requests" in str(tips.silence)
    assert (len(told.asked), told.clock.slept) == (1, [])
    again = told.tips(quiet_until=tips.quiet_until)
    again.ask([ORG])
    assert (len(told.asked), again.found, again.quiet_until) == (1, {}, 1e9 + 600)
    assert "limits requests" in str(again.silence)
    later = told.tips(quiet_until=1e9 - 1)
    told.status = 200
    later.ask([ORG])
    assert (list(later.found), later.quiet_until) == ([KEY], 0.0)


def test_a_short_pause_is_waited_for(told: ToldHub):
    told.status, told.headers = 429, {"Retry-After": "7"}
    tips = told.tips()
    tips.ask([ORG])
    assert all(slept >= 7 for slept in told.clock.slept)
    assert len(told.asked) == 4


def test_a_hub_that_is_silent_once_is_not_asked_about_all_the_others(told: ToldHub):
    told.status = 503
    tips = told.tips()
    tips.ask([tracked(repository=f"org/name{number}") for number in range(60)])
    assert tips.found == {}
    assert len(told.asked) <= 4 * 16 < 4 * 60
    assert tips.silence


@pytest.mark.parametrize("body", [[], {}, {"sha": 3}, {"sha": "main"}, {"sha": None}, "text"])
def test_what_is_no_hubs_answer_is_silence(told: ToldHub, body: object):
    told.body = body
    tips = told.tips()
    tips.ask([ORG])
    assert tips.found == {}
    assert "does not answer" in str(tips.silence)

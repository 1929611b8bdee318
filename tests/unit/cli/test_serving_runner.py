from __future__ import annotations

import asyncio
from collections.abc import Collection
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import PrefectClient

from cli.serving_runner import asking_once, look

URL = "http://127.0.0.1:1/api"
AT_WORK = uuid4()
REFUSED = httpx.ConnectError("Connection refused")
SILENCE = 0
WELL = 200
RUN = {
    "id": str(AT_WORK),
    "flow_id": str(uuid4()),
    "name": "brave-hare",
    "state": {"type": "CANCELLING"},
}
_ALL = {"health", "flow_runs/filter"}


class Server:
    """A server behind Prefect's own client; what is in `about` answers with `answer`."""

    def __init__(self, answer: int | Exception, *about: str) -> None:
        self.answer = answer
        self.about = about or _ALL
        self.asked: list[str] = []

    def seen(self, at_work: Collection[UUID] = ()) -> tuple[str, list[UUID]]:
        """Look once it has answered before: only such a server is asked again by Prefect."""
        return asyncio.run(self._seen(at_work))

    async def _seen(self, at_work: Collection[UUID]) -> tuple[str, list[UUID]]:
        transport = httpx.MockTransport(lambda _: httpx.Response(WELL, json=True))
        async with PrefectClient(URL, httpx_settings={"transport": transport}) as client:
            assert await client.api_healthcheck() is None
            transport.handler = self._answer
            looking = asyncio.create_task(look(client, at_work), context=asking_once())
            why_not, wanted = await looking
        return why_not, [one.id for one in wanted]

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/")
        if path == "csrf-token":
            return httpx.Response(422, json={"detail": "CSRF protection is disabled."})
        self.asked.append(path)
        answer = self.answer if path in self.about else WELL
        if isinstance(answer, Exception):
            raise answer
        if answer == SILENCE:
            await asyncio.Event().wait()
        # Prefect waits for as long as it is told, also before it gives up.
        return httpx.Response(answer, headers={"Retry-After": "0"}, json=[RUN])


@pytest.mark.parametrize(
    ("answer", "why_not"),
    [
        (200, ""),
        (503, ""),
        (500, ""),
        (401, ""),
        (502, "HTTP 502"),
        (504, "HTTP 504"),
        (REFUSED, "Connection refused"),
        (httpx.ReadTimeout(""), "ReadTimeout"),
    ],
)
def test_a_server_that_answers_is_there_and_is_asked_once(answer: int | Exception, why_not: str):
    server = Server(answer)
    assert server.seen() == (why_not, [])
    assert server.asked == ["health"]


def test_a_server_that_is_silent_is_away(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cli.serving_runner._ANSWER_SECONDS", 0.01)
    assert Server(SILENCE).seen({AT_WORK}) == ("no answer within 0 s", [])


def test_who_is_to_be_cancelled_is_asked_of_a_server_that_is_there():
    server = Server(WELL)
    assert server.seen({AT_WORK}) == ("", [AT_WORK])
    assert server.asked == ["health", "flow_runs/filter"]


def test_nobody_is_cancelled_by_a_server_that_is_away():
    assert Server(REFUSED).seen({AT_WORK}) == ("Connection refused", [])


@pytest.mark.parametrize("answer", [503, 401, REFUSED])
def test_who_is_to_be_cancelled_is_asked_again_later_when_it_is_not_said(answer: int | Exception):
    server = Server(answer, "flow_runs/filter")
    assert server.seen({AT_WORK}) == ("", [])
    assert server.asked == ["health", "flow_runs/filter"]

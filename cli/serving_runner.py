"""Prefect's runner as `vllm-flows serve` needs it: it lives with a server that is away for a while.

Prefect 3.8's own listener for Cancel ends for good when the server is away for half a minute, or
closes the connection in order; and a runner whose server has gone says nothing for twelve minutes.
So the server is asked from here, every few seconds: whether it is there, and whom to cancel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from contextvars import Context, copy_context
from http import HTTPStatus
from typing import Self
from uuid import UUID

from httpx import HTTPError, HTTPStatusError
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.runner import Runner
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from cli.server_presence import Presence

_RUNS_AT_ONCE = 24
"""Each is a process of some 128 MB, also while it waits for the lock."""
_PAUSE_SECONDS = 3.0
_ANSWER_SECONDS = 10.0
_ENDING_SECONDS = 30.0
"""As long as a run has at Cancel."""
_BY_THEMSELVES_SECONDS = 3.0
"""Ctrl-C in a terminal, and most that ends a service, reach runs too: once is enough for them."""
_LAST_WORD_SECONDS = 1.0
_NOBODY_BEHIND = {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}


class ServingRunner(Runner):
    """Takes runs until it is cancelled, and cancels those that people want cancelled.

    `end` is called at SIGTERM. Prefect's own answer to it leaves the loop in the middle, and its
    work unawaited.
    """

    def __init__(self, end: Callable[[], object]) -> None:
        super().__init__(pause_on_shutdown=False, limit=_RUNS_AT_ONCE)
        self._end = end

    def handle_sigterm(self, *_: object, **__: object) -> None:
        """End as by Ctrl-C."""
        self._end()

    async def __aenter__(self) -> Self:
        """Start, and end Prefect's own listener for Cancel, which `watch` stands in for."""
        await super().__aenter__()
        if self._cancelling_observer:
            await self._cancelling_observer.__aexit__(None, None, None)
        return self

    async def end_runs(self, say: Callable[[str], object]) -> None:
        """Take no more runs, and let those at work end in good order, as by SIGTERM.

        They tell the server so themselves. Killed, they would count as at work for nine minutes.
        """
        if not self.started:
            return
        self.stopping = self._scheduled_run_poller.stopping = True
        processes = self._process_manager
        if not (at_work := processes.flow_run_ids()):
            return
        say(f"ending {len(at_work)} at work")
        await self._ended(at_work, _BY_THEMSELVES_SECONDS)
        left = processes.flow_run_ids()
        for handle in filter(None, map(processes.get, left)):
            with suppress(ProcessLookupError):
                handle.graceful_kill()
        await self._ended(left, _ENDING_SECONDS)
        await asyncio.sleep(_LAST_WORD_SECONDS)  # in which Prefect tells of one that did not

    async def _ended(self, runs: Collection[UUID], seconds: float) -> None:
        """Wait for their end, but no longer than that."""
        await asyncio.gather(*(self._process_manager.wait_for_exit(one, seconds) for one in runs))

    async def watch(self, presence: Presence) -> None:
        """Keep asking the server; raises TimedOutError when it is away for too long."""
        once = asking_once()
        async with get_client() as client:
            while True:
                at_work = self._process_manager.flow_run_ids()
                looking = asyncio.create_task(look(client, at_work), context=once)
                why_not, wanted = await looking
                presence.heard(why_not)
                for run in wanted:
                    self._runs_task_group.start_soon(self._cancel_run, run)
                await asyncio.sleep(_PAUSE_SECONDS)


def asking_once() -> Context:
    """Return a context in which Prefect asks once; else it asks for minutes, later and later."""
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        return copy_context()


async def look(client: PrefectClient, at_work: Collection[UUID]) -> tuple[str, list[FlowRun]]:
    """Return why the server does not answer, and which of these runs are to be cancelled.

    "" when it answers, be it that it is busy (503); no runs when it does not say.
    """
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            why_not = _why_not(await client.api_healthcheck())
    except TimeoutError:
        why_not = f"no answer within {_ANSWER_SECONDS:.0f} s"
    if why_not or not at_work:
        return why_not, []
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return "", await client.read_flow_runs(flow_run_filter=_cancelling(at_work))
    except (TimeoutError, HTTPError):
        return "", []


def _why_not(error: Exception | None) -> str:
    if isinstance(error, HTTPStatusError):
        status = error.response.status_code
        return f"HTTP {status}" if status in _NOBODY_BEHIND else ""
    return "" if error is None else str(error) or type(error).__name__


def _cancelling(at_work: Collection[UUID]) -> FlowRunFilter:
    return FlowRunFilter(
        id=FlowRunFilterId(any_=list(at_work)),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING])),
    )

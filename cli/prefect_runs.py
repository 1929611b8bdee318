"""Running a flow in this process, seen in the Prefect UI where there is one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

from cli.bars import Bars, bars
from cli.interrupting import Interruptions
from cli.output import note
from cli.prefect_server import find_server, prepare_environment
from vllm_flows.addresses import passwords_in, without_credentials
from vllm_flows.errors import ConfigurationError, StoppedError, VllmFlowsError

Result = TypeVar("Result")


def run_flow(load: Callable[[], Callable[..., Result]], **parameters: Any) -> Result:  # noqa: ANN401 -- a flow's own
    """Import the flow, run it here and return its result; its errors come through.

    The run is recorded by the Prefect server that is configured; else by the one that
    `vllm-flows serve` keeps on this machine; else by a throw-away one. Ctrl-C or SIGTERM raises
    StoppedError once the flow has come to its end; another Ctrl-C ends the process at once.
    """
    Interruptions().arm()
    prepare_environment()
    find_server()
    return _run(load(), **parameters)


def parameter(variable: str, text: str | None) -> str | None:
    """Return a text as a parameter of a flow, which Prefect stores.

    One with a password in it is left to the environment instead, as this `variable`.
    """
    if text and passwords_in(text):
        os.environ[variable] = text
        return None
    return text


def _run(flow: Callable[..., Result], **parameters: Any) -> Result:  # noqa: ANN401 -- a flow's own
    from prefect.exceptions import TerminationSignal

    try:
        with explained(), bars() as drawn:
            _speak_plainly(drawn)
            return flow(**parameters)
    except (KeyboardInterrupt, TerminationSignal) as error:
        raise StoppedError(
            "interrupted",
            why="what was started in the cluster goes on there",
            next_command="the same command again; it goes on where this one was",
        ) from error


@contextmanager
def explained() -> Iterator[None]:
    """Raise ConfigurationError where Prefect raises that its server does not answer.

    Raises VllmFlowsError when the server refuses: what Prefect says of it holds the whole address.
    """
    from httpx import ConnectError, HTTPStatusError, UnsupportedProtocol

    try:
        yield
    except (ConnectError, UnsupportedProtocol) as error:
        raise _no_server() from error
    except HTTPStatusError as error:
        raise VllmFlowsError(
            f"the Prefect server {_address()} answers with HTTP {error.response.status_code}",
            next_command="vllm-flows doctor",
        ) from error
    except RuntimeError as error:
        if "reach API" in str(error):
            raise _no_server() from error
        raise
    except ExceptionGroup as group:
        # What offers flows to a server gives up after three of its questions, a minute each.
        if group.subgroup(lambda error: "exceeded error threshold" in str(error)):
            raise _no_server() from group
        raise


def _no_server() -> ConfigurationError:
    return ConfigurationError(
        f"the Prefect server {_address()} does not answer",
        next_command="start it (vllm-flows serve), or unset PREFECT_API_URL",
    )


def _address() -> str:
    return without_credentials(os.environ.get("PREFECT_API_URL", "of the active Prefect profile"))


def _speak_plainly(drawn: Bars | None) -> None:
    """Show people what the tasks say, a line each, instead of Prefect's own log.

    Its services for the UI tell of themselves, such as an end with nothing left to send.
    """
    from prefect.logging.handlers import PrefectConsoleHandler

    from tasks.running import listeners

    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, PrefectConsoleHandler):
            root.removeHandler(handler)
    internal = logging.getLogger("prefect._internal")
    if internal.getEffectiveLevel() > logging.DEBUG:
        internal.handlers = [logging.NullHandler()]
    if drawn:
        listeners.append(drawn.move)
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addHandler(_Lines(drawn))


class _Lines(logging.Handler):
    """What is meant for people, as `17:04:05  llama3: ready`; above the bars where there are any.

    What a bar shows is not said as well.
    """

    def __init__(self, drawn: Bars | None) -> None:
        super().__init__()
        self._drawn = drawn

    def emit(self, record: logging.LogRecord) -> None:
        from tasks.running import SHOWN, SPOKEN

        if not getattr(record, SPOKEN, False) or (self._drawn and getattr(record, SHOWN, False)):
            return
        clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        text = f"{clock}  {record.getMessage()}"
        if self._drawn:
            self._drawn.say(text)
        else:
            note(text)

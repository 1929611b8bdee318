"""What all tasks share: how they speak, and when a retry can help.

Tasks that run one at a time have Prefect's timeout. Those submitted to threads cannot be broken
by it (Prefect says so in a warning each time); every request and every wait in them has a limit of
its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect import task as prefect_task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.tasks import exponential_backoff

from vllm_flows.clean_errors import secrets_kept
from vllm_flows.errors import VllmFlowsError
from vllm_flows.transfer import Progress

Given = ParamSpec("Given")
Result = TypeVar("Result")

SPOKEN = "vllm_flows_spoken"
"""The mark on log records meant for people; the command line prints these alone."""
SHOWN = "vllm_flows_shown"
"""The mark on those that a progress bar makes superfluous."""

_HANDFUL = 5

listeners: list[Callable[[Progress], None]] = []
"""Who is told how far transfers are, several times a second: the command line's bars."""


def task(**options: Any) -> Callable[[Callable[Given, Result]], Task[Given, Result]]:  # noqa: ANN401 -- Prefect's
    """Make a Prefect task, with Prefect's options, of a function.

    An error that leaves it shows no secret: Prefect stores its text as the message of the state.
    """

    def made(function: Callable[Given, Result]) -> Task[Given, Result]:
        return prefect_task(**options)(secrets_kept()(function))

    return made


def say(text: str, *, shown: bool = False) -> None:
    """Tell whoever watches, in the Prefect UI and on the command line.

    `shown`: a progress bar, where there is one, says the same.
    """
    get_run_logger().info("%s", text, extra={SPOKEN: True, SHOWN: shown})


def say_few(texts: Sequence[str], many: str) -> None:
    """Say each text; of more than a handful only `many`, which says them all in one."""
    for text in texts if len(texts) <= _HANDFUL else [many]:
        say(text)


def speaker(model: str, *, shown: bool = False) -> Callable[[str], None]:
    """Return a `say` that puts the model's name in front."""
    return lambda text: say(f"{model}: {text}", shown=shown)


def tell(progress: Progress) -> None:
    """Tell the progress to whoever asked for it with `listeners`."""
    for listener in listeners:
        listener(progress)


def a_retry_can_help(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Retry what the error itself calls retryable, and nothing else.

    Prefect passes all three by position.
    """
    del task, run
    result = state.result(raise_on_failure=False)
    return isinstance(result, VllmFlowsError) and result.retryable


RETRIED: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": a_retry_can_help,
}
"""Options of a task that asks an outside system and can ask again."""

ONCE: dict[str, Any] = {"cache_policy": NO_CACHE}
"""Options of a task that waits or writes by itself, with an end of its own."""

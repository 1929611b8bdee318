"""The proof: a completion of each model, through the router, as a user would ask for it."""

from __future__ import annotations

from prefect import task

from tasks.running import ONCE, speaker
from vllm_flows.completions import Answer, ModelsApi, NotYetError
from vllm_flows.errors import CompletionError, TimedOutError
from vllm_flows.names import ROUTER_DEPLOYMENT
from vllm_flows.session import Session
from vllm_flows.sizes import human_seconds
from vllm_flows.waiting import Pending, wait_for

_POLL_SECONDS = 1.0
_PATIENCE_SECONDS = 120.0


@task(task_run_name="ask {model}", **ONCE)
def first_answer(session: Session, model: str) -> Answer:
    """Return the model's first answer; a router that has not met it yet is given two minutes.

    Raises CompletionError when it answers wrongly, TimedOutError when it does not answer.
    """
    say = speaker(model)
    with session.models_api(model) as api:
        answer = wait_for(
            lambda: _ask(api, model),
            seconds=_PATIENCE_SECONDS,
            every=_POLL_SECONDS,
            say=say,
            out_of_time=lambda last: _silent(session, model, last),
            clock=session.clock,
        )
    say(f"answered in {human_seconds(answer.seconds)}: {answer.text.strip()[:60]!r}")
    return answer


def _ask(api: ModelsApi, model: str) -> Answer | Pending:
    try:
        return api.complete(model)
    except NotYetError as error:
        return Pending(f"{error.what}: {error.why}")


def _silent(session: Session, model: str, last: str) -> CompletionError | TimedOutError:
    namespace = session.settings.namespace
    return TimedOutError(
        "no completion came through the router",
        why=last,
        next_command=f"kubectl -n {namespace} logs deployment/{ROUTER_DEPLOYMENT}",
        model=model,
    )

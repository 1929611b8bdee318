"""The proof: each model answers through the router, as users ask it, and at each replica."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from contextvars import copy_context

from prefect import task

from tasks.running import ONCE, speaker
from vllm_flows.completions import Answer, ModelsApi
from vllm_flows.errors import CompletionError
from vllm_flows.model_problems import printable
from vllm_flows.models import Model
from vllm_flows.proof import ask_again, prove_model
from vllm_flows.session import Session
from vllm_flows.sizes import human_seconds

_ASKED_AT_ONCE = 16


@task(task_run_name="ask {model.name}", **ONCE)
def prove(session: Session, model: Model) -> Answer:
    """Return the model's answer once it and each of its replicas answer as they should.

    Raises CompletionError when an answer is wrong, TimedOutError when none came in two minutes.
    """
    return _answer(session, model, None)


@task(name="ask all models", task_run_name="ask all models", **ONCE)
def prove_all(
    session: Session, models: Sequence[Model], proven: Collection[str] = ()
) -> dict[str, Answer]:
    """Return the answers of all models by name, asked at the same time.

    Of those that were `proven` as they are now, one completion is enough, unless it does not come.
    Raises the first of their errors once all were asked.
    """
    with ExitStack() as stack:
        shared = stack.enter_context(session.models_api()) if session.shared_api else None
        pool = stack.enter_context(ThreadPoolExecutor(_ASKED_AT_ONCE))
        asked = {
            model.name: pool.submit(
                copy_context().run, _answer, session, model, shared, short=model.name in proven
            )
            for model in models
        }
    return {name: answer.result() for name, answer in asked.items()}


def _answer(
    session: Session, model: Model, shared: ModelsApi | None, *, short: bool = False
) -> Answer:
    say = speaker(model.name)
    with nullcontext(shared) if shared else session.models_api(model.name) as api:
        answer = _short(api, session, model) if short else None
        answer = answer or prove_model(api, session, model, say=say)
    for text in told(answer):
        say(text)
    return answer


def _short(api: ModelsApi, session: Session, model: Model) -> Answer | None:
    """Ask once; None when that told nothing, and the model has to be proven anew."""
    try:
        return ask_again(api, session, model)
    except CompletionError:
        return None


def told(answer: Answer) -> list[str]:
    """Return the lines that say how a model answered."""
    facts = [f"answered in {human_seconds(answer.seconds)}"]
    if answer.first_token_seconds is not None:
        facts.append(f"first token after {human_seconds(answer.first_token_seconds)}")
    if answer.replicas > 1:
        facts.append(f"all {answer.replicas} replicas")
    return [f"{', '.join(facts)}: {printable(answer.text.strip())!r}", *answer.notes]

"""The proof: each model answers through the router, as users ask it, and at each replica."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from contextvars import copy_context
from typing import TypeVar

from tasks.running import ONCE, say_few, speaker, task
from vllm_flows.completions import Answer, ModelsApi
from vllm_flows.errors import CompletionError, RouterError, VllmFlowsError
from vllm_flows.model_problems import printable
from vllm_flows.models import Model
from vllm_flows.proof import ask_again, prove_model
from vllm_flows.session import Session
from vllm_flows.sizes import human_seconds

Result = TypeVar("Result")
Ask = Callable[[Session, Model, "ModelsApi | None"], Result]
Hear = Callable[[str, "Answer | VllmFlowsError"], None]

_ASKED_AT_ONCE = 8


@task(task_run_name="ask {model.name}", **ONCE)
def prove(session: Session, model: Model) -> Answer:
    """Return the model's answer once it and each of its replicas answer as they should.

    Raises CompletionError when an answer is wrong, TimedOutError when none came in two minutes,
    RouterError when what stands before all models answers nobody or holds another API key.
    """
    return _answer(session, model, None)


@task(name="ask all models", task_run_name="ask all models", **ONCE)
def prove_all(
    session: Session, models: Sequence[Model], proven: Collection[str], hear: Hear
) -> None:
    """Ask all models at the same time; tell `hear` of each model what came of it.

    Of those that were `proven` as they are now, one completion is enough, unless it does not come.
    Raises the first of their errors once all were asked; a RouterError, which is about none of
    them, before any of theirs.
    """
    with ExitStack() as stack:
        shared = stack.enter_context(session.models_api()) if session.shared_api else None
        pool = stack.enter_context(ThreadPoolExecutor(_ASKED_AT_ONCE))

        def start(ask: Ask[Result], model: Model) -> Future[Result]:
            return pool.submit(copy_context().run, ask, session, model, shared)

        short = {one.name: start(_again, one) for one in models if one.name in proven}
        answers = {name: found for name, one in short.items() if (found := one.result())}
        _tell(answers)
        whole = {one.name: start(_answer, one) for one in models if one.name not in answers}
    for name, answer in answers.items():
        hear(name, answer)
    _hear_all(whole, hear)


def _hear_all(asked: Mapping[str, Future[Answer]], hear: Hear) -> None:
    """Tell what came of all; raise the first error."""
    first: VllmFlowsError | None = None
    for name, one in asked.items():
        try:
            hear(name, one.result())
        except RouterError:
            raise  # it is about no model
        except VllmFlowsError as error:
            hear(name, error)
            first = first or error
    if first:
        raise first


def _answer(session: Session, model: Model, shared: ModelsApi | None) -> Answer:
    say = speaker(model.name)
    with nullcontext(shared) if shared else session.models_api(model.name) as api:
        answer = prove_model(api, session, model, say=say)
    for text in told(answer):
        say(text)
    return answer


def _again(session: Session, model: Model, shared: ModelsApi | None) -> Answer | None:
    """Ask once; None when that told nothing, and the model has to be proven anew."""
    with nullcontext(shared) if shared else session.models_api(model.name) as api:
        try:
            return ask_again(api, session, model)
        except CompletionError:
            return None


def _tell(answers: Mapping[str, Answer]) -> None:
    """Say how models answered that are as they were."""
    slowest = max((answer.seconds for answer in answers.values()), default=0.0)
    texts = [f"{name}: {text}" for name, answer in answers.items() for text in told(answer)]
    many = f"{len(answers)} models answered as before, the slowest in {human_seconds(slowest)}"
    say_few(texts, many)


def told(answer: Answer) -> list[str]:
    """Return the lines that say how a model answered."""
    facts = [f"answered in {human_seconds(answer.seconds)}"]
    if answer.first_token_seconds is not None:
        facts.append(f"first token after {human_seconds(answer.first_token_seconds)}")
    if answer.replicas > 1:
        facts.append(f"all {answer.replicas} replicas")
    return [f"{', '.join(facts)}: {printable(answer.text.strip())!r}", *answer.notes]

"""Ask a model again and again while it is replaced, to know how long nobody answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import copy_context

from vllm_flows.completions import ModelsApi
from vllm_flows.errors import VllmFlowsError
from vllm_flows.outage import Heard, Outage
from vllm_flows.session import Session

_EVERY_SECONDS = 0.5


@contextmanager
def measured(session: Session, models: Sequence[str]) -> Iterator[Mapping[str, Outage]]:
    """Yield each model's outage, which grows while the block runs and the model is silent.

    What it does not answer is its silence only where the question can have reached it.
    """
    outages = {model: Outage() for model in models}
    with ExitStack() as stack:
        for model, outage in outages.items():
            stack.enter_context(_asked(session, model, outage))
        yield outages


@contextmanager
def _asked(session: Session, model: str, outage: Outage) -> Iterator[None]:
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            _listen(session, model, outage, done)
            # What is asked before the way is open again tells nothing of the model.
            while not session.way_is_open() and not done.wait(_EVERY_SECONDS):
                pass
        outage.end(session.clock.now())

    # With the run's context: what the session says has to find its run.
    thread = threading.Thread(
        target=copy_context().run, args=(ask,), name=f"outage {model}", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=10.0)


def _listen(session: Session, model: str, outage: Outage, done: threading.Event) -> None:
    """Ask over one connection until the model falls silent, or the block is over."""
    asked = session.clock.now()
    try:
        with session.models_api(model) as api:
            while not done.is_set():
                asked = session.clock.now()
                answers = _asked_twice(session, api, model)
                heard = _heard(session, answered=answers[-1][1])
                outage.hear(asked, heard)
                for seconds, answered in answers if heard is not Heard.NOT_ASKED else ():
                    outage.count(seconds, answered=answered)
                done.wait(_EVERY_SECONDS)
                if heard is not Heard.ANSWER:
                    return
    except VllmFlowsError:
        # Before any question: the key for it has to be read from the cluster.
        outage.hear(asked, Heard.NOT_ASKED)
        done.wait(_EVERY_SECONDS)


def _asked_twice(session: Session, api: ModelsApi, model: str) -> list[tuple[float, bool]]:
    """Ask, and once more without an answer; return the seconds each took, and whether one came.

    Of several pods one may end with the question in its hands; nobody is silent then.
    """
    answers: list[tuple[float, bool]] = []
    while not answers or (len(answers) == 1 and not answers[0][1]):
        begin = session.clock.now()
        answered = api.alive(model)
        answers.append((session.clock.now() - begin, answered))
    return answers


def _heard(session: Session, *, answered: bool) -> Heard:
    if answered:
        return Heard.ANSWER
    return Heard.SILENCE if session.way_is_open() else Heard.NOT_ASKED

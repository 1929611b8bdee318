"""Waiting until models that are deployed are ready and answer, all at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from queue import SimpleQueue

from vllm_flows.cluster import Object
from vllm_flows.completions import Answer, ModelsApi
from vllm_flows.diagnosis_watch import ReadinessWatch
from vllm_flows.errors import NotDeployedError, TimedOutError, VllmFlowsError
from vllm_flows.models import Model, answers_prompts
from vllm_flows.names import ROUTER_DEPLOYMENT, engine_deployment
from vllm_flows.proof import Proof, no_completion
from vllm_flows.readiness import ready_or_why, scaled_to_none, too_late
from vllm_flows.session import Session
from vllm_flows.sizes import human_seconds
from vllm_flows.waiting import Pending, wait_for

_POLL_SECONDS = 1.0

Say = Callable[[str], None]
Outcome = Answer | Exception | None
"""What came of one wait: an answer, none where nothing answers prompts, or what ended it."""


@dataclass(frozen=True)
class Limit:
    """How many seconds a wait may last, and how to set that."""

    seconds: float
    setting: str


def wait_for_models(
    session: Session, models: Sequence[Model], limit: Limit, say: Say
) -> dict[str, Answer | None]:
    """Return each model's answer, None for one that answers no prompts; the router is waited for.

    Raises the first error that ends a wait: NotReadyError or CompletionError when waiting cannot
    help, TimedOutError at the end of the time, NotDeployedError for what is gone.
    """
    news: SimpleQueue[tuple[str, Outcome]] = SimpleQueue()
    deployments = _Deployments(session)
    with ExitStack() as stack:
        stack.callback(session.clock.stop)  # before the way to the API closes
        shared = stack.enter_context(session.models_api()) if session.shared_api else None
        waits = [_Wait(session, model, deployments, shared) for model in models]
        if session.settings.router_enabled and not session.settings.router_url:
            waits.append(_Wait(session, None, deployments, None))
        for one in waits:
            threading.Thread(target=one.run, args=(limit, say, news), daemon=True).start()
        return _collected(news, len(waits))


def _collected(news: SimpleQueue[tuple[str, Outcome]], count: int) -> dict[str, Answer | None]:
    answers: dict[str, Answer | None] = {}
    for _ in range(count):
        subject, outcome = news.get()
        if isinstance(outcome, Exception):
            raise outcome
        answers[subject] = outcome
    answers.pop("router", None)
    return answers


class _Deployments:
    """All Deployments by name, looked at once a second however many ask."""

    def __init__(self, session: Session) -> None:
        self._session, self._lock = session, threading.Lock()
        self._found: Mapping[str, Object] = {}
        self._at = float("-inf")

    def get(self, name: str) -> Object | None:
        """Return the Deployment as it was a moment ago."""
        with self._lock:
            now = self._session.clock.now()
            if now - self._at >= _POLL_SECONDS:
                found = self._session.cluster.find("Deployment")
                self._found = {str(one["metadata"]["name"]): one for one in found}
                self._at = now
            return self._found.get(name)


class _Wait:
    """The wait for one model, without a model for the router."""

    def __init__(
        self,
        session: Session,
        model: Model | None,
        deployments: _Deployments,
        shared: ModelsApi | None,
    ) -> None:
        self._session, self._model, self._shared = session, model, shared
        self._subject = model.name if model else "router"
        self._name = engine_deployment(model.name) if model else ROUTER_DEPLOYMENT
        self._deployments = deployments
        autoscaling = session.settings.autoscaling
        self._watch = ReadinessWatch(session.cluster, session.clock.now, autoscaling=autoscaling)
        self._ready = False

    def run(self, limit: Limit, say: Say, news: SimpleQueue[tuple[str, Outcome]]) -> None:
        """Wait to the end, and put what came of it."""
        outcome: Outcome = RuntimeError(f"the wait for {self._subject} broke off")
        try:
            outcome = self._waited(limit, lambda text: say(self._named(text)))
        except VllmFlowsError as error:
            outcome = error
        finally:  # whatever happened: somebody waits for it
            news.put((self._subject, outcome))

    def _named(self, text: str) -> str:
        return f"{self._subject}: {text}"

    def _waited(self, limit: Limit, say: Say) -> Answer | None:
        with self._proof() as proof:
            answer = wait_for(
                lambda: self._ask(proof, say),
                seconds=limit.seconds,
                every=_POLL_SECONDS,
                say=say,
                out_of_time=lambda said: self._too_late(limit, said, proof),
                clock=self._session.clock,
            )
        if isinstance(answer, Answer):
            say(f"answered in {human_seconds(answer.seconds)}")
            return answer
        return None

    @contextmanager
    def _proof(self) -> Iterator[Proof | None]:
        """Yield what asks the model; None for what answers no prompts."""
        if self._model is None or not answers_prompts(self._model):
            yield None
            return
        way = nullcontext(self._shared) if self._shared else None
        with way or self._session.models_api(self._model.name) as api:
            yield Proof(api, self._session, self._model)

    def _ask(self, proof: Proof | None, say: Say) -> Answer | bool | Pending:
        deployment = self._deployments.get(self._name)
        if deployment is None:
            raise NotDeployedError(
                "is not deployed", next_command="vllm-flows install", model=self._subject
            )
        if proof and deployment["spec"].get("replicas") == 0:
            raise scaled_to_none(self._subject)
        found = ready_or_why(self._subject, deployment, self._watch)
        self._tell(say, ready=found is True)
        if found is True and proof:
            return proof.ask()
        return found

    def _tell(self, say: Say, *, ready: bool) -> None:
        if ready and not self._ready:
            say("ready")
        self._ready = ready

    def _too_late(self, limit: Limit, said: str, proof: Proof | None) -> VllmFlowsError:
        if self._ready and proof:
            late, why = no_completion(proof.session, proof.model, said), proof.unknown()
            if why is None:
                return late
            return TimedOutError(
                late.what, why=why.what, next_command=why.next_command, model=late.model
            )
        lasted = human_seconds(limit.seconds)
        return too_late(self._subject, self._watch, said, lasted, limit.setting)

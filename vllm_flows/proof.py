"""The proof that a model serves: asked as users ask it, and at each of its replicas.

A router hides a rotten replica from whoever asks once: where more than one pod can answer, each
replica is asked by itself too. A pod that ends is one: it may answer in its successor's place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from vllm_flows.addresses import without_credentials
from vllm_flows.completions import (
    Answer,
    BrokenOffError,
    KeyRefusedError,
    ModelsApi,
    NoChatTemplateError,
    NotYetError,
    SilentError,
)
from vllm_flows.errors import NO_ANSWER, CompletionError, RouterError, TimedOutError, VllmFlowsError
from vllm_flows.models import Model
from vllm_flows.names import ROUTER_DEPLOYMENT, engine_deployment
from vllm_flows.refused_key import explained, explaining_refusals
from vllm_flows.replicas import Replica, ready_replicas
from vllm_flows.router_key import MET_SECONDS, LonelyError, is_unknown, why_unknown
from vllm_flows.session import Session
from vllm_flows.waiting import Pending, wait_for

_FEW_TOKENS = 4
"""Enough to be text, for a model that said more before."""
_POLL_SECONDS = 1.0
_PATIENCE_SECONDS = 120.0
_BREAKS = 2
"""So many answers may break off: one does when a member of the API server is replaced."""
_WHY_SECONDS = 10.0
"""How often it is asked why a router does not know a model."""
_PROMPT_SECONDS = 5.0
"""An API server that took longer is no way to hear a model."""


def prove_model(
    api: ModelsApi, session: Session, model: Model, *, say: Callable[[str], None]
) -> Answer:
    """Return the model's answer once it and each of its replicas answer as they should.

    `api` is `session.models_api(model.name)`, or the one that several models share. A router that
    has not met the model yet is given two minutes. Raises CompletionError when an answer is wrong,
    TimedOutError when none came, RouterError when what stands before all models answers nobody or
    holds another API key.
    """
    proof = Proof(api, session, model)
    return wait_for(
        proof.ask,
        seconds=_PATIENCE_SECONDS,
        every=_POLL_SECONDS,
        say=say,
        out_of_time=proof.out_of_time,
        clock=session.clock,
    )


def ask_again(api: ModelsApi, session: Session, model: Model) -> Answer:
    """Return one completion of a model that was proven as it is now, and has not changed since.

    Raises CompletionError when it is wrong, NotYetError when asking again can help.
    """
    test = model.smoke_test
    with explaining_refusals(session), _placed(session, model):
        if test.expect:
            return api.complete(model.name, test.prompt, test.expect)
        return api.complete(model.name, test.prompt, tokens=_FEW_TOKENS)


def examine(api: ModelsApi, model: Model) -> Answer:
    """Ask everything at one address: the list, the key, a completion, a stream."""
    test = model.smoke_test
    api.check_listed(model.name)
    if api.api_key:
        api.check_key_is_wanted(model.name, test.prompt)
    answer = api.complete(model.name, test.prompt, test.expect)
    if test.chat is not False:
        try:
            seconds = api.first_token_seconds(model.name, test.prompt, chat=True)
            return replace(answer, first_token_seconds=seconds)
        except NoChatTemplateError as error:
            if test.chat:
                raise
            answer = replace(
                answer, notes=(f"{error.what}: a streamed completion was read instead",)
            )
    seconds = api.first_token_seconds(model.name, test.prompt, chat=False)
    return replace(answer, first_token_seconds=seconds)


@dataclass
class Proof:
    """What of one model is proven so far; asked again while it is not all.

    `api` is as for `prove_model`. `unheard` is the replica whose own answer did not come, when that
    was the last that was asked for. `why_at` is when to ask why the router does not know a model
    whose replicas all answer.
    """

    api: ModelsApi
    session: Session
    model: Model
    proven: set[str] = field(default_factory=set)
    broken: int = 0
    unheard: str = ""
    why_at: float | None = None

    def ask(self) -> Answer | Pending:
        """Ask for what is not proven yet; raises NotYetError when asking again can help."""
        try:
            return self._ask()
        except BrokenOffError as error:
            self.broken += 1
            if self.broken > _BREAKS:
                raise self._nobody(error.what) or CompletionError(
                    error.what,
                    why=f"{self.broken} times; {error.why}",
                    next_command=error.next_command,
                    model=error.model,
                ) from error
            raise
        except SilentError as error:
            if self._hears():
                raise self._nobody(error.what) or error from None
            return Pending(f"{error.what}; the Kubernetes API was slow too")

    def out_of_time(self, last: str) -> VllmFlowsError:
        """Return what is wrong when no answer came in time."""
        if nobody := self._nobody(last):
            return nobody
        if why := self.unknown():
            return why
        category = NO_ANSWER if self.unheard else ""
        return no_completion(self.session, self.model, last, category)

    def unknown(self) -> VllmFlowsError | None:
        """Return why the router does not know the model, whose replicas answer, if that is so."""
        return None if self.why_at is None else why_unknown(self.session, self.model.name)

    def _nobody(self, last: str) -> RouterError | None:
        """Return that nobody answers for any model, if that is so: this one is not at fault."""
        if not self.session.shared_api or self.api.is_there():
            return None
        settings = self.session.settings
        if settings.router_url:
            address = without_credentials(settings.router_url)
            return RouterError(
                f"nobody answers at {address} (VLLM_ROUTER_URL)",
                why=last,
                next_command=f"curl {address}/v1/models   (or correct VLLM_ROUTER_URL)",
            )
        return RouterError(
            "the router does not answer",
            why=last,
            next_command=f"kubectl -n {settings.namespace} describe deployment {ROUTER_DEPLOYMENT}",
        )

    def _ask(self) -> Answer:
        # Looked up before: what ends meanwhile may have answered.
        alone = self.model.replica_count == 1 and self.session.is_alone(self.model.name)
        try:
            with _placed(self.session, self.model):
                answer = examine(self.api, self.model)
        except NotYetError as error:
            # Where a replica is at fault, that is known now, and not after two minutes.
            self._ask_replicas()
            if found := self._why_unknown(error):
                raise found from error
            raise
        except KeyRefusedError as error:
            raise self._who_refuses(error) from error
        if alone:
            return answer
        return replace(answer, replicas=self._ask_replicas())

    def _who_refuses(self, error: KeyRefusedError) -> VllmFlowsError:
        """Ask each replica whether it is the one; where all take the key, it is the router."""
        try:
            self._ask_replicas()
        except NotYetError:
            return error
        found = explained(self.session, error, router=True)
        if not self.session.shared_api:
            return found
        return RouterError(found.what, why=found.why, next_command=found.next_command)

    def _why_unknown(self, error: NotYetError) -> VllmFlowsError | None:
        """Return why a router that had time to meet the replicas will never know them."""
        if not is_unknown(error):
            self.why_at = None
            return None
        now = self.session.clock.now()
        if self.why_at is None:
            self.why_at = now + MET_SECONDS
        if now < self.why_at:
            return None
        self.why_at = now + _WHY_SECONDS
        found = why_unknown(self.session, self.model.name)
        return None if isinstance(found, LonelyError) else found  # it may meet them yet

    def _ask_replicas(self) -> int:
        """Ask each ready replica that was not asked yet; return how many there are."""
        self.unheard = ""
        replicas = self.session.ready_replicas(self.model.name)
        if not replicas:
            raise NotYetError("no replica is ready", model=self.model.name)
        for replica in replicas:
            if replica.pod in self.proven:
                continue
            self.unheard = replica.pod
            _ask_replica(self.session, self.model, replica, self.api.api_key)
            self.unheard = ""
            self.proven.add(replica.pod)
        return len(replicas)

    def _hears(self) -> bool:
        """Say whether the API server, which carries port-forwards, answers as it should.

        If not, the silence may be its own. Raises ClusterUnavailableError when it does not answer
        at all, for which it is asked again.
        """
        begin = self.session.clock.now()
        self.session.ready_replicas(self.model.name)
        return self.session.clock.now() - begin < _PROMPT_SECONDS


@dataclass
class EarlyProof:
    """Asks each replica of a model as soon as it is ready, to end a change before all are replaced.

    Only a wrong answer counts: one that does not come is left to the proof of the whole. Unless
    `patient`: then whoever does not answer is asked again, and silence is a wrong answer.
    """

    session: Session
    model: Model
    patient: bool = False
    _asked: set[str] = field(default_factory=set)

    def ask(self, pods: Iterable[Mapping[str, Any]]) -> bool:
        """Ask those of these pods that are ready and were not asked yet; say whether all are.

        Raises CompletionError for a wrong answer.
        """
        ready = [one for one in ready_replicas(pods) if one.pod not in self._asked]
        key = self.session.api_key() if ready else None
        for replica in ready:
            if self._answers(replica, key.value if key else None) or not self.patient:
                self._asked.add(replica.pod)
        return all(one.pod in self._asked for one in ready)

    def _answers(self, replica: Replica, key: str | None) -> bool:
        try:
            _ask_replica(self.session, self.model, replica, key)
        except NotYetError:
            return False
        except SilentError:
            if self.patient and self.session.way_is_open():
                raise
            return False
        return True


def _ask_replica(session: Session, model: Model, replica: Replica, api_key: str | None) -> None:
    with _placed(session, model, replica.pod), session.replica_api(replica, api_key) as own:
        examine(own, model)


@contextmanager
def _placed(session: Session, model: Model, pod: str = "") -> Iterator[None]:
    """Say in an error which replica it is about, and where to look."""
    try:
        yield
    except CompletionError as said:
        error = said
        if pod and isinstance(said, KeyRefusedError):
            error = explained(session, said, pod)
        place = pod or f"deployment/{engine_deployment(model.name)}"
        raise type(error)(
            f"replica {pod}: {error.what}" if pod else error.what,
            why=error.why,
            next_command=error.next_command
            or f"kubectl -n {session.settings.namespace} logs {place}",
            model=model.name,
        ) from said


def no_completion(session: Session, model: Model, last: str, category: str = "") -> TimedOutError:
    """Return the error for a model that was ready and did not answer in time."""
    routed = session.settings.router_enabled
    deployment = ROUTER_DEPLOYMENT if routed else engine_deployment(model.name)
    return TimedOutError(
        "no completion came through the router" if routed else "no completion came",
        why=last,
        next_command=f"kubectl -n {session.settings.namespace} logs deployment/{deployment}",
        model=model.name,
        category=category,
    )

"""Asking one model for its health: fixed prompts, several times, at each address it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

from vllm_flows.completion_checks import Stream, check_text
from vllm_flows.completions import (
    KeyRefusedError,
    Limits,
    ModelsApi,
    NoChatTemplateError,
    NotYetError,
    SilentError,
    UnprotectedError,
    UnreachedError,
)
from vllm_flows.errors import VllmFlowsError
from vllm_flows.health_judging import Heard, lost_on_the_way
from vllm_flows.health_lanes import Lanes
from vllm_flows.health_memory import Baseline
from vllm_flows.health_router import Counts
from vllm_flows.health_shapes import JSON_PROMPT, Shape, shape_of
from vllm_flows.health_speed import Speed, best, is_slow
from vllm_flows.models import Model
from vllm_flows.refused_key import explained
from vllm_flows.replicas import Replica
from vllm_flows.session import Session

TEXT, JSON = "text", "json"
"""The names of the fixed prompts: the model's own of models.yaml, and one for JSON."""
_TOKENS = 32
_SAMPLES = 3
_FEW_SAMPLES = 2
_LONG_SECONDS = 10.0
"""A sample that took longer tells enough by itself."""
_AGAIN_SECONDS = (1.0, 3.0, 10.0)
"""A router that has just started meets its engines one after the other."""
_QUIET = (4, 2)
"""So many are asked at once where it is about time alone, the first time and the last."""
_DOUBTED_SECONDS = 0.5
"""A first token that comes later is measured again before others are compared with it."""
_SECOND_OPINION = Limits(connection=5.0, byte=10.0, answer=60.0)
_REPLICAS_AT_ONCE = 8
_WAY_LOST = "the Kubernetes API, through which the way leads, does not answer either"
_ROUTER_LOST = "no connection to the router lasted: a model behind it cannot be the reason"

Way = Callable[[], AbstractContextManager[ModelsApi]]


def hear(api: ModelsApi, model: Model, now: Callable[[], float], samples: int = _SAMPLES) -> Heard:
    """Ask everything at one address; what goes wrong is part of what is returned."""
    found = Heard()
    try:
        found = _sampled(api, model, now, samples)
        if found.error is None and samples == _SAMPLES:
            found = replace(found, shapes={**found.shapes, **_json_shape(api, model)})
        if found.error is None and api.api_key:
            api.check_key_is_wanted(model.name, model.smoke_test.prompt)
    except UnprotectedError:
        return replace(found, open=True)
    except VllmFlowsError as error:
        return replace(found, error=error)
    return found


def _sampled(api: ModelsApi, model: Model, now: Callable[[], float], samples: int) -> Heard:
    """Ask for the same text several times; an error ends it, and keeps what came before."""
    speeds: list[Speed] = []
    shape: Shape | None = None
    error: VllmFlowsError | None = None
    for _ in range(samples):
        begin = now()
        try:
            speed, shape = _sample(api, model, now)
        except VllmFlowsError as failed:
            error = failed
            break
        speeds.append(speed)
        if now() - begin > _LONG_SECONDS:
            break
    return Heard(speed=best(speeds), shapes={TEXT: shape} if shape else {}, error=error)


def _sample(api: ModelsApi, model: Model, now: Callable[[], float]) -> tuple[Speed, Shape]:
    """Read one streamed completion to its end."""
    stream, begin = Stream(model.name), now()
    first: float | None = None
    prompt = model.smoke_test.prompt
    for _ in api.streamed(stream, prompt, chat=False, tokens=_TOKENS, counted=True):
        first = now() if first is None else first
    end = now()
    check_text(stream.text, model.name, model.smoke_test.expect)
    first = end if first is None else first
    tokens = stream.tokens if stream.tokens is not None else stream.pieces
    rate = (tokens - 1) / (end - first) if tokens > 1 and end > first else None
    speed = Speed(first - begin, rate, (end - begin) / max(tokens, 1))
    return speed, shape_of(stream.text, stream.finish_reason)


def _json_shape(api: ModelsApi, model: Model) -> dict[str, Shape]:
    """Ask a chat for JSON; nothing of a model that was not made for chats."""
    if model.smoke_test.chat is False:
        return {}
    stream = Stream(model.name)
    try:
        for _ in api.streamed(stream, JSON_PROMPT, chat=True, tokens=_TOKENS):
            pass
    except NoChatTemplateError:
        return {}
    return {JSON: shape_of(stream.text, stream.finish_reason)}


@dataclass(frozen=True)
class Asked:
    """What came of asking a model: through the router (None where it was not), at its replicas."""

    routed: Heard | None = None
    own: tuple[Heard, ...] = ()

    @property
    def heard(self) -> tuple[Heard, ...]:
        """All of it."""
        return (*self.own, *([self.routed] if self.routed else []))

    @property
    def lost(self) -> bool:
        """Say whether the router brought no answer of replicas that answer."""
        return lost_on_the_way(self.routed, self.own)

    @property
    def unrouted(self) -> bool:
        """Say whether all its replicas answer, and the router knows none of them."""
        if not self.own or not all(heard.well for heard in self.own):
            return False
        return self.routed is None or not (self.routed.well or self.routed.way or self.lost)

    @property
    def answered(self) -> bool:
        """Say whether it answered wherever it was asked."""
        return bool(self.heard) and all(heard.well for heard in self.heard)

    @property
    def refused(self) -> bool:
        """Say whether all its replicas refuse the key."""
        refusals = [isinstance(heard.error, KeyRefusedError) for heard in self.own]
        return bool(refusals) and all(refusals)

    @property
    def waited(self) -> float:
        """How many seconds the questions waited for their turn."""
        first = self.routed.waited if self.routed else 0.0
        return first + max((one.waited for one in self.own), default=0.0)


@dataclass(frozen=True)
class _Case:
    """A model, what its answers are compared with, and whether others are answered meanwhile."""

    model: Model
    baseline: Baseline | None
    busy: bool

    def is_slow(self, heard: Heard) -> bool:
        """Say whether it seems to be slow, or too slow to compare anything with it."""
        if self.baseline is None:
            return (heard.speed.first or 0.0) > _DOUBTED_SECONDS
        return is_slow(self.baseline.speed, heard.speed, busy=self.busy)


@dataclass(frozen=True)
class Asker:
    """Asks models, each from a thread of its own.

    `shared` is the way to all of them, None where each has its own or the router answers nobody
    (`alone`: then the replicas are asked themselves). `counts` tells who is busy.
    """

    session: Session
    shared: ModelsApi | None
    api_key: str | None
    lanes: Lanes
    counts: Counts
    alone: bool = False

    def ask(self, model: Model, replicas: Sequence[Replica], baseline: Baseline | None) -> Asked:
        """Ask a model that has ready replicas; each of several is asked by itself too."""
        busy = any(self.counts.busy(one.host) for one in replicas)
        case = _Case(model, baseline, busy)
        if self.alone:
            return Asked(own=self._each(case, replicas))
        with self.lanes.lane() as waited, self._way(model) as api:
            routed = replace(self._heard(api, case), waited=waited)
        if routed.well and len(replicas) == 1:
            return Asked(self._confirmed(routed, self._own_way(replicas[0]), case))
        own = self._each(case, replicas, again=not routed.well)
        if all(heard.well for heard in own):
            routed = self._explained(routed, router=True)
        # How fast it is, the replicas tell themselves.
        return Asked(replace(routed, speed=Speed()), own)

    @contextmanager
    def _way(self, model: Model) -> Iterator[ModelsApi]:
        """Reach the model as its users do."""
        own = self.session.models_api
        with nullcontext(self.shared) if self.shared else own(model.name) as api:
            yield api

    def _heard(self, api: ModelsApi, case: _Case, samples: int = _SAMPLES) -> Heard:
        """Ask; what may pass is asked again, and the way is looked at."""
        clock = self.session.clock
        found = hear(api, case.model, clock.now, samples)
        for seconds in _AGAIN_SECONDS:
            if isinstance(found.error, UnreachedError):
                self.lanes.narrow()
            elif not isinstance(found.error, NotYetError):
                self.lanes.widen()
                break
            clock.sleep(seconds)
            found = hear(api, case.model, clock.now, samples)
        return replace(found, way=self._lost(found, api), busy=case.busy)

    def _lost(self, heard: Heard, api: ModelsApi) -> str:
        """Say why the way may be at fault for what was not answered; "" when it is not."""
        if not isinstance(heard.error, NotYetError | SilentError):
            return ""
        if not self.session.way_is_open():
            return _WAY_LOST
        unreached = isinstance(heard.error, UnreachedError) or not api.is_there()
        return _ROUTER_LOST if api is self.shared and unreached else ""

    def _each(
        self, case: _Case, replicas: Sequence[Replica], *, again: bool = False
    ) -> tuple[Heard, ...]:
        """Ask each replica, all at the same time; `again`: the model was asked already."""
        if not replicas:
            return ()
        with ThreadPoolExecutor(min(len(replicas), _REPLICAS_AT_ONCE)) as pool:
            return tuple(pool.map(lambda one: self._replica(case, one, again=again), replicas))

    def _replica(self, case: _Case, replica: Replica, *, again: bool) -> Heard:
        way = self._own_way(replica, _SECOND_OPINION if again else None)
        with self.lanes.lane() as waited, way() as api:
            heard = replace(self._heard(api, case), replica=replica.pod, waited=waited)
        heard = self._explained(heard)
        return self._confirmed(heard, way, case)

    def _explained(self, heard: Heard, *, router: bool = False) -> Heard:
        """Say of a key that was refused what helps: what `heard.replica`, or the router, holds."""
        if not isinstance(heard.error, KeyRefusedError):
            return heard
        error = explained(self.session, heard.error, heard.replica, router=router)
        return replace(heard, error=error)

    def _own_way(self, replica: Replica, limits: Limits | None = None) -> Way:
        """Return the way to a replica itself."""

        @contextmanager
        def way() -> Iterator[ModelsApi]:
            with self.session.replica_api(replica, self.api_key) as api:
                yield replace(api, limits=limits) if limits else api

        return way

    def _confirmed(self, heard: Heard, way: Way, case: _Case) -> Heard:
        """Measure again at the replica itself, with few others, what seems to be slow."""
        for quiet in _QUIET:
            if not heard.well or not case.is_slow(heard):
                break
            with self.lanes.lane(quiet) as more, way() as api:
                again = self._heard(api, case, _FEW_SAMPLES)
            # A way that broke tells nothing, and neither does what was measured before.
            broken = bool(again.way) or isinstance(again.error, UnreachedError)
            speed = Speed() if broken else best([heard.speed, again.speed])
            error = None if broken else again.error
            heard = replace(heard, speed=speed, error=error, waited=heard.waited + more)
        return heard

"""A health check of many models at once: who is asked side by side, and what comes of it.

All that takes long runs in threads of its own, so that the whole takes about as long as what takes
longest: each model is asked by its own thread, and the Hub, helm and the volumes beside them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from vllm_flows import health_beside as beside
from vllm_flows.completions import ModelsApi
from vllm_flows.errors import ClusterError, SecretStoreError, VllmFlowsError
from vllm_flows.health import ROUTER, Checked, Finding, Health, Kind, State
from vllm_flows.health_asking import Asker
from vllm_flows.health_beside import BesideTold
from vllm_flows.health_events import key_of
from vllm_flows.health_hub import judge_verdict
from vllm_flows.health_judging import judge_restarts, judge_stray, led_astray, restart_counts
from vllm_flows.health_lanes import Lanes
from vllm_flows.health_looking import Look, look, wanted_replicas
from vllm_flows.health_memory import NOTHING, Memory, remembered
from vllm_flows.health_of_model import OfModel, check_model, memory_of
from vllm_flows.health_router import Counts
from vllm_flows.health_volume_rules import judge_volume
from vllm_flows.models import Model
from vllm_flows.names import some_of
from vllm_flows.replicas import ready_replicas
from vllm_flows.retrying import begun
from vllm_flows.router_key import Stray, stray
from vllm_flows.session import Session

Say = Callable[[str], None]

_AT_ONCE = 24
"""To begin with; see `Lanes`."""
_PATIENCE_SECONDS = 10.0
"""Who keeps silent for longer is waited for beside all others."""
_LONGEST_SECONDS = 600.0
"""For one model: each question in it has a limit of its own, and all of them end before."""
_SAID_EVERY_SECONDS = 5.0
_TRIES = 3


@dataclass(frozen=True)
class Outcome:
    """What a check found, and what is to be remembered of it, by `key_of` of the name."""

    health: Health
    memories: Mapping[str, Memory] = field(default_factory=dict)
    seen: Look = field(default_factory=Look)

    def unwell(self) -> dict[str, Memory]:
        """Return what is remembered of the models that are not green."""
        checked = (one for one in self.health.checked if not one.shared)
        names = [one.name for one in checked if one.state is not State.GREEN]
        return {name: self.memories[name] for name in names if name in self.memories}


def check_health(
    session: Session, models: Sequence[Model], say: Say, *, deep: bool = False
) -> Outcome:
    """Check these models, and what they share; writes nothing that lasts.

    `deep`: all files on the volumes are read. What could not be measured is inconclusive, whoever
    was silent, and no error.
    """
    at, begin = time.time(), session.clock.now()
    try:
        seen = look(session, {model.name: wanted_replicas(model) for model in models})
        found, checked, counted = _checked(session, models, seen, say, deep=deep)
    except (ClusterError, SecretStoreError) as error:
        finding = Finding(Kind.NOT_MEASURED, error.what, error.why, error.next_command)
        blind = tuple(Checked(model.name, (finding,)) for model in models)
        return Outcome(Health(at, session.clock.now() - begin, blind, deep))
    health = Health(at, session.clock.now() - begin, tuple(checked), deep)
    memories = {}
    for one in checked:
        memory = remembered(seen.memories.get(key_of(one.name), NOTHING), one, at)
        if one.name in found:
            memory = memory_of(memory, replace(found[one.name], checked=one), seen, counted)
        elif one.name == ROUTER:
            memory = replace(memory, restarts=restart_counts(seen.router_pods))
        memories[key_of(one.name)] = memory
    return Outcome(health, memories, seen)


def _checked(
    session: Session, models: Sequence[Model], seen: Look, say: Say, *, deep: bool
) -> tuple[dict[str, OfModel], list[Checked], Counts]:
    """Ask everybody; return what each model answered, all that was found, and the counters."""
    others = beside.begin(session, models, seen, deep=deep)
    counted = beside.router_counts(session, seen)
    with _asker(session, counted) as asker:
        router = _judge_router(asker, seen)
        found = _ask_all(asker, models, seen, say)
        listed = _listed(asker.shared)
    # What broke while all were asked is this check's own doing, and is not counted next time.
    counted = beside.router_counts(session, seen)
    told = beside.end(others, seen)
    models_found = [_completed(found[one.name], seen, told, listed) for one in models]
    lost = _judge_way([name for name, one in found.items() if one.asked.lost], len(models))
    if strays := _strays(session, found, seen):
        models_found = [led_astray(one, strays) for one in models_found]
        lost += judge_stray(strays)
    shared = [router.with_more([*told.drifts.get(ROUTER, ()), *lost]), told.release]
    return found, [*models_found, *shared, told.hub.shared, told.volumes.shared], counted


@contextmanager
def _asker(session: Session, counted: Counts) -> Iterator[Asker]:
    """Yield what asks the models; the way to them is shared where there is one."""
    lanes = Lanes(_AT_ONCE, _PATIENCE_SECONDS, session.clock.now)
    key = session.api_key()
    with ExitStack() as stack:
        shared = stack.enter_context(session.models_api()) if session.shared_api else None
        alone = bool(shared and not any(shared.is_there() for _ in range(_TRIES)))
        way = None if alone else shared
        yield Asker(session, way, key.value if key else None, lanes, counted, alone=alone)


def _judge_router(asker: Asker, seen: Look) -> Checked:
    """Judge what stands before all models."""
    memory, status = seen.memories.get(key_of(ROUTER), NOTHING), seen.statuses.get(ROUTER)
    if status and status.diagnosis:
        finding = Finding(Kind.ROUTER_DOWN, status.diagnosis, "", status.next_command)
        return Checked(ROUTER, (finding,))
    if not asker.alone:
        return Checked(ROUTER, tuple(judge_restarts(seen.router_pods, memory)))
    if not asker.session.way_is_open():
        why = "the Kubernetes API, through which the way leads, does not answer"
        return Checked(ROUTER, (Finding(Kind.NOT_MEASURED, "could not be asked", why),))
    if status or asker.session.settings.router_url:
        return Checked(ROUTER, (Finding(Kind.ROUTER_DOWN, "answers nobody"),))
    finding = Finding(Kind.ROUTER_DOWN, "is not deployed", "", "vllm-flows install")
    return Checked(ROUTER, (finding,))


def _judge_way(lost: Sequence[str], count: int) -> list[Finding]:
    """Judge that the router brought no answer of these models, which answer themselves."""
    if not lost:
        return []
    what = f"brought no answer of {len(lost)} of {count} models, which answer themselves"
    return [Finding(Kind.LOST, what, some_of(lost, 5))]


def _strays(session: Session, found: Mapping[str, OfModel], seen: Look) -> Stray | None:
    """Return the routers that keep models from being answered, as far as can be seen.

    What goes to one of several says nothing of the others: each is asked what it lists.
    """
    asked = {name: one.asked for name, one in found.items()}
    unrouted = any(one.unrouted or one.refused for one in asked.values())
    if seen.changing or not (unrouted or len(ready_replicas(seen.router_pods)) > 1):
        return None
    try:
        return stray(session, [name for name, one in asked.items() if one.unrouted or one.answered])
    except VllmFlowsError:
        return None


def _ask_all(asker: Asker, models: Sequence[Model], seen: Look, say: Say) -> dict[str, OfModel]:
    """Check all models at the same time, each in a thread of its own."""
    asked = {model.name: _begun(asker, seen, model) for model in models}
    _follow(asker, asked, say)
    return {name: _found(name, one) for name, one in asked.items()}


def _begun(asker: Asker, seen: Look, model: Model) -> Future[OfModel]:
    return begun(lambda: check_model(asker, seen, model))


def _follow(asker: Asker, asked: Mapping[str, Future[OfModel]], say: Say) -> None:
    """Say how far it is, until all have ended or have had time enough."""
    clock, waiting = asker.session.clock, dict(asked)
    begin = said = clock.now()
    while waiting and clock.now() - begin < _LONGEST_SECONDS:
        wait(waiting.values(), 1.0, "FIRST_COMPLETED")
        for name in [name for name, one in waiting.items() if one.done()]:
            del waiting[name]
            found = _found(name, asked[name]).checked
            if found.state is not State.GREEN:
                # How it is follows from what is learnt beside, too.
                say(f"{name}: {found.findings[0].text}")
        if waiting and clock.now() - said >= _SAID_EVERY_SECONDS:
            said = clock.now()
            say(f"{len(asked) - len(waiting)} of {len(asked)} models asked")


def _found(name: str, asked: Future[OfModel]) -> OfModel:
    """Return what came of a model; what did not end, or the cluster broke off, tells nothing."""
    if not asked.done():
        finding = Finding(Kind.NOT_MEASURED, f"no end within {_LONGEST_SECONDS:.0f} s")
        return OfModel(Checked(name, (finding,)))
    try:
        return asked.result()
    except VllmFlowsError as error:
        finding = Finding(Kind.NOT_MEASURED, error.what, error.why, error.next_command)
        return OfModel(Checked(name, (finding,)))


def _listed(shared: ModelsApi | None) -> set[str] | None:
    """Return what the API lists; None where nobody lists, or it does not answer."""
    if shared is None:
        return None
    try:
        return {card.name for card in shared.listed()}
    except VllmFlowsError:
        return None


def _completed(found: OfModel, seen: Look, told: BesideTold, listed: set[str] | None) -> Checked:
    """Add what was learnt beside the asking."""
    one = found.checked
    more = list(told.drifts.get(one.name, ()))
    volume, verdict = told.volumes.volumes.get(one.name), told.hub.verdicts.get(one.name)
    if volume:
        more += judge_volume(volume, seen.claims[one.name])
    if verdict:
        more += judge_verdict(verdict, one.revision, told.hub.refused.get(one.name, {}))
    # Whoever was asked through the router needs no list.
    if listed is not None and one.ready and one.name not in listed and not found.asked.heard:
        more.append(Finding(Kind.NOT_ROUTED, "GET /v1/models does not list it"))
    return one.with_more(more)

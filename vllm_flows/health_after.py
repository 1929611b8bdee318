"""Whether a model that was just changed answers as well as a check saw it answer before."""

from __future__ import annotations

from collections.abc import Iterable

from vllm_flows import health_beside as beside
from vllm_flows.diagnosis import newest_pods
from vllm_flows.errors import ClusterError, WorseError
from vllm_flows.health import Finding, Kind
from vllm_flows.health_asking import Asked, Asker
from vllm_flows.health_baseline import fitting
from vllm_flows.health_judging import judge_ways
from vllm_flows.health_keeping import keep_baseline
from vllm_flows.health_lanes import Lanes
from vllm_flows.health_looking import Look, look
from vllm_flows.health_memory import NOTHING, Baseline
from vllm_flows.health_speed import Speed, best
from vllm_flows.models import Model
from vllm_flows.names import engine_deployment
from vllm_flows.replicas import ready_replicas
from vllm_flows.session import Session
from vllm_flows.sizes import human_seconds

_WORSE = {Kind.SLOW_START, Kind.SLOW_TOKENS, Kind.RUBBISH}
"""An answer of another form is none of them: other weights may well say it otherwise."""
_REPLICAS_AT_ONCE = 4
_PATIENCE_SECONDS = 10.0


def compared(session: Session, model: Model, before: Iterable[str]) -> str:
    """Ask each ready replica of the newest template; say how it answers beside the baseline.

    `before` are the configurations that served until now: the baseline is of one of them. What was
    measured is the baseline of what serves now. Raises WorseError when an answer is far slower, or
    no text.
    """
    seen = look(session, {model.name: model.replica_count})
    known = seen.memories.get(model.name, NOTHING).baseline
    baseline = next(filter(None, (fitting(known, one) for one in before)), None)
    asked = _asked(session, model, seen, baseline)
    found = judge_ways(None, asked.own, baseline)
    if baseline is None:
        said = "no check measured what served before: there is nothing to compare with"
        return said if found else said + _kept(session, model, seen.digest(model.name), asked)
    worse = [one for one in found if one.kind in _WORSE]
    if worse:
        raise _worse(session, model, worse)
    unclear = [one.text for one in found if one.kind is not Kind.SHAPE]
    if unclear:
        return f"could not be compared with what served before: {'; '.join(unclear)}"
    said = f"no slower than before: {_speeds(_speed(asked), baseline.speed)}"
    return said + _kept(session, model, seen.digest(model.name), asked)


def _asked(session: Session, model: Model, seen: Look, baseline: Baseline | None) -> Asked:
    key = session.api_key()
    asker = Asker(
        session,
        None,
        key.value if key else None,
        Lanes(_REPLICAS_AT_ONCE, _PATIENCE_SECONDS, session.clock.now),
        beside.router_counts(session, seen),
        alone=True,
    )
    deployment = seen.deployments.get(engine_deployment(model.name))
    pods = seen.pods.get(model.name, ())
    newest = newest_pods(deployment, pods) if deployment else pods
    return asker.ask(model, ready_replicas(newest), baseline)


def _kept(session: Session, model: Model, digest: str, asked: Asked) -> str:
    """Keep what was measured for the next check; return what to say when that did not come about.

    The model answers either way, and the next check measures it.
    """
    shapes = {name: shape for one in asked.own for name, shape in one.shapes.items()}
    if not (digest and shapes):
        return ""
    try:
        keep_baseline(session, model.name, Baseline(digest, _speed(asked), shapes))
    except ClusterError as error:
        return f"; what was measured is not remembered: {error.what}"
    return ""


def _speed(asked: Asked) -> Speed:
    return best(one.speed for one in asked.own)


def _worse(session: Session, model: Model, found: list[Finding]) -> WorseError:
    return WorseError(
        f"its answers are worse than before: {'; '.join(one.text for one in found)}",
        next_command=f"kubectl -n {session.settings.namespace} logs "
        f"deployment/{engine_deployment(model.name)}",
        model=model.name,
    )


def _speeds(now: Speed, before: Speed) -> str:
    """Say both speeds, as far as they were measured."""
    parts = []
    if now.first is not None and before.first is not None:
        first, was = human_seconds(now.first), human_seconds(before.first)
        parts.append(f"first token after {first} (was {was})")
    if now.rate and before.rate:
        parts.append(f"{now.rate:.3g} tokens per second (were {before.rate:.3g})")
    return ", ".join(parts) or "too little could be measured"

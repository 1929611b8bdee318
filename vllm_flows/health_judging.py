"""What was seen of one model becomes findings. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vllm_flows.completion_checks import NoTextError, OtherModelError
from vllm_flows.completions import (
    BrokenOffError,
    KeyRefusedError,
    NotYetError,
    SilentError,
    UnprotectedError,
    UnreachedError,
)
from vllm_flows.diagnosis_categories import Diagnosis
from vllm_flows.errors import VllmFlowsError
from vllm_flows.health import OF_THE_KEY, Checked, Finding, Kind
from vllm_flows.health_memory import Baseline, Memory
from vllm_flows.health_shapes import Shape, difference
from vllm_flows.health_speed import Speed, slow_start, slow_tokens
from vllm_flows.refused_key import OtherKeyError
from vllm_flows.router_key import Stray
from vllm_flows.sizes import human_seconds
from vllm_flows.status import Health, Status, next_of

Object = Mapping[str, Any]

_REPLICAS = {
    Health.ABSENT: Kind.NOT_DEPLOYED,
    Health.DOWN: Kind.NO_REPLICA,
    Health.DEGRADED: Kind.REPLICAS,
    Health.UNSETTLED: Kind.CHANGING,
    Health.UNPROVEN: Kind.UNPROVEN,
    Health.AT_REST: Kind.AT_REST,
}
_WORDS = {
    Kind.NOT_DEPLOYED: "is not deployed",
    Kind.NO_REPLICA: "no replica is ready",
    Kind.REPLICAS: "{0.ready} of {0.wanted} replicas are ready",
    Kind.CHANGING: "its replicas are being replaced",
    Kind.AT_REST: "is to have no replica",
}
_KINDS: tuple[tuple[type[VllmFlowsError], Kind], ...] = (
    (SilentError, Kind.SILENT),
    (OtherModelError, Kind.WRONG_MODEL),
    (NoTextError, Kind.EMPTY),
    (UnprotectedError, Kind.KEY_IGNORED),
    (OtherKeyError, Kind.OTHER_KEY),
    (KeyRefusedError, Kind.KEY_REFUSED),
    (NotYetError, Kind.NO_ANSWER),
)


@dataclass(frozen=True)
class Heard:
    """What came of asking a model at one address: through the router, or a `replica` itself.

    `speed` and `shapes` (by the prompt's name) are of what it answered before any `error`. `open`:
    it answered without the API key. `way` says why the way there may be at fault, "" when not.
    `waited` are the seconds until it was its turn.
    """

    replica: str = ""
    speed: Speed = field(default_factory=Speed)
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    error: VllmFlowsError | None = None
    open: bool = False
    busy: bool = False
    way: str = ""
    waited: float = 0.0

    @property
    def well(self) -> bool:
        """Say whether every question was answered."""
        return self.error is None


def judge_replicas(
    status: Status, diagnosis: Diagnosis | None, *, changing: bool = False
) -> list[Finding]:
    """Judge how many replicas are ready; while a run is `changing` them, more may come."""
    kind = _REPLICAS.get(status.health)
    if kind is None or (kind is Kind.UNPROVEN and (changing or not status.diagnosis)):
        return []
    if changing and kind is not Kind.AT_REST:
        return [Finding(Kind.CHANGING, "a run is changing the namespace, and it is not ready")]
    if kind in {Kind.NO_REPLICA, Kind.UNPROVEN} and status.diagnosis:
        return [Finding(kind, status.diagnosis, "", status.next_command)]
    if kind is Kind.REPLICAS and status.diagnosis:  # all are ready; the router has another key
        return [Finding(Kind.CHANGING, status.diagnosis, "", status.next_command)]
    what = _WORDS[kind].format(status)
    if diagnosis is None:
        return [Finding(kind, what)]
    return [Finding(kind, what, diagnosis.summary, next_of(status, diagnosis.next_command))]


def restart_counts(pods: Iterable[Object]) -> dict[str, int]:
    """Return by pod how often its containers were started again."""
    return {
        pod["metadata"]["name"]: sum(
            each.get("restartCount", 0)
            for each in (pod.get("status") or {}).get("containerStatuses") or []
        )
        for pod in pods
    }


def judge_restarts(pods: Sequence[Object], memory: Memory) -> list[Finding]:
    """Judge the restarts since the last check; the first one only counts them."""
    if not memory.at:
        return []
    new = {
        pod: count - memory.restarts.get(pod, 0)
        for pod, count in restart_counts(pods).items()
        if count > memory.restarts.get(pod, 0)
    }
    if not new:
        return []
    times = sum(new.values())
    why = "; ".join(filter(None, (_ended(pod) for pod in pods if pod["metadata"]["name"] in new)))
    what = f"restarted {times} time{'s' if times > 1 else ''} since the last check"
    return [Finding(Kind.RESTARTS, what, why, replica=next(iter(new)) if len(pods) > 1 else "")]


def _ended(pod: Object) -> str:
    """Say how a container of the pod last ended."""
    for status in pod["status"].get("containerStatuses") or []:
        ended = (status.get("lastState") or {}).get("terminated")
        if ended:
            reason = ended.get("reason", "ended")
            return f"{reason}, exit code {ended.get('exitCode')}, at {ended.get('finishedAt')}"
    return ""


def judge_heard(heard: Heard, baseline: Baseline | None) -> list[Finding]:
    """Judge what one address answered."""
    found: list[Finding] = []
    if heard.open:
        found.append(
            Finding(Kind.KEY_IGNORED, "answers without the API key", "", "", heard.replica)
        )
    if heard.error is not None:
        found.append(_failed(heard.error, heard))
    found += _judge_shapes(heard, baseline)
    if baseline is not None:
        found += _judge_speed(heard, baseline)
    return found


def _failed(error: VllmFlowsError, heard: Heard) -> Finding:
    """Say what a question that ended so tells; what the way may have lost tells nothing."""
    if heard.way:
        why = f"{error.what}; {heard.way}"
        return Finding(Kind.NOT_MEASURED, "could not be asked", why, "", heard.replica)
    kind = next((kind for type_, kind in _KINDS if isinstance(error, type_)), Kind.WRONG_ANSWER)
    return Finding(kind, error.what, error.why, error.next_command, heard.replica)


def _judge_shapes(heard: Heard, baseline: Baseline | None) -> list[Finding]:
    for name, shape in heard.shapes.items():
        before = baseline.shapes.get(name) if baseline else None
        if shape.rubbish and not (before and before.rubbish):
            what = f"the answer to the fixed prompt {name!r} is no text"
            why = f"{shape.length} characters, {shape.variety} different, {shape.junk} of no text"
            return [Finding(Kind.RUBBISH, what, why, replica=heard.replica)]
        changed = difference(before, shape) if before else ""
        if changed:
            what = f"the answer to the fixed prompt {name!r} is not as it was"
            return [Finding(Kind.SHAPE, what, changed, replica=heard.replica)]
    return []


def _judge_speed(heard: Heard, baseline: Baseline) -> list[Finding]:
    before, now, found = baseline.speed, heard.speed, []
    if slow_start(before, now, busy=heard.busy):
        what = (
            f"first token after {human_seconds(now.first or 0)}, "
            f"and before it was {human_seconds(before.first or 0)}"
        )
        found.append(Finding(Kind.SLOW_START, what, replica=heard.replica))
    if slow_tokens(before, now, busy=heard.busy):
        what = f"{now.rate or 0:.3g} tokens per second, and before it was {before.rate or 0:.3g}"
        found.append(Finding(Kind.SLOW_TOKENS, what, replica=heard.replica))
    return found


def lost_on_the_way(routed: Heard | None, own: Sequence[Heard]) -> bool:
    """Say whether the router brought no answer, and not even a refusal, where all replicas answer.

    That is the router's fault, or its way's: who refuses tells why it knows no such model.
    """
    if routed is None or routed.error is None or not own:
        return False
    broke = isinstance(routed.error, SilentError | UnreachedError | BrokenOffError)
    return broke and all(heard.well for heard in own)


def judge_ways(
    routed: Heard | None, own: Sequence[Heard], baseline: Baseline | None
) -> list[Finding]:
    """Judge a model asked through the router and at its replicas.

    What its replicas answer well and the router does not bring is the way's fault, not theirs.
    """
    found = [finding for heard in own for finding in judge_heard(heard, baseline)]
    if routed is None or (routed.way and own) or lost_on_the_way(routed, own):
        return found
    if routed.well or not own or not all(heard.well for heard in own):
        mine = judge_heard(routed, baseline)
        return found + [one for one in mine if not _told(one, found)]
    error = routed.error
    what, why = (error.what, error.why) if error else ("", "")
    helps = error.next_command if isinstance(error, KeyRefusedError) else ""
    return [*found, Finding(Kind.NOT_ROUTED, f"through the router: {what}", why, helps)]


def judge_stray(found: Stray) -> list[Finding]:
    """Judge routers that keep models from being answered, each by itself.

    One that holds another key is to be replaced; one that knows no engine is left to people.
    """
    if not (found.pods or found.lonely):
        return [_of_router(Kind.KEY_REFUSED, found)]
    others = [_of_router(Kind.OTHER_KEY, Stray(found.namespace, (pod,)), pod) for pod in found.pods]
    lonely = [Stray(found.namespace, lonely=(pod,)) for pod in found.lonely]
    return others + [_of_router(Kind.NOT_ROUTED, one, *one.lonely) for one in lonely]


def _of_router(kind: Kind, found: Stray, pod: str = "") -> Finding:
    error = found.error()
    return Finding(kind, error.what, error.why, error.next_command, pod)


def led_astray(one: Checked, found: Stray) -> Checked:
    """Say of a model that the router does not lead to why that is."""
    error = found.error()
    findings = (
        replace(each, why=f"{error.what}; {each.why}", next_command=error.next_command)
        if each.kind is Kind.NOT_ROUTED
        else each
        for each in one.findings
    )
    return replace(one, findings=tuple(findings))


def _told(finding: Finding, found: Iterable[Finding]) -> bool:
    """Say whether a replica told the same: then its name is there too."""
    same = OF_THE_KEY if finding.kind in OF_THE_KEY else {finding.kind}
    return any(one.kind in same for one in found)

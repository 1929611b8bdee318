"""The health of one model: what its pods and its answers tell, and what to remember of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vllm_flows.claims import is_unproven
from vllm_flows.health import Checked, Finding, Kind
from vllm_flows.health_asking import TEXT, Asked, Asker
from vllm_flows.health_baseline import fitting, renewed
from vllm_flows.health_judging import (
    judge_replicas,
    judge_restarts,
    judge_ways,
    restart_counts,
)
from vllm_flows.health_looking import Look, is_listed, wanted_replicas, why_not_ready
from vllm_flows.health_memory import NOTHING, Memory
from vllm_flows.health_router import Counts, judge_errors
from vllm_flows.health_speed import best
from vllm_flows.models import Model, answers_prompts
from vllm_flows.status import ASKS, Health


@dataclass(frozen=True)
class OfModel:
    """What was found of a model, and what it answered."""

    checked: Checked
    asked: Asked = field(default_factory=Asked)


def check_model(asker: Asker, seen: Look, model: Model) -> OfModel:
    """Check one model; takes as long as its slowest answer. Raises what the cluster raises."""
    session, name = asker.session, model.name
    begin = session.clock.now()
    status, memory = seen.statuses[name], seen.memories.get(name, NOTHING)
    why = why_not_ready(session, seen, name)
    findings = judge_replicas(status, why, changing=seen.changing)
    findings += _left_half_way(seen, model)
    findings += judge_restarts(seen.pods.get(name, ()), memory)
    findings += judge_errors(name, asker.counts, memory)
    asked, replicas = Asked(), seen.replicas(name)
    if replicas and answers_prompts(model):
        baseline = fitting(memory.baseline, seen.digest(name))
        asked = asker.ask(model, replicas, baseline)
        findings += judge_ways(asked.routed, asked.own, baseline)
    deployed = seen.deployed.get(name)
    speed = best(heard.speed for heard in asked.heard)
    checked = Checked(
        name,
        ready=status.ready,
        wanted=status.wanted or wanted_replicas(model),
        first_token_seconds=speed.first,
        tokens_per_second=speed.rate,
        seconds=session.clock.now() - begin - asked.waited,
        digest=seen.digest(name),
        revision=deployed.revision if deployed else "",
    )
    return OfModel(checked.with_more(findings), asked)


def _left_half_way(seen: Look, model: Model) -> list[Finding]:
    """Judge what a run began to bring and left: while old and new are there, the status does not.

    Where a run is at work it is yet to ask; what models.yaml does not have no update asks, nor what
    has a status that says what else comes first.
    """
    deployed, claim = seen.deployed.get(model.name), seen.claims.get(model.name)
    status = seen.statuses[model.name]
    is_left = status.health is Health.UNSETTLED and not (seen.changing or status.next_command)
    if not (is_left and is_listed(model) and deployed and claim):
        return []
    if not is_unproven(model, deployed, claim):
        return []
    what = "what its rollout brings was not seen to answer"
    return [Finding(Kind.UNPROVEN, what, "", ASKS.format(model=model.name))]


def memory_of(memory: Memory, found: OfModel, seen: Look, counted: Counts) -> Memory:
    """Return what is to be remembered of a model; of what could not be counted what was before.

    While a run changes the namespace no answers are: it has yet to compare them with those before.
    """
    checked, heard = found.checked, found.asked.heard
    shapes = {name: shape for one in heard for name, shape in one.shapes.items()}
    baseline = memory.baseline
    if TEXT in shapes and not seen.changing:
        speed = best(one.speed for one in heard)
        baseline = renewed(baseline, checked.digest, speed, shapes, checked.findings)
    told, name = counted.told, checked.name
    return replace(
        memory,
        baseline=baseline,
        restarts=restart_counts(seen.pods.get(name, ())),
        errors=counted.errors.get(name, 0) if told else memory.errors,
        requests=counted.requests.get(name, 0) if told else memory.requests,
    )

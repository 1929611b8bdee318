"""When a model's answers become what later ones are compared with. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from vllm_flows.health import Finding, Kind, State
from vllm_flows.health_memory import Baseline
from vllm_flows.health_shapes import Shape
from vllm_flows.health_speed import Speed, best

_OF_ANSWERS = {
    *(Kind.SHAPE, Kind.SLOW_START, Kind.SLOW_TOKENS, Kind.RUBBISH, Kind.EMPTY, Kind.SILENT),
    *(Kind.WRONG_ANSWER, Kind.WRONG_MODEL, Kind.NO_ANSWER, Kind.NOT_ROUTED),
}

_UNSETTLED = {Kind.CHANGING, Kind.REPLICAS, Kind.UNPROVEN}


def fitting(baseline: Baseline | None, digest: str) -> Baseline | None:
    """Return the baseline if it is of this configuration."""
    return baseline if baseline and baseline.digest == digest else None


def renewed(
    before: Baseline | None,
    digest: str,
    speed: Speed,
    shapes: Mapping[str, Shape],
    findings: Collection[Finding],
) -> Baseline | None:
    """Return the baseline after a check.

    A configuration that is new gets one as soon as it answers well and all its replicas are there;
    one that an interrupted run left is to be compared with the one before first.
    Later only what was faster replaces it: what gets slower night by night is to be seen.
    """
    known = fitting(before, digest)
    if any(one.kind in _OF_ANSWERS for one in findings):
        return before
    if known is None:
        well = all(one.state is not State.DOWN for one in findings) and shapes
        unsettled = any(one.kind in _UNSETTLED for one in findings)
        return Baseline(digest, speed, shapes) if well and not unsettled else before
    return Baseline(digest, best([known.speed, speed]), {**shapes, **known.shapes})

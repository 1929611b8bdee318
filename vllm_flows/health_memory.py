"""What a health check remembers for the next one, in the ConfigMap `vllm-flows-health`. Pure.

One entry for each model, and one for the runs themselves. What is not of the shape written here is
as if it were not there. All of it is bounded: 500 models stay below the mebibyte of a ConfigMap.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vllm_flows.health import Checked, Health, State
from vllm_flows.health_shapes import Shape, shape_from
from vllm_flows.health_speed import Speed
from vllm_flows.observed import MANAGED_BY

Object = Mapping[str, Any]

CONFIG_MAP = "vllm-flows-health"
RUNS = "_runs"
"""The entry of the runs; no model's name has a `_`."""
_MOST_BYTES = 1900
"""Of one model's entry."""
_KEPT_RUNS = 60
_KEPT_CHECKS = 14
_KEPT_REPAIRS = 8
_KEPT_PODS = 8
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Baseline:
    """How a model answered when it was well, with the configuration of this digest.

    `shapes` are those of its answers, by the prompt's name.
    """

    digest: str
    speed: Speed
    shapes: Mapping[str, Shape] = field(default_factory=dict)


@dataclass(frozen=True)
class Memory:
    """What is remembered of one model; times in seconds since the epoch, 0 for never.

    `told` is the state of the last event, which no check but the flow's sends. `restarts` are
    counts by pod; `errors` and `requests` the router's counters, None before they were read.
    `checks` are the last ones: when, state, first token, tokens per second. `repairs`: when, what.
    """

    state: str = ""
    since: float = 0.0
    at: float = 0.0
    told: str = ""
    baseline: Baseline | None = None
    restarts: Mapping[str, int] = field(default_factory=dict)
    errors: int | None = None
    requests: int | None = None
    checks: tuple[tuple[float, str, float | None, float | None], ...] = ()
    repairs: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Run:
    """How many models were in which state at one check of all of them."""

    at: float
    counts: Mapping[State, int]


NOTHING = Memory()


def memories(config_map: Object | None) -> dict[str, Memory]:
    """Read what is remembered, by model."""
    data = (config_map or {}).get("data") or {}
    found = {name: _memory(text) for name, text in data.items() if name != RUNS}
    return {name: one for name, one in found.items() if one}


def runs(config_map: Object | None) -> list[Run]:
    """Read the runs, the oldest first."""
    text = ((config_map or {}).get("data") or {}).get(RUNS, "[]")
    try:
        rows = json.loads(text)
        return [
            Run(float(at), dict(zip(State, map(int, counts), strict=True))) for at, *counts in rows
        ]
    except _UNREADABLE:
        return []


def remembered(memory: Memory, checked: Checked, at: float) -> Memory:
    """Return the memory with the outcome of a check."""
    state = str(checked.state)
    check = (at, state, checked.first_token_seconds, checked.tokens_per_second)
    return replace(
        memory,
        state=state,
        since=memory.since if memory.state == state else at,
        at=at,
        checks=(*memory.checks, check)[-_KEPT_CHECKS:],
    )


def runs_with(before: Sequence[Run], health: Health | None) -> list[Run]:
    """Return the runs with this one as the last; None for a check of some models alone."""
    this = [Run(health.at, health.counts())] if health else []
    return [*before, *this][-_KEPT_RUNS:]


def to_write(
    memories: Mapping[str, Memory],
    gone: Iterable[str],
    before: Sequence[Run],
    health: Health | None,
) -> dict[str, str | None]:
    """Return the entries to be merged into the ConfigMap's data, None for what is to go.

    `health` is that of a check of all models, which is a run of its own; None for one of some.
    """
    entries: dict[str, str | None] = {name: _text(one) for name, one in memories.items()}
    entries |= dict.fromkeys(gone)
    if health is not None:
        rows = runs_with(before, health)
        entries[RUNS] = json.dumps([[round(row.at), *row.counts.values()] for row in rows])
    return entries


def config_map(data: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the ConfigMap as the first check makes it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "labels": dict(MANAGED_BY)},
        "data": {key: text for key, text in data.items() if text is not None},
    }


def _text(memory: Memory) -> str:
    """Write a model's entry; of one that is too long the older checks go."""
    text = json.dumps(_data(memory), separators=(",", ":"))
    if len(text) > _MOST_BYTES and memory.checks:
        return _text(replace(memory, checks=memory.checks[len(memory.checks) // 2 + 1 :]))
    return text


def _data(memory: Memory) -> dict[str, Any]:
    often = sorted(memory.restarts.items(), key=lambda one: one[1], reverse=True)
    pods = [one for one in often if one[1]][:_KEPT_PODS]
    return {
        "state": memory.state,
        "since": round(memory.since),
        "at": round(memory.at),
        "told": memory.told,
        "baseline": _baseline_data(memory.baseline),
        "restarts": dict(pods),
        "errors": memory.errors,
        "requests": memory.requests,
        "checks": [
            [round(at), state, _short(first), _short(rate)]
            for at, state, first, rate in memory.checks
        ],
        "repairs": [[round(at), what] for at, what in memory.repairs[-_KEPT_REPAIRS:]],
    }


def _baseline_data(baseline: Baseline | None) -> dict[str, Any] | None:
    if baseline is None:
        return None
    return {
        "digest": baseline.digest,
        "first": _short(baseline.speed.first),
        "rate": _short(baseline.speed.rate),
        "each": _short(baseline.speed.each),
        "shapes": {name: shape.data for name, shape in baseline.shapes.items()},
    }


def _short(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.4g}")


def _memory(text: object) -> Memory | None:
    try:
        data = json.loads(str(text))
        return Memory(
            state=str(data["state"]),
            since=float(data["since"]),
            at=float(data["at"]),
            told=str(data["told"]),
            baseline=_baseline(data["baseline"]),
            restarts={str(pod): int(count) for pod, count in data["restarts"].items()},
            errors=_count(data["errors"]),
            requests=_count(data["requests"]),
            checks=tuple(
                (float(at), str(state), _number(first), _number(rate))
                for at, state, first, rate in data["checks"]
            ),
            repairs=tuple((float(at), str(what)) for at, what in data["repairs"]),
        )
    except _UNREADABLE:
        return None


def _baseline(data: Mapping[str, Any] | None) -> Baseline | None:
    if data is None:
        return None
    shapes = {str(name): shape_from(one) for name, one in data["shapes"].items()}
    return Baseline(
        str(data["digest"]),
        Speed(*(_number(data[key]) for key in ("first", "rate", "each"))),
        {name: one for name, one in shapes.items() if one},
    )


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))


def _count(value: object) -> int | None:
    return None if value is None else int(str(value))

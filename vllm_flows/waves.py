"""In which steps helm brings the release to its new values. Pure.

First everything that replaces no pod that should stay: new models, others gone, replicas more or
fewer. Then one model after the other, so that a change never touches two at a time. Each step's
values are whole: a run that is killed between two leaves a release that says what it is, and the
next plan begins there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vllm_flows.differences import entries
from vllm_flows.observed import API_KEY_ANNOTATION
from vllm_flows.rollout import AT_REST, Rollout, Strategy

Values = Mapping[str, Any]
_ENGINE = "servingEngineSpec"
_ROUTER = "routerSpec"


@dataclass(frozen=True)
class Change:
    """One model whose pods are to be replaced, how, and the GPUs that it holds."""

    model: str
    rollout: Rollout
    gpus: int = 0


@dataclass(frozen=True)
class Wave:
    """One run of helm: the values that it brings, and whose pods they replace.

    `ahead` are values that a helm of its own brings before, and of which the pods have to be ready
    first.
    """

    values: Values
    models: tuple[str, ...] = ()
    ahead: Values | None = None

    @property
    def helms(self) -> int:
        """How often helm is run."""
        return 1 if self.ahead is None else 2


def waves(
    before: Values,
    after: Values,
    changes: Sequence[Change],
    *,
    kept: Collection[str] = (),
    together: bool = False,
) -> tuple[Wave, ...]:
    """Return the runs of helm from `before` to `after`; none when nothing differs.

    Models with most GPUs change first, and with their number of replicas already as it will be.
    Before them those in `kept`, with older pods that another's stop would end beside new ones.
    Every helm sets right what was changed outside: models of which just that is to be undone are
    in the first wave. What all engines share cannot be changed for one of them, nor the chart:
    `together` there is one wave; with another API key the router follows the engines in it: it has
    no use for engines that hold another key than itself, and until its own turn goes on with those
    that are still there. Several models in a wave are replaced in the harshest of the ways
    that they were given. After the last wave every Deployment is as at rest.
    """
    known, wanted = entries(before), entries(after)
    changing = [change for change in changes if change.model in known]
    if together and changing:
        joint = _joint(after, changing)
        return _at_rest_after([replace(joint, ahead=_router_held(before, joint.values))], after)
    ordered = sorted(changing, key=lambda change: _turn(change, kept))
    drifted = [one for one in ordered if known[one.model] == wanted[one.model]]
    rolled = [one for one in ordered if one not in drifted]
    held = {one.model: _scaled(known[one.model], wanted[one.model]) for one in rolled}
    values = with_entries(after, held)
    idle = same_values(values, before) and rolled and not drifted
    found = [] if idle else [_joint(values, drifted)]
    for change in rolled:
        values = with_entries(values, {change.model: wanted[change.model]})
        found.append(_joint(values, [change]))
    return _at_rest_after(found, after)


def _turn(change: Change, kept: Collection[str]) -> tuple[bool, bool, int, str]:
    """Return by what models are ordered; of those in `kept` who stops pods comes after others."""
    last = change.model not in kept
    stops = not last and change.rollout.strategy is not Strategy.SURGE
    return last, stops, -change.gpus, change.model


def _router_held(before: Values, after: Values) -> Values | None:
    """Return the values after with the router of before; None where it keeps its key, or is not."""
    known, wanted = before.get(_ROUTER) or {}, after.get(_ROUTER) or {}
    routed = known.get("enableRouter") and wanted.get("enableRouter")
    if not routed or key_mark(known) == key_mark(wanted):
        return None
    return {**after, _ROUTER: known}


def router_lags(values: Values) -> bool:
    """Say whether engines want an API key that the router has not got, as between two helms.

    They get it all together. With the mark of before is then who went back: its pods, which started
    anew, have read the key of now. Engines without a key take any.
    """
    router = values.get(_ROUTER) or {}
    marks = {key_mark(entry) for entry in entries(values).values()} - {None}
    return bool(router.get("enableRouter") and marks) and key_mark(router) not in marks


def key_mark(entry: Values) -> object:
    """Return the mark of the API key that pods of such an entry hold; None for none."""
    return (entry.get("podAnnotations") or {}).get(API_KEY_ANNOTATION)


def _joint(values: Values, changes: Sequence[Change]) -> Wave:
    """Return the wave that replaces these models' pods together."""
    harshest = max((change.rollout for change in changes), key=_harshness, default=AT_REST)
    names = tuple(change.model for change in changes)
    return Wave(with_strategy(values, harshest), names)


def _scaled(known: Values, wanted: Values) -> Values:
    """Return the entry that runs with the replicas that are wanted; none are started from none."""
    count = wanted.get("replicaCount") if known.get("replicaCount") else 0
    return {**known, "replicaCount": count} if "replicaCount" in known else known


def _at_rest_after(found: Sequence[Wave], after: Values) -> tuple[Wave, ...]:
    """Add the wave that takes back what lets a Deployment stop its pods first."""
    last = [Wave(with_strategy(after, AT_REST))] if stops_pods(found[-1].values) else []
    return (*found, *last)


def stops_pods(values: Values) -> bool:
    """Say whether a release's Deployments stop pods before the new ones are ready."""
    strategy = (values.get(_ENGINE) or {}).get("strategy") or {}
    return bool((strategy.get("rollingUpdate") or {}).get("maxUnavailable"))


def shares_alike(one: Values, other: Values) -> bool:
    """Say whether all that engines have in common, and their pods are made of, is the same."""
    return shared_values(one) == shared_values(other)


def same_values(one: Values, other: Values) -> bool:
    """Say whether two releases are alike; how pods were replaced last makes no difference."""
    return with_strategy(one, AT_REST) == with_strategy(other, AT_REST)


def with_entries(values: Values, replaced: Mapping[str, Values]) -> Values:
    """Return the values with the entries of some models in place of their own."""
    spec = values[_ENGINE]
    listed = [replaced.get(entry["name"], entry) for entry in spec["modelSpec"]]
    return {**values, _ENGINE: {**spec, "modelSpec": listed}}


def values_back(before: Values, now: Values) -> Values:
    """Return the values now with what all engines shared before, and the entries made with it.

    Models that were not there before stay, and so does how pods are replaced.
    """
    spec = {**now[_ENGINE], **shared_values(before)}
    spec = {key: value for key, value in spec.items() if key in {*before[_ENGINE], "strategy"}}
    return with_entries({**now, _ENGINE: spec}, entries(before))


def with_strategy(values: Values, rollout: Rollout) -> Values:
    """Return the values with the Deployments' strategy."""
    spec = values.get(_ENGINE) or {}
    return {**values, _ENGINE: {**spec, "strategy": rollout.as_chart_values()}}


def shared_values(values: Values) -> Mapping[str, Any]:
    """Return what all engines have in common and their pods are made of."""
    spec = values.get(_ENGINE) or {}
    return {key: value for key, value in spec.items() if key not in {"modelSpec", "strategy"}}


def _harshness(rollout: Rollout) -> tuple[bool, bool, int]:
    limits = rollout.as_chart_values()["rollingUpdate"]
    unavailable = limits["maxUnavailable"]
    return (isinstance(unavailable, str), unavailable == 1, -rollout.surge)

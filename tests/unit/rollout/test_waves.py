"""In which steps helm goes from one set of values to another."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_flows.differences import entries
from vllm_flows.models import Model
from vllm_flows.observed import API_KEY_ANNOTATION
from vllm_flows.rollout import AT_REST, Rollout, Strategy
from vllm_flows.settings import load_settings
from vllm_flows.values import PinnedModel, release_values
from vllm_flows.waves import (
    Change,
    Wave,
    router_lags,
    same_values,
    shares_alike,
    values_back,
    waves,
    with_strategy,
)

SURGE = Rollout(Strategy.SURGE, 2)
STOP = Rollout(Strategy.STOP_FIRST, downtime=True)


def values(runtime: str = "nvidia", **models: int) -> dict[str, Any]:
    """Return a release's values: models by name, each with the number of its version."""
    listed = [{"name": name, "version": version} for name, version in models.items()]
    spec = {"runtimeClassName": runtime, "modelSpec": listed}
    return with_strategy({"servingEngineSpec": spec, "routerSpec": {}}, AT_REST)


def versions(wave: Wave) -> dict[str, int]:
    return {name: entry["version"] for name, entry in entries(wave.values).items()}


def limits(wave: Wave) -> Any:
    return wave.values["servingEngineSpec"]["strategy"]


def test_what_is_alike_needs_no_helm():
    assert waves(values(a=1), values(a=1), []) == (Wave(values(a=1)),)
    assert same_values(values(a=1), with_strategy(values(a=1), STOP))


def test_the_first_install_is_one_wave():
    (wave,) = waves({}, values(a=1, b=1), [])
    assert (versions(wave), wave.models) == ({"a": 1, "b": 1}, ())


def test_who_has_older_pods_beside_new_ones_changes_before_others_do_and_stop_them():
    changes = [Change("a", STOP, 8), Change("b", STOP, 4), Change("c", SURGE, 1)]
    before, after = values(a=1, b=1, c=1), values(a=2, b=2, c=2)
    found = waves(before, after, changes, kept={"b", "c"})
    assert [wave.models for wave in found] == [("c",), ("b",), ("a",), ()]


def test_models_change_one_after_the_other_those_with_most_gpus_first():
    changes = [Change("a", SURGE, 1), Change("b", STOP, 8)]
    first, second = waves(values(a=1, b=1, c=1), values(a=2, b=2, c=1), changes)
    assert (versions(first), first.models) == ({"a": 1, "b": 2, "c": 1}, ("b",))
    assert (versions(second), second.models) == ({"a": 2, "b": 2, "c": 1}, ("a",))
    assert (limits(first), limits(second)) == (STOP.as_chart_values(), SURGE.as_chart_values())


def test_new_and_removed_models_come_before_those_that_change():
    before, after = values(a=1, gone=1), values(a=2, new=1)
    first, second = waves(before, after, [Change("a", SURGE, 1)])
    assert (versions(first), first.models) == ({"a": 1, "new": 1}, ())
    assert (versions(second), second.models) == ({"a": 2, "new": 1}, ("a",))


def test_what_all_engines_share_changes_at_once_in_the_harshest_way_of_all():
    changes = [Change("a", SURGE, 1), Change("b", STOP, 1)]
    assert not shares_alike(values(a=1, b=1), values("", a=1, b=1))
    wave, rest = waves(values(a=1, b=1), values("", a=2, b=2), changes, together=True)
    assert (versions(wave), wave.models) == ({"a": 2, "b": 2}, ("a", "b"))
    assert limits(wave) == STOP.as_chart_values()
    assert (limits(rest), rest.models) == (AT_REST.as_chart_values(), ())


def test_the_last_wave_is_what_was_wanted():
    changes = [Change("a", SURGE, 1), Change("b", STOP, 8)]
    after = values(a=2, b=2, c=1)
    assert same_values(waves(values(a=1, b=1), after, changes)[-1].values, after)


def test_what_all_engines_share_goes_back_with_every_model_that_was_there():
    before, now = values("nvidia", a=1, b=1), values("", a=2, b=2, new=1)
    back = values_back(before, now)
    assert versions(Wave(back)) == {"a": 1, "b": 1, "new": 1}
    assert back["servingEngineSpec"]["runtimeClassName"] == "nvidia"


def test_after_a_stop_first_every_deployment_is_as_at_rest_again():
    change, rest = waves(values(a=1, b=1), values(a=2, b=1), [Change("a", STOP, 1)])
    assert limits(change) == STOP.as_chart_values()
    assert rest == Wave(values(a=2, b=1))


def test_what_was_only_changed_outside_is_set_right_first_in_its_own_way():
    changes = [Change("big", STOP, 8), Change("small", SURGE, 1)]
    first, second, _rest = waves(values(big=1, small=1), values(big=2, small=1), changes)
    assert (first.models, limits(first)) == (("small",), SURGE.as_chart_values())
    assert versions(first) == {"big": 1, "small": 1}
    assert (second.models, limits(second)) == (("big",), STOP.as_chart_values())


def test_replicas_come_and_go_before_pods_are_replaced():
    before, after = values(a=1), values(a=2)
    entries(before)["a"]["replicaCount"] = 1  # type: ignore[index]  # a dictionary
    entries(after)["a"]["replicaCount"] = 3  # type: ignore[index]  # a dictionary
    first, second = waves(before, after, [Change("a", SURGE, 1)])
    assert entries(first.values)["a"] == {"name": "a", "version": 1, "replicaCount": 3}
    assert (first.models, second.models) == ((), ("a",))


def test_no_old_replica_is_started_where_there_was_none():
    before, after = values(a=1), values(a=2)
    entries(before)["a"]["replicaCount"] = 0  # type: ignore[index]  # a dictionary
    entries(after)["a"]["replicaCount"] = 3  # type: ignore[index]  # a dictionary
    (wave,) = waves(before, after, [Change("a", SURGE, 1)])
    assert entries(wave.values)["a"]["version"] == 2


def keyed(key: str | None, router: str | None, **shared: Any) -> dict[str, Any]:
    """Return a release of two models with marks of API keys in engines and router."""
    models = [PinnedModel(Model(name=name, modelURL="org/m"), "a" * 40) for name in ("a", "b")]
    settings = load_settings(**shared)
    made = release_values(models, settings, key)
    return {**made, "routerSpec": release_values(models, settings, router)["routerSpec"]}


BOTH = [Change("a", SURGE, 1), Change("b", SURGE, 1)]


@pytest.mark.parametrize(("old", "new"), [("one", "two"), (None, "one"), ("one", None)])
def test_with_another_api_key_the_router_follows_once_all_engines_are_ready(
    old: str | None, new: str | None
):
    before, after = keyed(old, old), keyed(new, new)
    (wave,) = waves(before, after, BOTH, together=True)
    assert (wave.models, wave.helms) == (("a", "b"), 2)
    assert wave.ahead is not None
    assert wave.ahead["routerSpec"] == before["routerSpec"]
    assert entries(wave.ahead) == entries(after)
    assert same_values(wave.values, after)


@pytest.mark.parametrize("routed", [(True, False), (False, True), (False, False)])
def test_without_a_router_before_or_after_there_is_none_to_follow(routed: tuple[bool, bool]):
    before, after = (
        keyed(key, key, router_enabled=there)
        for key, there in zip(("one", "two"), routed, strict=True)
    )
    (wave,) = waves(before, after, BOTH, together=True)
    assert (wave.ahead, wave.helms) == (None, 1)


def test_with_the_same_api_key_the_router_changes_with_the_engines():
    (wave,) = waves(
        keyed("one", "one"), keyed("one", "one", router_replicas=2), BOTH, together=True
    )
    assert wave.ahead is None


def test_a_router_that_a_killed_run_left_behind_its_engines_is_known():
    assert router_lags(keyed("two", "one"))
    assert router_lags(keyed("one", None))
    assert not router_lags(keyed("one", "one"))
    assert not router_lags(keyed(None, None))
    assert not router_lags(keyed("two", "one", router_enabled=False))


def test_a_router_does_not_lag_behind_who_went_back_or_wants_no_key():
    assert not router_lags(keyed(None, "one"))
    found = keyed("one", "two")
    newest = {"name": "b", "podAnnotations": {API_KEY_ANNOTATION: "two"}}
    spec = found["servingEngineSpec"]
    both = {**found, "servingEngineSpec": {**spec, "modelSpec": [*spec["modelSpec"], newest]}}
    assert not router_lags(both)

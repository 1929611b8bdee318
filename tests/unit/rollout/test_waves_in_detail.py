"""What one helm for several models takes along: strategies, shared settings, entries of before."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_flows.differences import entries
from vllm_flows.rollout import AT_REST, Rollout, Strategy
from vllm_flows.waves import Change, values_back, waves, with_strategy

SURGE = Rollout(Strategy.SURGE, 2)
SMALL_SURGE = Rollout(Strategy.SURGE, 1)
IN_TURN = Rollout(Strategy.ONE_AT_A_TIME)
STOP = Rollout(Strategy.STOP_FIRST, downtime=True)


def values(models: dict[str, int], **shared: str) -> dict[str, Any]:
    """Return a release's values: models by name, each with the number of its version."""
    listed = [{"name": name, "version": version} for name, version in models.items()]
    return with_strategy({"servingEngineSpec": {**shared, "modelSpec": listed}}, AT_REST)


def limits(found: Any) -> Any:
    return found["servingEngineSpec"]["strategy"]


@pytest.mark.parametrize(
    ("gentler", "harsher"), [(SURGE, SMALL_SURGE), (SMALL_SURGE, IN_TURN), (IN_TURN, STOP)]
)
def test_models_that_change_together_do_so_in_the_harsher_way(gentler: Rollout, harsher: Rollout):
    before, after = values({"a": 1, "b": 1}, runtime="x"), values({"a": 2, "b": 2}, runtime="y")
    for ways in ((gentler, harsher), (harsher, gentler)):
        changes = [Change("a", ways[0]), Change("b", ways[1])]
        (wave, *_) = waves(before, after, changes, together=True)
        assert limits(wave.values) == harsher.as_chart_values()


@pytest.mark.parametrize("way", [IN_TURN, STOP])
def test_after_any_way_that_stops_pods_first_deployments_are_as_at_rest(way: Rollout):
    after = with_strategy(values({"a": 2}), way)
    found = waves(values({"a": 1}), after, [Change("a", way)])
    assert [limits(wave.values) for wave in found] == [
        way.as_chart_values(),
        AT_REST.as_chart_values(),
    ]
    assert found[-1].models == ()


def test_models_with_as_many_gpus_change_in_the_order_of_their_names():
    changes = [Change("b", SURGE, 1), Change("a", SURGE, 1)]
    found = waves(values({"a": 1, "b": 1}), values({"a": 2, "b": 2}), changes)
    assert [wave.models for wave in found] == [("a",), ("b",)]


def test_a_model_that_runs_and_that_helm_forgot_comes_with_the_new_ones():
    changes = [Change("forgotten", SURGE, 1), Change("a", SURGE, 1)]
    first, second = waves(values({"a": 1}), values({"a": 2, "forgotten": 2}), changes)
    assert entries(first.values)["forgotten"]["version"] == 2
    assert (first.models, second.models) == ((), ("a",))


def test_a_setting_of_all_engines_that_is_new_goes_when_it_is_taken_back():
    before, now = values({"a": 1}), values({"a": 2}, runtime="y")
    back = values_back(before, now)
    assert back["servingEngineSpec"] == before["servingEngineSpec"]

"""Another API key: the router and all engines at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vllm_flows.chart import Chart
from vllm_flows.common_changes import change_together, lagging_router, new_key
from vllm_flows.desired import Desired
from vllm_flows.models import Model
from vllm_flows.observed import ClusterState, Release, ReleaseState, Verdict
from vllm_flows.settings import load_settings
from vllm_flows.values import PinnedModel, release_values

COMMIT = "a" * 40


def values(*names: str, key: str | None) -> dict[str, Any]:
    models = [PinnedModel(Model(name=name, modelURL="org/m"), COMMIT) for name in names]
    return dict(release_values(models, load_settings(), key, "0.1.8"))


def change(before: dict[str, Any], after: dict[str, Any]) -> tuple[Desired, ClusterState]:
    verdicts = {"a": Verdict("a", "org/m", COMMIT)}
    desired = Desired([], verdicts, after, Chart("vllm-stack", (), "0.1.8"), load_settings())
    release = Release(ReleaseState.DEPLOYED, 3, "0.1.8", "deployed", before)
    return desired, ClusterState(release)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("one", "two", "take the old one until their new replicas are ready, and the new one once"),
        (
            None,
            "one",
            "an API key comes: models want none until their new replicas are ready, and the",
        ),
        ("one", None, "wants none once its new replicas are ready"),
    ],
)
def test_another_key_changes_all_engines_at_once_and_the_plan_says_what_clients_see(
    old: str | None, new: str | None, told: str
):
    case = change(values("a", "b", key=old), values("a", "b", key=new))
    assert change_together(*case)
    (text,) = new_key(*case)
    assert told in text


def test_without_a_router_each_engine_takes_the_new_key_as_soon_as_it_has_it():
    desired, state = change(values("a", key="one"), values("a", key="two"))
    alone = replace(desired, settings=load_settings(router_enabled=False))
    assert "once its replicas are new" in new_key(alone, state)[0]


def test_with_the_same_key_models_come_and_go_one_by_one():
    case = change(values("a", "b", key="one"), values("a", "c", key="one"))
    assert not change_together(*case)
    assert new_key(*case) == []


def test_a_router_that_an_interrupted_run_left_behind_is_named():
    engines, router = values("a", key="two"), values("a", key="one")
    left = {**engines, "routerSpec": router["routerSpec"]}
    assert "until it has theirs" in lagging_router(change(left, engines)[1])[0]
    assert lagging_router(change(engines, engines)[1]) == []

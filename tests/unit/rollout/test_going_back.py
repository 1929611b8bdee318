"""What serves again when models that were changed do not answer."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_flows.differences import entries
from vllm_flows.errors import CompletionError
from vllm_flows.going_back import Past, failure, way_back
from vllm_flows.observed import REVISION_ANNOTATION
from vllm_flows.outage import Outage
from vllm_flows.rollout import AT_REST, Rollout, Strategy
from vllm_flows.waves import with_strategy

STOP = Rollout(Strategy.STOP_FIRST, downtime=True)
CHART = "0.1.12"


def values(runtime: str = "nvidia", rollout: Rollout = AT_REST, **models: str) -> dict[str, Any]:
    """Return a release's values: models by name, each with the commit that it serves."""
    listed = [
        {"name": name, "podAnnotations": {REVISION_ANNOTATION: commit}}
        for name, commit in models.items()
    ]
    return with_strategy(
        {"servingEngineSpec": {"runtimeClassName": runtime, "modelSpec": listed}}, rollout
    )


def commits(found: Any) -> dict[str, str]:
    return {
        name: entry["podAnnotations"][REVISION_ANNOTATION] for name, entry in entries(found).items()
    }


def test_a_model_whose_own_entry_changed_goes_back_alone():
    way = way_back(values(a="new", b="b2"), CHART, {"a": Past(3, CHART, values(a="old", b="b1"))})
    assert (way.models, way.past) == (("a",), None)
    assert commits(way.values) == {"a": "old", "b": "b2"}
    assert way.commit("a") == "old"


def test_an_entry_is_not_brought_back_under_shared_settings_that_it_was_not_proven_with():
    # Proven in revision 1; the one before this run's had the new settings already, unproven.
    way = way_back(
        values("", a="new", b="b2"), CHART, {"a": Past(1, CHART, values(a="old", b="b1"))}
    )
    assert (way.models, way.past) == (("a", "b"), None)
    assert commits(way.values) == {"a": "old", "b": "b1"}
    assert way.values["servingEngineSpec"]["runtimeClassName"] == "nvidia"


def test_several_go_back_to_the_newest_revision_that_one_of_them_answered_in():
    pasts = {
        "a": Past(1, CHART, values(a="a1", b="b1")),
        "b": Past(2, CHART, values(a="a2", b="b2")),
    }
    way = way_back(values("", a="new", b="new"), CHART, pasts)
    assert commits(way.values) == {"a": "a2", "b": "b2"}


def test_with_another_chart_the_whole_revision_comes_back():
    past = Past(4, "0.1.8", values(a="old", b="b1"))
    way = way_back(values(a="old", b="b1", new="n"), CHART, {"a": past})
    assert (way.models, way.past) == (("a", "b"), past)


@pytest.mark.parametrize(
    ("outage", "told"),
    [
        (Outage(2.0, asked=9), "; nobody answered for 2 s of this run"),
        (Outage(asked=9), "; it was never silent"),
        (Outage(), ""),
        (
            Outage(asked=9, not_measured_seconds=50),
            f"; it was never silent, {Outage(not_measured_seconds=50).not_measured}",
        ),
    ],
)
def test_silence_is_told_where_there_was_any(outage: Outage, told: str):
    error = failure({"a": CompletionError("no text")}, {"a": "0a0a0a0a"}, {"a": outage})
    assert error.what.endswith(f"0a0a0a0a serves again, as before{told}")


def test_silence_that_lasts_is_told_of_what_stays():
    lasting = Outage(2.0, lasting=True, asked=9)
    error = failure({"a": CompletionError("no text")}, {}, {"a": lasting})
    assert error.what.endswith("brought back; nobody answered for 2 s of this run, and since")


def test_who_went_back_with_others_is_told_and_whether_it_answers():
    wrong = CompletionError("the answer has no text")
    error = failure({"a": wrong}, {"a": "0a0a0a0a", "b": "0b0b0b0b"}, {"a": Outage(2.0)})
    assert "0a0a0a0a serves again, as before; nobody answered for 2 s" in error.what
    assert "b: went back too, as what changed is common to all engines, and answers" in error.why
    error = failure({"a": wrong}, {"a": "0a0a0a0a", "b": wrong}, {"a": Outage()})
    assert "b: went back too" in error.why
    assert "does not answer so: the answer has no text" in error.why

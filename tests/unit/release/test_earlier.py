"""Which earlier revision served, and what going back to it changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vllm_flows.claims import weights_claims
from vllm_flows.differences import entries
from vllm_flows.earlier import WayThere, lines_to_write, step_of, way_rows, way_there
from vllm_flows.errors import ReleaseError
from vllm_flows.going_back import Past
from vllm_flows.models import Model
from vllm_flows.observed import DIGEST_ANNOTATION, WeightsClaim
from vllm_flows.rollout import Rollout, Strategy
from vllm_flows.settings import load_settings
from vllm_flows.values import PinnedModel, release_values
from vllm_flows.waves import stops_pods, with_strategy

OLD, NEW = "a" * 40, "b" * 40


def model(name: str = "qwen", **fields: Any) -> Model:
    return Model(name=name, modelURL=f"org/{name}", **fields)


def past(revision: int, *pinned: tuple[Model, str], key: str | None = "k", **fields: Any) -> Past:
    """Return a revision that serves these models at these commits."""
    settings = load_settings(**fields.pop("settings", {}))
    version = fields.get("chart_version", "0.1.8")
    listed = [PinnedModel(one, commit) for one, commit in pinned]
    values = release_values(listed, settings, key, version)
    return replace(Past(revision, version, values, "superseded"), **fields)


def claims(*pasts: Past, complete: tuple[str, ...] = (OLD, NEW)) -> dict[str, WeightsClaim]:
    """Return claims that remember that the models of these revisions answered."""
    found: dict[str, WeightsClaim] = {}
    for one in pasts:
        for name, entry in entries(one.values).items():
            there = found.get(name) or WeightsClaim(name, "1Gi", dict.fromkeys(complete, 1))
            digest = entry["podAnnotations"][DIGEST_ANNOTATION]
            found[name] = replace(there, answered=(digest, *there.answered))
    return found


def way(
    *newest_first: Past, answered: tuple[Past, ...] | None = None, to: int | None = None
) -> WayThere:
    remembered = claims(*reversed(newest_first if answered is None else answered))
    silent = {name: replace(one, answered=()) for name, one in claims(*newest_first).items()}
    return way_there(newest_first, silent | remembered, to, "ns")


def test_what_served_last_before_comes_back():
    first, second, third = (
        past(1, (model(), OLD)),
        past(2, (model(), NEW)),
        past(3, (model(vllmConfig={"maxModelLen": 4096}), NEW)),
    )
    found = way(third, second, first)
    assert (found.current, found.target.revision) == (3, 2)
    assert found.changes[0].text == "vllmConfig.maxModelLen 4096 -> (not set)"
    found = way(second, first)
    assert found.changes[0].text == f"revision {NEW[:8]} -> {OLD[:8]}"
    assert found.changes[0].replaces
    assert lines_to_write(found) == [f"qwen: revision: {OLD}"]


def test_a_revision_that_was_not_seen_to_answer_is_passed_over():
    first, bad = past(1, (model(), OLD)), past(2, (model(vllmConfig={"maxNumSeqs": 8}), OLD))
    third = past(3, (model(), NEW))
    assert way(third, bad, first, answered=(third, first)).target.revision == 1
    with pytest.raises(ReleaseError, match="nothing to go back to"):
        way(third, bad, first, answered=(third,))


@pytest.mark.parametrize("fields", [{"status": "failed"}, {"description": step_of(1, 2)}])
def test_a_revision_that_failed_or_was_only_a_step_is_passed_over(fields: dict[str, str]):
    first = past(1, (model("a"), OLD), (model("b"), OLD))
    between = past(2, (model("a"), NEW), (model("b"), OLD), **fields)
    last = past(3, (model("a"), NEW), (model("b"), NEW))
    assert way(last, between, first).target.revision == 1


def test_the_last_step_of_a_change_is_no_step():
    assert [step_of(number, 2) for number in (1, 2)] == ["vllm-flows: step 1 of 2", ""]


def test_how_pods_are_replaced_and_which_api_key_it_is_are_no_difference():
    first, second = past(1, (model(), OLD)), past(2, (model(), NEW))
    stopping = with_strategy(second.values, Rollout(Strategy.STOP_FIRST))
    assert stops_pods(stopping)
    again = replace(second, revision=3, values=stopping)
    other_key = past(4, (model(), NEW), key="other")
    assert way(other_key, again, second, first).target.revision == 1


def test_models_come_and_go_with_a_revision():
    first = past(1, (model("a"), OLD), (model("b"), OLD))
    second = past(2, (model("a", replicaCount=2), OLD), (model("c"), OLD))
    found = way(second, first)
    assert [(one.model, one.now[:1], one.then[:1]) for one in found.changes] == [
        ("a", "a", "a"),
        ("b", "", "a"),
        ("c", "a", ""),
    ]
    assert lines_to_write(found) == [
        "a: replicaCount: 1",
        f"list b again, with revision: {OLD}",
        "take c off the list",
    ]
    assert [one.model for one in found.then] == ["a", "b"]
    assert not any(one.replaces for one in found.changes)
    assert way_rows(found)[2]["then"] == "-"


def test_what_all_engines_share_changes_every_model():
    first = past(1, (model(), OLD), chart_version="0.1.12")
    second = past(2, (model(), OLD), settings={"runtime_class": "other"})
    found = way(second, first)
    assert found.changes[0].text == "restarts: what all engines share changes"
    assert found.changes[0].replaces
    assert found.common == ("chart 0.1.8 -> 0.1.12", "runtimeClassName other -> nvidia")
    assert lines_to_write(found)[0] == "settings (VLLM_...): chart 0.1.8 -> 0.1.12"
    assert len(way_rows(found)) == 3


def test_a_model_that_only_embeds_or_has_no_replica_is_not_asked():
    pooling = model("e", vllmConfig={"runner": "pooling"})
    idle = model("i", replicaCount=0)
    first = past(1, (pooling, OLD), (idle, OLD), (model(), OLD))
    second = past(2, (pooling, NEW), (idle, NEW), (model(), OLD))
    answered = past(1, (model(), OLD))
    remembered = claims(first, second)
    asked = claims(answered)["qwen"]
    remembered = {name: replace(one, answered=()) for name, one in remembered.items()}
    found = way_there([second, first], remembered | {"qwen": asked}, None, "ns")
    assert [(one.model, one.asked) for one in found.changes] == [("e", False), ("i", False)]


def test_a_rollback_that_was_interrupted_is_proven_before_it_goes_anywhere_else():
    first, second = past(1, (model(), OLD)), past(2, (model(), NEW))
    back = replace(first, revision=3, description="Rollback to 1")
    # What answered last is the newer one: nobody has asked the older one since.
    found = way_there([back, second, first], claims(first, second), None, "ns")
    assert (found.agreed, found.changes[0].text) == (
        "3 -> 3",
        "went back already, and was not asked yet",
    )
    assert lines_to_write(found) == [f"qwen: revision: {OLD}"]
    asked = claims(second, first)
    assert way_there([back, second, first], asked, None, "ns").agreed == "3 -> 2"
    assert way_there([back, second, first], claims(first, second), 2, "ns").agreed == "3 -> 2"


def test_a_revision_whose_weights_are_gone_is_refused_with_what_fetches_them_again():
    first, second = past(1, (model(), OLD)), past(2, (model(), NEW))
    for gone in (claims(first, second, complete=(NEW,)), leaving(claims(first, second))):
        with pytest.raises(ReleaseError, match="no longer on its volume") as refused:
            way_there([second, first], gone, None, "ns")
        assert f"revision: {OLD}" in refused.value.next_command
    with pytest.raises(ReleaseError, match="no longer on its volume"):
        way_there([second, first], {}, 1, "ns")


def leaving(found: dict[str, WeightsClaim]) -> dict[str, WeightsClaim]:
    return {name: replace(one, leaving=True) for name, one in found.items()}


def test_a_revision_that_is_named_comes_back_also_when_it_was_never_seen_to_answer():
    first, second = past(1, (model(), OLD)), past(2, (model(), NEW))
    assert way(second, first, answered=(), to=1).target.revision == 1


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (4, "revision 4 is the one that is deployed"),
        (3, "did not finish revision 3 .it is failed"),
        (2, "revision 2 is what is deployed"),
        (9, r"keeps no earlier revision 9 \(kept are 3, 2, 1\)"),
    ],
)
def test_a_revision_that_cannot_be_gone_back_to_is_refused(wanted: int, told: str):
    first, failed = past(1, (model(), OLD)), past(3, (model(), OLD), status="failed")
    now = past(4, (model(), NEW))
    with pytest.raises(ReleaseError, match=told):
        way(now, failed, replace(now, revision=2), first, to=wanted)


def test_without_a_release_there_is_nothing_to_go_back_to():
    with pytest.raises(ReleaseError, match="nothing is installed"):
        way_there([], weights_claims([]), None, "ns")

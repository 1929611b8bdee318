"""One look, with the real huggingface_hub, against the sandbox's Hub on 127.0.0.1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from vllm_flows.claims import record_with, weights_claims
from vllm_flows.models import Model
from vllm_flows.observed import (
    ClusterState,
    DeployedModel,
    Release,
    ReleaseState,
    Verdict,
)
from vllm_flows.refused_alike import knowing_alike
from vllm_flows.revision_class import Change
from vllm_flows.revision_memory import Memory, claimed
from vllm_flows.revision_report import revision_data, revision_lines, revision_rows
from vllm_flows.revision_store import Stored, store

if TYPE_CHECKING:
    from conftest import LocalHub, Place, tracked
else:
    from tests.unit.revisions.conftest import tracked

TAGGED = "Qwen/Qwen3-4B"


def remember(place: Place, memory: Memory) -> None:
    store(place.cluster, Stored(Memory()), memory)  # type: ignore[arg-type]  # as much of it as is used


def test_what_did_not_move_is_none(place: Place, hub: LocalHub):
    seen = place.sees()
    assert (seen.change, seen.served, seen.now) == (Change.NONE, hub.head(), hub.head())


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("docs", Change.DOCUMENTATION),
        ("config", Change.CONFIGURATION),
        ("tokenizer", Change.CONFIGURATION),
        ("template", Change.CONFIGURATION),
        ("weights", Change.WEIGHTS),
        ("license", Change.ASK),
        ("pickle", Change.ASK),
        ("code", Change.ASK),
    ],
)
def test_a_commit_is_what_it_changed(place: Place, hub: LocalHub, kind: str, change: Change):
    more = {"config": {"new": 1}} if kind == "config" else {}
    commit = hub.commit(kind, **more)
    seen = place.sees()
    assert (seen.change, seen.now) == (change, commit)
    assert bool(seen.reasons) == (change is Change.ASK)


def test_a_commit_that_was_tried_and_did_not_do_is_seen_as_that(place: Place, hub: LocalHub):
    commit = hub.commit("weights")
    assert place.sees().refused == ""
    place.refuse(commit, "the answer has no text")
    seen = place.sees()
    assert (seen.change, seen.refused) == (Change.WEIGHTS, "the answer has no text")
    (row,) = revision_rows(revision_data([seen]))
    assert str(row["what"]).startswith("was tried and did not do: the answer has no text; ")
    assert "was tried and did not do" in revision_lines([seen])[0]


def test_several_commits_are_judged_together(place: Place, hub: LocalHub):
    hub.commit("weights")
    hub.commit("docs")
    assert place.sees().change is Change.WEIGHTS


def test_a_forced_push_back_to_what_is_served_is_none_again(place: Place, hub: LocalHub):
    hub.commit("weights")
    hub.commit("reset")
    assert place.sees().change is Change.NONE


def test_a_served_commit_that_a_forced_push_took_away_is_judged_by_the_volumes_record(
    place: Place, hub: LocalHub
):
    lost = hub.commit("docs")
    verdict = place.hub().verdict("m", "microsoft/Phi-4-mini-instruct", lost)
    place.serve(lost, word="main")
    claim = place.find("PersistentVolumeClaim")[0]
    place.record(record_with(claim, verdict, ()))
    hub.commit("reset")
    assert place.sees().change is Change.DOCUMENTATION
    hub.commit("weights")
    assert place.sees().change is Change.WEIGHTS


def test_a_served_commit_that_nobody_knows_any_more_is_asked_about(place: Place, hub: LocalHub):
    place.serve(hub.commit("docs"), word="main")
    hub.commit("reset")
    seen = place.sees()
    assert seen.change is Change.ASK
    assert "license of what is served is not known" in seen.reasons[0]


def test_a_gate_that_was_put_up_since_is_asked_about(place: Place, hub: LocalHub):
    claim = place.find("PersistentVolumeClaim")[0]
    place.record(record_with(claim, Verdict("m", "o/n", hub.head(), license="mit"), ()))
    hub.choose(gated="manual")
    assert place.sees().change is Change.NONE
    hub.commit("docs")
    seen = place.sees()
    assert seen.change is Change.ASK
    assert seen.reasons == ("its gate was 'no' and is 'manual' now",)


def test_a_repository_that_another_one_replaced_is_asked_about(place: Place, hub: LocalHub):
    remember(place, place.look().memory)
    stored = place.objects["ConfigMap", "vllm-flows-revisions"]["data"]
    stored["tips"] = stored["tips"].replace("0" * 24, "1" * 24)
    hub.commit("docs")
    assert place.sees().reasons[0] == (
        "another repository has taken the name of the one that was there"
    )


def test_a_repository_that_became_private_is_gone_and_no_move(place: Place, hub: LocalHub):
    hub.choose(private=True)
    seen = look_without_token(place)
    assert (seen.change, seen.now) == (Change.GONE, "")
    assert "the Hub has no model" in seen.reasons[0]


def look_without_token(place: Place):
    hub = place.hub()
    place.hub = lambda: replace(hub, token=None)  # type: ignore[method-assign]  # this place has none
    return place.sees()


def test_a_revision_that_is_no_more_is_gone(place: Place, hub: LocalHub):
    place.serve(hub.head(), word="v9")
    seen = place.sees(tracked(revision="v9"))
    assert seen.change is Change.GONE
    assert "has no revision 'v9'" in seen.reasons[0]


def test_what_need_not_be_asked_is_not_asked(place: Place, hub: LocalHub):
    commit = hub.head()
    models = [
        (tracked(revision=commit), Change.PINNED),
        (tracked("absent"), Change.NOT_DEPLOYED),
        (tracked(repository=TAGGED), Change.HELD),
        (tracked(revision="v1.0"), Change.HELD),
    ]
    for model, change in models:
        assert place.sees(model).change is change
    assert hub.server.requests["total"] == 0


def test_a_rollback_by_hand_holds_until_the_next_install(place: Place, hub: LocalHub):
    served = hub.head()
    place.serve(served, word=served)
    hub.commit("weights")
    seen = place.sees()
    assert seen.change is Change.HELD
    assert served in seen.reasons[0]


def test_a_tag_is_tracked_as_a_branch_is(place: Place, hub: LocalHub):
    tagged = hub.server.store.repositories[TAGGED].tags["v1.0"].sha
    place.serve(tagged, repository=TAGGED, word="v1.0")
    assert place.sees(tracked(repository=TAGGED, revision="v1.0")).change is Change.NONE


def test_several_models_of_one_revision_are_one_question(place: Place, hub: LocalHub):
    place.serve(hub.head(), "m2", word="main")
    seen = place.look(tracked(), tracked("m2")).seen
    assert [one.change for one in seen] == [Change.NONE, Change.NONE]
    assert hub.server.requests["model_info"] == 1


def test_what_is_remembered_is_asked_for_as_changed_only(place: Place, hub: LocalHub):
    remember(place, place.look().memory)
    before = hub.server.requests["not_modified"]
    assert place.sees().change is Change.NONE
    assert hub.server.requests["not_modified"] == before + 1
    hub.commit("weights")
    assert place.sees().change is Change.WEIGHTS


def test_a_change_that_was_judged_is_not_judged_again(place: Place, hub: LocalHub):
    hub.commit("license")
    first = place.look()
    remember(place, claimed(first.memory, first.seen, {"m"}, 1000.0)[0])
    before = hub.server.requests["total"]
    assert place.look().seen == first.seen
    assert hub.server.requests["total"] == before + 1
    allowed = place.sees(tracked(allowPickle=True))
    assert (allowed.change, hub.server.requests["total"] > before + 2) == (Change.ASK, True)


def test_one_repository_alone_can_be_looked_at(place: Place, hub: LocalHub):
    other = tracked("m2", TAGGED)
    place.serve(hub.head(TAGGED), "m2", TAGGED, "main")
    look = place.look(tracked(), other)
    assert len(look.memory.tips) == 2
    remember(place, look.memory)
    alone = place.look(tracked(), other, repository=TAGGED)
    assert [one.model for one in alone.seen] == ["m2"]
    assert alone.memory == look.memory


def test_a_commit_with_the_files_of_one_that_did_not_do_is_seen_as_that(
    place: Place, hub: LocalHub
):
    bad = hub.commit("config", config={"new": 1})
    place.refuse(bad, "the answer has no text")
    hub.commit("docs")
    seen = place.sees()
    assert seen.change is Change.CONFIGURATION
    assert seen.refused == (
        f"as {bad[:8]}, which has the same files for an engine: the answer has no text"
    )
    hub.commit("config", config={"new": 2})
    assert place.sees().refused == ""


def test_whether_a_commit_is_like_one_that_did_not_do_is_asked_once(place: Place, hub: LocalHub):
    place.refuse(hub.commit("config", config={"new": 1}), "the answer has no text")
    for kind in ("docs", "weights"):
        hub.commit(kind)
        first = place.look()
        assert bool(first.seen[0].refused) == (kind == "docs")
        place.objects.pop(("ConfigMap", "vllm-flows-revisions"), None)
        remember(place, claimed(first.memory, first.seen, {"m"}, 1000.0)[0])
        before = hub.server.requests["total"]
        assert place.look().seen == first.seen
        assert hub.server.requests["total"] == before + 1


def test_a_commit_with_the_files_of_the_one_that_answers_may_do_whatever_else_is_like_it(
    place: Place, hub: LocalHub
):
    bad = hub.commit("config", config={"new": 1})
    served = hub.commit("docs")
    place.serve(served, word="main", answered=served)
    place.refuse(bad, "the answer has no text")
    hub.commit("docs")
    seen = place.sees()
    assert (seen.change, seen.refused) == (Change.DOCUMENTATION, "")


def test_a_plan_takes_a_commit_with_the_files_of_one_that_did_not_do_for_refused(
    place: Place, hub: LocalHub
):
    served = hub.head()
    bad = hub.commit("config", config={"new": 1})
    place.refuse(bad, "the answer has no text")
    deployed = {"m": DeployedModel("m", 1, 1, served, "d")}
    claims = weights_claims(place.find("PersistentVolumeClaim"))
    state = ClusterState(Release(ReleaseState.DEPLOYED), deployed, claims)

    def refused(model: Model, hub_url: str = hub.url) -> Mapping[str, str]:
        verdict = place.hub().verdict("m", model.model_url, model.revision)
        place.hub_url = hub_url
        return knowing_alike(place.session, [model], [verdict], state).claims["m"].refused

    alike = hub.commit("docs")
    assert bad[:8] in refused(tracked())[alike]
    assert list(refused(tracked(), "http://127.0.0.1:9")) == [bad]
    place.hub_url = hub.url
    other = hub.commit("config", config={"new": 2})
    assert other not in refused(tracked())

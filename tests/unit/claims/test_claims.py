"""What a claim remembers of its weights."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from vllm_flows.claims import (
    Served,
    is_news,
    missing_bytes,
    record_of,
    record_with,
    refused_with,
    room_needed,
    served_before,
    served_with,
    weights_claims,
)
from vllm_flows.models import Model
from vllm_flows.observe import deployed_models, engine_pods
from vllm_flows.observed import (
    PROVEN_ANNOTATION,
    REFUSED_ANNOTATION,
    REVISION_ANNOTATION,
    SERVED_ANNOTATION,
    WEIGHTS_ANNOTATION,
    Access,
    Description,
    HubFile,
    Verdict,
    WeightsClaim,
)
from vllm_flows.settings import load_settings
from vllm_flows.weights_manifests import weights_claim

ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40


def verdict(commit: str, **files: int) -> Verdict:
    """Return a verdict of large files, each by the letter that its hash is made of."""
    listed = tuple(HubFile(f"{k}.safetensors", size, k * 64) for k, size in files.items())
    return Verdict("qwen", "o/q", commit, files=listed)


def as_claim(record: str = "", served: str = "") -> dict[str, Any]:
    made = weights_claim(Model(name="qwen", modelURL="o/q"), load_settings())
    notes = {WEIGHTS_ANNOTATION: record, SERVED_ANNOTATION: served}
    kept = {key: value for key, value in notes.items() if value}
    return {**made, "metadata": {**made["metadata"], "annotations": kept}}


def read(record: str = "", served: str = "") -> WeightsClaim:
    return weights_claims([as_claim(record, served)])["qwen"]


def test_a_complete_commit_is_remembered_beside_those_that_are_still_there():
    first = record_with(as_claim(), verdict(ONE, a=100), ())
    second = record_with(as_claim(first), verdict(TWO, b=200), (ONE,))
    assert read(second).complete == {ONE: 100, TWO: 200}
    third = record_with(as_claim(second), verdict(THREE, c=300), (TWO,))
    assert read(third).complete == {TWO: 200, THREE: 300}


def test_a_commit_that_may_be_removed_is_not_promised_any_more():
    record = record_with(as_claim(), verdict(ONE, a=100), ())
    assert read(record_of(as_claim(record), ())).complete == {}


def test_a_claim_without_a_record_promises_nothing():
    assert read().complete == {}


@pytest.mark.parametrize("parameters", [{"BF16": "many"}, {"BF16": True}, {"BF16": 10**400}])
def test_a_description_of_another_shape_says_nothing(parameters: dict[str, Any]):
    odd = {"bytes": 5, "config": [], "parameters": parameters, "code": "m.py"}
    assert read(json.dumps({ONE: odd})).described == {ONE: Description()}


def test_what_a_description_tells_can_be_shown():
    odd = {"bytes": 5, "parameters": {"BF\x1b": 7}, "code": ["m\x1b[2J.py", 7]}
    told = Description(parameters={"BF?": 7}, custom_code=("m?[2J.py", "7"))
    assert read(json.dumps({ONE: odd})).described == {ONE: told}


@pytest.mark.parametrize(
    "record",
    [
        "garbage",
        "[]",
        "null",
        '{"a": {}}',
        '{"a": 5}',
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"a": ' + "[" * 500 + "]" * 500 + "}",
        '{"\ud800": 5}',
    ],
    ids=lambda record: record[:20],
)
def test_a_record_that_is_not_ours_promises_nothing(record: str):
    assert read(record).complete == {}


@pytest.mark.parametrize(
    "odd",
    [
        {"bytes": 1, "blobs": {"a": "x"}},
        {"bytes": 1, "blobs": {"a": None}},
        {"bytes": 1, "blobs": {"a": True}},
        {"bytes": 1, "blobs": {"a": -1}},
        {"bytes": 1, "blobs": {"a": 10**400}},
        {"bytes": 1, "blobs": {"a": 1.5}},
        {"bytes": 1, "blobs": None},
        {"bytes": 1, "blobs": ["a"]},
        {"bytes": True},
        {"bytes": -1},
        {"bytes": 10**400},
        {"bytes": "1"},
    ],
    ids=lambda odd: ascii(odd)[:40],
)
def test_an_entry_of_another_shape_promises_nothing_and_leaves_the_others(odd: dict[str, Any]):
    good = json.loads(record_with(as_claim(), verdict(TWO, b=50), ()))
    record = json.dumps({ONE: odd, **good})
    claim = read(record)
    assert claim.complete == {TWO: 50}
    assert missing_bytes(verdict(THREE, a=100, b=50), claim) == 100
    assert room_needed(verdict(THREE, a=100), claim, {ONE, TWO}) == 150
    assert ONE not in json.loads(record_of(as_claim(record), (ONE, TWO)))


def test_a_configuration_as_deep_as_may_be_is_remembered():
    config: dict[str, Any] = {}
    for _ in range(99):
        config = {"a": config}
    claim = read(record_with(as_claim(), replace(verdict(ONE, a=1), config=config), ()))
    assert (claim.complete, claim.described[ONE].config) == ({ONE: 1}, config)


def test_only_files_that_no_complete_commit_has_are_to_be_fetched():
    claim = read(record_with(as_claim(), verdict(ONE, a=100, b=50), ()))
    assert missing_bytes(verdict(ONE, a=100, b=50), claim) == 0
    assert missing_bytes(verdict(TWO, a=100, c=70), claim) == 70
    assert missing_bytes(verdict(TWO, a=100), None) == 100


def test_the_running_commits_need_room_beside_the_new_one_shared_files_once():
    record = record_with(as_claim(), verdict(ONE, a=100, b=50), ())
    claim = read(record)
    assert room_needed(verdict(TWO, a=100, c=70), claim, {ONE}) == 170 + 50
    assert room_needed(verdict(TWO, a=100, c=70), claim, ()) == 170


def test_what_answers_and_what_did_before_are_remembered():
    claim = read(served=f"{ONE} {TWO}")
    assert served_with(claim, Served(THREE, "main", "d"))[SERVED_ANNOTATION] == (
        f"{THREE} {ONE} {TWO}"
    )
    assert served_with(claim, Served(TWO, "main", "d"))[SERVED_ANNOTATION] == f"{TWO} {ONE}"
    claim = replace(claim, answered=tuple("abcdefghijk"))
    assert served_with(claim, Served(ONE, "main", "z"))[PROVEN_ANNOTATION] == "z a b c d e f g h i"
    assert served_with(claim, Served(ONE, "main", "b"))[PROVEN_ANNOTATION] == "b a c d e f g h i j"


def test_what_was_asked_for_is_remembered_with_the_commit_that_answers():
    notes = served_with(read(), Served(ONE, "v1", "d"))
    made = as_claim()
    made["metadata"]["annotations"] = notes
    claim = weights_claims([made])["qwen"]
    assert (claim.served, claim.requested, claim.proven) == ((ONE,), "v1", "d")
    assert not is_news(claim, Served(ONE, "v1", "d"))
    assert is_news(claim, Served(TWO, "v1", "d"))
    assert is_news(claim, Served(ONE, "main", "d"))
    assert is_news(claim, Served(ONE, "v1", "other"))


def test_what_the_model_is_like_is_remembered_unless_it_is_very_long():
    config = {"model_type": "qwen3", "auto_map": {"AutoModel": "m.M"}}
    told = replace(verdict(ONE, a=1), config=config, parameters={"BF16": 7}, custom_code=("m.py",))
    told = replace(told, license="mit", gated="auto")
    claim = read(record_with(as_claim(), told, ()))
    assert claim.described[ONE] == Description(config, {"BF16": 7}, ("m.py",), "mit", "auto")
    long = replace(told, config={"layers": ["x" * 20] * 1000})
    claim = read(record_with(as_claim(), long, ()))
    assert claim.described[ONE] == Description(license="mit", gated="auto")
    assert claim.complete == {ONE: 1}


def test_terms_that_a_silent_hub_did_not_tell_are_not_taken_for_none():
    told = replace(verdict(ONE, a=1), access=Access.SILENT)
    assert read(record_with(as_claim(), told, ())).described[ONE].license is None


def test_going_back_makes_the_newer_one_the_one_before():
    notes = served_with(read(served=f"{TWO} {ONE}"), Served(ONE, "main", "d"))
    assert notes[SERVED_ANNOTATION] == f"{ONE} {TWO}"


def test_the_one_before_is_not_one_that_runs():
    claim = read(served=f"{TWO} {ONE}")
    assert served_before(claim, {TWO}) == ONE
    assert served_before(claim, {ONE, TWO}) == ""
    assert served_before(claim, ()) == TWO


def test_the_router_is_not_taken_for_a_model():
    router = {"metadata": {"labels": {"environment": "router"}}}
    assert deployed_models([router]) == {}


def test_a_pod_that_is_being_deleted_holds_no_commit():
    pod = {
        "metadata": {"labels": {"model": "qwen"}, "annotations": {REVISION_ANNOTATION: ONE}},
        "spec": {"nodeName": "a"},
    }
    leaving = {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "now"}}
    (found,) = engine_pods([pod, leaving])
    assert (found.node, found.revision) == ("a", ONE)


def refusing(text: str) -> WeightsClaim:
    made = as_claim()
    made["metadata"]["annotations"][REFUSED_ANNOTATION] = text
    return weights_claims([made])["qwen"]


def test_commits_that_did_not_do_are_remembered_the_last_one_first():
    first = refusing(str(refused_with(read(), ONE, "crash loop")[REFUSED_ANNOTATION]))
    assert first.refused == {ONE: "crash loop"}
    second = refusing(str(refused_with(first, TWO, "x" * 999)[REFUSED_ANNOTATION]))
    assert list(second.refused.items()) == [(TWO, "x" * 200), (ONE, "crash loop")]
    again = refused_with(second, ONE, "empty")[REFUSED_ANNOTATION]
    assert list(refusing(str(again)).refused) == [ONE, TWO]


def test_a_commit_that_answers_after_all_is_refused_no_more():
    claim = refusing(json.dumps({ONE: "crash loop"}))
    assert served_with(claim, Served(ONE, "main", "d"))[REFUSED_ANNOTATION] is None
    kept = served_with(claim, Served(TWO, "main", "d"))[REFUSED_ANNOTATION]
    assert refusing(str(kept)).refused == {ONE: "crash loop"}


def test_no_more_is_remembered_than_an_annotation_should_hold():
    claim = read()
    for number in range(20):
        text = refused_with(claim, f"{number:040}", "why")[REFUSED_ANNOTATION]
        claim = refusing(str(text))
    assert len(claim.refused) == 10


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"a": 1}', "[" * 9999])
def test_what_somebody_else_wrote_there_refuses_nothing(text: str):
    assert refusing(text).refused == {}

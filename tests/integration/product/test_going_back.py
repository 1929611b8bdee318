"""What serves again when a changed model does not answer, on a real API server and helm."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.integration.product.changing_models import (
    QWEN,
    asked,
    commit,
    history,
    phi,
    pods_of,
    served,
    session_of,
    versions,
)
from vllm_flows.names import engine_deployment

if TYPE_CHECKING:
    from conftest import Product

DOWNTIME = "  allowDowntime: true\n"
_OFTEN = 10
_HARDLY_SECONDS = 2.0
"""A port-forward that breaks off is opened anew in less."""


def shown_in_prefect(product: Product) -> str:
    """Return the newest table of models among the artifacts of the Prefect server."""
    wanted = {"key": {"any_": [f"models-{product.namespace}"]}}
    newest, *_ = product.prefect("artifacts/filter", artifacts=wanted, sort="CREATED_DESC")
    return str(newest["data"])


def silence(said: str) -> float:
    """Return the seconds that nobody answered, as the error says them."""
    if "; it was never silent" in said:
        return 0.0
    found = re.search(r"nobody answered for ([\d.]+) (ms|s)\b", said)
    assert found, said
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


def test_on_a_full_cluster_a_bad_revision_gives_way_to_the_one_that_served(
    crowded: Product, monkeypatch: pytest.MonkeyPatch
):
    crowded.only_free(1)
    good = commit(crowded)
    crowded.install(phi(good, DOWNTIME))
    session = session_of(crowded, monkeypatch)
    for fault, words in (
        ("crash", "the model does not fit the GPU's memory"),
        ("empty", "the answer has no text"),
    ):
        said = crowded.install(phi(commit(crowded, fault), DOWNTIME), code=1)
        assert "stop, then start: no replica answers until the new ones are ready" in said
        assert words in said
        assert f"{good[:8]} serves again, as before; " in said
        assert silence(said) > 0
        assert served(session) == good[:8]
    assert "nothing to change" in crowded.install(phi(good, DOWNTIME))
    # Without the word in models.yaml, the stop takes a yes.
    crowded.models(phi(commit(crowded)))
    before = versions(crowded)
    said = crowded.run("plan", code=1).stderr
    assert "no room beside what runs: it would not answer from when it stops" in said
    assert "next: run this again with --allow-downtime" in said
    crowded.run("upgrade", "--yes", code=1)
    assert versions(crowded) == before
    assert "stop, then start" in crowded.run("plan", "--allow-downtime").stderr
    done = crowded.run("upgrade", "--yes", "--allow-downtime")
    assert "phi4: answered in" in done.stderr
    assert "silent for" in done.stdout


def test_on_a_full_cluster_what_runs_ends_before_a_rollback_brings_what_served(
    crowded: Product, monkeypatch: pytest.MonkeyPatch
):
    crowded.only_free(1)
    good = commit(crowded)
    crowded.install(phi(good, DOWNTIME))
    crowded.install(phi(commit(crowded), DOWNTIME))
    said = crowded.run("rollback", "--yes").stderr
    assert "older pods of ReplicaSet" in said
    assert "phi4: answered in" in said
    session = session_of(crowded, monkeypatch)
    assert served(session) == good[:8]
    (deployment,) = crowded.objects("deployments", "model=phi4")
    assert not deployment["spec"].get("minReadySeconds")


def test_the_bad_pods_of_a_model_do_not_hold_the_room_that_going_back_takes(
    crowded: Product, monkeypatch: pytest.MonkeyPatch
):
    crowded.only_free(1)
    good = commit(crowded)
    crowded.install(phi(good, DOWNTIME))
    session = session_of(crowded, monkeypatch)
    # As people do who need the GPU for something else: nothing of the model is left to go back to.
    crowded.kubectl("delete", "deployment", engine_deployment("phi4"))
    bad = commit(crowded, "crash")
    crowded.install(phi(bad, DOWNTIME), code=1)
    said = crowded.install(phi(bad, DOWNTIME), code=1)
    assert f"{good[:8]} serves again, as before" in said
    assert served(session) == good[:8]
    assert "nothing to change" in crowded.install(phi(good, DOWNTIME))


def test_with_room_the_old_revision_serves_on_and_what_becomes_of_a_bad_one_is_chosen(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    good = commit(product)
    product.install(phi(good))
    session = session_of(product, monkeypatch)
    with asked(session) as heard:
        said = product.install(phi(commit(product, "crash"), "onFailure: retry"), code=1)
    assert said.count("once more, with new pods") == 1
    assert f"{good[:8]} serves again, as before; " in said
    assert silence(said) < _HARDLY_SECONDS
    assert len(heard) > _OFTEN
    assert all(heard)
    product.models(phi(commit(product, "wrong-id")), QWEN)
    done = product.run("install", "--yes", code=1)
    assert "the engine serves another name" in done.stderr
    (back,) = (line for line in done.stdout.splitlines() if line.startswith("phi4 "))
    (new,) = (line for line in done.stdout.splitlines() if line.startswith("qwen3 "))
    assert back.endswith(f"went back: {good[:8]} answers")
    assert "answers" in new
    assert f"went back: {good[:8]} answers" in shown_in_prefect(product)
    assert served(session) == good[:8]
    bad = commit(product, "empty")
    said = product.install(phi(bad, "onFailure: keep"), code=1)
    assert "it stays as it is, nothing of before was brought back" in said
    (deployment,) = product.objects("deployments", "model=phi4")
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["vllm-flows.io/revision"] == bad
    planned = product.run("plan", "-o", "json", "--detailed-exitcode", code=2)
    (row,) = json.loads(planned.stdout)["models"]
    assert row["action"] == "prove"
    assert row["reason"] == "not proven: it is asked last, and stays if it does not answer"
    # What else is to be done is done all the same, also when run after run ends with its failure.
    product.models(phi(bad, "onFailure: keep"), QWEN)
    done = product.run("install", "--yes", code=1)
    assert "phi4: the answer has no text" in done.stderr
    assert "qwen3: answered in" in done.stderr
    said = product.install(phi(bad), code=1)
    assert "plan: phi4: prove (not proven: it is asked first; goes back" in said
    assert f"{good[:8]} serves again, as before" in said
    assert "phi4: answered in" in product.install(phi(good))


def test_a_router_that_is_not_there_is_held_against_no_model(product: Product):
    product.install(QWEN)
    changed = QWEN + "  vllmConfig: {maxModelLen: 1024}\n"
    router = "vllm-deployment-router"
    product.kubectl("scale", f"deployment/{router}", "--replicas=0")
    assert f"no pod of the router is ready ({router})" in product.run("plan").stderr
    nowhere = {"VLLM_ROUTER_REQUEST_CPU": "9000"}
    said = product.install(changed, code=1, **nowhere)
    assert "the router is not ready: " in said
    assert "[no-room]" in said
    assert "back to what served" not in said
    revisions = len(history(product))
    # Without its router nobody knows of the model whether it answers; that is set right first.
    product.kubectl("scale", f"deployment/{router}", "--replicas=0")
    said = product.install(changed)
    assert "plan: qwen3: prove" in said
    assert "qwen3: answered in" in said
    assert len(history(product)) == revisions + 1


def test_what_all_engines_share_goes_back_with_all_of_them_and_each_is_asked(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    good = commit(product)
    product.install(QWEN, phi(good))
    bad = commit(product, "empty")
    said = product.install(QWEN, phi(bad), code=1, VLLM_API_KEY="a-key")
    assert f"{good[:8]} serves again, as before; " in said
    assert "qwen3: went back too, as what changed is common to all engines, and answers" in said
    assert served(session_of(product, monkeypatch)) == good[:8]
    values = json.loads(product.helm("get", "values", "vllm", "-o", "json"))
    assert "vllmApiKey" not in values["servingEngineSpec"]
    said = product.install(QWEN, phi(good))
    assert "phi4: answered in" in said
    assert "nothing to change" in product.install(QWEN, phi(good))
    values = json.loads(product.helm("get", "values", "vllm", "-o", "json"))
    assert "vllmApiKey" in values["servingEngineSpec"]


def test_two_replicas_without_room_are_replaced_in_turn_and_one_always_answers(
    crowded: Product, monkeypatch: pytest.MonkeyPatch
):
    crowded.only_free(2)
    crowded.install(phi(commit(crowded), "replicaCount: 2"))
    session, good = session_of(crowded, monkeypatch), commit(crowded)
    with asked(session) as heard:
        said = crowded.install(phi(good, "replicaCount: 2"))
        assert "one replica at a time: the others answer" in said
        assert "all 2 replicas" in said
        said = crowded.install(phi(commit(crowded, "crash"), "replicaCount: 2"), code=1)
        assert f"{good[:8]} serves again, as before" in said
    assert len(heard) > _OFTEN
    assert all(heard)
    assert len(pods_of(crowded, "phi4")) == 2


def test_of_several_replicas_rubbish_does_not_replace_them_all(crowded: Product):
    crowded.only_free(4)
    good = commit(crowded)
    crowded.install(phi(good, "replicaCount: 4"))
    before = pods_of(crowded, "phi4")
    said = crowded.install(phi(commit(crowded, "empty"), "replicaCount: 4"), code=1)
    assert "one replica at a time: the others answer" in said
    assert re.search(r"phi4: replica \S+: the answer has no text", said)
    assert f"{good[:8]} serves again, as before" in said
    assert before.keys() & pods_of(crowded, "phi4").keys()

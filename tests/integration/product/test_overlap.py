"""With room for both, older replicas serve until new ones were seen to answer, and end well."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.integration.product.changing_models import (
    DEPLOYMENT,
    QWEN,
    REPOSITORY,
    commit,
    history,
    phi,
    pods_of,
    served,
    session_of,
)
from tests.integration.product.test_going_back import silence
from vllm_flows.completions import ModelsApi
from vllm_flows.errors import VllmFlowsError
from vllm_flows.session import Session

if TYPE_CHECKING:
    from conftest import Product

    from tests.integration.product.watched import Watched

_AT_ONCE = 4
_LONG_TOKENS = 1500
_PATIENCE = 60.0
_HARDLY_SECONDS = 2.0
"""A port-forward that breaks off is opened anew in less."""


def long_answer(api: ModelsApi) -> str:
    """Read an answer that takes longer than the change."""
    body = {"model": "phi4", "prompt": "hi", "max_tokens": _LONG_TOKENS, "ignore_eos": True}
    found = api.client.post("/v1/completions", json=body, timeout=120).raise_for_status()
    return str(found.json()["choices"][0]["text"])


@contextmanager
def load(api: ModelsApi) -> Iterator[list[str]]:
    """Ask for completions all the time, several at once; what came of each is in the list."""
    done, heard = threading.Event(), list[str]()

    def ask() -> None:
        while not done.is_set():
            try:
                heard.append("" if api.complete("phi4", "hi", tokens=8).text else "no text")
            except VllmFlowsError as error:
                heard.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(_AT_ONCE)]
    for thread in threads:
        thread.start()
    try:
        yield heard
    finally:
        done.set()
        for thread in threads:
            thread.join()


def settled(product: Product) -> None:
    """Assert that nothing is left of what was held."""
    deployment = next(iter(product.objects("deployments", "model=phi4")))
    assert not deployment["spec"].get("minReadySeconds")
    pods = product.objects("pods", "helm-release-name=vllm")
    assert [pod["metadata"]["labels"].get("model") for pod in pods].count("phi4") == 1
    assert not [pod for pod in pods if "vllm-flows.io/draining" in pod["metadata"]["labels"]]


def test_no_request_is_lost_and_a_long_answer_comes_to_its_end(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    product.install(phi(commit(product)))
    session = session_of(product, monkeypatch)
    answer: list[str] = []
    with session.models_api("phi4") as api:
        reader = threading.Thread(target=lambda: answer.append(long_answer(api)))
        reader.start()
        with load(api) as heard:
            said = product.install(phi(commit(product)))
        reader.join(timeout=60)
    assert "older replicas get no more requests" in said, said
    assert [one for one in heard if one] == []
    assert len(heard) > 100
    assert len(answer[0].split()) == _LONG_TOKENS
    settled(product)


def test_what_a_run_that_was_killed_holds_and_drains_is_made_good_by_the_next(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    product.install(phi(commit(product)))
    session = session_of(product, monkeypatch)
    newest = commit(product)
    product.models(phi(newest))
    (old,) = session.ready_replicas("phi4")
    over = threading.Event()
    answers: list[str] = []
    with session.replica_api(old, None) as api:

        def ask() -> None:
            while not over.is_set():
                answers.append(long_answer(api))

        reader = threading.Thread(target=ask)
        reader.start()
        with product.watched() as run:
            run.until("older replicas still answer")
            run.process.kill()
            run.ended()
        planned = product.run("plan").stderr
        with product.watched() as run:
            run.until("left by an interrupted run: older replicas still answer")
            over.set()
            assert run.ended() == 0, run.said
        reader.join()
    assert [len(answer.split()) for answer in answers] == [_LONG_TOKENS] * len(answers)
    assert "phi4: its rollout is held, and no older replica is kept for it any more" in planned
    assert f"Pod {old.pod} gets no more requests, and ends once it has none left" in planned
    said = run.said
    assert f"Pod {old.pod} was left by an interrupted run, and serves nobody: deleted" in said
    assert "phi4: answered in" in said
    settled(product)
    assert "nothing to change" in product.install(phi(newest))


def test_a_replica_that_a_killed_run_left_to_the_router_ends_well_all_the_same(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    product.install(phi(commit(product)))
    session = session_of(product, monkeypatch)
    (old,) = session.ready_replicas("phi4")
    product.models(phi(commit(product)))
    run_until_beside(product, signal.SIGKILL)
    ready_beside(session)
    # What a run does that is killed while it takes the older replica away from its ReplicaSet.
    product.kubectl("label", "pod", old.pod, "vllm-flows.io/draining=true")
    product.kubectl("delete", "replicaset", old.pod.rpartition("-")[0], "--cascade=orphan")
    assert f"Pod {old.pod} still gets requests" in product.run("plan").stderr
    with session.models_api("phi4") as api, load(api) as heard:
        said = product.run("install", "--yes").stderr
    assert "left by an interrupted run: 1 older replicas get no more requests" in said
    assert [one for one in heard if one] == []
    assert len(heard) > 20
    settled(product)


def until_held(product: Product, run: Watched) -> None:
    """Wait until a run has old and new replicas side by side: these may load in no time."""
    end = time.monotonic() + _PATIENCE
    while not any(
        one["spec"].get("minReadySeconds") for one in product.objects("deployments", "model=phi4")
    ):
        assert run.process.poll() is None, run.said
        assert time.monotonic() < end, run.said


def run_until_beside(product: Product, how: signal.Signals) -> None:
    """End a run while replicas of a new commit start, and the older ones are kept."""
    with product.watched() as run:
        until_held(product, run)
        run.process.send_signal(how)
        run.ended()


def ready_beside(session: Session, count: int = 2) -> None:
    """Wait until old and new replicas are ready, side by side: so many together."""
    end = time.monotonic() + _PATIENCE
    while len(session.ready_replicas("phi4")) < count:
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_who_takes_over_from_a_run_that_ended_asks_the_new_replicas_while_the_old_ones_serve(
    product: Product, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
):
    good = commit(product)
    product.install(phi(good))
    session = session_of(product, monkeypatch)
    product.models(phi(commit(product, "empty")))
    run_until_beside(product, how)
    ready_beside(session)
    assert "(an interrupted run left it so" in product.run("plan").stderr
    revisions = len(history(product))
    said = product.run("install", "--yes", code=1).stderr
    assert f"{good[:8]} serves again, as before" in said
    assert silence(said) < _HARDLY_SECONDS
    assert len(history(product)) == revisions + 1
    assert served(session) == good[:8]
    settled(product)


@pytest.mark.parametrize("verb", ["update phi4", "install"])
def test_a_far_slower_commit_that_a_killed_run_left_gives_way_to_what_serves_beside_it(
    product: Product, monkeypatch: pytest.MonkeyPatch, verb: str
):
    good = commit(product)
    product.install(phi(good))
    product.run("check", "phi4")
    session = session_of(product, monkeypatch)
    (kept,) = session.ready_replicas("phi4")
    bad = commit(product, "slow-tokens")
    product.models(phi(bad))
    run_until_beside(product, signal.SIGKILL)
    ready_beside(session)
    said = product.run(*verb.split(), "--yes", code=1).stderr
    assert "its answers are worse than before" in said
    assert f"{good[:8]} serves again, as before" in said
    assert session.ready_replicas("phi4") == [kept]
    assert served(session) == good[:8]
    settled(product)
    told = product.run("update", "phi4", "--yes").stderr
    assert f"{bad[:8]} was tried before and did not do" in told


def test_a_rollback_loses_no_request_either(product: Product, monkeypatch: pytest.MonkeyPatch):
    good = commit(product)
    product.install(phi(good))
    product.install(phi(commit(product)))
    session = session_of(product, monkeypatch)
    answer: list[str] = []
    with session.models_api("phi4") as api:
        reader = threading.Thread(target=lambda: answer.append(long_answer(api)))
        reader.start()
        with load(api) as heard:
            said = product.run("rollback", "--yes").stderr
        reader.join(timeout=60)
    assert "older replicas get no more requests" in said, said
    assert [one for one in heard if one] == []
    assert len(heard) > 20
    assert len(answer[0].split()) == _LONG_TOKENS
    assert served(session) == good[:8]
    settled(product)


def test_a_rollback_that_was_killed_is_gone_on_with_and_loses_no_request(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    good = commit(product)
    product.install(phi(good))
    product.install(phi(commit(product)))
    session = session_of(product, monkeypatch)
    with session.models_api("phi4") as api, load(api) as heard:
        with product.watched("rollback") as run:
            until_held(product, run)
            run.process.kill()
            run.ended()
        ready_beside(session)
        revisions = len(history(product))
        said = product.run("rollback", "--yes").stderr
    assert "older replicas get no more requests" in said, said
    assert [one for one in heard if one] == []
    assert len(history(product)) == revisions
    assert served(session) == good[:8]
    settled(product)


def test_a_rollback_takes_what_a_killed_run_kept(product: Product, monkeypatch: pytest.MonkeyPatch):
    good = commit(product)
    product.install(phi(good))
    session = session_of(product, monkeypatch)
    (kept,) = session.ready_replicas("phi4")
    product.models(phi(commit(product)))
    run_until_beside(product, signal.SIGKILL)
    ready_beside(session)
    product.run("rollback", "--yes")
    assert served(session) == good[:8]
    assert kept in session.ready_replicas("phi4")
    settled(product)


def test_older_replicas_serve_on_when_the_new_ones_answer_rubbish(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    good = commit(product)
    product.install(phi(good))
    session = session_of(product, monkeypatch)
    bad = commit(product, "empty")
    with session.models_api("phi4") as api, load(api) as heard:
        said = product.install(phi(bad), code=1)
    assert f"{good[:8]} serves again, as before; " in said
    assert "1 newer replicas get no more requests" in said
    assert [one for one in heard if one and "no text" not in one] == []
    settled(product)


def test_what_a_killed_run_brought_ends_well_when_another_takes_its_place(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    product.install(phi(commit(product)))
    session = session_of(product, monkeypatch)
    product.models(phi(commit(product)))
    run_until_beside(product, signal.SIGKILL)
    ready_beside(session)
    newest = commit(product)
    with session.models_api("phi4") as api, load(api) as heard:
        said = product.install(phi(newest))
    assert "1 newer replicas get no more requests" in said
    assert [one for one in heard if one] == []
    assert served(session) == newest[:8]
    settled(product)


def test_what_a_killed_run_left_is_asked_before_its_older_replicas_end_whatever_is_changed(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    good = commit(product)
    product.install(phi(good), QWEN)
    session = session_of(product, monkeypatch)
    bad = commit(product, "empty")
    product.models(phi(bad), QWEN)
    run_until_beside(product, signal.SIGKILL)
    ready_beside(session)
    product.hub("commit", repo="Qwen/Qwen3-4B", kind="weights")
    product.run("update", "qwen3", "--yes")
    assert len(session.ready_replicas("phi4")) == 2
    said = product.install(phi(bad, "replicaCount: 2"), QWEN, code=1)
    assert f"{good[:8]} serves again, as before" in said
    assert silence(said) < _HARDLY_SECONDS
    assert served(session) == good[:8]
    settled(product)


def scalings(product: Product) -> set[str]:
    """Return what the controller said of each time that it scaled a ReplicaSet of the model."""
    chosen = f"reason=ScalingReplicaSet,involvedObject.name={DEPLOYMENT}"
    found = product.kubectl("get", "events", "-o", "json", "--field-selector", chosen)
    return {f"{one['message']} x{one.get('count')}" for one in json.loads(found)["items"]}


def as_killed_while_setting_aside(product: Product) -> None:
    """Do what a run does that is killed after it paused the Deployment, before any pod went."""
    limits = {"maxSurge": 2, "maxUnavailable": 0}
    fields = {"spec": {"paused": True, "strategy": {"rollingUpdate": limits}}}
    product.kubectl("patch", "deployment", DEPLOYMENT, "--type=merge", "-p", json.dumps(fields))
    assert "phi4: next: vllm-flows " in product.run("status").stderr
    assert "spec.paused" not in product.run("plan").stderr


@pytest.mark.parametrize("paused", [False, True])
def test_no_older_replica_ends_and_none_is_made_on_the_way_back_whatever_surge_helm_wrote(
    product: Product,
    monkeypatch: pytest.MonkeyPatch,
    paused: bool,  # noqa: FBT001 -- a parameter
):
    good = commit(product)
    product.install(phi(good, "replicaCount: 2"), QWEN)
    session = session_of(product, monkeypatch)
    old = pods_of(product, "phi4")
    product.models(phi(commit(product, "empty"), "replicaCount: 2"), QWEN)
    run_until_beside(product, signal.SIGKILL)
    ready_beside(session, 4)
    before = scalings(product)
    if paused:
        as_killed_while_setting_aside(product)
    product.hub("commit", repo="Qwen/Qwen3-4B", kind="weights")
    product.run("update", "qwen3", "--yes")
    said = product.run("install", "--yes", code=1).stderr
    assert f"{good[:8]} serves again, as before" in said
    assert "2 newer replicas get no more requests" in said
    assert pods_of(product, "phi4") == old
    assert scalings(product) == before
    (deployment,) = product.objects("deployments", "model=phi4")
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 1
    assert not deployment["spec"].get("paused")


def test_a_commit_that_did_not_do_is_not_tried_again_until_the_branch_moves(product: Product):
    good = commit(product)
    product.install(phi())
    body = {"repo": REPOSITORY, "kind": "config", "config": {"sandbox_fault": "empty"}}
    product.hub("commit", **body)
    said = product.install(phi(), code=1)
    assert f"{good[:8]} serves again, as before" in said
    said = product.install(phi())
    assert "which was tried and did not do (replica vllm-phi4-" in said
    assert "the answer has no text): stays at" in said
    assert "nothing to change" in said
    newest = commit(product)
    assert f"revision {good[:8]} -> {newest[:8]}" in product.install(phi())

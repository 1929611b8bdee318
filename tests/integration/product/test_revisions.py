"""A commit pushed to the Hub becomes one event of the Prefect server, or none."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from huggingface_hub import HfApi

if TYPE_CHECKING:
    from conftest import Product

PHI = "- name: phi4\n  modelURL: microsoft/Phi-4-mini-instruct\n"
QWEN = "- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n"
EVENT = "huggingface.model.revision"
_PATIENCE = 30.0
_QUIET_SECONDS = 7.0
"""The server writes events down every five seconds."""


@pytest.fixture(scope="module")
def serving(shared_product: Product) -> Iterator[Product]:
    """Serve two models once for all of these tests."""
    shared_product.install(PHI, QWEN)
    yield shared_product
    shared_product.hub("behave")


def commit(product: Product, kind: str, repo: str = "microsoft/Phi-4-mini-instruct") -> str:
    return str(product.hub("commit", repo=repo, kind=kind)["sha"])


def watched(product: Product) -> str:
    """Look, and tell, on the sandbox's Prefect server; return what was said."""
    return product.run("check-revisions", "--tell").stderr


def events(product: Product, new: str) -> list[dict[str, Any]]:
    """Return the events about a commit in this namespace that the server has written down."""
    label = {"vllm-flows.namespace": product.namespace}
    some = {"event": {"name": [EVENT]}, "resource": {"labels": label}}
    found = product.prefect("events/filter", filter=some, limit=50)["events"]
    return [one for one in found if one["payload"]["new"] == new]


def told(product: Product, new: str) -> list[dict[str, Any]]:
    """Wait for an event about the commit, and then for another one."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and not events(product, new):
        time.sleep(0.3)
    time.sleep(_QUIET_SECONDS)
    return events(product, new)


def test_a_commit_is_one_event_however_often_it_is_looked_at(serving: Product):
    new = commit(serving, "weights")
    assert "told of 1: phi4" in watched(serving)
    assert "nothing new to tell" in watched(serving)
    (event,) = told(serving, new)
    payload, resource = event["payload"], event["resource"]
    assert (payload["model"], payload["class"]) == ("phi4", "weights")
    assert payload["files"] == ["model.safetensors"]
    assert payload["namespace"] == serving.namespace
    assert resource["prefect.resource.id"] == "huggingface.model.microsoft.Phi-4-mini-instruct"
    rows = json.loads(serving.run("check-revisions", "-o", "json").stdout)
    assert {row["model"]: row["class"] for row in rows} == {"phi4": "weights", "qwen3": "none"}
    assert rows[0]["tracked"] == new
    assert rows[0]["update"]["answer"] == "now"


def test_a_look_by_hand_writes_nothing(serving: Product):
    commit(serving, "docs")
    before = serving.versions()
    serving.run("check-revisions")
    assert serving.versions() == before


def test_a_readme_alone_is_noted_and_may_not_be_rolled_out(serving: Product):
    new = commit(serving, "docs", "Qwen/Qwen3-4B")
    watched(serving)
    (event,) = told(serving, new)
    assert event["payload"]["class"] == "documentation"
    assert event["resource"]["vllm-flows.class"] == "documentation"
    rows = json.loads(serving.run("check-revisions", "-o", "json").stdout)
    assert rows[1]["update"]["answer"] == "no"


def test_of_two_watchers_at_once_one_tells(serving: Product):
    new = commit(serving, "tokenizer")
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda _: watched(serving), range(2)))
    assert sum("told of 1: phi4" in one for one in said) == 1
    assert len(told(serving, new)) == 1


def test_a_watcher_that_was_killed_before_it_told_loses_nothing_and_doubles_nothing(
    serving: Product,
):
    new = commit(serving, "template")
    watched(serving)
    (first,) = told(serving, new)
    age(serving)
    assert "nothing new to tell" in watched(serving)
    assert [one["id"] for one in told(serving, new)] == [first["id"]]
    lost = commit(serving, "template")
    pretend_killed(serving, lost)
    assert "told of 1: phi4" in watched(serving)
    assert len(told(serving, lost)) == 1


def memory(product: Product) -> dict[str, Any]:
    (found,) = [
        one
        for one in product.objects("configmaps")
        if one["metadata"]["name"] == "vllm-flows-revisions"
    ]
    kept: dict[str, Any] = json.loads(found["data"]["told"])
    return kept


def write(product: Product, kept: dict[str, Any]) -> None:
    patch = json.dumps({"data": {"told": json.dumps(kept)}})
    product.kubectl("patch", "configmap", "vllm-flows-revisions", "--type=merge", "-p", patch)


def age(product: Product) -> None:
    """Let the last claim be as old as that of a watcher that did not come back."""
    kept = memory(product)
    kept["phi4"]["sent"] -= 1000
    write(product, kept)


def pretend_killed(product: Product, new: str) -> None:
    """Leave the claim of a watcher that was killed right after it, some time ago."""
    kept = memory(product)
    past = time.time() - 1000
    kept["phi4"] |= {"new": new, "since": past, "sent": past, "arrived": False}
    write(product, kept)


def test_a_silent_hub_fails_no_watcher(serving: Product):
    serving.hub("fail", status=503, count=1000, path="/api/models/")
    said = watched(serving)
    serving.hub("fail", status=503, count=0)
    assert "answers HTTP 503" in said
    rows = json.loads(serving.run("check-revisions", "-o", "json").stdout)
    assert "unknown" not in {row["class"] for row in rows}


def test_the_schedule_and_an_automation_know_it(serving: Product):
    deployments = {one["name"]: one for one in serving.prefect("deployments/filter")}
    (schedule,) = deployments["watch"]["schedules"]
    assert (schedule["active"], schedule["schedule"]["interval"]) == (True, 900.0)


SECRET = "planted-canary-secret-of-webhooks"


@contextmanager
def receiving(product: Product, **environ: str) -> Iterator[str]:
    """Run `vllm-flows webhook`, yield its address, and end it as Kubernetes would."""
    secret = {"VLLM_WEBHOOK_SECRET": SECRET}
    with product.start("webhook", "--port", "0", **secret, **environ) as process:
        assert process.stderr
        try:
            line = process.stderr.readline()
            (address,) = re.findall(r"http://127\.0\.0\.1:\d+/webhook$", line)
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
            _, rest = process.communicate(timeout=_PATIENCE)
    assert process.returncode == 0, rest
    assert "canary" not in rest


def watch_runs(product: Product) -> int:
    """Return how many runs of `watch` the server knows of in this namespace."""
    named = {"name": {"any_": [f"watch-{product.namespace}"]}}
    return len(product.prefect("flow_runs/filter", flow_runs=named))


def test_a_commit_is_told_by_a_webhook_with_nobody_touching_anything(serving: Product):
    sandbox = serving.sandbox
    hub = HfApi(endpoint=sandbox.hub_url, token=sandbox.hub_token)
    watched_models = [{"type": "model", "name": "microsoft/Phi-4-mini-instruct"}]
    with receiving(serving) as address:
        hub.create_webhook(url=address, watched=watched_models, domains=["repo"], secret=SECRET)
        new = commit(serving, "weights")
        (event,) = told(serving, new)
        assert event["payload"]["class"] == "weights"
        runs = watch_runs(serving)
        for secret, length in ((SECRET, 100_000), ("forged", 0), (SECRET, 0)):
            body = {
                "event": {"action": "update", "scope": "repo.content"},
                "repo": {"type": "model", "name": "microsoft/Phi-4-mini-instruct"},
                "updatedRefs": [{"ref": "refs/heads/other", "newSha": "f" * 40}],
                "padding": "x" * length,
            }
            answer = httpx.post(address, json=body, headers={"X-Webhook-Secret": secret})
            assert answer.status_code in {413, 403, 200}
        time.sleep(_QUIET_SECONDS)
        assert watch_runs(serving) == runs
        assert len(events(serving, new)) == 1

"""Another API key: what clients with the old and the new one see, and who is refused afterwards."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.integration.product.changing_models import QWEN, commit, phi, session_of
from tests.support import asked_often
from vllm_flows.completions import ModelsApi
from vllm_flows.portforward import forwarded
from vllm_flows.session import API_PORT, Session

if TYPE_CHECKING:
    from conftest import Product

OLD, NEW, WRONG = "old-key-of-mine", "new-key-of-mine", "wrong-key-of-mine"
TWO = QWEN + "  replicaCount: 2\n"
QUESTION = {"model": "qwen3", "prompt": "hi", "max_tokens": 1}


def answer(address: str, key: str | None) -> int:
    """Return the status with which the model answers who has that key; 0 for no answer at all."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        found = httpx.post(
            f"{address}/v1/completions", json=QUESTION, headers=headers, trust_env=False, timeout=5
        )
    except httpx.HTTPError:
        return 0
    return found.status_code


def refusals(address: str) -> dict[str | None, int]:
    return {key: answer(address, key) for key in (None, WRONG, OLD, NEW)}


def of_every_replica(session: Session) -> list[dict[str | None, int]]:
    """Ask each engine pod itself, past the router."""
    found = []
    for replica in session.ready_replicas("qwen3"):
        name = replica.pod
        with forwarded(session.cluster, lambda name=name: name, API_PORT) as port:
            found.append(refusals(f"http://127.0.0.1:{port}"))
    return found


def test_the_old_key_is_answered_until_the_new_replicas_are_and_then_refused_by_each(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    product.install(TWO, phi(commit(product)), VLLM_API_KEY=OLD)
    session = session_of(product, monkeypatch)
    heard: list[tuple[bool, bool]] = []

    def ask() -> bool:
        with session.models_api("qwen3") as api:
            keyed = [ModelsApi(api.client, key) for key in (OLD, NEW)]
            new = _answers(keyed[1])  # asked first: once it is taken the old one is not
            heard.append((_answers(keyed[0]), new))
        return True

    with asked_often(ask):
        said = product.install(TWO, phi("main"), VLLM_API_KEY=NEW)
    assert "plan: qwen3: restart (the API key changed)" in said
    assert "take the old one until their new replicas are ready" in said
    assert "all engines hold the new API key; the router follows" in said
    assert "all 2 replicas" in said
    first = next(number for number, (_, new) in enumerate(heard) if new)
    assert sum(old for old, _ in heard[:first]) > 5
    assert not any(old for old, _ in heard[first:])
    assert of_every_replica(session) == [{None: 401, WRONG: 401, OLD: 401, NEW: 200}] * 2
    with session.models_api("qwen3") as api:
        assert refusals(str(api.client.base_url).rstrip("/")) == of_every_replica(session)[0]
    assert "nothing to change" in product.install(TWO, phi("main"))


def _answers(api: ModelsApi) -> bool:
    """Say whether the model takes this very key."""
    try:
        return bool(api.complete("qwen3", "hi", tokens=1).text)
    except Exception:  # noqa: BLE001 -- whatever it is, it is no answer
        return False


def test_a_key_that_somebody_else_put_into_the_secret_is_seen_and_brought_to_the_pods(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    product.install(QWEN, VLLM_API_KEY=OLD)
    value = base64.b64encode(NEW.encode()).decode()
    product.kubectl("patch", "secret", "vllm-api-key", "--type=merge", "-p", patched(NEW))
    planned = product.run("plan", "--detailed-exitcode", code=2).stdout
    assert "the API key changed" in planned
    assert "qwen3: answered in" in product.install(QWEN)
    session = session_of(product, monkeypatch)
    assert of_every_replica(session) == [{None: 401, WRONG: 401, OLD: 401, NEW: 200}]
    (pod,) = product.objects("pods", "model=qwen3")
    marks = json.dumps(pod["metadata"]["annotations"])
    assert NEW not in marks
    assert value not in marks


def test_uninstall_takes_the_key_of_the_digest_with_it(product: Product):
    product.install(QWEN, VLLM_API_KEY=OLD)
    named = {item["metadata"]["name"] for item in product.objects("secrets")}
    assert "vllm-flows-digest-key" in named
    product.run("uninstall", "--yes")
    assert not any("vllm-" in item["metadata"]["name"] for item in product.objects("secrets"))


def test_a_replica_that_read_a_key_which_was_never_installed_is_found_and_repaired(
    product: Product,
):
    product.install(QWEN, VLLM_API_KEY=OLD)
    product.kubectl("patch", "secret", "vllm-api-key", "--type=merge", "-p", patched(NEW))
    product.kubectl("delete", "pod", "-l", "model=qwen3", "--wait")
    product.kubectl("wait", "--for=condition=Available", "deployment", "-l", "model=qwen3")
    product.kubectl("patch", "secret", "vllm-api-key", "--type=merge", "-p", patched(OLD))
    (pod,) = product.objects("pods", "model=qwen3")
    helps = f"kubectl -n {product.namespace} delete pod {pod['metadata']['name']}"
    for asking in (["test-completions", "qwen3"], ["wait"], ["install", "--yes"]):
        assert helps in product.run(*asking, code=1).stderr
    found = json.loads(product.run("check", "-o", "json", code=6).stdout)
    assert found["models"][0]["findings"][0]["kind"] == "other-key"
    assert "was ended, another takes its place" in product.run("check", "--repair", code=6).stderr
    product.run("wait")


def test_a_router_that_read_a_key_which_was_never_installed_is_found_and_repaired(
    product: Product,
):
    product.install(TWO, VLLM_API_KEY=OLD)
    product.kubectl("patch", "secret", "vllm-api-key", "--type=merge", "-p", patched(NEW))
    product.kubectl("delete", "pod", "-l", "environment=router", "--wait")
    router = "deployment/vllm-deployment-router"
    product.kubectl("wait", "--for=condition=Available", router)
    product.kubectl("patch", "secret", "vllm-api-key", "--type=merge", "-p", patched(OLD))
    (pod,) = product.objects("pods", "environment=router")
    helps = f"kubectl -n {product.namespace} delete pod {pod['metadata']['name']}"
    # The first of these gives the router its time to meet the replicas.
    for asking in (["wait"], ["test-completions", "qwen3"], ["install", "--yes"]):
        assert helps in product.run(*asking, code=1).stderr
    assert helps in product.run("list-api-models").stderr
    found = json.loads(product.run("check", "-o", "json", code=6).stdout)
    (routed,) = found["shared"][0]["findings"]
    assert (routed["kind"], routed["next"]) == ("other-key", helps)
    assert found["models"][0]["findings"][0]["next"] == helps
    assert "was ended, another takes its place" in product.run("check", "--repair", code=6).stderr
    product.kubectl("rollout", "status", router)
    product.run("wait")


def test_a_replica_that_has_a_key_before_the_router_waits_for_the_install(product: Product):
    product.install(QWEN, VLLM_API_KEY=OLD)
    product.kubectl("patch", "secret", "vllm-api-key", "--type=merge", "-p", patched(NEW))
    product.kubectl("delete", "pod", "-l", "model=qwen3", "--wait")
    product.kubectl("wait", "--for=condition=Available", "deployment", "-l", "model=qwen3")
    # `wait` first: it gives the router the time to meet the replica.
    for asking in (["wait"], ["test-completions", "qwen3"]):
        assert "next: vllm-flows install" in product.run(*asking, code=1).stderr
    found = json.loads(product.run("check", "-o", "json", code=6).stdout)
    assert found["models"][0]["findings"][0]["next"] == "vllm-flows install"
    product.install(QWEN)


def patched(key: str) -> str:
    return json.dumps({"data": {"api-key": base64.b64encode(key.encode()).decode()}})

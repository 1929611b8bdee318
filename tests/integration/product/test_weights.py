"""Weights Jobs on a real API server: where they run, what admits them, what stays on the volume."""

from __future__ import annotations

import json
import os
import subprocess
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vllm_flows.cluster import Cluster
from vllm_flows.diagnosis_categories import Category
from vllm_flows.models import Model
from vllm_flows.observed import HubFile, Verdict
from vllm_flows.settings import load_settings
from vllm_flows.weights_manifests import WeightsOrder, weights_job
from vllm_flows.weights_watch import WeightsWatch

if TYPE_CHECKING:
    from conftest import Product

QWEN = "- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n"


def pod_of_job(**settings: object) -> dict[str, Any]:
    """Return the pod that a weights Job would make."""
    verdict = Verdict("q", "o/q", "a" * 40, files=(HubFile("a", 1, None, "b"),))
    order = WeightsOrder(nodes=("gpu-node-1",), token=True)
    job = weights_job(Model(name="q", modelURL="o/q"), verdict, load_settings(**settings), order)
    template: dict[str, Any] = job["spec"]["template"]
    metadata = {**template["metadata"], "name": "weights-q"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def admitted(product: Product, pod: dict[str, Any]) -> bool:
    """Say whether the API server would take the pod."""
    path = product.folder / "pod.json"
    path.write_text(json.dumps(pod))
    try:
        product.kubectl("create", "--dry-run=server", "-f", str(path))
    except subprocess.CalledProcessError:
        return False
    return True


@pytest.mark.parametrize(
    ("level", "user", "taken"),
    [("baseline", None, True), ("restricted", None, False), ("restricted", 1000, True)],
)
def test_the_weights_pod_meets_pod_security(
    product: Product, level: str, user: int | None, *, taken: bool
):
    product.kubectl("create", "namespace", product.namespace)
    product.kubectl(
        "label", "namespace", product.namespace, f"pod-security.kubernetes.io/enforce={level}"
    )
    assert admitted(product, pod_of_job(weights_user=user)) is taken


def test_the_job_holds_the_token_by_reference_and_the_engine_not_at_all(product: Product):
    product.set_token()
    product.install("- name: llama3\n  modelURL: meta-llama/Llama-3.2-3B-Instruct\n")
    (job,) = product.objects("jobs")
    text = json.dumps(job)
    assert '"secretKeyRef": {"key": "token", "name": "hf-token"}' in text
    assert product.sandbox.hub_token not in text
    (engine,) = product.objects("pods", "model=llama3")
    assert "HF_TOKEN" not in json.dumps(engine)
    (pod,) = product.objects("pods", "vllm-flows.io/model=llama3")
    assert pod["spec"]["nodeName"].startswith("gpu-node-")


def test_the_revisions_served_now_and_before_stay_and_older_ones_go(product: Product):
    product.install(QWEN.replace("Qwen3-4B\n", "Qwen3-4B\n  revision: v1.0\n"))
    product.install(QWEN)
    product.hub("commit", repo="Qwen/Qwen3-4B", kind="weights")
    product.install(QWEN)
    (claim,) = product.objects("pvc")
    notes = claim["metadata"]["annotations"]
    served = notes["vllm-flows.io/served"].split()
    assert len(served) == 3
    kept = set(json.loads(notes["vllm-flows.io/weights"]))
    assert kept >= set(served[:2])
    product.hub("commit", repo="Qwen/Qwen3-4B", kind="weights")
    product.install(QWEN)
    (claim,) = product.objects("pvc")
    notes = claim["metadata"]["annotations"]
    assert served[0] in json.loads(notes["vllm-flows.io/weights"])
    assert served[0] == notes["vllm-flows.io/served"].split()[1]


def test_going_back_to_the_revision_before_fetches_nothing(product: Product):
    old = QWEN.replace("Qwen3-4B\n", "Qwen3-4B\n  revision: v1.0\n")
    product.install(old)
    product.install(QWEN)
    said = product.install(old)
    assert "plan: qwen3: update" in said
    assert "weights complete" not in said


def limited(product: Product) -> None:
    """Make the namespace, with a LimitRange that is too small for a weights pod."""
    product.kubectl("create", "namespace", product.namespace)
    largest = {"type": "Container", "max": {"memory": "1Gi"}}
    path = product.folder / "limits.json"
    limits = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"}}
    path.write_text(json.dumps(limits | {"spec": {"limits": [largest]}}))
    product.kubectl("apply", "-f", str(path))


TOO_LARGE = "maximum memory usage per Container is 1Gi, but limit is 2Gi"


def test_a_weights_pod_that_the_cluster_would_refuse_blocks_the_plan(product: Product):
    limited(product)
    said = product.install(QWEN, code=1)
    assert "qwen3: the weights pod: the cluster refuses the pod" in said
    assert TOO_LARGE in said
    assert product.objects("pvc,jobs,pods") == []


def test_a_weights_pod_that_the_cluster_refuses_is_told_by_the_jobs_events(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    limited(product)
    monkeypatch.setenv("KUBECONFIG", str(product.sandbox.kubeconfig))
    cluster = Cluster.connect(product.namespace)
    verdict = Verdict("q", "o/q", "a" * 40, files=(HubFile("a", 1, None, "b"),))
    model = Model(name="q", modelURL="o/q")
    job = cluster.apply(weights_job(model, verdict, load_settings(), WeightsOrder()))
    watch, end = WeightsWatch(cluster, time.monotonic), time.monotonic() + 20
    while not (found := watch.trouble(job, [])) and time.monotonic() < end:
        time.sleep(0.1)
    assert found
    assert (found.category, found.definite) == (Category.REFUSED, True)
    assert TOO_LARGE in found.detail


def test_an_engine_image_that_is_not_there_ends_the_run_at_the_weights(product: Product):
    said = product.install(QWEN, code=1, VLLM_MODEL_TAG="missing")
    assert "qwen3: the weights pod: the image cannot be pulled: vllm/vllm-openai:missing" in said
    assert "[image]" in said
    assert "VLLM_MODEL_TAG" in said
    assert "waiting for the weights pod" not in said.partition("the image cannot")[2]


def test_bit_rot_that_no_file_time_tells_is_mended_by_the_remedy_of_the_diagnosis(
    product: Product,
):
    product.install(QWEN)
    (volume,) = (
        item
        for item in json.loads(product.kubectl("get", "pv", "-o", "json"))["items"]
        if item["spec"]["claimRef"]["namespace"] == product.namespace
    )
    blobs = Path(volume["spec"]["hostPath"]["path"]).glob("hub/models--*/blobs/*")
    largest = max(blobs, key=lambda path: path.stat().st_size)
    times = largest.stat()
    with largest.open("r+b") as file:
        file.seek(times.st_size // 2)
        file.write(b"rot!")
    os.utime(largest, ns=(times.st_atime_ns, times.st_mtime_ns))
    product.kubectl("annotate", "pvc", "weights-qwen3", "vllm-flows.io/weights-")
    product.kubectl("delete", "jobs", "-l", "vllm-flows.io/model=qwen3")
    product.run("install", "--yes")
    assert sha256(largest.read_bytes()).hexdigest() == largest.name

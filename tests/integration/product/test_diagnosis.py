"""Failures caused on a real API server, scheduler and controllers, each told within 10 seconds.

Simulated are the nodes' kubelet and the engine, whose words are vLLM's. Where the sandbox cannot
cause a failure, because there is no GPU, the container says what vLLM said of it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.product.diagnosis_bench import Bench, Spec, claim, mounting, with_gpus
from vllm_flows.diagnosis_categories import Category

if TYPE_CHECKING:
    from conftest import Product


def volume_elsewhere(bench: Bench) -> Spec:
    """Make a claim whose volume is on a node that there is not."""
    name = f"elsewhere-{bench.namespace}"
    hosts = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["gpu-node-9"]}
    bench.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "1Gi"},
                "hostPath": {"path": str(bench.model)},
                "nodeAffinity": {
                    "required": {"nodeSelectorTerms": [{"matchExpressions": [hosts]}]}
                },
                "claimRef": {"namespace": bench.namespace, "name": "weights-q"},
            },
        },
        claim("weights-q", volumeName=name),
    )
    return mounting(bench, "weights-q")


def without_secret(bench: Bench) -> Spec:
    reference = {"secretKeyRef": {"name": "vllm-api-key", "key": "api-key"}}
    return bench.serve(env=[{"name": "VLLM_API_KEY", "valueFrom": reference}])


def without_configmap(bench: Bench) -> Spec:
    spec = bench.serve()
    spec["volumes"].append({"name": "template", "configMap": {"name": "chat-template"}})
    return spec


def over_quota(bench: Bench) -> Spec:
    quota = {"hard": {"requests.nvidia.com/gpu": "0"}}
    bench.apply(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpus"}, "spec": quota}
    )
    return bench.serve()


def restricted(bench: Bench) -> Spec:
    label = "pod-security.kubernetes.io/enforce=restricted"
    bench.kubectl("label", "namespace", bench.namespace, label)
    return bench.serve()


def without_weights(bench: Bench) -> Spec:
    environ = [
        {"name": "HF_HUB_CACHE", "value": "/model"},
        {"name": "HF_HUB_OFFLINE", "value": "1"},
    ]
    return bench.serve("organisation/name", "--revision", "a" * 40, env=environ)


def with_a_cut_file(bench: Bench) -> Spec:
    path = bench.model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return bench.serve()


def with_too_little_memory(bench: Bench) -> Spec:
    script = "import time; held = b'x' * 400_000_000; time.sleep(600)"
    limits = {"limits": {"memory": "64Mi"}}
    return bench.serve(image="python", command=["python3", "-c", script], resources=limits)


def with_a_load_without_end(bench: Bench) -> Spec:
    """Let the engine load for ever, and its probe give up sooner than the chart's would."""
    path = bench.model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sandbox_fault": "hang"}))
    probe = {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 2}
    return bench.serve(startupProbe={**probe, "failureThreshold": 1})


def with_changes(change: Mapping[str, Any]) -> Callable[[Bench], Spec]:
    return lambda bench: {**bench.serve(), **change}


def arguments(*words: str) -> Callable[[Bench], Spec]:
    return lambda bench: bench.serve("/model", *words)


KV_CACHE = (
    "(EngineCore_DP0 pid=1) ERROR 01-01 00:00:00 [core.py:708] ValueError: To serve at least one "
    "request with the model's max seq len (32768), (1.75 GiB KV cache is needed, which is larger "
    "than the available KV cache memory (1.1 GiB). Based on the available memory, the estimated "
    "maximum model length is 20512."
)
IN_USE = (
    "ValueError: Free memory on device cuda:0 (52.81/95.01 GiB) on startup is less than desired "
    "GPU memory utilization (0.9, 85.51 GiB). Decrease GPU memory utilization or reduce GPU memory"
)
OUT_OF_MEMORY = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 7.45 GiB. GPU 0 has a total "
    "capacity of 15.48 GiB of which 4.10 GiB is free."
)
UNSUPPORTED = "ValueError: Model architectures ['FooForCausalLM'] are not supported for now."
CUSTOM_CODE = "Please pass the argument `trust_remote_code=True` to allow custom code to be run."
CAUSES: Mapping[str, tuple[Callable[[Bench], Spec], Category, str]] = {
    "no free GPU": (
        lambda bench: with_gpus(bench, 9),
        Category.NO_FREE_GPU,
        "too little nvidia.com/gpu is free on 2 of 2 nodes",
    ),
    "no room": (
        lambda bench: with_gpus(bench, 1, memory="10Ti"),
        Category.NO_ROOM,
        "too little memory is free on 2 of 2 nodes",
    ),
    "selector": (
        with_changes({"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H200"}}),
        Category.SELECTOR,
        "2 of 2 nodes lack the labels",
    ),
    "claim missing": (
        lambda bench: mounting(bench, "weights-q"),
        Category.CLAIM_UNBOUND,
        'persistentvolumeclaim "weights-q" not found',
    ),
    "claim elsewhere": (volume_elsewhere, Category.CLAIM_ELSEWHERE, "tied to another place"),
    "image": (
        lambda bench: bench.serve(image="vllm/vllm-openai:missing"),
        Category.IMAGE,
        "vllm/vllm-openai:missing",
    ),
    "Secret": (without_secret, Category.REFERENCE_MISSING, 'secret "vllm-api-key" not found'),
    "ConfigMap": (without_configmap, Category.REFERENCE_MISSING, '"chat-template" not found'),
    "quota": (over_quota, Category.QUOTA, "quota has no room"),
    "Pod Security": (restricted, Category.POD_SECURITY, "Pod Security level"),
    "RuntimeClass": (
        with_changes({"runtimeClassName": "no-such-runtime"}),
        Category.RUNTIME_CLASS,
        "RuntimeClass is not there",
    ),
    "service account": (
        with_changes({"serviceAccountName": "nobody"}),
        Category.REFUSED,
        "the cluster refuses the pod",
    ),
    "unknown flag": (arguments("--no-such-flag"), Category.ENGINE_ARGUMENT, "does not know"),
    "bad choice": (arguments("--dtype", "int3"), Category.ENGINE_ARGUMENT, "does not know"),
    "context": (arguments("--max-model-len", "100000"), Category.CONTEXT_TOO_LONG, "maxModelLen"),
    "heads": (arguments("--tensor-parallel-size", "3"), Category.TENSOR_PARALLEL, "heads"),
    "weights missing": (without_weights, Category.WEIGHTS_MISSING, "is not on its volume"),
    "weights broken": (with_a_cut_file, Category.WEIGHTS_BROKEN, "is damaged"),
    "KV cache": (lambda bench: bench.says(KV_CACHE), Category.KV_CACHE, "too small"),
    "GPU in use": (lambda bench: bench.says(IN_USE), Category.GPU_IN_USE, "somebody else"),
    "CUDA memory": (lambda bench: bench.says(OUT_OF_MEMORY), Category.GPU_MEMORY, "does not fit"),
    "architecture": (lambda bench: bench.says(UNSUPPORTED), Category.UNSUPPORTED_MODEL, "know"),
    "custom code": (lambda bench: bench.says(CUSTOM_CODE), Category.CODE_NOT_TRUSTED, "code"),
    "host memory": (with_too_little_memory, Category.HOST_MEMORY, "too much memory"),
    "probe": (with_a_load_without_end, Category.PROBE_KILL, "startup probe"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_what_cannot_mend_itself_is_told_for_certain(bench: Bench, cause: str):
    make, category, words = CAUSES[cause]
    bench.deploy(make(bench))
    found = bench.told(category)
    assert words in found.summary
    assert "{" not in found.next_command


def test_weights_that_were_deleted_are_told_and_the_next_command_brings_them_back(
    product: Product,
):
    product.install("- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n")
    (volume,) = (
        item
        for item in json.loads(product.kubectl("get", "pv", "-o", "json"))["items"]
        if item["spec"]["claimRef"]["namespace"] == product.namespace
    )
    shutil.rmtree(Path(volume["spec"]["hostPath"]["path"]) / "hub")
    product.kubectl("delete", "pod", "-l", "model=qwen3")
    said = product.run("install", "--yes", code=1).stderr
    assert "[weights-missing]" in said
    command = said.split("  next: ")[1].split("   (")[0]
    assert "&& vllm-flows install" in command
    for step in command.split(" && ")[:-1]:
        product.kubectl(*step.split()[1:])
    assert "qwen3: answered in" in product.run("install", "--yes").stderr

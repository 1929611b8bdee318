"""The health of models that are broken on purpose: each is found, named, and no other."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from sandbox.agent.names import ADDRESS_ANNOTATION

if TYPE_CHECKING:
    from conftest import Product

SMALL = """\
- name: {name}
  modelURL: microsoft/Phi-3-mini-4k-instruct
  trustRemoteCode: true
  requestGPU: 0
  requestCPU: 100m
  requestMemory: 64Mi
  pvcStorage: 1Gi
"""
GATED = "- name: llama3\n  modelURL: meta-llama/Llama-3.2-3B-Instruct\n"
QWEN = "- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n  replicaCount: 2\n"
NAMES = ("slow", "rubbish", "open", "cut", "gone", "moved", "well", "fine")
KEY = "a-key"
_SECONDS = 150
_PATIENCE = 30.0


def check(product: Product, *words: str, **environ: str) -> dict[str, Any]:
    """Check all models; return what was found, which the exit code tells too."""
    with product.start("check", *words, "-o", "json", **environ) as process:
        output, said = process.communicate(timeout=_SECONDS)
    found: dict[str, Any] = json.loads(output)
    assert process.returncode == (0 if found["state"] == "green" else 6), said
    return found


def kinds(found: dict[str, Any]) -> dict[str, list[str]]:
    """Return by name what was found of those that are not green."""
    rows = [*found["models"], *({**one, "model": one["name"]} for one in found["shared"])]
    return {
        one["model"]: [finding["kind"] for finding in one["findings"]]
        for one in rows
        if one["state"] != "green"
    }


def spoil(product: Product, model: str, fault: str, pod: int = 0) -> None:
    """Let an engine be bad in one of the sandbox's ways from now on."""
    annotations = product.objects("pods", f"model={model}")[pod]["metadata"]["annotations"]
    url = f"http://{annotations[ADDRESS_ANNOTATION]}/_sandbox/fault"
    httpx.post(url, json={"fault": fault}, trust_env=False).raise_for_status()


def blob(product: Product, model: str) -> Path:
    """Return the largest file on the model's volume."""
    (volume,) = [
        one["spec"]["volumeName"]
        for one in product.objects("pvc")
        if one["metadata"]["name"] == f"weights-{model}"
    ]
    path = product.kubectl("get", "pv", volume, "-o", "jsonpath={.spec.hostPath.path}")
    blobs = Path(path).glob("hub/models--*/blobs/*")
    return max(blobs, key=lambda one: one.stat().st_size)


def events(product: Product, count: int) -> set[tuple[str, str, str]]:
    """Return what was told of this namespace's models, once it is so much: which, old, new."""
    wanted = {"event": {"name": ["vllm-flows.model.health"]}}
    end = time.monotonic() + _PATIENCE
    while True:
        found = [
            one["payload"] for one in product.prefect("events/filter", filter=wanted)["events"]
        ]
        told = [one for one in found if one["namespace"] == product.namespace]
        if len(told) >= count or time.monotonic() > end:
            assert len(told) == count
            return {(one["model"], one["old"], one["new"]) for one in told}
        time.sleep(0.5)


def test_each_of_several_broken_models_is_found_and_no_other(product: Product):
    product.set_token()
    blocks = [SMALL.format(name=name) for name in NAMES]
    product.install(*blocks, GATED, VLLM_API_KEY=KEY)
    assert kinds(check(product)) == {}
    for model, fault in (("slow", "slow-tokens"), ("rubbish", "rubbish"), ("open", "ignores-key")):
        spoil(product, model, fault)
    os.truncate(blob(product, "cut"), 1000)
    product.kubectl("delete", "deployment", "vllm-gone-deployment-vllm")
    service = '[{"op": "replace", "path": "/spec/ports/0/port", "value": 81}]'
    product.kubectl("patch", "service", "vllm-moved-engine-service", "--type=json", "-p", service)
    product.run("set-hf-token", "--stdin", stdin="hf_sandbox_refused")
    found = kinds(check(product))
    gone = found.pop("gone")
    assert found == {
        "slow": ["slow-tokens"],
        "rubbish": ["rubbish"],
        "open": ["key-ignored"],
        "cut": ["weights-damaged"],
        "moved": ["changed-outside"],
        "llama3": ["access-lost"],
    }
    assert gone == ["not-deployed", "changed-outside"]
    left = [one["metadata"]["name"] for one in product.objects("jobs,configmaps")]
    assert [name for name in left if name.startswith("vllm-flows-health-")] == []


def test_what_may_be_repaired_is_and_every_change_is_told_once(product: Product):
    product.install(SMALL.format(name="cut"), QWEN)
    assert kinds(check(product, "--repair")) == {}
    spoil(product, "qwen3", "silent", pod=1)
    os.truncate(blob(product, "cut"), 1000)
    before = product.engine_pods()
    found = check(product, "--repair")
    assert kinds(found) == {"qwen3": ["silent"], "cut": ["weights-damaged"]}
    assert events(product, 2) == {("cut", "green", "degraded"), ("qwen3", "green", "down")}
    for _ in range(2):  # two models of one node are repaired one after the other
        product.run("wait", "--timeout", "2m")
        found = check(product, "--repair")
    assert kinds(found) == {}
    assert len(product.engine_pods().keys() - before.keys()) == 1
    assert ("qwen3", "down", "green") in events(product, 4)


def test_other_bytes_are_found_by_a_deep_check_and_a_silent_hub_makes_no_model_anything(
    product: Product,
):
    product.install(SMALL.format(name="cut"))
    place = blob(product, "cut")
    with place.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    silent = check(product, VLLM_HUB_ENDPOINT="http://127.0.0.1:9")
    assert kinds(silent) == {"(hub)": ["not-measured"]}
    assert kinds(check(product, "--deep")) == {"cut": ["weights-damaged"]}

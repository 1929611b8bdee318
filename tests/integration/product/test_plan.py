"""What the plan knows before anything is written, on a real API server."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import yaml

from sandbox.hub.access import TOKEN_WITHOUT_GRANT

if TYPE_CHECKING:
    from conftest import Product

_PATIENCE = 120.0
PICKLE = "- name: pickle\n  modelURL: facebook/opt-125m\n"
SIX = f"""\
- name: fine
  modelURL: Qwen/Qwen3-4B
  vllmConfig: {{maxModelLen: 8192}}
- name: gated
  modelURL: meta-llama/Llama-3.2-3B-Instruct
- name: large
  modelURL: Qwen/Qwen2.5-72B-Instruct
{PICKLE}\
- name: missing
  modelURL: Qwen/Qwen2.5-7B-Instruct
  revision: nightly
- name: crowded
  modelURL: mistralai/Mistral-7B-Instruct-v0.3
  requestGPU: 2
  vllmConfig: {{tensorParallelSize: 2}}
"""


def versions(product: Product) -> dict[str, str]:
    """Return the resource version of everything in the cluster that a run could write.

    What other tests left and is on its way out with its namespace is none of it.
    """
    kinds = "namespaces,deployments,jobs,pods,services,pvc,pv,configmaps,secrets,roles"
    items = json.loads(product.kubectl("get", kinds, "-A", "-o", "json"))["items"]
    spaces = [one["metadata"] for one in items if one["kind"] == "Namespace"]
    staying = {"", *(one["name"] for one in spaces if "deletionTimestamp" not in one)}
    return {
        f"{item['kind']} {namespace_of(item)}/{item['metadata']['name']}": str(
            item["metadata"]["resourceVersion"]
        )
        for item in items
        if namespace_of(item) in staying
    }


def namespace_of(item: dict[str, Any]) -> str:
    """Return the namespace that an object is, is in, or is a volume of; "" when there is none."""
    if item["kind"] == "Namespace":
        return str(item["metadata"]["name"])
    claim = item.get("spec", {}).get("claimRef", {}) if item["kind"] == "PersistentVolume" else {}
    return str(item["metadata"].get("namespace", claim.get("namespace", "")))


def settled_versions(product: Product) -> dict[str, str]:
    """Return the versions once nothing changes any more: a cluster writes much when it is new."""
    end = time.monotonic() + _PATIENCE
    before, now = {"": ""}, versions(product)
    while now != before:
        assert time.monotonic() < end, set(now.items()) ^ set(before.items())
        time.sleep(1)
        before, now = now, versions(product)
    return now


def test_six_models_get_their_verdicts_and_nothing_is_written(crowded: Product):
    product = crowded
    product.only_free(1)
    product.models(SIX)
    before = settled_versions(product)
    done = product.run("plan", "-o", "json", code=1, VLLM_HF_TOKEN=TOKEN_WITHOUT_GRANT)
    rows = {row["model"]: row for row in json.loads(done.stdout)["models"]}
    said = {name: "; ".join(one["what"] for one in row["problems"]) for name, row in rows.items()}
    assert rows["fine"]["action"] == "create"
    assert rows["fine"]["nodes"] == ["gpu-node-2"]
    assert (rows["fine"]["access"]["state"], rows["fine"]["fit"]["result"]) == ("open", "fits")
    assert rows["gated"]["access"]["state"] == "not asked"
    assert rows["gated"]["problems"][0]["next"].startswith("accept the license at http://")
    assert said["large"] == "does not fit its GPUs"
    assert "tensorParallelSize" in rows["large"]["problems"][0]["next"]
    assert said["pickle"] == "the repository has weights as pickles only"
    assert said["missing"] == "Qwen/Qwen2.5-7B-Instruct has no revision 'nightly'"
    assert said["crowded"] == "no room for a replica with 2 GPUs now"
    assert "gpu-node-2: 1 nvidia.com/gpu free, 2 needed" in rows["crowded"]["problems"][0]["why"]
    assert "5 of 6 models cannot be served; nothing was changed" in done.stderr
    table = product.run("plan", code=1, VLLM_HF_TOKEN=TOKEN_WITHOUT_GRANT).stdout
    assert all(name in table for name in rows)
    product.run("install", "--yes", code=1, VLLM_HF_TOKEN=TOKEN_WITHOUT_GRANT)
    assert versions(product) == before


def test_what_models_yaml_allows_is_served_and_recorded_in_the_plan(product: Product):
    product.models(PICKLE + "  allowPickle: true\n")
    done = product.run("plan", "-o", "json")
    (row,) = json.loads(done.stdout)["models"]
    assert row["action"] == "create"
    assert "weights as pickles only, allowed by allowPickle" in row["notes"][0]


def test_a_hub_that_is_down_does_not_stop_what_is_deployed(product: Product):
    product.install("- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n")
    silent = {"VLLM_HUB_ENDPOINT": "http://127.0.0.1:9"}
    done = product.run("plan", "-o", "json", **silent)
    (row,) = json.loads(done.stdout)["models"]
    assert row["action"] == "none"
    assert "does not answer: stays at" in row["notes"][0]
    new = "- name: phi4\n  modelURL: microsoft/Phi-4-mini-instruct\n"
    product.models("- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n", new)
    done = product.run("plan", code=1, **silent)
    assert "phi4: the Hub at http://127.0.0.1:9 does not answer" in done.stderr


def test_a_namespace_that_would_refuse_the_pods_is_said_before_anything_is_written(
    product: Product,
):
    product.kubectl("create", "namespace", product.namespace)
    product.kubectl("create", "quota", "team", "--hard=requests.nvidia.com/gpu=0,pods=9")
    product.models("- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n")
    said = product.run("install", "--yes", code=1).stderr
    assert "ResourceQuota team leaves 0 requests.nvidia.com/gpu, 1 needed" in said
    product.kubectl("delete", "quota", "team")
    level = "pod-security.kubernetes.io/enforce=restricted"
    product.kubectl("label", "namespace", product.namespace, level)
    said = product.run("install", "--yes", code=1).stderr
    assert "the namespace's Pod Security level forbids the engine's pods" in said
    assert product.objects("pvc") == []


def as_editor(product: Product) -> str:
    """Return the kubeconfig of an account with the role `edit`, which may make no Role."""
    product.kubectl("create", "serviceaccount", "editor")
    account = f"--serviceaccount={product.namespace}:editor"
    product.kubectl("create", "rolebinding", "editor", "--clusterrole=edit", account)
    config = yaml.safe_load(product.sandbox.kubeconfig.read_text())
    for user in config["users"]:
        user["user"] = {"token": product.kubectl("create", "token", "editor").strip()}
    path = product.folder / "editor.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_an_account_that_lacks_a_right_is_told_so_before_anything_is_written(product: Product):
    product.kubectl("create", "namespace", product.namespace)
    kubeconfig = as_editor(product)
    product.models("- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n")
    before = product.versions()
    for verb in (["plan"], ["install", "--yes"]):
        said = product.run(*verb, code=1, KUBECONFIG=kubeconfig).stderr
        assert f"{product.namespace}:editor may not, in {product.namespace}: " in said
        assert "create, patch roles" in said
        assert "--role=vllm-flows" in said
    assert product.versions() == before
    assert product.objects("leases") == []

"""The engine's pod as helm renders it from our values, with the sandbox's stand-in chart."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import yaml

from vllm_flows.models import Model
from vllm_flows.settings import load_settings
from vllm_flows.values import PinnedModel, release_values

if TYPE_CHECKING:
    from conftest import Product

SHA = "0123456789" * 4


def test_the_engine_mounts_the_weights_is_pinned_offline_and_holds_no_token(product: Product):
    model = Model(name="q", modelURL="o/q", nodeSelector={"pool": "gpu"}, trustRemoteCode=True)
    settings = load_settings(hf_token="token-canary", api_key="key-canary")
    values = release_values([PinnedModel(model, SHA)], settings, "v1")
    command = [product.sandbox.programs["helm"], "template", "vllm", product.environ["VLLM_CHART"]]
    rendered = subprocess.run(
        [*command, "--values", "-"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "canary" not in rendered
    (engine,) = [
        item
        for item in yaml.safe_load_all(rendered)
        if item and item["metadata"]["name"] == "vllm-q-deployment-vllm"
    ]
    pod = engine["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environ = {one["name"]: one.get("value") for one in container["env"]}
    assert (environ["HF_HUB_OFFLINE"], environ["HF_HUB_CACHE"]) == ("1", "/weights/hub")
    assert "HF_TOKEN" not in environ
    mount = {"name": "weights", "mountPath": "/weights", "readOnly": True}
    assert mount in container["volumeMounts"]
    claim = {"name": "weights", "persistentVolumeClaim": {"claimName": "weights-q"}}
    assert claim in pod["volumes"]
    said = " ".join(map(str, container["command"] + container.get("args", [])))
    assert f"--revision {SHA} --trust-remote-code" in said
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (expression,) = terms["nodeSelectorTerms"][0]["matchExpressions"]
    assert (expression["key"], expression["values"]) == ("pool", ["gpu"])

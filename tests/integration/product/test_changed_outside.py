"""What somebody changed or removed by hand is named, and set right, by a real helm."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.product.changing_models import (
    DEPLOYMENT,
    QWEN,
    SERVICE,
    change_port,
    phi,
    pods_of,
)
from vllm_flows.names import engine_deployment

if TYPE_CHECKING:
    from conftest import Product


def test_a_paused_deployment_is_named_and_resumed(product: Product):
    product.install(QWEN)
    deployment = engine_deployment("qwen3")
    product.kubectl("rollout", "pause", f"deployment/{deployment}")
    changed = QWEN + "  vllmConfig: {maxModelLen: 1024}\n"
    said = product.install(changed)
    assert f"set right: Deployment {deployment}: spec.paused: (not set) -> True" in said
    assert "qwen3: answered in" in said


def test_what_somebody_changed_is_named_field_by_field_and_set_right(product: Product):
    product.install(phi())
    (found,) = product.objects("deployments", "model=phi4")
    image = found["spec"]["template"]["spec"]["containers"][0]["image"]
    product.kubectl("set", "env", f"deployment/{DEPLOYMENT}", "HF_HUB_OFFLINE=0")
    product.kubectl("set", "image", f"deployment/{DEPLOYMENT}", "vllm=vllm/vllm-openai:other")
    product.kubectl("scale", f"deployment/{DEPLOYMENT}", "--replicas=2")
    change_port(product)
    done = product.run("plan", "-o", "json", "--detailed-exitcode", code=2)
    (row,) = json.loads(done.stdout)["models"]
    template = "spec.template.spec.containers[vllm]"
    assert row["action"] == "restart"
    assert "spec.replicas: 1 -> 2" in row["reason"]
    assert f"{template}.image: {image} -> vllm/vllm-openai:other" in row["reason"]
    assert f"{template}.env[HF_HUB_OFFLINE].value: 1 -> 0" in row["reason"]
    said = product.run("install", "--yes").stderr
    assert f"set right: Service {SERVICE}: spec.ports[service-port].port: 80 -> 81" in said
    assert "phi4: answered in" in said
    assert "nothing to change" in product.run("install", "--yes").stderr
    (mended,) = product.objects("deployments", "model=phi4")
    assert mended["spec"]["replicas"] == 1
    assert (
        mended["spec"]["template"]["spec"]["containers"]
        == found["spec"]["template"]["spec"]["containers"]
    )
    ports = json.loads(product.kubectl("get", "service", SERVICE, "-o", "json"))["spec"]["ports"]
    assert {one["name"]: one["port"] for one in ports}["service-port"] == 80


def test_what_somebody_changed_after_a_helm_that_failed_is_named_too(
    product: Product, tmp_path: Path
):
    product.install(phi())
    chart = tmp_path / "chart"
    shutil.copytree(Path(__file__).parents[3] / "sandbox" / "chart", chart)
    refused = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "Not_A_Name"}}
    (chart / "templates" / "refused.yaml").write_text(json.dumps(refused))
    with pytest.raises(subprocess.CalledProcessError):
        product.helm("upgrade", "vllm", str(chart), "--reuse-values")
    assert product.release_statuses() == ["deployed", "failed"]
    said = product.run("plan").stderr
    assert "the last helm run left it failed" in said
    assert "changed outside" not in said
    product.kubectl("set", "env", f"deployment/{DEPLOYMENT}", "HF_HUB_OFFLINE=0")
    said = product.run("install", "--yes").stderr
    assert "changed outside: Deployment vllm-phi4-deployment-vllm: spec.template" in said
    assert "env[HF_HUB_OFFLINE].value: 1 -> 0" in said
    assert "nothing to change" in product.run("install", "--yes").stderr


def test_what_somebody_removed_is_made_again(product: Product):
    product.install(phi())
    product.kubectl("delete", "service", SERVICE, "vllm-router-service")
    product.kubectl("delete", "deployment", DEPLOYMENT, "--wait")
    said = product.run("install", "--yes").stderr
    assert "plan: phi4: create (not deployed)" in said
    assert "phi4: answered in" in said
    names = {item["metadata"]["name"] for item in product.objects("deployments,services")}
    assert {DEPLOYMENT, SERVICE, "vllm-router-service"} <= names
    pods = pods_of(product, "phi4")
    product.kubectl("delete", "service", SERVICE)
    said = product.run("install", "--yes").stderr
    assert f"helm upgrade: changed outside: Service {SERVICE} is gone" in said
    assert product.kubectl("get", "service", SERVICE, "-o", "name")
    assert pods_of(product, "phi4") == pods

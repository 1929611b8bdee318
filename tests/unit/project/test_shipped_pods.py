"""What `deployments/` runs in a cluster is pinned, bounded, watched and allowed little."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.binaries import PROGRAMS
from vllm_flows import manifests, rights

ROOT = Path(__file__).parents[3]
TEMPLATE = rights.FILES / "worker-of-jobs" / "base-job-template.json"
PODS = ("Deployment", "StatefulSet")


def objects() -> Iterator[dict[str, Any]]:
    """Yield every object of the shipped files."""
    for path in sorted(rights.FILES.glob("**/*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


def template() -> dict[str, Any]:
    """Return the pod of a run, as the work pool of type kubernetes makes it."""
    found = json.loads(TEMPLATE.read_text())["job_configuration"]["job_manifest"]
    made: dict[str, Any] = {"metadata": {"name": "a run"}, "spec": found["spec"]}
    return made


def specs() -> dict[str, dict[str, Any]]:
    """Return what all pods are made from, by name."""
    made = [one for one in objects() if one["kind"] in PODS]
    return {
        f"{one.get('kind', 'Job')} {one['metadata']['name']} {number}": one["spec"]["template"][
            "spec"
        ]
        for number, one in enumerate([*made, template()])
    }


SPECS = specs()


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all containers of a pod."""
    return [*spec.get("initContainers", []), *spec["containers"]]


@pytest.mark.parametrize("name", SPECS)
def test_every_pod_meets_pod_security_restricted_and_cannot_write_its_root(name: str):
    spec = SPECS[name]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not any("hostPath" in one for one in spec["volumes"])
    for one in containers(spec):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("name", SPECS)
def test_every_container_is_bounded_in_memory_and_asks_for_what_it_needs(name: str):
    for one in containers(SPECS[name]):
        assert one["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in one["resources"]["limits"]


@pytest.mark.parametrize("name", [name for name in SPECS if not name.startswith("Job ")])
def test_what_goes_on_for_ever_is_watched(name: str):
    for one in SPECS[name]["containers"]:
        assert one["readinessProbe"]
        assert one["livenessProbe"]


def test_every_image_is_one_that_kustomize_can_pin_and_none_is_the_latest():
    images = {
        one["image"]
        for name, spec in SPECS.items()
        for one in containers(spec)
        if "Job" not in name
    }
    release = re.search(r"^prefect==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert release
    assert version
    assert images == {
        f"vllm-flows:{version[1]}",
        "postgres:17",
        f"prefecthq/prefect:{release[1]}-python3.11-kubernetes",
    }
    assert template()["spec"]["template"]["spec"]["containers"][0]["image"] == "{{ image }}"


def test_no_account_of_a_worker_has_rights_beyond_its_namespace():
    bindings = [one for one in objects() if one["kind"] == "ClusterRoleBinding"]
    assert bindings
    accounts = {each["name"] for one in bindings for each in one["subjects"]}
    assert accounts == {"vllm-flows"}
    used = {spec.get("serviceAccountName", "default") for spec in SPECS.values()}
    assert used == {"default", "vllm-flows", "vllm-flows-worker"}
    for spec in SPECS.values():
        assert "serviceAccountName" in spec or spec["automountServiceAccountToken"] is False


def test_pods_of_vllm_flows_have_the_label_by_which_policies_and_the_server_know_them():
    for one in [*objects(), template()]:
        spec = one.get("spec", {}).get("template", {}).get("spec", {})
        if str(spec.get("serviceAccountName", "")).startswith("vllm-flows"):
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert labels["app.kubernetes.io/name"] == "vllm-flows"


def test_no_secret_is_shipped():
    assert not [one for one in objects() if one["kind"] == "Secret"]


def test_the_image_has_the_programs_that_are_tried_and_takes_nothing_unchecked():
    text = (ROOT / "deployments" / "Dockerfile").read_text()
    for program in ("helm", "kubectl"):
        assert f"ARG {program.upper()}_VERSION={PROGRAMS[program].version}\n" in text
        assert f"ARG {program.upper()}_SHA256\n" in text
    added = re.findall(r"^ADD (\S+)", text, re.MULTILINE)
    assert len(added) == 2
    assert all(one.startswith("--checksum=sha256:$") for one in added)
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${BASE}"}
    assert "--require-hashes" in text
    assert "\nUSER 65532:65532\n" in text
    assert {spec["securityContext"]["runAsUser"] for spec in SPECS.values()} == {65532, 999}


def test_the_builder_is_sent_nothing_but_the_wheel_and_its_lock():
    text = (ROOT / "deployments" / "Dockerfile.dockerignore").read_text()
    rules = [line for line in text.splitlines() if not line.startswith("#")]
    assert rules == ["*", "!requirements.lock", "!dist/*.whl"]


def test_the_namespace_of_the_server_enforces_what_its_pods_meet():
    made = next(
        one
        for one in objects()
        if one["kind"] == "Namespace" and one["metadata"]["name"] == "prefect"
    )
    level = manifests.namespace("x")["metadata"]["labels"]
    assert made["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert "pod-security.kubernetes.io/enforce" in level

"""What `deployments/kubernetes` grants is what the product knows that it needs, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.state import CHART
from vllm_flows import manifests, rights
from vllm_flows.names import RELEASE
from vllm_flows.observe import ENGINE_SELECTOR
from vllm_flows.rights import Right
from vllm_flows.settings import load_settings
from vllm_flows.weights_manifests import any_weights_pod

FILES = sorted(rights.FILES.glob("**/*.yaml"))


def document(path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((rights.FILES / path).read_text())
    return found


def rights_in(path: str) -> list[Right]:
    """Return all that a Role's file grants, one by one."""
    role = document(path)
    everywhere = role["kind"] == "ClusterRole"
    return [
        Right(verb, group, resource, everywhere, name)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    ]


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("access/role.yaml", [*rights.needed(router=True), *rights.FORESEEING]),
        ("looking-around/cluster-role.yaml", rights.HELPFUL),
        ("external-secrets/role.yaml", rights.EXTERNAL_SECRETS),
    ],
)
def test_a_role_grants_each_right_that_is_known_to_be_needed_once_and_no_other(
    path: str, known: list[Right]
):
    found = rights_in(path)
    assert len(found) == len(set(found))
    assert set(found) == set(known)


def test_nothing_is_granted_by_a_wildcard_or_by_a_role_of_kubernetes():
    for path in FILES:
        for item in yaml.safe_load_all(path.read_text()):
            for rule in item.get("rules", []):
                assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
                assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
            assert item.get("roleRef", {}).get("name", "vllm-flows").startswith("vllm-flows")


def test_what_the_chart_names_is_what_the_role_names():
    named = {right.name for right in rights.needed(router=True) if right.name}
    assert named == {
        "vllm-flows",
        f"{RELEASE}-router-service-account",
        f"{RELEASE}-reader",
        f"{RELEASE}-deployment-access-binding",
    }


def test_the_shipped_namespace_is_the_one_that_install_makes():
    assert document("access/namespace.yaml") == manifests.namespace("vllm")


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Say whether a label selector, of labels that are equal or there at all, matches."""
    wanted = selector.get("matchLabels", {}).items()
    present = {one["key"] for one in selector.get("matchExpressions", [])}
    return wanted <= labels.items() and present <= labels.keys()


def test_each_policy_is_for_the_pods_of_its_name_and_no_others():
    routers = yaml.safe_load((CHART / "values.yaml").read_text())["routerSpec"]["labels"]
    key, _, value = ENGINE_SELECTOR.partition("=")
    pods = {
        "router": routers,
        "engines": {key: value, "model": "qwen3", "environment": "test", "release": "test"},
        "weights": any_weights_pod(load_settings())["metadata"]["labels"],
    }
    for name in pods:
        spec = document(f"network-policies/{name}.yaml")["spec"]
        chosen = [pod for pod, labels in pods.items() if selects(spec["podSelector"], labels)]
        assert chosen == [name]
    engines = document("network-policies/engines.yaml")["spec"]
    asking = [one["podSelector"] for one in engines["ingress"][0]["from"]]
    assert any(selects(one, routers) for one in asking)


def test_every_file_is_in_a_kustomization():
    for path in FILES:
        folder = path.parent
        listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
        assert path.name in [*listed, "kustomization.yaml"], path


def test_the_files_are_where_an_installed_package_has_them():
    assert rights.FILES.relative_to(Path(rights.__file__).parents[1]) == Path(
        "deployments/kubernetes"
    )

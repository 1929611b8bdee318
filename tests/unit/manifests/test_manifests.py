from __future__ import annotations

from vllm_flows import manifests


def test_the_namespace_enforces_baseline_and_warns_of_restricted():
    labels = manifests.namespace("vllm")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
    assert labels["pod-security.kubernetes.io/warn"] == "restricted"


def test_node_labels_become_expressions_in_a_fixed_order():
    keys = [one["key"] for one in manifests.node_expressions({"b": "2", "a": "1"})]
    assert keys == ["a", "b"]

"""What stands against a weights claim."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_flows.models import Model
from vllm_flows.nodes import nodes_of
from vllm_flows.observed import (
    ClusterState,
    DeployedModel,
    HubFile,
    Release,
    ReleaseState,
    Surroundings,
    Verdict,
    WeightsClaim,
)
from vllm_flows.settings import load_settings
from vllm_flows.storage import Storage, check_storage

GB = 1000**3
OLD, NEW = "a" * 40, "b" * 40


def said(
    *classes: Any,
    claim: WeightsClaim | None = None,
    size: int = GB,
    serving: str = "",
    nodes: Any = (),
    fields: Any = None,
    **settings: Any,
) -> list[str]:
    """Return everything that is said of the model's storage, as text."""
    model = Model(name="qwen", modelURL="org/qwen", **(fields or {}))
    verdict = Verdict(
        "qwen", "org/qwen", NEW, files=(HubFile("model.safetensors", size, "c" * 64),)
    )
    deployed = {"qwen": DeployedModel("qwen", 1, 1, serving, "d")} if serving else {}
    state = ClusterState(
        Release(ReleaseState.ABSENT),
        deployments=deployed,
        around=Surroundings(storage_classes=classes or None),
    )
    storage = Storage(model, claim, load_settings(**settings))
    return [str(one) for one in check_storage(storage, verdict, state, nodes)]


def bound(storage_class: str = "fast", mode: str = "ReadWriteOnce", **fields: Any) -> WeightsClaim:
    manifest = {"spec": {"storageClassName": storage_class, "accessModes": [mode]}}
    return WeightsClaim("qwen", "50Gi", manifest=manifest, **fields)


def test_the_default_class_is_enough(make: Any):
    assert said(make.storage_class(default=True)) == []


def test_without_a_default_class_the_others_are_named(make: Any):
    (text,) = said(make.storage_class("slow"), make.storage_class("fast"))
    assert "no StorageClass is the default" in text
    assert "set VLLM_STORAGE_CLASS to one of: fast, slow" in text


def test_a_class_that_is_not_there_is_said_by_name(make: Any):
    (text,) = said(make.storage_class(), storage_class="gold")
    assert "there is no StorageClass gold" in text


def test_a_claim_that_is_there_needs_no_class_any_more(make: Any):
    assert said(make.storage_class("other"), claim=bound("gone")) == []


@pytest.mark.parametrize("allowed", [True, False])
def test_a_volume_grows_only_where_its_class_allows_it(make: Any, *, allowed: bool):
    cls = make.storage_class(allowVolumeExpansion=allowed)
    texts = said(cls, claim=bound(), fields={"pvcStorage": "80Gi"})
    assert bool(texts) is not allowed
    assert allowed or "cannot grow to 80Gi" in texts[0]
    assert allowed or "set pvcStorage: 50Gi" in texts[0]


def test_a_volume_that_one_node_mounts_is_not_taken_for_a_shared_one(make: Any):
    cls = make.storage_class(default=True, provisioner="ebs.csi.aws.com")
    (text,) = said(cls, storage_access_mode="ReadWriteMany")
    assert "StorageClass fast offers no ReadWriteMany" in text
    assert "Amazon EBS" in text


def test_a_class_that_binds_at_once_is_told_and_no_problem(make: Any):
    (text,) = said(make.storage_class(default=True, volumeBindingMode="Immediate"))
    assert "binds volumes at once" in text


def test_replicas_that_several_nodes_could_take_are_told_of_the_volume(make: Any):
    nodes = nodes_of([make.node("a"), make.node("b")], ())
    fields = {"replicaCount": 2}
    (text,) = said(nodes=nodes, fields=fields)
    assert "2 replicas share a ReadWriteOnce volume" in text
    assert "VLLM_STORAGE_ACCESS_MODE=ReadWriteMany" in text
    assert said(nodes=nodes[:1], fields=fields) == []
    assert said(nodes=nodes, fields=fields, storage_access_mode="ReadWriteMany") == []


def test_a_volume_too_small_for_the_weights_says_how_large_it_should_be():
    (text,) = said(size=60 * GB)
    assert "pvcStorage 50Gi is too small" in text
    assert "set pvcStorage: 62Gi" in text


def test_the_weights_that_are_served_meanwhile_need_room_beside_the_new_ones():
    claim = bound(complete={OLD: 40 * GB}, blobs={OLD: {"old": 40 * GB}})
    assert said(size=30 * GB, claim=claim) == []
    (text,) = said(size=30 * GB, claim=claim, serving=OLD)
    assert "beside 40 GB that are served until then" in text


def test_files_that_both_commits_share_are_counted_once():
    claim = bound(complete={OLD: 40 * GB}, blobs={OLD: {"c" * 12: 40 * GB}})
    assert said(size=40 * GB, claim=claim, serving=OLD) == []


def test_a_volume_that_holds_the_commit_already_is_large_enough():
    assert said(size=60 * GB, claim=bound(complete={NEW: 60 * GB})) == []


def test_a_nearly_full_volume_is_told():
    (text,) = said(size=52 * GB)
    assert "will be nearly full" in text


def test_a_claim_that_is_being_deleted_is_a_problem_with_the_way_out():
    (text,) = said(claim=bound(leaving=True))
    assert "its volume is being deleted" in text

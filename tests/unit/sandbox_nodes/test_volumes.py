"""Volumes are directories; a container's mounts say which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sandbox.agent.provisioner import is_released, volume_for, wants_expansion, wants_volume
from sandbox.agent.volumes import places_of, selected

CLASS = {
    "metadata": {"name": "local"},
    "provisioner": "sandbox.vllm-flows.io/local",
    "volumeBindingMode": "WaitForFirstConsumer",
    "reclaimPolicy": "Delete",
}


def claim(**more: Any) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}}
    metadata = {"name": "weights", "namespace": "team", "uid": "u1"}
    return {
        "metadata": metadata | more.pop("metadata", {}),
        "spec": spec | more.pop("spec", {}),
        **more,
    }


CHOSEN = {"annotations": {"volume.kubernetes.io/selected-node": "gpu-node-1"}}


def test_every_key_becomes_a_file_unless_items_choose() -> None:
    assert selected({"a": b"", "b": b""}, {}) == [("a", "a", 0o644), ("b", "b", 0o644)]
    items = {"items": [{"key": "a", "path": "x/y", "mode": 0o500}], "defaultMode": 0o600}
    assert selected({"a": b"", "b": b""}, items) == [("a", "x/y", 0o500)]


def test_mounts_are_led_to_volumes_and_the_temporary_directory_is_private(tmp_path: Path) -> None:
    container = {
        "volumeMounts": [
            {"name": "weights", "mountPath": "/data"},
            {"name": "weights", "mountPath": "/cache", "subPath": "hub"},
        ]
    }
    places = places_of(container, {"weights": Path("/v/w")}, tmp_path)
    assert places["/data"] == "/v/w"
    assert places["/cache"] == "/v/w/hub"
    assert places["/tmp"] == str(tmp_path / "tmp")  # noqa: S108 -- the container's path
    assert (tmp_path / "tmp").is_dir()


def test_a_claim_waits_for_its_first_consumer() -> None:
    assert not wants_volume(claim(), CLASS)
    assert wants_volume(claim(metadata=CHOSEN), CLASS)
    assert wants_volume(claim(), CLASS | {"volumeBindingMode": "Immediate"})


def test_claims_of_others_and_bound_ones_are_left_alone() -> None:
    assert not wants_volume(claim(metadata=CHOSEN), None)
    assert not wants_volume(claim(metadata=CHOSEN), CLASS | {"provisioner": "other"})
    assert not wants_volume(claim(metadata=CHOSEN, spec={"volumeName": "v"}), CLASS)


def test_the_volume_is_a_directory_reserved_for_the_claim() -> None:
    volume = volume_for(claim(metadata=CHOSEN), CLASS, Path("/state/volumes"))
    assert volume["metadata"]["name"] == "pvc-u1"
    assert volume["spec"]["hostPath"] == {"path": "/state/volumes/pvc-u1"}
    assert volume["spec"]["capacity"] == {"storage": "5Gi"}
    assert volume["spec"]["claimRef"]["uid"] == "u1"


@pytest.mark.parametrize(("capacity", "expected"), [("5Gi", False), ("4Gi", True), ("6Gi", False)])
def test_a_bound_claim_that_asks_for_more_is_enlarged(*, capacity: str, expected: bool) -> None:
    bound = claim(spec={"volumeName": "v"}, status={"capacity": {"storage": capacity}})
    assert wants_expansion(bound) is expected


def test_only_released_volumes_of_ours_are_deleted() -> None:
    volume = volume_for(claim(), CLASS, Path("/v")) | {"status": {"phase": "Released"}}
    assert is_released(volume)
    assert not is_released(volume | {"status": {"phase": "Bound"}})
    foreign = volume | {"metadata": {"name": "x"}}
    assert not is_released(foreign)

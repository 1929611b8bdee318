"""Which revisions are marked as complete, and which lose their marker."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.weights.revisions import SHARED, fill, order_of
from vllm_flows.weights_blobs import Record
from vllm_flows.weights_markers import mark, withdraw_markers
from vllm_flows.weights_order import OURS, TemporaryError


@pytest.mark.parametrize("harm", ["gone", "size", "time", "link", "other", "moved", "unproven"])
def test_a_marker_that_promises_too_much_is_withdrawn(tmp_path: Path, harm: str):
    order = order_of(tmp_path, "a")
    fill(order)
    blob = order.blobs / order.files[0].etag
    name = order.folder / "snapshots" / order.commit / order.files[0].name
    if harm == "gone":
        blob.unlink()
    elif harm == "size":
        os.truncate(blob, 5)
    elif harm == "time":
        os.utime(blob, (1, 1))
    elif harm == "link":
        name.unlink()
    elif harm == "other":
        name.unlink()
        name.symlink_to(order.blobs / order.files[1].etag)
    elif harm == "moved":
        blob.rename(tmp_path / "outside")
        blob.symlink_to(tmp_path / "outside")
    else:
        (order.folder / OURS / "checked").write_text("broken")
    withdraw_markers(order)
    assert not order.marker.exists()


@pytest.mark.parametrize("text", ['{"files": 5}', '{"files": [{"name": "x"}]}', "[[1]]", "{"])
def test_a_marker_of_another_shape_is_withdrawn(tmp_path: Path, text: str):
    order = order_of(tmp_path, "a")
    fill(order)
    order.marker.write_text(text)
    withdraw_markers(order_of(tmp_path, "b"))
    assert not order.marker.exists()


def test_a_marker_of_another_list_of_files_is_withdrawn(tmp_path: Path):
    order = order_of(tmp_path, "a")
    fill(order)
    withdraw_markers(order)
    assert order.marker.exists()
    withdraw_markers(replace(order, files=order.files[:1]))
    assert not order.marker.exists()


def test_a_marker_lists_names_sizes_and_hashes(tmp_path: Path):
    order = order_of(tmp_path, "a")
    fill(order)
    said = json.loads(order.marker.read_text())
    assert said["commit"] == order.commit
    assert said["files"][1] == {
        "name": "shared.bin",
        "size": len(SHARED),
        "hash": hashlib.sha256(SHARED).hexdigest(),
    }


@pytest.mark.parametrize("harm", ["name", "blob", "folder"])
def test_no_marker_is_written_for_what_does_not_resolve(tmp_path: Path, harm: str):
    order = order_of(tmp_path, "a")
    fill(order)
    order.marker.unlink()
    snapshot = order.folder / "snapshots" / order.commit
    if harm == "name":
        (snapshot / order.files[0].name).unlink()
    elif harm == "blob":
        (order.blobs / order.files[0].etag).write_bytes(b"x" * 100)
    else:
        snapshot.rename(tmp_path / "elsewhere")
        snapshot.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TemporaryError, match="files changed on the volume"):
        mark(order, Record(order.folder))
    assert not order.marker.exists()

"""One program writes the volume, and what lies about there leads it nowhere else."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from tests.unit.weights.revisions import fill, order_of
from vllm_flows.weights_blobs import Record
from vllm_flows.weights_markers import is_whole, withdraw_markers
from vllm_flows.weights_order import OURS, TemporaryError
from vllm_flows.weights_volume import prepare, prune, sole_writer


def test_a_second_program_is_kept_off_the_volume(tmp_path: Path):
    path = tmp_path / "lock"
    with (
        sole_writer(path),
        pytest.raises(TemporaryError, match="another weights program"),
        sole_writer(path),
    ):
        pass


def test_a_volume_without_locks_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with sole_writer(tmp_path / "lock"):
        pass


@pytest.mark.parametrize("place", ["snapshot", "snapshots", "blobs", "repository", "ours", "locks"])
def test_a_link_in_place_of_a_folder_leads_nothing_out_of_the_volume(tmp_path: Path, place: str):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"mine")
    (outside / "x.json").write_text("{}")
    order = order_of(tmp_path / "hub", "a")
    path = {
        "snapshot": order.folder / "snapshots" / order.commit,
        "snapshots": order.folder / "snapshots",
        "blobs": order.blobs,
        "repository": order.folder,
        "ours": order.marker.parent,
        "locks": order.cache / ".locks",
    }[place]
    path.parent.mkdir(parents=True)
    path.symlink_to(outside)
    prepare(order)
    with sole_writer(order.cache / ".locks" / "lock"):
        withdraw_markers(order)
        prune(order)
        fill(order)
    assert {each.name for each in outside.iterdir()} == {"precious", "x.json"}
    assert is_whole(order.marker, Record(order.folder))


def test_links_to_other_repositories_are_left_alone(tmp_path: Path):
    outside, order = tmp_path / "outside", order_of(tmp_path / "hub", "a")
    fill(order_of(outside, "b", "o/other"))
    prepare(order)
    (order.cache / "models--o--other").symlink_to(outside / "models--o--other")
    withdraw_markers(order)
    prune(order)
    assert is_whole(order_of(outside, "b", "o/other").marker, Record(outside / "models--o--other"))


def test_whatever_lies_about_in_a_repository_is_removed(tmp_path: Path):
    order = order_of(tmp_path / "hub", "a")
    prepare(order)
    (order.blobs / "folder").mkdir()
    (order.folder / "snapshots" / "link").symlink_to(tmp_path)
    (order.folder / "snapshots" / "file").write_bytes(b"")
    prune(order)
    assert not list(order.blobs.iterdir())
    assert not list((order.folder / "snapshots").iterdir())
    assert tmp_path.is_dir()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_regular_file_is_no_lock_record_or_marker(tmp_path: Path, kind: str):
    precious, order = tmp_path / "precious", order_of(tmp_path / "hub", "a")
    precious.write_text('{"commit": "mine"}')
    prepare(order)
    lock = order.cache / ".locks" / "lock"
    for path in (lock, order.folder / OURS / "checked", order.marker):
        if kind == "link":
            path.symlink_to(precious)
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.mkdir()
    with sole_writer(lock):
        withdraw_markers(order)
        fill(order)
    assert is_whole(order.marker, Record(order.folder))
    assert precious.read_text() == '{"commit": "mine"}'

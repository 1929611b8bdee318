"""How a file comes to the disk, and how one that was proven is known again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.weights.revisions import file_of, order_of
from vllm_flows.weights_blobs import Partial, Record, write_json
from vllm_flows.weights_order import OURS, File
from vllm_flows.weights_volume import prepare


def test_gits_own_hash_proves_a_small_file(tmp_path: Path):
    # `printf hello | git hash-object --stdin`
    file = File("a.txt", 5, None, "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0")
    partial = Partial(file, tmp_path)
    with partial.writing() as write:
        write(b"he")
        write(b"llo and more than was promised")
    assert partial.hasher.hexdigest() == file.etag
    assert partial.path.read_bytes() == b"hello"


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    order = order_of(tmp_path, "a")
    prepare(order)
    partial = Partial(order.files[0], order.blobs)
    with partial.writing() as write:
        write(b"a" * 100)
    synced: list[bool] = []
    monkeypatch.setattr(
        "vllm_flows.weights_blobs.sync",
        lambda path: synced.append(path == partial.path and not partial.blob.exists()),
    )
    assert partial.keep(partial.path, Record(order.folder))
    assert synced[0]
    assert partial.blob.read_bytes() == b"a" * 100


def test_nothing_is_written_through_a_link_that_appears_meanwhile(tmp_path: Path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    partial = Partial(file_of("a", b"hello"), tmp_path)
    partial.path.symlink_to(outside)
    with pytest.raises(OSError, match="symbolic link"), partial.writing():
        pass
    (tmp_path / "x.draft").symlink_to(outside)
    write_json(tmp_path / "x.json", [1])
    assert outside.read_bytes() == b"mine"
    assert (tmp_path / "x.json").read_text() == "[1]"


def test_a_blob_put_in_place_of_one_that_was_proven_is_noticed_by_its_inode(tmp_path: Path):
    """As `cp --preserve` and `mv` do it: size and time are those of the proven one."""
    record, blob, other = Record(tmp_path), tmp_path / "blob", tmp_path / "other"
    (tmp_path / OURS).mkdir()
    blob.write_bytes(b"right")
    record.add(blob)
    other.write_bytes(b"wrong")
    then = blob.stat().st_mtime_ns
    os.utime(other, ns=(then, then))
    assert record.knows(blob)
    other.replace(blob)
    assert blob.stat().st_mtime_ns == then
    assert not record.knows(blob)


@pytest.mark.parametrize("kind", ["pipe", "folder"])
@pytest.mark.parametrize("place", ["path", "blob"])
def test_what_is_no_regular_file_is_no_part_and_no_blob(tmp_path: Path, place: str, kind: str):
    partial = Partial(file_of("a", b"hello"), tmp_path)
    path = getattr(partial, place)
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    partial.check(Record(tmp_path))
    assert not path.exists()
    assert partial.position == 0


def test_a_pipe_that_appears_meanwhile_is_not_waited_for(tmp_path: Path):
    partial = Partial(file_of("a", b"hello"), tmp_path)
    os.mkfifo(partial.path)
    with pytest.raises(OSError, match="No such device"), partial.writing():
        pass

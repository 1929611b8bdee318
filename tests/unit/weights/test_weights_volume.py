"""Which revisions stay, which go, which are complete."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from vllm_flows.weights_blobs import Partial, Record, write_json
from vllm_flows.weights_markers import is_whole, mark, withdraw_markers
from vllm_flows.weights_order import OURS, PRUNE, File, Order, TemporaryError, UnfixableError
from vllm_flows.weights_volume import link, prepare, present, prune, sole_writer, tidy

COMMITS = {letter: letter * 40 for letter in "abcd"}
SHARED = b"shared by every revision"


def file_of(name: str, content: bytes) -> File:
    return File(name, len(content), hashlib.sha256(content).hexdigest(), "")


def order_of(cache: Path, letter: str, repository: str = "o/m") -> Order:
    files = (file_of("own.bin", letter.encode() * 100), file_of("shared.bin", SHARED))
    return Order(repository, COMMITS[letter], files, cache)


def fill(order: Order) -> None:
    """Put a complete revision on the volume, as the program leaves it."""
    for folder in (order.blobs, order.marker.parent):
        folder.mkdir(parents=True, exist_ok=True)
    record = Record(order.folder)
    contents = (order.commit[:1].encode() * 100, SHARED)
    for file, content in zip(order.files, contents, strict=True):
        (order.blobs / file.etag).write_bytes(content)
        record.add(order.blobs / file.etag)
    link(order)
    write_json(order.marker, order.manifest)


def with_room(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


EVERY = 100 + 100 + 100 + len(SHARED)
"""Bytes of three revisions beside each other."""


@pytest.mark.parametrize(
    ("keep", "before", "budget", "free", "left"),
    [
        ("", "", 0, 10_000, ""),
        ("a", "", 0, 10_000, "a"),
        ("a", "b", 0, 10_000, "ab"),
        ("ab", "", 0, 10_000, "ab"),
        ("a", "b", EVERY, 10_000, "ab"),
        ("a", "b", EVERY - 1, 10_000, "a"),  # the budget decides about the one before
        ("c", "a", EVERY + 100, 10_000, "abc"),  # older ones stay while the budget allows
        ("c", "a", EVERY + 99, 10_000, "ac"),  # and go before the one served before does
        ("", "", EVERY, 10_000, "bc"),  # the oldest first
        ("a", "b", 0, 99, None),  # no room even without it
        ("a", "a", EVERY - 100, 10_000, "a"),  # what runs is never removed
        ("c", "", 0, 10_000, "c"),
    ],
)
def test_what_stays_on_the_volume(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keep: str,
    before: str,
    budget: int,
    free: int,
    left: str | None,
):
    for age, letter in enumerate("abc"):
        fill(order_of(tmp_path, letter))
        os.utime(order_of(tmp_path, letter).marker, (age, age))
    order = replace(
        order_of(tmp_path, "d"),
        keep=frozenset(COMMITS[letter] for letter in keep),
        before=COMMITS.get(before, ""),
        budget=budget,
    )
    with_room(monkeypatch, free)
    if left is None:
        with pytest.raises(UnfixableError, match="99 bytes free and 100 are still to come"):
            prune(order)
        return
    prune(order)
    assert {path.name for path in (order.folder / "snapshots").iterdir()} == {
        COMMITS[letter] for letter in left
    }
    assert {path.stem for path in (order.folder / OURS).glob("*.json")} == {
        COMMITS[letter] for letter in left
    }
    record = Record(order.folder)
    for letter in left:
        assert is_whole(order_of(tmp_path, letter).marker, record)
    blobs = {file.etag for letter in left for file in order_of(tmp_path, letter).files}
    assert {path.name for path in order.blobs.iterdir()} == blobs | {file_of("", SHARED).etag}


@pytest.mark.parametrize(
    ("keep", "budget", "free", "words"),
    [
        ("ab", 0, 99, "199 bytes of room and 200 are still to come"),
        ("ab", EVERY + 99, 10_000, "199 bytes of room and 200 are still to come"),
        ("", 100, 10_000, "76 bytes of room and 200 are still to come"),
        ("ab", 10, 10_000, "0 bytes of room and 200 are still to come"),
    ],
)
def test_what_cannot_fit_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, budget: int, free: int, words: str
):
    for letter in "abc":
        fill(order_of(tmp_path, letter))
    order = order_of(tmp_path, "d")
    order = replace(
        order,
        files=(file_of("own.bin", b"d" * 200), order.files[1]),
        keep=frozenset(COMMITS[letter] for letter in keep),
        before=COMMITS["c"],
        budget=budget,
    )
    with_room(monkeypatch, free)
    blobs = sorted(order.blobs.iterdir())
    with pytest.raises(UnfixableError, match=f"{words}; give the model a larger pvcStorage"):
        prune(order)
    assert sorted(order.blobs.iterdir()) == blobs
    assert all(order_of(tmp_path, letter).marker.exists() for letter in "abc")


def test_another_repositorys_bytes_count_as_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    other = order_of(tmp_path, "a", "o/other")
    fill(other)
    order = order_of(tmp_path, "d")
    order.blobs.mkdir(parents=True)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: SimpleNamespace(free=0 if other.folder.exists() else 124)
    )
    prune(order)
    assert not other.folder.exists()
    fill(other)
    with_room(monkeypatch, 0)
    with pytest.raises(UnfixableError, match="0 bytes of room and 124 are still to come"):
        prune(replace(order, keep=frozenset({other.commit})))


def test_files_that_are_listed_no_more_count_as_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fill(order_of(tmp_path, "d"))
    own, shared = order_of(tmp_path, "d").files
    order = replace(order_of(tmp_path, "d"), files=(shared, file_of("new.bin", b"n" * 100)))
    blob = order.blobs / own.etag
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: SimpleNamespace(free=0 if blob.exists() else 100)
    )
    with pytest.raises(UnfixableError, match="0 bytes of room and 100 are still to come"):
        prune(replace(order, keep=frozenset({order.commit})))
    assert blob.exists()
    prune(order)
    assert not blob.exists()


def test_a_commit_that_is_there_removes_nothing_for_a_budget(tmp_path: Path):
    for letter in "ad":
        fill(order_of(tmp_path, letter))
    order = replace(order_of(tmp_path, "d"), before=COMMITS["a"], budget=1)
    prune(order)
    assert order_of(tmp_path, "a").marker.exists()


def test_the_one_before_goes_when_the_disk_lacks_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fill(order_of(tmp_path, "a"))
    order = replace(order_of(tmp_path, "d"), before=COMMITS["a"])
    before = order_of(tmp_path, "a").blobs / order_of(tmp_path, "a").files[0].etag
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: SimpleNamespace(free=0 if before.exists() else 100)
    )
    prune(order)
    assert not (order.folder / "snapshots" / COMMITS["a"]).exists()


def test_a_removed_revision_loses_its_marker_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    old = order_of(tmp_path, "a")
    fill(old)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prune(order_of(tmp_path, "d"))
    assert not old.marker.exists()
    assert (old.blobs / old.files[0].etag).exists()


def test_another_repository_stays_while_it_runs_and_goes_with_its_last_revision(tmp_path: Path):
    other = order_of(tmp_path, "a", "o/other")
    fill(other)
    prune(replace(order_of(tmp_path, "d"), keep=frozenset({other.commit})))
    assert is_whole(other.marker, Record(other.folder))
    prune(order_of(tmp_path, "d"))
    assert not other.folder.exists()


def test_parts_of_other_files_and_the_librarys_go_and_those_of_the_order_stay(tmp_path: Path):
    order = order_of(tmp_path, "d")
    order.blobs.mkdir(parents=True)
    etag = order.files[0].etag
    names = [f"{etag}.part", f"{'e' * 64}.part", f"{etag}.0123abcd.incomplete", "f" * 64]
    for name in names:
        (order.blobs / name).write_bytes(b"x")
    prune(order)
    assert [path.name for path in order.blobs.iterdir()] == names[:1]


def test_bytes_that_are_there_count_once_and_up_to_the_files_size(tmp_path: Path):
    order = order_of(tmp_path, "d")
    own, shared = order.files
    order = replace(order, files=(own, shared, replace(own, name="twin.bin")))
    assert (order.total, present(order)) == (100 + len(SHARED), 0)
    order.blobs.mkdir(parents=True)
    (order.blobs / f"{own.etag}.part").write_bytes(b"x" * 30)
    (order.blobs / f"{own.etag}.01.incomplete").write_bytes(b"x" * 40)
    (order.blobs / f"{shared.etag}.part").write_bytes(b"x" * 1000)
    assert present(order) == 40 + len(SHARED)


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


def test_tidying_leaves_the_commits_to_keep_and_nothing_else_of_any_repository(tmp_path: Path):
    orders = [order_of(tmp_path, letter) for letter in "abc"]
    other = order_of(tmp_path, "d", "o/other")
    for order in (*orders, other):
        fill(order)
    (orders[0].blobs / ("e" * 64 + ".part")).write_bytes(b"x" * 10)
    asked = Order("", PRUNE, (), tmp_path, keep=frozenset({COMMITS["a"], COMMITS["b"]}))
    told = tidy(asked)
    assert told["complete"] == [COMMITS["a"], COMMITS["b"]]
    assert told["freed"] == 100 + 10 + 100 + len(SHARED)
    assert not other.folder.exists()
    assert {path.name for path in (orders[0].folder / "snapshots").iterdir()} == set(
        told["complete"]
    )
    for order in orders[:2]:
        assert is_whole(order.marker, Record(order.folder))
    assert tidy(asked) == {**told, "freed": 0}


def test_an_empty_volume_is_tidy(tmp_path: Path):
    asked = Order("", PRUNE, (), tmp_path / "hub", keep=frozenset())
    assert tidy(asked) == {"freed": 0, "complete": []}

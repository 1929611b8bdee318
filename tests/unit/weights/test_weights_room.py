"""Which revisions stay on the volume, and which go to make room."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.weights.revisions import COMMITS, SHARED, file_of, fill, order_of
from vllm_flows.weights_blobs import Record
from vllm_flows.weights_markers import is_whole
from vllm_flows.weights_order import OURS, PRUNE, Order, UnfixableError
from vllm_flows.weights_volume import present, prune, tidy


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

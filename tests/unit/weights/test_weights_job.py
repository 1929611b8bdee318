"""The program as a process: what it brings, what it says, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import snapshot_download

from vllm_flows.weights_job import TEMPORARY, tell
from vllm_flows.weights_order import PRUNE, File, UnfixableError, order_from

if TYPE_CHECKING:
    from conftest import Volume


def test_a_first_download_reports_what_came(volume: Volume):
    order = volume.order("open")
    result = volume.run(order)
    assert result.code == 0, result.errors
    assert result.said == {
        "commit": order.commit,
        "files": len(order.files),
        "bytes": order.total,
        "fetched": order.total,
        "complete": [order.commit],
    }
    assert volume.is_right(order)


def test_a_job_that_prunes_removes_what_is_not_to_be_kept_and_asks_the_hub_nothing(volume: Volume):
    kept, gone = volume.order("tagged"), volume.order("open")
    for order in (kept, gone):
        assert volume.run(replace(order, budget=10**9)).code == 0
    sent = volume.hub.requests.total()
    asked = replace(kept, repository="", commit=PRUNE, files=(), keep=frozenset({kept.commit}))
    result = volume.run(asked)
    assert (result.code, result.said) == (0, {"freed": gone.total, "complete": [kept.commit]})
    assert volume.is_right(kept)
    assert volume.hub.requests.total() == sent


def test_the_engine_finds_the_commit_offline(volume: Volume):
    order = volume.order("tagged")
    assert volume.run(order).code == 0
    found = Path(
        snapshot_download(
            order.repository, revision=order.commit, cache_dir=order.cache, local_files_only=True
        )
    )
    assert {path.name for path in found.iterdir()} == {file.name for file in order.files}
    assert all(not path.readlink().is_absolute() for path in found.iterdir())


def test_only_the_files_of_the_order_come(volume: Volume):
    order = volume.order("open")
    order = replace(order, files=order.files[:2])
    assert volume.run(order).code == 0
    assert len(list((order.folder / "snapshots" / order.commit).iterdir())) == 2


def test_a_file_in_a_folder_and_an_empty_one_come_too(volume: Volume):
    order = volume.order("open")
    empty = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    order = replace(order, files=(*order.files, File("original/empty.txt", 0, None, empty)))
    assert volume.run(order).code == 0
    path = order.folder / "snapshots" / order.commit / "original" / "empty.txt"
    assert path.read_bytes() == b""


def test_progress_only_grows_and_ends_at_the_total(volume: Volume):
    order = volume.order("tagged")
    lines = [line.split() for line in volume.run(order).lines if line.startswith("progress ")]
    done = [int(line[1]) for line in lines]
    assert done == sorted(set(done))
    assert lines[-1] == ["progress", str(order.total), str(order.total)]


def test_how_far_it_is_is_said_when_it_changed(capsys: pytest.CaptureFixture[str]):
    counts, ends = iter([3, 3, 5, 5]), iter([False, False, False, True])
    tell(lambda _: next(ends), "checking", 9, lambda: next(counts))
    assert capsys.readouterr().out.splitlines() == ["checking 3 9", "checking 5 9"]


def test_a_second_run_fetches_and_reads_nothing(volume: Volume):
    order = volume.order("open")
    assert volume.run(order).code == 0
    before = volume.bytes, volume.hub.requests["resolve"]
    result = volume.run(order)
    assert (result.code, result.said["fetched"]) == (0, 0)
    assert (volume.bytes, volume.hub.requests["resolve"]) == before
    assert not any(line.startswith("checking") for line in result.lines)


def test_what_another_commit_shares_is_not_fetched_again(volume: Volume):
    older, newer = volume.order("tagged", "v1.0"), volume.order("tagged")
    assert volume.run(older).code == 0
    shared = {file.etag for file in older.files} & {file.etag for file in newer.files}
    result = volume.run(replace(newer, keep=frozenset({older.commit})))
    assert shared
    assert result.said["fetched"] == sum(f.size for f in newer.unique if f.etag not in shared)
    assert result.said["complete"] == sorted([older.commit, newer.commit])
    assert volume.is_right(older)
    assert volume.is_right(newer)


def test_a_volume_without_a_record_is_read_and_not_fetched(volume: Volume):
    order = volume.order("open")
    assert volume.run(order).code == 0
    (order.folder / ".vllm-flows" / "checked").unlink()
    result = volume.run(order)
    assert (result.code, result.said["fetched"]) == (0, 0)
    assert f"checking {order.total} {order.total}" in result.lines


def test_a_damaged_file_is_found_and_fetched_again(volume: Volume):
    order = volume.order("open")
    assert volume.run(order).code == 0
    shard = order.unique[0]
    blob = order.blobs / shard.etag
    content = bytearray(blob.read_bytes())
    content[1000] ^= 1
    blob.write_bytes(content)
    result = volume.run(order)
    assert (result.code, result.said["fetched"]) == (0, shard.size)
    assert volume.is_right(order)


def test_bit_rot_that_no_file_time_tells_is_found_by_a_recheck_which_reads_all_once(volume: Volume):
    order = volume.order("open")
    assert volume.run(order).code == 0
    blob = order.blobs / order.unique[0].etag
    times = blob.stat()
    with blob.open("r+b") as file:
        file.seek(1000)
        file.write(b"rot!")
    os.utime(blob, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert volume.run(order).said["fetched"] == 0
    again = replace(order, recheck="1234")
    result = volume.run(again)
    assert (result.code, result.said["fetched"]) == (0, order.unique[0].size)
    assert any("checking" in line for line in result.lines)
    assert volume.is_right(order)
    assert not any("checking" in line for line in volume.run(again).lines)  # another attempt


def test_a_recheck_of_an_empty_volume_reads_nothing_twice(volume: Volume):
    order = replace(volume.order("open"), recheck="1234")
    assert volume.run(order).code == 0
    assert not any("checking" in line for line in volume.run(order).lines)


def test_a_truncated_file_goes_on_where_it_ends(volume: Volume):
    order = volume.order("open")
    assert volume.run(order).code == 0
    os.truncate(order.blobs / order.unique[0].etag, 400_000)
    result = volume.run(order)
    assert (result.code, result.said["fetched"]) == (0, order.unique[0].size - 400_000)
    assert volume.is_right(order)


def test_a_part_that_is_wrong_or_too_long_begins_anew(volume: Volume):
    order = volume.order("tagged")
    order.blobs.mkdir(parents=True)
    first, second = order.unique[:2]
    (order.blobs / f"{first.etag}.part").write_bytes(b"x" * 1000)
    (order.blobs / f"{second.etag}.part").write_bytes(b"x" * (second.size + 1))
    result = volume.run(order)
    assert (result.code, result.said["fetched"]) == (0, order.total + first.size - 1000)
    assert volume.is_right(order)


@pytest.mark.parametrize("place", ["part", "blob"])
@pytest.mark.parametrize("target", ["wrong", "right", "none"])
def test_a_link_in_place_of_a_file_is_replaced_and_not_followed(
    volume: Volume, place: str, target: str
):
    order = volume.order("open")
    shard = order.unique[0]
    order.blobs.mkdir(parents=True)
    other = volume.folder / "other"
    if target != "none":
        there = volume.hub.store.repositories[order.repository].find(order.commit)
        assert there
        right = there.files[shard.name].location.read_bytes()
        other.write_bytes(b"mine" if target == "wrong" else right)
    before = other.read_bytes() if other.exists() else None
    (order.blobs / (shard.etag + ".part" * (place == "part"))).symlink_to(other)
    result = volume.run(order)
    assert (result.code, result.said["fetched"]) == (0, order.total), result.said
    assert (other.read_bytes() if other.exists() else None) == before
    assert volume.is_right(order)
    assert not (order.blobs / shard.etag).is_symlink()


@pytest.mark.parametrize("runs", [False, True])
def test_a_shorter_list_leaves_just_the_listed_files(volume: Volume, *, runs: bool):
    order = volume.order("open")
    nested = order.folder / "snapshots" / order.commit / "original" / "x.bin"
    assert volume.run(order).code == 0
    nested.parent.mkdir()
    nested.symlink_to(f"../../../blobs/{order.unique[0].etag}")
    shorter = replace(order, files=order.files[:2], keep=frozenset({order.commit} if runs else ()))
    result = volume.run(shorter)
    assert (result.code, result.said["fetched"]) == (0, 0)
    snapshot = order.folder / "snapshots" / order.commit
    left = {str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if path.is_symlink()}
    blobs = {path.name for path in order.blobs.iterdir()}
    files = order.files if runs else shorter.files
    assert left == {file.name for file in files} | ({"original/x.bin"} if runs else set())
    assert blobs == {file.etag for file in files}
    assert nested.parent.exists() is runs


def test_a_name_that_was_a_folder_and_one_that_was_a_file_are_linked(volume: Volume):
    order = volume.order("open")
    assert volume.run(order).code == 0
    snapshot, (one, two) = order.folder / "snapshots" / order.commit, order.files[:2]
    for name in (one.name, two.name):
        (snapshot / name).unlink()
    (snapshot / one.name).mkdir()
    (snapshot / one.name / "y").symlink_to(order.blobs / one.etag)
    nested = replace(two, name=f"{order.files[2].name}/y")
    files = (one, nested)
    result = volume.run(replace(order, files=files))
    assert (result.code, result.said["fetched"]) == (0, 0), result.said
    left = {path for path in snapshot.rglob("*") if path.is_symlink()}
    assert left == {snapshot / file.name for file in files}


def test_xet_lets_the_library_fetch_and_checks_what_it_brought(volume: Volume):
    order = replace(volume.order("open"), xet=True)
    result = volume.run(order)
    assert (result.code, result.said["fetched"]) == (0, order.total), result.errors
    assert volume.is_right(order)
    assert {path.name for path in order.blobs.iterdir()} == {file.etag for file in order.files}


def test_a_file_that_the_library_brought_damaged_comes_again(volume: Volume):
    order = replace(volume.order("open"), xet=True)
    volume.spoil("corrupt")
    result = volume.run(order)
    assert (result.code, result.said["fetched"]) == (0, order.total + order.unique[0].size)
    assert [line for line in result.lines if line.startswith("again ")] == [
        f"again {order.unique[0].name}"
    ]
    assert volume.is_right(order)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/passwd",
        "a/../../x",
        "",
        ".",
        "a//b",
        "a/",
        "a\0b",
        "a\nb",
        "\ud800",
        "x" * 256,
    ],
)
def test_a_name_that_leads_out_of_the_volume_or_is_none_is_refused(volume: Volume, name: str):
    files = (File("a.bin", 1, None, "b" * 40), File(name, 1, None, "a" * 40))
    order = replace(volume.order("open"), files=files)
    with pytest.raises(UnfixableError) as caught:
        order_from(volume.environment(order))
    said = str(caught.value)
    assert said == f"{ascii(name)[1:-1]}: no name or hash that a repository's file can have"
    assert said.isprintable()


def test_a_name_that_is_a_file_and_a_folder_is_refused(volume: Volume):
    files = (File("a", 1, None, "b" * 40), File("a/b/c", 1, None, "a" * 40))
    with pytest.raises(UnfixableError, match=r"^a/b/c: no name"):
        order_from(volume.environment(replace(volume.order("open"), files=files)))


def test_a_name_in_another_script_is_taken(volume: Volume):
    files = (File("Größe/模型 1.bin", 1, None, "b" * 40),)
    order = replace(volume.order("open"), files=files)
    assert order_from(volume.environment(order)).files == files


def test_an_error_that_nobody_thought_of_ends_in_a_last_word(volume: Volume):
    environment = volume.environment(volume.order("open")) | {"WEIGHTS_BUDGET": "hf_canary"}
    environment["HF_TOKEN"] = "hf_canary"
    done = subprocess.run(
        volume.command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    said = json.loads((volume.folder / "termination-log").read_text())
    assert done.returncode == TEMPORARY
    assert said == {"error": "ValueError: invalid literal for int() with base 10: '***'"}
    assert "Traceback" in done.stderr
    assert "canary" not in done.stdout + done.stderr


def test_an_error_that_nobody_thought_of_waits_for_no_other_file(volume: Volume):
    """One file fails while another stands still, in a program that would wait for a minute."""
    order = replace(volume.order("open"), at_once=2)
    volume.spoil("stall")
    environment = volume.environment(order) | {"WEIGHTS_STALL_SECONDS": "60"}
    environment["HF_ENDPOINT"] = volume.url
    (order.blobs / order.unique[1].etag).mkdir(parents=True)
    program = volume.folder / "broken"
    program.write_text(BROKEN)
    command = [volume.command[0], str(program), volume.command[1]]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=30, check=False)
    assert done.returncode == TEMPORARY
    said = json.loads((volume.folder / "termination-log").read_text())
    assert said == {"error": "ZeroDivisionError: nobody thought of this"}


BROKEN = """
import runpy, sys
archive = sys.argv[1]
sys.path.insert(0, archive)
from vllm_flows import weights_job

def fetch(hub, partial, record):
    if partial.file.name.endswith(".safetensors"):
        return hub.complete(partial)
    raise ZeroDivisionError("nobody thought of this")

weights_job.fetch = fetch
runpy.run_path(archive, run_name="__main__")
"""


def test_a_termination_log_that_cannot_be_written_changes_nothing(volume: Volume):
    order = volume.order("open")
    environment = volume.environment(order) | {"TERMINATION_LOG": "/nowhere/at/all"}
    done = subprocess.run(
        volume.command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["complete"] == [order.commit]


def test_a_file_without_a_hash_is_refused(volume: Volume):
    order = replace(volume.order("open"), files=(File("x", 1, None, ""),))
    with pytest.raises(UnfixableError, match="x: the Hub lists no hash"):
        order_from(volume.environment(order))


def test_sigterm_ends_it_at_once_and_what_came_stays(volume: Volume):
    order = volume.order("open")
    volume.spoil("stall")
    environment = volume.environment(order) | {"WEIGHTS_STALL_SECONDS": "60"}
    part = order.blobs / f"{order.unique[0].etag}.part"
    with subprocess.Popen(volume.command, env=environment, stdout=subprocess.DEVNULL) as process:
        while not part.exists() or not part.stat().st_size:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == TEMPORARY
    assert "told to stop" in json.loads((volume.folder / "termination-log").read_text())["error"]
    assert not order.marker.exists()
    assert part.stat().st_size

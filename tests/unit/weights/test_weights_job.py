"""The Job's program, with the real huggingface_hub, against the sandbox's Hub on 127.0.0.1."""

from __future__ import annotations

import io
import shutil
import threading
from contextlib import redirect_stdout
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError

from sandbox.hub.access import TOKEN_WITHOUT_GRANT
from vllm_flows import weights_job
from vllm_flows.weights_job import (
    PERMANENT,
    TEMPORARY,
    Order,
    TemporaryError,
    UnfixableError,
    check_room,
    check_sizes,
    classified,
    escaped,
    remove_abandoned,
    say_progress,
)

if TYPE_CHECKING:
    from conftest import Volume

SHA = "c0ffee" * 10 + "c0ff"


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """One large file, one small one, nothing on the volume yet."""
    files = [
        {"name": "model.safetensors", "size": 100, "sha256": SHA},
        {"name": "config.json", "size": 10, "sha256": None},
    ]
    return Order("o/m", "a" * 40, files, tmp_path)


def put(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def test_a_first_download_reports_commit_files_and_bytes(volume: Volume):
    order = volume.order("open")
    result = volume.run(order)
    assert result.code == 0, result.errors
    assert result.said == {"commit": order.commit, "files": len(order.files), "bytes": order.total}
    assert all(Path(order.snapshot, each["name"]).stat().st_size for each in order.files)


def test_progress_only_grows_and_ends_at_the_total(volume: Volume):
    order = volume.order("tagged")
    lines = [line.split() for line in volume.run(order).lines if line.startswith("progress ")]
    done = [int(line[1]) for line in lines]
    assert done == sorted(set(done))
    assert lines[-1] == ["progress", str(order.total), str(order.total)]


def test_progress_never_goes_back(order: Order, monkeypatch: pytest.MonkeyPatch):
    counts, ends = iter([5, 3, 5, 8]), iter([False, False, False, True])
    monkeypatch.setattr(Order, "present", lambda _: next(counts))
    done = threading.Event()
    monkeypatch.setattr(done, "wait", lambda _: next(ends))
    with redirect_stdout(io.StringIO()) as output:
        say_progress(done, order)
    assert output.getvalue().splitlines() == ["progress 5 110", "progress 8 110"]


def test_a_second_run_fetches_nothing(volume: Volume):
    order = volume.order("open")
    assert volume.run(order).code == 0
    before = volume.hub.requests["bytes"], volume.hub.requests["resolve"]
    assert volume.run(order).code == 0
    assert (volume.hub.requests["bytes"], volume.hub.requests["resolve"]) == before


def test_another_commits_bytes_do_not_count(volume: Volume):
    older, newer = volume.order("tagged", "v1.0"), volume.order("tagged")
    assert volume.run(older).code == 0
    assert older.present() == older.total
    changed = {each["sha256"] for each in newer.files} - {each["sha256"] for each in older.files}
    assert changed
    assert newer.present() <= newer.total - sum(
        each["size"] for each in newer.files if each["sha256"] in changed
    )


def test_bytes_that_another_commit_shares_count(order: Order):
    put(order.folder / "blobs" / SHA, 100)
    assert order.present() == 100
    put(order.folder / "blobs" / ("d" * 40), 10)
    assert order.present() == 100
    put(order.snapshot / "config.json", 10)
    assert order.present() == 110


def test_of_several_partial_files_the_largest_counts(order: Order):
    put(order.folder / "blobs" / f"{SHA}.incomplete", 30)
    put(order.folder / "blobs" / f"{SHA}.0123abcd.incomplete", 20)
    put(order.folder / "blobs" / ("d" * 64 + ".incomplete"), 90)
    assert order.present() == 30


def test_a_file_counts_no_more_than_its_size(order: Order):
    put(order.folder / "blobs" / f"{SHA}.incomplete", 1000)
    assert order.present() == 100


def test_only_partial_files_that_nothing_goes_on_with_are_removed(order: Order):
    kept = put(order.folder / "blobs" / f"{SHA}.incomplete", 30)
    whole = put(order.folder / "blobs" / SHA, 100)
    gone = put(order.folder / "blobs" / f"{SHA}.0123abcd.incomplete", 20)
    other = put(order.cache / "models--x--y" / "blobs" / f"{SHA}.89abcdef.incomplete", 20)
    remove_abandoned(order.cache)
    assert [path.exists() for path in (kept, whole, gone, other)] == [True, True, False, False]


def with_room(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def test_room_is_measured_against_what_this_commit_lacks(
    order: Order, monkeypatch: pytest.MonkeyPatch
):
    with_room(monkeypatch, 60)
    put(order.folder / "blobs" / ("d" * 64), 1000)
    with pytest.raises(UnfixableError, match="60 bytes free and 110 are still to come"):
        check_room(order)
    put(order.folder / "blobs" / f"{SHA}.incomplete", 50)
    check_room(order)


def test_too_little_room_ends_the_program_for_good(volume: Volume, monkeypatch: pytest.MonkeyPatch):
    order, log = volume.order("open"), volume.folder / "log"
    (volume.folder / "files.json").write_text("""[{"name": "a", "size": 100, "sha256": null}]""")
    monkeypatch.setenv("WEIGHTS_REPOSITORY", order.repository)
    monkeypatch.setenv("WEIGHTS_COMMIT", order.commit)
    monkeypatch.setenv("WEIGHTS_FILES", str(volume.folder / "files.json"))
    monkeypatch.setenv("HF_HUB_CACHE", str(order.cache))
    monkeypatch.setenv("TERMINATION_LOG", str(log))
    with_room(monkeypatch, 99)
    assert weights_job.main() == PERMANENT
    assert "99 bytes free" in log.read_text()


def test_a_gated_repository_without_a_token_is_not_tried_again(volume: Volume):
    result = volume.run(volume.order("gated"))
    assert result.code == PERMANENT
    assert "the Hub refuses meta-llama/Llama-3.2-3B-Instruct" in result.said["error"]


def test_a_token_without_the_grant_is_not_tried_again(volume: Volume):
    result = volume.run(volume.order("gated"), TOKEN_WITHOUT_GRANT)
    assert result.code == PERMANENT
    assert "(HTTP 403)" in result.said["error"]


def test_a_revoked_token_is_not_tried_again_and_not_repeated(volume: Volume):
    result = volume.run(volume.order("gated"), "hf_canary")
    assert result.code == PERMANENT
    assert result.said["error"].endswith("to this token (HTTP 401)")
    assert "canary" not in result.said["error"]


def test_a_token_revoked_between_two_files_is_not_tried_again(volume: Volume):
    order = volume.order("open")
    assert volume.run(replace(order, files=order.files[:1])).code == 0
    volume.hub.failures = [(403, "")] * 50
    result = volume.run(order)
    assert (result.code, "(HTTP 403)" in result.said["error"]) == (PERMANENT, True)


def test_a_file_that_the_commit_does_not_have_is_not_tried_again(volume: Volume):
    order = volume.order("open")
    order.files.append({"name": "missing.bin", "size": 5, "sha256": None})
    result = volume.run(order)
    assert (result.code, "(HTTP 404)" in result.said["error"]) == (PERMANENT, True)


def test_a_hub_that_fails_is_worth_another_try_and_says_what_it_answered(volume: Volume):
    volume.hub.failures = [(501, "")] * 50  # huggingface_hub itself repeats 500, for 20 seconds
    result = volume.run(volume.order("open"))
    assert result.code == TEMPORARY
    assert "501" in result.said["error"]


def test_a_hub_that_is_down_is_no_missing_file(order: Order):
    down = LocalEntryNotFoundError("cannot find the requested files")
    down.__cause__ = ConnectionError("Connection refused")
    error = classified(down, order)
    assert isinstance(error, TemporaryError)
    assert str(error) == "ConnectionError: Connection refused"


def test_a_refusal_behind_a_local_error_is_found(order: Order):
    wrapped = LocalEntryNotFoundError("cannot find the requested files")
    answer = SimpleNamespace(status_code=403, headers={}, request=None)
    wrapped.__cause__ = GatedRepoError("gated", response=answer)  # type: ignore[arg-type]  # a stand-in
    assert isinstance(classified(wrapped, order), UnfixableError)


def test_a_truncated_file_is_removed_so_that_the_retry_fetches_it(volume: Volume):
    order = volume.order("open")
    assert volume.run(order).code == 0
    name = next(each["name"] for each in order.files if each["sha256"])
    blob = Path(order.snapshot, name).resolve()
    blob.write_bytes(blob.read_bytes()[:1000])
    result = volume.run(order)
    assert result.code == TEMPORARY
    assert f"{name}: 1000 bytes on the volume" in result.said["error"]
    assert not blob.exists()
    assert volume.run(order).code == 0


def test_every_wrong_file_is_removed_at_once(order: Order):
    wrong = [put(order.snapshot / each["name"], 3) for each in order.files]
    with pytest.raises(TemporaryError, match=r"3 bytes .*100 .*; config.json: 3 bytes"):
        check_sizes(order)
    assert not any(path.exists() for path in wrong)


@pytest.mark.parametrize("name", ["a*.json", "a?.json", "a[1].json", "a]b.json", "plain.json"])
def test_a_file_name_is_no_pattern(name: str):
    assert fnmatch(name, escaped(name))
    assert not any(fnmatch(other, escaped(name)) for other in ("ax.json", "a1.json", "abc.json"))

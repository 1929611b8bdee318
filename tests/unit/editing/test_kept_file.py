"""A file is put back whole or stays as it was, and nothing is ever left beside it."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from vllm_flows.errors import ConfigurationError, StalePlanError
from vllm_flows.kept_file import KeptFile

FILE = Path("models.yaml")


@pytest.fixture(autouse=True)
def _a_file() -> None:
    FILE.write_bytes(b"old\r\n")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def only_the_file_is_there(data: bytes = b"old\r\n") -> bool:
    return [str(one) for one in Path().iterdir()] == ["models.yaml"] and FILE.read_bytes() == data


@pytest.mark.parametrize("wanted", [0o644, 0o600, 0o664, 0o755])
def test_the_new_version_has_the_mode_of_the_old_one(wanted: int):
    FILE.chmod(wanted)
    KeptFile.read(FILE).replace(b"new")
    assert only_the_file_is_there(b"new")
    assert mode(FILE) == wanted


def test_a_new_file_may_be_read_by_all_whatever_the_umask():
    FILE.unlink()
    before = os.umask(0o077)
    try:
        KeptFile.read(FILE).replace(b"new")
    finally:
        os.umask(before)
    assert only_the_file_is_there(b"new")
    assert mode(FILE) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root can give no file away")
def test_the_owner_stays():
    os.chown(FILE, 1234, 5678)
    KeptFile.read(FILE).replace(b"new")
    assert (FILE.stat().st_uid, FILE.stat().st_gid) == (1234, 5678)


def test_a_symbolic_link_stays_and_its_target_is_changed(tmp_path: Path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    FILE.rename(folder / "target.yaml")
    FILE.symlink_to("elsewhere/target.yaml")
    KeptFile.read(FILE).replace(b"new")
    assert FILE.is_symlink()
    assert [one.name for one in folder.iterdir()] == ["target.yaml"]
    assert (folder / "target.yaml").read_bytes() == b"new"


def test_a_link_to_nothing_yet_gets_its_target():
    FILE.unlink()
    FILE.symlink_to("target.yaml")
    KeptFile.read(FILE).replace(b"new")
    assert FILE.is_symlink()
    assert Path("target.yaml").read_bytes() == b"new"


@pytest.mark.parametrize("change", [b"theirs", None])
def test_what_somebody_else_changed_meanwhile_is_not_overwritten(change: bytes | None):
    kept = KeptFile.read(FILE)
    if change is None:
        FILE.unlink()
    else:
        FILE.write_bytes(change)
    with pytest.raises(StalePlanError, match="changed by somebody else meanwhile"):
        kept.replace(b"new")
    assert [one.read_bytes() for one in Path().iterdir()] == ([change] if change else [])


def test_what_somebody_else_made_meanwhile_is_not_overwritten():
    FILE.unlink()
    kept = KeptFile.read(FILE)
    FILE.write_bytes(b"theirs")
    with pytest.raises(StalePlanError):
        kept.replace(b"new")
    assert only_the_file_is_there(b"theirs")


def test_of_many_at_the_same_time_each_adds_to_what_the_others_wrote_or_says_that_it_did_not():
    FILE.write_bytes(b"")
    done: list[int] = []

    def add(number: int) -> None:
        try:
            kept = KeptFile.read(FILE)
            kept.replace((kept.data or b"") + b"%d\n" % number)
            done.append(number)
        except StalePlanError:
            pass

    threads = [threading.Thread(target=add, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, FILE.read_bytes().split())) == sorted(done)
    assert done
    assert only_the_file_is_there(FILE.read_bytes())


def test_a_read_only_file_is_refused_with_how_to_make_it_writable():
    FILE.chmod(0o444)
    with pytest.raises(ConfigurationError, match="is read-only") as refused:
        KeptFile.read(FILE).replace(b"new")
    assert refused.value.next_command == "chmod u+w models.yaml"
    assert only_the_file_is_there()


def test_a_read_only_folder_is_refused(monkeypatch: pytest.MonkeyPatch):
    # Tests may run as root, whom no mode of a folder stops.
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).is_file())
    with pytest.raises(ConfigurationError, match="its folder may not be written"):
        KeptFile.read(FILE).replace(b"new")
    assert only_the_file_is_there()


def test_a_folder_that_is_not_there_is_said():
    with pytest.raises(ConfigurationError, match="there is no folder") as refused:
        KeptFile.read(Path("some where/models.yaml")).replace(b"new")
    assert refused.value.next_command == "mkdir -p 'some where'"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", ["os.fsync", "os.fchmod", "pathlib.Path.replace"])
def test_nothing_is_left_when_writing_fails_or_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, at: str, error: BaseException
):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(at, fail)
    with pytest.raises((ConfigurationError, KeyboardInterrupt)) as raised:
        KeptFile.read(FILE).replace(b"new")
    assert only_the_file_is_there()
    if isinstance(error, OSError):
        assert "cannot be written\n  why:  No space left on device" in str(raised.value)


def test_what_is_no_file_is_refused_and_not_waited_for():
    FILE.unlink()
    os.mkfifo(FILE)
    with pytest.raises(ConfigurationError, match="no regular file"):
        KeptFile.read(FILE)
    with pytest.raises(ConfigurationError, match="Is a directory"):
        KeptFile.read(Path())


def test_a_link_to_itself_cannot_be_read():
    FILE.unlink()
    FILE.symlink_to(FILE)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        KeptFile.read(FILE)

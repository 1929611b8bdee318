"""Output is kept in the container runtime interface's log format."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sandbox.agent.output import Lines, cri_line, link_log, tail

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STAMP = b"2026-01-02T03:04:05.000000000Z"


def test_a_line_has_time_stream_and_tag() -> None:
    assert cri_line("stderr", b"oops", MOMENT) == STAMP + b" stderr F oops\n"


def test_a_line_is_written_when_it_is_complete() -> None:
    lines = Lines("stdout")
    assert lines.take(b"one\ntw", MOMENT) == STAMP + b" stdout F one\n"
    assert lines.take(b"o\n", MOMENT) == STAMP + b" stdout F two\n"


def test_the_last_line_needs_no_end() -> None:
    lines = Lines("stdout")
    assert lines.take(b"half", MOMENT) == b""
    assert lines.take(b"", MOMENT) == STAMP + b" stdout F half\n"


def test_a_very_long_line_is_written_in_parts() -> None:
    assert Lines("stdout").take(b"x" * 20_000, MOMENT).startswith(STAMP + b" stdout P xxx")


def test_the_tail_leaves_the_columns_out(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    log.write_bytes(
        cri_line("stdout", b"first", MOMENT) + cri_line("stderr", b"last words", MOMENT)
    )
    assert tail(log) == "first\nlast words"
    assert tail(log, lines=1) == "last words"
    assert tail(tmp_path / "none.log") == ""


def test_links_name_the_current_and_the_previous_log(tmp_path: Path) -> None:
    link_log(tmp_path / "0.log")
    assert not (tmp_path / "previous.log").is_symlink()
    link_log(tmp_path / "1.log")
    assert (tmp_path / "current.log").readlink() == Path("1.log")
    assert (tmp_path / "previous.log").readlink() == Path("0.log")

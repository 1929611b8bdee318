"""What tables look like, on a terminal and in a pipe."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import pytest

from cli import output

ROWS = [
    {"model": "large", "fit": "fits", "reason": "meta-llama/Llama-3.2-3B-Instruct is gated " * 2},
    {"model": "small", "fit": "-", "reason": "not deployed"},
]


LONG = "llama-3-3-70b-instruct"
AS_PLANNED = [
    {
        "model": name,
        "action": "blocked",
        "access": "not asked",
        "fit": "does not fit",
        "GPUs": 4,
        "download": "8.06 GB",
        "reason": reason,
    }
    for name, reason in (
        (LONG, "does not fit its GPUs (wanted: update, revision aaaaaaaa -> bbbbbbbb)"),
        ("qwen3", "not deployed"),
    )
]
AS_ENDED = [
    {
        "model": name,
        "action": "restart",
        "revision": "aaaaaaaa",
        "GPUs": 16,
        "replicas": 2,
        "ready in": ready,
        "answered in": "0.42 s",
    }
    for name, ready in ((LONG, "12 min 5 s"), ("qwen3", "was ready"))
]
AS_ENDED_WITH_SILENCE = [
    row | {"silent for": silent} for row, silent in zip(AS_ENDED, ("0.53 s", "never"), strict=True)
]
AS_FAILED = [
    row | {"result": result}
    for row, result in zip(
        AS_ENDED_WITH_SILENCE,
        ("failed: the model does not fit the GPU's memory [cuda-out-of-memory]", "not begun"),
        strict=True,
    )
]


class Terminal(io.StringIO):
    """Where somebody looks on."""

    def isatty(self) -> bool:
        return True


def shown(
    monkeypatch: pytest.MonkeyPatch,
    file: io.StringIO,
    columns: int,
    rows: Sequence[dict[str, Any]] = ROWS,
) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout", file)
    output.table(rows)
    return [line.rstrip() for line in re.sub(r"\x1b\[\d*m", "", file.getvalue()).splitlines()]


def test_on_a_narrow_terminal_sentences_stand_below_the_table(monkeypatch: pytest.MonkeyPatch):
    lines = shown(monkeypatch, Terminal(), 80)
    assert lines[-5] == "reason:"
    assert lines[-4].startswith("large: meta-llama/Llama-3.2-3B-Instruct is gated")
    assert lines[-2:] == ["small: not deployed", ""]
    assert not any("reason" in line for line in lines[:-5])


@pytest.mark.parametrize(("file", "columns"), [(Terminal(), 160), (io.StringIO(), 80)])
def test_a_wide_terminal_and_a_pipe_get_whole_rows(
    monkeypatch: pytest.MonkeyPatch, file: io.StringIO, columns: int
):
    lines = shown(monkeypatch, file, columns)
    (row,) = (line for line in lines if line.strip().startswith("large"))
    assert row.endswith(ROWS[0]["reason"].strip())
    assert any("reason" in line for line in lines)


def test_where_a_table_has_no_room_each_row_is_a_record(monkeypatch: pytest.MonkeyPatch):
    lines = shown(monkeypatch, Terminal(), 40, AS_PLANNED)
    assert f"model: {LONG}" in lines
    assert "access: not asked" in lines
    assert "reason: not deployed" in lines


@pytest.mark.parametrize("rows", [AS_PLANNED, AS_ENDED, AS_ENDED_WITH_SILENCE, AS_FAILED])
@pytest.mark.parametrize("columns", [24, 60, 80, 100, 120, 160])
def test_no_word_is_broken_and_no_line_is_too_long_however_narrow_it_is(
    monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], columns: int
):
    lines = shown(monkeypatch, Terminal(), columns, rows)
    words = {word for row in rows for value in row.values() for word in str(value).split()}
    said = {word for line in lines for word in line.split()}
    assert words <= said | {word.rstrip(":") for word in said}
    assert all(len(line) <= columns or len(line.split()) <= 2 for line in lines)


@pytest.mark.parametrize("rows", [AS_PLANNED, AS_ENDED, AS_ENDED_WITH_SILENCE, AS_FAILED])
def test_at_80_columns_plans_and_outcomes_are_tables_with_a_line_for_each_model(
    monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]
):
    lines = shown(monkeypatch, Terminal(), 80, rows)
    for row in rows:
        (line,) = (line for line in lines if line.startswith(f"{row['model']} "))
        assert str(row["action"]) in line


def test_a_value_is_not_broken_where_its_heading_can_be(monkeypatch: pytest.MonkeyPatch):
    lines = shown(monkeypatch, Terminal(), 80, AS_ENDED)
    assert any("  12 min 5 s  0.42 s" in line for line in lines)
    assert not any("answered in" in line for line in lines)


def test_brackets_in_a_cell_are_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdout", file := io.StringIO())
    output.table([{"model": "qwen", "reason": "containers[vllm].image: [a] -> [b]"}])
    assert "containers[vllm].image: [a] -> [b]" in file.getvalue()


def test_a_pipe_gets_aligned_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]):
    output.table([{"model": "a", "reason": "a long one"}, {"model": "longer", "reason": "b"}])
    output.table([])
    assert capsys.readouterr().out == "model   reason\na       a long one\nlonger  b\n"

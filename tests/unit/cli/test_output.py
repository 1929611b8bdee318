"""What tables look like, on a terminal and in a pipe."""

from __future__ import annotations

import io

import pytest

from cli import output

ROWS = [
    {"model": "large", "fit": "fits", "reason": "meta-llama/Llama-3.2-3B-Instruct is gated " * 2},
    {"model": "small", "fit": "-", "reason": "not deployed"},
]


class Terminal(io.StringIO):
    """Where somebody looks on."""

    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, file: io.StringIO, columns: int) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout", file)
    output.table(ROWS)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_on_a_narrow_terminal_sentences_stand_below_the_table(monkeypatch: pytest.MonkeyPatch):
    lines = shown(monkeypatch, Terminal(), 80)
    assert lines[-1] == "small: not deployed"
    assert "large: meta-llama/Llama-3.2-3B-Instruct is gated" in lines[-2]
    assert not any("reason" in line for line in lines)


@pytest.mark.parametrize(("file", "columns"), [(Terminal(), 160), (io.StringIO(), 80)])
def test_a_wide_terminal_and_a_pipe_get_whole_rows(
    monkeypatch: pytest.MonkeyPatch, file: io.StringIO, columns: int
):
    lines = shown(monkeypatch, file, columns)
    (row,) = (line for line in lines if line.strip().startswith("large"))
    assert row.endswith(ROWS[0]["reason"].strip())
    assert any("reason" in line for line in lines)


def test_where_a_table_would_be_cut_off_each_row_is_a_record(monkeypatch: pytest.MonkeyPatch):
    lines = shown(monkeypatch, Terminal(), 10)
    assert "model: large" in lines
    assert "fit: fits" in lines
    assert "reason: not deployed" in lines


def test_brackets_in_a_cell_are_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdout", file := io.StringIO())
    output.table([{"model": "qwen", "reason": "containers[vllm].image: [a] -> [b]"}])
    assert "containers[vllm].image: [a] -> [b]" in file.getvalue()

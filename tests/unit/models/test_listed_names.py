"""The names in models.yaml, read quickly where the file is right and never without bounds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vllm_flows import models_file
from vllm_flows.errors import ModelsFileError
from vllm_flows.listed_names import read_listed

FILE = Path("models.yaml")
A = "- {name: a, modelURL: org/a}\n"


def listed(text: str) -> tuple[list[str], str]:
    FILE.write_text(text)
    found = read_listed(FILE)
    return found.names, found.error.why.splitlines()[0] if found.error else ""


def test_the_names_of_a_right_file_come_without_the_whole_schema(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(models_file, "examine", None)
    many = "".join(f"- {{name: m{number}, modelURL: org/a}}\n" for number in range(20_000))
    assert listed(A + many)[0][:2] == ["a", "m0"]


def test_a_name_that_a_merge_key_brings_is_read_too():
    text = "- &base {name: a, modelURL: org/a}\n- {<<: *base, name: b}\n"
    assert listed(text) == (["a", "b"], "")


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("", 1),
        (", replicaCount: 0", 0),
        (", replicaCount: 3", 3),
        (", replicaCount: 0x10", 16),
        (", replicaCount: 010", 8),
    ],
)
def test_replicas_are_those_that_the_schema_reads(said: str, wanted: int):
    FILE.write_text(f"- {{name: a, modelURL: org/a{said}}}\n")
    assert read_listed(FILE).replicas == {"a": wanted}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "lists no models"),
        ("models: []\n", "should be a list"),
        ("- name: [\n", "is not YAML"),
        (A + "- 3\n", "should be a mapping"),
        (A + "- {name: b}\n", "modelURL: is missing"),
        (A + "- {name: b, name: c, modelURL: org/b}\n", "a second time"),
        (A + "- {name: 12, modelURL: org/b}\n", "name: "),
        (A + "- {name: B, modelURL: org/b}\n", "name: "),
        (A + "- {name: {b: c}, modelURL: org/b}\n", "name: "),
        (A + "- {name: b, modelURL: org/b, replicaCount: '0'}\n", "replicaCount: "),
        (A + "- {name: b, modelURL: org/b, replicaCount: [0]}\n", "replicaCount: "),
        (A + A, "has this name too"),
        ("- &x [*x]\n", "as aliases are followed"),
    ],
)
def test_what_looks_wrong_is_looked_at_closely(text: str, why: str):
    assert why in listed(text)[1]


def test_the_right_models_of_a_wrong_file_are_still_names():
    assert listed(A + "- {no: name}\n- 3\n")[0] == ["a"]


def test_a_bomb_of_aliases_ends_in_a_problem():
    lines = ["- &x0 [a, a, a, a, a, a, a, a, a]"]
    lines += [f"- &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert "as aliases are followed" in listed("\n".join(lines))[1]


def test_a_file_that_is_too_large_has_no_names():
    FILE.write_text(A + "#" * 2 * 1024 * 1024)
    found = read_listed(FILE)
    assert not found.names
    assert "is too large" in str(found.error)


def test_a_file_that_is_missing_has_no_names():
    found = read_listed(FILE)
    assert not found.names
    assert isinstance(found.error, ModelsFileError)


def test_pipes_and_devices_are_neither_waited_for_nor_read():
    os.mkfifo(FILE)
    for path in (FILE, Path("/dev/zero")):
        assert "no regular file" in str(read_listed(path).error)

"""Adding a model to models.yaml and taking it out again leaves every other byte alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from vllm_flows.errors import ConfigurationError
from vllm_flows.models_edit import with_model, without_models
from vllm_flows.models_file import parse_models
from vllm_flows.yaml_entries import appended
from vllm_flows.yaml_positions import read_document

ROOT = Path(__file__).parents[3]
A = "- name: a\n  modelURL: org/a\n"
B = "- name: b\n  modelURL: org/b\n"
NEW: dict[str, object] = {"name": "new", "modelURL": "org/new"}


def added(text: str, entry: dict[str, object] = NEW) -> str:
    return with_model(text, entry, "models.yaml")


def removed(text: str, *names: str) -> str:
    return without_models(text, names or ["new"], "models.yaml")


# --- the property: add, then remove, gives back the same bytes

COMMENTS = ["# a comment", "#", "  # deeper", "    # - name: new", "  # \ttab", "", "   ", ""]
ENTRIES = [
    "- name: {0}\n  modelURL: org/{0}",
    "- name: {0}  # why\n  # inside\n\n  modelURL:   'org/{0}'   # where",
    '-\n  name: {0}\n  modelURL: "org/{0}"',
    "-   modelURL: org/{0}\n    name: {0}",
    "- {{name: {0}, modelURL: org/{0}}}",
    "- {{name: {0}, # here\n   modelURL: org/{0},\n   vllmConfig: {{maxModelLen: 8192,\n}}}}",
    "- name: {0}\n  modelURL: org/{0}\n  vllmConfig:\n    extraArgs:\n    - --seed\n    - '42'",
    "- name: {0}\n  modelURL: org/{0}\n  vllmConfig:\n    # maxModelLen: 8192\n    # dtype: auto",
    "- name: {0}\n  modelURL: org/{0}\n  smokeTest:\n    prompt: |\n      # no comment\n\n      x",
    "- name: {0}\n  modelURL: org/{0}\n  smokeTest:\n    prompt: >-\n      two\n      lines",
    "- name: {0}\n  modelURL: org/{0}\n  smokeTest:\n    prompt: |+\n      x\n\n",
    "- name: {0}\n  modelURL: org/{0}\n  smokeTest:\n    prompt: two\n      lines # - name: x",
    "- ? name\n  : {0}\n  ? modelURL\n  : org/{0}",
    "- &{0}\n  name: {0}\n  modelURL: org/{0}",
    "- <<: *base\n  name: {0}",
    "- !!map\n  name: !!str {0}\n  modelURL: org/{0}",
    "- name: {0}\t# a tab\n  modelURL:\torg/{0}",
    "- name: {0}\n  modelURL: org/{0}\n  nodeSelector: {{größe: 'ünïcode ☃ 🙂'}}",
]
BASE = "- &base\n  name: base\n  modelURL: org/base"


def comments(chance: random.Random) -> list[str]:
    return [chance.choice(COMMENTS) for _ in range(chance.choice([0, 0, 0, 1, 1, 2, 4]))]


def generated(chance: random.Random) -> str:
    """Make a models.yaml such as somebody could have written, or with strange habits."""
    top, indent = comments(chance), chance.choice(["", "", "", "  ", "      "])
    top += chance.choice([[], [], ["---"], ["--- # start"], ["%YAML 1.1", "# odd", "---"]])
    lines = top + comments(chance)
    entries = chance.sample(ENTRIES, chance.choice([0, 0, 1, 1, 2, 3, 5]))
    between = chance.choice([[""], [], ["", "# about the next"], None])
    for number, entry in enumerate([BASE, *entries] if entries else []):
        block = entry.format(f"m{number}").split("\n")
        lines += [f"{indent}{line}" if line else line for line in block]
        lines += comments(chance) if between is None else between
    lines += comments(chance) + chance.choice([[], [], [], ["..."], ["...", "# after"]])
    newline = chance.choice(["\n", "\n", "\r\n", "\r"])
    return newline.join(lines) + chance.choice(["", newline, newline, newline * 3])


def entry_for(chance: random.Random) -> dict[str, object]:
    """Make a model with some of the fields that there are."""
    gpus = chance.choice([1, 2, 8])
    config = {"tensorParallelSize": gpus, "dtype": "auto", "extraArgs": ["--seed", "4: 2", "#"]}
    some = {
        "revision": chance.choice(["main", "1e5", "010", "v1.0", "1_0", "é"]),
        "requestCPU": 1.5,
        "requestGPU": gpus,
        "nodeSelector": {"a b": "yes", "multi": "line\n\nbreak", "größe": "☃ \x85 \u2028 '\""},
        "vllmConfig": config,
    }
    if chance.random() < 0.5:
        return dict(NEW)
    return {**NEW, **some}


@pytest.mark.parametrize("seed", range(8))
def test_adding_a_model_and_removing_it_gives_back_the_same_bytes(seed: int):
    """And the model that was added is what was asked for, and all others are as before."""
    chance = random.Random(seed)  # noqa: S311 -- repeatable texts, not secrets
    done = 0
    for _ in range(60):
        text, entry = generated(chance), entry_for(chance)
        before = read_document(text)
        if before.problems:
            continue
        if text.endswith("      x"):
            with pytest.raises(ConfigurationError, match="would change other models too"):
                added(text, entry)
            continue
        result = added(text, entry)
        held = before.data if isinstance(before.data, list) else []
        assert read_document(result).data == [*held, entry]
        assert removed(result) == text
        done += 1
    assert done > 30


@pytest.mark.parametrize("seed", range(4))
def test_a_model_taken_out_of_the_middle_leaves_the_others_and_all_comments_between(seed: int):
    chance = random.Random(seed)  # noqa: S311 -- repeatable texts, not secrets
    for _ in range(60):
        text = generated(chance)
        data = read_document(text).data
        held = data if isinstance(data, list) else []
        if len(held) < 2 or "|+" in text:  # blank lines are part of that text
            continue
        gone = chance.randrange(1, len(held))
        result = removed(text, held[gone]["name"])
        assert read_document(result).data == [*held[:gone], *held[gone + 1 :]]
        left = [line for line in text.splitlines() if line.startswith("#")]
        assert [line for line in result.splitlines() if line.startswith("#")] == left


ODD = [
    "\u2028",
    "\x85",
    "\ufeff",
    "\t",
    "\r",
    "#",
    " - ",
    "- name: new",
    "---",
    "...",
    "'",
    "[",
    "&m1 ",
]


def test_whatever_a_file_holds_it_is_refused_or_comes_back_byte_for_byte():
    chance = random.Random(20260102)  # noqa: S311 -- repeatable texts, not secrets
    done = 0
    for _ in range(500):
        text = generated(chance)
        at = chance.randrange(len(text) + 1)
        text = text[:at] + chance.choice(ODD) + text[at:]
        try:
            result = added(text)
        except ConfigurationError:
            continue
        assert removed(result) == text
        done += 1
    assert done > 50


# --- what it looks like

MORE = "- name: new\n  modelURL: org/new\n"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", MORE),
        (A, f"{A}\n{MORE}"),
        (A + B, A + B + MORE),
        (f"{A}\n{B}", f"{A}\n{B}\n{MORE}"),
        ("# models\n", f"# models\n\n{MORE}"),
        ("---\n", f"---\n{MORE}"),
        (f"{A}...\n# end\n", f"{A}\n{MORE}...\n# end\n"),
        (A.rstrip(), f"{A}\n{MORE}".rstrip()),
        (A.replace("\n", "\r\n"), f"{A}\n{MORE}".replace("\n", "\r\n")),
        ("  - {name: a}\n", "  - {name: a}\n\n  - name: new\n    modelURL: org/new\n"),
    ],
)
def test_a_model_is_added_as_the_others_stand(text: str, result: str):
    assert appended(text, NEW) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (A, ""),
        (A + B, B),
        (f"{A}\n{B}", B),
        (f"# first\n{A}\n# second\n{B}", f"# first\n\n# second\n{B}"),
        (f"{B}\n{A}\n{MORE}", f"{B}\n{MORE}"),
        (f"{A}  # vllmConfig:\n  #   dtype: auto\n# next\n{B}", f"# next\n{B}"),
        (f"{B}{A}".rstrip(), B.rstrip()),
        (f"{A}{B}{A}", B),
    ],
)
def test_a_model_goes_with_its_own_comments_and_the_line_that_sets_it_apart(text: str, result: str):
    assert removed(text, "a") == result


def test_several_models_go_at_once_also_where_one_uses_an_anchor_of_the_other():
    text = f"- &x\n  name: x\n  modelURL: o/x\n{A}- <<: *x\n  name: y\n"
    assert removed(text, "x", "y") == A


def test_the_example_gets_a_model_and_keeps_every_byte():
    text = (ROOT / "models.example.yaml").read_text()
    result = added(text)
    assert result.startswith(text)
    assert removed(result) == text
    assert [model.name for model in parse_models(result, "")] == ["qwen3", "new"]


# --- what is refused, and what is then said


def refusal(text: str, *names: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        removed(text, *names) if names else added(text)
    return str(refused.value)


@pytest.mark.parametrize("text", ["[]\n", "[{name: a, modelURL: org/a}]\n", "--- [\n]\n"])
def test_a_list_in_brackets_is_not_changed(text: str):
    said = refusal(text)
    assert "models.yaml is a list in brackets" in said
    assert "begins with `- name:`" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MORE, "models.yaml has a model new already"),
        ("- name: A\n", "models.yaml has 2 problems"),
        ("models:\n" + A, "remove the line `models:`"),
        ("hello\n", "should be a list of models"),
        (f"{A}---\n{B}", "begins a second document"),
        (f"{A}\tx: y\n", "is indented with a tab"),
        (f"{A}  x: [\n", "is not YAML"),
        ("- &a [*a]\n", "nested deeper"),
    ],
)
def test_a_file_that_is_not_right_is_refused_with_what_is_wrong(text: str, said: str):
    assert said in refusal(text)


def test_a_model_whose_anchor_others_use_is_kept():
    text = f"- &x\n  name: x\n  modelURL: o/x\n- <<: *x\n  name: y\n{A}"
    said = refusal(text, "x")
    assert "would change other models too" in said
    assert "remove the model by hand" in said


def test_an_unknown_name_lists_the_known_ones():
    said = refusal(A + B, "a", "c")
    assert "has no model 'c'" in said
    assert "its models: a, b" in said


def test_what_is_wrong_elsewhere_is_said_before_a_model_is_taken_out():
    assert "models.yaml has 1 problem" in refusal(f"{A}- name: b\n", "a")
    assert removed(f"{A}- name: b\n", "b") == A

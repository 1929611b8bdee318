"""Reading models.yaml: what it may look like, and what becomes of anything else."""

import os
import random
from pathlib import Path

import pytest

from vllm_flows.errors import ModelsFileError
from vllm_flows.model_problems import Problem
from vllm_flows.models_file import examine, find_problems, load_models, parse_models

GOOD = "- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n"


def refusal(text: str) -> str:
    with pytest.raises(ModelsFileError) as caught:
        parse_models(text, "models.yaml")
    return caught.value.why


def test_the_models_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(GOOD + GOOD.replace("qwen3", "again"))
    assert [model.name for model in load_models(path)] == ["qwen3", "again"]


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert [model.name for model in load_models(path)] == ["qwen3"]


@pytest.mark.parametrize("example", [False, True])
def test_a_missing_file_leads_to_add_model_and_to_an_example_that_is_there(
    tmp_path: Path, *, example: bool
) -> None:
    path = tmp_path / "my models.yaml"
    if example:
        Path("models.example.yaml").touch()
    with pytest.raises(ModelsFileError) as caught:
        load_models(path)
    copied = f"   (or: cp models.example.yaml '{path}')" if example else ""
    assert str(caught.value) == f"{path} does not exist\n  next: vllm-flows add-model{copied}"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelsFileError) as caught:
        load_models(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} cannot be read\n  why:  Is a directory\n  next: ls -ld {tmp_path}"
    )


def test_what_is_no_file_is_neither_waited_for_nor_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ModelsFileError) as caught:
            load_models(path)
        assert caught.value.why == "it is no regular file"


def test_a_file_without_permission_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Tests may run as root, whom no mode of a file stops.
    monkeypatch.setattr(Path, "open", refuse)
    (tmp_path / "models.yaml").touch()
    with pytest.raises(ModelsFileError) as caught:
        load_models(tmp_path / "models.yaml")
    assert caught.value.why == "Permission denied"


def test_a_large_file_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    with path.open("wb") as file:
        file.truncate(10 * 1024 * 1024)
    with pytest.raises(ModelsFileError) as caught:
        load_models(path)
    assert caught.value.what == f"{path} is too large"
    assert caught.value.why == "it holds 10.0 MiB; at most 1 MiB is read"


def test_other_encodings_are_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_bytes(GOOD.encode() + b"# caf\xe9\n")
    with pytest.raises(ModelsFileError) as caught:
        load_models(path)
    assert caught.value.what == f"{path} is not UTF-8 text"
    assert caught.value.why == "line 3 holds the byte 0xe9"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1:1: lists no models; take one from models.example.yaml"),
        ("---\n...\n", "2:1: lists no models; take one from models.example.yaml"),
        (GOOD + "\x00", "3:1: holds the character U+0000, which YAML does not allow"),
        ("- name: a\x1b[31m", "1:10: holds the character U+001B, which YAML does not allow"),
        ("- name: \ud800", "1:9: holds the character U+D800, which YAML does not allow"),
        ("- name: a\n\tmodelURL: b/c", "2:1: is indented with a tab; YAML takes spaces alone"),
        ("[" * 100_000, "1:21: is nested deeper than 20 levels"),
        ("- &a {<<: *a}", "1:3: is nested deeper than 20 levels as aliases are followed"),
        ("#" * 1_048_577, "1:1: holds 1.0 MiB; at most 1 MiB is read"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_text_that_no_file_should_hold_is_refused_at_its_place(text: str, why: str) -> None:
    assert refusal(text) == f"models.yaml:{why}"


def test_ordinary_anchors_and_merge_keys_work() -> None:
    models = parse_models(
        "- &base\n  name: one\n  modelURL: Qwen/Qwen3-4B\n  requestMemory: 32Gi\n"
        "  vllmConfig: &config {maxModelLen: 8192}\n"
        "- <<: *base\n  name: two\n  requestMemory: 64Gi\n"
        "- {<<: [{name: three}, *base], vllmConfig: *config}\n",
        "models.yaml",
    )
    assert [(model.name, model.request_memory) for model in models] == [
        ("one", "32Gi"),
        ("two", "64Gi"),
        ("three", "32Gi"),
    ]
    assert {model.vllm_config.max_model_len for model in models} == {8192}


def test_a_merge_bomb_is_refused() -> None:
    lines = ["- &x0 {a: 1}"]
    lines += [f"- &x{n} {{<<: [{', '.join([f'*x{n - 1}'] * 10)}]}}" for n in range(1, 10)]
    assert refusal("\n".join(lines)).endswith(
        "grows to more than 100000 values as aliases are followed"
    )


def test_options_that_are_all_commented_out_are_no_options() -> None:
    plain = parse_models(GOOD, "models.yaml")
    text = GOOD + "  limitMemory:\n  vllmConfig:\n    # maxModelLen: 8192\n"
    assert parse_models(text, "models.yaml") == plain
    text = GOOD + "  vllmConfig:\n    dtype:\n    extraArgs:\n    # - --enforce-eager\n"
    assert parse_models(text, "models.yaml") == plain


def test_the_error_counts_the_problems_and_names_the_next_command() -> None:
    with pytest.raises(ModelsFileError) as caught:
        parse_models("- name: A\n", "my models.yaml")
    assert caught.value.what == "my models.yaml has 2 problems"
    assert caught.value.why.splitlines() == [
        "my models.yaml:1:3: A: modelURL: is missing; write the Hub's id, such as Qwen/Qwen3-4B",
        (
            "my models.yaml:1:9: A: name: 'A' is not a name of lower-case letters, digits and '-'; "
            "did you mean a?"
        ),
    ]
    assert caught.value.next_command == (
        "correct the file, then run: vllm-flows validate 'my models.yaml'"
    )
    assert caught.value.exit_code == 64


def test_problems_are_data_in_the_order_of_the_lines() -> None:
    text = "- name: a\n  colour: blue\n  modelURL: x\n- name: a\n  modelURL: Qwen/Qwen3-4B\n"
    problems = find_problems(text)
    assert [(problem.line, problem.column, problem.model) for problem in problems] == [
        (2, 3, "a"),
        (3, 13, "a"),
        (4, 9, "a"),
    ]
    assert problems[2] == Problem(
        4, 9, "a", "name: the model in line 1 has this name too; choose another"
    )
    assert find_problems(GOOD) == []


def test_what_the_file_holds_cannot_steer_the_terminal() -> None:
    text = '- name: "\\e[31mred"\n  "\\e[2J": 1\n  modelURL: Qwen/Qwen3-4B\n'
    assert "\x1b" not in refusal(text)


def test_a_long_list_is_read() -> None:
    text = "".join(GOOD.replace("qwen3", f"qwen3-{number}") for number in range(500))
    assert len(parse_models(text, "models.yaml")) == 500


def _mutated(text: str, chance: random.Random) -> str:
    pieces = [":", "- ", "\n", "  ", "\t", "{", "}", "[", "]", "&a ", "*a", "<<: *a", "!!int "]
    pieces += ["!x ", "'", '"', "|", ">", "?", "#", "%", "---\n", "null", "~", ".nan", "-.inf"]
    pieces += ["010", "1_0", "2026-01-02", "yes", "\x00", "\ufeff", "\u2028", "\ud83d", "é", "@"]
    for _ in range(chance.randint(1, 6)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.choice([0, 0, 1, 5, 40]))
        text = text[:start] + chance.choice(pieces) + text[end:]
    return text


def test_no_text_raises_anything_but_the_promised_error() -> None:
    """Each text either gives all its models or at least one problem."""
    chance = random.Random(20260102)  # noqa: S311 -- repeatable texts, not secrets
    seed = GOOD + (
        "  requestMemory: 16Gi\n  requestCPU: 1.5\n  requestGPU: 2\n"
        "  vllmConfig: &a\n    tensorParallelSize: 2\n    extraArgs: [--seed, '42']\n"
        "- {name: two, modelURL: a/b, requestGPU: 2, vllmConfig: *a}\n"
    )
    for _ in range(1500):
        text = _mutated(seed, chance)
        models, problems = examine(text)
        assert models or problems, text
        assert all(problem.line >= 1 and problem.column >= 1 for problem in problems), text
        if problems:
            assert refusal(text)

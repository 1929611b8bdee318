"""The verbs that change models.yaml, as somebody types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from click.shell_completion import ShellComplete

from cli.main import cli
from vllm_flows.errors import AccessError
from vllm_flows.hub_advice import HubAdvice
from vllm_flows.observed import Access, Verdict

if TYPE_CHECKING:
    from conftest import Run, StandInHub

FILE = Path("models.yaml")
A = "# mine\n- name: a\n  modelURL: org/a\n"
B = "- name: b\n  modelURL: org/b\n"


# --- list-models


def test_the_models_are_listed_as_data(run: Run):
    FILE.write_text("- {name: a, modelURL: org/a, replicaCount: 2}\n")
    (row,) = json.loads(run("list-models", "-o", "json").out)
    assert row == {
        "name": "a",
        "modelURL": "org/a",
        "revision": "main",
        "replicas": 2,
        "GPUs": 2,
        "storage": "50Gi",
    }
    assert "org/a" in run("list-models").out


# --- add-model


def test_hub_ids_are_completed_from_the_hub(hub: StandInHub):
    completed = ShellComplete(cli, {}, "vllm-flows", "_VLLM_FLOWS_COMPLETE").get_completions
    found = completed(["add-model", "new", "--model-url"], "qwen/qwen3")
    assert [one.value for one in found] == ["Qwen/Qwen3-4B", "Qwen/Qwen3-8B"]
    found = completed(["add-model", "--model-url"], "8B")
    assert [one.value for one in found] == ["Qwen/Qwen3-8B"]
    hub.silent = True
    assert completed(["add-model", "--model-url"], "qwen") == []


def test_a_hub_is_not_waited_for_longer_than_a_tab_key_may_take(
    monkeypatch: pytest.MonkeyPatch,
):
    asked: list[float] = []
    monkeypatch.setattr(HubAdvice, "search", lambda hub, *_: asked.append(hub.seconds) or [])
    complete = ShellComplete(cli, {}, "vllm-flows", "_VLLM_FLOWS_COMPLETE").get_completions
    complete(["add-model", "--model-url"], "qwen")
    assert 0 < asked[0] < 2


def test_number_formats_are_completed():
    complete = ShellComplete(cli, {}, "vllm-flows", "_VLLM_FLOWS_COMPLETE").get_completions
    found = complete(["add-model", "--dtype"], "flo")
    assert [one.value for one in found] == ["float16", "float32", "float"]


def test_a_wrong_setting_completes_nothing(hub: StandInHub, monkeypatch: pytest.MonkeyPatch):
    del hub
    monkeypatch.setenv("VLLM_HUB_ENDPOINT", "nowhere")
    completed = ShellComplete(cli, {}, "vllm-flows", "_VLLM_FLOWS_COMPLETE").get_completions
    assert completed(["add-model", "--model-url"], "qwen") == []


def test_a_model_is_added_by_flags(run: Run):
    FILE.write_text(A)
    said = run(
        *("add-model", "new", "--model-url", "org/new", "--revision", "v1", "--replicas", "2"),
        *("--gpus", "2", "--cpu", "1.5", "--memory", "32Gi", "--storage", "60Gi"),
        *("--limit-memory", "64Gi", "--max-model-len", "8192", "--dtype", "auto"),
        *("--gpu-memory-utilization", "0.9", "--max-num-seqs", "16", "--node-selector", "gpu=a=b"),
        *("--extra-arg=--seed", "--extra-arg", "42", "--no-trust-remote-code"),
    )
    assert (said.code, said.out) == (0, "")
    assert "next: vllm-flows plan" in said.err
    assert FILE.read_text().startswith(A)
    assert yaml.safe_load(FILE.read_text())[1] == {
        "name": "new",
        "modelURL": "org/new",
        "revision": "v1",
        "replicaCount": 2,
        "requestCPU": 1.5,
        "requestMemory": "32Gi",
        "limitMemory": "64Gi",
        "requestGPU": 2,
        "pvcStorage": "60Gi",
        "nodeSelector": {"gpu": "a=b"},
        "trustRemoteCode": False,
        "vllmConfig": {
            "maxModelLen": 8192,
            "dtype": "auto",
            "tensorParallelSize": 2,
            "gpuMemoryUtilization": 0.9,
            "maxNumSeqs": 16,
            "extraArgs": ["--seed", "42"],
        },
    }


def test_a_file_comes_to_be_where_there_is_none(run: Run):
    assert run("add-model", "a", "--model-url", "org/a").code == 0
    assert FILE.read_text() == "- name: a\n  modelURL: org/a\n"


def test_what_the_weights_take_is_proposed_by_the_hub(run: Run, hub: StandInHub):
    hub.size = 100 * 10**9
    said = run("add-model", "a", "--model-url", "Qwen/Qwen3-4B")
    assert "Qwen/Qwen3-4B: 100 GB of weights" in said.err
    assert "pvcStorage: 210Gi" in FILE.read_text()


def test_all_that_is_wrong_is_said_at_once_with_its_flag(run: Run):
    said = run("add-model", "A", "--model-url", "x", "--gpus", "two", "--extra-arg=--port=1")
    assert said.code == 64
    for wrong in ("name: 'A' is", "--model-url: 'x' is", "--gpus: should", "--extra-arg: --port"):
        assert wrong in said.err
    assert not FILE.exists()


def test_a_name_that_is_there_is_refused_and_nothing_asked(run: Run):
    FILE.write_text(A)
    said = run("add-model", "a", typed="")
    assert (said.code, FILE.read_text()) == (64, A)
    assert "models.yaml has a model a already" in said.err


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (["foo"], "'foo' is no KEY=VALUE"),
        (["gpu=a", "=foo"], "'=foo' is no KEY=VALUE"),
        (["gpu=a", "gpu=b"], "'gpu=b' is a second value of gpu; give one KEY=VALUE"),
    ],
)
def test_a_label_is_a_key_with_one_value(run: Run, labels: list[str], problem: str):
    options = [word for label in labels for word in ("--node-selector", label)]
    said = run("add-model", "a", "--model-url", "org/a", *options)
    assert (said.code, FILE.exists()) == (64, False)
    assert f"--node-selector: {problem}" in said.err


def test_a_model_that_the_hub_does_not_have_is_warned_of(
    run: Run, hub: StandInHub, monkeypatch: pytest.MonkeyPatch
):
    del hub
    unknown = Verdict(
        "", "org/a", access=Access.NO_REPOSITORY, problems=(AccessError("the Hub has no org/a"),)
    )
    monkeypatch.setattr(HubAdvice, "look", lambda *_: unknown)
    assert run("add-model", "a", "--model-url", "org/a").err.startswith("warning: org/a: the Hub")


@pytest.mark.parametrize("arguments", [[], ["new"], ["--model-url", "org/new"]])
def test_without_a_terminal_the_missing_arguments_are_named(run: Run, arguments: list[str]):
    said = run("add-model", *arguments)
    assert said.code == 64
    assert "next: vllm-flows add-model NAME --model-url" in said.err


def test_a_terminal_is_asked_for_what_is_not_given(run: Run):
    FILE.write_text(A)
    said = run("add-model", typed="Qwen/Qwen3-4B\n\n\n\n\ny\n")
    assert said.code == 0
    assert "8 GB of weights" in said.err
    assert yaml.safe_load(FILE.read_text())[1] == {
        "name": "qwen3-4b",
        "modelURL": "Qwen/Qwen3-4B",
        "requestMemory": "16Gi",
        "requestGPU": 1,
        "pvcStorage": "50Gi",
    }


def test_a_wrong_answer_is_asked_again_with_the_reason(run: Run):
    FILE.write_text(A)
    said = run(
        "add-model", "--model-url", "Qwen/Qwen3-4B", typed="A\na\nnew\nx\n2\n4GB\n4Gi\n60Gi\ny\n"
    )
    assert said.code == 0
    for reason in (
        "'A' is not a name of lower-case letters, digits and '-'; did you mean a?",
        "there is a model a already; choose another name",
        "should be a whole number, not the text 'x'",
        "did you mean 4Gi?",
    ):
        assert said.err.count(reason) == 1
    added = yaml.safe_load(FILE.read_text())[1]
    assert (added["name"], added["vllmConfig"]) == ("new", {"tensorParallelSize": 2})


def test_words_are_searched_for_and_a_number_chooses(run: Run):
    said = run("add-model", typed="qwen3\n2\n\n\n\n\ny\n")
    assert said.code == 0
    assert "  1  Qwen/Qwen3-4B\n  2  Qwen/Qwen3-8B\n" in said.err
    assert "Error" not in said.err
    assert "modelURL: Qwen/Qwen3-8B" in FILE.read_text()


def test_an_id_that_the_hub_does_not_show_is_doubted_once(run: Run):
    said = run("add-model", typed="Qwen/Qwen4\nQwen/Qwen4\n\n\n\n\ny\n")
    assert said.code == 0
    assert said.err.count("the Hub shows no Qwen/Qwen4") == 1
    assert "  1  Qwen/Qwen3-4B\n" in said.err
    assert "modelURL: Qwen/Qwen4\n" in FILE.read_text()


def test_a_hub_that_cannot_be_reached_is_not_missed(run: Run, hub: StandInHub):
    hub.silent = True
    said = run("add-model", typed="qwen\norg/b\n\n\n\n\ny\n")
    assert said.code == 0
    assert "'qwen' is not a Hub id" in said.err
    assert "modelURL: org/b" in FILE.read_text()


@pytest.mark.parametrize("typed", ["", "org/b\n", "Qwen/Qwen3-4B\nnew\n1\n", "a/b\na/b\n\n\n\n\n"])
def test_an_interrupted_question_leaves_the_file_as_it_was(run: Run, typed: str):
    FILE.write_text(A)
    said = run("add-model", typed=typed)
    assert (said.code, FILE.read_text()) == (130, A)
    assert said.err.endswith("\nerror: interrupted\n")


def test_no_means_that_nothing_is_added(run: Run):
    said = run("add-model", "a", "--model-url", "org/a", typed="\n\n\nn\n")
    assert (said.code, FILE.exists()) == (1, False)
    assert "nothing was changed" in said.err


def test_yes_asks_nothing(run: Run):
    assert run("add-model", "a", "--model-url", "org/a", "--yes", typed="").code == 0


def test_a_read_only_file_is_said_before_anything_is_asked(run: Run):
    FILE.write_text(A)
    FILE.chmod(0o444)
    for arguments in (["add-model"], ["remove-model"]):
        said = run(*arguments, typed="")
        assert said.code == 64
        assert "models.yaml is read-only\n  next: chmod u+w models.yaml" in said.err


def test_a_file_that_changed_during_the_questions_is_not_overwritten(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    FILE.write_text(A)
    monkeypatch.setattr("cli.editing.confirm", lambda *_: FILE.write_text(A + B))
    said = run("remove-model", "a", typed="")
    assert said.code == 1
    assert "models.yaml was changed by somebody else meanwhile" in said.err
    assert FILE.read_text() == A + B


def test_a_byte_order_mark_and_line_ends_stay(run: Run):
    before = b"\xef\xbb\xbf" + A.replace("\n", "\r\n").encode()
    FILE.write_bytes(before)
    assert run("add-model", "new", "--model-url", "org/new").code == 0
    after = FILE.read_bytes()
    assert after == before + b"\r\n- name: new\r\n  modelURL: org/new\r\n"
    assert run("remove-model", "new", "--yes").code == 0
    assert FILE.read_bytes() == before


# --- remove-model


def test_a_model_is_removed_after_a_yes_and_what_is_left_to_do_is_said(run: Run):
    FILE.write_text(A + B)
    said = run("remove-model", "b", typed="y\n")
    assert (said.code, FILE.read_text()) == (0, A)
    assert "Remove b from models.yaml? [y/N]" in said.err
    assert "vllm-flows upgrade removes it from the cluster; its weights stay" in said.err


def test_a_model_is_chosen_from_a_list(run: Run):
    FILE.write_text(A + B + B.replace("b", "c"))
    said = run("remove-model", typed="4\nb, 3\ny\n")
    assert said.code == 0
    assert "  1  a\n  2  b\n  3  c\n" in said.err
    assert "4 is none of them" in said.err
    assert FILE.read_text() == A


def test_the_only_model_is_not_chosen_and_its_end_is_said(run: Run):
    FILE.write_text(A)
    said = run("remove-model", typed="y\n")
    assert (said.code, FILE.read_text()) == (0, "# mine\n")
    assert "vllm-flows uninstall" in said.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["b"], "next: vllm-flows remove-model b --yes"),
        ([], "next: vllm-flows remove-model NAME --yes"),
        (["c", "--yes"], "models.yaml has no model 'c'\n  why:  its models: a, b"),
    ],
)
def test_what_cannot_be_removed_so_is_said(run: Run, arguments: list[str], said: str):
    FILE.write_text(A + B)
    done = run("remove-model", *arguments)
    assert (done.code, FILE.read_text()) == (64, A + B)
    assert said in done.err


def test_nothing_can_be_removed_from_no_file_or_no_list(run: Run):
    assert "models.yaml does not exist" in run("remove-model", "a", "--yes").err
    FILE.write_text("# none\n")
    assert run("remove-model", typed="").code == 64
    assert run("remove-model", "a", "--yes").code == 64


def test_only_an_end_mark_of_nothing_goes_with_the_last_model(run: Run):
    for before, after in (
        (A + "...\n", "# mine\n"),
        (A + "\n...\n# below\n", "# mine\n\n# below\n"),
        ("---\n" + A + "...\n", "---\n# mine\n...\n"),
    ):
        FILE.write_text(before)
        assert run("remove-model", "a", "--yes").code == 0
        assert FILE.read_text() == after


@pytest.mark.parametrize("arguments", [["remove-model"], ["add-model"]])
def test_a_closed_standard_input_is_no_terminal(run: Run, arguments: list[str]):
    FILE.write_text(A)
    assert run(*arguments, closed=True).code == 64

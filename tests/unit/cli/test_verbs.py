from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from cli.main import cli
from cli.verbs import VERBS


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found
    return found


@pytest.mark.parametrize("name", VERBS)
def test_the_list_of_verbs_says_of_each_what_its_own_help_says(name: str):
    assert command(name).name == name
    assert (command(name).help or "").splitlines()[0] == VERBS[name].help


def test_the_list_of_verbs_is_shown_without_importing_what_they_need():
    program = "import sys; from cli.main import cli; cli(['--help'], standalone_mode=False); "
    program += "sys.exit(bool({'pydantic', 'kubernetes', 'prefect', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0
    assert b"set-hf-token" in done.stdout


def completed(*words: str) -> list[str]:
    found = ShellComplete(cli, {}, "vllm-flows", "_VLLM_FLOWS_COMPLETE")
    return [item.value for item in found.get_completions(list(words[:-1]), words[-1])]


def test_verbs_options_and_choices_are_completed():
    assert completed("ins") == ["install"]
    assert completed("--name") == ["--namespace"]
    assert completed("plan", "--de") == ["--detailed-exitcode"]
    assert completed("plan", "-o", "") == ["table", "json", "yaml"]


def test_the_models_of_the_file_are_completed_and_nothing_is_said_of_a_wrong_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    other = tmp_path / "other.yaml"
    other.write_text("- name: mistral\n  broken: [\n")
    assert completed("--models", str(other), "logs", "") == []
    other.write_text("- {name: mistral, modelURL: a/b}\n- {no: name}\n- 3\n")
    assert completed("--models", str(other), "logs", "m") == ["mistral"]
    assert completed("--models", str(tmp_path / "missing.yaml"), "logs", "") == []
    assert not any(capsys.readouterr())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_for_completions(
    shell: str, capsys: pytest.CaptureFixture[str]
):
    cli(["completion", shell], standalone_mode=False)
    script = capsys.readouterr().out
    assert f"_VLLM_FLOWS_COMPLETE={shell}_complete" in script


def test_an_unknown_verb_is_refused():
    with pytest.raises(click.UsageError, match="No such command 'instal'"):
        cli(["instal"], standalone_mode=False)

"""The verbs for what runs: what they refuse before a cluster is asked."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cli import choosing, forwarding, streaming
from cli.main import cli
from vllm_flows.errors import ConfigurationError

EMBEDS = "- name: bge\n  modelURL: BAAI/bge-m3\n  vllmConfig: {runner: pooling}\n"


def choose(known: list[str], given: str | None = None) -> str:
    return choosing.choose(known, given, "logs", "models.yaml and namespace vllm")


def test_the_model_is_the_given_one_or_the_only_one():
    assert choose(["a", "b"], "b") == "b"
    assert choose(["a"]) == "a"


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(ConfigurationError) as caught:
        choose(["a", "b"], "c")
    assert "a, b" in caught.value.why
    with pytest.raises(ConfigurationError, match="have no model"):
        choose([])


def test_of_many_models_some_are_named():
    with pytest.raises(ConfigurationError) as caught:
        choose([f"m{number}" for number in range(60_000)], "c")
    assert caught.value.why.endswith(" m18, m19 and 59980 more")


def test_without_a_terminal_the_argument_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(ConfigurationError, match="which MODEL") as caught:
        choose(["a", "b"])
    assert caught.value.next_command == "vllm-flows logs a"


@pytest.mark.parametrize(
    "arguments",
    [
        ["logs", "--tail", "some"],
        ["logs", "--tail", "-1"],
        ["router-logs", "--tail", "²"],
        ["port-forward", "70000"],
        ["test-completions", "m", "x", "--max-tokens", "0"],
        ["wait", "--timeout", "soon"],
        ["wait", "--timeout", "0s"],
    ],
)
def test_a_value_that_makes_no_sense_is_refused(arguments: list[str]):
    with pytest.raises(click.BadParameter):
        cli(arguments, standalone_mode=False)


@pytest.mark.parametrize("left", [["--no-chat", "--chat-only"], ["m", "  "]])
def test_a_question_that_asks_nothing_is_refused(left: list[str]):
    with pytest.raises(ConfigurationError) as caught:
        cli(["test-completions", *left], standalone_mode=False)
    assert caught.value.next_command


def test_a_model_that_only_embeds_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.yaml").write_text(EMBEDS)
    config = tmp_path / "kubeconfig"
    config.write_text(
        "{apiVersion: v1, kind: Config, current-context: x, users: [], "
        "contexts: [{name: x, context: {cluster: x}}], "
        "clusters: [{name: x, cluster: {server: 'http://127.0.0.1:1'}}]}"
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    with pytest.raises(ConfigurationError, match="answers no prompts"):
        cli(["test-completions", "bge"], standalone_mode=False)


def test_a_port_that_is_taken_is_said_with_a_free_one():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigurationError, match=f"port {port} of 127.0.0.1 is taken"
        ) as caught:
            forwarding.listen("127.0.0.1", port)
    free = int(caught.value.next_command.split()[-1])
    assert free not in {0, port}


@pytest.mark.parametrize("address", ["192.0.2.1", "::2"])
def test_an_address_of_another_machine_is_refused(address: str):
    with pytest.raises(ConfigurationError, match="nothing can listen"):
        forwarding.listen(address, 0)


def test_ctrl_c_ends_what_goes_on_for_ever_with_130():
    with pytest.raises(SystemExit) as caught, streaming.until_interrupted():
        raise KeyboardInterrupt
    assert caught.value.code == 130


def test_a_thread_that_still_waits_does_not_keep_the_process_nor_abort_it():
    program = (
        "import socket, threading; from cli.ending import leave_threads; "
        "one, other = socket.socketpair(); "
        "threading.Thread(target=one.recv, args=(1,), daemon=True).start(); "
        "print('the last word'); leave_threads(7)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (7, b"the last word\n")


def test_what_prefect_still_has_to_send_is_waited_for():
    program = (
        "import sys, threading; from cli.ending import leave_threads; "
        "sys.modules['prefect'] = sys; "
        "threading.Thread(target=threading.Event().wait, daemon=True).start(); "
        "leave_threads(7); print('sent')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"sent\n")


def test_a_prefect_server_that_has_gone_does_not_keep_the_process_for_ever():
    program = (
        "import sys, threading; from cli.ending import leave_threads; "
        "sys.modules['prefect'] = sys; "
        "threading.Thread(target=threading.Event().wait).start(); "
        "leave_threads(7, last=0.1)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 7
    assert b"does not take the last of this run's log" in done.stderr

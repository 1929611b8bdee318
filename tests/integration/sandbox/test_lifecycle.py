from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import psutil

from sandbox import processes

if TYPE_CHECKING:
    from conftest import CommandLine


def kill(command_line: CommandLine, *names: str) -> None:
    """Kill components of the default sandbox as the kernel would."""
    ids = processes.process_ids(command_line.state("default"))
    for name in names:
        os.kill(ids[name], signal.SIGKILL)
    psutil.wait_procs([psutil.Process(ids[name]) for name in names if psutil.pid_exists(ids[name])])


def assert_nothing_is_left(command_line: CommandLine, name: str = "default") -> None:
    directory = command_line.home / "vllm-flows" / "sandbox" / name
    assert not directory.exists()
    assert processes.belonging_to(directory) == []
    assert list(directory.parent.iterdir()) == []


def test_down_leaves_no_process_and_no_file(command_line: CommandLine) -> None:
    command_line.run("up")
    (status,) = command_line.status()
    assert (status["name"], status["state"], status["problems"]) == ("default", "up", [])
    assert len(status["processes"]) == 5
    command_line.run("down")
    assert_nothing_is_left(command_line)
    assert command_line.status() == []


def test_down_without_a_sandbox_says_so_and_is_no_error(command_line: CommandLine) -> None:
    assert "no sandbox default is up" in command_line.run("down").stderr


def test_down_cleans_up_after_the_control_plane_was_killed(command_line: CommandLine) -> None:
    command_line.run("up")
    kill(command_line, "etcd", "kube-apiserver")
    (status,) = command_line.status(code=6)
    assert status["state"] == "broken"
    assert "etcd does not run" in status["problems"]
    command_line.run("down")
    assert_nothing_is_left(command_line)


def test_up_makes_a_broken_sandbox_anew(command_line: CommandLine) -> None:
    command_line.run("up")
    before = command_line.state("default").identifier
    kill(command_line, "etcd")
    assert "etcd does not run" in command_line.run("up").stderr
    assert command_line.state("default").identifier != before
    assert command_line.status()[0]["state"] == "up"


def test_a_vault_comes_to_a_sandbox_that_is_up_and_ends_with_it(
    command_line: CommandLine,
) -> None:
    command_line.run("up")
    before = command_line.state("default").identifier
    assert "VAULT" not in command_line.run("env").stdout
    command_line.run("up", "--vault")
    command_line.run("up", "--vault")
    (status,) = command_line.status()
    assert (status["state"], command_line.state("default").identifier) == ("up", before)
    assert {"vault", "external_secrets"} <= {each["name"] for each in status["processes"]}
    assert f"VAULT_ADDR={status['vault']}\n" in command_line.run("env").stdout
    command_line.run("down")
    assert_nothing_is_left(command_line)


def test_two_sandboxes_live_side_by_side(command_line: CommandLine) -> None:
    starting = [
        subprocess.Popen(
            command_line.command("up", "--name", name),
            env=command_line.environ,
            stderr=subprocess.DEVNULL,
        )
        for name in ("one", "two")
    ]
    assert [each.wait(timeout=100) for each in starting] == [0, 0]
    assert {each["state"] for each in command_line.status()} == {"up"}
    command_line.run("down", "--name", "one")
    (left,) = command_line.status()
    assert (left["name"], left["state"]) == ("two", "up")


def test_two_ups_of_the_same_name_make_one_sandbox(command_line: CommandLine) -> None:
    starting = [
        subprocess.Popen(
            command_line.command("up"), env=command_line.environ, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [each.communicate(timeout=100)[1] for each in starting]
    assert [each.returncode for each in starting] == [0, 0]
    assert sum("starting the control plane" in text for text in said) == 1
    assert sum("already up" in text for text in said) == 1


def test_an_interrupted_up_cleans_up_after_itself(command_line: CommandLine) -> None:
    with subprocess.Popen(
        command_line.command("up"), env=command_line.environ, stderr=subprocess.PIPE, text=True
    ) as starting:
        assert starting.stderr is not None
        for line in starting.stderr:
            if "starting the control plane" in line:
                starting.terminate()
        assert starting.wait(timeout=60) == 130
    assert_nothing_is_left(command_line)


def test_a_process_started_in_the_sandbox_sees_it_and_ends_with_it(
    command_line: CommandLine,
) -> None:
    command_line.run("up")
    script = 'echo "$KUBECONFIG"; exec sleep 600'
    pid = int(command_line.run("start", "helper", "--", "sh", "-c", script).stdout)
    sandbox = command_line.state("default")
    process = psutil.Process(pid)
    while processes.last_words(sandbox, "helper") != str(sandbox.kubeconfig):
        assert process.is_running()
    command_line.run("down")
    assert not processes.carries_marker(pid, sandbox.directory)


def test_what_needs_a_sandbox_says_how_to_get_one(command_line: CommandLine) -> None:
    for arguments in (("env",), ("start", "helper", "--", "true")):
        assert "python -m sandbox up" in command_line.run(*arguments, code=1).stderr


def test_a_wrong_option_is_a_usage_error(command_line: CommandLine) -> None:
    command_line.run("up", "--no-such-option", code=64)

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sandbox import lifecycle, processes
from sandbox.errors import SandboxError
from sandbox.state import Ports, SandboxState


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxState]:
    made = SandboxState(tmp_path / "try", "0123", Ports(1, 2, 3, 4, 5, 6, 7, 8, 9), "token", {})
    made.make_directories()
    yield made
    processes.stop_all(made.directory, grace=1)


def start(sandbox: SandboxState, name: str, *command: str) -> int:
    return processes.start(sandbox, name, command, processes.environment(sandbox.directory))


def wait_for(is_so: Callable[[], bool]) -> None:
    """Fail when it does not become so: a test's own timeout ends the wait."""
    while not is_so():
        time.sleep(0.01)


def test_a_started_process_is_found_by_its_name(sandbox: SandboxState) -> None:
    pid = start(sandbox, "sleeper", "sleep", "60")
    assert processes.process_ids(sandbox) == {"sleeper": pid}
    assert processes.is_running(sandbox, "sleeper")


def test_stopping_ends_all_of_the_sandboxs_processes_and_counts_them(sandbox: SandboxState) -> None:
    for name in ("one", "two"):
        start(sandbox, name, "sleep", "60")
    assert processes.stop_all(sandbox.directory) == 2
    assert not processes.is_running(sandbox, "one")
    assert processes.belonging_to(sandbox.directory) == []


def test_a_child_whose_parent_was_killed_is_stopped_too(sandbox: SandboxState) -> None:
    parent = start(sandbox, "parent", "sh", "-c", "sleep 60 & wait")
    wait_for(lambda: len(processes.belonging_to(sandbox.directory)) == 2)
    os.kill(parent, signal.SIGKILL)
    wait_for(lambda: not processes.is_running(sandbox, "parent"))
    assert processes.stop_all(sandbox.directory) == 1
    assert processes.belonging_to(sandbox.directory) == []


def test_a_process_that_ignores_the_request_to_end_is_killed(sandbox: SandboxState) -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); "
    start(sandbox, "stubborn", sys.executable, "-c", stubborn + "time.sleep(60)")
    wait_for(lambda: processes.last_words(sandbox, "stubborn") == "1")
    assert processes.stop_all(sandbox.directory, grace=0.1) == 1
    assert not processes.is_running(sandbox, "stubborn")


def test_a_program_named_to_be_killed_at_once_is_not_asked(sandbox: SandboxState) -> None:
    asked = 'trap "echo asked; exit" TERM; echo ready; while :; do sleep 0.01; done'
    start(sandbox, "shell", "sh", "-c", asked)
    wait_for(lambda: processes.last_words(sandbox, "shell") == "ready")
    processes.stop_all(sandbox.directory, at_once=["sh", "dash", "bash"])
    assert processes.last_words(sandbox, "shell") == "ready"


def test_a_process_of_another_sandbox_is_left_alone(sandbox: SandboxState, tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "60"], env=processes.environment(tmp_path / "try2"))  # noqa: S607 -- whichever sleep is on PATH
    try:
        assert processes.stop_all(sandbox.directory) == 0
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_process_of_the_sandbox_that_stops_it_is_not_its_own_victim(
    sandbox: SandboxState,
) -> None:
    # The marker decides who is signalled, so a test gives it to its own child and never fakes it.
    program = (
        "import sys; from pathlib import Path; from sandbox import processes; "
        "print(len(processes.belonging_to(Path(sys.argv[1]))))"
    )
    command = [sys.executable, "-c", program, str(sandbox.directory)]
    environ = processes.environment(sandbox.directory)
    assert subprocess.check_output(command, env=environ, text=True).strip() == "0"


def test_a_process_id_that_was_used_again_does_not_count_as_running(sandbox: SandboxState) -> None:
    (sandbox.processes / "gone.pid").write_text(f"{os.getpid()}\n", encoding="ascii")
    assert not processes.is_running(sandbox, "gone")


def test_a_name_that_runs_cannot_be_started_twice(sandbox: SandboxState) -> None:
    start(sandbox, "sleeper", "sleep", "60")
    with pytest.raises(SandboxError, match="sleeper runs already"):
        start(sandbox, "sleeper", "sleep", "60")


def test_a_program_that_is_not_there_is_an_error_that_names_it(sandbox: SandboxState) -> None:
    with pytest.raises(SandboxError, match="no-such-program"):
        start(sandbox, "ghost", "no-such-program")


def test_output_goes_to_the_log_of_that_name(sandbox: SandboxState) -> None:
    pid = start(sandbox, "speaker", "sh", "-c", "echo to stdout; echo to stderr >&2")
    psutil.Process(pid).wait()
    assert processes.last_words(sandbox, "speaker") == "to stdout\nto stderr"


def test_no_secret_of_the_caller_reaches_the_sandbox(
    sandbox: SandboxState, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "KUBECONFIG", "VLLM_API_KEY", "VLLM_SANDBOX_HF_TOKEN"):
        monkeypatch.setenv(name, "planted")
    monkeypatch.setenv("VLLM_SANDBOX_TOKEN_SECONDS", "0.5")
    environ = processes.environment(sandbox.directory, EXTRA="1")
    assert "planted" not in environ.values()
    assert environ["VLLM_SANDBOX_TOKEN_SECONDS"] == "0.5"
    assert environ[processes.MARKER] == str(sandbox.directory)
    assert environ["EXTRA"] == "1"


def test_the_token_of_the_hub_stands_in_no_command_line(
    sandbox: SandboxState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "_hub_answers", lambda _: True)
    lifecycle._start_modules(sandbox, {"agent"}, lambda _: None)  # noqa: SLF001 -- what it starts
    hub = psutil.Process(processes.process_ids(sandbox)["hub"])
    wait_for(lambda: "sandbox.hub" in hub.cmdline())
    assert sandbox.hub_token not in hub.cmdline()
    assert hub.environ()["VLLM_SANDBOX_HF_TOKEN"] == sandbox.hub_token

"""The programs that we start: each ends with its block, however that is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from vllm_flows import children
from vllm_flows.helm_process import Run

DEAF = "trap '' TERM; echo deaf; exec sleep 777"
SLEEPS = "echo; exec sleep 777"


@contextmanager
def program(script: str, *, writes: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """Start a shell for the block, once it has said its first word."""
    reading, writing = os.pipe()
    with (
        os.fdopen(reading) as said,
        os.fdopen(writing, "wb") as told,
        tempfile.TemporaryFile() as errors,
        children.started(["sh", "-c", script], {}, told, errors, writes=writes) as one,
    ):
        said.readline()
        yield one


def interrupted_once(
    process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, by: type[BaseException]
) -> None:
    """Let the next wait for the process raise, as a signal makes it."""
    wait = process.wait

    def interrupt(timeout: float | None = None) -> int:
        del timeout
        monkeypatch.setattr(process, "wait", wait)
        raise by

    monkeypatch.setattr(process, "wait", interrupt)


def test_a_program_is_ended_also_when_its_end_is_interrupted(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(KeyboardInterrupt), program(DEAF) as process:
        interrupted_once(process, monkeypatch, KeyboardInterrupt)
    assert process.returncode == -signal.SIGKILL


def test_the_number_of_a_program_that_has_ended_is_sent_nothing(monkeypatch: pytest.MonkeyPatch):
    sent: list[int] = []
    with program("echo ended") as process:
        process.wait()
        monkeypatch.setattr(os, "killpg", lambda pid, _: sent.append(pid))
        children.end_all()
    assert sent == []


def test_whether_a_program_writes_is_known_as_long_as_it_is_at_work():
    with program(SLEEPS):
        assert not children.is_writing()
        with program(SLEEPS, writes=True) as process:
            assert children.is_writing()
            process.kill()
            process.wait()
            assert not children.is_writing()


def test_a_helm_that_writes_is_brought_to_its_end_however_often_it_is_interrupted(
    monkeypatch: pytest.MonkeyPatch,
):
    with tempfile.TemporaryFile() as errors, program("echo; sleep 0.2", writes=True) as process:
        wait, interruptions = process.wait, [KeyboardInterrupt, SystemExit, KeyboardInterrupt]

        def interrupted(timeout: float | None = None) -> int:
            if interruptions:
                raise interruptions.pop()
            return wait(timeout)

        monkeypatch.setattr(process, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Run(process, "version", "", errors, writes=True).code(60)
        assert process.returncode == 0

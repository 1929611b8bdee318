"""A command that is ended leaves no program behind that it started: none waits for ever."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import is_gone
from tests.unit.cli.programs import working

WORKING = """
import sys, tempfile, threading, time
import click
from cli import main
from cli.interrupting import Interruptions
from vllm_flows.children import started

def program(script):
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        with started(["sh", "-c", script], {{}}, output, errors) as process:
            print("started", flush=True)
            process.wait(60)

def verb():
    {verb}

main.cli = click.Command("verb", callback=verb)
sys.argv = ["vllm-flows"]
main.main()
"""
WAITED_FOR = "program({script!r})"
WAITED_FOR_BY_A_THREAD = """
    threading.Thread(target=program, args=({script!r},), daemon=True).start()
    time.sleep(60)
"""
WRITING = """
    Interruptions().arm()
    thread = threading.Thread(target=program, args=({script!r},), daemon=True)
    thread.start()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        thread.join()  # as a run does that brings helm to its end
"""
HANGS = "sleep 777 & echo $! > {folder}/child; wait"
DEAF = "trap '' TERM; " + HANGS


LEFT_AT_WORK = """
import sys, tempfile, threading
from cli.ending import leave_threads
from vllm_flows.children import started

at_work = threading.Event()
def program():
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        with started(["sh", "-c", "{script}"], {{}}, output, errors, writes=True) as process:
            at_work.set()
            process.wait(60)

sys.modules["prefect"] = sys
threading.Thread(target=program).start()
threading.Thread(target=threading.Event().wait).start()
at_work.wait()
leave_threads(7, last=0.1)
"""


def start(folder: Path, verb: str, script: str) -> subprocess.Popen[str]:
    """Start a verb, and return it once the program that it started hangs."""
    code = verb.format(script=script.format(folder=folder))
    process = working(WORKING.format(verb=code), "started")
    child = folder / "child"
    while not child.exists() or not child.read_text():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("verb", [WAITED_FOR, WAITED_FOR_BY_A_THREAD], ids=["itself", "a thread"])
def test_a_verb_that_is_ended_ends_what_it_waits_for(
    tmp_path: Path, number: signal.Signals, verb: str
):
    with start(tmp_path, verb, HANGS) as process:
        process.send_signal(number)
        _, errors = process.communicate()
    assert (process.returncode, errors.strip()) == (130, "error: interrupted")
    assert is_gone(tmp_path)


@pytest.mark.parametrize("script", [HANGS, DEAF], ids=["", "deaf"])
def test_a_second_ctrl_c_ends_a_helm_that_hangs_at_once(tmp_path: Path, script: str):
    with start(tmp_path, WRITING, script) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr
        assert process.stderr.readline() == "\n"
        assert "Ctrl-C again ends at once" in process.stderr.readline()
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert time.monotonic() - begin < 5
    assert process.returncode == 130
    assert "ended at once, and helm with it" in errors
    assert is_gone(tmp_path)


def test_a_prefect_server_that_has_gone_ends_no_helm_that_writes(tmp_path: Path):
    code = LEFT_AT_WORK.format(script=f"sleep 0.5; echo written > {tmp_path}/file")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, cwd=sys.path[0] or None
    )
    assert (tmp_path / "file").read_text() == "written\n"
    assert done.returncode == 7
    assert b"does not take the last of this run's log" in done.stderr

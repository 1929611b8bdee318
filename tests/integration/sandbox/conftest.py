"""The sandbox's command line, with its state in a directory of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox import binaries, state
from sandbox.progress import silent
from sandbox.state import SandboxState

# Building all programs, once per machine, is the only thing here that takes minutes.
_BUILD_SECONDS = 1200


@dataclass(frozen=True)
class CommandLine:
    """`python -m sandbox`, without the Hub and the node agent: the control plane alone."""

    home: Path

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the commands."""
        return {**os.environ, "XDG_STATE_HOME": str(self.home)}

    def command(self, *arguments: str) -> list[str]:
        """Return the whole command."""
        if arguments[0] == "up":
            arguments = (*arguments, "--without", "hub", "--without", "agent")
        return [sys.executable, "-m", "sandbox", *arguments]

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and insist on its exit code."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done

    def state(self, name: str) -> SandboxState:
        """Return a sandbox's state, which must be there."""
        found = state.load_directory(self.home / "vllm-flows" / "sandbox" / name)
        assert found is not None
        return found

    def status(self, code: int = 0) -> list[dict[str, Any]]:
        """Return what `status -o json` prints."""
        found: list[dict[str, Any]] = json.loads(self.run("status", "-o", "json", code=code).stdout)
        return found

    def kubectl(self, name: str, *arguments: str, text: str = "", code: int = 0) -> str:
        """Run kubectl against a sandbox and return what it prints."""
        sandbox = self.state(name)
        done = subprocess.run(
            [sandbox.programs["kubectl"], "--kubeconfig", str(sandbox.kubeconfig), *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr if code else done.stdout


@pytest.fixture(scope="session")
def programs() -> dict[str, str]:
    """Return the paths of the sandbox's programs, which may have to be built first."""
    return binaries.ensure(silent)


@pytest.fixture
def command_line(tmp_path: Path, programs: dict[str, str]) -> Iterator[CommandLine]:
    """Take down whatever the test has brought up."""
    assert programs
    made = CommandLine(tmp_path)
    yield made
    made.run("down", "--all")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, programs: dict[str, str]) -> Iterator[CommandLine]:
    """Bring one sandbox up for all tests of a module that only look at it."""
    assert programs
    made = CommandLine(tmp_path_factory.mktemp("shared"))
    made.run("up", "--cpu-node")
    yield made
    made.run("down", "--all")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the first test the time to build the programs."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(_BUILD_SECONDS))

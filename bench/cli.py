"""Processor seconds of the read verbs, beside `kubectl version --client` and `helm version`.

In a sandbox with four models that serve, as whole processes with their children, in turn.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench._installations import Bench, bench

ROUNDS = 9
MODELS = 4
OURS = {
    "list-models": ["list-models"],
    "status": ["status"],
    "--help": ["--help"],
    "completion": [],
}
PEERS = {
    "kubectl version --client": ["kubectl", "version", "--client"],
    "helm version": ["helm", "version"],
}
COMPLETING = {
    "_VLLM_FLOWS_COMPLETE": "bash_complete",
    "COMP_WORDS": "vllm-flows logs m",
    "COMP_CWORD": "2",
}


def main() -> None:
    """Measure and print the figure."""
    with tempfile.TemporaryDirectory() as folder, bench("cli", Path(folder)) as made:
        made.models(MODELS)
        made.ours("install", "--yes")
        seconds = measured(made)
    for name, taken in seconds.items():
        print(f"{name}: {taken:.2f} s")
    slowest = max(OURS, key=lambda name: seconds[name])
    peers = ", ".join(f"{seconds[name]:.2f} for `{name}`" for name in PEERS)
    print(
        f"cli: FIGURE {seconds[slowest]:.2f} processor seconds for the slowest of "
        f"{', '.join(OURS)} ({slowest}), {peers} (medians of {ROUNDS})"
    )


def measured(made: Bench) -> dict[str, float]:
    """Run all commands in turn; return each one's median of processor seconds."""
    program = str(Path(sys.executable).with_name("vllm-flows"))
    commands = {name: [program, *words] for name, words in OURS.items()} | PEERS
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            extra = COMPLETING if name == "completion" else {}
            found[name].append(processor_seconds(made, command, extra))
    return {name: statistics.median(taken) for name, taken in found.items()}


def processor_seconds(made: Bench, command: list[str], extra: Mapping[str, str]) -> float:
    """Run a command; return what it and its children used of the processors."""
    before = os.times()
    subprocess.run(
        command, cwd=made.folder, env={**made.environ, **extra}, check=True, capture_output=True
    )
    after = os.times()
    user = after.children_user - before.children_user
    return user + after.children_system - before.children_system


if __name__ == "__main__":
    main()

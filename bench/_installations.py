"""What the benches of `vllm-flows install` share: models, a sandbox with Prefect, times."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox import demo, lifecycle
from sandbox.progress import silent, to_stderr

PROGRAM = Path(sys.executable).with_name("vllm-flows")
MODEL = """\
- name: {name}
  modelURL: {repository}
  trustRemoteCode: true
  requestGPU: 0
  requestCPU: 100m
  requestMemory: 64Mi
  pvcStorage: 1Gi
"""
"""A simulated engine; a GPU each would need 100."""
_SMALLEST = "microsoft/Phi-3-mini-4k-instruct"


@dataclass(frozen=True)
class Bench:
    """A sandbox, and a folder with models.yaml."""

    folder: Path
    environ: dict[str, str]

    def models(self, count: int) -> None:
        """Write models.yaml with so many models, all alike but for their names."""
        blocks = [
            MODEL.format(name=f"model-{number:03d}", repository=_SMALLEST)
            for number in range(count)
        ]
        (self.folder / "models.yaml").write_text("".join(blocks))

    def ours(self, *arguments: str) -> float:
        """Run a verb of vllm-flows; return its seconds."""
        return self._timed([str(PROGRAM), *arguments])

    def helm(self, *arguments: str) -> float:
        """Run helm on the release; return its seconds."""
        return self._timed(["helm", "-n", "vllm", *arguments])

    def raw_upgrade(self) -> float:
        """Bring the release to the values that ours had, with helm alone; return its seconds."""
        values = str(self.folder / "values.yaml")
        chart = self.environ["VLLM_CHART"]
        return self.helm("upgrade", "--install", "vllm", chart, "--wait", "--values", values)

    def keep_values(self) -> None:
        """Keep the release's values for `raw_upgrade`."""
        command = ["helm", "-n", "vllm", "get", "values", "vllm", "-o", "yaml"]
        found = subprocess.check_output(command, env=self.environ)
        (self.folder / "values.yaml").write_bytes(found)

    def output(self, *command: str) -> str:
        """Run a program; return what it writes to both of its ends."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}")
        return done.stdout

    def _timed(self, command: list[str]) -> float:
        begin = time.monotonic()
        done = subprocess.run(
            command, cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return time.monotonic() - begin


@contextmanager
def bench(name: str, folder: Path) -> Iterator[Bench]:
    """Yield a bench of its own sandbox, with a Prefect server; all of it is taken down."""
    report = to_stderr()
    sandbox = lifecycle.up(name, report)
    try:
        demo.start_prefect(sandbox, report)
        environ = demo.environment(sandbox) | {"VLLM_HELM_TIMEOUT": "1h"}
        # A user's Python keeps what it compiled.
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        yield Bench(folder, environ)
    finally:
        lifecycle.down(name, silent)

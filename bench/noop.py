"""A second `install` with nothing to change, beside a second raw `helm upgrade --install --wait`.

Both against the same release in one sandbox, in turn, as whole processes. Ours also asks the
Hub about every model and gets a completion from each; the peer does neither.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sandbox import demo, lifecycle
from sandbox.progress import silent, to_stderr

ROUNDS = 7
_PROGRAM = Path(sys.executable).with_name("vllm-flows")


def main() -> None:
    """Measure and print the figure."""
    report = to_stderr()
    sandbox = lifecycle.up("bench", report)
    try:
        demo.start_prefect(sandbox, report)
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), demo.environment(sandbox))
    finally:
        lifecycle.down("bench", silent)


def measure(folder: Path, environ: dict[str, str]) -> None:
    """Install once, then time both commands in turn."""
    (folder / "models.yaml").write_text("- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n")
    ours = [str(_PROGRAM), "install", "--yes"]
    timed(ours, folder, environ)
    values = folder / "values.yaml"
    values.write_bytes(
        subprocess.check_output(["helm", "-n", "vllm", "get", "values", "vllm"], env=environ)  # noqa: S607 -- the sandbox's helm, first on PATH
    )
    peer = ["helm", "-n", "vllm", "upgrade", "--install", "vllm", environ["VLLM_CHART"]]
    peer += ["--wait", "--values", str(values)]
    pairs = [(timed(ours, folder, environ), timed(peer, folder, environ)) for _ in range(ROUNDS)]
    for mine, theirs in pairs:
        print(f"install {mine:.2f} s, helm {theirs:.2f} s")
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    print(
        f"noop: FIGURE {ratio:.2f} times the seconds of `helm upgrade --install --wait`, "
        "for an install with nothing to change (median of pairs)"
    )


def timed(command: list[str], folder: Path, environ: dict[str, str]) -> float:
    """Return the seconds that a command took; it must succeed."""
    begin = time.monotonic()
    subprocess.run(command, cwd=folder, env=environ, capture_output=True, check=True)
    return time.monotonic() - begin


if __name__ == "__main__":
    main()

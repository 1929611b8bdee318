"""The weights program, checking included, beside `curl` fetching the same files from the same Hub.

Both as whole processes in turn, each time onto an empty folder of the same disk, with as many files
at once. The Hub is the sandbox's, in a process of its own. curl checks nothing and does not see to
it that the bytes are on the disk; the program does both. Measured with a Hub that sends at the pace
of a network, and with no limit: then Hub and client compete for the cores, and the hashing shows.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import uvicorn

from sandbox.hub.app import Hub, build_app
from sandbox.hub.repository import Store
from sandbox.hub.samples import SAMPLES
from vllm_flows.hub import Hub as HubAdapter
from vllm_flows.observed import Verdict
from vllm_flows.weights_manifests import weights_program
from vllm_flows.weights_program import PROGRAM_NAME, weights_archive

ROUNDS = 5
AT_ONCE = 4
_SHARDS = (200,) * 12
"""Megabytes."""
PACE = 100_000_000
"""Bytes per second at most of each download; the Hub's pacing makes it less."""
_REPOSITORY = "Qwen/Qwen2.5-7B-Instruct"
_START_SECONDS = 120.0


@dataclass(frozen=True)
class Pair:
    """Both throughputs in GB/s, and the program's peak memory in bytes."""

    program: float
    curl: float
    memory: int

    @property
    def ratio(self) -> float:
        """The program's throughput over curl's."""
        return self.program / self.curl


def main() -> None:
    """Serve, measure, print the figure."""
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]), Path(sys.argv[3]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = int(listener.getsockname()[1])
        command = [sys.executable, __file__, "serve", str(port), str(folder / "hub")]
        with subprocess.Popen(command) as server:
            try:
                measure(f"http://127.0.0.1:{port}", folder)
            finally:
                server.terminate()


def serve(port: int, folder: Path) -> None:
    """Be the Hub: one repository of a few large files."""
    sample = next(one for one in SAMPLES if one.repo_id == _REPOSITORY)
    store = Store(folder, [replace(sample, shards=_SHARDS)])
    uvicorn.run(build_app(Hub(store, "unused")), host="127.0.0.1", port=port, log_level="error")


def measure(endpoint: str, folder: Path) -> None:
    """Time both in turn, at both speeds, and print the figure."""
    wait_for(endpoint)
    verdict = HubAdapter(endpoint, None).verdict("m", _REPOSITORY, "main")
    print(f"{len(verdict.files)} files, {verdict.total_bytes / 1e9:.2f} GB, {AT_ONCE} at once")
    found = {}
    for name, rate in (("paced", PACE), ("unlimited", None)):
        limit = {"bytes_per_second": rate}
        httpx.post(f"{endpoint}/_sandbox/rate", json=limit, trust_env=False).raise_for_status()
        found[name] = compared(name, endpoint, verdict, folder)
    ratios = {name: statistics.median(one.ratio for one in pairs) for name, pairs in found.items()}
    peak = max(one.memory for pairs in found.values() for one in pairs)
    pace = statistics.median(one.curl for one in found["paced"])
    print(
        f"weights: FIGURE {ratios['paced']:.2f} times the throughput of `curl` for the same files "
        f"from the same Hub where it sends {pace:.2f} GB/s, checking included; "
        f"{ratios['unlimited']:.2f} times without a limit, on {os.cpu_count()} cores that the Hub "
        f"shares (medians of {ROUNDS} pairs); peak memory {peak / 1e6:.0f} MB"
    )


def compared(name: str, endpoint: str, verdict: Verdict, folder: Path) -> list[Pair]:
    """Time both in turn; print and return each pair but the first, which warms the Hub's files."""
    pairs = []
    for number in range(ROUNDS + 1):
        theirs, _ = timed(curl(endpoint, verdict, fresh(folder / "volume")), dict(os.environ))
        mine, memory = timed(*program(endpoint, verdict, fresh(folder / "volume"), folder))
        pair = Pair(verdict.total_bytes / 1e9 / mine, verdict.total_bytes / 1e9 / theirs, memory)
        if number:
            print(f"{name}: program {pair.program:.2f} GB/s, curl {pair.curl:.2f} GB/s")
            pairs.append(pair)
    return pairs


def wait_for(endpoint: str) -> None:
    """Return once the Hub has made its files and answers."""
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        try:
            httpx.get(f"{endpoint}/_sandbox/requests", trust_env=False).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.5)
        else:
            return
    sys.exit("the Hub did not start")


def fresh(folder: Path) -> Path:
    """Return the folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def curl(endpoint: str, verdict: Verdict, volume: Path) -> list[str]:
    """Return the command that fetches every file with curl."""
    command = [
        "curl",
        "--silent",
        "--no-progress-meter",
        "--fail",
        "--parallel",
        "--parallel-max",
        str(AT_ONCE),
    ]
    for file in verdict.files:
        address = f"{endpoint}/{verdict.repository}/resolve/{verdict.commit}/{file.name}"
        command += ["--output", str(volume / file.name), address]
    return command


def program(
    endpoint: str, verdict: Verdict, volume: Path, folder: Path
) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment of the program, as its Job would run it."""
    (folder / PROGRAM_NAME).write_bytes(weights_archive())
    (folder / "files.json").write_text(weights_program(verdict)["data"]["files.json"])
    environ = {
        "PATH": os.environ["PATH"],
        "WEIGHTS_REPOSITORY": verdict.repository,
        "WEIGHTS_COMMIT": verdict.commit,
        "WEIGHTS_FILES": str(folder / "files.json"),
        "WEIGHTS_AT_ONCE": str(AT_ONCE),
        "TERMINATION_LOG": str(folder / "termination-log"),
        "HF_HOME": str(folder / "home"),
        "HF_HUB_CACHE": str(volume),
        "HF_ENDPOINT": endpoint,
    }
    return [sys.executable, str(folder / PROGRAM_NAME)], environ


def timed(command: list[str], environ: dict[str, str]) -> tuple[float, int]:
    """Return a command's seconds and its peak memory in bytes; it must succeed."""
    begin = time.monotonic()
    process = subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[0]} failed: {json.dumps(process.returncode)}")
    return time.monotonic() - begin, used.ru_maxrss * 1024


if __name__ == "__main__":
    main()

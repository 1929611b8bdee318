"""The weights program, checking included, beside `curl` fetching the same files from the same Hub.

Both as whole processes in turn, each time onto an empty folder of the same disk, with as many files
at once. The Hub is a process of its own that knows nothing but the files, and lets the kernel send
them: the cores it shares with both are to be theirs. curl checks nothing and does not see to it
that the bytes are on the disk; the program does both. Measured with a Hub that sends at the pace of
a network, and with no limit: then the hashing shows.
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
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sandbox.hub.repository import Store
from sandbox.hub.samples import SAMPLES
from vllm_flows.observed import HubFile, Verdict
from vllm_flows.weights_manifests import weights_program
from vllm_flows.weights_program import PROGRAM_NAME, weights_archive

ROUNDS = 5
AT_ONCE = 4
_SHARDS = (200,) * 12
"""Megabytes."""
PACE = 100_000_000
"""Bytes per second of each download."""
_REPOSITORY = "Qwen/Qwen2.5-7B-Instruct"
_PART = 1 << 20
_START_SECONDS = 30.0


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
    """Make the files, serve, measure, print the figure."""
    match sys.argv[1:]:
        case ["make", name]:
            make(Path(name))
        case ["serve", name, port, rate]:
            serve(Path(name), int(port), int(rate))
        case _:
            compare()


def compare() -> None:
    """Print each pair and the figure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own: what it takes would count as the peak of those begun from here.
        subprocess.run([sys.executable, __file__, "make", name], check=True)
        verdict = repository(folder)
        print(f"{len(verdict.files)} files, {verdict.total_bytes / 1e9:.2f} GB, {AT_ONCE} at once")
        paced = measured("paced", PACE, verdict, folder)
        unlimited = measured("unlimited", 0, verdict, folder)
    ratios = [statistics.median(one.ratio for one in pairs) for pairs in (paced, unlimited)]
    speeds = [statistics.median(one.curl for one in pairs) for pairs in (paced, unlimited)]
    peak = max(one.memory for one in paced + unlimited)
    print(
        f"weights: FIGURE {ratios[0]:.2f} times the throughput of `curl` for the same files from "
        f"the same Hub where it sends {speeds[0]:.2f} GB/s, checking included; {ratios[1]:.2f} "
        f"times without a limit, where curl has {speeds[1]:.2f} GB/s, on {os.cpu_count()} cores "
        f"that the Hub shares (medians of {ROUNDS} pairs); peak memory {peak / 1e6:.0f} MB"
    )


def make(folder: Path) -> None:
    """Make the files of one repository, and `made.json`: each one's place, size and hashes."""
    sample = next(one for one in SAMPLES if one.repo_id == _REPOSITORY)
    store = Store(folder / "hub", [replace(sample, shards=_SHARDS)])
    commit = store.repositories[_REPOSITORY].find("main")
    if commit is None:
        sys.exit("the sample has no main branch")
    files = commit.files.values()
    made = {one.path: (str(one.location), one.size, one.sha256, one.blob_id) for one in files}
    (folder / "made.json").write_text(json.dumps({"commit": commit.sha, "files": made}))


def repository(folder: Path) -> Verdict:
    """Return the repository as the Hub would list it."""
    made = json.loads((folder / "made.json").read_text())
    listed = tuple(HubFile(name, *entry[1:]) for name, entry in made["files"].items())
    return Verdict("m", _REPOSITORY, made["commit"], files=listed)


def serve(folder: Path, port: int, rate: int) -> None:
    """Be the Hub for whole files; `rate` in bytes per second of each download, 0 without limit."""
    places = json.loads((folder / "made.json").read_text())["files"]

    class Files(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            if name not in places:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            place = Path(places[name][0])
            size = place.stat().st_size
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            send(self.connection, place, size, rate)

        def log_message(self, *_: object) -> None:
            """Say nothing: it would be part of what is measured."""

    ThreadingHTTPServer(("127.0.0.1", port), Files).serve_forever()


def send(connection: socket.socket, place: Path, size: int, rate: int) -> None:
    """Let the kernel send a file, in parts as far apart as the rate says."""
    begin = time.monotonic()
    with place.open("rb") as source:
        for start in range(0, size, _PART if rate else max(size, 1)):
            connection.sendfile(source, start, min(_PART, size - start) if rate else None)
            if rate:
                time.sleep(max(0.0, begin + (start + _PART) / rate - time.monotonic()))


def measured(name: str, rate: int, verdict: Verdict, folder: Path) -> list[Pair]:
    """Serve at a rate and return the pairs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    command = [sys.executable, __file__, "serve", str(folder), str(port), str(rate)]
    with subprocess.Popen(command) as server:
        try:
            wait_for(port)
            return compared(name, f"http://127.0.0.1:{port}", verdict, folder)
        finally:
            server.terminate()


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


def wait_for(port: int) -> None:
    """Return once the Hub listens."""
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
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

"""Which Prefect server records a run: the configured one, one that is there, or one of our own."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from cli.output import note
from vllm_flows.errors import TimedOutError

LOCAL_API = "http://127.0.0.1:4200/api"
_PROBE_SECONDS = 0.5
_STARTUP_SECONDS = 120
_STOP_SECONDS = 20
_REMIND_SECONDS = 8.0
# A run that is killed still closes the pipe on this script's stdin, and it then ends the server.
_END_WITH_ITS_STARTER = 'read -r _; kill "$1"'


def prepare_environment() -> None:
    """Set what Prefect reads when it is imported; what the user set stays."""
    for name, value in {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    }.items():
        os.environ.setdefault(name, value)


def find_server() -> None:
    """Use the configured server, `vllm-flows serve`'s, or one that ends with this process."""
    if prefect_is_configured():
        return
    if answers(LOCAL_API):
        os.environ["PREFECT_API_URL"] = LOCAL_API
    else:
        note("no Prefect server is configured: a temporary one records this run (some seconds)")
        os.environ["PREFECT_API_URL"] = _until_exit(own_server(_free_port(), "--no-services"))


def _until_exit(server: AbstractContextManager[str]) -> str:
    """Enter the block, and leave it at the very end of this process.

    What is registered before Prefect is imported is called after Prefect sent its last logs.
    """
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(server)


@contextmanager
def own_server(port: int, *options: str) -> Iterator[str]:
    """Yield the API address of a local server that lives as long as the block, at the longest.

    It has a session of its own: Ctrl-C ends the run first, and then the server. Raises
    TimedOutError when it does not start.
    """
    api = LOCAL_API.replace("4200", str(port))
    process = _start(api, port, options)
    watcher = subprocess.Popen(
        ["sh", "-c", _END_WITH_ITS_STARTER, "sh", str(process.pid)],  # noqa: S607 -- POSIX's
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _wait_until_up(api, process)
        yield api
    finally:
        watcher.kill()
        process.terminate()
        process.wait(timeout=_STOP_SECONDS)
        watcher.communicate()


def prefect_is_configured() -> bool:
    """Say whether the environment or a Prefect profile names a server."""
    if os.environ.get("PREFECT_API_URL") or os.environ.get("PREFECT_PROFILE"):
        return True
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    try:
        return "PREFECT_API_URL" in (home / "profiles.toml").read_text()
    except OSError:
        return False


def answers(api: str) -> bool:
    """Say whether a Prefect server answers at this address."""
    try:
        with urllib.request.urlopen(f"{api}/health", timeout=_PROBE_SECONDS) as reply:  # noqa: S310 -- our own http address
            return bool(reply.read().strip() == b"true")
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _start(api: str, port: int, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Start the server. Its UI asks port 4200 unless it is told its own address."""
    host = urlsplit(api).hostname or "127.0.0.1"
    server = [sys.executable, "-m", "prefect", "server", "start", *options]
    return subprocess.Popen(
        [*server, "--host", host, "--port", str(port)],
        env={**os.environ, "PREFECT_SERVER_UI_API_URL": api},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _wait_until_up(api: str, process: subprocess.Popen[bytes]) -> None:
    begin = said = time.monotonic()
    while not answers(api):
        now = time.monotonic()
        if process.poll() is not None or now - begin > _STARTUP_SECONDS:
            raise TimedOutError(
                "the local Prefect server did not start",
                why=f"exit code {process.poll()}",
                next_command="prefect server start   (it shows why)",
            )
        if now - said > _REMIND_SECONDS:
            said = now
            note("still starting the Prefect server")
        time.sleep(0.2)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])

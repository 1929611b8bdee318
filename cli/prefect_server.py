"""Which Prefect server records a run: the configured one, one that is there, or one of our own."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from cli.output import note
from vllm_flows.errors import ConfigurationError, TimedOutError

LOCAL_API = "http://127.0.0.1:4200/api"
_PROBE_SECONDS = 0.5
_HEALTH_SECONDS = 5.0
_LONGEST_HEALTH = 64
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
        # A server whose SQLite is busy (503) is asked again for four minutes, not for one.
        "PREFECT_CLIENT_MAX_RETRIES": "7",
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


def insist_on_server() -> None:
    """Use the configured server or `vllm-flows serve`'s; what is told to no other reaches anybody.

    Raises ConfigurationError when there is neither.
    """
    if prefect_is_configured():
        return
    if not answers(LOCAL_API):
        raise ConfigurationError(
            "no Prefect server is configured, and none runs on this machine",
            why="events of a temporary one would reach nobody",
            next_command="vllm-flows serve   (or set PREFECT_API_URL)",
        )
    os.environ["PREFECT_API_URL"] = LOCAL_API


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
        env=_for_prefect(),
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
    try:
        return "PREFECT_API_URL" in _profiles().read_text()
    except OSError:
        return False


def configured_address() -> str:
    """Return the API address that the environment or the active profile names; "" for none."""
    if address := os.environ.get("PREFECT_API_URL"):
        return address
    try:
        document = tomllib.loads(_profiles().read_text())
        active = os.environ.get("PREFECT_PROFILE") or document.get("active")
        return str(document["profiles"][active]["PREFECT_API_URL"])
    except (OSError, tomllib.TOMLDecodeError, LookupError, TypeError):
        return ""


def _profiles() -> Path:
    return Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser() / "profiles.toml"


def answers(api: str) -> bool:
    """Say whether a Prefect server answers at this address."""
    return health(api, _PROBE_SECONDS) == HTTPStatus.OK


def health(api: str, seconds: float = _HEALTH_SECONDS) -> int | str:
    """Ask a Prefect server how it is: its HTTP status, 200 when well; or why there is no answer."""
    headers = {}
    if key := os.environ.get("PREFECT_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    elif login := os.environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
    try:
        request = urllib.request.Request(f"{api.rstrip('/')}/health", headers=headers)  # noqa: S310 -- the user's own address
        with urllib.request.urlopen(request, timeout=seconds) as reply:  # noqa: S310 -- likewise
            well = reply.read(_LONGEST_HEALTH).strip() == b"true"
            return int(reply.status) if well else "what answers there is no Prefect API"
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError, HTTPException) as error:
        return str(error) or type(error).__name__


def _start(api: str, port: int, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Start the server.

    Its UI asks port 4200, and its messages have no links, unless it is told its own address.
    """
    host = urlsplit(api).hostname or "127.0.0.1"
    server = [sys.executable, "-m", "prefect", "server", "start", *options]
    return subprocess.Popen(
        [*server, "--host", host, "--port", str(port)],
        env=_for_prefect()
        | {"PREFECT_SERVER_UI_API_URL": api, "PREFECT_UI_URL": api.removesuffix("/api")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _for_prefect() -> dict[str, str]:
    from vllm_flows.environments import environment_for_prefect

    return environment_for_prefect(os.environ)


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

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli import prefect_server
from cli.main import cli
from cli.prefect_server import answers, configured_address, health
from vllm_flows.errors import ConfigurationError

PROFILES = """\
active = "team"
[profiles.local]
[profiles.team]
PREFECT_API_URL = "https://prefect.example.com/api"
"""


@pytest.fixture
def profiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    return tmp_path / "profiles.toml"


def test_the_active_profiles_address_is_found(profiles: Path, monkeypatch: pytest.MonkeyPatch):
    assert configured_address() == ""
    profiles.write_text(PROFILES)
    assert configured_address() == "https://prefect.example.com/api"
    monkeypatch.setenv("PREFECT_PROFILE", "local")
    assert configured_address() == ""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    assert configured_address() == "http://127.0.0.1:4200/api"


@pytest.mark.parametrize("text", ["[", "active = 3\nprofiles = 4\n", "\0"])
def test_profiles_that_cannot_be_read_name_no_address(profiles: Path, text: str):
    profiles.write_text(text)
    assert configured_address() == ""


class Handler(BaseHTTPRequestHandler):
    """A Prefect server that wants a key."""

    def do_GET(self) -> None:
        known = self.headers["Authorization"] == "Bearer pnu_key"
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(b"true" if self.path == "/api/health" else b"<html>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its base's name
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()
    thread.join()


def test_a_server_is_asked_with_the_login_that_prefect_has(
    server: str, monkeypatch: pytest.MonkeyPatch
):
    assert health(f"{server}/api") == 401
    monkeypatch.setenv("PREFECT_API_KEY", "pnu_key")
    assert health(f"{server}/api/") == 200
    assert answers(f"{server}/api")
    assert health(server) == "what answers there is no Prefect API"


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/api", "no address", "http://[", ""])
def test_what_does_not_answer_is_said_why(address: str):
    assert health(address)
    assert not answers(address)


def test_a_server_of_our_own_is_told_where_its_links_lead(monkeypatch: pytest.MonkeyPatch):
    asked: dict[str, str] = {}
    monkeypatch.setattr(subprocess, "Popen", lambda *_, env, **__: asked.update(env))
    prefect_server._start("http://127.0.0.1:4321/api", 4321, ())  # noqa: SLF001 -- no server is started for it
    assert asked["PREFECT_SERVER_UI_API_URL"] == "http://127.0.0.1:4321/api"
    assert asked["PREFECT_UI_URL"] == "http://127.0.0.1:4321"


def test_a_port_that_is_in_use_is_said_with_the_option_that_helps(
    profiles: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert not profiles.exists()
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        with pytest.raises(ConfigurationError, match=f"cannot listen on port {port}") as refused:
            cli(["serve", "--port", port], standalone_mode=False)
    assert refused.value.next_command.startswith("vllm-flows serve --port ")


def test_a_server_ends_when_who_started_it_is_gone():
    endless = [sys.executable, "-c", "input()"]
    with subprocess.Popen(endless, stdin=subprocess.PIPE) as server:
        watch = ["sh", "-c", prefect_server._END_WITH_ITS_STARTER, "sh", str(server.pid)]  # noqa: SLF001 -- no server is started for it
        subprocess.run(watch, input=b"", check=True)
        assert server.wait(10) == -signal.SIGTERM

"""Where metrics go: a folder, and a Pushgateway's protocol spoken to a server of the test."""

from __future__ import annotations

import base64
import json
import socket
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from vllm_flows.errors import ConfigurationError
from vllm_flows.metrics import FINDINGS, RUN_EXIT_CODE, Lasting, Sample
from vllm_flows.metrics_sink import Flow, Folder, Gateway, sinks
from vllm_flows.redaction import collect, redacted
from vllm_flows.settings import Settings, load_settings

HEALTH = Flow("vllm", "health")
RUN = [Sample(RUN_EXIT_CODE, 0)]
FOUND = [Sample(FINDINGS, 2, ("(hub)", "hub-token", "degraded"))]
PATH = "/gate/metrics/job/vllm-flows/flow/health/namespace/vllm"
ROLLOUT_PATH = "/gate/metrics/job/vllm-flows-rollout/flow/health/model/qwen/namespace/vllm"
PASSWORD = "planted-canary@1"


@dataclass
class Asked:
    """What a gateway was asked, and what it answers with."""

    address: str = ""
    status: int = 200
    body: bytes = b""
    requests: list[tuple[str, str, str, str | None]] = field(default_factory=list)


@pytest.fixture
def asked() -> Iterator[Asked]:
    found = Asked()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            login = self.headers.get("Authorization")
            found.requests.append((self.command, self.path, body, login))
            self.send_response(found.status)
            self.send_header("Location", f"{found.address}/elsewhere")
            self.end_headers()
            self.wfile.write(b"inconsistent\nhelp" if found.status != 200 else found.body)

        do_PUT = do_POST = do_DELETE = do_GET = answer  # noqa: N815 -- the library's names

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    found.address = f"http://127.0.0.1:{server.server_port}/gate"
    yield found
    server.shutdown()
    server.server_close()
    thread.join(2)


def test_what_was_measured_replaces_the_flows_group_in_the_gateway(asked: Asked):
    Gateway.at(asked.address).tell(HEALTH, RUN, FOUND)
    ((method, path, body, login),) = asked.requests
    assert (method, path, login) == ("PUT", PATH, None)
    assert 'vllm_flows_run_exit_code{flow="health",namespace="vllm"} 0.0' in body
    labels = 'flow="health",kind="hub-token",model="(hub)",namespace="vllm",state="degraded"'
    assert f"vllm_flows_findings{{{labels}}} 2.0" in body


def test_a_run_that_measured_nothing_leaves_there_what_was_measured_before(asked: Asked):
    Gateway.at(asked.address).tell(HEALTH, RUN, None)
    assert [one[:2] for one in asked.requests] == [("POST", PATH)]


def test_what_lasts_has_a_group_of_its_own(asked: Asked):
    Gateway.at(asked.address).keep(HEALTH, Lasting("failed", "", RUN))
    Gateway.at(asked.address).keep(HEALTH, Lasting("rollout", "qwen", RUN))
    assert [one[:2] for one in asked.requests] == [
        ("PUT", PATH.replace("vllm-flows/", "vllm-flows-failed/")),
        (
            "PUT",
            PATH.replace("vllm-flows/flow/health/", "vllm-flows-rollout/flow/health/model/qwen/"),
        ),
    ]


def groups(*labels: dict[str, str]) -> bytes:
    return json.dumps({"data": [{"labels": one, "a_metric": {}} for one in labels]}).encode()


def test_what_is_gone_is_deleted_with_all_that_lasts_and_nothing_of_others(asked: Asked):
    own = HEALTH._asdict()
    asked.body = groups(
        {"job": "vllm-flows", **own},
        {"job": "vllm-flows-rollout", "model": "qwen", **own},
        {"job": "another", **own},
        {"job": "vllm-flows", **own, "namespace": "other"},
        {"job": "vllm-flows"},
    )
    Gateway.at(asked.address).forget(HEALTH)
    assert [one[:2] for one in asked.requests] == [
        ("GET", "/gate/api/v1/metrics"),
        ("DELETE", PATH),
        ("DELETE", ROLLOUT_PATH),
    ]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"data": [1]}', b'{"data": null}'])
def test_a_gateway_that_does_not_say_what_it_keeps_is_an_os_error(asked: Asked, body: bytes):
    asked.body = body
    with pytest.raises(OSError, match="does not say what it keeps"):
        Gateway.at(asked.address).forget(HEALTH)


def test_user_and_password_are_sent_and_stand_in_no_name_and_no_error(asked: Asked):
    address = asked.address.replace("//", f"//me:{PASSWORD.replace('@', '%40')}@")
    gateway = Gateway.at(address)
    gateway.tell(HEALTH, RUN, None)
    assert asked.requests[0][3] == "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert gateway.name == f"the Pushgateway {asked.address}"
    asked.status = 401
    with pytest.raises(OSError, match="HTTP 401 inconsistent help") as caught:
        gateway.forget(HEALTH)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 500])
def test_no_other_answer_than_a_good_one_counts_and_no_other_address_is_asked(
    asked: Asked, status: int
):
    asked.status = status
    with pytest.raises(OSError, match=f"HTTP {status}"):
        Gateway.at(asked.address).tell(HEALTH, RUN, None)
    assert len(asked.requests) == 1


def test_a_gateway_that_is_not_there_is_an_os_error():
    with pytest.raises(OSError, match=r"refused|attempts failed"):
        Gateway.at("http://127.0.0.1:9").tell(HEALTH, RUN, None)


def test_a_gateway_that_keeps_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vllm_flows.metrics_sink._SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        gateway = Gateway.at(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(OSError, match="timed out"):
            gateway.tell(HEALTH, RUN, None)


def test_a_folder_gets_a_file_of_the_run_and_one_of_what_was_measured(tmp_path: Path):
    folder = Folder(tmp_path)
    folder.tell(HEALTH, RUN, FOUND)
    folder.tell(HEALTH, [Sample(RUN_EXIT_CODE, 1)], None)
    run, measured = tmp_path / "vllm-flows_vllm_health.prom", "vllm-flows_vllm_health_measured.prom"
    assert sorted(one.name for one in tmp_path.iterdir()) == [run.name, measured]
    assert run.read_text().splitlines()[1:] == [
        "# TYPE vllm_flows_run_exit_code gauge",
        'vllm_flows_run_exit_code{flow="health",namespace="vllm"} 1.0',
    ]
    assert "vllm_flows_findings{" in (tmp_path / measured).read_text()
    assert stat.S_IMODE(run.stat().st_mode) == 0o644
    folder.keep(HEALTH, Lasting("failed", "", RUN))
    folder.keep(HEALTH, Lasting("rollout", "qwen", RUN))
    others = tmp_path / "vllm-flows_vllm-2_health.prom"
    others.touch()
    assert len(list(tmp_path.iterdir())) == 5
    folder.forget(HEALTH)
    folder.forget(HEALTH)
    assert list(tmp_path.iterdir()) == [others]


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path):
    with pytest.raises(OSError, match="No such file"):
        Folder(tmp_path / "nowhere").tell(HEALTH, RUN, None)


def test_no_secret_leaves_in_a_label(tmp_path: Path):
    collect(PASSWORD)
    Folder(tmp_path).tell(HEALTH, [], [Sample(FINDINGS, 1, (PASSWORD, "a", "b"))])
    assert all("canary" not in one.read_text() for one in tmp_path.iterdir())


def test_the_settings_say_where_metrics_go_and_nothing_unless_they_do(tmp_path: Path):
    assert sinks(Settings()) == []
    found = sinks(Settings(pushgateway="http://pushgateway:9091/", metrics_dir=tmp_path))
    assert found == [Gateway("http://pushgateway:9091"), Folder(tmp_path)]
    assert sinks(Settings.model_validate({"metrics_dir": ""})) == []


def test_the_password_of_the_setting_is_a_secret_also_when_the_address_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("VLLM_PUSHGATEWAY", f"http://me:{PASSWORD}@pushgateway:9091")
    with pytest.raises(ConfigurationError, match="VLLM_PUSHGATEWAY: not an address") as caught:
        load_settings()
    assert "canary" not in str(caught.value)
    right = f"http://me:{PASSWORD.replace('@', '%40')}@pushgateway:9091"
    monkeypatch.setenv("VLLM_PUSHGATEWAY", right)
    assert load_settings().pushgateway == right
    assert "canary" not in redacted(f"{PASSWORD} {right}")

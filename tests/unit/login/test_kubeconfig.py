"""The kubeconfig's secrets are known before anything is said, and a login is renewed in time."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.unit.login.programs import Plugin, answer
from vllm_flows.cluster import Cluster
from vllm_flows.errors import ClusterError, ClusterUnavailableError, ConfigurationError
from vllm_flows.exec_plugin import Login
from vllm_flows.kubeconfig import PluginLogin, configured, login_program
from vllm_flows.redaction import redacted

Write = Callable[..., Path]
PEM = "-----BEGIN PRIVATE KEY-----\n" + "cafe" * 16 + "\n-----END PRIVATE KEY-----\n"
SECRETS: list[tuple[dict[str, Any], str]] = [
    ({"token": "planted-canary-1"}, "planted-canary-1"),
    ({"username": "me", "password": "planted-canary-2"}, "planted-canary-2"),
    ({"client-key-data": base64.b64encode(PEM.encode()).decode()}, "cafe" * 16),
    (
        {"auth-provider": {"name": "oidc", "config": {"client-secret": "planted-canary-3"}}},
        "planted-canary-3",
    ),
]


def sent(configuration: Any) -> str:
    """Return the header with which a request is sent."""
    found = configuration.auth_settings().get("BearerToken") or {}
    return str(found.get("value"))


@pytest.mark.parametrize(("user", "secret"), SECRETS)
def test_what_stands_in_a_kubeconfig_is_collected(
    kubeconfig: Write, user: dict[str, Any], secret: str
):
    kubeconfig(user, **{"proxy-url": "http://me:planted-canary-4@proxy:3128"})
    with suppress(ConfigurationError):  # not each of them is enough to log in with
        configured("")
    assert redacted(f"it says {secret}.") == "it says ***."
    assert redacted("planted-canary-4") == "***"


def test_what_a_login_program_is_given_is_collected(kubeconfig: Write, plugin: Plugin):
    entry = plugin(
        f"echo '{answer(token='planted-canary-of-a-login')}'",
        args=["--client-secret", "planted-canary-5", "--oidc-token=planted-canary-6", "get-token"],
        env=[
            {"name": "AWS_SECRET_ACCESS_KEY", "value": "planted-canary-7"},
            {"name": "AWS_PROFILE", "value": "production"},
        ],
    )
    kubeconfig({"exec": entry})
    assert sent(configured("")[0]) == "Bearer planted-canary-of-a-login"
    for number in (5, 6, 7):
        assert redacted(f"planted-canary-{number}") == "***"
    assert redacted("get-token production") == "get-token production"


def test_an_error_of_the_package_that_quotes_an_entry_shows_no_secret_of_it(kubeconfig: Write):
    token = ".".join(["aGVhZA", base64.b64encode(b"{}").decode().rstrip("="), "planted-canary-8"])
    provider = {"name": "oidc", "config": {"client-secret": "planted-canary-9", "token": token}}
    kubeconfig({"auth-provider": provider})
    with pytest.raises(ConfigurationError, match="id-token") as caught:
        configured("")
    assert "planted-canary" not in str(caught.value)


def test_a_login_program_that_fails_ends_the_run_at_once(kubeconfig: Write, plugin: Plugin):
    kubeconfig({"exec": plugin("echo 'log in first' >&2; exit 1")})
    with pytest.raises(ClusterError, match="log in first") as caught:
        Cluster.connect("vllm")
    assert not caught.value.retryable


def test_a_token_that_has_run_out_is_asked_for_again(
    kubeconfig: Write, plugin: Plugin, tmp_path: Path
):
    """The program answers with tokens that are old already: each request brings the next."""
    old = answer(token="token-of-login-N", expirationTimestamp="2026-01-02T03:04:05Z")
    count = f"echo >> {tmp_path}/times; n=$(wc -l < {tmp_path}/times)"
    kubeconfig({"exec": plugin(f"{count}; echo '{old}' | sed s/login-N/login-$n/")})
    configuration, _ = configured("")
    assert [sent(configuration) for _ in range(3)] == [
        f"Bearer token-of-login-{number}" for number in (2, 3, 4)
    ]
    assert redacted("token-of-login-4") == "***"


def test_a_token_that_does_not_run_out_is_asked_for_once(
    kubeconfig: Write, plugin: Plugin, tmp_path: Path
):
    text = answer(token="token-of-login")
    kubeconfig({"exec": plugin(f"echo >> {tmp_path}/times; echo '{text}'")})
    configuration, _ = configured("")
    assert [sent(configuration) for _ in range(3)] == ["Bearer token-of-login"] * 3
    assert (tmp_path / "times").read_text() == "\n"


def test_a_certificate_that_has_run_out_takes_the_place_of_the_old_one(
    kubeconfig: Write, plugin: Plugin, tmp_path: Path
):
    text = answer(
        clientCertificateData="certificate-N",
        clientKeyData="planted-canary-of-a-key",
        expirationTimestamp="2026-01-02T03:04:05Z",
    )
    count = f"echo >> {tmp_path}/times; n=$(wc -l < {tmp_path}/times)"
    kubeconfig({"exec": plugin(f"{count}; echo '{text}' | sed s/certificate-N/certificate-$n/")})
    configuration, _ = configured("")
    dropped: list[str] = []
    configuration.renewed = lambda: dropped.append("connections")
    file = Path(configuration.cert_file)
    assert configuration.key_file == configuration.cert_file
    assert file.stat().st_mode & 0o077 == 0
    assert file.read_text() == "certificate-1\nplanted-canary-of-a-key\n"
    sent(configuration)
    assert file.read_text() == "certificate-2\nplanted-canary-of-a-key\n"
    assert dropped == ["connections"]


class Program:
    """A login program whose answers last so many seconds, on a clock that is told the time."""

    def __init__(self, seconds: float) -> None:
        self.time = datetime(2026, 1, 2, tzinfo=UTC)
        self.seconds, self.asked, self.fails = seconds, 0, False

    def ask(self) -> Login:
        self.asked += 1
        if self.fails:
            raise ClusterError("no login", why="the server is away", next_command="kubectl")
        return Login(f"token-{self.asked}", expires=self.time + timedelta(seconds=self.seconds))

    def login(self, take: Callable[[Login], None] = lambda _: None) -> PluginLogin:
        return PluginLogin(self.ask, take, lambda: self.time)

    def passes(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.mark.parametrize(("lasts", "good_for"), [(3600.0, 3570.0), (60.0, 45.0), (4.0, 3.0)])
def test_a_login_is_renewed_a_little_before_it_runs_out(lasts: float, good_for: float):
    program, taken = Program(lasts), list[str]()
    login = program.login(lambda one: taken.append(one.token))
    program.passes(good_for - 0.5)
    assert not login.renew()
    program.passes(1)
    assert login.renew()
    assert not login.renew()
    assert taken == ["token-1", "token-2"]


def test_a_renewal_that_fails_is_worth_another_try():
    program = Program(60.0)
    login = program.login()
    program.passes(61)
    program.fails = True
    with pytest.raises(ClusterUnavailableError, match="the server is away"):
        login.renew()
    program.fails = False
    assert login.renew()


def test_many_threads_ask_once():
    program = Program(60.0)
    login = program.login()
    program.passes(50)
    threads = [threading.Thread(target=login.renew) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert program.asked == 2


def test_threads_that_wait_for_a_login_that_fails_ask_not_one_after_the_other():
    program = Program(60.0)
    login = program.login()
    program.passes(61)
    looked, told = threading.Semaphore(0), list[str]()

    def now() -> datetime:
        time = program.time
        looked.release()
        return time

    def ask() -> Login:
        for _ in range(4 + 3 * 2):  # by then the others wait: each has looked at the time twice
            looked.acquire(timeout=10)
        program.passes(60)
        program.fails = True
        return Program.ask(program)

    def renew() -> None:
        with pytest.raises(ClusterUnavailableError, match="the server is away") as caught:
            login.renew()
        told.append(caught.value.next_command)

    login._ask, login._now = ask, now  # noqa: SLF001 -- from now on the program hangs
    threads = [threading.Thread(target=renew) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert program.asked == 2
    assert told == ["kubectl"] * 4


@pytest.mark.parametrize(
    ("user", "name"),
    [
        ({"exec": {"command": "/opt/bin/log-in"}}, "log-in"),
        ({"token": "x"}, ""),
        ({"exec": []}, ""),
    ],
)
def test_the_login_program_is_known_by_its_name(kubeconfig: Write, user: Any, name: str):
    kubeconfig(user)
    assert login_program("") == login_program("here") == name
    assert login_program("nowhere") == ""


def test_without_a_kubeconfig_no_program_logs_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert login_program("") == ""

"""A login program is run with an end in sight, and nothing it prints leaves but its answer."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.login.programs import VERSION, Plugin, answer
from vllm_flows import exec_plugin
from vllm_flows.errors import (
    ClusterError,
    ConfigurationError,
    MissingProgramError,
    VllmFlowsError,
)
from vllm_flows.exec_plugin import log_in, login_from
from vllm_flows.redaction import redacted

TOKEN = "planted-canary-of-a-login"
ROOT = Path(__file__).parents[3]
KEY = "-----BEGIN PRIVATE KEY-----\n" + "cafe" * 16 + "\n-----END PRIVATE KEY-----\n"


def refused(entry: dict[str, object], kind: type[VllmFlowsError], seconds: float = 30.0) -> str:
    """Log in in vain; return all that is said of it."""
    with pytest.raises(kind) as caught:
        log_in(entry, "/", seconds=seconds)
    assert type(caught.value) is kind
    assert caught.value.next_command
    assert TOKEN not in f"{caught.value}{caught.value.__cause__}{caught.value.__context__}"
    return str(caught.value)


def test_its_token_is_what_is_answered_and_is_collected(plugin: Plugin):
    login = log_in(plugin(f"echo '{answer(token=TOKEN)}'"), "/")
    assert (login.token, login.expires) == (TOKEN, None)
    assert redacted(f"Bearer {TOKEN}") == "Bearer ***"
    assert TOKEN not in repr(login)


def test_a_certificate_comes_with_its_key_and_an_end():
    text = answer(
        clientCertificateData="PEM", clientKeyData=KEY, expirationTimestamp="2026-01-02T03:04:05Z"
    )
    login = login_from(text, VERSION, "log-in")
    assert (login.certificate, login.key, login.token) == ("PEM", KEY, "")
    assert login.expires == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert redacted("cafe" * 16) == "***"


@pytest.mark.parametrize("written", ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05"])
def test_an_end_without_a_zone_is_one_of_the_worlds_time(written: str):
    login = login_from(answer(token=TOKEN, expirationTimestamp=written), VERSION, "log-in")
    assert login.expires == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_who_waits_for_a_slow_one_is_told_its_name_once(
    plugin: Plugin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(exec_plugin, "SOON_SECONDS", 0.05)
    assert log_in(plugin(f"sleep 0.3; echo '{answer(token=TOKEN)}'"), "/").token == TOKEN
    assert caplog.messages == [
        "still waiting for the login program log-in of the kubeconfig (up to 60 s)"
    ]


def test_how_long_one_is_waited_for_is_what_the_page_says():
    page = " ".join((ROOT / "docs/redaction.md").read_text().split())
    assert (exec_plugin.SOON_SECONDS, exec_plugin.SECONDS) == (5.0, 60.0)
    assert "told its name after five seconds" in page
    assert "Ours has 60 seconds" in page


def test_of_a_quick_one_nothing_is_said(plugin: Plugin, caplog: pytest.LogCaptureFixture):
    log_in(plugin(f"echo '{answer(token=TOKEN)}'"), "/")
    assert caplog.messages == []


def test_one_that_hangs_is_ended_with_all_it_started(plugin: Plugin, tmp_path: Path):
    entry = plugin(f"echo 'opening a browser' >&2\nsleep 777 & echo $! > {tmp_path}/child\nwait")
    said = refused(entry, ClusterError, seconds=0.4)
    assert "log-in did not end within 0.4 s" in said
    assert "opening a browser" in said
    assert "next: kubectl cluster-info" in said
    child = int((tmp_path / "child").read_text())
    for _ in range(200):
        if (
            not Path(f"/proc/{child}").exists()
            or "(sleep) Z" in Path(f"/proc/{child}/stat").read_text()
        ):
            break
        time.sleep(0.01)
    else:
        pytest.fail("its child lives on")


@pytest.mark.parametrize(
    "printed",
    ["no JSON at all " + TOKEN, "", "[1]", "{}", '{"status": []}', '{"status": "' + TOKEN + '"}'],
)
def test_garbage_is_never_quoted(plugin: Plugin, printed: str):
    assert "no usable answer" in refused(plugin(f"echo '{printed}'"), ConfigurationError)


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        (answer("client.authentication.k8s.io/v1beta1", token=TOKEN), "its apiVersion is not"),
        (answer(), "it has no token"),
        (answer(clientCertificateData="PEM"), "it has no token"),
        (answer(token=TOKEN, expirationTimestamp="tomorrow"), "is no time"),
    ],
)
def test_an_answer_that_does_not_do_is_said_to_be_so(plugin: Plugin, printed: str, why: str):
    assert why in refused(plugin(f"echo '{printed}'"), ConfigurationError)


def test_one_that_fails_is_told_in_its_own_words(plugin: Plugin):
    script = "echo 'Error: your SSO session has expired' >&2; exit 255"
    said = refused(plugin(script), ClusterError)
    assert "log-in ended with exit code 255" in said
    assert "your SSO session has expired" in said


@pytest.mark.parametrize(
    "words",
    [
        f"token: {TOKEN} is refused",
        f"Authorization: Bearer {TOKEN}",
        "got eyJhbGciOiJSUzI1NiIs.eyJpc3MiOiJrdWJlcm5ldGVz.c2lnbmF0dXJl",
        "sent https://login.example.com/token?code=Xy12Xy12Xy12Xy12Xy12",
        "password=hunter2-hunter2",
    ],
)
def test_a_secret_in_its_last_words_is_not_repeated(plugin: Plugin, words: str):
    said = refused(plugin(f"echo '{words}' >&2; exit 1"), ClusterError)
    for secret in (TOKEN, "eyJpc3MiOiJrdWJlcm5ldGVz", "Xy12Xy12Xy12", "hunter2"):
        assert secret not in said


def test_what_it_answered_before_it_failed_is_not_repeated(plugin: Plugin):
    script = f"echo '{answer(token=TOKEN)}'; echo 'cannot save {TOKEN}' >&2; exit 1"
    assert "cannot save ***" in refused(plugin(script), ClusterError)


def test_one_that_talks_without_end_is_told_with_its_last_words(plugin: Plugin):
    said = refused(plugin("seq -s ' ' 1 9999 >&2; echo the end >&2; exit 1"), ClusterError)
    assert "9999 the end" in said
    assert len(said) < 1000


@pytest.mark.usefixtures("somebody_types")
def test_one_that_asks_is_given_nothing_and_can_be_run_by_hand(plugin: Plugin):
    script = "printf 'Password: ' >&2; read -r it || { echo; echo 'no password' >&2; exit 3; }"
    said = refused(plugin(script), ClusterError)
    assert "no password" in said
    assert "kubectl cluster-info   (it runs the same program, which can ask you there)" in said


def test_one_that_is_missing_is_named_with_how_to_get_it(plugin: Plugin):
    entry = plugin("") | {"command": "no-such-login-program", "installHint": "brew install it"}
    said = refused(entry, MissingProgramError)
    assert "no-such-login-program" in said
    assert "next: brew install it" in said


def test_a_path_is_one_from_where_the_kubeconfig_lies(plugin: Plugin, tmp_path: Path):
    entry = plugin(f"echo '{answer(token=TOKEN)}'") | {"command": "./log-in"}
    assert log_in(entry, str(tmp_path)).token == TOKEN


def test_it_gets_what_the_kubeconfig_says_and_none_of_our_secrets(
    plugin: Plugin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    for name in ("VLLM_HF_TOKEN", "VLLM_API_KEY"):
        monkeypatch.setenv(name, "planted-canary-of-ours")
    monkeypatch.setenv("VLLM_NAMESPACE", "vllm")
    entry = plugin(
        f"env > {tmp_path}/env; echo $1 > {tmp_path}/word; echo '{answer(token=TOKEN)}'",
        args=["get-token"],
        env=[{"name": "PROFILE", "value": "team"}],
        provideClusterInfo=True,
    )
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}
    log_in(entry, "/", {"server": "https://10.0.0.1", "extensions": [extension]})
    lines = (tmp_path / "env").read_text().splitlines()
    environ = dict(line.partition("=")[::2] for line in lines)
    assert (tmp_path / "word").read_text() == "get-token\n"
    assert environ["PROFILE"] == "team"
    assert environ["VLLM_NAMESPACE"] == "vllm"
    assert "canary-of-ours" not in "".join(lines)
    told = json.loads(environ["KUBERNETES_EXEC_INFO"])
    assert (told["apiVersion"], told["spec"]["interactive"]) == (VERSION, False)
    assert told["spec"]["cluster"]["server"] == "https://10.0.0.1"
    assert told["spec"]["cluster"]["config"] == {"audience": "a"}
    assert environ["PATH"] == os.environ["PATH"]


def test_an_entry_without_a_command_is_said_to_be_incomplete():
    assert "not complete" in refused({"apiVersion": VERSION}, ConfigurationError)

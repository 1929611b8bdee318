"""A login program that hangs under helm: it is named, waited for once, and ended with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import is_gone
from vllm_flows import exec_plugin, helm_lock, helm_process
from vllm_flows.chart import Chart
from vllm_flows.errors import ReleaseError, ReleaseUnavailableError
from vllm_flows.helm import Helm

CHART = Chart("./chart", (), "0.1.8")
AWS = {"exec": {"command": "/opt/aws", "apiVersion": "v1"}}
Made = Callable[[str], Helm]


@pytest.fixture
def helm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kubeconfig: Callable[..., Path]) -> Made:
    """Return a maker of Helms, each a shell script, for a cluster that `aws` logs in to."""
    kubeconfig(AWS)
    monkeypatch.setattr(exec_plugin, "SOON_SECONDS", 0.1)
    monkeypatch.setattr(exec_plugin, "SECONDS", 0.4)
    monkeypatch.setattr(helm_process, "_END_SECONDS", 0.2)
    monkeypatch.setattr(helm_lock, "account_folder", lambda: tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def made(script: str) -> Helm:
        program = tmp_path / "helm"
        program.write_text(f'#!/bin/sh\n[ "$1" = version ] && exec echo v4.3.1\n{script}\n')
        program.chmod(0o700)
        return Helm("vllm", "")

    return made


def hangs(folder: Path) -> str:
    """Return a helm that waits for its login program, which does not end."""
    return f"echo 'opening a browser' >&2; sleep 777 & echo $! > {folder}/child; wait"


@pytest.mark.parametrize("writes", [False, True])
def test_one_that_hangs_is_named_soon_and_ends_helm_when_its_time_is_over(
    helm: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture, *, writes: bool
):
    made = helm(hangs(tmp_path))
    with pytest.raises(ReleaseError, match=r"aws did not end within 0\.4 s") as caught:
        made.upgrade(CHART, {}) if writes else made.release()
    assert not caught.value.retryable, "it is waited for once"
    assert caught.value.why == "opening a browser"
    assert caught.value.next_command.startswith("kubectl cluster-info")
    assert is_gone(tmp_path)
    (told,) = caplog.messages
    assert told.startswith("still waiting for helm, or for the login program aws of the kubeconfig")


def test_a_helm_that_writes_for_long_is_not_taken_for_one(helm: Made):
    # What `sh` runs in its own place is no child.
    made = helm("""exec awk 'BEGIN { while (i < 4e7) i++; print "{\\"version\\": 7}" }'""")
    assert made.upgrade(CHART, {}) == 7


def test_a_helm_that_asks_no_cluster_waits_for_no_login(
    helm: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with pytest.raises(ReleaseUnavailableError, match="no end after 1 s") as caught:
        helm(hangs(tmp_path)).described(CHART, seconds=1)
    assert caught.value.why
    assert caught.value.next_command == "vllm-flows doctor"
    assert caplog.messages == []


def interrupted(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have whoever waits for helm be interrupted once it is at work."""
    child, pause = folder / "child", threading.Event()

    def interrupt(*_: object) -> None:
        while not child.exists() or not child.read_text():
            pause.wait(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(exec_plugin, "ended", interrupt)


def test_interrupted_a_helm_that_reads_is_ended_at_once(
    helm: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    interrupted(monkeypatch, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        helm(hangs(tmp_path)).release()
    assert is_gone(tmp_path)


def test_interrupted_a_helm_that_writes_is_brought_to_its_end(
    helm: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    interrupted(monkeypatch, tmp_path)
    last = "BEGIN { while (i < 1e7) i++; print > FILE }"
    with pytest.raises(KeyboardInterrupt):
        helm(f"echo $$ > {tmp_path}/child; exec awk -v FILE={tmp_path}/done '{last}'").uninstall()
    assert (tmp_path / "done").exists()


def test_interrupted_a_helm_that_would_write_once_it_had_a_login_is_ended(
    helm: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    interrupted(monkeypatch, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        helm(hangs(tmp_path)).uninstall()
    assert is_gone(tmp_path)

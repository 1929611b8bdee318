"""Helm as a process: what a run learns of one that is killed, or that cannot reach the cluster."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import is_gone
from vllm_flows import helm_lock, helm_process
from vllm_flows.chart import Chart
from vllm_flows.errors import LockLostError, ReleaseError, ReleaseUnavailableError
from vllm_flows.guarding import Guard, unguarded
from vllm_flows.helm import Helm
from vllm_flows.helm_failures import failure
from vllm_flows.observed import Release, ReleaseState
from vllm_flows.release_rules import LONGEST_HELM_SECONDS

CHART = Chart("./chart", (), "0.1.8")
Made = Callable[..., Helm]


@pytest.fixture
def helm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Return a maker of Helms whose program is a shell script."""

    def made(script: str, guard: Guard = unguarded) -> Helm:
        program = tmp_path / "helm"
        program.write_text(f'#!/bin/sh\n[ "$1" = version ] && exec echo v4.3.1\n{script}\n')
        program.chmod(0o700)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        monkeypatch.setattr(helm_lock, "account_folder", lambda: tmp_path)
        return Helm("vllm", "", guard)

    return made


def test_the_new_revision_is_what_helm_says_without_asking_the_cluster_again(helm: Made):
    made = helm("""[ "$1" = upgrade ] && echo '{"version": 7}' || exit 1""")
    assert made.upgrade(CHART, {}) == 7


@pytest.mark.parametrize("script", ["kill -KILL $$", "kill -TERM $$"])
def test_a_helm_that_was_killed_can_be_run_again(helm: Made, script: str):
    with pytest.raises(ReleaseUnavailableError, match="ended by signal"):
        helm(script).upgrade(CHART, {})


@pytest.mark.parametrize(
    "words",
    [
        "Kubernetes cluster unreachable: Get https://127.0.0.1:6443/version: x",
        "Get https://127.0.0.1:6443/api: net/http: TLS handshake timeout",
        "http2: client connection lost",
        'Post "https://127.0.0.1:6443/api": EOF',
        "client rate limiter Wait returned an error: context deadline exceeded",
        "Get https://127.0.0.1:6443/api: net/http: request canceled while waiting for connection",
        "write tcp 127.0.0.1:1->127.0.0.1:2: write: broken pipe",
    ],
)
def test_an_api_server_that_falls_silent_is_waited_for(helm: Made, words: str):
    with pytest.raises(ReleaseUnavailableError):
        helm(f"echo 'Error: UPGRADE FAILED: {words}' >&2; exit 1").upgrade(CHART, {})


def test_what_helm_refuses_is_no_matter_of_waiting(helm: Made):
    with pytest.raises(ReleaseError) as caught:
        helm("echo 'Error: UPGRADE FAILED: values do not match' >&2; exit 1").upgrade(CHART, {})
    assert not caught.value.retryable


def test_without_the_lock_helm_is_not_started(helm: Made, tmp_path: Path):
    def lost() -> None:
        raise LockLostError("lost")

    made = helm(f"touch {tmp_path}/started", lost)
    with pytest.raises(LockLostError):
        made.upgrade(CHART, {})
    with pytest.raises(LockLostError):
        made.uninstall()
    assert not (tmp_path / "started").exists()


def test_values_that_could_not_be_read_are_not_taken_for_none(helm: Made):
    history = '[{"revision": 1, "status": "deployed", "chart": "vllm-stack-0.1.8"}]'
    read = f"[ $1 = history ] && exec echo '{history}'"
    with pytest.raises(ReleaseUnavailableError):
        helm(f"{read}; echo 'Error: Kubernetes cluster unreachable' >&2; exit 1").release()
    assert helm(f"{read}; echo 'Error: release: not found' >&2; exit 1").values_at(1) == {}


@pytest.mark.parametrize(
    ("updated", "ours"), [(0.0, True), (-30.0, False), (LONGEST_HELM_SECONDS + 60.0, False)]
)
def test_a_revision_that_a_killed_helm_of_ours_left_is_known_by_its_time(
    helm: Made, *, updated: float, ours: bool
):
    begin = time.time()
    made = helm("kill -KILL $$")
    with pytest.raises(ReleaseUnavailableError):
        made.upgrade(CHART, {})
    release = Release(ReleaseState.PENDING_UPGRADE, 4, updated=begin + updated)
    assert made.left(release) is ours


@pytest.mark.parametrize("end", ["exit 1", "kill -KILL $$"])
def test_what_was_begun_after_a_helm_of_ours_had_ended_is_somebody_elses(helm: Made, end: str):
    made = helm(f"echo 'Error: pull: the registry answered 503' >&2; {end}")
    with pytest.raises(ReleaseError):
        made.upgrade(CHART, {})
    assert not made.left(Release(ReleaseState.PENDING_UPGRADE, 4, updated=time.time()))


def test_a_helm_that_ended_well_left_nothing(helm: Made):
    made = helm("""[ "$1" = upgrade ] && echo '{"version": 7}' || exit 1""")
    made.upgrade(CHART, {})
    assert not made.left(Release(ReleaseState.PENDING_UPGRADE, 8, updated=time.time()))


def test_what_helm_started_holds_the_lock_until_it_ends(helm: Made, tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    made = helm(f"""cat {pipe} > /dev/null 2>&1 &
    echo '{{"version": 7}}'""")
    made.upgrade(CHART, {})
    assert made.busy()
    pipe.write_text("")
    waits = threading.Event()
    while made.busy():
        waits.wait(0.01)


HISTORY = """\
[ "$1" = history ] && exec echo '[
  {"revision": 1, "status": "superseded", "chart": "vllm-stack-0.1.8"},
  {"revision": 2, "status": "deployed", "chart": "vllm-stack-0.1.9"},
  {"revision": 3, "status": "failed", "chart": "vllm-stack-0.1.12"}]'
digest() { echo '{"servingEngineSpec": {"modelSpec": [{"name": "qwen", "podAnnotations":
  {"vllm-flows.io/config-digest": "'$1'"}}]}}'; }
case "$*" in *"--revision 1"*) digest a;; *"--revision 2"*) digest b;; *) digest c;; esac
"""


def test_values_and_chart_are_those_of_the_revision_that_helm_finished(helm: Made):
    release = helm(HISTORY).release()
    assert (release.state, release.revision, release.finished) == (ReleaseState.FAILED, 3, 2)
    assert release.chart_version == "0.1.9"
    assert release.ever_finished


def test_the_revision_that_a_model_answered_in_is_found_by_its_configuration(helm: Made):
    past = helm(HISTORY).past("qwen", "a")
    assert past is not None
    assert (past.revision, past.chart_version) == (1, "0.1.8")
    assert helm(HISTORY).past("qwen", "z") is None
    assert helm(HISTORY).past("other", "a") is None


def test_what_a_chart_would_make_is_asked_of_helm_without_the_cluster(helm: Made):
    made = helm("""[ "$1 $2 $3" = "template vllm ./chart" ] && echo 'kind: Service\n---'; cat""")
    assert made.rendered(CHART, {"a": 1}) == [{"kind": "Service"}, {"a": 1}]


def test_without_the_lock_nothing_is_rolled_back(helm: Made, tmp_path: Path):
    def lost() -> None:
        raise LockLostError("lost")

    with pytest.raises(LockLostError):
        helm(f"touch {tmp_path}/started", lost).roll_back(1)
    assert not (tmp_path / "started").exists()


def test_a_repositorys_password_in_helms_words_is_not_repeated():
    error = failure("ns", "read the chart", "Error: http://me:canary@host is no chart repository")
    assert error.why == "http://***@host is no chart repository"


@pytest.mark.parametrize("deaf", ["", "trap '' TERM; "])
def test_a_login_program_that_hangs_goes_with_the_helm_that_waits_for_it(
    helm: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaf: str
):
    monkeypatch.setattr(helm_process, "_END_SECONDS", 0.2)
    made = helm(f"{deaf}sleep 777 & echo $! > {tmp_path}/child; wait")
    with pytest.raises(ReleaseUnavailableError, match="no end after 1 s"):
        made.described(CHART, seconds=1)
    assert is_gone(tmp_path)


def test_what_a_login_program_shows_beside_helms_own_words_is_not_repeated(helm: Made):
    words = "token: planted-canary is no good"
    said = f"E1126 exec.go: {words}\nError: Kubernetes cluster unreachable: exec: {words}"
    with pytest.raises(ReleaseUnavailableError) as caught:
        helm(f"echo '{said}' >&2; exit 1").upgrade(CHART, {})
    assert "planted-canary" not in str(caught.value)
    assert "token: ***" in str(caught.value)


def test_helm_keeps_the_names_of_objects_in_its_words(helm: Made):
    words = 'cannot patch "vllm-qwen3-deployment-vllm" with kind Deployment: Secret "a-2" not found'
    with pytest.raises(ReleaseError, match=r'"vllm-qwen3-deployment-vllm".*"a-2"'):
        helm(f"echo 'Error: UPGRADE FAILED: {words}' >&2; exit 1").upgrade(CHART, {})


def test_helm_gets_none_of_our_secrets(helm: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLLM_HF_TOKEN", "planted-canary")
    monkeypatch.setenv("VLLM_API_KEY", "planted-canary")
    monkeypatch.setenv("HELM_NAMESPACE", "other")
    helm(f"env > {tmp_path}/env; echo 'name: a'").described(CHART)
    environ = (tmp_path / "env").read_text()
    assert "planted-canary" not in environ
    assert "HELM_NAMESPACE=other" in environ

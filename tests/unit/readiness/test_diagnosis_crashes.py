"""Why a container ended, and from which end on that is definite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.readiness.diagnosing import found
from vllm_flows.diagnosis_categories import Category

if TYPE_CHECKING:
    from conftest import Kubernetes

UNKNOWN_FLAG = "vllm: error: unrecognized arguments: --no-such-flag\n"
KV_CACHE = "ValueError: No available memory for the cache blocks.\n"
STRANGE = "KeyError: 'rope'\n"


def test_what_the_next_run_meets_again_is_definite_at_the_first_crash(kubernetes: Kubernetes):
    for log, category in ((UNKNOWN_FLAG, Category.ENGINE_ARGUMENT), (KV_CACHE, Category.KV_CACHE)):
        for pod in (kubernetes.ended(1), kubernetes.backing_off(1, 1)):
            diagnosis = found(kubernetes, pod, log=log)
            assert (diagnosis.category, diagnosis.definite) == (category, True)
            assert log.strip() in diagnosis.detail


def test_weights_that_arrived_after_a_crash_are_given_another_start(kubernetes: Kubernetes):
    pod = kubernetes.ended(1)
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    ended["finishedAt"] = "2026-01-01T10:00:00Z"
    log = "LocalEntryNotFoundError: x\n"
    assert found(kubernetes, pod, log=log, filled="2026-01-01T09:59:59Z").definite
    diagnosis = found(kubernetes, pod, log=log, filled="2026-01-01T10:00:00Z")
    assert (diagnosis.category, diagnosis.definite) == (Category.WEIGHTS_MISSING, False)
    running = kubernetes.again(1)
    last = running["status"]["containerStatuses"][0]["lastState"]["terminated"]
    last["finishedAt"] = "2026-01-01T10:00:00Z"
    known = {"previous": log, "crashed_now": True}
    assert found(kubernetes, running, **known).definite
    diagnosis = found(kubernetes, running, **known, filled="2026-01-01T10:00:00Z")
    assert diagnosis.category is Category.LOADING
    assert found(kubernetes, pod, log=UNKNOWN_FLAG, filled="2026-01-01T10:00:00Z").definite


def test_exit_code_2_is_an_argument_even_without_a_log(kubernetes: Kubernetes):
    diagnosis = found(kubernetes, kubernetes.ended(2))
    assert (diagnosis.category, diagnosis.definite) == (Category.ENGINE_ARGUMENT, True)
    assert diagnosis.detail == "the container ended with exit code 2 (0 restarts)"


def test_a_crash_before_the_restart_counts_when_it_happened_while_we_watched(
    kubernetes: Kubernetes,
):
    pod = kubernetes.again(1)
    diagnosis = found(kubernetes, pod, previous=KV_CACHE, crashed_now=True)
    assert (diagnosis.category, diagnosis.definite) == (Category.KV_CACHE, True)
    earlier = found(kubernetes, pod, log="INFO Starting to load model x\n")
    assert (earlier.category, earlier.definite) == (Category.LOADING, False)
    assert earlier.summary == "loading weights (after 1 restarts)"


@pytest.mark.parametrize(
    ("restarts", "backs_off", "definite"),
    [(0, False, False), (1, True, False), (2, False, False), (2, True, True), (3, False, True)],
)
def test_a_crash_without_a_known_reason_is_definite_at_the_third(
    kubernetes: Kubernetes,
    restarts: int,
    backs_off: bool,  # noqa: FBT001 -- columns of the table
    definite: bool,  # noqa: FBT001 -- likewise
):
    pod = kubernetes.ended(1, restartCount=restarts)
    if backs_off:
        pod = kubernetes.backing_off(1, restarts)
    diagnosis = found(kubernetes, pod, log=STRANGE)
    assert (diagnosis.category, diagnosis.definite) == (Category.CRASH_LOOP, definite)
    assert "KeyError: 'rope'" in diagnosis.detail


def test_a_gpu_in_use_is_definite_at_the_second_crash_as_the_pod_before_may_be_ending(
    kubernetes: Kubernetes,
):
    log = (
        "ValueError: Free memory on device cuda:0 (52.81/95.01 GiB) on startup is less than "
        "desired GPU memory utilization (0.9, 85.51 GiB).\n"
    )
    first = found(kubernetes, kubernetes.ended(1), log=log)
    assert (first.category, first.definite) == (Category.GPU_IN_USE, False)
    again = found(kubernetes, kubernetes.again(1), previous=log, crashed_now=True)
    assert again.category is Category.LOADING
    for pod in (kubernetes.ended(1, restartCount=1), kubernetes.backing_off(1, 1)):
        second = found(kubernetes, pod, log=log)
        assert (second.category, second.definite) == (Category.GPU_IN_USE, True)


@pytest.mark.parametrize(("code", "reason"), [(137, "OOMKilled"), (1, "OOMKilled"), (137, "Error")])
def test_a_container_that_was_killed_for_memory_is_definite_at_the_second_time(
    kubernetes: Kubernetes, code: int, reason: str
):
    """With several processes, the kernel may kill one that is not the container's first."""
    first = found(kubernetes, kubernetes.ended(code, reason))
    assert (first.category, first.definite) == (Category.HOST_MEMORY, False)
    assert found(kubernetes, kubernetes.backing_off(code, 1, reason)).definite


def test_a_probe_that_ended_a_load_is_told_from_a_lack_of_memory(kubernetes: Kubernetes):
    """Messages of pkg/kubelet/kuberuntime/kuberuntime_manager.go and prober.go, 1.36."""
    unhealthy = kubernetes.event("Unhealthy", "Startup probe failed: connection refused", 60)
    killing = kubernetes.event("Killing", "Container vllm failed startup probe, will be restarted")
    for code in (137, 143, 0):
        diagnosis = found(kubernetes, kubernetes.backing_off(code, 1), unhealthy, killing)
        assert (diagnosis.category, diagnosis.definite) == (Category.PROBE_KILL, True)
        assert "startup probe" in diagnosis.summary
    assert found(kubernetes, kubernetes.ended(137), unhealthy).category is Category.HOST_MEMORY


def test_a_command_is_filled_in_so_that_it_can_be_run(kubernetes: Kubernetes):
    diagnosis = found(kubernetes, kubernetes.backing_off(1, 3), log=STRANGE)
    assert diagnosis.next_command == f"kubectl -n ns logs {kubernetes.pod_name} --previous"
    missing = found(kubernetes, kubernetes.ended(1), log="LocalEntryNotFoundError: x\n")
    assert "annotate pvc weights-q vllm-flows.io/weights-" in missing.next_command
    assert "-l vllm-flows.io/model=q" in missing.next_command

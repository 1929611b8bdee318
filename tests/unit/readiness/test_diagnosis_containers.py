"""Why a container is not made; each case names where its words come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.readiness.diagnosing import found
from vllm_flows.diagnosis_categories import Category

if TYPE_CHECKING:
    from conftest import Kubernetes

NOT_FOUND = (
    'rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/vllm/x:y": '
    'failed to resolve reference "docker.io/vllm/x:y": docker.io/vllm/x:y: not found'
)
NO_ACCESS = (
    "rpc error: code = Unknown desc = failed to resolve reference: pull access denied, repository "
    "does not exist or may require authorization: server message: insufficient_scope"
)
TIMED_OUT = (
    'rpc error: code = DeadlineExceeded desc = failed to do request: Head "https://registry": '
    "dial tcp 203.0.113.7:443: i/o timeout"
)


@pytest.mark.parametrize(
    ("reason", "message", "failures", "definite"),
    [
        ("ErrImagePull", NOT_FOUND, 1, False),
        ("ErrImagePull", NOT_FOUND, 2, True),
        ("ImagePullBackOff", f'Back-off pulling image "x": ErrImagePull: {NOT_FOUND}', 1, True),
        ("ErrImagePull", NO_ACCESS, 2, True),
        ("ErrImagePull", TIMED_OUT, 5, False),
        ("ImagePullBackOff", f'Back-off pulling image "x": ErrImagePull: {TIMED_OUT}', 5, False),
        ("InvalidImageName", "Failed to apply default image tag: couldn't parse image", 0, True),
        (
            "ErrImageNeverPull",
            'image "x" is not present with pull policy of Never',
            0,
            True,
        ),
    ],
)
def test_a_registry_is_believed_at_its_second_refusal_and_its_silence_never(
    kubernetes: Kubernetes,
    reason: str,
    message: str,
    failures: int,
    definite: bool,  # noqa: FBT001 -- a column of the table
):
    """Messages of containerd; reasons of pkg/kubelet/images."""
    event = kubernetes.event("Failed", f'Failed to pull image "x": {message}', failures)
    diagnosis = found(kubernetes, kubernetes.waiting(reason, message), *[event] * bool(failures))
    assert (diagnosis.category, diagnosis.definite) == (Category.IMAGE, definite)
    assert "vllm/vllm-openai:v0.32.0" in diagnosis.summary


def test_before_1_32_the_reason_of_a_failed_pull_is_in_the_events_alone(kubernetes: Kubernetes):
    pod = kubernetes.waiting("ImagePullBackOff", 'Back-off pulling image "x"')
    event = kubernetes.event("Failed", f'Failed to pull image "x": {NOT_FOUND}')
    diagnosis = found(kubernetes, pod, event)
    assert diagnosis.definite
    assert "not found" in diagnosis.detail


@pytest.mark.parametrize(
    ("message", "category"),
    [
        ('secret "vllm-api-key" not found', Category.REFERENCE_MISSING),
        ('configmap "x" not found', Category.REFERENCE_MISSING),
        ("couldn't find key api-key in Secret vllm/vllm-api-key", Category.REFERENCE_MISSING),
        ("container has runAsNonRoot and image will run as root", Category.CONTAINER),
    ],
)
def test_a_missing_secret_settles_as_somebody_may_be_making_it(
    kubernetes: Kubernetes, message: str, category: Category
):
    """Messages of pkg/kubelet/kubelet_pods.go and kuberuntime."""
    diagnosis = found(kubernetes, kubernetes.waiting("CreateContainerConfigError", message))
    assert (diagnosis.category, diagnosis.definite) == (category, False)
    assert diagnosis.settles_after == 20
    assert message in diagnosis.summary


CREATING = [
    (
        "pkg/controller/volume/attachdetach",
        "FailedAttachVolume",
        'Multi-Attach error for volume "pvc-7f" Volume is already used by pod(s) vllm-q-old',
        Category.CLAIM_ELSEWHERE,
        None,
    ),
    (
        "pkg/volume/secret",
        "FailedMount",
        'MountVolume.SetUp failed for volume "key" : secret "x" not found',
        Category.REFERENCE_MISSING,
        20,
    ),
    (
        "pkg/kubelet/util/manager",
        "FailedMount",
        'MountVolume.SetUp failed for volume "a" : failed to sync configmap cache: timed out',
        Category.VOLUME,
        None,
    ),
    (
        "NVIDIA GPU operator, troubleshooting",
        "FailedCreatePodSandBox",
        (
            "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox "
            'runtime: no runtime for "nvidia" is configured'
        ),
        Category.RUNTIME_CLASS,
        20,
    ),
    (
        "containernetworking",
        "FailedCreatePodSandBox",
        'Failed to create pod sandbox: plugin type="cni" failed (add)',
        Category.CONTAINER,
        None,
    ),
    ("pkg/kubelet/images", "Pulling", 'Pulling image "x"', Category.LOADING, None),
]


@pytest.mark.parametrize(("_source", "reason", "message", "category", "settles"), CREATING)
def test_events_tell_what_a_pod_waits_for_whose_container_is_not_made(
    kubernetes: Kubernetes,
    _source: str,
    reason: str,
    message: str,
    category: Category,
    settles: float | None,
):
    pod = kubernetes.waiting("ContainerCreating")
    diagnosis = found(kubernetes, pod, kubernetes.event(reason, message))
    assert (diagnosis.category, diagnosis.settles_after) == (category, settles)
    assert diagnosis.detail == message


def test_a_mount_that_failed_before_the_image_was_pulled_is_over(kubernetes: Kubernetes):
    events = [kubernetes.event("FailedMount", "x"), kubernetes.event("Pulling", "Pulling image x")]
    diagnosis = found(kubernetes, kubernetes.waiting("ContainerCreating"), *events)
    assert diagnosis.summary == "pulling the image"


RESERVED = (
    'failed to reserve container name "vllm_q_ns_uid_0"; check if another CreateContainer request '
    'is in progress: name "vllm_q_ns_uid_0" is reserved for "8b21a9870e3e"'
)
CRI_O_RESERVED = "error reserving ctr name k8s_vllm_q_ns_uid_0 for id 8b21a987: name is reserved"
NO_SUCH_COMMAND = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
    'exec: "vllm": executable file not found in $PATH'
)


@pytest.mark.parametrize(
    ("message", "settles"),
    [
        ("context deadline exceeded", None),
        (RESERVED, None),
        (CRI_O_RESERVED, None),
        (NO_SUCH_COMMAND, 20),
    ],
)
def test_a_container_whose_making_takes_its_time_is_waited_for(
    kubernetes: Kubernetes, message: str, settles: float | None
):
    """Messages of containerd/internal/cri/server and cri-o/internal/registrar.

    So they follow each other in containerd/containerd#4604 and cri-o/cri-o#7010.
    """
    for restarts in (0, 3):
        pod = kubernetes.waiting("CreateContainerError", message, restartCount=restarts)
        diagnosis = found(kubernetes, pod)
        assert (diagnosis.category, diagnosis.settles_after) == (Category.CONTAINER, settles)
        assert diagnosis.definite == (settles is not None and restarts == 3)

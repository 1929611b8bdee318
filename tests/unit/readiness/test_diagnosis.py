"""From pods, events and logs to a diagnosis; each case names where its words come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from vllm_flows.diagnosis import Evidence, diagnose, questions, rollout_complete
from vllm_flows.diagnosis_categories import Category
from vllm_flows.diagnosis_crashes import PodEvidence

if TYPE_CHECKING:
    from conftest import Kubernetes

COMPLETE = {"updatedReplicas": 1, "readyReplicas": 1, "replicas": 1}


def test_a_rollout_is_complete_when_all_replicas_are_new_and_ready(kubernetes: Kubernetes):
    assert rollout_complete(kubernetes.deployment(**COMPLETE))


@pytest.mark.parametrize(
    "change",
    [
        {"observedGeneration": 1},
        {"updatedReplicas": 0},
        {"readyReplicas": 0},
        {"replicas": 2},
    ],
)
def test_a_rollout_is_not_complete_before(kubernetes: Kubernetes, change: dict[str, int]):
    assert not rollout_complete(kubernetes.deployment(**{**COMPLETE, **change}))


def test_a_model_with_no_replicas_is_complete_when_none_is_left(kubernetes: Kubernetes):
    assert rollout_complete(kubernetes.deployment(0))


def found(
    kubernetes: Kubernetes, pod: dict[str, Any], *events: dict[str, Any], **evidence: Any
) -> Any:
    known = PodEvidence(events=events, **evidence)
    return diagnose(kubernetes.deployment(), [pod], Evidence(pods={kubernetes.pod_name: known}))


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


REFUSALS = [
    (
        "plugin/pkg/admission/resourcequota",
        (
            'pods "x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, '
            "used: "
            "requests.nvidia.com/gpu=4, limited: requests.nvidia.com/gpu=4"
        ),
        Category.QUOTA,
        True,
    ),
    (
        "pod-security-admission",
        (
            'pods "x" is forbidden: violates PodSecurity "restricted:latest": '
            "allowPrivilegeEscalation != false"
        ),
        Category.POD_SECURITY,
        True,
    ),
    (
        "plugin/pkg/admission/runtimeclass",
        'pods "x" is forbidden: pod rejected: RuntimeClass "nvidia" not found',
        Category.RUNTIME_CLASS,
        True,
    ),
    (
        "plugin/pkg/admission/serviceaccount",
        (
            'pods "x" is forbidden: error looking up service account ns/sa: serviceaccount "sa" '
            "not "
            "found"
        ),
        Category.REFUSED,
        True,
    ),
    (
        "apiserver/pkg/admission/plugin/webhook",
        'Internal error occurred: failed calling webhook "x": context deadline exceeded',
        Category.REFUSED,
        False,
    ),
]


@pytest.mark.parametrize(("_source", "message", "category", "definite"), REFUSALS)
def test_pods_that_the_cluster_refuses_to_create_are_a_definite_failure(
    kubernetes: Kubernetes,
    _source: str,
    message: str,
    category: Category,
    definite: bool,  # noqa: FBT001 -- a column of the table
):
    deployment = kubernetes.deployment(conditions=[kubernetes.refused(message)])
    diagnosis = diagnose(deployment, [])
    assert (diagnosis.category, diagnosis.definite) == (category, definite)
    assert diagnosis.detail == message


def test_a_refusal_of_the_template_before_no_longer_counts(kubernetes: Kubernetes):
    failure = kubernetes.refused("RuntimeClass x not found")
    before = kubernetes.deployment(observedGeneration=1, conditions=[failure])
    assert diagnose(before, []).category is Category.STARTING
    # The condition is also shown when an old ReplicaSet alone has it (getReplicaFailures).
    now = kubernetes.deployment(conditions=[failure])
    pod = kubernetes.with_container(state={"running": {}})
    assert diagnose(now, [pod]).category is Category.LOADING


def test_a_quota_that_pods_on_their_way_out_still_use_is_waited_for(kubernetes: Kubernetes):
    deployment = kubernetes.deployment(conditions=[kubernetes.refused("exceeded quota: gpus")])
    leaving = kubernetes.pod("old")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not diagnose(deployment, [leaving]).definite


def test_a_node_that_does_not_answer_is_told_by_its_condition_or_an_event(kubernetes: Kubernetes):
    """Its pods' containers stay ready in the status; Kubernetes takes Ready from the pod alone."""
    conditions = [{"type": "Ready", "status": "False"}]
    pod = kubernetes.pod(
        conditions=conditions,
        containers=[{"name": "vllm", "ready": True, "state": {"running": {}}}],
    )
    lost = Evidence(nodes={"gpu-node-1": kubernetes.node("gpu-node-1", ready="Unknown")})
    diagnosis = diagnose(kubernetes.deployment(), [pod], lost)
    assert (diagnosis.category, diagnosis.definite) == (Category.NODE_LOST, False)
    assert diagnosis.next_command == "kubectl describe node gpu-node-1"
    event = kubernetes.event("NodeNotReady", "Node is not ready")
    assert found(kubernetes, pod, event).category is Category.NODE_LOST
    well = Evidence(nodes={"gpu-node-1": kubernetes.node("gpu-node-1")})
    assert diagnose(kubernetes.deployment(), [pod], well).category is Category.LOADING


def evicted(kubernetes: Kubernetes, number: int) -> dict[str, Any]:
    """Return what the kubelet leaves of a pod (pkg/kubelet/eviction/helpers.go)."""
    message = (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. "
        "Container vllm was using 40Gi, request is 16Gi, has larger consumption of memory. "
    )
    return kubernetes.pod(f"gone-{number}", phase="Failed", reason="Evicted", message=message)


def test_an_eviction_is_told_and_the_third_is_definite(kubernetes: Kubernetes):
    deployment = kubernetes.deployment()
    one = diagnose(deployment, [evicted(kubernetes, 1)])
    assert (one.category, one.definite) == (Category.EVICTED, False)
    assert "The node was low on resource: memory" in one.detail
    three = [evicted(kubernetes, number) for number in range(3)]
    again = diagnose(deployment, [*three, kubernetes.with_container(state={"running": {}})])
    assert (again.category, again.definite) == (Category.EVICTED, True)


def test_an_eviction_stays_in_the_detail_while_the_next_pod_loads(kubernetes: Kubernetes):
    pods = [evicted(kubernetes, 1), kubernetes.with_container(state={"running": {}})]
    diagnosis = diagnose(kubernetes.deployment(), pods)
    assert diagnosis.category is Category.LOADING
    assert "Evicted" in diagnosis.detail


def test_a_definite_failure_of_one_replica_is_told_before_the_waiting_of_another(
    kubernetes: Kubernetes,
):
    crashed, waits = kubernetes.ended(2), kubernetes.unscheduled("", "other")
    assert diagnose(kubernetes.deployment(2), [waits, crashed]).pod == kubernetes.pod_name


def test_what_was_wrong_with_a_pod_of_the_template_before_no_longer_counts(kubernetes: Kubernetes):
    old = kubernetes.backing_off(2, 5)
    old["metadata"]["annotations"] = {"digest": "old"}
    assert diagnose(kubernetes.deployment(), [old]).category is Category.STARTING


def test_a_template_changed_by_hand_is_known_by_its_hash(kubernetes: Kubernetes):
    old, new = kubernetes.backing_off(2, 5), kubernetes.with_container(state={"running": {}})
    new["metadata"] |= {
        "name": "new",
        "labels": {"model": "q", "pod-template-hash": "55"},
        "creationTimestamp": "2026-01-02T00:00:00Z",
    }
    assert diagnose(kubernetes.deployment(), [old, new]).pod == "new"


def test_a_pod_on_its_way_out_is_no_reason(kubernetes: Kubernetes):
    leaving = kubernetes.ended(2)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert diagnose(kubernetes.deployment(), [leaving]).category is Category.STARTING


def test_an_init_container_that_is_over_is_no_crash(kubernetes: Kubernetes):
    pod = kubernetes.with_container(state={"running": {}})
    over = {"name": "init", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    pod["status"]["initContainerStatuses"] = [over]
    assert diagnose(kubernetes.deployment(), [pod]).category is Category.LOADING


def test_a_pod_that_simply_loads_is_asked_for_its_log_alone(kubernetes: Kubernetes):
    (question,) = questions(
        kubernetes.deployment(), [kubernetes.with_container(state={"running": {}})]
    )
    assert (question.events, question.nodes, question.urgent) == (False, False, False)
    assert (question.container, question.lines) == ("vllm", 20)


def test_nothing_is_asked_about_a_ready_pod_or_one_that_is_leaving(kubernetes: Kubernetes):
    ready = kubernetes.pod(conditions=[{"type": "Ready", "status": "True"}])
    leaving = kubernetes.ended(1)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert questions(kubernetes.deployment(), [ready, leaving]) == []


def test_a_command_is_filled_in_so_that_it_can_be_run(kubernetes: Kubernetes):
    diagnosis = found(kubernetes, kubernetes.backing_off(1, 3), log=STRANGE)
    assert diagnosis.next_command == f"kubectl -n ns logs {kubernetes.pod_name} --previous"
    missing = found(kubernetes, kubernetes.ended(1), log="LocalEntryNotFoundError: x\n")
    assert "annotate pvc weights-q vllm-flows.io/weights-" in missing.next_command
    assert "-l vllm-flows.io/model=q" in missing.next_command

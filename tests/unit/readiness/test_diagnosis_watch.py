from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from vllm_flows.diagnosis_categories import Category
from vllm_flows.diagnosis_watch import ReadinessWatch
from vllm_flows.errors import NoRightError

if TYPE_CHECKING:
    from conftest import Kubernetes

GPU = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."


class FakeCluster:
    """What the watch asks of a cluster, counted."""

    def __init__(self) -> None:
        self.pods: list[Any] = []
        self.others: list[Any] = []
        self.jobs: list[Any] = []
        self.events: list[Any] = []
        self.logs = {"current": "", "previous": ""}
        self.forbidden: set[str] = set()
        self.asked: list[str] = []

    def find(self, kind: str, selector: str = "", *, fields: str = "") -> list[Any]:
        self.asked.append(kind)
        if kind in self.forbidden:
            raise NoRightError(f"no right to list {kind}")
        assert bool(fields) == (kind == "Event")
        if kind == "Job":
            assert selector == "vllm-flows.io/model=q"
            return self.jobs
        if kind == "Event":
            return self.events
        if kind != "Pod":
            return []
        return self.pods if selector else [*self.pods, *self.others]

    def log(self, pod: str, container: str, lines: int, *, previous: bool = False) -> str:
        assert pod
        assert container == "vllm"
        self.asked.append(f"log {lines}")
        return self.logs["previous" if previous else "current"]


class Fixture:
    """A watch on a fake cluster, and time that passes when told to."""

    def __init__(self, *, autoscaling: bool = False) -> None:
        self.cluster, self.time = FakeCluster(), 100.0
        self.watch = ReadinessWatch(
            self.cluster,  # type: ignore[arg-type]  # it has what is asked of it
            lambda: self.time,
            autoscaling=autoscaling,
        )

    def look(self, deployment: Any, after: float = 1.0) -> Any:
        self.time += after
        self.cluster.asked.clear()
        return self.watch.diagnose(deployment)


@pytest.fixture
def fixture() -> Fixture:
    return Fixture()


def test_a_lack_of_gpus_is_definite_after_it_lasted_twenty_seconds(
    fixture: Fixture, kubernetes: Kubernetes
):
    fixture.cluster.pods = [kubernetes.unscheduled(GPU)]
    deployment = kubernetes.deployment()
    assert not fixture.look(deployment).definite
    assert not fixture.look(deployment, after=19).definite
    assert fixture.look(deployment).definite


def test_a_pod_that_ends_anywhere_in_the_namespace_starts_the_twenty_seconds_anew(
    fixture: Fixture, kubernetes: Kubernetes
):
    fixture.cluster.pods = [kubernetes.unscheduled(GPU)]
    leaving = kubernetes.pod("of another model")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    deployment = kubernetes.deployment()
    fixture.look(deployment)
    fixture.cluster.others = [leaving]
    assert not fixture.look(deployment, after=60).definite
    fixture.cluster.others = []
    assert not fixture.look(deployment).definite
    assert fixture.look(deployment, after=20).definite


def test_a_node_that_an_autoscaler_adds_is_waited_for(fixture: Fixture, kubernetes: Kubernetes):
    fixture.cluster.pods = [kubernetes.unscheduled(GPU)]
    fixture.cluster.events = [kubernetes.event("TriggeredScaleUp", "pod triggered scale-up")]
    deployment = kubernetes.deployment()
    fixture.look(deployment)
    assert not fixture.look(deployment, after=600).definite
    fixture.cluster.events = []
    assert not fixture.look(deployment).definite
    assert fixture.look(deployment, after=20).definite


def test_with_autoscaling_a_lack_of_room_is_waited_for(kubernetes: Kubernetes):
    fixture = Fixture(autoscaling=True)
    fixture.cluster.pods = [kubernetes.unscheduled(GPU)]
    fixture.look(kubernetes.deployment())
    assert not fixture.look(kubernetes.deployment(), after=600).definite


def test_a_pod_that_loads_costs_one_list_a_look_and_its_log_now_and_then(
    fixture: Fixture, kubernetes: Kubernetes
):
    fixture.cluster.pods = [kubernetes.with_container(state={"running": {}})]
    fixture.cluster.logs["current"] = "INFO 01-01 00:00:00 Starting to load model x\n"
    deployment = kubernetes.deployment()
    assert fixture.look(deployment).summary == "loading weights"
    assert fixture.cluster.asked == ["Pod", "log 20"]
    for _ in range(4):
        assert fixture.look(deployment).summary == "loading weights"
        assert fixture.cluster.asked == ["Pod"]
    fixture.look(deployment)
    assert fixture.cluster.asked == ["Pod", "log 20"]


def test_a_crash_during_the_wait_is_told_by_the_log_of_the_run_before(
    fixture: Fixture, kubernetes: Kubernetes
):
    fixture.cluster.pods = [kubernetes.with_container(state={"running": {}})]
    fixture.cluster.logs["previous"] = "torch.OutOfMemoryError: CUDA out of memory.\n"
    deployment = kubernetes.deployment()
    assert not fixture.look(deployment).definite
    fixture.cluster.pods = [kubernetes.again(1)]
    found = fixture.look(deployment)
    assert (found.category, found.definite) == (Category.GPU_MEMORY, True)


def test_a_crash_before_the_wait_is_not_held_against_a_pod_that_runs_again(
    fixture: Fixture, kubernetes: Kubernetes
):
    fixture.cluster.pods = [kubernetes.again(1, restarts=4)]
    fixture.cluster.logs["previous"] = "torch.OutOfMemoryError: CUDA out of memory.\n"
    found = fixture.look(kubernetes.deployment())
    assert (found.category, found.definite) == (Category.LOADING, False)


def test_the_restart_after_a_crash_before_the_wait_is_not_another_crash(
    fixture: Fixture, kubernetes: Kubernetes
):
    fixture.cluster.logs["previous"] = "torch.OutOfMemoryError: CUDA out of memory.\n"
    fixture.cluster.pods = [kubernetes.backing_off(1, 1)]
    fixture.look(kubernetes.deployment())
    fixture.cluster.pods = [kubernetes.again(1, restarts=2)]
    assert fixture.look(kubernetes.deployment()).category is Category.LOADING
    fixture.cluster.pods = [kubernetes.again(1, restarts=3)]
    assert fixture.look(kubernetes.deployment()).category is Category.GPU_MEMORY


def test_without_the_right_to_read_events_and_nodes_there_is_still_a_diagnosis(
    fixture: Fixture, kubernetes: Kubernetes
):
    fixture.cluster.forbidden = {"Event", "Node"}
    fixture.cluster.pods = [kubernetes.unscheduled(GPU)]
    assert fixture.look(kubernetes.deployment()).category is Category.NO_FREE_GPU
    fixture.cluster.pods = [kubernetes.backing_off(1, 2)]
    assert fixture.look(kubernetes.deployment()).category is Category.CRASH_LOOP


def test_at_most_three_replicas_are_asked_about(fixture: Fixture, kubernetes: Kubernetes):
    fixture.cluster.pods = [kubernetes.backing_off(1, 2) for _ in range(20)]
    fixture.look(kubernetes.deployment(20))
    assert fixture.cluster.asked.count("Event") == 3


def test_weights_that_a_job_brought_after_the_crash_are_waited_for(
    fixture: Fixture, kubernetes: Kubernetes
):
    pod = kubernetes.backing_off(1, 2)
    ended = pod["status"]["containerStatuses"][0]["lastState"]["terminated"]
    ended["finishedAt"] = "2026-01-01T10:00:00Z"
    fixture.cluster.pods = [pod]
    fixture.cluster.logs["current"] = "LocalEntryNotFoundError: x\n"
    assert fixture.look(kubernetes.deployment()).definite
    fixture.cluster.jobs = [{"status": {"completionTime": "2026-01-01T10:01:00Z"}}, {}]
    found = fixture.look(kubernetes.deployment())
    assert (found.category, found.definite) == (Category.WEIGHTS_MISSING, False)


MULTI_ATTACH = 'Multi-Attach error for volume "pvc-7f" Volume is already used by pod(s) q-old'


def without_the_volume(fixture: Fixture, kubernetes: Kubernetes, old: Any) -> None:
    """Let the new pod wait on gpu-node-1 for a volume that the old one holds on another node."""
    waiting = kubernetes.waiting("ContainerCreating")
    fixture.cluster.pods = [waiting, old]
    fixture.cluster.events = [kubernetes.event("FailedAttachVolume", MULTI_ATTACH)]


def an_old_pod(kubernetes: Kubernetes, node: str = "gpu-node-2") -> Any:
    old = kubernetes.pod("q-old", node=node)
    old["metadata"] |= {"annotations": {"digest": "old"}}
    return old


def test_a_volume_that_an_old_pod_on_another_node_keeps_is_waited_for_twenty_seconds(
    fixture: Fixture, kubernetes: Kubernetes
):
    without_the_volume(fixture, kubernetes, an_old_pod(kubernetes))
    deployment = kubernetes.deployment()
    assert not fixture.look(deployment).definite
    told = fixture.look(deployment, after=20)
    assert (told.category, told.definite) == (Category.CLAIM_ELSEWHERE, True)
    assert told.summary == "its volume is in use on gpu-node-2, where pod q-old stays"
    assert "nodeSelector" in told.next_command
    assert "ReadWriteMany" in told.next_command


def test_a_volume_is_waited_for_while_the_old_pod_ends(fixture: Fixture, kubernetes: Kubernetes):
    old = an_old_pod(kubernetes)
    old["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    without_the_volume(fixture, kubernetes, old)
    fixture.look(kubernetes.deployment())
    told = fixture.look(kubernetes.deployment(), after=60)
    assert (told.category, told.definite) == (Category.CLAIM_ELSEWHERE, False)


def test_a_volume_that_a_pod_on_the_same_node_uses_is_waited_for(
    fixture: Fixture, kubernetes: Kubernetes
):
    without_the_volume(fixture, kubernetes, an_old_pod(kubernetes, node="gpu-node-1"))
    fixture.look(kubernetes.deployment())
    assert not fixture.look(kubernetes.deployment(), after=60).definite


def test_a_pod_that_mounts_other_claims_keeps_no_volume(fixture: Fixture, kubernetes: Kubernetes):
    old = an_old_pod(kubernetes)
    old["spec"]["volumes"] = []
    without_the_volume(fixture, kubernetes, old)
    fixture.look(kubernetes.deployment())
    assert not fixture.look(kubernetes.deployment(), after=60).definite


@pytest.mark.parametrize("status", [{}, {"updatedReplicas": 1, "replicas": 2}])
def test_a_paused_deployment_replaces_no_pods(
    fixture: Fixture, kubernetes: Kubernetes, status: dict[str, int]
):
    paused = kubernetes.deployment(**status)
    paused["spec"]["paused"] = True
    told = fixture.look(paused)
    assert (told.category, told.definite) == (Category.PAUSED, True)
    assert told.next_command.startswith("kubectl -n ns rollout resume deployment/vllm-q-deployment")


def test_a_paused_deployment_that_has_its_pods_is_waited_for(
    fixture: Fixture, kubernetes: Kubernetes
):
    paused = kubernetes.deployment(updatedReplicas=1, replicas=1)
    paused["spec"]["paused"] = True
    fixture.cluster.pods = [kubernetes.with_container(state={"running": {}})]
    assert fixture.look(paused).category is Category.LOADING

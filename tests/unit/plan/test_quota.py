"""What a ResourceQuota forbids of new replicas, of replacements and of the weights Job."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_flows.capacity import Wanted, find_room, forbidden_by_level, unknown_room
from vllm_flows.errors import QuotaError
from vllm_flows.models import Model
from vllm_flows.observed import MODEL_LABEL, ClusterState, Release, ReleaseState, Surroundings
from vllm_flows.settings import load_settings
from vllm_flows.weights_place import no_room_for_weights

SETTINGS = load_settings(namespace="vllm", storage_access_mode="ReadWriteMany")
GPUS = "requests.nvidia.com/gpu"


def a_quota(hard: dict[str, str], used: dict[str, str] | None = None, **spec: Any) -> Any:
    status = {"hard": hard, "used": used or {}}
    return {"metadata": {"name": "team"}, "spec": {"hard": hard, **spec}, "status": status}


def a_model(name: str = "q", **fields: Any) -> Model:
    return Model(name=name, modelURL="o/q", requestCPU=1, requestMemory="1Gi", **fields)


def a_state(*quotas: Any, nodes: Any = None, pods: Any = None) -> ClusterState:
    around = Surroundings(nodes=nodes, pods=pods, quotas=quotas)
    return ClusterState(Release(ReleaseState.ABSENT), around=around)


def problem(state: ClusterState, *models: Model, stays: Any = None) -> Any:
    wanted = [Wanted(model, model.replica_count) for model in models or (a_model(),)]
    found = find_room(wanted, stays or {}, SETTINGS, state)
    return {name: place.problem for name, place in found.items() if place.problem}


@pytest.mark.parametrize(
    ("hard", "used", "words"),
    [
        ({GPUS: "4"}, {GPUS: "4"}, f"leaves 0 {GPUS}, 1 needed"),
        ({"cpu": "8"}, {"cpu": "7500m"}, "leaves 0.500 cpu, 1 needed"),
        ({"requests.memory": "2Gi"}, {"requests.memory": "1.5Gi"}, "leaves 0.5Gi requests.memory"),
        ({"pods": "3"}, {"pods": "3"}, "leaves 0 pods, 1 needed"),
        ({"count/pods": "3"}, {"count/pods": "9"}, "leaves 0 count/pods"),
    ],
)
def test_a_quota_without_room_is_a_problem_with_numbers_also_where_no_node_can_be_seen(
    make: Any, hard: dict[str, str], used: dict[str, str], words: str
):
    for nodes in (None, (make.node(),)):
        (found,) = problem(a_state(a_quota(hard, used), nodes=nodes)).values()
        assert isinstance(found, QuotaError)
        assert f"ResourceQuota team {words}" in found.why
        assert "kubectl -n vllm describe resourcequota" in found.next_command


@pytest.mark.parametrize(
    "quota",
    [
        a_quota({GPUS: "1", "cpu": "1", "memory": "1Gi", "pods": "1", "configmaps": "0"}),
        a_quota({"pods": "0"}, scopes=["Terminating"]),
        a_quota({"pods": "0"}, scopeSelector={"matchExpressions": [{}]}),
    ],
)
def test_a_quota_with_room_or_for_other_pods_is_no_problem(quota: Any):
    assert problem(a_state(quota)) == {}


def test_a_quota_that_our_pods_are_in_by_its_scope_counts():
    assert problem(a_state(a_quota({"pods": "0"}, scopes=["NotTerminating"])))


def test_models_share_what_a_quota_leaves():
    state = a_state(a_quota({"pods": "2"}))
    assert list(problem(state, a_model("a", replicaCount=2), a_model("b"))) == ["b"]


def test_what_ends_in_the_run_is_given_back_to_the_quota(make: Any):
    labels = {"model": "old", "helm-release-name": "vllm"}
    pod = make.pod("gpu-1", 2, namespace="vllm", labels=labels)
    quota = a_quota({GPUS: "2"}, {GPUS: "2"})
    state = a_state(quota, nodes=(make.node(),), pods=(pod, make.pod("gpu-1", 4)))
    assert problem(state)
    assert not problem(state, a_model(replicaCount=2), stays={"old": 0})
    assert problem(state, a_model(replicaCount=3), stays={"old": 0})


def test_where_pods_that_end_cannot_be_seen_nothing_is_decided_by_a_quota():
    assert problem(a_state(a_quota({"pods": "0"})), stays={"old": 0}) == {}


def test_the_weights_job_counts_in_the_quota_too_unless_it_is_at_work(make: Any):
    state = a_state(a_quota({"requests.memory": "512Mi"}), nodes=(make.node(),), pods=())
    found = no_room_for_weights(a_model(), ("gpu-1",), SETTINGS, state)
    assert isinstance(found, QuotaError)
    job = make.pod("gpu-1", 0, namespace="vllm", labels={MODEL_LABEL: "q"})
    state = a_state(a_quota({"pods": "1"}, {"pods": "1"}), nodes=(make.node(),), pods=(job,))
    assert no_room_for_weights(a_model(), ("gpu-1",), SETTINGS, state) is None


@pytest.mark.parametrize(
    ("words", "what", "command"),
    [
        (
            "failed quota: q: must specify limits.cpu for: weights",
            "the weights pod: the namespace's quota demands a limit",
            "kubectl -n vllm describe resourcequota",
        ),
        (
            'violates PodSecurity "restricted:latest": runAsNonRoot != true',
            "the weights pod: the namespace's Pod Security level forbids",
            "VLLM_WEIGHTS_USER=1000",
        ),
        (
            "maximum memory usage per Container is 1Gi, but limit is 2Gi",
            "the weights pod: the cluster refuses the pod",
            "get events",
        ),
    ],
)
def test_a_weights_pod_that_the_api_would_refuse_blocks_the_model(
    words: str, what: str, command: str
):
    around = Surroundings(weights_refusal=f'pods "x" is forbidden: {words}')
    state = ClusterState(Release(ReleaseState.ABSENT), around=around)
    found = no_room_for_weights(a_model(), (), SETTINGS, state)
    assert found
    assert found.what.startswith(what)
    assert words in found.why
    assert command in found.next_command


@pytest.mark.parametrize("words", ["", "exceeded quota: q", "failed calling webhook"])
def test_a_refusal_that_may_pass_blocks_nothing(words: str):
    state = ClusterState(Release(ReleaseState.ABSENT), around=Surroundings(weights_refusal=words))
    assert no_room_for_weights(a_model(), (), SETTINGS, state) is None


def test_quotas_that_may_not_be_read_are_said():
    (note,) = unknown_room(Surroundings(nodes=(), pods=(), storage_classes=(), quotas=None))
    assert note.startswith("no right to list resourcequotas: ")


def test_a_namespace_that_enforces_restricted_takes_no_engine():
    found = forbidden_by_level(a_model(), SETTINGS, Surroundings(pod_security="restricted"))
    assert found
    assert "namespace vllm" in found.next_command
    for level in ("", "baseline", "privileged"):
        assert not forbidden_by_level(a_model(), SETTINGS, Surroundings(pod_security=level))
    stopped = a_model(replicaCount=0)
    assert not forbidden_by_level(stopped, SETTINGS, Surroundings(pod_security="restricted"))

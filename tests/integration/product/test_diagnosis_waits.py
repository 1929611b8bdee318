"""What may mend itself is waited for, on a real API server, scheduler and controllers.

Simulated are the nodes' kubelet and the engine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.product.diagnosis_bench import NAME, Bench, Spec, claim, mounting, with_gpus
from vllm_flows.diagnosis_categories import Category


def unbound(bench: Bench) -> Spec:
    bench.apply(claim("weights-q"))
    return mounting(bench, "weights-q")


@contextmanager
def tainted(bench: Bench, key: str) -> Iterator[None]:
    """Keep pods off both nodes while the block runs."""
    nodes = ("gpu-node-1", "gpu-node-2")
    bench.kubectl("taint", "nodes", *nodes, f"{key}=true:NoSchedule")
    try:
        yield
    finally:
        bench.kubectl("taint", "nodes", *nodes, f"{key}-")


def loading(bench: Bench) -> Spec:
    """Return the spec of an engine that loads for longer than a test looks."""
    environ = [{"name": "VLLM_SANDBOX_LOAD_SECONDS", "value": "300"}]
    probe = {"httpGet": {"path": "/health", "port": 8000}, "failureThreshold": 1000}
    return bench.serve(env=environ, startupProbe=probe)


def test_a_taint_is_named(bench: Bench):
    with tainted(bench, "team"):
        bench.deploy(bench.serve())
        assert "team:NoSchedule" in bench.told(Category.TAINT).summary


def test_nodes_that_come_up_are_waited_for(bench: Bench):
    with tainted(bench, "node.cilium.io/agent-not-ready"):
        bench.deploy(loading(bench))
        found = bench.told(Category.TAINT, definite=False)
        assert "node.cilium.io/agent-not-ready:NoSchedule" in found.summary
        assert found.settles_after is None
    bench.told(Category.LOADING, definite=False)


def test_a_node_that_an_autoscaler_adds_is_waited_for_until_it_says_no(bench: Bench):
    """The sandbox has no autoscaler: the events are the cluster autoscaler's."""
    bench.deploy(with_gpus(bench, 9))
    bench.told(Category.NO_FREE_GPU, definite=False)
    (pod,) = _pods(bench, 1)
    says(bench, pod, "TriggeredScaleUp", "2026-01-01T10:00:00Z")
    found = bench.told(Category.NO_FREE_GPU, definite=False)
    assert found.settles_after is None
    assert "an autoscaler makes room" in found.summary
    says(bench, pod, "NotTriggerScaleUp", "2026-01-01T10:05:00Z")
    bench.told(Category.NO_FREE_GPU)


def says(bench: Bench, pod: str, reason: str, moment: str) -> None:
    """Write an event of the cluster autoscaler on a pod."""
    about = {"apiVersion": "v1", "kind": "Pod", "name": pod, "namespace": bench.namespace}
    bench.apply(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{pod}.{reason.lower()}"},
            "involvedObject": about,
            "reason": reason,
            "message": reason,
            "type": "Normal",
            "source": {"component": "cluster-autoscaler"},
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }
    )


def test_a_cordoned_cluster_is_waited_for(bench: Bench):
    try:
        bench.kubectl("cordon", "gpu-node-1", "gpu-node-2")
        bench.deploy(bench.serve())
        assert bench.told(Category.TAINT, definite=False).settles_after is None
    finally:
        bench.kubectl("uncordon", "gpu-node-1", "gpu-node-2")


def test_a_claim_that_may_yet_be_bound_is_waited_for(bench: Bench):
    bench.deploy(unbound(bench))
    found = bench.told(Category.CLAIM_UNBOUND, definite=False)
    assert found.next_command == f"kubectl -n {bench.namespace} describe pvc weights-q"
    assert found.settles_after is None


def test_a_crash_of_unknown_reason_is_told_at_once_and_for_certain_at_the_third(bench: Bench):
    bench.deploy(bench.says("KeyError: 'rope'"))
    assert "KeyError: 'rope'" in bench.told(Category.CRASH_LOOP, definite=False).detail
    assert bench.told(Category.CRASH_LOOP, seconds=30).pod


def test_a_node_that_does_not_answer_is_told(bench: Bench):
    name = f"lost-{bench.namespace}"
    status = {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]}
    try:
        bench.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        patch = json.dumps({"status": status})
        bench.kubectl("patch", "node", name, "--subresource=status", "-p", patch)
        bench.deploy({**bench.serve(), "nodeName": name})
        assert name in bench.told(Category.NODE_LOST, definite=False).summary
    finally:
        bench.kubectl("delete", "deployment", NAME)
        bench.kubectl("delete", "pods", "--all", "--force", "--grace-period=0")
        bench.kubectl("delete", "node", name)


def test_three_evictions_are_told_for_certain(bench: Bench):
    """No node of the sandbox is ever short of memory: the status is a kubelet's."""
    message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. "
    status = {"phase": "Failed", "reason": "Evicted", "message": message}
    bench.deploy({**bench.serve(), "nodeSelector": {"no": "where"}})
    for count in range(3):
        (pod,) = _pods(bench, count + 1)
        patch = json.dumps({"status": status})
        bench.kubectl("patch", "pod", pod, "--subresource=status", "-p", patch)
    assert "low on resource: memory" in bench.told(Category.EVICTED).detail


def _pods(bench: Bench, count: int) -> list[str]:
    """Wait until there are so many pods; return those that are not over."""
    for _ in range(40):
        pods = bench.cluster.find("Pod", "model=q")
        if len(pods) == count:
            return [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] != "Failed"]
        time.sleep(0.25)
    raise AssertionError(f"not {count} pods")


def test_a_slow_load_goes_on_and_says_what_it_does(bench: Bench):
    bench.deploy(loading(bench))
    for _ in range(40):
        found = bench.told(Category.LOADING, definite=False)
        if found.summary == "loading weights":
            return
        time.sleep(0.25)
    raise AssertionError(found.summary)


def test_a_refusal_that_was_mended_is_not_held_against_the_next_template(bench: Bench):
    """The Deployment goes on showing the old ReplicaSet's failure while the new one's pod loads."""
    bench.deploy({**bench.serve(), "runtimeClassName": "no-such-runtime"})
    bench.told(Category.RUNTIME_CLASS)
    bench.deploy(loading(bench), digest="two")
    bench.told(Category.LOADING, definite=False)


def test_an_update_in_place_waits_for_the_gpus_of_the_pod_that_ends(bench: Bench):
    """The old pod takes its time to end, and holds what the new one needs."""
    stubborn = [
        "python3",
        "-c",
        (
            "import signal, time; signal.signal(15, lambda *_: time.sleep(8))"
            "\nwhile True: time.sleep(1)"
        ),
    ]
    gpus = {"nvidia.com/gpu": "8"}
    spec = bench.serve(image="python", command=stubborn, resources={"limits": gpus})
    spec |= {
        "terminationGracePeriodSeconds": 8,
        "nodeSelector": {"kubernetes.io/hostname": "gpu-node-1"},
    }
    in_place = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    bench.deploy(spec, strategy=in_place)
    bench.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=40s")
    bench.deploy(spec, digest="two", strategy=in_place)
    found = bench.told(Category.NO_FREE_GPU, definite=False)
    assert found.settles_after is None
    bench.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=40s")

"""Failures caused on a real API server, scheduler and controllers, each told within 10 seconds.

Simulated are the nodes' kubelet and the engine, whose words are vLLM's. Where the sandbox cannot
cause a failure, because there is no GPU, the container says what vLLM said of it.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.hub.safetensors import safetensors_bytes
from sandbox.state import SandboxState
from vllm_flows.cluster import Cluster
from vllm_flows.diagnosis_categories import Category, Diagnosis
from vllm_flows.diagnosis_watch import ReadinessWatch

if TYPE_CHECKING:
    from conftest import Product

NAME = "vllm-q-deployment-vllm"
LIMIT_SECONDS = 10.0
FASTER = 4.0
"""What waits 20 seconds to be sure is sure after 5 here."""
_numbers = itertools.count(1)
Spec = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """A namespace with one Deployment to be looked at."""

    sandbox: SandboxState
    namespace: str
    cluster: Cluster
    model: Path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl in the namespace."""
        program = [self.sandbox.programs["kubectl"], "--kubeconfig", str(self.sandbox.kubeconfig)]
        command = [*program, "-n", self.namespace, *arguments]
        return subprocess.run(
            command, input=stdin, text=True, check=True, capture_output=True, timeout=60
        ).stdout

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Create or change objects."""
        items = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(items))

    def serve(self, *arguments: str, **container: Any) -> Spec:
        """Return the spec of an engine's pod; what is given replaces fields of its container."""
        gpus = {"nvidia.com/gpu": "1"}
        engine = {
            "name": "vllm",
            "image": "vllm/vllm-openai:sandbox",
            "command": ["vllm", "serve", *(arguments or ("/model",)), "--port", "8000"],
            "ports": [{"containerPort": 8000}],
            "resources": {"requests": gpus, "limits": gpus},
            "volumeMounts": [{"name": "model", "mountPath": "/model"}],
            **container,
        }
        return {
            "containers": [engine],
            "volumes": [{"name": "model", "hostPath": {"path": str(self.model)}}],
            "terminationGracePeriodSeconds": 1,
        }

    def says(self, words: str, code: int = 1) -> Spec:
        """Return the spec of a container that says something and ends."""
        script = 'printf "%s\\n" "$WORDS" >&2; exit "$CODE"'
        environ = [{"name": "WORDS", "value": words}, {"name": "CODE", "value": str(code)}]
        return self.serve(image="busybox", command=["sh", "-c", script], env=environ)

    def deploy(self, spec: Spec, digest: str = "one", **fields: Any) -> None:
        """Write the Deployment."""
        labels = {"model": "q"}
        metadata = {"labels": labels, "annotations": {"vllm-flows.io/config-digest": digest}}
        template = {"metadata": metadata, "spec": spec}
        self.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": NAME, "namespace": self.namespace},
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": labels},
                    "template": template,
                    **fields,
                },
            }
        )

    def told(
        self, category: Category, *, definite: bool = True, seconds: float = LIMIT_SECONDS
    ) -> Diagnosis:
        """Look until the diagnosis is this one, from now on for at most so long."""
        watch = ReadinessWatch(self.cluster, lambda: time.monotonic() * FASTER)
        end, said = time.monotonic() + seconds, []
        while time.monotonic() < end:
            deployment = self.cluster.get("Deployment", NAME)
            assert deployment
            found = watch.diagnose(deployment)
            said.append(f"{found.category} {found.definite}: {found.summary}: {found.detail}")
            if found.category is category and found.definite == definite:
                return found
            time.sleep(0.25)
        raise AssertionError("\n".join(dict.fromkeys(said)))


@pytest.fixture
def bench(
    sandbox: SandboxState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """Give each test a namespace, and take its pods away afterwards."""
    monkeypatch.setenv("KUBECONFIG", str(sandbox.kubeconfig))
    namespace = f"diagnosis-{next(_numbers)}-{os.getpid()}"
    model = tmp_path / "model"
    model.mkdir()
    config = {"max_position_embeddings": 2048, "num_attention_heads": 4}
    (model / "config.json").write_text(json.dumps(config))
    (model / "model.safetensors").write_bytes(safetensors_bytes({"a": (64, 64)}, "a"))
    made = Bench(sandbox, namespace, Cluster.connect(namespace), model)
    made.kubectl("create", "namespace", namespace)
    yield made
    made.kubectl("delete", "namespace", namespace, "--wait=false")


def claim(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "",
            **spec,
        },
    }


def mounting(bench: Bench, name: str) -> Spec:
    """Return an engine's pod with a volume claim."""
    spec = bench.serve()
    spec["volumes"].append({"name": "weights", "persistentVolumeClaim": {"claimName": name}})
    return spec


def volume_elsewhere(bench: Bench) -> Spec:
    """Make a claim whose volume is on a node that there is not."""
    name = f"elsewhere-{bench.namespace}"
    hosts = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["gpu-node-9"]}
    bench.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "1Gi"},
                "hostPath": {"path": str(bench.model)},
                "nodeAffinity": {
                    "required": {"nodeSelectorTerms": [{"matchExpressions": [hosts]}]}
                },
                "claimRef": {"namespace": bench.namespace, "name": "weights-q"},
            },
        },
        claim("weights-q", volumeName=name),
    )
    return mounting(bench, "weights-q")


def unbound(bench: Bench) -> Spec:
    bench.apply(claim("weights-q"))
    return mounting(bench, "weights-q")


def with_gpus(bench: Bench, count: int, **other: str) -> Spec:
    wanted = {"nvidia.com/gpu": str(count), **other}
    return bench.serve(resources={"requests": wanted, "limits": wanted})


def without_secret(bench: Bench) -> Spec:
    reference = {"secretKeyRef": {"name": "vllm-api-key", "key": "api-key"}}
    return bench.serve(env=[{"name": "VLLM_API_KEY", "valueFrom": reference}])


def without_configmap(bench: Bench) -> Spec:
    spec = bench.serve()
    spec["volumes"].append({"name": "template", "configMap": {"name": "chat-template"}})
    return spec


def over_quota(bench: Bench) -> Spec:
    quota = {"hard": {"requests.nvidia.com/gpu": "0"}}
    bench.apply(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpus"}, "spec": quota}
    )
    return bench.serve()


def restricted(bench: Bench) -> Spec:
    label = "pod-security.kubernetes.io/enforce=restricted"
    bench.kubectl("label", "namespace", bench.namespace, label)
    return bench.serve()


def without_weights(bench: Bench) -> Spec:
    environ = [
        {"name": "HF_HUB_CACHE", "value": "/model"},
        {"name": "HF_HUB_OFFLINE", "value": "1"},
    ]
    return bench.serve("organisation/name", "--revision", "a" * 40, env=environ)


def with_a_cut_file(bench: Bench) -> Spec:
    path = bench.model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return bench.serve()


def with_too_little_memory(bench: Bench) -> Spec:
    script = "import time; held = b'x' * 400_000_000; time.sleep(600)"
    limits = {"limits": {"memory": "64Mi"}}
    return bench.serve(image="python", command=["python3", "-c", script], resources=limits)


def with_a_load_without_end(bench: Bench) -> Spec:
    """Let the engine load for ever, and its probe give up sooner than the chart's would."""
    path = bench.model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sandbox_fault": "hang"}))
    probe = {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 2}
    return bench.serve(startupProbe={**probe, "failureThreshold": 1})


def with_changes(change: Mapping[str, Any]) -> Callable[[Bench], Spec]:
    return lambda bench: {**bench.serve(), **change}


def arguments(*words: str) -> Callable[[Bench], Spec]:
    return lambda bench: bench.serve("/model", *words)


KV_CACHE = (
    "(EngineCore_DP0 pid=1) ERROR 01-01 00:00:00 [core.py:708] ValueError: To serve at least one "
    "request with the model's max seq len (32768), (1.75 GiB KV cache is needed, which is larger "
    "than the available KV cache memory (1.1 GiB). Based on the available memory, the estimated "
    "maximum model length is 20512."
)
IN_USE = (
    "ValueError: Free memory on device cuda:0 (52.81/95.01 GiB) on startup is less than desired "
    "GPU memory utilization (0.9, 85.51 GiB). Decrease GPU memory utilization or reduce GPU memory"
)
OUT_OF_MEMORY = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 7.45 GiB. GPU 0 has a total "
    "capacity of 15.48 GiB of which 4.10 GiB is free."
)
UNSUPPORTED = "ValueError: Model architectures ['FooForCausalLM'] are not supported for now."
CUSTOM_CODE = "Please pass the argument `trust_remote_code=True` to allow custom code to be run."

CAUSES: Mapping[str, tuple[Callable[[Bench], Spec], Category, str]] = {
    "no free GPU": (
        lambda bench: with_gpus(bench, 9),
        Category.NO_FREE_GPU,
        "too little nvidia.com/gpu is free on 2 of 2 nodes",
    ),
    "no room": (
        lambda bench: with_gpus(bench, 1, memory="10Ti"),
        Category.NO_ROOM,
        "too little memory is free on 2 of 2 nodes",
    ),
    "selector": (
        with_changes({"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H200"}}),
        Category.SELECTOR,
        "2 of 2 nodes lack the labels",
    ),
    "claim missing": (
        lambda bench: mounting(bench, "weights-q"),
        Category.CLAIM_UNBOUND,
        'persistentvolumeclaim "weights-q" not found',
    ),
    "claim elsewhere": (volume_elsewhere, Category.CLAIM_ELSEWHERE, "tied to another place"),
    "image": (
        lambda bench: bench.serve(image="vllm/vllm-openai:missing"),
        Category.IMAGE,
        "vllm/vllm-openai:missing",
    ),
    "Secret": (without_secret, Category.REFERENCE_MISSING, 'secret "vllm-api-key" not found'),
    "ConfigMap": (without_configmap, Category.REFERENCE_MISSING, '"chat-template" not found'),
    "quota": (over_quota, Category.QUOTA, "quota has no room"),
    "Pod Security": (restricted, Category.POD_SECURITY, "Pod Security level"),
    "RuntimeClass": (
        with_changes({"runtimeClassName": "no-such-runtime"}),
        Category.RUNTIME_CLASS,
        "RuntimeClass is not there",
    ),
    "service account": (
        with_changes({"serviceAccountName": "nobody"}),
        Category.REFUSED,
        "the cluster refuses the pod",
    ),
    "unknown flag": (arguments("--no-such-flag"), Category.ENGINE_ARGUMENT, "does not know"),
    "bad choice": (arguments("--dtype", "int3"), Category.ENGINE_ARGUMENT, "does not know"),
    "context": (arguments("--max-model-len", "100000"), Category.CONTEXT_TOO_LONG, "maxModelLen"),
    "heads": (arguments("--tensor-parallel-size", "3"), Category.TENSOR_PARALLEL, "heads"),
    "weights missing": (without_weights, Category.WEIGHTS_MISSING, "is not on its volume"),
    "weights broken": (with_a_cut_file, Category.WEIGHTS_BROKEN, "is damaged"),
    "KV cache": (lambda bench: bench.says(KV_CACHE), Category.KV_CACHE, "too small"),
    "GPU in use": (lambda bench: bench.says(IN_USE), Category.GPU_IN_USE, "somebody else"),
    "CUDA memory": (lambda bench: bench.says(OUT_OF_MEMORY), Category.GPU_MEMORY, "does not fit"),
    "architecture": (lambda bench: bench.says(UNSUPPORTED), Category.UNSUPPORTED_MODEL, "know"),
    "custom code": (lambda bench: bench.says(CUSTOM_CODE), Category.CODE_NOT_TRUSTED, "code"),
    "host memory": (with_too_little_memory, Category.HOST_MEMORY, "too much memory"),
    "probe": (with_a_load_without_end, Category.PROBE_KILL, "startup probe"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_what_cannot_mend_itself_is_told_for_certain(bench: Bench, cause: str):
    make, category, words = CAUSES[cause]
    bench.deploy(make(bench))
    found = bench.told(category)
    assert words in found.summary
    assert "{" not in found.next_command


@contextmanager
def tainted(bench: Bench, key: str) -> Iterator[None]:
    """Keep pods off both nodes while the block runs."""
    nodes = ("gpu-node-1", "gpu-node-2")
    bench.kubectl("taint", "nodes", *nodes, f"{key}=true:NoSchedule")
    try:
        yield
    finally:
        bench.kubectl("taint", "nodes", *nodes, f"{key}-")


def test_a_taint_is_named(bench: Bench):
    with tainted(bench, "team"):
        bench.deploy(bench.serve())
        assert "team:NoSchedule" in bench.told(Category.TAINT).summary


def test_nodes_that_come_up_are_waited_for(bench: Bench):
    with tainted(bench, "node.cilium.io/agent-not-ready"):
        bench.deploy(bench.serve())
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
    environ = [{"name": "VLLM_SANDBOX_LOAD_SECONDS", "value": "300"}]
    probe = {"httpGet": {"path": "/health", "port": 8000}, "failureThreshold": 1000}
    bench.deploy(bench.serve(env=environ, startupProbe=probe))
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
    environ = [{"name": "VLLM_SANDBOX_LOAD_SECONDS", "value": "300"}]
    probe = {"httpGet": {"path": "/health", "port": 8000}, "failureThreshold": 1000}
    bench.deploy(bench.serve(env=environ, startupProbe=probe), digest="two")
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


def test_weights_that_were_deleted_are_told_and_the_next_command_brings_them_back(
    product: Product,
):
    product.install("- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n")
    (volume,) = (
        item
        for item in json.loads(product.kubectl("get", "pv", "-o", "json"))["items"]
        if item["spec"]["claimRef"]["namespace"] == product.namespace
    )
    shutil.rmtree(Path(volume["spec"]["hostPath"]["path"]) / "hub")
    product.kubectl("delete", "pod", "-l", "model=qwen3")
    said = product.run("install", "--yes", code=1).stderr
    assert "[weights-missing]" in said
    command = said.split("  next: ")[1].split("   (")[0]
    assert "&& vllm-flows install" in command
    for step in command.split(" && ")[:-1]:
        product.kubectl(*step.split()[1:])
    assert "qwen3: answered in" in product.run("install", "--yes").stderr

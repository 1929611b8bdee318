"""What can keep a pod from being ready, and the command that goes on from there. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Object = Mapping[str, Any]

SETTLED_SECONDS = 20.0
"""What has stood in the way for so long is there to stay: the scheduler has tried again (its
longest pause is 10 s), and what others were about to make is made."""


class Category(StrEnum):
    """Why a Deployment is not ready; the order is how telling a category is beside another."""

    ENGINE_ARGUMENT = "engine-argument"
    CONTEXT_TOO_LONG = "context-too-long"
    TENSOR_PARALLEL = "tensor-parallel"
    UNSUPPORTED_MODEL = "unsupported-model"
    CODE_NOT_TRUSTED = "code-not-trusted"
    ENGINE_CONFIGURATION = "engine-configuration"
    WEIGHTS_MISSING = "weights-missing"
    WEIGHTS_BROKEN = "weights-broken"
    KV_CACHE = "kv-cache"
    GPU_MEMORY = "gpu-memory"
    GPU_IN_USE = "gpu-in-use"
    GPU_UNUSABLE = "gpu-unusable"
    HOST_MEMORY = "host-memory"
    PROBE_KILL = "probe-kill"
    CRASH_LOOP = "crash-loop"
    QUOTA = "quota"
    POD_SECURITY = "pod-security"
    RUNTIME_CLASS = "runtime-class"
    REFUSED = "refused"
    PAUSED = "paused"
    IMAGE = "image"
    REFERENCE_MISSING = "reference-missing"
    CONTAINER = "container"
    NODE_LOST = "node-lost"
    VOLUME = "volume"
    CLAIM_ELSEWHERE = "claim-elsewhere"
    CLAIM_UNBOUND = "claim-unbound"
    NO_FREE_GPU = "no-free-gpu"
    NO_ROOM = "no-room"
    SELECTOR = "selector"
    TAINT = "taint"
    UNSCHEDULABLE = "unschedulable"
    EVICTED = "evicted"
    LOADING = "loading"
    STARTING = "starting"


_LOGS = "kubectl -n {namespace} logs {pod}{previous}"
_POD = "kubectl -n {namespace} describe pod {pod}"
_THEN = ", then: vllm-flows upgrade"

NEXT_COMMANDS: Mapping[Category, str] = {
    Category.ENGINE_ARGUMENT: f"{_LOGS}   (and correct vllmConfig.extraArgs in models.yaml)",
    Category.CONTEXT_TOO_LONG: f"lower vllmConfig.maxModelLen in models.yaml{_THEN}",
    Category.TENSOR_PARALLEL: "set requestGPU and vllmConfig.tensorParallelSize in models.yaml to "
    f"a number that divides the heads{_THEN}",
    Category.UNSUPPORTED_MODEL: "set VLLM_MODEL_TAG to a vLLM that knows the model, or change "
    f"modelURL in models.yaml{_THEN}",
    Category.CODE_NOT_TRUSTED: "read the repository's code, then set trustRemoteCode: true in "
    f"models.yaml{_THEN}",
    Category.ENGINE_CONFIGURATION: f"{_LOGS}   (and correct vllmConfig in models.yaml)",
    Category.WEIGHTS_MISSING: "kubectl -n {namespace} annotate pvc {claim} vllm-flows.io/weights- "
    "&& kubectl -n {namespace} delete jobs -l vllm-flows.io/model={model} "
    "&& vllm-flows install   (the volume is checked and filled again)",
    Category.WEIGHTS_BROKEN: "kubectl -n {namespace} annotate pvc {claim} vllm-flows.io/weights- "
    "&& kubectl -n {namespace} delete jobs -l vllm-flows.io/model={model} "
    "&& vllm-flows install   (the volume is checked and filled again)",
    Category.KV_CACHE: "lower vllmConfig.maxModelLen in models.yaml to what vLLM names, or raise "
    f"vllmConfig.gpuMemoryUtilization{_THEN}",
    Category.GPU_MEMORY: "lower vllmConfig.maxNumSeqs or maxModelLen in models.yaml, or raise "
    f"requestGPU and vllmConfig.tensorParallelSize{_THEN}",
    Category.GPU_IN_USE: "kubectl get pods -A -o wide --field-selector spec.nodeName={node}   "
    "(who shares its GPUs; or lower vllmConfig.gpuMemoryUtilization in models.yaml)",
    Category.GPU_UNUSABLE: "kubectl describe node {node}   (is the NVIDIA driver there, and does "
    "VLLM_RUNTIME_CLASS name its runtime?)",
    Category.HOST_MEMORY: f"raise requestMemory and limitMemory in models.yaml{_THEN}",
    Category.PROBE_KILL: f"{_POD}   (the probe gave up before the load was over)",
    Category.CRASH_LOOP: _LOGS,
    Category.QUOTA: "kubectl -n {namespace} describe resourcequota   (raise it; a limit that it "
    "demands can be a LimitRange's default)",
    Category.POD_SECURITY: "kubectl get namespace {namespace} --show-labels   (see "
    "pod-security.kubernetes.io/enforce)",
    Category.RUNTIME_CLASS: "kubectl get runtimeclass   (install the GPU operator, or set "
    "VLLM_RUNTIME_CLASS to one that is there)",
    Category.REFUSED: "kubectl -n {namespace} get events --field-selector reason=FailedCreate",
    Category.PAUSED: "kubectl -n {namespace} rollout resume deployment/{deployment}",
    Category.IMAGE: f"{_POD}   (VLLM_MODEL_IMAGE and VLLM_MODEL_TAG name the engine's image)",
    Category.REFERENCE_MISSING: "kubectl -n {namespace} get secrets,configmaps",
    Category.CONTAINER: _POD,
    Category.NODE_LOST: "kubectl describe node {node}",
    Category.VOLUME: _POD,
    Category.CLAIM_ELSEWHERE: "kubectl -n {namespace} describe pvc {claim}   (its volume is tied "
    "to a node or a zone: a nodeSelector in models.yaml keeps the pod there; "
    "VLLM_STORAGE_ACCESS_MODE=ReadWriteMany makes new ones that are not)",
    Category.CLAIM_UNBOUND: "kubectl -n {namespace} describe pvc {claim}",
    Category.NO_FREE_GPU: "kubectl describe nodes   (see who holds the GPUs; or lower "
    "replicaCount or requestGPU in models.yaml)",
    Category.NO_ROOM: "kubectl describe nodes   (or lower requestCPU or requestMemory in "
    "models.yaml)",
    Category.SELECTOR: "kubectl get nodes --show-labels   (and correct nodeSelector in "
    "models.yaml)",
    Category.TAINT: "kubectl get nodes -o "
    "custom-columns='NODE:.metadata.name,TAINTS:.spec.taints[*].key'",
    Category.UNSCHEDULABLE: _POD,
    Category.EVICTED: "kubectl describe node {node}   (its pressure; or raise requestMemory in "
    "models.yaml)",
    Category.LOADING: "kubectl -n {namespace} logs -f {pod}",
    Category.STARTING: "kubectl -n {namespace} describe deployment {deployment}",
}
"""What a person does next; the fields are those of `Place`."""


@dataclass(frozen=True)
class Diagnosis:
    """What keeps a Deployment from being ready.

    `summary` is a sentence without a full stop; `detail` the evidence in the words of who gave
    it. `definite` says that waiting cannot help; `settles_after`, that it becomes definite when
    it stays like this for so many seconds. `pod` is the one to look at, empty when there is none.
    """

    category: Category
    summary: str
    detail: str = ""
    next_command: str = ""
    definite: bool = False
    pod: str = ""
    settles_after: float | None = None


@dataclass(frozen=True)
class Place:
    """Where to look: the fields of a next command. Unknown ones are a word to be replaced."""

    namespace: str
    deployment: str
    pod: str = ""
    model: str = "MODEL"
    claim: str = "CLAIM"
    node: str = "NODE"
    previous: str = ""

    def diagnosis(
        self,
        category: Category,
        summary: str,
        detail: str = "",
        *,
        definite: bool = False,
        settles_after: float | None = None,
    ) -> Diagnosis:
        """Return a diagnosis of what is here, with its next command filled in."""
        command = NEXT_COMMANDS[category].format_map(vars(self))
        return Diagnosis(
            category, summary, detail.strip(), command, definite, self.pod, settles_after
        )


def place_of(deployment: Object, pod: Object | None = None) -> Place:
    """Return where a Deployment, and perhaps one of its pods, is to be looked at."""
    namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
    if pod is None:
        labels = deployment["metadata"].get("labels") or {}
        return Place(namespace, name, model=labels.get("model", "MODEL"))
    return Place(
        namespace=namespace,
        deployment=name,
        pod=pod["metadata"]["name"],
        model=(pod["metadata"].get("labels") or {}).get("model", "MODEL"),
        claim=next(claims_of(pod), "CLAIM"),
        node=pod["spec"].get("nodeName") or "NODE",
        previous=" --previous" if _ended_before(pod) else "",
    )


def claims_of(pod: Object) -> Iterator[str]:
    """Yield the names of a pod's volume claims."""
    for volume in pod["spec"].get("volumes") or []:
        if "persistentVolumeClaim" in volume:
            yield volume["persistentVolumeClaim"]["claimName"]


def _ended_before(pod: Object) -> bool:
    """Say whether a container of the pod ended and was started again, or waits for it."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return any((status.get("lastState") or {}).get("terminated") for status in statuses)

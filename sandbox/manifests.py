"""What the sandbox's cluster is made of, as data: its configuration, its nodes, its classes.

Simulated: the nodes. KWOK renews their leases and says they are ready; nobody looks at the
hardware they claim. The pods on them are not KWOK's: the node agent runs them.
"""

from __future__ import annotations

import platform
from typing import Any

from sandbox.state import SandboxState

Manifest = dict[str, Any]

NODE_ANNOTATION = {"kwok.x-k8s.io/node": "fake"}
STORAGE_PROVISIONER = "sandbox.vllm-flows.io/local"
SERVICE_RANGE = "10.96.0.0/16"
GPUS_PER_NODE = 8

# A kubelet's words for the conditions of a healthy node; KWOK fills in their times.
_NODE_READY = """\
{{ $now := Now }}
phase: Running
addresses:
- type: InternalIP
  address: 127.0.0.1
daemonEndpoints:
  kubeletEndpoint:
    Port: {{ NodePort }}
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ or $.metadata.creationTimestamp $now | Quote }}
{{ end }}
"""
_READY = '.status.conditions.[] | select( .type == "Ready" ) | .status'
_HEARTBEAT_MILLISECONDS = 300_000


def kwokctl_configuration(state: SandboxState) -> list[Manifest]:
    """Return the documents of kwokctl's configuration file for this sandbox.

    Everything listens on 127.0.0.1 and on the sandbox's own ports. KWOK gets stages for nodes
    alone, so it leaves pods to the node agent. Source of the options: KWOK 0.8's
    KwokctlConfiguration and KwokConfiguration.
    """
    return [
        {
            "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
            "kind": "KwokctlConfiguration",
            "options": _options(state),
            "componentsPatches": _patches(),
        },
        _node_stage("node-initialize", operator="NotIn"),
        _node_stage(
            "node-heartbeat-with-lease", operator="In", every_milliseconds=_HEARTBEAT_MILLISECONDS
        ),
    ]


def audit_policy() -> Manifest:
    """Return what the API server writes down: what service accounts asked, but Kubernetes' own.

    Never what was in a request or its answer.
    """
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [
            {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
            {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
            {"level": "None"},
        ],
    }


def cluster_objects(*, cpu_node: bool = False) -> list[Manifest]:
    """Return the objects every sandbox begins with: nodes, the RuntimeClass, the StorageClass."""
    nodes = [gpu_node(1), gpu_node(2)]
    if cpu_node:
        nodes.append(_node("cpu-node-1", cpu="32", memory="128Gi", labels={}, gpus=0))
    return [*nodes, _runtime_class(), _storage_class()]


def gpu_node(number: int) -> Manifest:
    """Return a node that claims eight A100-SXM4-80GB.

    Its labels are those that NVIDIA's GPU feature discovery would set.
    """
    labels = {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
        "nvidia.com/gpu.memory": "81920",
        "nvidia.com/gpu.count": str(GPUS_PER_NODE),
        "nvidia.com/gpu.replicas": "1",
        "nvidia.com/gpu.family": "ampere",
        "nvidia.com/gpu.compute.major": "8",
        "nvidia.com/gpu.compute.minor": "0",
        "nvidia.com/gpu.machine": "sandbox",
        "nvidia.com/mig.capable": "true",
        "nvidia.com/cuda.driver.major": "570",
        "nvidia.com/cuda.driver.minor": "86",
        "nvidia.com/cuda.driver.rev": "15",
        "nvidia.com/cuda.runtime.major": "12",
        "nvidia.com/cuda.runtime.minor": "8",
    }
    return _node(f"gpu-node-{number}", cpu="96", memory="512Gi", labels=labels, gpus=GPUS_PER_NODE)


def _node(name: str, *, cpu: str, memory: str, labels: dict[str, str], gpus: int) -> Manifest:
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "amd64")
    resources = {"cpu": cpu, "memory": memory, "ephemeral-storage": "1Ti", "pods": "110"}
    if gpus:
        resources["nvidia.com/gpu"] = str(gpus)
    known = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/arch": architecture,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": "sandbox-gpu" if gpus else "sandbox-cpu",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": known | labels, "annotations": NODE_ANNOTATION},
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "nodeInfo": {
                "architecture": architecture,
                "operatingSystem": "linux",
                "osImage": "simulated",
                "containerRuntimeVersion": "simulated://local-processes",
            },
        },
    }


def _runtime_class() -> Manifest:
    return {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "nvidia"},
        "handler": "nvidia",
    }


def _storage_class() -> Manifest:
    """Return the default class; the node agent is its provisioner and makes directories."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "local",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": STORAGE_PROVISIONER,
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
        "allowVolumeExpansion": True,
    }


def _options(state: SandboxState) -> Manifest:
    return {
        "runtime": "binary",
        "bindAddress": "127.0.0.1",
        "securePort": True,
        "kubeAuthorization": True,
        "kubeAdmission": True,
        # Client-side throttling protects a shared cluster; here it would only slow tests down.
        "disableQPSLimits": True,
        "kubeAuditPolicy": str(state.audit_policy),
        "enableCRDs": ["PortForward", "Logs"],
        "kubeApiserverPort": state.ports.apiserver,
        "kubeControllerManagerPort": state.ports.controller_manager,
        "kubeSchedulerPort": state.ports.scheduler,
        "etcdPort": state.ports.etcd,
        "etcdPeerPort": state.ports.etcd_peer,
        "kwokControllerPort": state.ports.kwok,
        "etcdBinary": state.programs["etcd"],
        "kubeApiserverBinary": state.programs["kube-apiserver"],
        "kubeControllerManagerBinary": state.programs["kube-controller-manager"],
        "kubeSchedulerBinary": state.programs["kube-scheduler"],
        "kubectlBinary": state.programs["kubectl"],
        "kwokControllerBinary": state.programs["kwok"],
    }


def _patches() -> list[Manifest]:
    return [
        {
            "name": "etcd",
            # Nobody misses a sandbox that a power cut took away.
            "extraArgs": [{"key": "unsafe-no-fsync", "value": "true"}],
        },
        {
            "name": "kube-apiserver",
            "extraArgs": [
                {"key": "service-cluster-ip-range", "value": SERVICE_RANGE},
                # An address from the range for documentation: no machine without a default
                # route is refused, and nothing in the sandbox connects to it.
                {"key": "advertise-address", "value": "192.0.2.1"},
            ],
        },
        # With leader election they end when the API server is away for some seconds, and a real
        # cluster starts them again; there is nobody here to elect.
        *(
            {
                "name": f"kube-{name}",
                "extraArgs": [{"key": "leader-elect", "value": "false"}],
            }
            for name in ("controller-manager", "scheduler")
        ),
        {
            "name": "kwok-controller",
            "extraArgs": [
                {"key": "manage-all-nodes", "value": "false", "override": True},
                {
                    "key": "manage-nodes-with-annotation-selector",
                    "value": "kwok.x-k8s.io/node=fake",
                },
            ],
        },
    ]


def _node_stage(name: str, *, operator: str, every_milliseconds: int = 0) -> Manifest:
    """Return a KWOK stage that says a node is ready: at once, or again after each interval."""
    stage: Manifest = {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Node"},
            "selector": {
                "matchExpressions": [{"key": _READY, "operator": operator, "values": ["True"]}]
            },
            "next": {"statusTemplate": _NODE_READY},
        },
    }
    if every_milliseconds:
        stage["spec"]["delay"] = {
            "durationMilliseconds": every_milliseconds,
            "jitterDurationMilliseconds": every_milliseconds + 10_000,
        }
    return stage

"""Taints that go away by themselves, by name. Pure.

A taint counts as one only where those who take it away say so, each named here; every other one is
somebody's wish, and stays.
"""

from __future__ import annotations

_STARTUP = {
    # kubernetes/api core/v1/well_known_taints.go
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/network-unavailable",
    # kubernetes/cloud-provider api/well_known_taints.go
    "node.cloudprovider.kubernetes.io/uninitialized",
    # Cluster API, until it has found the Machine of the node
    "node.cluster.x-k8s.io/uninitialized",
    # kubernetes-sigs/karpenter pkg/apis/v1/taints.go
    "karpenter.sh/unregistered",
    # istio/istio, nodeUntainter of istiod
    "cni.istio.io/not-ready",
}
"""Taints of nodes that come up."""

_STARTUP_PREFIXES = (
    # kubernetes/autoscaler cluster-autoscaler/FAQ.md, "Startup taints"; the second is the old name
    "startup-taint.cluster-autoscaler.kubernetes.io/",
    "ignore-taint.cluster-autoscaler.kubernetes.io/",
    # kubernetes-sigs/node-readiness-controller; karpenter pkg/scheduling/taints.go
    "readiness.k8s.io/",
)
_STARTUP_SUFFIX = "/agent-not-ready"
"""Behind the name of an agent that takes the taint away once it runs on the node: Cilium
(node.cilium.io), the CSI drivers of AWS (ebs, efs, fsx and s3.csi.aws.com: install pages) and of
Azure (disk and azurelustre.csi.azure.com: removeNotReadyTaint), TopoLVM."""

_CONTROL_PLANE = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
"""Begin the taints by which Kubernetes says what is wrong with a node, for as long as it is. A
cordon is one of them, and lasts until somebody's `kubectl uncordon`."""


def comes_up(key: str) -> bool:
    """Say whether a taint with this key marks a node that is starting."""
    return key in _STARTUP or key.startswith(_STARTUP_PREFIXES) or key.endswith(_STARTUP_SUFFIX)


def passes(key: str) -> bool:
    """Say whether a taint with this key is one that lasts only for a while."""
    return comes_up(key) or key.startswith(_CONTROL_PLANE)

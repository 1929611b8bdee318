"""What is found wrong with one pod, from what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_flows.diagnosis import Evidence, diagnose
from vllm_flows.diagnosis_crashes import PodEvidence

if TYPE_CHECKING:
    from conftest import Kubernetes


def found(
    kubernetes: Kubernetes, pod: dict[str, Any], *events: dict[str, Any], **evidence: Any
) -> Any:
    known = PodEvidence(events=events, **evidence)
    return diagnose(kubernetes.deployment(), [pod], Evidence(pods={kubernetes.pod_name: known}))

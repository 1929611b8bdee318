"""What can be reached in the namespace, and has logs: the engines of a model, and the router."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from vllm_flows.cluster import Object
from vllm_flows.completions import ModelsApi
from vllm_flows.diagnosis_watch import ReadinessWatch
from vllm_flows.errors import NotDeployedError, NotReadyError, VllmFlowsError
from vllm_flows.names import ROUTER_DEPLOYMENT, engine_deployment
from vllm_flows.observe import ENGINE_SELECTOR, deployed_models
from vllm_flows.observed import MODEL_LABEL
from vllm_flows.portforward import PodTunnel
from vllm_flows.readiness import scaled_to_none
from vllm_flows.replicas import ready_replicas
from vllm_flows.session import API_PORT, Session


@dataclass(frozen=True)
class Target:
    """A Deployment and the selector of its pods; `model` is empty for the router."""

    model: str
    selector: str
    deployment: Object = field(repr=False)

    @property
    def subject(self) -> str:
        """What people call it."""
        return self.model or "router"


def find_target(session: Session, model: str = "") -> Target:
    """Return the model's engines, without a model the router. Raises NotDeployedError."""
    name = engine_deployment(model) if model else ROUTER_DEPLOYMENT
    deployment = session.cluster.get("Deployment", name)
    if deployment is None:
        raise _model_missing(session, model) if model else _router_missing(session)
    labels = deployment["spec"]["selector"]["matchLabels"]
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    return Target(model, f"model={model},{ENGINE_SELECTOR}" if model else selector, deployment)


def deployed_names(session: Session) -> list[str]:
    """Return the names of the models that are deployed."""
    return sorted(deployed_models(session.cluster.find("Deployment", ENGINE_SELECTOR)))


def ready_pod(session: Session, target: Target) -> str:
    """Name a pod that is ready. Raises NotReadyError with the diagnosis when there is none."""
    for replica in ready_replicas(session.cluster.find("Pod", target.selector)):
        return replica.pod
    raise why_not_ready(session, target)


def reachable_pod(session: Session, target: Target) -> str:
    """Name a pod that is ready and that a port-forward comes to.

    Raises NotReadyError without one, ClusterError where the API refuses a port-forward.
    """
    pod = ready_pod(session, target)
    PodTunnel.open(session.cluster, pod, API_PORT).close()
    return pod


def why_not_ready(session: Session, target: Target) -> NotReadyError:
    """Return what keeps the target's pods from being ready, as an error with the next command."""
    if target.deployment["spec"].get("replicas") == 0:
        return scaled_to_none(target.subject)
    autoscaling = session.settings.autoscaling
    watch = ReadinessWatch(session.cluster, session.clock.now, autoscaling=autoscaling)
    found = watch.diagnose(target.deployment)
    wait = f"vllm-flows wait {target.model}".strip()
    return NotReadyError(
        f"no pod is ready: {found.summary} [{found.category}]",
        why=found.detail,
        next_command=found.next_command if found.definite and found.next_command else wait,
        model=target.subject,
    )


def _model_missing(session: Session, model: str) -> VllmFlowsError:
    jobs = session.cluster.find("Job", f"{MODEL_LABEL}={model}")
    if any(job.get("status", {}).get("active") for job in jobs):
        return NotDeployedError(
            "is not deployed yet: its weights are on their way",
            next_command=f"vllm-flows logs {model} --weights --follow",
            model=model,
        )
    return NotDeployedError("is not deployed", next_command="vllm-flows install", model=model)


def _router_missing(session: Session) -> VllmFlowsError:
    if not session.settings.router_enabled:
        return NotDeployedError(
            "no router is deployed",
            why="VLLM_ROUTER_ENABLED is false",
            next_command="vllm-flows endpoints   (how each model is reached)",
        )
    where = f"no router is deployed in namespace {session.settings.namespace}"
    return NotDeployedError(where, next_command="vllm-flows install")


@contextmanager
def reached_api(session: Session, model: str = "") -> Iterator[ModelsApi]:
    """Reach the API as `Session.models_api` does, once it can be.

    Raises NotDeployedError, NotReadyError or ClusterError where no port-forward would come about.
    """
    if not (session.settings.router_url or session.cluster.inside):
        routed = session.settings.router_enabled
        reachable_pod(session, find_target(session, "" if routed else model))
    with session.models_api(model) as api:
        yield api

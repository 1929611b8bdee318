"""What the cluster tells of all models at once, for a health check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from vllm_flows import health
from vllm_flows.claims import weights_claims
from vllm_flows.cluster import Object
from vllm_flows.diagnosis_categories import Diagnosis
from vllm_flows.diagnosis_watch import ReadinessWatch
from vllm_flows.errors import ClusterError
from vllm_flows.health_memory import CONFIG_MAP, Memory, Run, memories, runs
from vllm_flows.lease import current_holder
from vllm_flows.models import Model
from vllm_flows.names import engine_deployment
from vllm_flows.observe import deployed_models
from vllm_flows.observed import DeployedModel, Leftover, WeightsClaim
from vllm_flows.overlap import leftovers
from vllm_flows.replicas import Replica, ready_replicas
from vllm_flows.session import Session
from vllm_flows.status import ROUTER, Health, Status, status_of

_KINDS = ("Deployment", "Pod", "Service", "PersistentVolumeClaim")
_UNSURE = {Health.DOWN, Health.DEGRADED, Health.UNSETTLED}


@dataclass(frozen=True)
class Look:
    """The cluster's objects by what they belong to, and what the last check remembered.

    `memories` are by `health_events.key_of` of the name; `changing`: a run holds the
    namespace's lock, and what is not ready may be on its way. `leftovers` as in `ClusterState`.
    """

    statuses: Mapping[str, Status] = field(default_factory=dict)
    deployments: Mapping[str, Object] = field(default_factory=dict)
    deployed: Mapping[str, DeployedModel] = field(default_factory=dict)
    pods: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    claims: Mapping[str, WeightsClaim] = field(default_factory=dict)
    router_pods: Sequence[Object] = ()
    memories: Mapping[str, Memory] = field(default_factory=dict)
    runs: Sequence[Run] = ()
    leftovers: tuple[Leftover, ...] = ()
    changing: bool = False

    @property
    def names(self) -> list[str]:
        """The models that are deployed."""
        return sorted(self.deployed)

    def replicas(self, model: str) -> list[Replica]:
        """Return the model's replicas that are ready."""
        return ready_replicas(self.pods.get(model, ()))

    def nodes(self) -> dict[str, dict[str, str]]:
        """Return by model, and for the router, the node of each of its pods that has one."""
        return {
            model: {
                pod["metadata"]["name"]: pod["spec"]["nodeName"]
                for pod in pods
                if pod["spec"].get("nodeName")
            }
            for model, pods in {**self.pods, health.ROUTER: self.router_pods}.items()
        }

    def digest(self, model: str) -> str:
        """Return what tells the configuration that serves from others."""
        found = self.deployed.get(model)
        return found.configuration if found else ""


def look(session: Session, listed: Mapping[str, int]) -> Look:
    """Read the cluster; `listed` are the replicas that models.yaml wants. Raises ClusterError."""
    found = {kind: session.cluster.find(kind) for kind in _KINDS}
    remembered = session.cluster.get("ConfigMap", CONFIG_MAP)
    # Items of a list do not carry their kind.
    objects = [{**item, "kind": kind} for kind, items in found.items() for item in items]
    wanted = {**listed, ROUTER: session.settings.routers}
    statuses = status_of(objects, wanted, session.settings.namespace, datetime.now(UTC))
    engines = [one for one in found["Deployment"] if _model(one)]
    router = next((one for one in statuses if one.name == ROUTER), None)
    return Look(
        statuses={one.name: one for one in statuses},
        deployments={one["metadata"]["name"]: one for one in found["Deployment"]},
        deployed=deployed_models(engines),
        pods=_by_model(found["Pod"]),
        claims=weights_claims(found["PersistentVolumeClaim"]),
        router_pods=_router_pods(session, found["Pod"]) if router else (),
        memories=memories(remembered),
        runs=runs(remembered),
        leftovers=leftovers(found["Pod"], found["Deployment"]),
        changing=current_holder(session.cluster) is not None,
    )


def _model(item: Object) -> str:
    labels = item["metadata"].get("labels") or {}
    return str(labels.get("model", "")) if "helm-release-name" in labels else ""


def _by_model(pods: Sequence[Object]) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {}
    for pod in pods:
        if _model(pod):
            found.setdefault(_model(pod), []).append(pod)
    return found


def _router_pods(session: Session, pods: Sequence[Object]) -> list[Object]:
    selector = dict(part.split("=", 1) for part in session.router_selector().split(","))
    return [
        pod for pod in pods if selector.items() <= (pod["metadata"].get("labels") or {}).items()
    ]


def why_not_ready(session: Session, seen: Look, model: str) -> Diagnosis | None:
    """Return the diagnosis of a model of which not all replicas are ready; None of others.

    None too where the status says why.
    """
    status = seen.statuses.get(model)
    deployment = seen.deployments.get(engine_deployment(model))
    if deployment is None or status is None or status.health not in _UNSURE or status.diagnosis:
        return None
    watch = ReadinessWatch(
        session.cluster, session.clock.now, autoscaling=session.settings.autoscaling
    )
    try:
        return watch.diagnose(deployment)
    except ClusterError:
        return None


def unlisted(name: str) -> Model:
    """Return a deployed model that models.yaml does not have: it is asked what all are asked."""
    return Model(name=name, model_url=f"unknown/{name}")


def is_listed(model: Model) -> bool:
    """Say whether models.yaml has the model."""
    return model.model_url != unlisted(model.name).model_url


def wanted_replicas(model: Model) -> int:
    """Return the replicas that models.yaml wants of the model; none where it does not have it."""
    return model.replica_count if is_listed(model) else 0

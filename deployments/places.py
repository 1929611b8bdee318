"""Whose the deployments on a Prefect server are: one namespace's, of one cluster.

A run has the models.yaml of the process that takes it. So that none takes what is meant for another
namespace, each has deployments of its own, and its work pools for itself; tags say whose they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import VariableCreate
from prefect.client.schemas.filters import DeploymentFilter
from prefect.exceptions import ObjectAlreadyExists

from vllm_flows.cluster import Cluster
from vllm_flows.errors import ConfigurationError, VllmFlowsError
from vllm_flows.settings import Settings

TAG = "vllm"
_NAMESPACE = "namespace:"
_CLUSTER = "cluster:"
_FIRST = "vllm_flows_first_namespace"
_PAGE = 200
_CLUSTER_SECONDS = 10.0


@dataclass(frozen=True)
class Place:
    """A namespace of a cluster, and what its deployments are called."""

    namespace: str
    cluster: str = ""
    """The uid of its namespace kube-system; "" when that cannot be read, which is like any."""
    suffix: str = ""
    """What follows the names of prefect.yaml; "" for the first namespace on a server."""

    @property
    def tags(self) -> list[str]:
        """Return the tags of its deployments, and so of their runs."""
        cluster = [f"{_CLUSTER}{self.cluster}"] if self.cluster else []
        return [TAG, f"{_NAMESPACE}{self.namespace}", *cluster]


@dataclass(frozen=True)
class Registered:
    """A deployment that is there; one without a namespace was registered by an earlier version."""

    name: str
    pool: str
    namespace: str
    cluster: str

    @classmethod
    def of(cls, name: str, pool: str | None, tags: Sequence[str]) -> Registered:
        """Read from its tags whose it is."""
        return cls(name, pool or "", _after(_NAMESPACE, tags), _after(_CLUSTER, tags))


def _after(prefix: str, tags: Sequence[str]) -> str:
    return next((tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)), "")


def place_of(settings: Settings) -> Place:
    """Return the namespace of these settings; its cluster as far as it answers."""
    try:
        cluster = Cluster.connect(settings.namespace, settings.kube_context)
        identity = replace(cluster, read_seconds=_CLUSTER_SECONDS).identity()
    except VllmFlowsError:
        identity = ""
    # An address is not the same everywhere, nor another one for each cluster.
    return Place(settings.namespace, "" if "://" in identity else identity)


@dataclass(frozen=True)
class There:
    """What is on the Prefect server, of all namespaces."""

    first: str = ""
    """The namespace whose deployments are called as in prefect.yaml; "" while there is none."""
    deployments: Sequence[Registered] = ()


def read_server() -> There:
    """Ask the Prefect server whose the names are, and which deployments there are."""
    with get_client(sync_client=True) as client:
        return There(_first(client), tuple(_read(client)))


def _first(client: SyncPrefectClient) -> str:
    found = client.read_variable_by_name(_FIRST)
    return str(found.value) if found else ""


def _read(client: SyncPrefectClient) -> Iterator[Registered]:
    ours = DeploymentFilter.model_validate({"tags": {"all_": [TAG]}})
    offset = 0
    while page := client.read_deployments(deployment_filter=ours, limit=_PAGE, offset=offset):
        for one in page:
            yield Registered.of(one.name, one.work_pool_name, one.tags)
        offset += len(page)


def settled(here: Place, there: There, *, take_over: bool = False) -> Place:
    """Return the place with the names that its deployments have, or are to have.

    Raises ConfigurationError when another cluster has a namespace of this name there, or when the
    names are those of deployments that do not say whose they are, unless that is to be taken over.
    """
    own = [one.cluster for one in there.deployments if one.namespace == here.namespace]
    known = next(filter(None, own), "")
    if known and here.cluster not in {"", known} and not take_over:
        raise _of_another_cluster(here, known)
    if nobodys(there) and not take_over:
        raise _of_nobody(here, nobodys(there))
    suffix = "" if there.first in {"", here.namespace} else f"-{here.namespace}"
    return replace(here, cluster=here.cluster or known, suffix=suffix)


def nobodys(there: There) -> list[str]:
    """Return the names that are nobody's yet, and of deployments that do not say whose they are."""
    if there.first:
        return []
    return sorted({one.name for one in there.deployments if not one.namespace})


def claim(here: Place) -> None:
    """Make the names of prefect.yaml the place's, unless it has other ones.

    The server makes a variable of a name once: of two at the same time one gets it. Raises
    ConfigurationError for the other one.
    """
    if here.suffix:
        return
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_variable(VariableCreate(name=_FIRST, value=here.namespace, tags=[TAG]))
        first = _first(client)
    if first != here.namespace:
        raise ConfigurationError(
            f"namespace {first} has registered its deployments meanwhile",
            next_command=f"the same command again: those of {here.namespace} get other names",
        )


def insist_on_own_pool(here: Place, pool: str, there: There) -> None:
    """Raise ConfigurationError when deployments of another namespace are for this work pool."""
    for one in there.deployments:
        if one.pool == pool and one.namespace not in {"", here.namespace}:
            raise ConfigurationError(
                f"work pool {pool} is for namespace {one.namespace}, not for {here.namespace}",
                why="its workers would take the runs of both, with the models.yaml of one",
                next_command=f"vllm-flows deploy-flows --work-pool {pool}-{here.namespace}",
            )


def moved_from(here: Place, pool: str, there: There) -> list[str]:
    """Return the work pools that deployments of the namespace are for, but for this one."""
    own = {one.pool for one in there.deployments if one.namespace == here.namespace}
    return sorted(own - {pool, ""})


def _of_another_cluster(here: Place, known: str) -> ConfigurationError:
    return ConfigurationError(
        f"another cluster has a namespace {here.namespace} on this Prefect server",
        why=f"the deployments are of cluster {known}, this one is {here.cluster}: "
        "each would take the other's runs",
        next_command="export PREFECT_API_URL=…   (a server of its own), or another "
        "VLLM_NAMESPACE; where that cluster is gone, the same command with --take-over",
    )


def _of_nobody(here: Place, names: Sequence[str]) -> ConfigurationError:
    return ConfigurationError(
        f"an earlier version registered {', '.join(names)} without saying for which namespace",
        why=f"if not for {here.namespace}, it would lose them, with the schedules made in the UI",
        next_command="vllm-flows --namespace NAMESPACE deploy-flows --take-over   (or serve), with "
        "the namespace whose they are; then the same command again",
    )

"""What a run saw: the Hub's answer per model, and the cluster's state. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vllm_flows.drift import Drift
from vllm_flows.errors import VllmFlowsError

REVISION_ANNOTATION = "vllm-flows.io/revision"
"""On engine pods: the commit they serve."""
DIGEST_ANNOTATION = "vllm-flows.io/config-digest"
"""On engine pods: the digest of the configuration they were made from."""
WEIGHTS_ANNOTATION = "vllm-flows.io/weights"
"""On weights claims: JSON, for each complete commit its files and what its model is like."""
SERVED_ANNOTATION = "vllm-flows.io/served"
"""On weights claims: the commits that were seen to answer, the last one first."""
REQUESTED_ANNOTATION = "vllm-flows.io/requested-revision"
"""On weights claims: models.yaml's word for the commit that was last seen to answer."""
PROVEN_ANNOTATION = "vllm-flows.io/proven-config-digest"
"""On weights claims: digests of configurations that were seen to answer, the last one first."""
REFUSED_ANNOTATION = "vllm-flows.io/refused-revisions"
"""On weights claims: JSON, the commits that were tried and did not do, each with why."""
API_KEY_ANNOTATION = "vllm-flows.io/api-key-digest"
"""On engine and router pods: the keyed digest of the API key that they were started with."""
JOB_DIGEST_ANNOTATION = "vllm-flows.io/job-digest"
"""On weights Jobs: the digest of what they run."""
MODEL_LABEL = "vllm-flows.io/model"
"""On everything of ours that belongs to one model: its name."""
MANAGED_BY = {"app.kubernetes.io/managed-by": "vllm-flows"}


@dataclass(frozen=True)
class HubFile:
    """One file of a repository at a commit; size in bytes.

    `sha256` is set for a file in large file storage; `blob_id` is git's hash of what git itself
    holds: the file, or the pointer to a large one.
    """

    name: str
    size: int
    sha256: str | None = None
    blob_id: str = ""


class Access(StrEnum):
    """How a repository stands to the token at hand; short enough for a column of a table.

    UNKNOWN is a refusal for no reason that we know of. SILENT says nothing of the repository: the
    Hub did not answer. Nor does STAYS: it is about a commit that is on the volume already.
    """

    OPEN = "open"
    GRANTED = "granted"
    PENDING = "pending"
    REFUSED = "refused"
    NOT_ASKED = "not asked"
    NO_TOKEN = "no token"  # noqa: S105 -- a word for people
    NO_SCOPE = "lacks scope"
    EXPIRED = "token expired"
    INVALID = "token invalid"
    NO_REPOSITORY = "no repository"
    NO_REVISION = "no revision"
    DISABLED = "disabled"
    SILENT = "hub silent"
    STAYS = "stays"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """What the Hub says of one model to the token at hand.

    `commit` is the 40-digit sha that the revision stands for now; `gated` is "no", "auto" or
    "manual"; `files` are those the engine needs. `custom_code` names what of the repository's own
    Python the model's configuration refers to, `unsafe_files` are those the Hub's scan calls
    unsafe; `scanned` is False when it told of no scan. `config` is config.json, empty when there is
    none; `parameters` are the numbers that the safetensors files hold, by data type (`BF16`). With
    `problems` the rest may be empty.
    """

    model: str
    repository: str
    commit: str = ""
    gated: str = "no"
    access: Access = Access.OPEN
    license: str = ""
    files: tuple[HubFile, ...] = ()
    custom_code: tuple[str, ...] = ()
    unsafe_files: tuple[str, ...] = ()
    scanned: bool = True
    config: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[VllmFlowsError, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def described(self) -> bool:
        """Say whether the Hub told commit, gate, license and files; if not, they are unknown."""
        return bool(self.commit) and self.access not in {Access.SILENT, Access.STAYS}

    @property
    def readable(self) -> bool:
        """Say whether the configuration could be read, which tells of custom code."""
        return self.access in {Access.OPEN, Access.GRANTED} and not self.problems

    @property
    def total_bytes(self) -> int:
        """Bytes of all files the engine needs."""
        return sum(file.size for file in self.files)


class ReleaseState(StrEnum):
    """The name of what the Helm release is in; the plan's table is keyed by it."""

    ABSENT = "absent"
    DEPLOYED = "deployed"
    PENDING_INSTALL = "pending-install"
    PENDING_UPGRADE = "pending-upgrade"
    PENDING_ROLLBACK = "pending-rollback"
    UNINSTALLING = "uninstalling"
    FAILED = "failed"
    UNMANAGED = "unmanaged"


@dataclass(frozen=True)
class Release:
    """The Helm release as helm reports it; `values` are those its user supplied.

    `finished` is the newest revision that helm finished, and `values` and `chart_version` are its;
    the newest of all when it finished none.
    `updated` is when helm last wrote it, in seconds since the epoch; 0 when it does not say.
    """

    state: ReleaseState
    revision: int = 0
    chart_version: str = ""
    status: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    namespace: str = ""
    updated: float = 0.0
    finished: int = 0

    @property
    def ever_finished(self) -> bool:
        """Say whether helm brought any kept revision to its end."""
        return self.state is ReleaseState.DEPLOYED or self.finished < self.revision


@dataclass(frozen=True)
class DeployedModel:
    """The engine Deployment of one model, or the ReplicaSet that is left of it."""

    name: str
    replicas: int
    ready: int
    revision: str
    digest: str

    @property
    def configuration(self) -> str:
        """What tells the configuration that serves from others; its answers are compared by it."""
        return _configuration(self.digest, self.revision)


def _configuration(digest: str, revision: str) -> str:
    return f"{digest}@{revision[:12]}"


@dataclass(frozen=True)
class Description:
    """What a Verdict said of a commit, kept for when the Hub is silent; of the same shapes.

    `license` and `gated` are None where they are not known.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, int] = field(default_factory=dict)
    custom_code: tuple[str, ...] = ()
    license: str | None = None
    gated: str | None = None


@dataclass(frozen=True)
class WeightsClaim:
    """The volume claim that holds a model's weights.

    `complete` maps each commit whose files are all there to their bytes, `blobs` each file of
    these commits, by the first digits of its hash, to its bytes. `served` are the commits that
    answered and `answered` the digests of the configurations that they did so with, the last one
    first; `requested` is what models.yaml called the last commit. `described`
    holds what is known of complete commits, `refused` the commits that did not do when they were
    tried, and why. `leaving` says that the claim was deleted and only
    waits for the pods that use it. `manifest` is the claim as the API has it.
    """

    model: str
    size: str
    complete: Mapping[str, int] = field(default_factory=dict)
    blobs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    served: tuple[str, ...] = ()
    requested: str = ""
    answered: tuple[str, ...] = ()
    described: Mapping[str, Description] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    leaving: bool = False
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def proven(self) -> str:
        """The digest of the configuration that was last seen to answer, "" when none was."""
        return next(iter(self.answered), "")

    @property
    def configuration(self) -> str:
        """The configuration that was last seen to answer, as of a DeployedModel; "" without one."""
        commit = next(iter(self.served), "")
        return _configuration(self.proven, commit) if self.proven and commit else ""


@dataclass(frozen=True)
class EnginePod:
    """A pod of a model's engine: the node it is bound to ("" before) and the commit it serves."""

    model: str
    node: str
    revision: str


@dataclass(frozen=True)
class Surroundings:
    """What the cluster as a whole offers; None where this account may not look.

    `nodes` and `pods` (of all namespaces, those that hold resources), `storage_classes` and
    `volumes` (by name, those that our claims are bound to) are objects as the API has them;
    `runtime_class` is the engines', empty when there is none of that name. `quotas` are the
    namespace's ResourceQuotas, `pod_security` the level that its label enforces, "" for none.
    `weights_refusal` are the words with which the API would refuse a weights pod now, "" when it
    would not or cannot be asked.
    """

    nodes: tuple[Mapping[str, Any], ...] | None = None
    pods: tuple[Mapping[str, Any], ...] | None = None
    storage_classes: tuple[Mapping[str, Any], ...] | None = None
    volumes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    runtime_class: Mapping[str, Any] | None = None
    quotas: tuple[Mapping[str, Any], ...] | None = ()
    pod_security: str = ""
    weights_refusal: str = ""


@dataclass(frozen=True)
class Leftover:
    """What an interrupted run left, and the next one ends: its kind and name.

    `answering`: an older pod, which may have requests to finish. `reached`: it may get new ones.
    """

    kind: str
    name: str
    answering: bool = False
    reached: bool = False

    @property
    def text(self) -> str:
        """What it does still, and what becomes of it."""
        what = f"{self.kind} {self.name}"
        if self.reached:
            return f"{what} still gets requests, and ends once it gets none and has none left"
        if self.answering:
            return f"{what} gets no more requests, and ends once it has none left"
        return f"{what} serves nobody, and goes"


@dataclass(frozen=True)
class ClusterState:
    """Everything of the cluster that the plan looks at.

    `router`: it has a Deployment, `router_ready`: and a pod of it is ready. `cluster` tells the
    cluster itself from others. `drifts` are the release's objects that somebody changed since helm
    wrote them. `selectors` are the labels that each Deployment selects, by its name; the pods of
    those in `left` run without it, as an interrupted run left them. `leftovers` are what it left
    behind, and what is to be deleted. The rollouts of the models in `held` are held, and those of
    them in `kept` have pods of before beside the new ones. `at_work`: another run holds the
    namespace's lock, so that nothing of that was left.
    """

    release: Release
    deployments: Mapping[str, DeployedModel] = field(default_factory=dict)
    claims: Mapping[str, WeightsClaim] = field(default_factory=dict)
    router: bool = False
    router_ready: bool = True
    pods: tuple[EnginePod, ...] = ()
    around: Surroundings = field(default_factory=Surroundings)
    drifts: tuple[Drift, ...] = ()
    selectors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    left: frozenset[str] = frozenset()
    leftovers: tuple[Leftover, ...] = ()
    held: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    at_work: bool = False
    cluster: str = ""

    def running(self, model: str) -> frozenset[str]:
        """Return the commits that the model's Deployment and pods stand for."""
        commits = {pod.revision for pod in self.pods if pod.model == model}
        if model in self.deployments:
            commits.add(self.deployments[model].revision)
        return frozenset(commits - {""})

    def engine_nodes(self, model: str) -> frozenset[str]:
        """Return the nodes that the model's pods are on."""
        return frozenset(pod.node for pod in self.pods if pod.model == model and pod.node)

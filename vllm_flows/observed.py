"""What a run saw: the Hub's answer per model, and the cluster's state. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vllm_flows.errors import VllmFlowsError

REVISION_ANNOTATION = "vllm-flows.io/revision"
"""On engine pods: the commit they serve."""
DIGEST_ANNOTATION = "vllm-flows.io/config-digest"
"""On engine pods: the digest of the configuration they were made from."""
WEIGHTS_ANNOTATION = "vllm-flows.io/weights"
"""On weights claims: JSON, for each complete commit its `files` and `bytes`."""
VERSION_ANNOTATION = "vllm-flows.io/version"
"""On our Secrets: a random mark, new with each new value; no trace of the value itself."""
API_KEY_ANNOTATION = "vllm-flows.io/api-key-version"
"""On engine and router pods: the version of the API key that they were started with."""
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
    """How a repository stands to the token at hand."""

    OPEN = "open"
    GRANTED = "granted"
    PENDING = "pending"
    REFUSED = "refused"
    NOT_ASKED = "not asked"
    NO_TOKEN = "no token"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """What the Hub says of one model to the token at hand.

    `commit` is the 40-digit sha that the revision stands for now; `gated` is "no", "auto" or
    "manual"; `files` are those the engine needs. `custom_code` names what of the repository's own
    Python the model's configuration refers to, `unsafe_files` are those the Hub's scan calls
    unsafe. `config` is config.json, empty when there is none; `parameters` are the numbers that
    the safetensors files hold, by data type (`BF16`). With `problems` the rest may be empty.
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
    config: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[VllmFlowsError, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def total_bytes(self) -> int:
        """Bytes of all files the engine needs."""
        return sum(file.size for file in self.files)


class ReleaseState(StrEnum):
    """The name of what the Helm release is in; the plan's table is keyed by it."""

    ABSENT = "absent"
    DEPLOYED = "deployed"
    PENDING = "pending"
    FAILED = "failed"
    UNMANAGED = "unmanaged"


@dataclass(frozen=True)
class Release:
    """The Helm release as helm reports it; `values` are those its user supplied."""

    state: ReleaseState
    revision: int = 0
    chart_version: str = ""
    status: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    namespace: str = ""


@dataclass(frozen=True)
class DeployedModel:
    """The engine Deployment of one model."""

    name: str
    replicas: int
    ready: int
    revision: str
    digest: str


@dataclass(frozen=True)
class WeightsClaim:
    """The volume claim that holds a model's weights.

    `complete` maps each commit whose files are all there to their bytes; `leaving` says that it was
    deleted and only waits for the pods that use it.
    """

    model: str
    size: str
    access_modes: tuple[str, ...] = ()
    complete: Mapping[str, int] = field(default_factory=dict)
    leaving: bool = False


@dataclass(frozen=True)
class ClusterState:
    """Everything of the namespace that the plan looks at; `router`: it has a Deployment."""

    release: Release
    deployments: Mapping[str, DeployedModel] = field(default_factory=dict)
    claims: Mapping[str, WeightsClaim] = field(default_factory=dict)
    router: bool = False

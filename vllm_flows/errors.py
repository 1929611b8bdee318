"""Every error this product raises on purpose, and what each one tells its reader.

    VllmFlowsError                exit  1
    ├── ConfigurationError        exit 64   models.yaml, settings or options are wrong
    │   ├── ModelsFileError       exit 64   the problems of one models.yaml, all at once
    │   └── AnotherValueError     exit 64   Vault holds a value there that others may use
    ├── MissingProgramError       exit 64   helm is not installed
    ├── AccessError               exit  1   the Hub refuses a model, or the model is not there
    ├── HubUnavailableError       exit  1   the Hub does not answer (retryable)
    ├── FitError                  exit  1   vLLM would refuse the model, or lack memory for it
    ├── PlacementError            exit  1   no node, or no volume, can take the model now
    │   ├── QuotaError            exit  1   the namespace's quota leaves too little for it
    │   └── DowntimeError         exit  1   it could, were what runs of it stopped first
    ├── BlockedError              exit  1   the plan holds a model that must not be touched
    ├── StalePlanError            exit  1   what was planned is not what would happen now
    ├── ClusterError              exit  1   the Kubernetes API refuses a request
    │   ├── NoRightError          exit  1   this account may not do that
    │   ├── ConflictError         exit  1   the object changed since it was read
    │   └── ClusterUnavailableError         it does not answer (retryable)
    ├── NoSecretError             exit  1   the Hub token or the API key is not stored
    ├── SecretStoreError          exit  1   the External Secrets Operator cannot make a Secret
    ├── VaultError                exit  1   Vault refuses a login, a token or a request
    │   ├── VaultConflictError    exit  1   somebody else wrote there meanwhile
    │   └── VaultUnavailableError           it is sealed, or does not answer (retryable)
    ├── LockedError               exit  5   another run holds the lock of the namespace
    │   └── LockLostError         exit  5   this run held it, and no longer does
    ├── ReleaseError              exit  1   helm failed, or the release is in no state to act on
    │   └── ReleaseUnavailableError         helm could not reach the cluster, or waits (retryable)
    ├── WeightsError              exit  1   a weights Job failed
    ├── NotReadyError             exit  1   a pod can never become ready
    ├── NotDeployedError          exit  1   what was asked about does not run in the namespace
    ├── TimedOutError             exit  4   a wait reached its end
    ├── CompletionError           exit  1   a model does not answer as it should
    │   └── WorseError            exit  1   it answers, and far worse than what served before
    ├── RolloutError              exit  1   a changed model does not answer; what became of it
    ├── RouterError               exit  1   what stands before all models answers nobody
    └── StoppedError              exit 130  the run was interrupted

An error says what failed, on which model, why, and which command to run next, and it
knows whether trying again can help. The same text stands on the command line, in the
Prefect state message and in artifacts.
"""

from __future__ import annotations

from typing import ClassVar

from vllm_flows.redaction import redacted

NO_ANSWER = "no-answer"
"""The category of an engine that is ready, and by itself gave no answer in time."""


class VllmFlowsError(Exception):
    """Something failed that the reader can act on.

    `what` is a sentence without a full stop; `why` explains it; `next_command` is
    something to run or open; `model` is the model's name when the error is about one.
    `category` is that of the diagnosis of what is not ready, or NO_ANSWER; empty for what has none.
    `table` has a row for each model when it ended a run that was bringing them. No text of it shows
    a secret that was collected, be it later.
    """

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        next_command: str = "",
        model: str | None = None,
        category: str = "",
    ) -> None:
        what, why, next_command = redacted(what), redacted(why), redacted(next_command)
        super().__init__(what, why, next_command, model)
        self.what = what
        self.why = why
        self.next_command = next_command
        self.model = model
        self.category = category
        self.table: list[dict[str, str | int]] = []

    def __reduce__(self) -> tuple[object, ...]:
        """Prefect pickles exceptions between processes; keyword arguments must survive."""
        told = (self.what, self.why, self.next_command, self.model, self.category)
        return (_rebuild, (type(self), *told))

    def __str__(self) -> str:
        subject = f"{self.model}: {self.what}" if self.model else self.what
        lines = [subject]
        if self.why:
            lines.append(_indented("  why:  ", self.why))
        if self.next_command:
            lines.append(_indented("  next: ", self.next_command))
        return redacted("\n".join(lines))


def _indented(label: str, text: str) -> str:
    """Put a label before the first line, and align the others with it."""
    return label + text.replace("\n", "\n" + " " * len(label))


def _rebuild(
    kind: type[VllmFlowsError],
    what: str,
    why: str,
    next_command: str,
    model: str | None,
    category: str,
) -> VllmFlowsError:
    return kind(what, why=why, next_command=next_command, model=model, category=category)


class ConfigurationError(VllmFlowsError):
    """models.yaml, a setting or an option is wrong; nothing was touched."""

    exit_code = 64


class ModelsFileError(ConfigurationError):
    """One or more problems of a models.yaml, each with its line and column."""


class AnotherValueError(ConfigurationError):
    """Vault holds another value where one is to be set; who agrees can have it replaced."""


class MissingProgramError(ConfigurationError):
    """A program that must be on PATH is not."""


class AccessError(VllmFlowsError):
    """The Hub refuses a model to this token, or has no such model or revision."""


class HubUnavailableError(VllmFlowsError):
    """The Hub did not answer, or answered that it cannot now."""

    retryable = True


class FitError(VllmFlowsError):
    """vLLM would refuse the model at its start, or the GPUs have too little memory for it."""


class PlacementError(VllmFlowsError):
    """The cluster has no node or no volume that can take the model as it is now."""


class QuotaError(PlacementError):
    """The namespace's ResourceQuota leaves too little for the model's pods."""


class DowntimeError(PlacementError):
    """The model can only be replaced by stopping it first, and nobody allowed that."""


class BlockedError(VllmFlowsError):
    """The plan holds at least one blocked model; nothing was written."""


class StalePlanError(VllmFlowsError):
    """The cluster, the Hub or models.yaml moved on since the plan was made; nothing was written."""


class ClusterError(VllmFlowsError):
    """The Kubernetes API refused a request."""


class NoRightError(ClusterError):
    """The account lacks a right; its administrator has to grant it."""


class ConflictError(ClusterError):
    """The object changed, came or went since it was read; to be read and decided anew."""


class ClusterUnavailableError(ClusterError):
    """The Kubernetes API did not answer, or answered that it cannot now."""

    retryable = True


class NoSecretError(VllmFlowsError):
    """The namespace holds no such token or key."""


class SecretStoreError(VllmFlowsError):
    """The External Secrets Operator, or its store, cannot make a Secret from Vault."""


class VaultError(VllmFlowsError):
    """Vault refused a login, a token or a request."""


class VaultConflictError(VaultError):
    """The secret changed in Vault since it was read; nothing was overwritten."""


class VaultUnavailableError(VaultError):
    """Vault did not answer, or is sealed, not initialised or without an active node."""

    retryable = True


class LockedError(VllmFlowsError):
    """Another run holds the lock of the namespace; this one has changed nothing."""

    exit_code = 5


class LockLostError(LockedError):
    """This run lost the lock of the namespace, or gave it back; it changes nothing any more."""


class ReleaseError(VllmFlowsError):
    """Helm failed, or the release is in a state that must not be acted on."""


class ReleaseUnavailableError(ReleaseError):
    """Helm could not reach the cluster, or another helm is still at work."""

    retryable = True


class WeightsError(VllmFlowsError):
    """The weights of a model could not be brought to its volume."""


class NotReadyError(VllmFlowsError):
    """A pod ended in a way from which waiting cannot bring it back."""


class NotDeployedError(VllmFlowsError):
    """The model, or the router, does not run in this namespace."""


class TimedOutError(VllmFlowsError):
    """A wait reached its end without what it waited for."""

    exit_code = 4


class CompletionError(VllmFlowsError):
    """A model did not answer a request, or answered wrongly."""


class WorseError(CompletionError):
    """A model answers, and far worse than what served before."""


class RolloutError(VllmFlowsError):
    """A model that was changed does not answer; the text says what serves now."""


class RouterError(VllmFlowsError):
    """The router, or the address that stands for it, leads nobody to models; none is at fault."""


class StoppedError(VllmFlowsError):
    """The run was interrupted; what it had started in the cluster goes on or stays as it is."""

    exit_code = 130

"""Which commits on the weights volumes nobody needs, and which volumes nobody uses. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vllm_flows.differences import entries
from vllm_flows.observed import MODEL_LABEL, REVISION_ANNOTATION, ClusterState, WeightsClaim
from vllm_flows.quantities import parse_quantity
from vllm_flows.sizes import human_bytes
from vllm_flows.weights import job_state
from vllm_flows.weights_order import PRUNE

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Pruning:
    """What is to be done to one model's volume; commits in full.

    `bytes` are what goes with the commits that are `gone`, as far as the record tells; `whole` says
    that the volume itself goes. `obstacle` is why it is left alone after all. With `thorough` its
    volume is looked at even if the record knows of nothing to remove.
    """

    model: str
    keep: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    bytes: int = 0
    whole: bool = False
    obstacle: str = ""
    thorough: bool = False

    @property
    def acts(self) -> bool:
        """Say whether anything is done."""
        return not self.obstacle and bool(self.gone or self.whole or self.thorough)

    @property
    def agreed(self) -> str:
        """Return what tells what is done from anything else."""
        return " ".join([self.model, *(["volume"] if self.whole else self.gone)])


def prunings(
    state: ClusterState,
    keep: int,
    busy: Collection[str] = (),
    named: Collection[str] = (),
    listed: Collection[str] | None = None,
) -> list[Pruning]:
    """Return what is to be done, model by model; only for those `named`, when some are.

    Of each model `keep` commits stay: those that run, and then those that answered last. `busy` are
    models whose weights are being fetched. Volumes go of models that are not `listed` (None: no
    volumes go) and not deployed either.
    """
    found = []
    for name, claim in sorted(state.claims.items()):
        if named and name not in named:
            continue
        running = _running(state, name)
        unused = listed is not None and name not in listed and not _is_deployed(state, name)
        made = _volume(claim) if unused else _pruning(claim, running, keep)
        thorough = bool(named) and not unused
        obstacle = _obstacle(claim, busy=name in busy)
        found.append(replace(made, obstacle=obstacle, thorough=thorough))
    return [one for one in found if one.gone or one.whole or one.thorough]


def _pruning(claim: WeightsClaim, running: Collection[str], keep: int) -> Pruning:
    before = [commit for commit in claim.served if commit not in running]
    kept = {*running, *before[: max(0, keep - 1 if running else keep)]}
    gone = tuple(sorted(set(claim.complete) - kept))
    return Pruning(claim.model, tuple(sorted(kept)), gone, _freed(claim, gone))


def _volume(claim: WeightsClaim) -> Pruning:
    return Pruning(claim.model, bytes=int(parse_quantity(claim.size)), whole=True)


def _freed(claim: WeightsClaim, gone: Collection[str]) -> int:
    """Return the bytes of files that only commits that go have."""
    staying = {
        name for commit in claim.complete if commit not in gone for name in _files(claim, commit)
    }
    going = {name: size for commit in gone for name, size in _files(claim, commit).items()}
    return sum(size for name, size in going.items() if name not in staying)


def _files(claim: WeightsClaim, commit: str) -> Mapping[str, int]:
    """Return the commit's files; one that the record does not tell apart stands for all."""
    return claim.blobs.get(commit) or {commit: claim.complete[commit]}


def _is_deployed(state: ClusterState, model: str) -> bool:
    there = {*state.deployments, *(pod.model for pod in state.pods)}
    return model in there or model in entries(state.release.values)


def _running(state: ClusterState, model: str) -> frozenset[str]:
    """Return the commits that run, or that helm was told to run."""
    entry = entries(state.release.values).get(model, {})
    told = (entry.get("podAnnotations") or {}).get(REVISION_ANNOTATION, "")
    return state.running(model) | (frozenset({told}) - {""})


def _obstacle(claim: WeightsClaim, *, busy: bool) -> str:
    if claim.leaving:
        return "its volume is being deleted"
    return "its weights are being fetched" if busy else ""


def busy_models(jobs: Iterable[Object]) -> set[str]:
    """Return the models whose weights a Job is fetching; one that prunes may begin anew."""
    return {
        job["metadata"]["labels"][MODEL_LABEL]
        for job in jobs
        if job_state(job, [], "").phase == "running"
        and not job["metadata"]["name"].endswith(f"-{PRUNE}")
    }


def pruning_rows(found: Sequence[Pruning]) -> list[dict[str, str]]:
    """Return a row for each model."""
    return [
        {
            "model": one.model,
            "stays": "-" if one.whole else _short(one.keep),
            "goes": "the volume" if one.whole else _short(one.gone),
            "frees": human_bytes(one.bytes) if one.bytes else "-",
            "note": f"left alone: {one.obstacle}" if one.obstacle else "",
        }
        for one in found
    ]


def _short(commits: Collection[str]) -> str:
    return ", ".join(commit[:8] for commit in commits) or "-"

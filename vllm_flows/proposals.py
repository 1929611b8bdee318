"""What to propose for a model that the Hub knows: room for its weights, and GPUs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vllm_flows.fit import Fits, fit_of
from vllm_flows.model_entry import entry_of
from vllm_flows.models import Model
from vllm_flows.observed import Verdict
from vllm_flows.sizes import human_bytes

GPU_BYTES = 80 * 10**9
"""The memory of the GPU that is counted with: the cluster is not asked."""
_MOST_GPUS = 8
_STEP_GIB = 10
_SMALLEST_GIB = 50
_COUNTED = ("maxModelLen", "dtype", "gpuMemoryUtilization", "maxNumSeqs", "extraArgs")


@dataclass(frozen=True)
class Proposal:
    """Values for a model's fields, None where the Hub does not say enough, and why these."""

    storage: str | None
    gpus: int | None
    text: str


def proposal_for(values: Mapping[str, object], verdict: Verdict) -> Proposal:
    """Propose what the weights and the configuration call for; `values` are those that are given.

    The volume has room for two versions of the weights: a new one arrives while the old one
    serves.
    """
    if not verdict.described:
        return Proposal(None, None, "; ".join(problem.what for problem in verdict.problems))
    gpus, takes = _gpus(values, verdict)
    size = verdict.total_bytes
    storage = f"{_gib_for(2 * size)}Gi" if size else None
    told = [f"{human_bytes(size)} of weights" if size else "", verdict.license]
    told += ["gated" if verdict.gated != "no" else "", takes]
    return Proposal(storage, gpus, ", ".join(one for one in told if one))


def _gib_for(size: int) -> int:
    """Return the GiB of a volume that these bytes fill to nine tenths at most, a round number."""
    steps = -(-size * 10 // (9 * _STEP_GIB * 1024**3))
    return max(_SMALLEST_GIB, steps * _STEP_GIB)


def _gpus(values: Mapping[str, object], verdict: Verdict) -> tuple[int | None, str]:
    counted = {field: value for field, value in values.items() if field in _COUNTED}
    entry = entry_of({"name": "a", "modelURL": verdict.repository, **counted})
    fit = fit_of(Model.model_validate(entry), verdict, GPU_BYTES, most_gpus=_MOST_GPUS)
    if fit.result is Fits.UNKNOWN:
        return None, ""
    gpus = fit.smallest_tensor_parallel_size if fit.result is Fits.NOT else 1
    if not gpus:
        return None, f"too large for {_MOST_GPUS} GPUs with {human_bytes(GPU_BYTES)}"
    return gpus, f"takes {gpus} GPU{'s' if gpus > 1 else ''} with {human_bytes(GPU_BYTES)}"

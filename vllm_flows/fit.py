"""Whether a model fits the memory of its GPUs, by vLLM's own rule.

Weights, cache for one request of the full length and everything else must fit into the share
of each GPU that vLLM may fill (`gpuMemoryUtilization`). What each of them takes, and how sure that
is, says `gpu_memory`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from vllm_flows.architecture import architecture_of
from vllm_flows.engine_limits import (
    USUAL_IMAGE,
    batches_in_flight,
    engine_version,
    longest_context,
    possible_sizes,
    utilization,
)
from vllm_flows.engine_quantization import takes_fp8_cache
from vllm_flows.fit_case import BLOCK, Case, larger_share
from vllm_flows.gpu_memory import GIB, offloaded_bytes, weight_bytes
from vllm_flows.models import Model
from vllm_flows.observed import Verdict

_TIGHT_SHARE = 0.9
"""Above this share of the usable memory the estimate is too rough to promise anything."""
_TIGHT_REQUESTS = 2
"""With room for fewer full-length requests than this, one long request holds up all others."""
_SHORTEST_USEFUL = 1024
"""Tokens; a context shorter than this is not worth proposing."""
_SMALL_SHARE = 0.85
"""Up to this fraction of a GPU, a larger one is worth proposing to a model that is tight."""


class Fits(StrEnum):
    """Whether the model fits; TIGHT means that it may start, but with little to spare."""

    FITS = "fits"
    TIGHT = "tight"
    NOT = "does not fit"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Fit:
    """What a model needs of each GPU and what there is; sizes in bytes, 0 where unknown.

    `weights`, `kv_cache` (one request of the full length) and `overhead` add up to `needed`;
    `available` is what vLLM may fill. `largest_max_model_len` is the longest context that vLLM
    takes and that would fit on these GPUs, None when not even the weights do or it is unknown;
    `smallest_tensor_parallel_size` the fewest GPUs of this size that vLLM can share the model
    over, that one node has, and that would hold it; `most_gpus` is what one node has, 0 where
    unknown. `advice` says what to change in models.yaml, "" when nothing has to be.
    """

    result: Fits
    text: str
    weights: int = 0
    kv_cache: int = 0
    overhead: int = 0
    needed: int = 0
    available: int = 0
    largest_max_model_len: int | None = None
    smallest_tensor_parallel_size: int | None = None
    most_gpus: int = 0
    advice: str = ""


def fit_of(
    model: Model,
    verdict: Verdict,
    gpu_memory: int,
    *,
    most_gpus: int = 0,
    image: str = USUAL_IMAGE,
) -> Fit:
    """Estimate whether the model fits GPUs of which each has `gpu_memory` bytes.

    `most_gpus` is what one node has at most, 0 when unknown: no more are proposed. The engine's
    image, with its tag, decides what vLLM may fill where models.yaml does not, and what it keeps
    besides windows. What vLLM refuses of length and number of GPUs is judged as the nearest that
    it takes.

    0 bytes, a repository without a configuration that can be counted, or one without weights
    gives UNKNOWN, with what can be said all the same. Weights that alone are too large need no
    configuration to be refused.
    """
    shape = architecture_of(verdict.config)
    weights, share = weight_bytes(model, verdict, shape), utilization(model, image)
    if shape is None or not weights:
        return _without_shape(model, weights, gpu_memory, share, most_gpus)
    limit = longest_context(model, verdict.config, shape)
    batches = batches_in_flight(model, image)
    fp8 = takes_fp8_cache(verdict.config, engine_version(image))
    case = Case(model, shape, weights, gpu_memory, share, batches, limit, most_gpus, fp8)
    found = Fit(
        result=Fits.UNKNOWN,
        text="",
        weights=case.weights_per_gpu(case.size),
        kv_cache=case.cache(case.tokens, case.size),
        overhead=case.overhead(case.size),
        available=case.available,
        most_gpus=most_gpus,
    )
    found = replace(found, needed=found.weights + found.kv_cache + found.overhead)
    if not gpu_memory:
        return replace(found, text=f"{_needs(found, case)}; the GPUs' memory is unknown")
    return _judged(found, case)


def _without_shape(
    model: Model, weights: int, gpu_memory: int, share: float, most_gpus: int
) -> Fit:
    """Judge by the weights alone."""
    size = model.vllm_config.tensor_parallel_size or 1
    mine, available = max(0, weights // size - offloaded_bytes(model)), int(gpu_memory * share)
    what = "config.json does not say enough to count" if weights else "the weights' size is unknown"
    found = Fit(Fits.UNKNOWN, what, weights=mine, available=available, most_gpus=most_gpus)
    if not gpu_memory or mine <= available:
        return found
    larger = larger_share(mine, gpu_memory, share)
    if larger:
        advice = f"set vllmConfig.gpuMemoryUtilization: {larger} (or more) in models.yaml"
    elif most_gpus and weights // most_gpus - offloaded_bytes(model) > available:
        advice = _no_number_helps(most_gpus)
    else:
        advice = "use more GPUs (requestGPU and vllmConfig.tensorParallelSize) or larger ones"
    text = f"the weights alone need {_gib(mine)} per GPU, of {_gib(available)} usable"
    return replace(found, result=Fits.NOT, text=text, needed=mine, advice=advice)


def _judged(found: Fit, case: Case) -> Fit:
    """Compare what is needed with what there is, and say what would help."""
    room = case.room(case.size)
    found = replace(
        found,
        largest_max_model_len=case.largest_length(case.size),
        smallest_tensor_parallel_size=case.smallest_size(),
    )
    text = f"{_needs(found, case)}, of {_gib(found.available)} usable"
    if found.needed > found.available:
        return replace(found, result=Fits.NOT, text=text, advice=_remedy(found, case))
    few_requests = found.kv_cache and room < _TIGHT_REQUESTS * found.kv_cache
    if few_requests or found.needed > _TIGHT_SHARE * found.available:
        text += _requests(room, found, case)
        return replace(found, result=Fits.TIGHT, text=text, advice=_relief(found, case))
    return replace(found, result=Fits.FITS, text=text + _requests(room, found, case))


def _needs(found: Fit, case: Case) -> str:
    parts = [f"{_gib(found.weights)} weights"]
    if found.kv_cache:
        parts.append(f"{_gib(found.kv_cache)} cache for {case.tokens:,} tokens")
    parts.append(f"about {_gib(found.overhead)} besides")
    gpus = f"each of {case.size} GPUs" if case.uneven else "GPU"
    return f"needs about {_gib(found.needed)} per {gpus} ({', '.join(parts)})"


def _requests(room: int, found: Fit, case: Case) -> str:
    if not found.kv_cache:
        return ""
    return f"; the cache holds {room / found.kv_cache:.1f} requests of {case.tokens:,} tokens"


def _remedy(found: Fit, case: Case) -> str:
    """Return what makes the model fit, the smaller change first.

    Only one way is said when vLLM refuses the length or the number of GPUs as well: the
    refusal proposes the same, and several would read as contradictions.
    """
    ways = list(_ways(found, case))
    if case.too_long or case.uneven:
        ways = ways[:1]
    if ways:
        return f"set {', or set '.join(ways)} in models.yaml"
    if case.most_gpus:
        return _all_gpus(case) or _no_number_helps(case.most_gpus)
    return "use larger GPUs (nodeSelector in models.yaml) or a quantized copy of the model"


def _ways(found: Fit, case: Case) -> Iterator[str]:
    """Yield settings that each make the model fit, with what vLLM refuses put right."""
    length, gpus = "vllmConfig.maxModelLen: {}", "requestGPU and vllmConfig.tensorParallelSize: {}"
    right_length = f" with {length.format(case.limit)}" if case.too_long else ""
    right_size = f" with {gpus.format(case.size)}" if case.uneven else ""
    share = case.larger_share()
    if share:
        yield f"vllmConfig.gpuMemoryUtilization: {share}{right_length}{right_size}"
    longest, fewest = found.largest_max_model_len, found.smallest_tensor_parallel_size
    if _useful(longest, case):
        yield f"{length.format(longest)} (or less){right_size}"
    if fewest and not share:
        yield f"{gpus.format(fewest)}{right_length}"


def _useful(length: int | None, case: Case) -> bool:
    return bool(length and length >= min(_SHORTEST_USEFUL, case.tokens))


def _all_gpus(case: Case) -> str:
    """Return the context for which the GPUs of one node would do, "" when they would for none."""
    most = possible_sizes(case.shape, case.most_gpus)[-1]
    longest = case.largest_length(most)
    if not _useful(longest, case):
        return ""
    gpus = f"requestGPU and vllmConfig.tensorParallelSize: {most}"
    return f"set {gpus} with vllmConfig.maxModelLen: {longest} (or less) in models.yaml"


def _no_number_helps(most_gpus: int) -> str:
    """Return what to do when one node has too few GPUs for any context."""
    return (
        f"no number of these GPUs that one node has (at most {most_gpus}) holds it: use larger "
        "GPUs (nodeSelector in models.yaml), or serve a quantized copy or a smaller model"
    )


def _relief(found: Fit, case: Case) -> str:
    """Return what gives a model that is tight more room."""
    if case.share <= _SMALL_SHARE:
        return "a larger vllmConfig.gpuMemoryUtilization in models.yaml gives room"
    if found.kv_cache and case.tokens > 2 * _SHORTEST_USEFUL:
        shorter = max(_SHORTEST_USEFUL, case.tokens // 2 // BLOCK * BLOCK)
        return f"a shorter context gives room: vllmConfig.maxModelLen: {shorter} in models.yaml"
    return "more GPUs or larger ones give room"


def _gib(size: int) -> str:
    """Return bytes in GiB, the unit of vLLM's messages and of NVIDIA's labels."""
    count = size / GIB
    return f"{count:.0f} GiB" if count >= 100 else f"{count:.3g} GiB"  # noqa: PLR2004 -- three digits say enough

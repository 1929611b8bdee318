"""Whether a model fits the memory of its GPUs, by vLLM's own rule.

Weights, cache for one request of the full length and everything else must fit into the share
of each GPU that vLLM may fill (`gpuMemoryUtilization`). What each of them takes, and how sure that
is, says `gpu_memory`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from vllm_flows.architecture import Architecture, architecture_of
from vllm_flows.gpu_memory import (
    DEFAULT_UTILIZATION,
    GIB,
    batch_tokens,
    cache_bytes,
    offloaded_bytes,
    overhead_bytes,
    weight_bytes,
)
from vllm_flows.models import Model
from vllm_flows.observed import Verdict

_TIGHT_SHARE = 0.9
"""Above this share of the usable memory the estimate is too rough to promise anything."""
_TIGHT_REQUESTS = 2
"""With room for fewer full-length requests than this, one long request holds up all others."""
_BLOCK = 16
_SHORTEST_USEFUL = 1024
"""Tokens; a context shorter than this is not worth proposing."""


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
    `available` is what vLLM may fill. `largest_max_model_len` is the longest context that would
    fit on these GPUs, None when not even the weights do or it is unknown;
    `smallest_tensor_parallel_size` the fewest GPUs of this size that would hold the model.
    `advice` says what to change in models.yaml, "" when nothing has to be.
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
    advice: str = ""


@dataclass(frozen=True)
class _Case:
    """One model on GPUs of one size; `weights` are those of all GPUs together."""

    model: Model
    shape: Architecture
    weights: int
    gpu_memory: int

    @property
    def tokens(self) -> int:
        return self.model.vllm_config.max_model_len or self.shape.usual_length

    @property
    def size(self) -> int:
        return self.model.vllm_config.tensor_parallel_size or 1

    @property
    def available(self) -> int:
        share = self.model.vllm_config.gpu_memory_utilization or DEFAULT_UTILIZATION
        return int(self.gpu_memory * share)

    def weights_per_gpu(self, size: int) -> int:
        return max(0, self.weights // size - offloaded_bytes(self.model))

    def overhead(self, size: int) -> int:
        return overhead_bytes(self.model, self.shape, self.gpu_memory, size)

    def cache(self, tokens: int, size: int) -> int:
        batch = batch_tokens(self.model, self.gpu_memory)
        return cache_bytes(self.model, self.shape, tokens, size, batch)

    def room(self, size: int) -> int:
        """Return what is left for the cache of one of so many GPUs; negative when too little."""
        return self.available - self.weights_per_gpu(size) - self.overhead(size)


def fit_of(model: Model, verdict: Verdict, gpu_memory: int) -> Fit:
    """Estimate whether the model fits GPUs of which each has `gpu_memory` bytes.

    0 bytes, a repository without a configuration that can be counted, or one without weights
    gives UNKNOWN, with what can be said all the same. Weights that alone are too large need no
    configuration to be refused.
    """
    shape = architecture_of(verdict.config)
    weights = weight_bytes(model, verdict, shape)
    if shape is None or not weights:
        return _without_shape(model, weights, gpu_memory)
    case = _Case(model, shape, weights, gpu_memory)
    found = Fit(
        result=Fits.UNKNOWN,
        text="",
        weights=case.weights_per_gpu(case.size),
        kv_cache=case.cache(case.tokens, case.size),
        overhead=case.overhead(case.size),
        available=case.available,
    )
    found = replace(found, needed=found.weights + found.kv_cache + found.overhead)
    if not gpu_memory:
        return replace(found, text=f"{_needs(found, case)}; the GPUs' memory is unknown")
    return _judged(found, case)


def _without_shape(model: Model, weights: int, gpu_memory: int) -> Fit:
    """Judge by the weights alone."""
    size = model.vllm_config.tensor_parallel_size or 1
    share = model.vllm_config.gpu_memory_utilization or DEFAULT_UTILIZATION
    mine, available = max(0, weights // size - offloaded_bytes(model)), int(gpu_memory * share)
    if gpu_memory and mine > available:
        return Fit(
            Fits.NOT,
            f"the weights alone need {_gib(mine)} per GPU, of {_gib(available)} usable",
            weights=mine,
            needed=mine,
            available=available,
            advice="use more GPUs (requestGPU and vllmConfig.tensorParallelSize) or larger ones",
        )
    what = "config.json does not say enough to count" if weights else "the weights' size is unknown"
    return Fit(Fits.UNKNOWN, what, weights=mine, available=available)


def _judged(found: Fit, case: _Case) -> Fit:
    """Compare what is needed with what there is, and say what would help."""
    room = case.room(case.size)
    longest, fewest = _largest_length(case, room), _smallest_size(case)
    found = replace(found, largest_max_model_len=longest, smallest_tensor_parallel_size=fewest)
    text = f"{_needs(found, case)}, of {_gib(found.available)} usable"
    if found.needed > found.available:
        return replace(found, result=Fits.NOT, text=text, advice=_remedy(found, case))
    few_requests = found.kv_cache and room < _TIGHT_REQUESTS * found.kv_cache
    if few_requests or found.needed > _TIGHT_SHARE * found.available:
        text += _requests(room, found, case)
        return replace(found, result=Fits.TIGHT, text=text, advice=_relief(found, case))
    return replace(found, result=Fits.FITS, text=text + _requests(room, found, case))


def _needs(found: Fit, case: _Case) -> str:
    parts = [f"{_gib(found.weights)} weights"]
    if found.kv_cache:
        parts.append(f"{_gib(found.kv_cache)} cache for {case.tokens:,} tokens")
    parts.append(f"about {_gib(found.overhead)} besides")
    return f"needs about {_gib(found.needed)} per GPU ({', '.join(parts)})"


def _requests(room: int, found: Fit, case: _Case) -> str:
    if not found.kv_cache:
        return ""
    return f"; the cache holds {room / found.kv_cache:.1f} requests of {case.tokens:,} tokens"


def _largest_length(case: _Case, room: int) -> int | None:
    """Return the longest context whose cache fits the room, at most the model's own."""
    longest = max(case.shape.positions, case.tokens)
    if room <= 0:
        return None
    low, high = 0, longest // _BLOCK + 1
    while low < high:  # the cache grows with the tokens
        middle = (low + high + 1) // 2
        if case.cache(min(middle * _BLOCK, longest), case.size) <= room:
            low = middle
        else:
            high = middle - 1
    return min(low * _BLOCK, longest) or None


def _smallest_size(case: _Case) -> int | None:
    """Return the fewest GPUs that share the heads evenly and hold the model.

    Heads of keys and values are shared evenly, or each lies on the same number of GPUs, as
    vLLM's model classes assert.
    """
    heads, kv_heads = case.shape.attention_heads, case.shape.kv_heads
    for size in range(1, min(heads, 1024) + 1):
        even = heads % size == 0 and (kv_heads % size == 0 or size % kv_heads == 0)
        if even and case.cache(case.tokens, size) <= case.room(size):
            return size
    return None


def _remedy(found: Fit, case: _Case) -> str:
    """Return what makes the model fit, the smaller change first."""
    remedies = []
    longest, fewest = found.largest_max_model_len, found.smallest_tensor_parallel_size
    if longest and longest >= min(_SHORTEST_USEFUL, case.tokens):
        remedies.append(f"set vllmConfig.maxModelLen: {longest} (or less)")
    if fewest:
        remedies.append(f"set requestGPU and vllmConfig.tensorParallelSize: {fewest}")
    if remedies:
        return f"{', or '.join(remedies)} in models.yaml"
    return "use larger GPUs (nodeSelector in models.yaml) or a quantized copy of the model"


def _relief(found: Fit, case: _Case) -> str:
    """Return what gives a model that is tight more room."""
    if found.kv_cache and case.tokens > 2 * _SHORTEST_USEFUL:
        shorter = max(_SHORTEST_USEFUL, case.tokens // 2 // _BLOCK * _BLOCK)
        return f"a shorter context gives room: vllmConfig.maxModelLen: {shorter} in models.yaml"
    return "more GPUs or larger ones give room"


def _gib(size: int) -> str:
    """Return bytes in GiB, the unit of vLLM's messages and of NVIDIA's labels."""
    count = size / GIB
    return f"{count:.0f} GiB" if count >= 100 else f"{count:.3g} GiB"  # noqa: PLR2004 -- three digits say enough

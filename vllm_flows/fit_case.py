"""One model on GPUs of one size: how much room there is, and what would fit. Pure arithmetic.

Where models.yaml asks for what vLLM refuses, the nearest that vLLM takes is counted: the longest
context, and a number of GPUs that share the heads.
"""

from __future__ import annotations

from dataclasses import dataclass

from vllm_flows.architecture import Architecture
from vllm_flows.engine_limits import possible_sizes, splits
from vllm_flows.gpu_memory import batch_tokens, cache_bytes, offloaded_bytes, overhead_bytes
from vllm_flows.models import Model

BLOCK = 16
_STEPS = 20
_LARGEST_STEP = 19
"""Fractions are proposed in steps of 0.05, up to 0.95: the driver and other processes need some."""


@dataclass(frozen=True)
class Case:
    """One model on GPUs of `gpu_memory` bytes each, of which vLLM may fill the fraction `share`.

    `weights` are the bytes of those of all GPUs together; `batches` are in flight at a time;
    `limit` is the longest context that vLLM takes, `most_gpus` what one node has at most: 0 where
    these are unknown. `fp8_cache`: the checkpoint declares such a cache, and vLLM goes by it.
    """

    model: Model
    shape: Architecture
    weights: int
    gpu_memory: int
    share: float
    batches: int
    limit: int
    most_gpus: int
    fp8_cache: bool = False

    @property
    def too_long(self) -> bool:
        """Whether vLLM refuses the context that models.yaml asks for."""
        return bool(self.limit) and (self.model.vllm_config.max_model_len or 0) > self.limit

    @property
    def tokens(self) -> int:
        """The context that is counted."""
        wanted = self.model.vllm_config.max_model_len or self.shape.usual_length
        return self.limit if self.too_long else wanted

    @property
    def uneven(self) -> bool:
        """Whether vLLM refuses the number of GPUs that models.yaml asks for."""
        return not splits(self.shape, self.model.vllm_config.tensor_parallel_size or 1)

    @property
    def size(self) -> int:
        """The number of GPUs that is counted; of two that are as near, the larger."""
        wanted = self.model.vllm_config.tensor_parallel_size or 1
        if not self.uneven:
            return wanted
        sizes = possible_sizes(self.shape, self.most_gpus)
        return min(sizes, key=lambda size: (abs(size - wanted), -size))

    @property
    def available(self) -> int:
        """The bytes of a GPU that vLLM may fill."""
        return int(self.gpu_memory * self.share)

    def weights_per_gpu(self, size: int) -> int:
        """Return the bytes of weights on one of `size` GPUs."""
        return max(0, self.weights // size - offloaded_bytes(self.model))

    def overhead(self, size: int) -> int:
        """Return the bytes besides weights and cache on one of `size` GPUs."""
        return overhead_bytes(self.model, self.shape, self.gpu_memory, size)

    def cache(self, tokens: int, size: int) -> int:
        """Return the bytes of one request's cache on one of `size` GPUs."""
        in_flight = self.batches * batch_tokens(self.model, self.gpu_memory)
        return cache_bytes(self.model, self.shape, tokens, size, in_flight, fp8=self.fp8_cache)

    def room(self, size: int) -> int:
        """Return what is left for the cache on one of `size` GPUs; negative when too little."""
        return self.available - self.weights_per_gpu(size) - self.overhead(size)

    def largest_length(self, size: int) -> int | None:
        """Return the longest context that vLLM takes and `size` GPUs can hold, None for none."""
        longest, room = self.limit or max(self.shape.positions, self.tokens), self.room(size)
        if room <= 0:
            return None
        low, high = 0, longest // BLOCK + 1
        while low < high:  # the cache grows with the tokens
            middle = (low + high + 1) // 2
            if self.cache(min(middle * BLOCK, longest), size) <= room:
                low = middle
            else:
                high = middle - 1
        return min(low * BLOCK, longest) or None

    def smallest_size(self) -> int | None:
        """Return the fewest GPUs that vLLM takes, one node has and hold the model, or None."""
        for size in possible_sizes(self.shape, self.most_gpus):
            if self.cache(self.tokens, size) <= self.room(size):
                return size
        return None

    def larger_share(self) -> float | None:
        """Return the smallest fraction of these GPUs' memory that holds the model, or None."""
        used = self.weights_per_gpu(self.size) + self.overhead(self.size)
        return larger_share(used + self.cache(self.tokens, self.size), self.gpu_memory, self.share)


def larger_share(needed: int, gpu_memory: int, share: float) -> float | None:
    """Return the smallest fraction above `share` that holds so many bytes; None above 0.95."""
    for step in range(1, _LARGEST_STEP + 1):
        if step / _STEPS > share and int(gpu_memory * step / _STEPS) >= needed:
            return step / _STEPS
    return None

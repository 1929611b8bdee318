"""What a release of vLLM takes: the longest context, the numbers of GPUs, its own defaults. Pure.

The estimate of the memory and the refusals both go by these, so that they propose the same.
"""

from __future__ import annotations

import re

from vllm_flows.architecture import Architecture
from vllm_flows.engine_arguments import has_flag
from vllm_flows.engine_catalog import DEFAULT_UTILIZATION, NEWEST, Version
from vllm_flows.model_configuration import Configuration, number
from vllm_flows.models import Model

_VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?![\d.])")
_MOST_GPUS = 1024
"""The largest `tensorParallelSize` that models.yaml takes."""


def engine_version(image_tag: str) -> Version | None:
    """Return the vLLM release that an image tag names: `v0.11.0`, `0.11.0-cu129`.

    `latest`, also with a suffix, is the newest one known; None for a tag that names none, such as
    `nightly`.
    """
    if image_tag.partition("-")[0] == "latest":
        return NEWEST
    match = _VERSION.match(image_tag)
    return tuple(int(part or 0) for part in match.groups()) if match else None


def utilization(model: Model, image_tag: str) -> float:
    """Return the fraction of a GPU's memory that vLLM may fill: as set, else its release's own.

    An image whose release is not known counts as the newest.
    """
    version = engine_version(image_tag) or NEWEST
    own = [share for since, share in DEFAULT_UTILIZATION.items() if since <= version]
    return model.vllm_config.gpu_memory_utilization or own[-1]


def longest_context(model: Model, config: Configuration, shape: Architecture) -> int:
    """Return the longest `maxModelLen` in tokens that vLLM takes; 0 where that is left to vLLM.

    Arguments may lengthen the context. The engine's environment is ours and never has
    VLLM_ALLOW_LONG_MAX_MODEL_LEN. Source: `_get_and_verify_max_len` in vLLM's config/model.py.
    """
    if has_flag(model.vllm_config.extra_args, "--hf-overrides", "--rope-scaling"):
        return 0
    return shape.positions and max(shape.positions, number(config, "model_max_length"))


def splits(shape: Architecture, size: int) -> bool:
    """Say whether so many GPUs share all heads evenly, as vLLM's model classes assert.

    Heads of keys and values are shared evenly, or each lies on the same number of GPUs.
    """
    kv_heads = max(shape.kv_heads, 1)
    even = kv_heads % size == 0 or size % kv_heads == 0
    return shape.attention_heads % size == 0 and even


def possible_sizes(shape: Architecture, most_gpus: int) -> tuple[int, ...]:
    """Return every `tensorParallelSize` that vLLM takes, the smallest first: 1 always is.

    None is larger than `most_gpus`, what one node has at most; 0 when that is unknown.
    """
    most = min(shape.attention_heads, most_gpus or _MOST_GPUS, _MOST_GPUS)
    return tuple(size for size in range(1, most + 1) if splits(shape, size))

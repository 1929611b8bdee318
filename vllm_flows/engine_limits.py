"""What a release of vLLM takes: the longest context, the numbers of GPUs, its own defaults. Pure.

The estimate of the memory and the refusals both go by these, so that they propose the same.
"""

from __future__ import annotations

import re

from vllm_flows.architecture import Architecture
from vllm_flows.engine_arguments import has_flag
from vllm_flows.engine_catalog import DEFAULT_UTILIZATION, NEWEST, Version
from vllm_flows.images import LATEST
from vllm_flows.model_configuration import Configuration, number
from vllm_flows.models import Model

USUAL_IMAGE = "vllm/vllm-openai:latest"

_RELEASE = re.compile(r"v?(0)\.(\d{1,4})(?:\.(\d{1,4}))?(?![\d.])")
"""All of vLLM's releases begin with 0."""
_OWN_NUMBERS = "lmcache/vllm-openai"
"""LMCache's image has LMCache's numbers: its v0.5.4 holds vLLM 0.27.1 (LMCache issue 5101)."""
_MOST_GPUS = 1024
"""The largest `tensorParallelSize` that models.yaml takes."""
_BOTH_BATCHES: Version = (0, 26, 0)
"""The first release that keeps room for all batches that are in flight."""


def engine_version(image: str) -> Version | None:
    """Return the vLLM release that an image names: `vllm/vllm-openai:v0.11.0-cu129`.

    Only images that have `vllm` in their own name are numbered as vLLM is, and not all of them:
    None for `vllm:25.09-py3` of NVIDIA and whatever else names no release, such as `nightly`.
    `latest`, also with a suffix, is the newest known one for vLLM's own image and its mirrors, and
    none with a digest: that was the newest once.
    """
    named, _, digest = image.partition("@")
    repository, _, tag = named.rpartition(":")
    name = repository.rpartition("/")[2]
    if "vllm" not in name or repository.endswith(_OWN_NUMBERS):
        return None
    if tag.partition("-")[0] == LATEST:
        return NEWEST if name.startswith("vllm-openai") and not digest else None
    match = _RELEASE.match(tag)
    return tuple(int(part or 0) for part in match.groups()) if match else None


def known_version(image: str) -> Version | None:
    """Return the release that an image names; None also for one newer than what is known."""
    version = engine_version(image)
    return version if version and version <= NEWEST else None


def utilization(model: Model, image: str) -> float:
    """Return the fraction of a GPU's memory that vLLM may fill: as set, else its release's own.

    An image whose release is not known counts as the newest.
    """
    version = engine_version(image) or NEWEST
    own = [share for since, share in DEFAULT_UTILIZATION.items() if since <= version]
    return model.vllm_config.gpu_memory_utilization or own[-1]


def batches_in_flight(model: Model, image: str) -> int:
    """Return for how many batches a layer with a window keeps room, besides its window.

    Scheduling ahead of the GPU has two in flight. Up to 0.25.1 vLLM kept room for one all the
    same; so is counted where the release is not known, that nothing is refused in vain. Source:
    `SlidingWindowSpec` in v1/kv_cache_interface.py of 0.11.2 to 0.32.0, and
    `max_in_flight_tokens` in config/vllm.py since 0.26.0 (vLLM pull request 47728).
    """
    version = engine_version(image)
    ahead = not has_flag(model.vllm_config.extra_args, "--no-async-scheduling")
    return 2 if ahead and version and version >= _BOTH_BATCHES else 1


def longest_context(model: Model, config: Configuration, shape: Architecture) -> int:
    """Return the longest `maxModelLen` in tokens that vLLM takes; 0 where that is left to vLLM.

    Arguments may lengthen the context. The engine's environment is ours and never has
    VLLM_ALLOW_LONG_MAX_MODEL_LEN. Source: `_get_and_verify_max_len` in vLLM's config/model.py.
    """
    if has_flag(model.vllm_config.extra_args, "--hf-overrides", "--rope-scaling"):
        return 0
    return shape.positions and max(shape.positions, number(config, "model_max_length"))


def splits(shape: Architecture, size: int) -> bool:
    """Say whether so many GPUs share all heads and feed-forward layers evenly, as vLLM asserts.

    Heads of keys and values are shared evenly, or each lies on the same number of GPUs. Source:
    vLLM's model classes, and `divide` in distributed/utils.py, which its parallel layers call.
    """
    kv_heads = max(shape.kv_heads, 1)
    even = kv_heads % size == 0 or size % kv_heads == 0
    return shape.attention_heads % size == 0 and even and shape.shared_width % size == 0


def possible_sizes(shape: Architecture, most_gpus: int) -> tuple[int, ...]:
    """Return every `tensorParallelSize` that vLLM takes, the smallest first: 1 always is.

    None is larger than `most_gpus`, what one node has at most; 0 when that is unknown.
    """
    most = min(shape.attention_heads, most_gpus or _MOST_GPUS, _MOST_GPUS)
    return tuple(size for size in range(1, most + 1) if splits(shape, size))

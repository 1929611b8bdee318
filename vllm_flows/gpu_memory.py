"""How much memory weights, cache and everything else take on one GPU. Pure arithmetic; bytes.

An estimate: weights and cache follow from the files and the shape, the rest is a rule of thumb.

The rest, in the terms of vLLM's memory profile (`determine_available_memory` in
v1/worker/gpu_worker.py):
- what torch does not see: 0.4 GiB of CUDA context, and 0.6 GiB more for NCCL between GPUs.
  Published profiles say 0.35 GiB on one GPU and 0.34 to 0.43 GiB on four (vLLM issues 10517
  and 16570), newer ones up to 1 GiB;
- CUDA graphs: 0.5 GiB, none with `--enforce-eager`;
- the peak of activations: for each token of a batch two hidden vectors and three of the
  feed-forward layer, split by tensor parallelism, 2 bytes each. Issue 10517 measures 2.07 GiB for
  20,000 tokens of Llama 3.1 8B, this gives 1.9;
- logits of all sequences in 4 + 2 bytes, and 1 GiB for the encoder of a multimodal model, which
  vLLM profiles with images of the largest size.
"""

from __future__ import annotations

from collections.abc import Mapping

from vllm_flows.architecture import Architecture
from vllm_flows.engine_arguments import flag_number, flag_value, has_flag
from vllm_flows.engine_quantization import given_quantization
from vllm_flows.models import Model
from vllm_flows.observed import Verdict

GIB = 2**30

_BYTES: Mapping[str, float] = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("BF16", "F16", "I16", "U16"), 2),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 1),
    **dict.fromkeys(("F4", "I4", "U4"), 0.5),
}
_FLOAT32 = frozenset({"float32", "float"})
_BLOCK = 16
"""Tokens of a cache block; vLLM keeps whole blocks."""
_EIGHT_BIT = frozenset(
    """
    fp8 fp8_per_tensor fp8_per_block fp8_per_channel mxfp8 experts_int8 ptpc_fp8
    int8_per_channel_weight_only
    """.split()  # noqa: SIM905 -- a list of words reads best as words
)
_FOUR_BIT = frozenset({"bitsandbytes", "nvfp4_per_token"})
_FLOATS = frozenset({"F32", "BF16", "F16"})
"""Types whose numbers are never packed."""
_PACKED = 1.01
"""Numbers that make more bytes than the files have, by more than this, count packed ones apart."""


def weight_bytes(model: Model, verdict: Verdict, architecture: Architecture | None) -> int:
    """Return the bytes of all weights as vLLM holds them, on all GPUs together; 0 if unknown.

    The numbers by data type, from the files' headers, else the files' size. vLLM turns 32-bit
    numbers into the type it computes in; those of quantized weights stay as they are.
    """
    stored = _stored_bytes(verdict)
    quantized = bool(architecture and architecture.quantization)
    if not quantized:
        stored = int(stored * _cast(model, verdict, architecture))
    return _quantized_at_load(model, architecture, stored)


def _stored_bytes(verdict: Verdict) -> int:
    """Return the bytes of the weights in the repository; pickles count without safetensors."""
    by_suffix = {
        suffix: sum(file.size for file in verdict.files if file.name.endswith(suffix))
        for suffix in (".safetensors", ".bin", ".pt", ".pth")
    }
    in_files = by_suffix.pop(".safetensors") or max(by_suffix.values())
    if not verdict.parameters or set(verdict.parameters) - set(_BYTES):
        return in_files
    counted = int(sum(count * _BYTES[kind] for kind, count in verdict.parameters.items()))
    # The Hub counts what is packed, such as two 4-bit numbers in a byte, one by one.
    may_be_packed = set(verdict.parameters) - _FLOATS
    return in_files if may_be_packed and 0 < in_files * _PACKED < counted else counted


def _cast(model: Model, verdict: Verdict, architecture: Architecture | None) -> float:
    """Return how the weights' size changes when vLLM turns them into its own data type."""
    wide = 4 if model.vllm_config.dtype in _FLOAT32 else 2
    parameters = {kind: count for kind, count in verdict.parameters.items() if kind in _FLOATS}
    before = sum(count * _BYTES[kind] for kind, count in parameters.items())
    if before:
        rest = sum(
            count * _BYTES.get(kind, 1)
            for kind, count in verdict.parameters.items()
            if kind not in parameters
        )
        return (sum(parameters.values()) * wide + rest) / (before + rest)
    said = architecture.dtype.removeprefix("torch.") if architecture else ""
    return wide / {"float32": 4, "bfloat16": 2, "float16": 2}.get(said, wide)


def _quantized_at_load(model: Model, architecture: Architecture | None, stored: int) -> int:
    """Return what is left of 16-bit weights that `--quantization` makes smaller at the start.

    The embeddings of words, in and out, stay as they are.
    """
    method = given_quantization(model)
    if architecture is None or architecture.quantization:
        return stored
    share = 0.5 if method in _EIGHT_BIT else 0.28 if method in _FOUR_BIT else 1
    kept = min(stored, 2 * 2 * architecture.vocabulary * architecture.hidden_size)
    return int(kept + (stored - kept) * share)


def offloaded_bytes(model: Model) -> int:
    """Return the bytes of weights that each GPU leaves in the host's memory."""
    return int(flag_number(model.vllm_config.extra_args, "--cpu-offload-gb") * GIB)


def cache_element_bytes(model: Model, *, fp8: bool = False) -> float:
    """Return the bytes of one number in the cache, with its share of the scales.

    `fp8`: where no argument says otherwise, the checkpoint makes it so.
    """
    kind = flag_value(model.vllm_config.extra_args, "--kv-cache-dtype")
    if fp8 and kind in {"", "auto"}:
        return 1
    if kind.startswith(("fp8", "int8")):
        return 1
    if kind.startswith(("nvfp4", "int4")):
        return 0.5625  # one 8-bit scale for 16 numbers
    return 4 if model.vllm_config.dtype in _FLOAT32 else 2


def cache_bytes(
    model: Model,
    architecture: Architecture,
    tokens: int,
    size: int,
    in_flight: int,
    *,
    fp8: bool = False,
) -> int:
    """Return the cache of one request of so many tokens on one of `size` GPUs.

    `fp8` as in `cache_element_bytes`.

    A layer with a window keeps that window, the tokens that are `in_flight`, and one block more,
    since a window need not begin with a block: `SlidingWindowSpec` in vLLM's
    v1/kv_cache_interface.py, 0.11.2 to 0.32.0.
    """
    if architecture.pooling:
        return 0
    windows = not has_flag(
        model.vllm_config.extra_args, "--disable-hybrid-kv-cache-manager"
    ) or all(group.window for group in architecture.attention)
    elements = 0
    for group in architecture.attention:
        blocks = -(-tokens // _BLOCK)
        if group.window and windows:
            blocks = -(-min(tokens, group.window - 1 + in_flight) // _BLOCK) + 1
        elements += group.elements_per_token(size) * blocks * _BLOCK
    return int(elements * cache_element_bytes(model, fp8=fp8))


def batch_tokens(model: Model, gpu_memory: int) -> int:
    """Return the tokens of a batch: as set, else vLLM's default for a server on such a GPU.

    Source: `get_batch_defaults` in vLLM's engine/arg_utils.py; an A100 has less by its name.
    """
    given = flag_number(model.vllm_config.extra_args, "--max-num-batched-tokens")
    if given:
        return int(given)
    if gpu_memory >= 160 * GIB:
        return 16384
    return 8192 if gpu_memory >= 70 * GIB else 2048


def overhead_bytes(model: Model, architecture: Architecture, gpu_memory: int, size: int) -> int:
    """Return what one of `size` GPUs needs besides weights and cache: the module's rule."""
    context = 0.4 * GIB + (0.6 * GIB if size > 1 else 0)
    graphs = 0 if has_flag(model.vllm_config.extra_args, "--enforce-eager") else 0.5 * GIB
    width = 2 * architecture.hidden_size + 3 * architecture.intermediate_size / size
    activations = batch_tokens(model, gpu_memory) * width * 2
    sequences = model.vllm_config.max_num_seqs or (1024 if gpu_memory >= 70 * GIB else 256)
    logits = sequences * architecture.vocabulary * 6
    encoder = GIB if architecture.multimodal else 0
    return int(context + graphs + activations + logits + encoder)

"""What config.json says of a model's shape, as far as vLLM's memory and its refusals hang on it.

The keys and their order are those of vLLM 0.32: `transformers_utils/model_arch_config_convertor.py`
and `_get_and_verify_max_len` in `config/model.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from vllm_flows.attention_layers import AttentionLayers, attention_layers
from vllm_flows.model_configuration import (
    Configuration,
    architecture_names,
    factor,
    inner,
    language_model,
    layer_count,
    number,
    quantization_method,
    quantization_of,
    text,
)

_POSITIONS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads")
_KV_HEADS = (
    "n_head_kv",
    "num_kv_heads",
    "num_key_value_heads",
    "multi_query_group_num",
    "num_attention_groups",
)
_HIDDEN = ("hidden_size", "n_embd", "d_model", "dim")
_INTERMEDIATE = ("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim", "decoder_ffn_dim")
_EXPERTS_PER_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk")
_VISION = ("vision_config", "audio_config", "vision_tower", "mm_vision_tower")
_ENCODERS = ("Bert", "Roberta", "XLMRoberta", "ModernBert", "NomicBert", "Gte", "Electra")
_UNSCALED = frozenset({"su", "longrope", "llama3", "default", "mrope"})
"""Kinds of rotary embedding whose factor does not lengthen the context."""

_NO_LENGTH_SAID = 2048
"""The length that vLLM assumes when a configuration has none."""

_DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "gemma3_text": {
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "max_position_embeddings": 131072,
            "sliding_window_pattern": 6,
            "vocab_size": 262208,
        },
        "llama": {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32},
    }
)
"""What Transformers fills in where published configurations of multimodal models are silent."""


@dataclass(frozen=True)
class Architecture:
    """The shape of a model; sizes are counts of numbers or tokens, 0 where unknown.

    `names` are its classes; `attention` the layers that keep keys and values; `positions` the
    longest context that some vLLM takes, `usual_length` the one it takes when none is set.
    `intermediate_size` is the width of the widest activations of one token in a feed-forward
    layer, all its experts together; `shared_width` the width of such a layer that GPUs share, of
    models without experts. `quantization` is vLLM's name for that of the weights, ""
    for none. `pooling` models are encoders without a cache.
    """

    names: tuple[str, ...]
    model_type: str
    layers: int
    hidden_size: int
    intermediate_size: int
    shared_width: int
    vocabulary: int
    attention_heads: int
    kv_heads: int
    head_dim: int
    attention: tuple[AttentionLayers, ...]
    positions: int
    usual_length: int
    dtype: str
    quantization: str
    quantization_bits: int
    multimodal: bool
    pooling: bool


def architecture_of(config: Configuration) -> Architecture | None:
    """Return the shape of the model that config.json describes; None when it says too little.

    Never raises: values of the wrong kind count as absent. Configurations whose cache has a
    shape of its own (DeepSeek V4's compressed layers) count as too little said.
    """
    part = _with_defaults(language_model(config))
    heads = number(part, *_HEADS)
    head_dim = number(part, "head_dim", "hidden_size_per_head", "attention_head_dim")
    head_dim = head_dim or (number(part, *_HIDDEN) // heads if heads else 0)
    if not (heads and head_dim and layer_count(part)) or "compress_ratios" in part:
        return None
    kv_heads = _kv_heads(part, heads)
    attention = attention_layers(part, kv_heads, head_dim)
    if not attention:
        return None
    positions = _positions(part)
    return Architecture(
        names=architecture_names(config),
        model_type=text(config, "model_type"),
        layers=layer_count(part),
        hidden_size=number(part, *_HIDDEN),
        intermediate_size=_intermediate_size(part),
        shared_width=0 if number(part, *_EXPERTS_PER_TOKEN) else number(part, *_INTERMEDIATE),
        vocabulary=number(part, "vocab_size"),
        attention_heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        attention=tuple(attention),
        positions=positions,
        usual_length=_usual_length(part, positions),
        dtype=text(config, "dtype", "torch_dtype") or text(part, "dtype", "torch_dtype"),
        quantization=quantization_method(config),
        quantization_bits=_quantization_bits(config),
        multimodal=any(key in config for key in _VISION),
        pooling=_is_encoder(config, part),
    )


def _with_defaults(part: Configuration) -> Configuration:
    return {**_DEFAULTS.get(text(part, "model_type"), {}), **part}


def _kv_heads(part: Configuration, heads: int) -> int:
    """Return the heads of keys and values: those said, one for multi-query models, else all."""
    if part.get("multi_query") is True and part.get("new_decoder_architecture") is not True:
        return 1
    said = number(part, *_KV_HEADS) or number(inner(part, "attn_config"), "kv_n_heads")
    return said or heads


def _intermediate_size(part: Configuration) -> int:
    experts = number(part, *_EXPERTS_PER_TOKEN)
    dense = number(part, *_INTERMEDIATE) or 4 * number(part, *_HIDDEN)
    if not experts:
        return dense
    return max(dense, experts * (number(part, "moe_intermediate_size") or dense))


def _is_encoder(config: Configuration, part: Configuration) -> bool:
    """Say whether the model reads all of its input at once and so keeps no cache."""
    if part.get("use_bidirectional_attention") is True:
        return True
    names = architecture_names(config)[:1]
    return config.get("is_decoder") is not True and any(one.startswith(_ENCODERS) for one in names)


def _positions(part: Configuration) -> int:
    """Return the longest context, 0 when the configuration has none.

    The smallest of vLLM's keys, `model_max_length` before all others, lengthened by the rotary
    embedding's factor. For YaRN vLLM 0.11 to 0.20 take `original_max_position_embeddings` times
    the factor and 0.32 the configuration's own length; the longer one counts here, so that no
    release's limit is called a mistake.
    """
    said = [number(part, key) for key in _POSITIONS]
    longest = number(part, "model_max_length") or min((one for one in said if one), default=0)
    if "gemma3" in text(part, "model_type"):
        return longest  # its length has the factor in it already
    scaled = longest
    for rope in _rotary_embeddings(part):
        kind = text(rope, "rope_type", "type")
        if "yarn" in kind:
            original = number(rope, "original_max_position_embeddings")
            scaled = max(scaled, int((original or longest) * factor(rope, "factor")))
        elif kind not in _UNSCALED:
            scaled = max(scaled, int(longest * factor(rope, "factor")))
    return scaled


def _rotary_embeddings(part: Configuration) -> Iterator[Configuration]:
    """Yield the parameters of the rotary embeddings: one set, or one per type of layer."""
    for key in ("rope_parameters", "rope_scaling"):
        found = inner(part, key)
        nested = [value for value in found.values() if isinstance(value, Mapping)]
        yield from nested or ([found] if found else [])


def _usual_length(part: Configuration, positions: int) -> int:
    """Return the length when none is set: with LongRoPE, the one before lengthening."""
    kinds = {text(rope, "rope_type", "type") for rope in _rotary_embeddings(part)}
    original = number(part, "original_max_position_embeddings")
    if kinds & {"longrope", "su"} and original:
        return original
    return positions or _NO_LENGTH_SAID


def _quantization_bits(config: Configuration) -> int:
    """Return the bits of a weight, 0 when the weights are not quantized or nothing says so."""
    found = quantization_of(config)
    groups = inner(found, "config_groups").values()
    weights = [inner(group, "weights") for group in groups if isinstance(group, Mapping)]
    said = number(found, "bits", "w_bit") or max(
        (number(one, "num_bits") for one in weights), default=0
    )
    if found.get("load_in_4bit") is True:
        return 4
    named = {"fp8": 8, "fbgemm_fp8": 8, "mxfp4": 4, "modelopt": 8, "modelopt_fp4": 4}
    return said or named.get(quantization_method(config), 0)

"""Which layers of a model keep keys and values, of which shape, and for how many tokens.

The rules are those of vLLM's model classes and of the Transformers configurations: `layer_types`
where a model has it, else what the family's own keys mean. Layers of linear attention, state
space (Mamba) or convolution keep a state of fixed size per request; it is small and not counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from itertools import cycle, islice

from vllm_flows.model_configuration import (
    Configuration,
    inner,
    layer_count,
    number,
    text,
    texts,
)

_MOST_LAYERS = 10_000
_WINDOWED = {"sliding_attention", "sliding_window", "local_attention", "local"}
_STATE = {"linear_attention", "mamba", "mamba2", "conv", "recurrent", "recurrent_block", "moe"}
_EXPANDED = "minicpm3"
"""The family with latent attention whose heads vLLM keeps whole: not in its `is_deepseek_mla`."""


class Kind(Enum):
    """What a layer keeps: all tokens, the last ones, or no keys and values at all."""

    FULL = "full"
    WINDOW = "window"
    NONE = "none"


@dataclass(frozen=True)
class AttentionLayers:
    """Layers that are alike: how many, their heads of keys and values, and the head's size.

    `window` is the number of tokens that they look back, 0 for all. `latent` layers keep one
    vector of `head_dim` per token in place of keys and values (multi-head latent attention).
    """

    count: int
    kv_heads: int
    head_dim: int
    window: int = 0
    latent: bool = False

    def elements_per_token(self, tensor_parallel_size: int) -> int:
        """Return the numbers that one GPU keeps per token of a request.

        GPUs share the heads, each at least one; a latent vector lies on every GPU.
        Source: `get_num_kv_heads` in vLLM's config/model.py.
        """
        if self.latent:
            return self.count * self.head_dim
        heads = max(1, self.kv_heads // tensor_parallel_size)
        return self.count * 2 * heads * self.head_dim


def attention_layers(config: Configuration, kv_heads: int, head_dim: int) -> list[AttentionLayers]:
    """Return the layers with keys and values of a language model's configuration.

    `kv_heads` and `head_dim` are those of layers for which nothing else is said. Empty when the
    configuration has too many layers to be one, or none that keep anything.
    """
    layers = layer_count(config)
    if layers > _MOST_LAYERS:
        return []
    if text(config, "model_type") == _EXPANDED:
        return _expanded(config, kv_heads, head_dim)
    if latent := _latent(config):
        full = sum(kind is not Kind.NONE for kind in _kinds(config, layers))
        return [AttentionLayers(full, 1, latent, latent=True)] if full else []
    if "block_configs" in config:
        return _pruned(config, head_dim)
    shared = min(number(config, "num_kv_shared_layers"), layers)
    counts = Counter(_kinds(config, layers)[: layers - shared])
    full_shape = (
        number(config, "num_global_key_value_heads") or kv_heads,
        number(config, "global_head_dim") or head_dim,
    )
    found = [
        AttentionLayers(counts[Kind.FULL], *full_shape),
        AttentionLayers(counts[Kind.WINDOW], kv_heads, head_dim, number(config, "sliding_window")),
    ]
    return [group for group in found if group.count]


def _latent(config: Configuration) -> int:
    """Return the size of what multi-head latent attention keeps per token and layer, or 0."""
    rank = number(config, "kv_lora_rank")
    return rank + number(config, "qk_rope_head_dim") if rank else 0


def _expanded(config: Configuration, kv_heads: int, head_dim: int) -> list[AttentionLayers]:
    """Return the layers of a model that computes every head's keys from the latent vector.

    A head has the size of its key, and values are filled up to it.
    Source: `MiniCPM3Attention` in vLLM's model_executor/models/minicpm3.py, 0.18 to 0.32.
    """
    heads = number(config, "num_attention_heads") or kv_heads
    key = number(config, "qk_nope_head_dim") + number(config, "qk_rope_head_dim")
    return [AttentionLayers(layer_count(config), heads, key or head_dim)]


def _pruned(config: Configuration, head_dim: int) -> list[AttentionLayers]:
    """Return the layers of a model whose blocks differ (Nemotron's `block_configs`)."""
    heads = number(config, "num_attention_heads")
    blocks = config["block_configs"]
    found: Counter[int] = Counter()
    for block in blocks if isinstance(blocks, list) else []:
        attention = inner(block, "attention") if isinstance(block, dict) else {}
        if group := number(attention, "n_heads_in_group"):
            found[max(1, heads // group)] += 1
    return [AttentionLayers(count, kv_heads, head_dim) for kv_heads, count in found.items()]


def _kinds(config: Configuration, layers: int) -> list[Kind]:
    """Return the kind of each layer."""
    said = _said(config, layers)
    if said is None:
        said = _by_window(config, layers) if _has_window(config) else [Kind.FULL] * layers
    if not number(config, "sliding_window"):
        return [Kind.FULL if kind is Kind.WINDOW else kind for kind in said]
    return said


def _said(config: Configuration, layers: int) -> list[Kind] | None:
    """Return the kinds that the configuration names layer by layer, or by a plain rule."""
    types = texts(config, "layer_types") or texts(config, "layers_block_type")
    if len(types) >= layers > 0:
        return [_kind(name) for name in types[:layers]]
    if pattern := text(config, "hybrid_override_pattern"):
        return [Kind.FULL if letter == "*" else Kind.NONE for letter in pattern[:layers]]
    full = _full_layers(config, layers)
    if full is None:
        return None
    return [Kind.FULL if layer in full else Kind.NONE for layer in range(layers)]


def _full_layers(config: Configuration, layers: int) -> set[int] | None:
    """Return the layers with attention, from zero, where a configuration counts them."""
    numbered = inner(config, "linear_attn_config").get("full_attn_layers")
    if isinstance(numbered, list):  # counted from one
        return {layer - 1 for layer in numbered if isinstance(layer, int)}
    indices = config.get("attn_layer_indices")
    if isinstance(indices, list):
        return {layer for layer in indices if isinstance(layer, int)}
    if interval := number(config, "full_attention_interval"):
        return set(range(interval - 1, layers, interval))
    if period := number(config, "attn_layer_period"):
        return set(range(number(config, "attn_layer_offset"), layers, period))
    return None


def _kind(name: str) -> Kind:
    if name in _WINDOWED:
        return Kind.WINDOW
    return Kind.NONE if name in _STATE else Kind.FULL


def _has_window(config: Configuration) -> bool:
    return bool(number(config, "sliding_window")) and config.get("use_sliding_window") is not False


def _by_window(config: Configuration, layers: int) -> list[Kind]:
    """Return the kinds of a model with a window, from its family's own keys."""
    family = text(config, "model_type")
    period = number(config, "sliding_window_pattern", "_sliding_window_pattern")
    if family in {"gemma2", "gpt_oss"}:
        period = 2
    if pattern := text(config, "sliding_window_pattern"):
        letters = islice(cycle(pattern), layers)
        return [Kind.WINDOW if letter == "L" else Kind.FULL for letter in letters]
    if period:
        return [Kind.WINDOW if (layer + 1) % period else Kind.FULL for layer in range(layers)]
    if config.get("use_sliding_window") is True:
        first = number(config, "max_window_layers")
        return [Kind.FULL if layer < first else Kind.WINDOW for layer in range(layers)]
    return [Kind.WINDOW] * layers  # Mistral, Phi 3 and their like

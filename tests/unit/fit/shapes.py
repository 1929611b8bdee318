"""Configurations of models, cut down to the numbers that are counted."""

from __future__ import annotations

from typing import Any


def shape(layers: int, heads: int, kv_heads: int, hidden: int, **more: object) -> dict[str, Any]:
    """Return the fields of config.json, with their names there."""
    return {
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "hidden_size": hidden,
        **more,
    }

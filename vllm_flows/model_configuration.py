"""Reading a config.json that anybody may have written: a value of the wrong kind is as none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Configuration = Mapping[str, Any]
"""A config.json, or a mapping inside one."""

_LARGEST = 100_000_000
"""No number of a model that is counted here is larger; what is, is a mistake."""
_NESTED = ("text_config", "llm_config", "language_config", "thinker_config")
"""Where multimodal models keep the configuration of their language model."""
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")


def number(config: Configuration, *keys: str) -> int:
    """Return the first of the keys that holds a positive whole number, or 0."""
    for key in keys:
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST:
            return value
    return 0


def factor(config: Configuration, key: str) -> float:
    """Return the positive number behind the key, or 1."""
    value = config.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LARGEST:
        return float(value)
    return 1.0


def text(config: Configuration, *keys: str) -> str:
    """Return the first of the keys that holds text, or ""."""
    for key in keys:
        value = config.get(key)
        if isinstance(value, str) and value:
            return value
    return ""


def texts(config: Configuration, key: str) -> tuple[str, ...]:
    """Return the texts of the list behind the key; () when it is no list of texts."""
    value = config.get(key)
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return ()


def inner(config: Configuration, *keys: str) -> Configuration:
    """Return the first of the keys that holds a mapping, or an empty one."""
    for key in keys:
        value = config.get(key)
        if isinstance(value, Mapping):
            return value
    return {}


def language_model(config: Configuration) -> Configuration:
    """Return the part of a configuration that describes the language model: often all of it."""
    found = config
    for _ in range(3):
        nested = inner(found, *_NESTED)
        if not nested or (number(found, *_LAYERS) and _NESTED[0] not in found):
            break
        found = nested
    return found


def layer_count(config: Configuration) -> int:
    """Return the number of the language model's layers, or 0."""
    return number(config, *_LAYERS)


def architecture_names(config: Configuration) -> tuple[str, ...]:
    """Return the names of the model's classes, as vLLM's registry knows them."""
    return texts(config, "architectures")


def quantization_of(config: Configuration) -> Configuration:
    """Return the quantization that the weights have; empty when there is none."""
    for part in (config, language_model(config)):
        found = inner(part, "quantization_config", "compression_config")
        if found:
            return found
    return {}


def quantization_method(config: Configuration) -> str:
    """Return the quantization's name as vLLM spells it, or ""."""
    found = quantization_of(config)
    method = text(found, "quant_method").lower().replace("compressed_tensors", "compressed-tensors")
    if text(inner(found, "producer"), "name") != "modelopt":
        return method
    algorithm = text(inner(found, "quantization"), "quant_algo").upper()
    return "modelopt_fp4" if algorithm == "NVFP4" else "modelopt"

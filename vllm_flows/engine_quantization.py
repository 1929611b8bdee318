"""What vLLM would refuse of a model's quantization: the weights' own, and the one asked for. Pure.

The words in each `why` are vLLM's own.
"""

from __future__ import annotations

from collections.abc import Iterator

from vllm_flows.engine_arguments import flag_value, has_flag
from vllm_flows.engine_catalog import (
    QUANTIZATION_FAMILY,
    QUANTIZATION_FILES,
    QUANTIZATION_GONE,
    QUANTIZATIONS,
    Version,
)
from vllm_flows.errors import FitError
from vllm_flows.model_configuration import (
    Configuration,
    inner,
    quantization_method,
    quantization_of,
    text,
)
from vllm_flows.models import Model
from vllm_flows.observed import Verdict
from vllm_flows.repository_facts import plain

_OLDEST: Version = (0, 11, 0)
"""The first release of which the methods are known."""


_FP8_BITS = 8
_MODELOPT_CACHE: Version = (0, 14, 0)
_COMPRESSED_CACHE: Version = (0, 15, 0)
"""The first releases whose `--kv-cache-dtype auto` goes by what the checkpoint declares."""


def takes_fp8_cache(config: Configuration, version: Version | None) -> bool:
    """Say whether vLLM of that release keeps an FP8 cache because the checkpoint declares one.

    False for a release that is not known. Source: `get_kv_cache_quant_algo_string` in vLLM's
    utils/torch_utils.py (modelopt), `Attention` in attention/layer.py (compressed-tensors).
    """
    method, found = quantization_method(config), quantization_of(config)
    if version is None:
        return False
    if method.startswith("modelopt") and version >= _MODELOPT_CACHE:
        own = inner(found, "quantization")
        for part in (own, found):
            if scheme := inner(part, "kv_cache_scheme"):
                return _is_fp8(scheme) and scheme.get("dynamic") is False
        algorithm = text(own, "kv_cache_quant_algo") or text(found, "kv_cache_quant_algo")
        return algorithm.lower() == "fp8"
    compressed = method == "compressed-tensors" and version >= _COMPRESSED_CACHE
    return compressed and _is_fp8(inner(found, "kv_cache_scheme"))


def _is_fp8(scheme: Configuration) -> bool:
    return scheme.get("num_bits") == _FP8_BITS and scheme.get("type") == "float"


def given_quantization(model: Model) -> str:
    """Return the method that `extraArgs` asks for, "" for none."""
    arguments = model.vllm_config.extra_args
    return flag_value(arguments, "--quantization") or flag_value(arguments, "-q")


def quantization_refusals(
    model: Model, verdict: Verdict, version: Version | None
) -> Iterator[FitError]:
    """Yield what vLLM of that release would refuse; None for a release that is not known.

    A file that says how the weights are quantized is missed only where the files are known.
    """
    yield from _unknown(model, verdict.config, version)
    given = given_quantization(model)
    if not model.request_gpu:
        return  # vLLM for CPUs puts methods of its own in place of others
    if has_flag(model.vllm_config.extra_args, "--hf-overrides", "--quantization-config"):
        return  # they may say what config.json does not
    if method := quantization_method(verdict.config):
        yield from _mismatch(model, method, given)
    elif verdict.config and verdict.files and not quantization_of(verdict.config):
        yield from _not_quantized(model, verdict, given)


def _unknown(model: Model, config: Configuration, version: Version | None) -> Iterator[FitError]:
    """`_verify_quantization` in vLLM's config/model.py."""
    method = quantization_method(config)
    gone = QUANTIZATION_GONE.get(method)
    if not method or version is None or version < _OLDEST:
        return
    if method in QUANTIZATIONS and (gone is None or version < gone):
        return
    before = ".".join(str(part) for part in gone or ())
    older = f"an engine image before v{before} (VLLM_MODEL_TAG), or " if gone else ""
    yield FitError(
        f"vLLM does not know the weights' quantization, {plain(method)[:60]}",
        why=f"Unknown quantization method: {plain(method)[:60]}.",
        next_command=f"use {older}a copy of the model quantized as awq, gptq or fp8",
        model=model.name,
    )


def _mismatch(model: Model, method: str, given: str) -> Iterator[FitError]:
    """`_verify_quantization` in vLLM's config/model.py of 0.11.2, 0.20.0 and 0.32.0.

    Within a family vLLM turns one name into the other; what it does with other methods hangs
    on the model and the GPU, and is left to it.
    """
    families = QUANTIZATION_FAMILY.get(method), QUANTIZATION_FAMILY.get(given)
    if None in families or families[0] == families[1]:
        return
    yield FitError(
        f"--quantization {given} is not the weights' own quantization, {method}",
        why=f"Quantization method specified in the model config ({method}) does not match the "
        f"quantization method specified in the `quantization` argument ({given}).",
        next_command="remove --quantization from vllmConfig.extraArgs in models.yaml: vLLM takes "
        "the weights' own",
        model=model.name,
    )


def _not_quantized(model: Model, verdict: Verdict, given: str) -> Iterator[FitError]:
    """`get_quant_config` in vLLM's model_executor/model_loader/weight_utils.py, since 0.2.1."""
    wanted = QUANTIZATION_FILES.get(given)
    if not wanted or any(file.name.endswith(wanted) for file in verdict.files):
        return
    yield FitError(
        f"--quantization {given} needs quantized weights, and the model's are not",
        why=f"Cannot find the config file for {given}",
        next_command="remove --quantization from vllmConfig.extraArgs in models.yaml, or serve a "
        f"copy of the model quantized as {QUANTIZATION_FAMILY.get(given, given)}",
        model=model.name,
    )

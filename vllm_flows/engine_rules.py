"""What vLLM would refuse at its start, seen from config.json and models.yaml. Pure.

The words in each `why` are vLLM's own. A rule stands here only when the engine image's version is
known to have it; what is uncertain is not refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from vllm_flows.architecture import Architecture, architecture_of
from vllm_flows.engine_arguments import flag_of, has_flag
from vllm_flows.engine_catalog import (
    BFLOAT16_ONLY,
    FLAG_GONE,
    FLAG_INSTEAD,
    GENERATIVE,
    LAST_VERSION_WITH,
    NO_FLOAT16,
    OUT_OF_TREE,
    Version,
)
from vllm_flows.engine_limits import (
    USUAL_IMAGE,
    known_version,
    longest_context,
    possible_sizes,
    splits,
)
from vllm_flows.engine_quantization import quantization_refusals
from vllm_flows.errors import FitError
from vllm_flows.fit import Fit, Fits
from vllm_flows.model_configuration import (
    Configuration,
    architecture_names,
    inner,
    quantization_method,
    text,
)
from vllm_flows.models import Model
from vllm_flows.observed import Verdict
from vllm_flows.repository_facts import plain

_GENERATIVE_NAME = re.compile(r"\w+(ForCausalLM|ForConditionalGeneration|LMHeadModel)")
_FLOAT16 = frozenset({"float16", "half"})
_FLOAT32 = frozenset({"float32", "float"})
_TORCH = {"half": "float16", "float": "float32"}


def engine_refusals(
    model: Model, verdict: Verdict, image: str = USUAL_IMAGE, fit: Fit | None = None
) -> tuple[FitError, ...]:
    """Return what vLLM of that image would refuse, each with what to change; () for nothing.

    With the model's `fit`, only lengths and numbers of GPUs are proposed that fit as well; of
    a model that does not fit, each such refusal proposes just what `fit` does. What hangs on the
    release is not judged of an `image`, with its tag, that names none or one newer than is known.
    """
    version, config = known_version(image), verdict.config
    refusals = [*_architecture(model, config, version)]
    refusals += quantization_refusals(model, verdict, version)
    if shape := architecture_of(config):
        refusals += [*_length(model, config, shape, fit), *_heads(model, shape, fit)]
    refusals += [*_data_type(model, config), *_flags(model, version)]
    return tuple(refusals)


def _length(
    model: Model, config: Configuration, shape: Architecture, fit: Fit | None
) -> Iterator[FitError]:
    """`_get_and_verify_max_len` in vLLM's config/model.py."""
    wanted = model.vllm_config.max_model_len or 0
    allowed = longest_context(model, config, shape)
    if allowed and wanted > allowed:
        proposed = f"set vllmConfig.maxModelLen: {allowed} (or less) in models.yaml"
        yield FitError(
            f"maxModelLen {wanted} is longer than the model's context",
            why=f"User-specified max_model_len ({wanted}) is greater than the derived "
            f"max_model_len ({shape.positions})",
            next_command=_of_fit(fit) or proposed,
            model=model.name,
        )


def _heads(model: Model, shape: Architecture, fit: Fit | None) -> Iterator[FitError]:
    """`verify_with_parallel_config` in vLLM's config/model.py."""
    size = model.vllm_config.tensor_parallel_size or 1
    if not splits(shape, size):
        yield FitError(
            f"the model cannot be split over {size} GPUs",
            why=_uneven(shape, size),
            next_command=_of_fit(fit) or _sizes(size, shape, fit),
            model=model.name,
        )


def _uneven(shape: Architecture, size: int) -> str:
    heads = shape.attention_heads
    if heads % size:
        return (
            f"Total number of attention heads ({heads}) must be divisible by tensor parallel "
            f"size ({size})."
        )
    if shape.shared_width % size:
        return (
            f"{shape.shared_width}, the width of a feed-forward layer, is not divisible by {size}"
        )
    return f"the {shape.kv_heads} heads of keys and values can be shared by no {size} GPUs evenly"


def _of_fit(fit: Fit | None) -> str:
    """Return what makes a model fit that does not, "" for another: it mends the refusal too."""
    return fit.advice if fit and fit.result is Fits.NOT else ""


def _sizes(size: int, shape: Architecture, fit: Fit | None) -> str:
    """Propose the numbers of GPUs next to `size` that one node has and that hold the model."""
    fewest = fit.smallest_tensor_parallel_size if fit else None
    sizes = possible_sizes(shape, fit.most_gpus if fit else 0)
    holding = [one for one in sizes if one >= (fewest or 1)]
    near = [one for one in holding if one < size][-1:] + [one for one in holding if one > size][:1]
    proposed = " or ".join(str(one) for one in near)
    return f"set requestGPU and vllmConfig.tensorParallelSize: {proposed} in models.yaml"


def _architecture(
    model: Model, config: Configuration, version: Version | None
) -> Iterator[FitError]:
    """`_raise_for_unsupported` in vLLM's model_executor/models/registry.py."""
    names = architecture_names(config)
    elsewhere = has_flag(model.vllm_config.extra_args, "--model-impl", "--hf-overrides")
    if version is None or not names or elsewhere or any(name in GENERATIVE for name in names):
        return
    if any(name.startswith("AutoModel") for name in inner(config, "auto_map")):
        return  # vLLM can run the repository's own class through Transformers
    why, hint = _unsupported(names, version)
    if why:
        yield FitError(
            f"vLLM does not know the model's architecture, {plain(names[0])}",
            why=why,
            next_command=hint,
            model=model.name,
        )


def _unsupported(names: tuple[str, ...], version: Version) -> tuple[str, str]:
    """Return vLLM's words and what helps; ("", "") when it may serve one of the names.

    Names that vLLM never had are judged only when they are of a generating kind: others it
    tries to convert, or runs through Transformers.
    """
    for name in names:
        last = LAST_VERSION_WITH.get(name)
        if last and version > last:
            until = f"Model architecture {name} was supported in vLLM until {_shown(last)}, "
            hint = f"set VLLM_MODEL_TAG={_shown(last)}, or serve a newer model"
            return until + "and is not supported anymore.", hint
        if name in OUT_OF_TREE and version >= (0, 11, 0):
            why = f"Model architecture {name} is not supported in-tree anymore."
            return why, "serve another model, or an image with vLLM's plugin (VLLM_MODEL_IMAGE)"
    unknown = all(_GENERATIVE_NAME.fullmatch(name) for name in names)
    known = any(name in LAST_VERSION_WITH or name in OUT_OF_TREE for name in names)
    if unknown and not known:
        hint = (
            "use a newer engine image (VLLM_MODEL_TAG), or try `--model-impl` and "
            "`transformers` in vllmConfig.extraArgs; ignoreFit: true goes on all the same"
        )
        return f"Model architectures {list(map(plain, names))} are not supported for now.", hint
    return "", ""


def _data_type(model: Model, config: Configuration) -> Iterator[FitError]:
    """`_check_valid_dtype` in config/model.py and `_get_quantization_config` in config/vllm.py."""
    wanted, family = model.vllm_config.dtype or "", text(config, "model_type")
    method = quantization_method(config)
    why = ""
    if wanted in _FLOAT16 and family in NO_FLOAT16:
        why = (
            f"The model type {family!r} does not support float16. Reason: Numerical "
            "instability. Please use bfloat16 or float32 instead."
        )
    elif _takes_no(wanted, method):
        why = (
            f"torch.{_TORCH.get(wanted, wanted)} is not supported for quantization method {method}."
        )
    if why:
        yield FitError(
            f"dtype {wanted} does not suit the model",
            why=why,
            next_command="set vllmConfig.dtype: bfloat16 (or auto) in models.yaml",
            model=model.name,
        )


def _takes_no(data_type: str, method: str) -> bool:
    """Say whether a quantization computes in no such type: most in 16 bits, some in bfloat16."""
    if method in BFLOAT16_ONLY:
        return data_type in _FLOAT16 | _FLOAT32
    return data_type in _FLOAT32 and method in {"awq", "gptq", "fp8", "modelopt"}


def _flags(model: Model, version: Version | None) -> Iterator[FitError]:
    """Refuse flags that are gone: the argument parser ends with exit code 2."""
    for argument in model.vllm_config.extra_args if version else ():
        flag = flag_of(argument)
        plain = flag.replace("--no-", "--")
        gone = FLAG_GONE.get(plain)
        if gone and version and version >= gone:
            yield FitError(
                f"vLLM {_shown(version)} has no {flag}",
                why=f"vllm: error: unrecognized arguments: {flag}",
                next_command=FLAG_INSTEAD.get(plain)
                or f"remove {flag} from vllmConfig.extraArgs in models.yaml",
                model=model.name,
            )


def _shown(version: Version) -> str:
    return "v" + ".".join(str(part) for part in version)

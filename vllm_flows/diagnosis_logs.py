"""What an engine's log says: why it ended, or what it is doing now. Pure, from two tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vllm_flows.diagnosis_categories import Category

LOG_LINES = 500
"""How much of a log tells the cause: behind it come a traceback of vLLM's own for every process
of the engine, of about 40 lines each."""
LOADING_LOG_LINES = 20
_LONGEST_WORDS = 500


@dataclass(frozen=True)
class Signature:
    """Words of a log by which a cause is known."""

    pattern: re.Pattern[str]
    category: Category
    summary: str


@dataclass(frozen=True)
class Cause:
    """Why a container ended: its signature, and the line that says so."""

    category: Category
    summary: str
    words: str


def _signature(category: Category, summary: str, pattern: str) -> Signature:
    return Signature(re.compile(pattern), category, summary)


SIGNATURES: Sequence[Signature] = (
    # vLLM's command line is argparse's.
    _signature(
        Category.ENGINE_ARGUMENT,
        "the engine does not know an argument, or a value of one",
        r"error: (unrecognized arguments|ambiguous option|argument .+: (invalid|expected))"
        r"|error: the following arguments are required",
    ),
    # vllm/config/model.py, vllm/config/vllm.py
    _signature(
        Category.CONTEXT_TOO_LONG,
        "maxModelLen is longer than the model's context",
        r"max_model_len \(\d+\) is greater than the derived max_model_len",
    ),
    _signature(
        Category.TENSOR_PARALLEL,
        "the GPUs cannot share the model's heads evenly",
        r"must be divisible by tensor parallel size|is not divisible by tensor parallel",
    ),
    _signature(
        Category.CODE_NOT_TRUSTED,
        "the model needs code of its repository",
        r"trust_remote_code=True|contains custom code which must be executed",
    ),
    _signature(
        Category.UNSUPPORTED_MODEL,
        "this vLLM does not know the model's architecture",
        r"Model architectures .+ (are not supported for now|failed to be inspected)"
        r"|does not recognize this architecture|has no vLLM implementation",
    ),
    # huggingface_hub and transformers, offline
    _signature(
        Category.WEIGHTS_MISSING,
        "a file of the model is not on its volume, and the engine is offline",
        r"LocalEntryNotFoundError|OfflineModeIsEnabled|GatedRepoError|Cannot access gated repo"
        r"|couldn't connect to .+ to load th|Cannot find any model weights|No config.json found"
        r"|No such file or directory: .+\.safetensors|RepositoryNotFoundError",
    ),
    _signature(
        Category.WEIGHTS_BROKEN,
        "a weights file on the volume is damaged",
        r"SafetensorError|Error while deserializing header|PytorchStreamReader failed",
    ),
    # vllm/v1/core/kv_cache_utils.py
    _signature(
        Category.KV_CACHE,
        "the KV cache that fits beside the weights is too small for maxModelLen",
        r"KV cache is needed, which is larger than|No available memory for the cache blocks"
        r"|larger than the maximum number of tokens that can be stored in KV cache",
    ),
    # vllm/v1/worker/utils.py
    _signature(
        Category.GPU_IN_USE,
        "somebody else uses the GPU's memory",
        r"Free memory on device .+ is less than desired GPU memory utilization",
    ),
    _signature(
        Category.GPU_MEMORY,
        "the model does not fit the GPU's memory",
        r"(CUDA|HIP) out of memory|CUDA error: out of memory|OutOfMemoryError",
    ),
    # torch.cuda, vllm/platforms
    _signature(
        Category.GPU_UNUSABLE,
        "the container cannot use its GPU",
        r"Failed to infer device type|No CUDA GPUs are available|Found no NVIDIA driver"
        r"|NVIDIA driver on your system is too old|driver version is insufficient"
        r"|no kernel image is available for execution|nvidia-container-cli: initialization error",
    ),
    _signature(
        Category.ENGINE_CONFIGURATION,
        "the engine refuses its configuration",
        r"validation errors? for \w*Config|Unknown quantization method"
        r"|is only supported on GPUs with compute capability",
    ),
)
"""In the order in which they are looked for; the first that the log has is the cause."""

_PHASES: Sequence[tuple[re.Pattern[str], str]] = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        # vllm/model_executor/model_loader
        (
            r"Loading \w+ checkpoint shards: +(?P<percent>\d+)% Completed \| (?P<part>\d+/\d+)",
            "loading weights: {percent} %, {part} files",
        ),
        (r"Starting to load model|Loading model from scratch", "loading weights"),
        (r"Loading weights took|Model loading took", "weights are loaded; preparing the engine"),
        # vllm/compilation
        (
            r"torch\.compile|Dynamo bytecode transform|Compiling a graph|Directly load.+compiled",
            "compiling (torch.compile)",
        ),
        (
            r"Memory profiling takes|Available KV cache memory|GPU KV cache size|Profiling CUDA",
            "measuring memory for the KV cache",
        ),
        (r"Capturing CUDA graphs.*?: +(?P<percent>\d+)%", "capturing CUDA graphs: {percent} %"),
        (r"Graph capturing finished|init engine .*took", "warming up"),
        (
            r"Starting vLLM (API )?server|Application startup complete",
            "the API server is starting",
        ),
    )
)
_PREFIX = re.compile(
    r"^(\([^()]+ pid=\d+[^()]*\) )?((ERROR|INFO|WARNING|CRITICAL) [\d-]+ [\d:]+ (\[[^\]]+\] )?)?"
)
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Interrupt)\b|\berror: ")
_WRAPPER = "Engine core initialization failed"


def cause(log: str) -> Cause | None:
    """Return why the program of this log ended, None when no signature is in it."""
    lines = _lines(log)
    for signature in SIGNATURES:
        for line in reversed(lines):
            if signature.pattern.search(line):
                words = line[:_LONGEST_WORDS]
                return Cause(signature.category, signature.summary, words)
    return None


def last_words(log: str) -> str:
    """Return the line of a log that says why the program ended: the last that names an error.

    vLLM's API server ends with a line that only refers to the engine's error above.
    """
    lines = [line for line in _lines(log) if _WRAPPER not in line]
    exceptions = [line for line in lines if _EXCEPTION.search(line)]
    telling = exceptions or [line for line in lines if "error" in line.lower()]
    return (telling or lines or [""])[-1][:_LONGEST_WORDS]


def doing(log: str) -> str:
    """Return what a starting engine is at, by the last line that tells; empty when none does."""
    for line in reversed(_lines(log)):
        for pattern, text in _PHASES:
            found = pattern.search(line)
            if found:
                return text.format_map(found.groupdict())
    return ""


def _lines(log: str) -> list[str]:
    """Return the lines without vLLM's process and logger columns; a progress bar is many lines."""
    stripped = (_PREFIX.sub("", line.strip()).strip() for line in re.split(r"[\r\n]+", log))
    return [line for line in stripped if line]

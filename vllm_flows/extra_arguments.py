"""Arguments that `vllmConfig.extraArgs` may not hold, and what to write instead.

Each of them is either decided by another line of models.yaml, and a second place would let
the plan and the engine disagree, or it would make the engine unreachable or leak a secret. What
a release of vLLM no longer has is the plan's matter, which knows the image: `engine_rules`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from vllm_flows.engine_arguments import flag_of

_OFFLINE = "the engine runs offline on the files of modelURL at revision, and finds no others"
_PARALLEL = (
    "remove it; a replica's GPUs are shared by tensor parallelism alone: "
    "set vllmConfig.tensorParallelSize"
)
_REFUSED: dict[str, str] = {
    "--revision": "set the model's revision",
    "--served-model-name": "remove it; requests use the model's name",
    "--model": "set the model's modelURL",
    "--host": "remove it; the chart sets it, and router and probes rely on it",
    "--port": "remove it; the chart sets it, and router and probes rely on it",
    "--api-key": "remove it; a key on the command line can be read by many: set VLLM_API_KEY",
    "--hf-token": "remove it; a token on the command line can be read by many: set VLLM_HF_TOKEN",
    "--download-dir": "remove it; the weights lie in the model's volume",
    "--tokenizer": f"remove it; {_OFFLINE}",
    "--tokenizer-revision": f"remove it; {_OFFLINE}",
    "--code-revision": f"remove it; {_OFFLINE}",
    "--hf-config-path": f"remove it; {_OFFLINE}",
    "--pipeline-parallel-size": _PARALLEL,
    "-pp": _PARALLEL,
    "--data-parallel-size": _PARALLEL,
    "-dp": _PARALLEL,
    "--tensor-parallel-size": "set vllmConfig.tensorParallelSize",
    "-tp": "set vllmConfig.tensorParallelSize",
    "--max-model-len": "set vllmConfig.maxModelLen",
    "--dtype": "set vllmConfig.dtype",
    "--gpu-memory-utilization": "set vllmConfig.gpuMemoryUtilization",
    "--max-num-seqs": "set vllmConfig.maxNumSeqs",
    "--max-loras": "set vllmConfig.maxLoras",
    "--runner": "set vllmConfig.runner",
    "--convert": "set vllmConfig.convert",
    "--enable-prefix-caching": "set vllmConfig.enablePrefixCaching: true",
    "--no-enable-prefix-caching": "set vllmConfig.enablePrefixCaching: false",
    "--enable-chunked-prefill": "set vllmConfig.enableChunkedPrefill: true",
    "--no-enable-chunked-prefill": "set vllmConfig.enableChunkedPrefill: false",
    "--trust-remote-code": "set the model's trustRemoteCode: true",
    "--no-trust-remote-code": "set the model's trustRemoteCode: false",
}


_LOADS: tuple[str, ...] = (
    "--speculative-config",
    "--speculative-model",
    "--spec-model",
    "--lora-modules",
    "--qlora-adapter-name-or-path",
    "--generation-config",
)
"""Flags whose values can name a repository beside the model's own."""
_NAMES_A_PLACE = ("model", "path")
"""Keys of these flags' JSON that do so."""
_SHORTEST = len("--lora")


def check_extra_arguments(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Return `arguments` when none of them makes vLLM load another repository.

    Raises ValueError. Paths are taken: the image may hold folders of its own.
    """
    for flag, value in _values(arguments):
        known = next((each for each in _LOADS if _stands_for(flag, each)), "")
        if known and any(map(_is_elsewhere, _places(value))):
            message = (
                f"{known} names another repository; {_OFFLINE}: remove it, or give the absolute "
                "path of a folder in the engine's image"
            )
            raise ValueError(message)
    return arguments


def _values(arguments: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield each value with the flag that it is given to."""
    flag = ""
    for argument in arguments:
        if not flag_of(argument):
            yield flag, argument
            continue
        flag = flag_of(argument)
        yield flag, argument.partition("=")[2]


def _stands_for(flag: str, known: str) -> bool:
    return len(flag) >= _SHORTEST and known.startswith(flag)


def _places(value: str) -> Iterator[str]:
    """Yield what a value names: itself, what follows `NAME=`, or what its JSON has at the keys."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        yield value.partition("=")[2] or value
        return
    if isinstance(found, dict):
        yield from (str(found[key]) for key in _NAMES_A_PLACE if key in found)


def _is_elsewhere(place: str) -> bool:
    return "/" in place and not place.startswith(("/", "."))


def check_extra_argument(argument: str) -> str:
    """Return `argument` when vLLM's command line may carry it.

    Raises ValueError, without the argument's value: it may be a secret.
    """
    if not argument.strip():
        message = "is an empty argument; remove it"
        raise ValueError(message)
    if "\x00" in argument:
        message = "holds a NUL character, which no command line can carry"
        raise ValueError(message)
    flag = re.split(r"[=\s]", argument, maxsplit=1)[0]
    shown = flag[:60]
    instead = _instead(flag)
    if instead:
        message = f"{shown} does not belong in extraArgs; {instead}"
        raise ValueError(message)
    if flag.startswith("-") and argument[len(flag) :][:1].isspace():
        message = f"{shown} and its value are one item; make them two, or write {shown}=…"
        raise ValueError(message)
    return argument


def _instead(flag: str) -> str:
    """Return what to write instead of a refused flag, "" for another one.

    vLLM takes --max_model_len for --max-model-len, and --max-model-l too: argparse completes what
    begins no other flag.
    """
    name = flag.replace("_", "-")
    if name in _REFUSED or not (name.startswith("-") and name.strip("-")):
        return _REFUSED.get(name, "")
    meant = next((known for known in _REFUSED if known.startswith(name)), "")
    return meant and f"vLLM may take it for {meant}: {_REFUSED[meant]}"

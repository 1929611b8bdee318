"""Arguments that `vllmConfig.extraArgs` may not hold, and what to write instead.

Each of them is either decided by another line of models.yaml, and a second place would let
the plan and the engine disagree, or it would make the engine unreachable or leak a secret. What
a release of vLLM no longer has is the plan's matter, which knows the image: `engine_rules`.
"""

from __future__ import annotations

import re

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
    # vLLM takes --max_model_len for --max-model-len.
    instead = _REFUSED.get(flag.replace("_", "-"))
    if instead:
        message = f"{shown} does not belong in extraArgs; {instead}"
        raise ValueError(message)
    if flag.startswith("-") and argument[len(flag) :][:1].isspace():
        message = f"{shown} and its value are one item; make them two, or write {shown}=…"
        raise ValueError(message)
    return argument

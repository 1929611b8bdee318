"""The command line of `vllm serve`, as far as charts and users write it.

`--a_b` is the same as `--a-b`. An unknown flag or a bad choice ends the program with exit
code 2 and argparse's words, which are vLLM's.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

DTYPES = ("auto", "bfloat16", "float", "float16", "float32", "half")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_TEXT_FLAGS = _words("""
    --allowed-origins --chat-template --chat-template-content-format --compilation-config -O
    --config-format --disable-custom-all-reduce --download-dir --generation-config
    --guided-decoding-backend --hf-config-path --hf-overrides --hf-token --kv-cache-dtype
    --kv-transfer-config --limit-mm-per-prompt --load-format --log-config-file
    --long-prefill-token-threshold --lora-modules --mm-processor-kwargs --model-impl
    --model-loader-extra-config --override-generation-config --quantization -q
    --reasoning-parser --response-role --root-path --rope-scaling --rope-theta --runner
    --speculative-config --structured-outputs-config --task --tokenizer --tokenizer-mode
    --tokenizer-revision --code-revision --tool-call-parser --tool-parser-plugin
    --uvicorn-log-level --distributed-executor-backend --attention-backend
""")
_INTEGER_FLAGS = _words("""
    --api-server-count --block-size --data-parallel-size -dp --max-cpu-loras
    --max-log-len --max-logprobs --max-lora-rank --max-loras --max-num-batched-tokens
    --max-num-seqs --max-parallel-loading-workers --max-seq-len-to-capture
    --num-gpu-blocks-override --pipeline-parallel-size -pp --seed --shutdown-timeout
""")
_NUMBER_FLAGS = _words("""--cpu-offload-gb --gpu-memory-utilization --swap-space""")
_SWITCHES = _words("""
    --async-scheduling --disable-frontend-multiprocessing --disable-log-stats
    --disable-sliding-window --disable-uvicorn-access-log --enable-auto-tool-choice
    --enable-chunked-prefill --enable-expert-parallel --enable-force-include-usage
    --enable-log-requests --enable-lora --enable-prefix-caching
    --enable-prompt-tokens-details --enable-reasoning --enable-request-id-headers
    --enable-server-load-tracking --enable-sleep-mode --enforce-eager
    --return-tokens-as-token-ids --skip-tokenizer-init --trust-remote-code
""")

_DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30}
_TOKENS = re.compile(r"(\d+(?:\.\d+)?)([kmgKMG]?)")


def token_count(text: str) -> int:
    """Return a number of tokens: `4096`, `4k` (decimal) or `4K` (binary), as vLLM reads it.

    `auto` and `-1` are 0 here: take what the model can. Raises ArgumentTypeError otherwise.
    """
    if text in {"auto", "-1"}:
        return 0
    match = _TOKENS.fullmatch(text)
    if not match:
        raise argparse.ArgumentTypeError(f"invalid human_readable_int value: {text!r}")
    return int(float(match[1]) * (_DECIMAL | _BINARY)[match[2]])


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line after `vllm`; exits the process with 2 when it is wrong."""
    return _parser().parse_args([_with_dashes(word) for word in argv])


def _with_dashes(word: str) -> str:
    """Spell a long flag with dashes; its value, after `=`, stays as it is."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="vllm", description="simulated vLLM of the sandbox")
    top.add_argument("-v", "--version", action="version", version="0.32.0+sandbox")
    serve = top.add_subparsers(dest="command", required=True).add_parser(
        "serve", usage="vllm serve [model_tag] [options]", allow_abbrev=False
    )
    serve.add_argument("model_tag", nargs="?")
    serve.add_argument("--model", default="Qwen/Qwen3-0.6B")
    _add_server_flags(serve)
    _add_model_flags(serve)
    _add_flags_without_effect(serve)
    return top


def _add_server_flags(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--host", default="0.0.0.0")  # noqa: S104 -- vLLM's own default
    serve.add_argument("--port", type=int, default=8000)
    serve.add_argument("--api-key", nargs="*", default=[])
    serve.add_argument("--served-model-name", nargs="+")


def _add_model_flags(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--revision")
    serve.add_argument("--dtype", choices=DTYPES, default="auto")
    serve.add_argument("--max-model-len", type=token_count, default=0)
    serve.add_argument("--tensor-parallel-size", "-tp", type=int, default=1)


def _add_flags_without_effect(serve: argparse.ArgumentParser) -> None:
    for kind, flags in ((str, _TEXT_FLAGS), (int, _INTEGER_FLAGS), (float, _NUMBER_FLAGS)):
        for flag in flags:
            serve.add_argument(flag, type=kind)
    for flag in _SWITCHES:
        serve.add_argument(flag, action=argparse.BooleanOptionalAction)

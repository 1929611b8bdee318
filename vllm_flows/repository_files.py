"""Which files of a model's repository vLLM needs. Pure.

vLLM's default loader reads the weights that lie at the top of a repository: `*.safetensors`, else
`*.bin`, else `*.pt` (`model_executor/model_loader/default_loader.py`); pooling models also those
of sentence-transformers' numbered folders (`2_Dense/model.safetensors`). What is known to be of no
use is left out; what is not known is kept, for a repository's own code may want it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from itertools import islice

from vllm_flows.observed import HubFile

_OTHER_FOLDERS = (
    "original/*",
    "metal/*",
    "onnx/*",
    "openvino/*",
    "coreml/*",
    "mlx/*",
    "gguf/*",
    "tflite/*",
    "runs/*",
    "logs/*",
    "wandb/*",
    "checkpoint-*/*",
    "global_step*/*",
    ".*/*",
)
_OTHER_FORMATS = (
    "*.gguf",
    "*.ggml",
    "ggml-*",
    "*.llamafile",
    "*.onnx",
    "*.onnx_data*",
    "*openvino_*",
    "*.h5",
    "*.keras",
    "*.msgpack",
    "*.tflite",
    "*.mlmodel",
    "*.ot",
    "*.nemo",
    "*.engine",
    "*.ckpt",
    "*.ckpt.*",
    "*.pth",
    "*.pkl",
    "*.pickle",
    "*.zip",
    "*.tar",
    "*.gz",
    "*.7z",
    "*.parquet",
    "*.arrow",
)
_TRAINING = (
    "*optimizer.*",
    "*optimizer_*",
    "*scheduler.pt",
    "*scheduler.bin",
    "*scaler.pt",
    "*training_args.*",
    "*trainer_state.json",
    "*rng_state*",
    "*random_states*",
    "*.tfevents*",
    "*.distcp",
    "*zero_to_fp32.py",
)
_TERMS = ("license*", "notice*", "use_policy*", "usage_policy*")
_DOCUMENTS = (
    ".git*",
    "*.md",
    "*.rst",
    "*.bib",
    "*.pdf",
    "*.html",
    "*.ipynb",
    "*.png",
    "*.jpg",
    "*.jpeg",
    "*.gif",
    "*.svg",
    "*.webp",
    "*.ico",
    "*.mp4",
    "*.mov",
    "*.webm",
    *_TERMS,
)
_UNNEEDED = (*_OTHER_FOLDERS, *_OTHER_FORMATS, *_TRAINING, *_DOCUMENTS)

_SAFETENSORS = ".safetensors"
_PICKLES = (".bin", ".pt")
"""Those that vLLM loads, the first kind before the second."""
_ALL_PICKLES = (*_PICKLES, ".pth", ".ckpt", ".pkl", ".pickle")

_MODULE_FOLDER = re.compile(r"\d+_\w+")
"""A sentence-transformers module, such as `1_Pooling`."""
_ADAPTER = re.compile(r"adapter_(model|config)\b")
_SHARD = re.compile(
    r"(?P<stem>.+)-(?P<number>\d{1,6})-of-(?P<total>\d{1,6})(?P<suffix>\.safetensors|\.bin)"
)
_MOST_NAMED = 1000
"""Numbers are anybody's: a single file can claim to be one of a million."""
_VARIANT = re.compile(
    r".+\.(fp32|fp16|bf16|f32|f16|fp8|int8|int4|8bit|4bit|ema|non_ema)"
    r"(-\d+-of-\d+)?(\.safetensors|\.bin)"
)
"""The same weights in another precision, as transformers and diffusers name them."""


def needed_files(files: Iterable[HubFile], *, code: bool = True) -> tuple[HubFile, ...]:
    """Return the files that vLLM would read, each weight once; Python only with `code`.

    Many repositories hold the same weights several times: safetensors go before pickles, shards
    before the whole (when their index is there), full precision before its variants, and
    `model*.safetensors` before Mistral's own `consolidated*.safetensors`.
    """
    kept = [file for file in files if not _unneeded(file.name, code=code)]
    twins = _twins([file.name for file in kept])
    return tuple(file for file in kept if file.name not in twins)


def weight_files(files: Iterable[HubFile]) -> tuple[str, ...]:
    """Return the names of the weights that vLLM would load; adapters alone are no model."""
    return tuple(
        file.name
        for file in files
        if is_weights(file.name) and not _folder(file.name) and not _ADAPTER.match(file.name)
    )


def has_safetensors(files: Iterable[HubFile]) -> bool:
    """Say whether the weights are there as safetensors, which hold numbers and no code."""
    return any(name.endswith(_SAFETENSORS) for name in weight_files(files))


def pickle_files(files: Iterable[HubFile]) -> tuple[str, ...]:
    """Return the names of pickles, which can run code when they are read.

    Of `needed_files` these are the ones that would really be loaded.
    """
    return tuple(file.name for file in files if file.name.endswith(_ALL_PICKLES))


def license_files(files: Iterable[HubFile]) -> tuple[HubFile, ...]:
    """Return the files at the top of a repository that hold terms of use."""
    return tuple(
        file
        for file in files
        if not _folder(file.name) and any(fnmatchcase(file.name.lower(), one) for one in _TERMS)
    )


def missing_shards(files: Iterable[HubFile]) -> tuple[str, ...]:
    """Return weights that a sequence of shards (`NAME-00002-of-00003.…`) lacks, a thousand at most.

    Of several sequences of one name, which an upload may have left, one that is whole will do.
    """
    sequences: dict[tuple[str, str], dict[str, set[int]]] = {}
    for shard in filter(None, (_SHARD.fullmatch(file.name) for file in files)):
        totals = sequences.setdefault((shard["stem"], shard["suffix"]), {})
        totals.setdefault(shard["total"], set()).add(int(shard["number"]))
    lost = (
        f"{stem}-{number:0{len(total)}}-of-{total}{suffix}"
        for (stem, suffix), totals in sequences.items()
        if not any(len(there) >= int(total) for total, there in totals.items())
        for total, there in [max(totals.items(), key=lambda item: len(item[1]))]
        for number in range(1, int(total) + 1)
        if number not in there
    )
    return tuple(islice(lost, _MOST_NAMED))


def _unneeded(name: str, *, code: bool) -> bool:
    lower = name.lower()
    if any(fnmatchcase(lower, pattern) for pattern in _UNNEEDED):
        return True
    if lower.endswith(".py"):
        return not code
    folder = _folder(name)
    return bool(folder) and is_weights(name) and not _MODULE_FOLDER.fullmatch(folder)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def is_weights(name: str) -> bool:
    """Say whether a file of this name holds weights of a kind that vLLM loads."""
    return name.endswith((_SAFETENSORS, *_PICKLES))


def _twins(names: Iterable[str]) -> set[str]:
    """Name the weights that another file of the same folder holds too."""
    folders: dict[str, set[str]] = {}
    for name in names:
        folders.setdefault(_folder(name), set()).add(name.rpartition("/")[2])
    return {
        f"{folder}/{twin}" if folder else twin
        for folder, there in folders.items()
        for twin in _twins_in_folder(there)
    }


def _twins_in_folder(there: set[str]) -> set[str]:
    loaded = {name for name in there if is_weights(name) and not _ADAPTER.match(name)}
    kinds = [{name for name in loaded if name.endswith(kind)} for kind in (_SAFETENSORS, *_PICKLES)]
    best: set[str] = next((kind for kind in kinds if kind), set())
    pickles = {name for name in there if name.endswith(_PICKLES)}
    twins = (pickles if best else set()) - best
    variants = {name for name in best if _VARIANT.fullmatch(name)}
    if variants != best:
        twins |= variants
    if any(name.startswith("model") for name in best - variants):
        twins |= {name for name in best if name.startswith("consolidated")}
    return twins | _wholes(there)


def _wholes(there: set[str]) -> set[str]:
    """Name the files that are there in shards as well, with the index that vLLM goes by."""
    shards = (_SHARD.fullmatch(name) for name in there)
    wholes = {shard["stem"] + shard["suffix"] for shard in shards if shard}
    return {name for name in wholes if name in there and f"{name}.index.json" in there}

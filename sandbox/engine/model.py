"""Finding a model in the offline cache, and refusing it where vLLM would.

The messages are those of vLLM 0.32 and of the safetensors library.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 4 * 1024 * 1024
_LONGEST_HEADER = 100_000_000
_ELEMENT_BITS = {"F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16}
_ELEMENT_BITS |= {"BF16": 16, "I16": 16, "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "I8": 8}
_ELEMENT_BITS |= {"U8": 8, "BOOL": 8}


class EngineError(Exception):
    """vLLM would end here, with exit code 1 and this text as its last words."""


@dataclass(frozen=True)
class LoadedModel:
    """What the server tells about the model it serves; `fault` is one of `faults.Fault`."""

    source: str
    revision: str
    max_model_len: int
    weight_bytes: int
    fault: str = ""


def find_snapshot(source: str, revision: str | None) -> Path:
    """Return the folder of a Hub id in the local cache, or of a local path; no network.

    Raises EngineError when it is not there.
    """
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise EngineError(f"huggingface_hub.errors.LocalEntryNotFoundError: {error}") from error
    except HFValidationError as error:
        raise EngineError(f"huggingface_hub.errors.HFValidationError: {error}") from error


def check_config(config: dict[str, object], *, max_model_len: int, parallel: int) -> int:
    """Return the context length to serve; `max_model_len` 0 takes what the model can.

    Raises EngineError for a longer one and for heads that the GPUs cannot share evenly.
    """
    longest = config.get("max_position_embeddings")
    if not isinstance(longest, int):
        longest = max_model_len or 2048
    if max_model_len > longest:
        raise EngineError(
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
            f"  Value error, User-specified max_model_len ({max_model_len}) is greater than the "
            f"derived max_model_len (max_position_embeddings={float(longest)} or "
            "model_max_length=None in model's config.json)."
        )
    heads = config.get("num_attention_heads")
    if isinstance(heads, int) and heads % parallel:
        raise EngineError(
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig\n"
            f"  Value error, Total number of attention heads ({heads}) must be divisible by "
            f"tensor parallel size ({parallel})."
        )
    return max_model_len or longest


def read_config(folder: Path) -> dict[str, object]:
    """Return config.json; raises EngineError when it is missing or broken."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except FileNotFoundError as error:
        raise EngineError(f"ValueError: No config.json found in {folder}") from error
    except ValueError as error:
        raise EngineError(f"OSError: config.json is not a valid JSON file: {error}") from error
    if not isinstance(config, dict):
        raise EngineError("OSError: config.json is not a valid JSON file")
    return config


def read_weights(folder: Path) -> int:
    """Read every weight file to its end and return the bytes read.

    Raises EngineError when there is none, or one is missing, cut or not safetensors.
    """
    files = _weight_files(folder)
    if not files:
        raise EngineError(
            f"RuntimeError: Cannot find any model weights with `{folder}`",
        )
    return sum(_read(each) for each in files)


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    names = json.loads(index.read_text())["weight_map"].values()
    return [folder / name for name in sorted(set(names))]


def _read(path: Path) -> int:
    """Read a file to its end; a pickle is not unpickled, it could run code."""
    if path.suffix != ".safetensors":
        return len(path.read_bytes())
    try:
        with path.open("rb") as source:
            length = int.from_bytes(source.read(8), "little")
            if not 0 < length <= _LONGEST_HEADER:
                raise _broken("header too large" if length else "header too small")
            _check_tensors(source.read(length), path.stat().st_size - 8 - length)
            while source.read(_CHUNK):
                pass
    except FileNotFoundError as error:
        raise EngineError(f'FileNotFoundError: No such file or directory: "{path}"') from error
    return path.stat().st_size


def _check_tensors(header: bytes, data_bytes: int) -> None:
    try:
        tensors = json.loads(header)
        tensors.pop("__metadata__", None)
        ends = [_end_of(each) for each in tensors.values()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _broken("invalid JSON in header") from error
    if data_bytes != max(ends, default=0):
        raise _broken("incomplete metadata, file not fully covered")


def _end_of(tensor: dict[str, object]) -> int:
    shape, offsets = tensor["shape"], tensor["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list):
        raise TypeError
    begin, end = (int(each) for each in offsets)
    if (end - begin) * 8 != math.prod(shape) * _ELEMENT_BITS[str(tensor["dtype"])]:
        raise ValueError
    return end


def _broken(detail: str) -> EngineError:
    return EngineError(
        f"safetensors_rust.SafetensorError: Error while deserializing header: {detail}"
    )


def revision_of(folder: Path) -> str:
    """Return the commit hash that a cache folder is named after, or "local"."""
    return folder.name if re.fullmatch(r"[0-9a-f]{40}", folder.name) else "local"

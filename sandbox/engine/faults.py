"""A model that is bad on purpose: the key `sandbox_fault` in its config.json says how.

One that serves becomes bad, or well again, by `POST /_sandbox/fault` (see `sandbox/engine/app.py`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from enum import StrEnum

from sandbox.engine.model import EngineError

KEY = "sandbox_fault"

# Of torch's c10/cuda/CUDACachingAllocator.cpp; the numbers are those of a card with 80 GB.
_OUT_OF_MEMORY = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.46 GiB. GPU 0 has a total "
    "capacity of 79.10 GiB of which 1.02 GiB is free. Including non-PyTorch memory, this process "
    "has 78.06 GiB memory in use."
)
_NAP_SECONDS = 60.0
_RUBBISH = "\ufffd"
"""What bytes that are no text become."""


class Fault(StrEnum):
    """What goes wrong with the model; the empty one is that nothing does."""

    NONE = ""
    HANG = "hang"
    """It loads for ever."""
    CRASH = "crash"
    """It runs out of GPU memory while it loads."""
    TELLS = "tells"
    """It ends with the API key that it was given in its last words."""
    EMPTY = "empty"
    """It becomes ready, and answers without a text."""
    WRONG_ID = "wrong-id"
    """It becomes ready, and answers under another name than the one it was given."""
    SILENT = "silent"
    """It takes requests, and no byte of an answer comes."""
    SLOW_START = "slow-first-token"
    """The first token of each answer takes seconds."""
    SLOW_TOKENS = "slow-tokens"
    """Tokens come many times more slowly than they should."""
    RUBBISH = "rubbish"
    """Its answers are no text."""
    KEYLESS = "ignores-key"
    """It answers whoever asks, whatever API key it was given."""


SLOW_SECONDS = {Fault.SLOW_START: 4.0, Fault.SLOW_TOKENS: 0.2}
"""How much longer the first token takes, or each."""


def fault_of(config: Mapping[str, object]) -> Fault:
    """Return the fault that config.json asks for.

    Raises EngineError for one that there is not.
    """
    wanted = config.get(KEY) or ""
    try:
        return Fault(str(wanted))
    except ValueError as error:
        known = ", ".join(fault for fault in Fault if fault)
        raise EngineError(f"ValueError: {KEY} is {wanted!r}, and not one of {known}") from error


def fail_to_load(fault: Fault) -> None:
    """Do what keeps the model from loading, if that is its fault. Raises EngineError."""
    if fault is Fault.CRASH:
        raise EngineError(_OUT_OF_MEMORY)
    if fault is Fault.TELLS:
        raise EngineError(f"ValueError: the key {os.environ.get('VLLM_API_KEY', '')} does not do")
    while fault is Fault.HANG:
        time.sleep(_NAP_SECONDS)


def names_under(fault: Fault, names: list[str]) -> list[str]:
    """Return the names under which the model answers instead of its own."""
    return [f"not-{name}" for name in names] if fault is Fault.WRONG_ID else names


def spoilt(fault: Fault, token: str) -> str:
    """Return what comes in place of a token."""
    return _RUBBISH * len(token) if fault is Fault.RUBBISH else token


def delay(fault: Fault, index: int) -> float:
    """Return how many seconds later than it should a token comes, counted from 0."""
    if fault is Fault.SLOW_START and index:
        return 0.0
    return SLOW_SECONDS.get(fault, 0.0)

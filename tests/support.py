"""What tests of several topics need."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ASKED_EVERY_SECONDS = 0.1

LLAMA_70B: dict[str, Any] = {  # huggingface.co/meta-llama/Llama-3.1-70B/blob/main/config.json
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_attention_heads": 64,
    "num_hidden_layers": 80,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}
LLAMA_70B_PARAMETERS = {"BF16": 70_553_706_496}


class VirtualClock:
    """Time that passes only when somebody sleeps; it remembers the pauses."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        """Return the seconds slept so far."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Let that much time pass at once."""
        self.slept.append(seconds)
        self.time += seconds


def as_on_a_terminal() -> None:
    """Let Ctrl-C reach a new process, also when the tests run in a shell's background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def asked_often(alive: Callable[[], bool]) -> Iterator[list[bool]]:
    """Ask all the time while the block runs; what was heard is in the list.

    What is under way to a pod that ends is lost once: who asks again is heard.
    """
    heard: list[bool] = []
    done = threading.Event()

    def ask() -> None:
        while not done.wait(_ASKED_EVERY_SECONDS):
            heard.append(alive() or alive())

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield heard
    finally:
        done.set()
        thread.join()


def is_gone(folder: Path) -> bool:
    """Say whether the `sleep` whose id is in the file `child` has ended, or does within 2 s."""
    stat = Path("/proc", (folder / "child").read_text().strip(), "stat")
    for _ in range(200):
        if not stat.exists() or "(sleep) Z" in stat.read_text():
            return True
        time.sleep(0.01)
    return False

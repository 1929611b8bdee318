"""What tests of several topics need."""

from __future__ import annotations

from typing import Any

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

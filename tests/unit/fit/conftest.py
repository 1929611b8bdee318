"""Models and verdicts to judge, and a few real configurations cut down to what is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vllm_flows.models import Model
from vllm_flows.observed import HubFile, Verdict

GIB = 2**30

LLAMA_8B: dict[str, Any] = {  # huggingface.co/meta-llama/Llama-3.1-8B/blob/main/config.json
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rope_scaling": {
        "factor": 8.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "torch_dtype": "bfloat16",
}
LLAMA_8B_PARAMETERS = {"BF16": 8_030_261_248}


@pytest.fixture
def llama() -> Verdict:
    return Verdict("m", "meta-llama/Llama-3.1-8B", config=LLAMA_8B, parameters=LLAMA_8B_PARAMETERS)


@pytest.fixture
def model() -> Callable[..., Model]:
    """Return a maker of models: GPUs, and further options of vLLM under their YAML names."""

    def make(gpus: int = 1, *extra_args: str, **options: object) -> Model:
        size = {"tensorParallelSize": gpus} if gpus > 1 else {}
        config = {**size, "extraArgs": list(extra_args), **options}
        return Model.model_validate(
            {"name": "m", "modelURL": "o/m", "requestGPU": gpus, "vllmConfig": config}
        )

    return make


@pytest.fixture
def verdict() -> Callable[..., Verdict]:
    """Return a maker of verdicts: a configuration, numbers by type, files by name."""

    def make(
        config: dict[str, Any], parameters: dict[str, int] | None = None, **files: int
    ) -> Verdict:
        listed = tuple(HubFile(name.replace("__", "."), size) for name, size in files.items())
        return Verdict("m", "o/m", config=config, parameters=parameters or {}, files=listed)

    return make

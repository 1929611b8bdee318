"""The sample repositories, as data: true architecture numbers, made-up small weights.

The numbers are those of the `config.json` that each model's repository on the Hub publishes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Sample:
    """One generated repository.

    `shards` are the sizes of its weight files in megabytes. `tagged` is the tag of an older
    commit with other weights, when there is one.
    """

    repo_id: str
    license: str
    config: dict[str, object]
    shards: tuple[int, ...]
    gated: Literal["manual", False] = False
    tagged: str | None = None


_BFLOAT16 = {"torch_dtype": "bfloat16", "use_cache": True, "hidden_act": "silu"}

SAMPLES: tuple[Sample, ...] = (
    Sample(
        repo_id="meta-llama/Llama-3.2-3B-Instruct",
        license="llama3.2",
        gated="manual",
        shards=(8, 4),
        config={
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_attention_heads": 24,
            "num_key_value_heads": 8,
            "num_hidden_layers": 28,
            "head_dim": 128,
            "max_position_embeddings": 131072,
            "rope_theta": 500000.0,
            "rope_scaling": {
                "factor": 32.0,
                "high_freq_factor": 4.0,
                "low_freq_factor": 1.0,
                "original_max_position_embeddings": 8192,
                "rope_type": "llama3",
            },
            "rms_norm_eps": 1e-05,
            "tie_word_embeddings": True,
            "vocab_size": 128256,
            **_BFLOAT16,
        },
    ),
    Sample(
        repo_id="Qwen/Qwen2.5-7B-Instruct",
        license="apache-2.0",
        shards=(6, 6, 6, 6),
        config={
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "num_hidden_layers": 28,
            "max_position_embeddings": 32768,
            "max_window_layers": 28,
            "sliding_window": 131072,
            "use_sliding_window": False,
            "rope_theta": 1000000.0,
            "rms_norm_eps": 1e-06,
            "tie_word_embeddings": False,
            "vocab_size": 152064,
            **_BFLOAT16,
        },
    ),
    Sample(
        repo_id="Qwen/Qwen3-4B",
        license="apache-2.0",
        shards=(6, 6, 2),
        tagged="v1.0",
        config={
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "hidden_size": 2560,
            "intermediate_size": 9728,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "num_hidden_layers": 36,
            "head_dim": 128,
            "max_position_embeddings": 40960,
            "rope_theta": 1000000,
            "rms_norm_eps": 1e-06,
            "tie_word_embeddings": True,
            "vocab_size": 151936,
            **_BFLOAT16,
        },
    ),
    Sample(
        repo_id="microsoft/Phi-4-mini-instruct",
        license="mit",
        shards=(8,),
        config={
            "architectures": ["Phi3ForCausalLM"],
            "model_type": "phi3",
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_attention_heads": 24,
            "num_key_value_heads": 8,
            "num_hidden_layers": 32,
            "max_position_embeddings": 131072,
            "original_max_position_embeddings": 4096,
            "partial_rotary_factor": 0.75,
            "sliding_window": 262144,
            "rope_theta": 10000.0,
            "rms_norm_eps": 1e-05,
            "tie_word_embeddings": True,
            "vocab_size": 200064,
            **_BFLOAT16,
        },
    ),
    Sample(
        repo_id="mistralai/Mistral-7B-Instruct-v0.3",
        license="apache-2.0",
        shards=(8, 8, 4),
        config={
            "architectures": ["MistralForCausalLM"],
            "model_type": "mistral",
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "num_hidden_layers": 32,
            "max_position_embeddings": 32768,
            "sliding_window": None,
            "rope_theta": 1000000.0,
            "rms_norm_eps": 1e-05,
            "tie_word_embeddings": False,
            "vocab_size": 32768,
            **_BFLOAT16,
        },
    ),
)

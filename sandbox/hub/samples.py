"""The sample repositories, as data: true architecture numbers, made-up small weights.

The numbers are those of the `config.json` that each model's repository on the Hub publishes, and
the parameter counts those that the Hub tells of the real model's safetensors: an estimate of its
memory is the real model's, while the files have a few megabytes. The gates and the scan's findings
are made up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Sample:
    """One generated repository.

    `shards` are the sizes of its weight files in megabytes. `parameters` are the real model's, by
    data type, as the Hub tells them: of safetensors only. `tagged` is the tag of an older commit
    with other weights, when there is one. `code` are Python files of its own; `unsafe` are the
    files that the scan finds fault with, and how much.
    """

    repo_id: str
    license: str
    config: dict[str, object]
    shards: tuple[int, ...]
    parameters: dict[str, int] = field(default_factory=dict)
    gated: Literal["auto", "manual", False] = False
    tagged: str | None = None
    pickles: bool = False
    code: tuple[str, ...] = ()
    unsafe: dict[str, str] = field(default_factory=dict)


_BFLOAT16 = {"torch_dtype": "bfloat16", "use_cache": True, "hidden_act": "silu"}

_OPT_125M: dict[str, object] = {
    "architectures": ["OPTForCausalLM"],
    "model_type": "opt",
    "hidden_size": 768,
    "ffn_dim": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "max_position_embeddings": 2048,
    "word_embed_proj_dim": 768,
    "do_layer_norm_before": True,
    "activation_function": "relu",
    "vocab_size": 50272,
    "torch_dtype": "float16",
    "use_cache": True,
}

SAMPLES: tuple[Sample, ...] = (
    Sample(
        repo_id="meta-llama/Llama-3.2-3B-Instruct",
        license="llama3.2",
        gated="manual",
        shards=(8, 4),
        parameters={"BF16": 3_212_749_824},
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
        parameters={"BF16": 7_615_616_512},
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
        parameters={"BF16": 4_022_468_096},
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
        parameters={"BF16": 3_836_021_760},
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
        parameters={"BF16": 7_248_023_552},
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
    Sample(
        repo_id="mistralai/Ministral-8B-Instruct-2410",
        license="other",
        gated="auto",
        shards=(2,),
        parameters={"BF16": 8_019_808_256},
        config={
            "architectures": ["MistralForCausalLM"],
            "model_type": "mistral",
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "num_hidden_layers": 36,
            "head_dim": 128,
            "max_position_embeddings": 32768,
            "sliding_window": 32768,
            "rope_theta": 100000000.0,
            "rms_norm_eps": 1e-05,
            "tie_word_embeddings": False,
            "vocab_size": 131072,
            **_BFLOAT16,
        },
    ),
    Sample(
        repo_id="Qwen/Qwen2.5-72B-Instruct",
        license="other",
        shards=(2, 1),
        parameters={"BF16": 72_706_203_648},
        config={
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "hidden_size": 8192,
            "intermediate_size": 29568,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "num_hidden_layers": 80,
            "max_position_embeddings": 32768,
            "max_window_layers": 70,
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
        repo_id="microsoft/Phi-3-mini-4k-instruct",
        license="mit",
        shards=(2,),
        parameters={"BF16": 3_821_079_552},
        code=("configuration_phi3.py", "modeling_phi3.py"),
        config={
            "architectures": ["Phi3ForCausalLM"],
            "auto_map": {
                "AutoConfig": "configuration_phi3.Phi3Config",
                "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
            },
            "model_type": "phi3",
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "num_hidden_layers": 32,
            "max_position_embeddings": 4096,
            "original_max_position_embeddings": 4096,
            "sliding_window": 2047,
            "rope_theta": 10000.0,
            "rms_norm_eps": 1e-05,
            "tie_word_embeddings": False,
            "vocab_size": 32064,
            **_BFLOAT16,
        },
    ),
    Sample(
        repo_id="facebook/opt-125m",
        license="other",
        shards=(1,),
        pickles=True,
        config=_OPT_125M,
    ),
    Sample(
        repo_id="sandbox/opt-125m-flagged",
        license="other",
        shards=(1,),
        pickles=True,
        unsafe={"pytorch_model.bin": "unsafe", "README.md": "caution"},
        config=_OPT_125M,
    ),
)

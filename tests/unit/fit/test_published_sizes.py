"""The cache of real models against sizes that others published or that vLLM itself logged.

The configurations are cut down to the numbers counted; each is from config.json on the model's
Hub page. A case says where its size is from: "published" cases have an address, "arithmetic" ones
are 2 x layers x heads of keys and values x head size x 2 bytes, worked out by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.unit.fit.shapes import shape
from vllm_flows.architecture import architecture_of
from vllm_flows.gpu_memory import GIB, cache_bytes
from vllm_flows.models import Model

KIB = 1024
IN_FLIGHT = 2048


class Published(NamedTuple):
    """A cache size in bytes for so many tokens on each of `gpus`, and where it stands."""

    config: dict[str, Any]
    tokens: int
    size: float
    source: str
    gpus: int = 1
    tolerance: float = 0.005


GEMMA_4_31B = {
    "model_type": "gemma4",
    "text_config": shape(
        60,
        32,
        16,
        5376,
        head_dim=256,
        global_head_dim=512,
        num_global_key_value_heads=4,
        sliding_window=1024,
        layer_types=(["sliding_attention"] * 5 + ["full_attention"]) * 10,
    ),
}
DEEPSEEK_V3 = shape(61, 128, 128, 7168, kv_lora_rank=512, qk_rope_head_dim=64)
MIXTRAL = shape(32, 32, 8, 4096, sliding_window=None)
MISTRAL_01 = shape(32, 32, 8, 4096, sliding_window=4096, model_type="mistral")

CASES = {
    "Llama-3-8B": Published(
        shape(32, 32, 8, 4096),
        1,
        128 * KIB,
        "published: ai-paper-delta.vercel.app/en/papers/hn_47558733 (128 KiB a token)",
    ),
    "Llama-3.1-8B in vLLM": Published(
        shape(32, 32, 8, 4096),
        23_648,
        2.89 * GIB,
        "published: vLLM issue 10517 (2.89 GiB hold 23,648 tokens)",
    ),
    "Llama-3-70B": Published(
        shape(80, 64, 8, 8192),
        131_072,
        40 * GIB,
        "published: unanswered.io/guide/kv-cache-memory-usage (about 40 GB for 128k)",
    ),
    "Llama-3.1-405B": Published(
        shape(126, 128, 8, 16384),
        1,
        504 * KIB,
        "published: tooljolt.com/tools/llama-3-1-405b-kv-cache-calculator",
    ),
    "DeepSeek-V3": Published(
        DEEPSEEK_V3, 1, 68.6 * KIB, "published: tooljolt.com/tools/deepseek-v3-kv-cache-calculator"
    ),
    "DeepSeek-V3.2 of 160k": Published(
        DEEPSEEK_V3,
        163_840,
        10.72 * GIB,
        "published: provide.ai/the-exact-kv-cache-usage-of-deepseek-v4",
    ),
    "DeepSeek-V3 on eight GPUs": Published(
        DEEPSEEK_V3, 1, 70_272, "arithmetic: every GPU has the latent vector", gpus=8
    ),
    "GPT-2 XL": Published(
        {"n_layer": 48, "n_head": 25, "n_embd": 1600, "n_positions": 1024},
        1,
        300 * KIB,
        "published: ai-paper-delta.vercel.app/en/papers/hn_47558733 (300 KiB a token)",
    ),
    "Mixtral-8x7B": Published(
        MIXTRAL,
        32_768,
        4 * GIB,
        "published: flytomelight.github.io/llm-cal/models/mistralai-mixtral-8x7b-v0-1-h100",
    ),
    "Mistral-7B in its window": Published(
        MISTRAL_01, 4096, 0.5 * GIB, "published: dev.to/jagmarques (4K tokens, 0.5 GB)"
    ),
    "Qwen2.5-14B": Published(
        shape(48, 40, 8, 5120),
        1,
        0.2e6,
        "published: unanswered.io/guide/kv-cache-memory-usage (about 0.2 MB)",
        tolerance=0.03,
    ),
    "Qwen3-235B-A22B in vLLM": Published(
        shape(94, 64, 4, 4096, head_dim=128),
        178_880,
        8.11 * GIB,
        "published: vLLM issue 21348 (8.11 GiB hold 178,880 tokens on each of 4 GPUs)",
        gpus=4,
        tolerance=0.02,
    ),
    "Qwen2.5-7B": Published(shape(28, 28, 4, 3584), 1, 56 * KIB, "arithmetic"),
    "Qwen2.5-72B": Published(shape(80, 64, 8, 8192), 1, 327_680, "arithmetic"),
    "Qwen3-32B-AWQ": Published(
        shape(64, 64, 8, 5120, head_dim=128), 1, 256 * KIB, "arithmetic: head size said, not 80"
    ),
    "Falcon-7B": Published(
        {
            "num_hidden_layers": 32,
            "num_attention_heads": 71,
            "hidden_size": 4544,
            "multi_query": True,
            "new_decoder_architecture": False,
        },
        1,
        8 * KIB,
        "arithmetic: one head of keys and values",
    ),
    "Falcon-40B": Published(
        {
            "num_hidden_layers": 60,
            "num_attention_heads": 128,
            "hidden_size": 8192,
            "multi_query": True,
            "new_decoder_architecture": True,
            "num_kv_heads": 8,
        },
        1,
        120 * KIB,
        "arithmetic: eight heads, whatever multi_query says",
    ),
    "Llama-3.1-70B on sixteen GPUs": Published(
        shape(80, 64, 8, 8192), 1, 40 * KIB, "arithmetic: one whole head on each GPU", gpus=16
    ),
    "Qwen3-Next-80B": Published(
        shape(48, 16, 2, 2048, head_dim=256, full_attention_interval=4),
        1,
        24 * KIB,
        "arithmetic: 12 of 48 layers have attention",
    ),
    "Jamba": Published(
        shape(32, 32, 8, 4096, attn_layer_period=8, attn_layer_offset=4),
        1,
        16 * KIB,
        "arithmetic: 4 of 32 layers have attention",
    ),
    "Nemotron-H": Published(
        shape(4, 32, 8, 4096, head_dim=128, hybrid_override_pattern="M-*M"),
        1,
        4 * KIB,
        "arithmetic: one layer has attention",
    ),
    "Kimi-Linear": Published(
        shape(
            4,
            32,
            32,
            2304,
            kv_lora_rank=512,
            qk_rope_head_dim=64,
            linear_attn_config={"full_attn_layers": [4]},
        ),
        1,
        1152,
        "arithmetic: one latent layer",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_cache_has_the_published_size(case: Published, model: Callable[..., Model]) -> None:
    found = architecture_of(case.config)
    assert found is not None
    # One token alone would be a whole block of sixteen.
    tokens = case.tokens * 16 if case.tokens == 1 else case.tokens
    size = cache_bytes(model(), found, tokens, case.gpus, IN_FLIGHT) * case.tokens / tokens
    assert size == pytest.approx(case.size, rel=case.tolerance), case.source


@pytest.mark.parametrize("said", [{}, {"head_dim": 32}, {"head_dim": 96}])
def test_minicpm3_keeps_whole_heads_in_place_of_the_latent_vector(
    said: dict[str, Any], model: Callable[..., Model]
) -> None:
    """Arithmetic: vLLM widens its values to the size of its keys, 64 + 32 numbers, and keeps both.

    Source: MiniCPM3Attention in vLLM's model_executor/models/minicpm3.py, 0.18.0 to 0.32.0.
    """
    latent = {"kv_lora_rank": 256, "q_lora_rank": 768, "qk_nope_head_dim": 64}
    config = shape(62, 40, 40, 2560, model_type="minicpm3", qk_rope_head_dim=32, **latent, **said)
    found = architecture_of(config)
    assert found is not None
    assert cache_bytes(model(), found, 16, 1, IN_FLIGHT) / 16 == 2 * 62 * 40 * 96 * 2
    assert cache_bytes(model(), found, 16, 4, IN_FLIGHT) / 16 == 2 * 62 * 10 * 96 * 2


def test_gemma_4_without_the_hybrid_manager_takes_what_vllm_said(
    model: Callable[..., Model],
) -> None:
    """Published: 220.0 GiB for 262,144 tokens, all 60 layers in full (vllm-metal issue 505)."""
    found = architecture_of(GEMMA_4_31B)
    assert found is not None
    plain = model(1, "--disable-hybrid-kv-cache-manager")
    assert cache_bytes(plain, found, 262_144, 1, IN_FLIGHT) / GIB == pytest.approx(220.0)
    assert cache_bytes(model(), found, 262_144, 1, IN_FLIGHT) / GIB < 25


@pytest.mark.parametrize(
    ("config", "full", "windowed", "window"),
    [
        # huggingface.co/google/gemma-3-27b-it: 62 layers, five with a window to one without
        (
            {
                "model_type": "gemma3",
                "text_config": shape(
                    62, 32, 16, 5376, head_dim=128, sliding_window=1024, model_type="gemma3_text"
                ),
            },
            10,
            52,
            1024,
        ),
        # huggingface.co/openai/gpt-oss-20b: "12 dense, 12 sliding" (fitmygpu.com)
        (
            shape(24, 64, 8, 2880, head_dim=64, sliding_window=128, model_type="gpt_oss"),
            12,
            12,
            128,
        ),
        (shape(26, 8, 4, 2304, sliding_window=4096, model_type="gemma2"), 13, 13, 4096),
        (MISTRAL_01, 0, 32, 4096),
        (shape(28, 28, 4, 3584, sliding_window=131072, use_sliding_window=False), 28, 0, 0),
        (
            shape(28, 28, 4, 3584, sliding_window=4096, use_sliding_window=True)
            | {"max_window_layers": 21},
            21,
            7,
            4096,
        ),
        (shape(8, 8, 8, 1024, sliding_window=4096, sliding_window_pattern="LLLG"), 2, 6, 4096),
    ],
    ids=["gemma-3", "gpt-oss", "gemma-2", "mistral", "qwen2.5", "qwen2-windowed", "exaone-4"],
)
def test_layers_with_a_window_are_told_from_those_without(
    config: dict[str, Any], full: int, windowed: int, window: int
) -> None:
    found = architecture_of(config)
    assert found is not None
    counts = {bool(group.window): group.count for group in found.attention}
    assert (counts.get(False, 0), counts.get(True, 0)) == (full, windowed)
    assert {group.window for group in found.attention if group.window} <= {window}


@pytest.mark.parametrize(
    ("config", "positions", "usual"),
    [
        ({"max_position_embeddings": 40960}, 40960, 40960),
        ({"n_positions": 1024}, 1024, 1024),
        ({}, 0, 2048),
        ({"max_position_embeddings": 8192, "model_max_length": 131072}, 131072, 131072),
        # Llama 3.1's factor is in its length already
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {"rope_type": "llama3", "factor": 8.0},
            },
            131072,
            131072,
        ),
        (
            {"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 2.0}},
            8192,
            8192,
        ),
        # Qwen's own advice for long contexts
        (
            {
                "max_position_embeddings": 40960,
                "rope_scaling": {
                    "type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 32768,
                },
            },
            131072,
            131072,
        ),
        # DeepSeek V3: the length has YaRN's factor in it, and is not multiplied again
        (
            {
                "max_position_embeddings": 163840,
                "rope_scaling": {
                    "type": "yarn",
                    "factor": 40,
                    "original_max_position_embeddings": 4096,
                },
            },
            163840,
            163840,
        ),
        # Phi 3 mini 128k: vLLM stays at the short length unless told otherwise
        (
            {
                "max_position_embeddings": 131072,
                "original_max_position_embeddings": 4096,
                "rope_scaling": {"type": "longrope"},
            },
            131072,
            4096,
        ),
    ],
)
def test_the_longest_context_is_the_one_vllm_derives(
    config: dict[str, Any], positions: int, usual: int
) -> None:
    found = architecture_of(shape(2, 8, 8, 1024, **config))
    assert found is not None
    assert (found.positions, found.usual_length) == (positions, usual)


@pytest.mark.parametrize(
    ("quantization", "method", "bits"),
    [
        ({"quant_method": "awq", "bits": 4}, "awq", 4),
        ({"quant_method": "fp8"}, "fp8", 8),
        ({"quant_method": "mxfp4"}, "mxfp4", 4),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes", 4),
        (
            {
                "quant_method": "compressed_tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 8}}},
            },
            "compressed-tensors",
            8,
        ),
        (
            {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}},
            "modelopt_fp4",
            4,
        ),
        (None, "", 0),
    ],
)
def test_the_quantization_is_named_as_vllm_names_it(
    quantization: object, method: str, bits: int
) -> None:
    found = architecture_of(shape(2, 8, 8, 1024, quantization_config=quantization))
    assert found is not None
    assert (found.quantization, found.quantization_bits) == (method, bits)

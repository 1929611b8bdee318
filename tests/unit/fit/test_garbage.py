"""config.json can hold anything: what cannot be counted is unknown, and nothing raises."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from vllm_flows.architecture import architecture_of
from vllm_flows.engine_rules import engine_refusals
from vllm_flows.fit import Fits, fit_of
from vllm_flows.gpu_memory import GIB
from vllm_flows.models import Model
from vllm_flows.observed import Verdict

WHOLE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "hidden_size": 512,
    "head_dim": 64,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "rope_scaling": {"rope_type": "yarn", "factor": 2},
    "quantization_config": {"quant_method": "awq", "bits": 4},
}
OTHER_KEYS = (
    "text_config",
    "layer_types",
    "layers_block_type",
    "sliding_window",
    "sliding_window_pattern",
    "max_window_layers",
    "use_sliding_window",
    "kv_lora_rank",
    "qk_rope_head_dim",
    "qk_nope_head_dim",
    "block_configs",
    "hybrid_override_pattern",
    "linear_attn_config",
    "attn_layer_indices",
    "full_attention_interval",
    "attn_layer_period",
    "num_kv_shared_layers",
    "attn_config",
    "auto_map",
    "vision_config",
    "num_experts_per_tok",
    "original_max_position_embeddings",
    "torch_dtype",
    "multi_query",
    "compression_config",
    "model_max_length",
)
RUBBISH: tuple[Any, ...] = (
    "minicpm3",
    None,
    "",
    "many",
    "4",
    0,
    -1,
    1,
    7,
    10**6,
    10**30,
    2.5,
    float("nan"),
    float("inf"),
    True,
    False,
    [],
    [None],
    ["x", 3],
    ["sliding_attention"] * 4,
    {},
    {"factor": float("inf")},
    {"full_attn_layers": [1, "x", None]},
    {"quant_method": 5},
    {"text_config": {"text_config": {}}},
    [{"attention": {"n_heads_in_group": 10**9}}, 3],
    {"a": {"rope_type": "linear", "factor": -3}},
)


@pytest.mark.parametrize("value", [None, "32", 0, -4, 10**12, 2.5, True, [32], {}])
@pytest.mark.parametrize("key", ["num_hidden_layers", "num_attention_heads"])
def test_a_shape_without_its_numbers_is_none(key: str, value: object) -> None:
    assert architecture_of({**WHOLE, key: value}) is None


@pytest.mark.parametrize("config", [{}, {"text_config": None}, {"architectures": "Llama"}])
def test_an_empty_configuration_is_none(config: dict[str, Any]) -> None:
    assert architecture_of(config) is None


def test_a_cache_of_a_shape_of_its_own_is_none() -> None:
    assert architecture_of({**WHOLE, "compress_ratios": [4, 128]}) is None


def test_rubbish_never_raises(model: Callable[..., Model]) -> None:
    chance = random.Random(20)  # noqa: S311 -- a seeded test, no secret
    for _ in range(2000):
        config = dict(WHOLE)
        for key in chance.sample([*WHOLE, *OTHER_KEYS], 4):
            config[key] = chance.choice(RUBBISH)
        if chance.random() < 0.2:
            config = {"architectures": config["architectures"], "text_config": config}
        verdict = Verdict("m", "o/m", config=config, parameters={"BF16": 10**9})
        fit = fit_of(model(maxModelLen=1024), verdict, 24 * GIB)
        assert fit.result in Fits
        assert min(fit.weights, fit.kv_cache, fit.overhead, fit.needed, fit.available) >= 0
        engine_refusals(model(), verdict, "vllm/vllm-openai:v0.20.0")

"""What is proposed for a model that does not do as it is: only what vLLM and the nodes take."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import LLAMA_70B, LLAMA_70B_PARAMETERS
from vllm_flows.architecture import architecture_of
from vllm_flows.engine_limits import possible_sizes, splits
from vllm_flows.engine_rules import engine_refusals
from vllm_flows.fit import Fit, Fits, fit_of
from vllm_flows.gpu_memory import GIB
from vllm_flows.models import Model
from vllm_flows.observed import Verdict

Maker = Callable[..., Model]
Verdicts = Callable[..., Verdict]


def refused(model: Model, verdict: Verdict, fit: Fit) -> str:
    """Return what the one refusal proposes."""
    (refusal,) = engine_refusals(model, verdict, fit=fit)
    return refusal.next_command


def numbers(field: str, *texts: str) -> set[str]:
    return {found for text in texts for found in re.findall(rf"{field}: (\d+)", text)}


def test_sizes_that_would_part_a_feed_forward_layer_unevenly_are_not_taken() -> None:
    config = LLAMA_70B | {"num_attention_heads": 28, "num_key_value_heads": 28}
    shape = architecture_of(config | {"hidden_size": 3584, "intermediate_size": 18944})
    assert shape
    assert splits(shape, 4)
    assert not splits(shape, 7)  # shares the heads, and 18944 is no multiple
    assert possible_sizes(shape, 8) == (1, 2, 4)


# Length: beyond the model's positions.


def test_a_longer_context_than_the_models_is_never_proposed(model: Maker, llama: Verdict) -> None:
    fit = fit_of(model(maxModelLen=1_000_000), llama, 80 * GIB)
    assert fit.largest_max_model_len == 131072
    assert fit.result is Fits.FITS  # at the length that vLLM takes
    assert fit.kv_cache == 16 * GIB
    wanted = model(maxModelLen=1_000_000)
    assert refused(wanted, llama, fit) == (
        "set vllmConfig.maxModelLen: 131072 (or less) in models.yaml"
    )


def test_a_context_that_is_too_long_and_does_not_fit_gets_one_number(
    model: Maker, llama: Verdict
) -> None:
    wanted = model(maxModelLen=1_000_000)
    fit = fit_of(wanted, llama, 24 * GIB)
    assert fit.result is Fits.NOT
    assert fit.largest_max_model_len is not None
    assert fit.largest_max_model_len < 131072
    said = (fit.advice, refused(wanted, llama, fit))
    assert numbers("maxModelLen", *said) == {str(fit.largest_max_model_len)}
    assert said[0] == said[1]
    shorter = model(maxModelLen=fit.largest_max_model_len)
    assert fit_of(shorter, llama, 24 * GIB).result is not Fits.NOT
    assert engine_refusals(shorter, llama) == ()


def test_a_context_that_is_too_long_on_too_few_gpus_gets_both_corrections(
    model: Maker, verdict: Verdicts
) -> None:
    wanted, said = model(maxModelLen=1_000_000), verdict(LLAMA_70B, LLAMA_70B_PARAMETERS)
    fit = fit_of(wanted, said, 80 * GIB)
    assert fit.advice == (
        "set requestGPU and vllmConfig.tensorParallelSize: 4 with vllmConfig.maxModelLen: 131072 "
        "in models.yaml"
    )
    assert refused(wanted, said, fit) == fit.advice
    right = model(4, maxModelLen=131072)
    assert fit_of(right, said, 80 * GIB).result is not Fits.NOT


@pytest.mark.parametrize("flag", ["--hf-overrides={}", "--rope-scaling={}"])
def test_a_context_that_arguments_lengthen_is_judged_at_its_length(
    model: Maker, llama: Verdict, flag: str
) -> None:
    fit = fit_of(model(1, flag, maxModelLen=262144), llama, 80 * GIB)
    assert fit.kv_cache == 32 * GIB
    assert fit.largest_max_model_len == 262144


def test_a_separate_longer_limit_of_the_configuration_counts(
    model: Maker, verdict: Verdicts, llama: Verdict
) -> None:
    config = {**llama.config, "text_config": dict(llama.config), "model_max_length": 200_000}
    said = verdict(config, dict(llama.parameters))
    assert fit_of(model(maxModelLen=180_000), said, 80 * GIB).largest_max_model_len == 200_000


# Number of GPUs: the heads and the nodes.


def test_sizes_are_proposed_that_one_node_has(model: Maker, llama: Verdict) -> None:
    for most, proposed in ((0, "2 or 4"), (8, "2 or 4"), (4, "2 or 4"), (3, "2"), (1, "1")):
        fit = fit_of(model(3, maxModelLen=4096), llama, 80 * GIB, most_gpus=most)
        advice = refused(model(3, maxModelLen=4096), llama, fit)
        assert advice == (
            f"set requestGPU and vllmConfig.tensorParallelSize: {proposed} in models.yaml"
        )


def test_sizes_are_proposed_that_share_the_heads_of_keys_and_values(
    model: Maker, verdict: Verdicts
) -> None:
    heads = {"num_attention_heads": 48, "num_key_value_heads": 4, "intermediate_size": 28800}
    odd = LLAMA_70B | heads
    said = verdict(odd, {"BF16": 1_000_000_000})
    for gpus, proposed in ((3, "2 or 4"), (6, "4 or 8"), (32, "24 or 48")):
        fit = fit_of(model(gpus, maxModelLen=4096), said, 80 * GIB)
        assert f"tensorParallelSize: {proposed} in" in refused(model(gpus), said, fit)


def test_a_size_that_shares_the_heads_but_does_not_hold_the_model_is_not_proposed(
    model: Maker, verdict: Verdicts
) -> None:
    said = verdict(LLAMA_70B, LLAMA_70B_PARAMETERS)
    wanted = model(3, maxModelLen=4096)
    fit = fit_of(wanted, said, 65 * GIB)
    assert fit.result is not Fits.NOT
    assert fit.smallest_tensor_parallel_size == 4
    assert "tensorParallelSize: 4 in" in refused(wanted, said, fit)


def test_no_more_gpus_are_proposed_than_a_node_has(model: Maker, verdict: Verdicts) -> None:
    said = verdict(LLAMA_70B, LLAMA_70B_PARAMETERS)
    assert fit_of(model(maxModelLen=8192), said, 48 * GIB).smallest_tensor_parallel_size == 4
    fit = fit_of(model(maxModelLen=8192), said, 48 * GIB, most_gpus=2)
    assert fit.smallest_tensor_parallel_size is None
    assert "no number of these GPUs that one node has (at most 2)" in fit.advice
    for way in ("larger GPUs", "quantized", "smaller model"):
        assert way in fit.advice
    assert "maxModelLen" not in fit.advice
    assert "tensorParallelSize" not in fit.advice


def test_all_gpus_of_a_node_are_proposed_with_the_context_that_they_hold(
    model: Maker, verdict: Verdicts
) -> None:
    said = verdict(LLAMA_70B, LLAMA_70B_PARAMETERS)
    fit = fit_of(model(), said, 80 * GIB, most_gpus=2)
    assert fit.smallest_tensor_parallel_size is None
    (length,) = numbers("maxModelLen", fit.advice)
    assert fit.advice == (
        "set requestGPU and vllmConfig.tensorParallelSize: 2 with vllmConfig.maxModelLen: "
        f"{length} (or less) in models.yaml"
    )
    better = fit_of(model(2, maxModelLen=int(length)), said, 80 * GIB, most_gpus=2)
    assert better.result is Fits.TIGHT


def test_heads_that_no_node_can_share_and_hold_get_the_same_answer(
    model: Maker, verdict: Verdicts
) -> None:
    said = verdict(LLAMA_70B, LLAMA_70B_PARAMETERS)
    for memory in (65, 30):  # three GPUs would hold it, or would not
        wanted = model(3, maxModelLen=4096)
        fit = fit_of(wanted, said, memory * GIB, most_gpus=3)
        assert "no number of these GPUs that one node has (at most 3)" in refused(wanted, said, fit)


def test_weights_alone_that_are_too_large_ask_for_no_gpus_that_no_node_has(
    model: Maker, verdict: Verdicts
) -> None:
    fit = fit_of(model(2), verdict({}, LLAMA_70B_PARAMETERS), 40 * GIB, most_gpus=2)
    assert fit.result is Fits.NOT
    assert "larger GPUs" in fit.advice
    assert "tensorParallelSize" not in fit.advice


# Fraction of the memory: before more GPUs.


@pytest.mark.parametrize("share", [0.05, 0.3, 0.4])
def test_the_smallest_fraction_that_would_do_is_proposed_before_more_gpus(
    model: Maker, llama: Verdict, share: float
) -> None:
    fit = fit_of(model(maxModelLen=65536, gpuMemoryUtilization=share), llama, 60 * GIB)
    assert fit.result is Fits.NOT
    assert fit.advice.startswith("set vllmConfig.gpuMemoryUtilization: 0.45")
    assert "tensorParallelSize" not in fit.advice
    enough = model(maxModelLen=65536, gpuMemoryUtilization=0.45)
    assert fit_of(enough, llama, 60 * GIB).result is not Fits.NOT
    less = model(maxModelLen=65536, gpuMemoryUtilization=0.4)
    assert fit_of(less, llama, 60 * GIB).result is Fits.NOT


def test_no_fraction_above_95_percent_is_proposed(model: Maker, llama: Verdict) -> None:
    proposed = set()
    for memory in range(16, 48):
        fit = fit_of(model(gpuMemoryUtilization=0.5), llama, memory * GIB)
        proposed |= set(re.findall(r"gpuMemoryUtilization: ([\d.]+)", fit.advice))
    assert max(proposed, key=float) == "0.95"
    assert min(proposed, key=float) == "0.7"


def test_weights_alone_may_need_a_larger_fraction_only(model: Maker, verdict: Verdicts) -> None:
    said = verdict({}, {"BF16": 8_000_000_000})
    fit = fit_of(model(gpuMemoryUtilization=0.3), said, 40 * GIB)
    assert fit.result is Fits.NOT
    assert fit.advice.startswith("set vllmConfig.gpuMemoryUtilization: 0.4 (or more)")


def test_a_model_that_is_tight_in_a_small_fraction_is_told_so(model: Maker, llama: Verdict) -> None:
    fit = fit_of(model(maxModelLen=2048, gpuMemoryUtilization=0.23), llama, 80 * GIB)
    assert fit.result is Fits.TIGHT
    assert "larger vllmConfig.gpuMemoryUtilization" in fit.advice


def test_each_proposal_leads_to_a_model_that_is_not_refused(
    model: Maker, verdict: Verdicts
) -> None:
    """Whatever is wrong at once, doing what is said ends it."""
    said = verdict(LLAMA_70B, LLAMA_70B_PARAMETERS)
    for gpus in (1, 2, 3, 5, 6, 8):
        for length in (2048, 131072, 500_000):
            for memory in (24, 48, 80, 141):
                options = {"maxModelLen": length, "gpuMemoryUtilization": 0.5}
                fit = fit_of(model(gpus, **options), said, memory * GIB, most_gpus=8)
                if fit.result is Fits.NOT and fit.advice.startswith("set "):
                    right = corrected(gpus, options, fit.advice)
                    again = model(right.pop("gpus"), **right)
                    better = fit_of(again, said, memory * GIB, most_gpus=8)
                    assert better.result is not Fits.NOT
                    assert engine_refusals(again, said, fit=better) == ()


def corrected(gpus: int, options: dict[str, Any], advice: str) -> dict[str, Any]:
    """Return the options with the first proposal of the advice."""
    first = advice.split(", or ", maxsplit=1)[0]
    right: dict[str, Any] = {**options, "gpus": gpus}
    for key, value in re.findall(r"(\w+): ([\d.]+)", first):
        if key == "tensorParallelSize":
            right["gpus"] = int(value)
        else:
            right[key] = float(value) if "." in value else int(value)
    return right

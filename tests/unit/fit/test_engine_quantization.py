"""What vLLM would refuse of a quantization is said beforehand, in its words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vllm_flows.engine_rules import engine_refusals
from vllm_flows.models import Model
from vllm_flows.observed import HubFile, Verdict

VLLM = "vllm/vllm-openai:"
Maker = Callable[..., Model]


def changed(verdict: Verdict, **changes: object) -> Verdict:
    return replace(verdict, config={**verdict.config, **changes})


def with_files(verdict: Verdict, *names: str) -> Verdict:
    return replace(verdict, files=tuple(HubFile(name, 1) for name in names))


@pytest.mark.parametrize(
    ("quantization", "tag", "refused"),
    [
        ({"quant_method": "awq"}, "latest", False),
        ({"quant_method": "compressed_tensors"}, "latest", False),
        ({"quant_method": "exl2"}, "latest", True),
        ({"quant_method": "exl2"}, "nightly", False),
        ({"quant_method": "exl2"}, "v0.40.0", False),
        ({"quant_method": "bitsandbytes"}, "latest", True),
        ({"quant_method": "bitsandbytes"}, "v0.27.1", False),
        ({"quant_method": "hqq"}, "v0.20.0", True),
        ({"quant_method": "hqq"}, "v0.11.0", False),
        ({}, "latest", False),
    ],
)
def test_a_quantization_that_vllm_does_not_know_is_refused(
    model: Maker, llama: Verdict, quantization: dict[str, Any], tag: str, *, refused: bool
) -> None:
    said = changed(llama, quantization_config=quantization)
    refusals = engine_refusals(model(), said, VLLM + tag)
    assert bool(refusals) is refused
    if refused:
        assert refusals[0].why.startswith("Unknown quantization method: ")


@pytest.mark.parametrize("tag", ["v0.11.2", "v0.20.0", "latest", "nightly"])
@pytest.mark.parametrize(
    ("own", "given"),
    [
        ("awq", "gptq"),
        ("gptq", "awq_marlin"),
        ("compressed-tensors", "fp8"),
        ("compressed_tensors", "fp8"),
        ("fp8", "bitsandbytes"),
        ("auto_gptq", "fp8"),
    ],
)
def test_a_method_that_is_not_the_weights_own_is_refused(
    model: Maker, llama: Verdict, own: str, given: str, tag: str
) -> None:
    said = changed(llama, quantization_config={"quant_method": own})
    for arguments in (("--quantization", given), (f"-q={given}",)):
        refusals = engine_refusals(model(1, *arguments), said, VLLM + tag)
        (refusal,) = [one for one in refusals if "does not match" in one.why]
        named = own.replace("_t", "-t")
        assert refusal.why == (
            f"Quantization method specified in the model config ({named}) does not match the "
            f"quantization method specified in the `quantization` argument ({given})."
        )
        assert refusal.next_command.startswith("remove --quantization from vllmConfig.extraArgs")


@pytest.mark.parametrize(
    ("own", "given"),
    [
        ("awq", "awq"),
        ("awq", "awq_marlin"),
        ("gptq", "auto_gptq"),
        ("gptq", "gptq_marlin"),
        ("gptq", "moe_wna16"),  # hangs on the model
        ("awq", "humming"),
        ("mxfp4", "fp8"),  # vLLM takes gpt-oss's own
        ("auto-round", "gptq"),
        ("fp8", ""),
    ],
)
def test_a_method_that_vllm_turns_into_the_weights_own_is_not_refused(
    model: Maker, llama: Verdict, own: str, given: str
) -> None:
    said = changed(llama, quantization_config={"quant_method": own})
    assert engine_refusals(model(1, f"--quantization={given}"), said) == ()


@pytest.mark.parametrize("tag", ["v0.11.2", "latest", "nightly"])
@pytest.mark.parametrize("given", ["awq", "awq_marlin", "gptq", "gptq_marlin", "modelopt"])
def test_a_method_for_quantized_weights_is_refused_without_them(
    model: Maker, llama: Verdict, given: str, tag: str
) -> None:
    plain = with_files(llama, "config.json", "model.safetensors")
    (refusal,) = engine_refusals(model(1, "-q", given), plain, VLLM + tag)
    assert refusal.why == f"Cannot find the config file for {given}"
    assert "remove --quantization" in refusal.next_command


@pytest.mark.parametrize("given", ["fp8", "fp8_per_tensor", "bitsandbytes", ""])
def test_weights_may_be_quantized_at_the_start(model: Maker, llama: Verdict, given: str) -> None:
    plain = with_files(llama, "config.json", "model.safetensors")
    assert engine_refusals(model(1, f"--quantization={given}"), plain) == ()


def test_what_may_be_quantized_all_the_same_is_left_to_vllm(model: Maker, llama: Verdict) -> None:
    plain = with_files(llama, "config.json", "model.safetensors")
    awq = model(1, "--quantization=awq")
    assert engine_refusals(awq, with_files(plain, "config.json", "quant_config.json")) == ()
    assert engine_refusals(awq, llama) == ()  # its files are not known
    assert engine_refusals(awq, changed(plain, quantization_config={"bits": 4})) == ()
    overridden = model(1, "--quantization=awq", "--hf-overrides={}")
    assert engine_refusals(overridden, plain) == ()
    fp8 = changed(plain, quantization_config={"quant_method": "fp8"})
    assert engine_refusals(overridden, fp8) == ()


def test_on_a_cpu_the_method_is_left_to_vllm(model: Maker, llama: Verdict) -> None:
    gptq = changed(llama, quantization_config={"quant_method": "gptq"})
    assert engine_refusals(model(0, "--quantization=awq"), gptq) == ()

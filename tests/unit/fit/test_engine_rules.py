"""What vLLM would refuse at its start is said beforehand, in its words, with what to change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from vllm_flows.engine_arguments import flag_number, flag_value, has_flag
from vllm_flows.engine_limits import engine_version
from vllm_flows.engine_rules import engine_refusals
from vllm_flows.errors import FitError
from vllm_flows.models import Model
from vllm_flows.observed import Verdict

VLLM = "vllm/vllm-openai:"
Maker = Callable[..., Model]


def changed(verdict: Verdict, **changes: object) -> Verdict:
    return replace(verdict, config={**verdict.config, **changes})


def only(refusals: tuple[FitError, ...]) -> FitError:
    assert len(refusals) == 1, refusals
    assert refusals[0].model == "m"
    assert refusals[0].next_command
    return refusals[0]


def test_a_model_that_vllm_serves_is_not_refused(model: Maker, llama: Verdict) -> None:
    for tag in ("latest", "v0.11.0", "nightly", "v0.99.0"):
        wanted = model(maxModelLen=131072, dtype="float16")
        assert engine_refusals(wanted, llama, VLLM + tag) == ()


def test_without_a_configuration_nothing_is_refused(model: Maker) -> None:
    assert engine_refusals(model(maxModelLen=10**6), Verdict("m", "o/m")) == ()


def test_a_context_longer_than_the_models_is_refused(model: Maker, llama: Verdict) -> None:
    refusal = only(engine_refusals(model(maxModelLen=131073), llama))
    assert refusal.why == (
        "User-specified max_model_len (131073) is greater than the derived max_model_len (131072)"
    )
    assert refusal.next_command == "set vllmConfig.maxModelLen: 131072 (or less) in models.yaml"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--hf-overrides", '{"rope_scaling": {}}'),
        ("--hf_overrides.rope_scaling.factor=4",),
        ("--rope-scaling={}",),
    ],
)
def test_a_context_lengthened_by_arguments_is_left_to_vllm(
    model: Maker, llama: Verdict, arguments: tuple[str, ...]
) -> None:
    wanted = model(1, *arguments, maxModelLen=262144)
    assert engine_refusals(wanted, llama, VLLM + "v0.11.0") == ()


def test_heads_that_cannot_be_shared_are_refused(model: Maker, llama: Verdict) -> None:
    refusal = only(engine_refusals(model(3), llama))
    assert refusal.why == (
        "Total number of attention heads (32) must be divisible by tensor parallel size (3)."
    )
    assert "tensorParallelSize: 2 or 4" in refusal.next_command


def test_more_gpus_than_heads_are_refused(model: Maker, llama: Verdict) -> None:
    assert "tensorParallelSize: 32 in" in only(engine_refusals(model(48), llama)).next_command


@pytest.mark.parametrize(
    ("name", "tag", "words"),
    [
        ("FooForCausalLM", "latest", "are not supported for now"),
        ("FooForConditionalGeneration", "v0.20.0", "are not supported for now"),
        ("XLNetLMHeadModel", "latest", "are not supported for now"),
        ("QWenLMHeadModel", "latest", "was supported in vLLM until v0.23.0"),
        ("MPTForCausalLM", "v0.30.0-cu129", "was supported in vLLM until v0.28.0"),
        ("BartForConditionalGeneration", "v0.12.0", "is not supported in-tree anymore"),
    ],
)
def test_an_architecture_that_vllm_does_not_know_is_refused(
    model: Maker, llama: Verdict, name: str, tag: str, words: str
) -> None:
    refusal = only(engine_refusals(model(), changed(llama, architectures=[name]), VLLM + tag))
    assert name in refusal.what
    assert words in refusal.why


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("Qwen3ForCausalLM", "latest"),
        ("Gemma3ForConditionalGeneration", "latest"),
        ("GptOssForCausalLM", "latest"),
        ("DeepseekV3ForCausalLM", "latest"),
        ("GPT2LMHeadModel", "latest"),
        ("HeliumForCausalLM", "latest"),  # by Transformers
        ("BertModel", "latest"),
        ("FooForSequenceClassification", "latest"),  # vLLM tries to convert it
        ("FooForCausalLM", "v0.40.0"),  # newer than what is known here
        ("FooForCausalLM", "nightly"),
        ("QWenLMHeadModel", "v0.22.0"),
        ("QWenLMHeadModel", "v0.40.0"),
        ("BartForConditionalGeneration", "v0.40.0"),
    ],
)
def test_an_architecture_that_vllm_may_know_is_not_refused(
    model: Maker, llama: Verdict, name: str, tag: str
) -> None:
    assert engine_refusals(model(), changed(llama, architectures=[name]), VLLM + tag) == ()


def test_one_known_name_of_several_is_enough(model: Maker, llama: Verdict) -> None:
    names = ["FooForCausalLM", "LlamaForCausalLM"]
    assert engine_refusals(model(), changed(llama, architectures=names)) == ()


def test_code_of_the_repository_or_another_implementation_is_left_to_vllm(
    model: Maker, llama: Verdict
) -> None:
    foo = changed(llama, architectures=["FooForCausalLM"])
    own = changed(foo, auto_map={"AutoModelForCausalLM": "modeling_foo.FooForCausalLM"})
    assert engine_refusals(model(), own) == ()
    assert engine_refusals(model(1, "--model-impl", "transformers"), foo) == ()
    configuration_only = changed(foo, auto_map={"AutoConfig": "configuration_foo.FooConfig"})
    assert engine_refusals(model(), configuration_only)


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "gemma3_text", "glm4"])
@pytest.mark.parametrize("dtype", ["float16", "half"])
def test_float16_is_refused_where_it_is_not_stable(
    model: Maker, llama: Verdict, family: str, dtype: str
) -> None:
    refusal = only(engine_refusals(model(dtype=dtype), changed(llama, model_type=family)))
    assert "does not support float16" in refusal.why
    assert engine_refusals(model(dtype="bfloat16"), changed(llama, model_type=family)) == ()


@pytest.mark.parametrize(
    ("method", "dtype", "refused"),
    [
        ("mxfp4", "half", True),
        ("mxfp4", "bfloat16", False),
        ("awq", "float32", True),
        ("awq", "float", True),
        ("awq", "bfloat16", False),
        ("torchao", "float32", False),
        ("fp8", "auto", False),
    ],
)
def test_a_data_type_that_a_quantization_lacks_is_refused(
    model: Maker, llama: Verdict, method: str, dtype: str, *, refused: bool
) -> None:
    said = changed(llama, quantization_config={"quant_method": method})
    refusals = engine_refusals(model(dtype=dtype), said)
    assert bool(refusals) is refused
    if refused:
        why = only(refusals).why
        assert why.startswith("torch.float")
        assert f"is not supported for quantization method {method}" in why


@pytest.mark.parametrize(
    ("argument", "tag", "refused"),
    [
        ("--swap-space=4", "latest", True),
        ("--swap_space=4", "v0.18.0", True),
        ("--swap-space=4", "v0.17.1", False),
        ("--num-scheduler-steps=8", "v0.11.0", True),
        ("--calculate-kv-scales", "v0.27.1", False),
        ("--no-calculate-kv-scales", "v0.28.0", True),
        ("--swap-space=4", "nightly", False),
        ("--swap-space=4", "v0.40.0", False),  # newer than what is known here
        ("--disable-log-requests", "latest", True),
        ("--disable-log-requests", "v0.17.0", True),
        ("--disable-log-requests", "v0.16.0", False),
        ("--enforce-eager", "latest", False),
        ("--shutdown-timeout=30", "latest", False),
    ],
)
def test_a_flag_that_the_image_no_longer_has_is_refused(
    model: Maker, llama: Verdict, argument: str, tag: str, *, refused: bool
) -> None:
    refusals = engine_refusals(model(1, argument), llama, VLLM + tag)
    assert bool(refusals) is refused
    if refused:
        refusal = only(refusals)
        assert refusal.why.startswith("vllm: error: unrecognized arguments: --")
        assert "4" not in refusal.next_command


def test_every_refusal_is_told_at_once(model: Maker, llama: Verdict) -> None:
    wrong = model(3, "--task=generate", maxModelLen=10**6)
    assert len(engine_refusals(wrong, changed(llama, architectures=["FooForCausalLM"]))) == 4


@pytest.mark.parametrize("flag", ["--rope-scaling={}", "--rope_theta=1000000"])
def test_a_flag_with_a_successor_names_it(model: Maker, llama: Verdict, flag: str) -> None:
    """Without the flag alone, the context would be refused next."""
    wanted = model(1, flag, "--hf-overrides={}", maxModelLen=262144)
    (refusal,) = engine_refusals(wanted, llama, VLLM + "v0.20.0")
    assert 'by --hf-overrides={"rope_parameters": ' in refusal.next_command
    assert engine_refusals(model(1, flag), llama, VLLM + "v0.11.0") == ()


def test_a_context_lengthened_by_a_flag_that_is_gone_gets_one_advice(
    model: Maker, llama: Verdict
) -> None:
    wanted = model(1, "--rope-scaling", "{}", maxModelLen=262144)
    refusal = only(engine_refusals(wanted, llama, VLLM + "v0.20.0"))
    assert "--hf-overrides" in refusal.next_command


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("vllm/vllm-openai:v0.11.0", (0, 11, 0)),
        ("vllm/vllm-openai:0.11.0", (0, 11, 0)),
        ("vllm/vllm-openai:v0.28.0-cu129", (0, 28, 0)),
        ("vllm/vllm-openai:v0.9.0.1", None),
        ("vllm/vllm-openai:v0.11", (0, 11, 0)),
        ("vllm/vllm-openai:latest", (0, 32, 0)),
        ("vllm/vllm-openai:latest-x86_64", (0, 32, 0)),
        ("vllm/vllm-openai:nightly", None),
        ("vllm/vllm-openai:sha-1.2", None),
        ("vllm/vllm-openai:", None),
        ("registry.example:5000/mirror/vllm-openai:v0.20.0", (0, 20, 0)),
        ("vllm/vllm-openai-rocm:v0.20.0", (0, 20, 0)),
        ("openeuler/vllm:0.32.0-oe2403sp4", (0, 32, 0)),
        ("openeuler/vllm:latest", None),  # it may lag behind
        ("nvcr.io/nvidia/vllm:25.09-py3", None),
        ("nvcr.io/nvidia/tritonserver:25.09-vllm-python-py3", None),
        ("registry.example/vllm-cuda:3.2.2", None),
        ("registry.example/vllm:2024.11.3", None),
        ("registry.example/vllm:1.2.3-internal", None),
        ("registry.example/vllm/engine:0.9.1", None),
        ("registry.example/inference:0.9.1", None),
        ("lmcache/vllm-openai:v0.5.4", None),  # LMCache's own numbers
        ("lmcache/vllm-openai:latest", None),
        ("vllm/vllm-openai:v0.11.0@sha256:1234", (0, 11, 0)),
        ("vllm/vllm-openai:latest@sha256:1234", None),  # the newest once
        ("registry.example:5000/vllm-openai@sha256:1234", None),
    ],
)
def test_an_image_is_read_as_a_version_of_vllm(image: str, version: tuple[int, ...] | None) -> None:
    assert engine_version(image) == version


@pytest.mark.parametrize(
    "image", ["nvcr.io/nvidia/vllm:25.09-py3", "registry.example/inference:latest", VLLM + "v1.2.3"]
)
def test_of_another_image_nothing_is_refused_that_hangs_on_the_release(
    model: Maker, llama: Verdict, image: str
) -> None:
    wanted = model(1, "--swap-space=4", "--disable-log-requests", "--task=generate")
    for name in ("QWenLMHeadModel", "FooForCausalLM", "BartForConditionalGeneration"):
        foo = changed(llama, architectures=[name], quantization_config={"quant_method": "exl2"})
        assert engine_refusals(wanted, foo, image) == ()


def test_arguments_are_read_as_vllm_reads_them() -> None:
    arguments = ("--a-b", "1", "--c=2", "--c", "3k", "-q", "fp8", "--last", "--offset", "-1")
    assert has_flag(arguments, "--a-b")
    assert not has_flag(arguments, "1", "--missing")
    assert flag_value(arguments, "--a-b") == "1"
    assert flag_value(arguments, "-q") == "fp8"
    assert flag_value(arguments, "--last") == ""
    assert flag_value(arguments, "--offset") == "-1"
    assert flag_number(arguments, "--c") == 3000
    assert flag_number(arguments, "--offset") == 0
    assert flag_number(("--c", "9" * 400), "--c") == 0


def test_a_name_that_would_command_the_terminal_is_shown_without_its_commands():
    config = {"quantization_config": {"quant_method": "\x1b[2Jevil"}}
    verdict = Verdict("m", "o/m", "a" * 40, config=config)
    said = "".join(map(str, engine_refusals(Model(name="m", modelURL="o/m"), verdict)))
    assert "evil" in said
    assert "\x1b" not in said

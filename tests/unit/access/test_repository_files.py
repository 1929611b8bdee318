"""Which files are needed, on listings like those of real repositories."""

from __future__ import annotations

import pytest

from vllm_flows.observed import HubFile
from vllm_flows.repository_files import (
    has_safetensors,
    missing_shards,
    needed_files,
    pickle_files,
    weight_files,
)

TOKENIZER = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
CONFIG = {"config.json", "generation_config.json"}
DOCUMENTS = {".gitattributes", "README.md", "LICENSE", "USE_POLICY.md"}
SHARDS = {
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
}

LLAMA = (
    CONFIG | TOKENIZER | SHARDS,
    DOCUMENTS
    | {"original/consolidated.00.pth", "original/params.json", "original/tokenizer.model"},
)
MISTRAL = (
    CONFIG | TOKENIZER | SHARDS | {"params.json", "tokenizer.model", "tokenizer.model.v3"},
    {"README.md", "consolidated.safetensors"},
)
MISTRAL_ALONE = (
    {"consolidated-00001-of-00002.safetensors", "consolidated-00002-of-00002.safetensors"}
    | {"consolidated.safetensors.index.json", "params.json", "tekken.json", "SYSTEM_PROMPT.txt"},
    {"README.md"},
)
QWEN = (
    CONFIG | SHARDS | {"merges.txt", "vocab.json", "tokenizer.json", "tokenizer_config.json"},
    {".gitattributes", "LICENSE", "README.md"},
)
QWEN_OLD = (
    CONFIG | SHARDS | {"qwen.tiktoken", "tokenization_qwen.py", "SimSun.ttf", "mel_filters.npz"},
    {"assets/logo.jpg", "examples/tokenizer_showcase.ipynb", "NOTICE"},
)
GPT_OSS = (
    CONFIG | TOKENIZER | SHARDS | {"chat_template.jinja"},
    {"metal/model.bin", "original/config.json", "original/dtypes.json"}
    | {"original/model.safetensors", "USAGE_POLICY", "README.md"},
)
DEEPSEEK = (
    CONFIG | TOKENIZER | SHARDS | {"modeling_deepseek.py", "configuration_deepseek.py"},
    {"figures/benchmark.png", "README_WEIGHTS.md", "LICENSE-CODE", "LICENSE-MODEL"},
)
OPT = (
    CONFIG | {"merges.txt", "vocab.json", "tokenizer_config.json", "pytorch_model.bin"},
    {"flax_model.msgpack", "tf_model.h5", "README.md", "LICENSE.md"},
)
GPT2 = (
    CONFIG | {"merges.txt", "vocab.json", "tokenizer.json", "model.safetensors"},
    {"pytorch_model.bin", "rust_model.ot", "tf_model.h5", "flax_model.msgpack", "64.tflite"}
    | {"onnx/decoder_model.onnx", "onnx/config.json"},
)
PICKLED_SHARDS = (
    CONFIG
    | {"pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"}
    | {"pytorch_model.bin.index.json"},
    {"pytorch_model.bin", "pytorch_model.fp16.bin", "model.pt", "optimizer.bin"},
)
GGUF_TWINS = (
    CONFIG | {"model.safetensors"},
    {"model-Q4_K_M.gguf", "model-F16.gguf", "ggml-model-q4_0.bin", "gguf/model.gguf"},
)
VARIANTS = (
    CONFIG | {"model.safetensors"},
    {"model.fp16.safetensors", "model.fp16-00001-of-00002.safetensors", "model.int8.safetensors"},
)
VARIANT_ALONE = (CONFIG | {"model.fp16.safetensors"}, {"pytorch_model.bin"})
WHOLE_AND_SHARDS = (CONFIG | SHARDS, {"model.safetensors"})
MORE_TENSORS = (
    CONFIG | SHARDS | {"mtp.safetensors", "model_extra_tensors.safetensors"},
    set[str](),
)
TRAINED = (
    CONFIG | TOKENIZER | {"model.safetensors", "all_results.json"},
    {"training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state_0.pth"}
    | {"trainer_state.json", "runs/Jan05/events.out.tfevents.1.host", "random_states_0.pkl"}
    | {"checkpoint-500/model.safetensors", "checkpoint-500/config.json", "zero_to_fp32.py"},
)
SENTENCES = (
    CONFIG
    | {"model.safetensors", "modules.json", "1_Pooling/config.json", "2_Dense/config.json"}
    | {"2_Dense/model.safetensors", "config_sentence_transformers.json"},
    {"pytorch_model.bin", "2_Dense/pytorch_model.bin", "openvino/openvino_model.bin"},
)
SPEECH = (
    CONFIG | SHARDS | {"adapter_config.json", "adapter_model.safetensors"},
    {"vision-lora/adapter_model.safetensors"},
)


@pytest.mark.parametrize(
    ("needed", "unneeded"),
    [
        LLAMA,
        MISTRAL,
        MISTRAL_ALONE,
        QWEN,
        QWEN_OLD,
        GPT_OSS,
        DEEPSEEK,
        OPT,
        GPT2,
        PICKLED_SHARDS,
        GGUF_TWINS,
        VARIANTS,
        VARIANT_ALONE,
        WHOLE_AND_SHARDS,
        MORE_TENSORS,
        TRAINED,
        SENTENCES,
        SPEECH,
    ],
)
def test_only_what_the_engine_needs_is_fetched(needed: set[str], unneeded: set[str]):
    assert names(*needed, *unneeded) == needed


def files(*names: str) -> list[HubFile]:
    return [HubFile(name, 1) for name in sorted(names)]


def names(*listed: str) -> set[str]:
    return {file.name for file in needed_files(files(*listed))}


def test_python_is_left_out_where_nothing_refers_to_it():
    listing = files("config.json", "inference/model.py", "convert.py")
    assert [file.name for file in needed_files(listing, code=False)] == ["config.json"]


def test_a_file_keeps_its_size_and_hashes():
    file = HubFile("model.safetensors", 7, "a" * 64, "b" * 40)
    assert needed_files([file]) == (file,)


@pytest.mark.parametrize(
    ("listing", "weights", "safe", "pickles"),
    [
        (["model.safetensors"], ("model.safetensors",), True, ()),
        (["pytorch_model.bin"], ("pytorch_model.bin",), False, ("pytorch_model.bin",)),
        (["model.pt"], ("model.pt",), False, ("model.pt",)),
        (["consolidated.00.pth", "params.json"], (), False, ()),
        (["model-Q4_K_M.gguf", "config.json"], (), False, ()),
        (["adapter_model.safetensors", "adapter_config.json"], (), False, ()),
        (
            ["adapter_model.safetensors", "pytorch_model.bin"],
            ("pytorch_model.bin",),
            False,
            ("pytorch_model.bin",),
        ),
        (["unet/model.safetensors"], (), False, ()),
        ([], (), False, ()),
        (
            ["model.safetensors", "2_Dense/pytorch_model.bin"],
            ("model.safetensors",),
            True,
            ("2_Dense/pytorch_model.bin",),
        ),
    ],
)
def test_the_kind_of_weights_is_told(
    listing: list[str], weights: tuple[str, ...], pickles: tuple[str, ...], *, safe: bool
):
    found = needed_files(files(*listing))
    assert weight_files(found) == weights
    assert has_safetensors(found) is safe
    assert pickle_files(found) == pickles


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (SHARDS, ()),
        (
            {"model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"},
            ("model-00002-of-00003.safetensors",),
        ),
        ({"pytorch_model-00002-of-00002.bin"}, ("pytorch_model-00001-of-00002.bin",)),
        ({"w-00000-of-00002.safetensors", "w-00001-of-00002.safetensors"}, ()),  # from 0 on
        (SHARDS | {"model-00001-of-00009.safetensors"}, ()),  # left by an upload before
        ({"model-1-of-2.safetensors"}, ("model-2-of-2.safetensors",)),
        ({"a/m-1-of-2.bin", "b/m-2-of-2.bin"}, ("a/m-2-of-2.bin", "b/m-1-of-2.bin")),
        ({"model.safetensors"}, ()),
    ],
)
def test_shards_that_a_sequence_lacks_are_named(names: set[str], missing: tuple[str, ...]):
    assert missing_shards(HubFile(name, 1) for name in sorted(names)) == missing

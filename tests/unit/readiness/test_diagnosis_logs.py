"""Logs as vLLM writes them; each case names where its words come from."""

from __future__ import annotations

import pytest

from vllm_flows.diagnosis_categories import Category
from vllm_flows.diagnosis_logs import cause, doing, last_words

FACTS = "vLLM 0.32 on CPU, run by hand"
ENGINE = "(EngineCore_DP0 pid=16388) ERROR 03-01 21:32:52 [core.py:708] "
WRAPPER = (
    "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. "
    "Failed core proc(s): {}"
)

CAUSES = [
    (
        FACTS,
        "vllm: error: unrecognized arguments: --disable-log-requests",
        Category.ENGINE_ARGUMENT,
    ),
    (
        FACTS,
        "vllm serve: error: argument --dtype: invalid choice: 'int3' (choose from 'auto', 'half')",
        Category.ENGINE_ARGUMENT,
    ),
    (
        FACTS,
        (
            "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached "
            "snapshot folder for the specified revision on the local disk"
        ),
        Category.WEIGHTS_MISSING,
    ),
    (
        "transformers/utils/hub.py",
        (
            "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and "
            "couldn't find them in the cached files."
        ),
        Category.WEIGHTS_MISSING,
    ),
    (
        "huggingface_hub/utils/_http.py",
        "huggingface_hub.errors.GatedRepoError: 403 Client Error.",
        Category.WEIGHTS_MISSING,
    ),
    (
        "vllm/model_executor/model_loader/default_loader.py",
        "RuntimeError: Cannot find any model weights with `/data/hub/x`",
        Category.WEIGHTS_MISSING,
    ),
    (
        "safetensors",
        "safetensors_rust.SafetensorError: Error while deserializing header: header too small",
        Category.WEIGHTS_BROKEN,
    ),
    (
        FACTS,
        (
            "  Value error, User-specified max_model_len (100000) is greater than the derived "
            "max_model_len (max_position_embeddings=2048.0 or model_max_length=None in model's"
        ),
        Category.CONTEXT_TOO_LONG,
    ),
    (
        FACTS,
        (
            "  Value error, Total number of attention heads (4) must be divisible by tensor "
            "parallel "
            "size (3)."
        ),
        Category.TENSOR_PARALLEL,
    ),
    (
        "vllm/model_executor/models/registry.py",
        (
            "ValueError: Model architectures ['FooForCausalLM'] are not supported for now. "
            "Supported architectures: dict_keys(['AquilaModel'])"
        ),
        Category.UNSUPPORTED_MODEL,
    ),
    (
        "transformers/dynamic_module_utils.py",
        "Please pass the argument `trust_remote_code=True` to allow custom code to be run.",
        Category.CODE_NOT_TRUSTED,
    ),
    (
        "vllm/v1/core/kv_cache_utils.py",
        (
            "ValueError: To serve at least one request with the model's max seq len (32768), "
            "(1.75 GiB KV cache is needed, which is larger than the available KV cache memory "
            "(1.1 GiB). Based on the available memory, the estimated maximum model length is 20512."
        ),
        Category.KV_CACHE,
    ),
    (
        "vllm/v1/core/kv_cache_utils.py",
        (
            "ValueError: No available memory for the cache blocks. Try increasing "
            "`gpu_memory_utilization` when initializing the engine."
        ),
        Category.KV_CACHE,
    ),
    (
        "vllm/v1/worker/utils.py",
        (
            "ValueError: Free memory on device cuda:0 (52.81/95.01 GiB) on startup is less than "
            "desired GPU memory utilization (0.9, 85.51 GiB). Decrease GPU memory utilization or "
            "reduce GPU memory used by other processes."
        ),
        Category.GPU_IN_USE,
    ),
    (
        "torch",
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 7.45 GiB. GPU 0 has a "
            "total capacity of 15.48 GiB of which 4.10 GiB is free."
        ),
        Category.GPU_MEMORY,
    ),
    (
        "vllm/platforms",
        "RuntimeError: Failed to infer device type, please set the environment variable",
        Category.GPU_UNUSABLE,
    ),
    (
        "pydantic, vllm/config",
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
        Category.ENGINE_CONFIGURATION,
    ),
]


@pytest.mark.parametrize(("_source", "words", "category"), CAUSES)
def test_the_words_of_an_end_are_known_by_their_signature(
    _source: str,
    words: str,
    category: Category,
):
    log = f"{ENGINE}Traceback (most recent call last):\n{ENGINE}{words}\n{WRAPPER}\n"
    found = cause(log)
    assert found
    assert found.category is category
    assert found.words == words.strip()


def test_a_configuration_error_is_told_by_what_is_wrong_with_it():
    """Pydantic's first line names the class alone (vLLM 0.32 on CPU, run by hand)."""
    log = (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, User-specified max_model_len (100000) is greater than the derived "
        "max_model_len (max_position_embeddings=2048.0"
    )
    found = cause(log)
    assert found
    assert found.category is Category.CONTEXT_TOO_LONG


def test_the_root_cause_is_found_above_the_tracebacks_of_eight_workers():
    """With tensor parallelism each worker prints a traceback (vllm/v1/executor)."""
    words = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    frames = "".join(f'{ENGINE}  File "x.py", line {number}, in f\n' for number in range(40))
    found = cause(f"{ENGINE}{words}\n{frames}{WRAPPER}\n")
    assert found
    assert found.category is Category.GPU_MEMORY


@pytest.mark.parametrize("log", ["", "INFO loading\n", WRAPPER, "KeyError: 'x'\n"])
def test_an_end_without_a_signature_has_no_cause(log: str):
    assert cause(log) is None


def test_the_last_words_are_the_last_exception_that_is_no_mere_reference():
    log = f"{ENGINE}Traceback (most recent call last):\n{ENGINE}KeyError: 'rope'\n{WRAPPER}\n"
    assert last_words(log) == "KeyError: 'rope'"
    log = "INFO loading\nvllm: error: unrecognized arguments: --x\nINFO bye\n"
    assert last_words(log) == "vllm: error: unrecognized arguments: --x"
    assert last_words("only this\n") == "only this"
    assert last_words("") == ""


BAR = "Loading safetensors checkpoint shards:"
PHASES = [
    (
        (
            f"{BAR}   0% Completed | 0/4 [00:00<?, ?it/s]\n"
            f"{BAR}  50% Completed | 2/4 [00:14<00:14,  7.09s/it]\n"
        ),
        "loading weights: 50 %, 2/4 files",
    ),
    (
        f"{BAR}  25% Completed | 1/4 [00:07<00:21]\r{BAR}  75% Completed | 3/4 [00:14<00:14]",
        "loading weights: 75 %, 3/4 files",
    ),
    (
        (
            "(EngineCore pid=1462) INFO 04-07 02:44:26 [gpu_model_runner.py:4820] Model loading "
            "took "
            "17.66 GiB memory and 26.884630 seconds"
        ),
        "weights are loaded; preparing the engine",
    ),
    (
        (
            "(EngineCore pid=6113) INFO 08-02 07:03:46 [backends.py:1094] Using cache directory: "
            "/opt/vllm/torch_compile_cache/0f/rank_0_0/backbone for vLLM's torch.compile"
        ),
        "compiling (torch.compile)",
    ),
    (
        (
            "(Worker_TP0_EP0 pid=48) INFO 01-14 01:49:24 [backends.py:278] Compiling a graph for "
            "compile range (1, 4096) takes 55.98 s"
        ),
        "compiling (torch.compile)",
    ),
    (
        (
            "(EngineCore pid=28132) INFO 04-20 20:13:51 [kv_cache_utils.py:1319] GPU KV cache "
            "size: "
            "12,624 tokens"
        ),
        "measuring memory for the KV cache",
    ),
    (
        "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  44%|####   | 4/9 [00:00<00:00]",
        "capturing CUDA graphs: 44 %",
    ),
    (
        "INFO 05-30 07:47:06 Starting vLLM server on http://0.0.0.0:8000",
        "the API server is starting",
    ),
    ("nothing that is known\n", ""),
]


@pytest.mark.parametrize(("log", "text"), PHASES)
def test_a_load_is_told_by_the_last_line_that_says_how_far_it_is(log: str, text: str):
    """Lines of logs of vLLM 0.11 to 0.19, as users posted them."""
    assert doing(log) == text

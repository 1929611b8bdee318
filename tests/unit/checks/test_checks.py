"""What blocks a model and what is only told, put together from the single checks."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_flows.chart import Chart
from vllm_flows.checks import Findings, check_model
from vllm_flows.desired import Desired
from vllm_flows.errors import AccessError
from vllm_flows.fit import Fits
from vllm_flows.models import Model
from vllm_flows.observed import (
    Access,
    ClusterState,
    HubFile,
    Release,
    ReleaseState,
    Surroundings,
    Verdict,
)
from vllm_flows.settings import load_settings

QWEN_7B = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "num_hidden_layers": 28,
    "max_position_embeddings": 32768,
    "torch_dtype": "bfloat16",
    "vocab_size": 152064,
    "intermediate_size": 18944,
}
SAFE = (HubFile("model.safetensors", 1000, "a" * 64),)
PICKLE = (HubFile("pytorch_model.bin", 1000, "b" * 64),)


def node(name: str, mebibytes: str, product: str = "GPU") -> dict[str, Any]:
    labels = {
        "kubernetes.io/hostname": name,
        "nvidia.com/gpu.memory": mebibytes,
        "nvidia.com/gpu.product": product,
    }
    resources = {"cpu": "96", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": "8"}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": {"allocatable": resources},
    }


A100, L4, T4 = node("a100", "81920", "A100"), node("l4", "23034", "L4"), node("t4", "15360", "T4")


def findings(
    *nodes: Any,
    runs: bool = False,
    fields: Any = None,
    runtime: Any = None,
    level: str = "",
    settings: Any = None,
    **verdict: Any,
) -> Findings:
    model = Model(name="m", modelURL="o/m", **(fields or {}))
    facts = {
        "commit": "c" * 40,
        "files": SAFE,
        "config": QWEN_7B,
        "parameters": {"BF16": 7_615_616_512},
    }
    found = Verdict("m", "o/m", **{**facts, **verdict})
    loaded = load_settings(**(settings or {}))
    aim = Desired([model], {"m": found}, {}, Chart("c", (), "0.1.8"), loaded)
    around = Surroundings(nodes=nodes or None, runtime_class=runtime, pod_security=level)
    state = ClusterState(Release(ReleaseState.ABSENT), around=around)
    return check_model(model, found, aim, state, runs=runs)


def problems(*nodes: Any, **options: Any) -> str:
    return "\n".join(str(one) for one in findings(*nodes, **options).problems)


def test_a_model_that_is_all_right_has_no_problem_and_fits():
    found = findings(A100)
    assert (found.problems, found.notes) == ((), ())
    assert found.fit
    assert found.fit.result is Fits.FITS


def test_the_hubs_refusal_is_the_only_problem_that_is_told():
    refusal = AccessError("gated", model="m")
    assert findings(T4, problems=(refusal,), files=PICKLE).problems == (refusal,)


@pytest.mark.parametrize(
    ("field", "facts", "text"),
    [
        ("allowPickle", {"files": PICKLE}, "weights as pickles only"),
        ("allowUnsafe", {"unsafe_files": ("model.safetensors",)}, "scan calls unsafe"),
        ("trustRemoteCode", {"custom_code": ("modeling_m.M",)}, "code of its own"),
    ],
)
def test_what_can_run_code_is_refused_unless_models_yaml_says_so(
    field: str, facts: dict[str, Any], text: str
):
    said = problems(A100, **facts)
    assert text in said
    assert f"set {field}: true in models.yaml" in said
    found = findings(A100, fields={field: True}, **facts)
    assert not found.problems
    assert f"allowed by {field}" in found.notes[0]


EVIL = "\x1b[2J\x1b]0;x\x07evil.bin"


@pytest.mark.parametrize(
    ("field", "facts"),
    [
        ("allowPickle", {"files": (HubFile(EVIL, 1000, "b" * 64),)}),
        ("allowUnsafe", {"unsafe_files": (EVIL,)}),
        ("trustRemoteCode", {"custom_code": (EVIL,)}),
    ],
)
def test_a_name_that_would_command_the_terminal_is_shown_without_its_commands(
    field: str, facts: dict[str, Any]
):
    refused = "".join(str(one) for one in findings(A100, **facts).problems)
    allowed = findings(A100, fields={field: True}, **facts).notes[0]
    assert "?[2J?]0;x?evil.bin" in refused
    assert allowed.endswith(": ?[2J?]0;x?evil.bin")
    assert (refused + allowed).replace("\n", "").isprintable()


def test_code_that_is_done_without_is_no_problem():
    found = findings(A100, fields={"trustRemoteCode": False}, custom_code=("modeling_m.M",))
    assert not found.problems
    assert "not run by trustRemoteCode" in found.notes[0]


def test_a_part_of_the_model_that_is_a_pickle_is_refused_as_well():
    part = HubFile("2_Dense/pytorch_model.bin", 1000, "b" * 64)
    assert "the repository has parts as pickles only" in problems(A100, files=(*SAFE, part))


def test_a_repository_without_weights_is_refused():
    assert "holds no weights" in problems(A100, files=(HubFile("README.md", 1),))


def test_a_repository_that_lacks_a_shard_is_refused():
    shard = HubFile("model-00001-of-00005.safetensors", 1000, "a" * 64)
    (problem,) = findings(files=(shard,)).problems
    assert problem.what == "the repository lacks a part of its weights"
    names = [f"model-0000{number}-of-00005.safetensors" for number in (2, 3, 4)]
    assert problem.why == f"{', '.join(names)} and 1 more"
    assert "another `revision`" in problem.next_command


def test_more_files_than_the_jobs_config_map_can_list_are_refused():
    def many(count: int) -> tuple[HubFile, ...]:
        return tuple(HubFile(f"{n:064}.safetensors", 1, "a" * 64, "b" * 40) for n in range(count))

    assert "has 9000 files, too many" in problems(files=many(9000))
    assert problems(files=many(3000)) == ""


def test_a_model_that_fits_no_gpu_is_blocked_and_told_what_would():
    said = problems(T4)
    assert "does not fit its GPUs" in said
    assert "ignoreFit: true goes on all the same" in said


def test_a_model_that_fits_some_gpus_is_kept_from_the_others_in_the_plan():
    found = findings(A100, T4)
    assert not found.problems
    assert found.barred == {"t4": "its GPUs (T4) are too small"}
    assert any("a nodeSelector keeps it off them" in note for note in found.notes)


def test_ignore_fit_keeps_the_model_from_no_node():
    assert findings(A100, T4, fields={"ignoreFit": True}).barred == {}


def test_ignore_fit_makes_notes_of_what_would_be_problems():
    found = findings(T4, fields={"ignoreFit": True})
    assert not found.problems
    assert "ignored as models.yaml says: does not fit its GPUs" in found.notes


def test_what_vllm_refuses_at_its_start_is_refused_before():
    said = problems(A100, fields={"vllmConfig": {"maxModelLen": 100_000}})
    assert "100000" in said
    assert "32768" in said


def test_a_model_that_is_served_so_already_is_not_judged_again():
    assert not findings(T4, runs=True).problems


def test_gpus_of_unknown_size_block_nothing():
    found = findings(node("x", ""))
    assert not found.problems
    assert found.fit
    assert found.fit.result is Fits.UNKNOWN


def kept_off(cluster_node: dict[str, Any], key: str = "team") -> dict[str, Any]:
    return {**cluster_node, "spec": {"taints": [{"key": key, "effect": "NoSchedule"}]}}


def test_gpus_that_something_else_keeps_the_model_off_are_judged_all_the_same():
    found = findings(kept_off(A100), kept_off(T4)).fit
    assert found
    assert found.result is Fits.FITS
    assert "does not fit its GPUs" in problems(kept_off(T4))
    assert findings(kept_off(A100), kept_off(T4)).barred == {}
    assert findings(kept_off(A100), T4).barred == {"t4": "its GPUs (T4) are too small"}
    assert "does not fit" not in problems(kept_off(A100), T4)


@pytest.mark.parametrize(
    "fields",
    [
        {"nodeSelector": {"pool": "large"}},
        {"requestGPU": 14, "vllmConfig": {"tensorParallelSize": 14}},
    ],
)
def test_nodes_that_were_not_meant_tell_nothing_of_the_gpus(fields: dict[str, Any]):
    found = findings(T4, fields=fields | {"ignoreFit": True}).fit
    assert found
    assert found.result is Fits.UNKNOWN
    assert found.text.endswith("; no node has the labels and the GPUs that it asks for")


def test_a_request_that_no_node_meets_does_not_hide_the_gpus():
    found = findings(A100, fields={"requestCPU": 97}).fit
    assert found
    assert found.result is Fits.FITS


def test_a_model_on_cpu_has_no_fit():
    assert findings(A100, fields={"requestGPU": 0}).fit is None


def test_little_host_memory_is_told_with_numbers():
    found = findings(A100, fields={"requestMemory": "2Gi"})
    assert any("requestMemory 2Gi is little: vLLM itself takes about 6Gi" in n for n in found.notes)


def test_a_runtime_class_that_is_missing_is_a_problem_and_an_unseen_one_is_not():
    assert "no RuntimeClass nvidia" in problems(A100, runtime={})
    assert not problems(A100, runtime=None)
    assert not problems(A100, runtime={}, settings={"runtime_class": ""})


def test_a_level_that_forbids_the_engines_pods_is_a_problem_of_those_that_do_not_run_yet():
    assert "Pod Security level forbids" in problems(A100, level="restricted")
    assert problems(A100, level="restricted", runs=True) == ""


def test_a_verdict_without_the_hub_judges_nothing_it_cannot_know():
    silent = {"files": (), "config": {}, "parameters": {}, "access": Access.SILENT}
    assert not findings(A100, **silent).problems


def test_heads_of_keys_and_values_that_gpus_cannot_share_are_refused():
    fields = {"requestGPU": 7, "vllmConfig": {"tensorParallelSize": 7}}
    shared = QWEN_7B | {"intermediate_size": 7 * 2704}
    said = problems(A100, fields=fields, config=shared)
    assert "the 4 heads of keys and values can be shared by no 7 GPUs evenly" in said
    assert "tensorParallelSize: 4 in models.yaml" in said


def test_a_feed_forward_layer_that_gpus_cannot_share_is_refused():
    fields = {"requestGPU": 7, "vllmConfig": {"tensorParallelSize": 7}}
    heads = {"num_attention_heads": 28, "num_key_value_heads": 28}
    said = problems(A100, fields=fields, config=QWEN_7B | heads)
    assert "18944, the width of a feed-forward layer, is not divisible by 7" in said
    assert "tensorParallelSize: 4 in models.yaml" in said


def test_a_repository_without_any_file_that_an_engine_needs_is_refused():
    said = problems(A100, files=(), config={}, parameters={})
    assert "the repository holds no weights that vLLM loads" in said

"""What the plan proposes about GPUs knows the nodes, the image, and all that is wrong at once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import LLAMA_70B
from vllm_flows.chart import Chart
from vllm_flows.checks import Findings, check_model
from vllm_flows.desired import Desired
from vllm_flows.models import Model
from vllm_flows.observed import ClusterState, HubFile, Release, ReleaseState, Surroundings, Verdict
from vllm_flows.settings import load_settings


def node(name: str, gibibytes: int, gpus: int, **spec: Any) -> dict[str, Any]:
    labels = {"kubernetes.io/hostname": name, "nvidia.com/gpu.memory": str(gibibytes * 1024)}
    resources = {"cpu": "96", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": str(gpus)}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"allocatable": resources},
    }


def findings(
    *nodes: Any, gpus: int = 1, settings: Any = None, parameters: int = 0, **options: Any
) -> Findings:
    size = {"tensorParallelSize": gpus} if gpus > 1 else {}
    model = Model.model_validate(
        {"name": "m", "modelURL": "o/m", "requestGPU": gpus, "vllmConfig": {**size, **options}}
    )
    verdict = Verdict(
        "m",
        "o/m",
        commit="c" * 40,
        files=(HubFile("model.safetensors", 1000, "a" * 64),),
        config=LLAMA_70B,
        parameters={"BF16": parameters or 70_553_706_496},
    )
    loaded = load_settings(**(settings or {}))
    aim = Desired([model], {"m": verdict}, {}, Chart("c", (), "0.1.8"), loaded)
    state = ClusterState(Release(ReleaseState.ABSENT), around=Surroundings(nodes=nodes))
    return check_model(model, verdict, aim, state, runs=False)


def proposals(*nodes: Any, **options: Any) -> list[str]:
    found = findings(*nodes, **options).problems
    return [problem.next_command.partition("   (ignoreFit")[0] for problem in found]


def test_as_many_gpus_are_proposed_as_a_node_has() -> None:
    big = node("big", 80, 8)
    (advice,) = proposals(big, maxModelLen=8192)
    assert advice == "set requestGPU and vllmConfig.tensorParallelSize: 2 in models.yaml"
    (advice,) = proposals(node("one", 80, 1), maxModelLen=8192)
    assert "no number of these GPUs that one node has (at most 1) holds it" in advice


def test_the_gpus_that_can_hold_it_together_are_judged_before_larger_single_ones() -> None:
    (advice,) = proposals(node("many", 48, 8), node("one", 80, 1), maxModelLen=8192)
    assert advice == "set requestGPU and vllmConfig.tensorParallelSize: 4 in models.yaml"


def test_a_tainted_nodes_gpus_are_not_counted() -> None:
    taints = [{"key": "team", "effect": "NoSchedule"}]
    (advice,) = proposals(node("one", 80, 1), node("big", 80, 8, taints=taints), maxModelLen=8192)
    assert "(at most 1)" in advice


def test_a_closed_nodes_gpus_that_hold_the_model_are_what_to_open_not_what_is_too_small() -> None:
    closed = node("big", 80, 8, unschedulable=True)
    found = findings(node("small", 40, 8), closed, gpus=2, maxModelLen=8192)
    assert found.problems == ()
    assert list(found.barred) == ["small"]
    assert found.fit
    assert found.fit.available > 70 * 2**30


def test_nodes_that_come_by_themselves_may_have_more_gpus() -> None:
    settings = {"autoscaling": True}
    (advice,) = proposals(node("one", 80, 1), settings=settings, maxModelLen=8192)
    assert "tensorParallelSize: 2" in advice


@pytest.mark.parametrize(("most", "proposed"), [(2, "2"), (8, "2 or 4")])
def test_gpus_that_cannot_share_the_heads_become_as_many_as_a_node_has(
    most: int, proposed: str
) -> None:
    small = {"parameters": 1_000_000_000, "maxModelLen": 4096}
    (advice,) = proposals(node("n", 80, most), gpus=3, **small)
    assert advice == f"set requestGPU and vllmConfig.tensorParallelSize: {proposed} in models.yaml"


def test_all_that_is_wrong_at_once_gets_one_advice() -> None:
    length = proposals(node("n", 80, 8), maxModelLen=1_000_000)
    right = "requestGPU and vllmConfig.tensorParallelSize: 4 with vllmConfig.maxModelLen: 131072"
    assert length == [f"set {right} in models.yaml"] * 2
    heads = proposals(node("n", 80, 8), gpus=3, maxModelLen=1_000_000, gpuMemoryUtilization=0.5)
    assert len(heads) == 3
    assert len(set(heads)) == 1


def test_the_images_release_decides_what_vllm_may_fill() -> None:
    ours, other = "vllm/vllm-openai", "registry.example/inference"
    for image, tag, share in (
        (ours, "v0.19.1", 0.9),
        (ours, "v0.20.0", 0.92),
        (other, "v0.19.1", 0.92),
    ):
        settings = {"model_image": image, "model_tag": tag}
        fit = findings(node("n", 80, 8), settings=settings, maxModelLen=8192).fit
        assert fit
        assert fit.available == int(80 * 2**30 * share)


def test_of_an_image_with_numbers_of_its_own_no_flag_is_refused() -> None:
    for image, tag, refused in (
        ("vllm/vllm-openai", "latest", 1),
        ("nvcr.io/nvidia/vllm", "25.09-py3", 0),
        ("registry.example/inference", "latest", 0),
    ):
        found = findings(
            node("n", 80, 8),
            settings={"model_image": image, "model_tag": tag},
            parameters=8_000_000_000,
            maxModelLen=8192,
            extraArgs=["--disable-log-requests"],
        )
        assert len(found.problems) == refused, found.problems

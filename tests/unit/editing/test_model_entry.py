"""A model that is put together field by field, and what is proposed for it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import LLAMA_70B, LLAMA_70B_PARAMETERS
from vllm_flows.model_entry import entry_of, problems_of, value_of
from vllm_flows.observed import Access, HubFile, Verdict
from vllm_flows.proposals import proposal_for

SMALL = {**LLAMA_70B, "num_hidden_layers": 2}


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("requestGPU", "2", 2),
        ("requestCPU", "1.5", 1.5),
        ("requestCPU", "500m", "500m"),
        ("requestGPU", "two", "two"),
        ("requestGPU", "-1", -1),
        ("revision", "010", "010"),
        ("revision", "2", "2"),
    ],
)
def test_a_value_is_what_yaml_would_read(field: str, text: str, value: object):
    assert value_of(field, text) == value


def test_the_fields_stand_in_the_usual_order_and_those_of_the_engine_together():
    values = {"dtype": "auto", "pvcStorage": "1Gi", "modelURL": "a/b", "name": "a"}
    entry = entry_of(values)
    assert list(entry) == ["name", "modelURL", "pvcStorage", "vllmConfig"]
    assert entry["vllmConfig"] == {"dtype": "auto"}


@pytest.mark.parametrize("given", [{"requestGPU": 2}, {"tensorParallelSize": 2}])
def test_gpus_and_tensor_parallelism_follow_each_other(given: dict[str, int]):
    assert entry_of(given) == {"requestGPU": 2, "vllmConfig": {"tensorParallelSize": 2}}
    assert entry_of({"requestGPU": 1}) == {"requestGPU": 1}


@pytest.mark.parametrize(
    ("values", "problems"),
    [
        ({}, {}),
        ({"requestGPU": 8, "requestMemory": "16Gi"}, {}),
        ({"requestGPU": "x"}, {"requestGPU": "should be a whole number, not the text 'x'"}),
        ({"requestMemory": "4GB"}, {"requestMemory": "'4GB' is not a quantity; did you mean 4Gi?"}),
        ({"maxModelLen": 0}, {"maxModelLen": "should be more than 0, not 0"}),
        (
            {"requestGPU": 2, "tensorParallelSize": 4},
            {"tensorParallelSize": "is 4 while requestGPU is 2; make them equal"},
        ),
    ],
)
def test_problems_are_said_in_the_words_of_the_file(
    values: dict[str, object], problems: dict[str, str]
):
    assert problems_of(values) == problems


def verdict(config: dict[str, Any], size: int, **fields: Any) -> Verdict:
    files = (HubFile("model.safetensors", size, "a" * 64, "b" * 40),)
    return Verdict("", "org/m", "c" * 40, files=files, config=config, **fields)


def test_a_large_model_is_proposed_the_gpus_that_hold_it_and_room_for_two_versions():
    large = verdict(LLAMA_70B, 141 * 10**9, parameters=LLAMA_70B_PARAMETERS, license="llama3.1")
    found = proposal_for({}, large)
    assert (found.storage, found.gpus) == ("300Gi", 4)
    assert found.text == "141 GB of weights, llama3.1, takes 4 GPUs with 80 GB"


def test_a_small_model_is_proposed_what_is_usual():
    found = proposal_for({}, verdict(SMALL, 10**9, parameters={"BF16": 500_000_000}))
    assert (found.storage, found.gpus) == ("50Gi", 1)


def test_the_context_that_was_asked_for_is_counted():
    long = verdict({**SMALL, "max_position_embeddings": 10_000_000}, 10**9)
    assert (proposal_for({}, long).gpus or 0) > 1
    assert proposal_for({"maxModelLen": 8192}, long).gpus == 1


def test_what_the_hub_does_not_say_is_not_proposed():
    found = proposal_for({}, verdict({}, 10**9, gated="manual"))
    assert (found.storage, found.gpus, found.text) == ("50Gi", None, "1 GB of weights, gated")
    unknown = Verdict("", "org/m", access=Access.NO_REPOSITORY)
    assert (proposal_for({}, unknown).storage, proposal_for({}, unknown).gpus) == (None, None)

"""The schema by itself, as a flow's parameter or other code meets it."""

import json

import pytest
from pydantic import ValidationError

from vllm_flows.models import Model, VllmConfig


def model(**fields: object) -> Model:
    return Model.model_validate({"name": "qwen3", "modelURL": "Qwen/Qwen3-4B", **fields})


def test_a_name_and_a_hub_id_are_enough_and_the_rest_has_defaults() -> None:
    assert model().model_dump() == {
        "name": "qwen3",
        "model_url": "Qwen/Qwen3-4B",
        "revision": "main",
        "replica_count": 1,
        "request_cpu": 6,
        "request_memory": "16Gi",
        "limit_memory": None,
        "request_gpu": 1,
        "pvc_storage": "50Gi",
        "node_selector": {},
        "allow_pickle": False,
        "allow_unsafe": False,
        "trust_remote_code": None,
        "ignore_fit": False,
        "allow_downtime": False,
        "on_failure": "rollback",
        "update": "auto",
        "update_window": None,
        "smoke_test": {"prompt": "The capital of France is", "expect": None, "chat": None},
        "vllm_config": VllmConfig().model_dump(),
    }


def test_a_model_is_frozen_hashable_and_made_by_either_spelling() -> None:
    by_attribute = Model(name="qwen3", model_url="Qwen/Qwen3-4B", replica_count=2)
    assert by_attribute == model(replicaCount=2)
    assert hash(by_attribute) == hash(model(replicaCount=2))
    with pytest.raises(ValidationError):
        by_attribute.replica_count = 3  # type: ignore[misc]  # the assignment under test


@pytest.mark.parametrize("by_alias", [True, False])
def test_a_model_survives_the_way_through_json(by_alias: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    original = model(
        requestGPU=2,
        requestCPU="1500m",
        limitMemory="32Gi",
        vllmConfig={"tensorParallelSize": 2, "extraArgs": ["--seed", "42"]},
    )
    text = original.model_dump_json(by_alias=by_alias)
    assert Model.model_validate_json(text) == original


def test_the_chart_is_given_what_was_set_and_nothing_else() -> None:
    assert VllmConfig().as_chart_values() == {}
    config = VllmConfig.model_validate(
        {
            "maxModelLen": 8192,
            "dtype": "bfloat16",
            "enablePrefixCaching": False,
            "v0": 0,
            "extraArgs": ["--seed", "42"],
        }
    )
    assert config.as_chart_values() == {
        "maxModelLen": 8192,
        "dtype": "bfloat16",
        "enablePrefixCaching": False,
        "v0": 0,
        "extraArgs": ["--seed", "42"],
    }


def test_keys_that_older_charts_ignore_become_arguments() -> None:
    config = VllmConfig(runner="pooling", convert="embed", extra_args=("--seed=42",))
    assert config.as_chart_values() == {
        "extraArgs": ["--runner", "pooling", "--convert", "embed", "--seed=42"]
    }


def test_a_number_that_helm_would_write_with_an_exponent_is_given_as_text() -> None:
    assert VllmConfig(max_model_len=1_048_576).as_chart_values() == {"maxModelLen": "1048576"}
    assert VllmConfig(max_model_len=999_999).as_chart_values() == {"maxModelLen": 999_999}


def test_every_field_has_a_title_and_a_description_for_the_form() -> None:
    schema = Model.model_json_schema()
    for part in (schema, *schema["$defs"].values()):
        for name, field in part["properties"].items():
            assert field["title"], name
            assert field["description"], name
    assert json.loads(json.dumps(schema)) == schema


def test_a_refusal_does_not_show_the_value_that_was_given() -> None:
    with pytest.raises(ValidationError) as caught:
        model(vllmConfig={"extraArgs": ["--api-key=planted-secret"], "dtype": "planted-secret"})
    assert "planted-secret" not in str(caught.value)


@pytest.mark.parametrize(("gpus", "size"), [(0, None), (0, 1), (1, None), (1, 1), (2, 2), (8, 8)])
def test_tensor_parallelism_that_uses_all_gpus_is_accepted(gpus: int, size: int | None) -> None:
    assert model(requestGPU=gpus, vllmConfig={"tensorParallelSize": size}).request_gpu == gpus


@pytest.mark.parametrize("cores", [6, 1.5, "6", "500m", "1e1", 0.001, 1024])
def test_cpu_may_be_a_number_or_a_quantity(cores: object) -> None:
    assert model(requestCPU=cores).request_cpu == cores


@pytest.mark.parametrize(
    "revision", ["main", "v1.0", "refs/pr/1", "feature/long-context", "a" * 40, "2026-01-02"]
)
def test_branches_tags_and_commits_are_revisions(revision: str) -> None:
    assert model(revision=revision).revision == revision


@pytest.mark.parametrize(
    "revision",
    [
        "",
        "-x",
        "/x",
        ".x",
        "x/",
        "x.",
        "@",
        "a b",
        "a\tb",
        "a..b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[b",
        "a\\b",
        "a@{1}",
        "a//b",
        "a/.b",
        "a.lock",
        "a.lock/b",
        "a\nb",
        "a" * 256,
    ],
)
def test_what_git_would_not_take_for_a_reference_is_no_revision(revision: str) -> None:
    with pytest.raises(ValidationError):
        model(revision=revision)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-a",
        "a-",
        "A",
        "a.b",
        "a_b",
        "a b",
        "ä",
        "a\n",
        "a" * 44,
        "0",
        "007",
        "1e-5",
        "0x1f",
        "0b1",
        "0o7",
        "y",
        "n",
        "on",
        "off",
        "no",
        "yes",
        "true",
        "false",
        "null",
        "2026-01-02",
    ],
)
def test_what_cannot_stand_in_a_label_is_no_name(name: str) -> None:
    with pytest.raises(ValidationError):
        model(name=name)


@pytest.mark.parametrize("name", ["a", "a1", "1a", "llama-3-2", "1-5", "a" * 43])
def test_labels_with_room_for_the_release_are_names(name: str) -> None:
    assert model(name=name).name == name


@pytest.mark.parametrize(
    "hub_id", ["Qwen/Qwen3-4B", "a/b", "org.name/model_name-1.0", "a/" + "b" * 94]
)
def test_organisation_and_name_are_a_hub_id(hub_id: str) -> None:
    assert model(modelURL=hub_id).model_url == hub_id


@pytest.mark.parametrize(
    "hub_id",
    [
        "",
        "a",
        "a/b/c",
        "/a",
        "a/",
        "-a/b",
        "a/b-",
        "a/b--c",
        "a/..",
        "a b/c",
        "a/b\n",
        "a/" + "b" * 95,
        "s3://bucket/model",
        "./model",
        "https://example.com/a/b",
    ],
)
def test_anything_else_is_no_hub_id(hub_id: str) -> None:
    with pytest.raises(ValidationError):
        model(modelURL=hub_id)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--speculative-config", '{"model": "org/draft", "num_speculative_tokens": 3}'],
        ['--speculative-config={"model": "org/draft"}'],
        ["--speculative_config.model", "org/draft"],
        ["--spec-model", "org/draft"],
        ["--lora-modules", "a=/adapters/a", "b=org/adapter"],
        ["--lora-modules=a=org/adapter"],
        ["--lora-mod", '{"name": "a", "path": "org/adapter"}'],
        ["--generation-config", "org/name"],
    ],
)
def test_an_argument_that_names_another_repository_is_refused_as_engines_are_offline(
    arguments: list[str],
):
    with pytest.raises(ValidationError, match="names another repository") as caught:
        model(vllmConfig={"extraArgs": arguments})
    assert "org/" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--speculative-config", '{"method": "ngram", "num_speculative_tokens": 3}'],
        ["--speculative-config", '{"method": "eagle", "model": "/drafts/eagle"}'],
        ["--lora-modules", "a=/adapters/a", '{"name": "b", "path": "/adapters/b"}'],
        ["--generation-config", "vllm"],
        ["--hf-overrides", '{"rope": "a/b"}', "--chat-template", "{% a/b %}"],
        ["--seed", "1", "org/name"],
    ],
)
def test_what_is_in_the_image_or_no_repository_is_taken(arguments: list[str]):
    assert model(vllmConfig={"extraArgs": arguments})


@pytest.mark.parametrize("flag", ["--m", "--tensor-parallel-siz", "--api_ke", "-t", "--no-trust"])
def test_the_beginning_of_a_refused_argument_is_refused_as_vllm_completes_it(flag: str):
    with pytest.raises(ValidationError, match=r"vLLM may take it for --?[a-z]") as caught:
        model(vllmConfig={"extraArgs": [f"{flag}=planted-secret"]})
    assert "planted-secret" not in str(caught.value)


@pytest.mark.parametrize("argument", ["-", "--", "-1", "--max-num-batched-tokens", "--model-impl"])
def test_what_begins_no_refused_argument_is_taken(argument: str):
    assert model(vllmConfig={"extraArgs": [argument]})

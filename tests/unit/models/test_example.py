"""models.example.yaml and docs/models.md keep what they say."""

import re
from pathlib import Path

import pytest

from vllm_flows.model_problems import CONFIG_KEYS, MODEL_KEYS, SMOKE_KEYS
from vllm_flows.models_file import parse_models

ROOT = Path(__file__).parents[3]
EXAMPLE = (ROOT / "models.example.yaml").read_text("utf-8")
# A block's lines are `# - name: …` and `#   field: …`; prose has one space after the `#`.
BLOCKS = re.findall(r"^# - .*\n(?:#   .*\n)*", EXAMPLE, re.MULTILINE)
REFERENCE = (ROOT / "docs" / "models.md").read_text("utf-8")


def uncommented(block: str) -> str:
    return re.sub(r"^# ", "", block, flags=re.MULTILINE)


def test_the_example_is_valid_as_it_is() -> None:
    (model,) = parse_models(EXAMPLE, "models.example.yaml")
    assert model.model_url == "Qwen/Qwen3-4B"


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_each_block_is_valid_when_uncommented(block: str) -> None:
    text = EXAMPLE.replace(block, uncommented(block))
    assert len(parse_models(text, "models.example.yaml")) == 2


def test_all_blocks_are_valid_together() -> None:
    text = EXAMPLE
    for block in BLOCKS:
        text = text.replace(block, uncommented(block))
    models = parse_models(text, "models.example.yaml")
    assert len(models) == len(BLOCKS) + 1
    families = ["Llama-3.2-3B", "gemma-3-4b", "Qwen3-4B", "Qwen2.5-7B", "Mistral-7B"]
    families += ["Phi-3-mini", "Phi-3-mini-128k", "Phi-4-mini", "Llama-3.1-70B"]
    for family in families:
        assert any(family in model.model_url for model in models), family


def test_every_model_bounds_its_context() -> None:
    """Without a bound most of them fail to start on one ordinary GPU."""
    text = "\n".join(uncommented(block) for block in BLOCKS)
    for model in parse_models(text, "models.example.yaml"):
        assert model.vllm_config.max_model_len, model.name


@pytest.mark.parametrize("key", [*MODEL_KEYS, *CONFIG_KEYS, *SMOKE_KEYS])
def test_every_field_is_in_the_reference(key: str) -> None:
    assert f"| `{key}` |" in REFERENCE


def test_the_lists_in_the_reference_are_valid() -> None:
    for block in re.findall(r"```yaml\n(.*?)```", REFERENCE, re.DOTALL):
        assert parse_models(block, "docs/models.md")

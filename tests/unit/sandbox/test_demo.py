from __future__ import annotations

from sandbox.demo import MODELS, example_with
from sandbox.state import REPOSITORY
from vllm_flows.models_file import parse_models


def test_the_demo_serves_four_models_of_the_example_file_one_of_them_gated() -> None:
    text = (REPOSITORY / "models.example.yaml").read_text(encoding="utf-8")
    models = parse_models(example_with(text, MODELS), "models.yaml")
    assert {model.name for model in models} == set(MODELS)
    assert "meta-llama/Llama-3.2-3B-Instruct" in {model.model_url for model in models}

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from prefect.cli.deploy._models import DeploymentConfig
from prefect.flows import load_flow_from_entrypoint

from cli.verbs import VERBS
from vllm_flows.observed import ReleaseState
from vllm_flows.plan import Action
from vllm_flows.release_rules import RELEASE_ACTIONS
from vllm_flows.settings import Settings

ROOT = Path(__file__).parents[3]
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("entry", DEPLOYMENTS, ids=lambda entry: entry["name"])
def test_prefect_yaml_has_no_key_and_no_parameter_that_prefect_would_ignore(
    entry: dict[str, object],
):
    assert not set(entry) - set(DeploymentConfig.model_fields)
    flow = load_flow_from_entrypoint(str(entry["entrypoint"]))
    parameters = entry.get("parameters", {})
    assert isinstance(parameters, dict)
    assert not set(parameters) - set(flow.parameters.properties)


def test_every_flow_parameter_is_explained_in_its_form():
    for entry in DEPLOYMENTS:
        for name, shape in load_flow_from_entrypoint(
            entry["entrypoint"]
        ).parameters.properties.items():
            assert shape.get("description"), f"{entry['name']}: {name}"


def test_the_readme_lists_every_setting_with_its_default():
    readme = (ROOT / "README.md").read_text()
    for name, field in Settings.model_fields.items():
        assert f"`VLLM_{name.upper()}`" in readme, name
        assert field.description, name


def test_the_readme_names_every_verb():
    readme = (ROOT / "README.md").read_text()
    for verb in VERBS:
        assert f"`{verb}" in readme, verb


def test_the_architecture_page_shows_the_tables_that_decide():
    page = (ROOT / "ARCHITECTURE.md").read_text()
    for state, action in RELEASE_ACTIONS.items():
        assert re.search(rf"^\| {state} \|.*\| {action}", page, re.MULTILINE), state
    assert len(RELEASE_ACTIONS) == len(ReleaseState)
    for model_action in Action:
        assert re.search(rf"\| {model_action}\b", page), model_action


def test_every_command_an_error_recommends_exists():
    texts = [path.read_text() for path in (ROOT / "vllm_flows").glob("*.py")]
    texts += [path.read_text() for path in (ROOT / "tasks").glob("*.py")]
    named = set(re.findall(r"vllm-flows (?!has\b)([a-z][a-z-]+)", " ".join(texts)))
    unknown = {verb for verb in named if verb not in VERBS} - PROSE
    assert not unknown


PROSE = {"and", "does", "keeps"}
"""Words that follow the product's name in sentences."""

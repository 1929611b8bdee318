from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from prefect.cli.deploy._models import DeploymentConfig
from prefect.flows import load_flow_from_entrypoint

from cli.reference import PAGE, reference
from cli.verbs import VERBS
from vllm_flows.diagnosis_categories import Category
from vllm_flows.observed import ReleaseState
from vllm_flows.plan import Action
from vllm_flows.release_rules import RELEASE_ACTIONS
from vllm_flows.settings import Settings

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])
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


def test_the_readme_names_every_deployment_that_serve_offers():
    (offered,) = re.findall(r"serves the deployments\n(.*?);", (ROOT / "README.md").read_text())
    assert re.findall(r"`(\w+)`", offered) == [entry["name"] for entry in DEPLOYMENTS]


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


def test_the_reference_page_says_what_the_help_says():
    assert PAGE.read_text() == reference(), "make docs writes it anew"


def test_every_recipe_of_the_justfile_is_a_verb_of_the_same_name():
    text = (ROOT / "justfile").read_text()
    recipes = dict(re.findall(r"^([a-z][a-z-]*) .*:\n    @(.*)$", text, re.MULTILINE))
    assert set(recipes) >= REFERENCE_RECIPES
    for name, line in recipes.items():
        assert name in VERBS
        assert line == f'{{{{ program }}}} {name} "$@"'


REFERENCE_RECIPES = {
    *("install", "upgrade", "uninstall", "list-models", "add-model", "remove-model", "status"),
    *("set-hf-token", "get-hf-token", "delete-hf-token", "logs", "router-logs", "port-forward"),
    *("set-api-key", "get-api-key", "delete-api-key", "list-api-models", "test-completions"),
}
"""What users of the shell scripts call by `just vllm::<recipe>`."""


def test_every_trouble_names_diagnoses_that_exist():
    page = (ROOT / "docs/tasks/troubleshooting.md").read_text()
    sections = page.split("\n## ")[1:]
    told = [
        re.findall(r"^Diagnoses: (.*?)(?:\.|;|\(of)", one, re.DOTALL | re.MULTILINE)
        for one in sections
    ]
    named = [re.findall(r"`([a-z-]+)`", " ".join(each)) for each in told]
    assert all(each for one, each in zip(sections, named, strict=True) if "lock" not in one[:20])
    assert {each for one in named for each in one} <= set(Category)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_link_to_pages_and_headings_that_are_there(page: Path):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        found = page.parent / name if name else page
        assert found.exists(), target
        headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE) if anchor else []
        slugs = [re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings]
        assert not anchor or anchor in slugs, target


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("**/*.md")), ids=lambda one: one.name)
def test_every_command_that_a_page_shows_exists(page: Path):
    named = set(
        re.findall(r"`(?:[A-Z_]+=\S* )*vllm-flows (?:--\S+ [A-Z]+ )*([a-z-]+)", page.read_text())
    )
    assert named <= VERBS.keys() | {"has"}

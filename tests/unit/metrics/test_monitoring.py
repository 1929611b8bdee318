"""The shipped rules and the dashboard use what is told, and the page says all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from cli.verbs import VERBS
from vllm_flows.health import Kind, State
from vllm_flows.metrics import FLOWS, METRICS
from vllm_flows.models import Model
from vllm_flows.revision_class import Change

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deployments" / "monitoring"
RULES = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
TESTS = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())["tests"]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
PAGE = (ROOT / "docs" / "monitoring.md").read_text()
NAMES = {one.name for one in METRICS}
OWN = {"namespace", "flow"}
LABELS = {one.name: {*OWN, *one.labels} for one in METRICS}
WORDS = {
    "state": set(State),
    "kind": set(Kind),
    "class": set(Change),
    "flow": set(FLOWS),
    "update": set(get_args(Model.model_fields["update"].annotation)),
}


def queries() -> dict[str, str]:
    """Return every query, by the alert's name or the panel's title."""
    panels = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    }
    return {one["alert"]: one["expr"] for one in RULES} | panels


def matchers(query: str) -> Iterator[tuple[str, str, str]]:
    """Yield each metric's matchers: metric, label, value."""
    for name, braces in re.findall(r"(vllm_flows_\w+)\{([^}]*)\}", query):
        for label, value in re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"', braces):
            yield name, label, value


QUERIES = queries()


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_a_query_uses_metrics_labels_and_words_that_there_are(query: str):
    found = set(re.findall(r"vllm_flows_\w+", query))
    assert found
    assert found <= NAMES
    for name, label, value in matchers(query):
        assert label in LABELS[name], label
        if label in WORDS:
            assert set(value.split("|")) <= WORDS[label], value


def test_every_metric_is_used_by_a_rule_or_a_panel():
    assert set(re.findall(r"vllm_flows_\w+", " ".join(QUERIES.values()))) == NAMES


def test_the_page_says_every_metric_with_its_labels_and_no_other():
    rows = re.findall(r"^\| (`vllm_flows_.*?) \| (.*?) \|", PAGE, re.MULTILINE)
    told = {
        name: {*OWN, *re.findall(r"`(\w+)`", labels)}
        for names, labels in rows
        for name in re.findall(r"`(\w+)`", names)
    }
    assert told == LABELS


def test_the_page_says_every_alert_with_its_severity():
    told = dict(re.findall(r"^\| `(Vllm\w+)` \|.*\| (\w+) \|$", PAGE, re.MULTILINE))
    assert told == {one["alert"]: one["labels"]["severity"] for one in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_the_next_command_and_uses_labels_that_its_metric_has(rule: dict[str, Any]):
    notes = rule["annotations"]
    assert notes.keys() == {"summary", "description", "next"}
    verb = re.match(r"vllm-flows --namespace {{ \$labels\.namespace }} ([a-z-]+)", notes["next"])
    assert verb
    assert verb[1] in VERBS
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(notes.values())))
    metric = re.findall(r"vllm_flows_\w+", rule["expr"])[0]  # whose labels an `and` leaves
    assert used <= LABELS[metric]


def test_every_alert_has_a_case_for_promtool():
    tried = {case["alertname"] for test in TESTS for case in test["alert_rule_test"]}
    fired = {
        case["alertname"]
        for test in TESTS
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert fired == tried == {one["alert"] for one in RULES}


def test_the_dashboard_asks_the_chosen_source_for_the_chosen_namespaces():
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert [one["name"] for one in DASHBOARD["templating"]["list"]] == ["datasource", "namespace"]
    for panel in DASHBOARD["panels"]:
        assert panel["datasource"] == source
        for target in panel["targets"]:
            assert target["datasource"] == source
            told = re.findall(r"vllm_flows_\w+(\{[^}]*\})?", target["expr"])
            assert all('namespace=~"$namespace"' in braces for braces in told)


def test_panels_have_numbers_of_their_own_and_lie_on_no_other():
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
    assert all(one["x"] >= 0 and one["x"] + one["w"] <= 24 for one in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above

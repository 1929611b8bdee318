"""How a change of a model's entry is told: in the words of models.yaml."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_flows.differences import changes
from vllm_flows.manifests import node_expressions


def entry(**labels: str) -> dict[str, Any]:
    terms = [{"matchExpressions": node_expressions(labels)}] if labels else []
    return {"name": "qwen", **({"nodeSelectorTerms": terms} if terms else {})}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"pool": "a"}, {"pool": "b"}, "nodeSelector pool=a -> pool=b"),
        ({}, {"pool": "b"}, "nodeSelector (not set) -> pool=b"),
        ({"pool": "a", "zone": "1"}, {}, "nodeSelector pool=a, zone=1 -> (not set)"),
        ({"pool": "a"}, {"pool": "a"}, ""),
    ],
)
def test_another_node_selector_is_told_as_it_stands_in_models_yaml(
    before: dict[str, str], after: dict[str, str], told: str
):
    assert changes(entry(**before), entry(**after)) == told

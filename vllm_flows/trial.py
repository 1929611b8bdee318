"""A commit that is tried on its own, before anybody meets it. Pure.

The trial is a Deployment of one pod, made from the template of the model's own at another commit.
Its labels are its own: no router and no Service finds it. It goes with the model's Deployment, and
a run that was killed leaves it to the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from vllm_flows.differences import at_commit
from vllm_flows.names import RELEASE
from vllm_flows.observe import ENGINE_SELECTOR
from vllm_flows.observed import MANAGED_BY
from vllm_flows.overlap import TRIAL_LABEL
from vllm_flows.sizes import human_seconds

Object = Mapping[str, Any]

_SLOWER = 3.0
_SLOWER_BY_SECONDS = 1.0
"""Both have to be exceeded: small answers vary by small times."""


def trial_name(model: str) -> str:
    """Return the name of the Deployment that tries a commit of the model."""
    return f"{RELEASE}-trial-{model}"


def trial(engine: Object, model: str, served: str, commit: str) -> dict[str, Any]:
    """Return the Deployment that tries a commit, made from the engine's that serves another."""
    release_key, _, release = ENGINE_SELECTOR.partition("=")
    labels = {release_key: release, TRIAL_LABEL: model}
    template = dict(at_commit(engine["spec"]["template"], served, commit))
    template["metadata"] = {**template["metadata"], "labels": labels}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": trial_name(model),
            "labels": {**labels, **MANAGED_BY},
            "ownerReferences": [_owner(engine)],
        },
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "Recreate"},
            "template": template,
        },
    }


def _owner(engine: Object) -> dict[str, Any]:
    metadata = engine["metadata"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


@dataclass(frozen=True)
class Pace:
    """How fast a replica answered, several times: seconds to the first token, and in all."""

    first_token: Sequence[float]
    whole: Sequence[float]


def slowness(served: Pace, tried: Pace) -> str:
    """Say in what the new one is far slower than the one that serves; empty when it is not."""
    found = [
        f"{what} takes {human_seconds(median(new))} instead of {human_seconds(median(old))}"
        for what, old, new in (
            ("the first token", served.first_token, tried.first_token),
            ("an answer", served.whole, tried.whole),
        )
        if median(new) > max(_SLOWER * median(old), median(old) + _SLOWER_BY_SECONDS)
    ]
    return ", ".join(found)

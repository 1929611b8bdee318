"""Releases that are not touched, as they hold what is somebody else's."""

from __future__ import annotations

from typing import Any

from vllm_flows.observed import DIGEST_ANNOTATION, ReleaseState
from vllm_flows.release_rules import release_from

OURS: dict[str, Any] = {"name": "a", "podAnnotations": {DIGEST_ANNOTATION: "x"}}
THEIRS: dict[str, Any] = {"name": "b", "podAnnotations": {}}


def test_a_release_in_which_one_model_is_somebody_elses_is_not_ours():
    row = {"revision": 4, "status": "deployed", "chart": "vllm-stack-0.1.8"}
    for entries in ([OURS, THEIRS], [THEIRS, OURS], [THEIRS]):
        values = {"servingEngineSpec": {"modelSpec": entries}}
        assert release_from(row, values).state is ReleaseState.UNMANAGED

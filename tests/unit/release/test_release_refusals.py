"""Releases that are not touched: somebody else's, and those that no upgrade can reach."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_flows.errors import ReleaseError
from vllm_flows.observed import DIGEST_ANNOTATION, Release, ReleaseState
from vllm_flows.release_rules import check_release, release_from

ROW = {"revision": 4, "status": "deployed", "chart": "vllm-stack-0.1.8"}
OURS: dict[str, Any] = {"name": "a", "podAnnotations": {DIGEST_ANNOTATION: "x"}}
THEIRS: dict[str, Any] = {"name": "b", "podAnnotations": {}}


def test_a_release_in_which_one_model_is_somebody_elses_is_not_ours():
    values = {"servingEngineSpec": {"modelSpec": [OURS, THEIRS]}}
    assert release_from(ROW, values).state is ReleaseState.UNMANAGED


@pytest.mark.parametrize(
    "state",
    [
        ReleaseState.DEPLOYED,
        ReleaseState.FAILED,
        ReleaseState.PENDING_INSTALL,
        ReleaseState.PENDING_UPGRADE,
        ReleaseState.PENDING_ROLLBACK,
    ],
)
def test_whatever_state_it_is_in_selectors_cannot_change(state: ReleaseState):
    with pytest.raises(ReleaseError, match="cannot be upgraded"):
        check_release(Release(state, 2, "0.1.9"), "0.1.10")


@pytest.mark.parametrize("state", [ReleaseState.ABSENT, ReleaseState.UNINSTALLING])
def test_what_is_not_there_or_goes_is_installed_with_any_chart(state: ReleaseState):
    check_release(Release(state, 2, "0.1.9"), "0.1.10")


@pytest.mark.parametrize(
    ("deployed", "wanted"), [("0.1.10-rc.1", "0.1.10"), ("0.1.8", "0.1.9"), ("0.1.10", "0.2.0")]
)
def test_charts_with_the_same_selectors_follow_each_other(deployed: str, wanted: str):
    check_release(Release(ReleaseState.DEPLOYED, 2, deployed), wanted)

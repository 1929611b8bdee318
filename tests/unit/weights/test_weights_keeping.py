"""What a Job must leave on the volume, so that an interrupted run leaves a true and full record."""

from __future__ import annotations

import pytest

from vllm_flows.claims import blob_name
from vllm_flows.observed import HubFile, Verdict, WeightsClaim
from vllm_flows.weights_keeping import keeping
from vllm_flows.weights_manifests import WeightsOrder

NEW = Verdict("m", "o/m", "d" * 40, files=(HubFile("own", 100, "d" * 64, ""),))
SHARED = HubFile("shared", 50, "e" * 64, "")


def claim_with(letters: str) -> WeightsClaim:
    """Return a claim with complete commits of 100 bytes and 50 that all share."""
    shared = {blob_name(SHARED): 50}
    return WeightsClaim(
        "m",
        "1Gi",
        complete={letter * 40: 150 for letter in letters},
        blobs={letter * 40: {letter * 12: 100, **shared} for letter in letters},
    )


@pytest.mark.parametrize(
    ("there", "running", "before", "budget", "kept"),
    [
        ("abc", "c", "b", 1000, "abc"),
        ("abc", "c", "b", 500, "abc"),  # 300 + 50 + 100 of 450 that are usable
        ("abc", "c", "b", 499, "bc"),
        ("abc", "c", "b", 388, "c"),
        ("abc", "c", "b", 0, "c"),
        ("abc", "c", "", 499, "c"),
        ("ab", "c", "x", 1000, "abc"),  # it runs, and no record is known of it
        ("abd", "", "b", 1000, "ab"),  # the new one itself is no older one
        ("", "", "", 1000, ""),
        ("123456789", "9", "8", 9000, "89"),  # no annotation for so many
        ("12345678", "8", "7", 9000, "12345678"),
    ],
)
def test_complete_commits_are_kept_while_there_is_room_for_sure(
    there: str, running: str, before: str, budget: int, kept: str
):
    order = WeightsOrder(
        keep=tuple(letter * 40 for letter in running), before=before * 40, budget=budget
    )
    found = keeping(order, NEW, claim_with(there))
    assert found.keep == tuple(letter * 40 for letter in kept)
    assert (found.before, found.budget) == (order.before, order.budget)

from __future__ import annotations

import pytest

from vllm_flows.startup import startup_seconds


@pytest.mark.parametrize(
    ("weight_bytes", "seconds"),
    [
        (0, 900),
        (8_000_000_000, 900),
        (30_000_000_000, 900),
        (30_000_000_001, 901),
        (145_000_000_000, 2050),
        (1_300_000_000_000, 13_600),
    ],
)
def test_a_model_is_given_the_time_to_be_read_slowly(weight_bytes: int, seconds: int):
    assert startup_seconds(weight_bytes) == seconds


def test_a_larger_model_never_gets_less_time():
    sizes = range(0, 200_000_000_000, 999_999_937)
    budgets = [startup_seconds(size) for size in sizes]
    assert budgets == sorted(budgets)


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="-1"):
        startup_seconds(-1)

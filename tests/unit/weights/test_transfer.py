from __future__ import annotations

from vllm_flows.transfer import Meter, Progress

MB = 1_000_000


def test_a_transfer_says_share_rate_time_left_and_node():
    progress = Progress("m", "", 250 * MB, 1000 * MB, 50 * MB, 15.0, "gpu-1")
    assert progress.line == "25 % of 1 GB, 50 MB/s, 15 s left, on gpu-1"


def test_what_is_only_read_again_is_not_told_as_fetched():
    progress = Progress("m", "", 250 * MB, 1000 * MB, 50 * MB, 15.0, "gpu-1", checking=True)
    assert progress.line == "checked 25 % of 1 GB, 50 MB/s, 15 s left, on gpu-1"


def test_before_there_are_bytes_it_says_what_is_going_on():
    assert Progress("m", "the weights pod is starting").line == "the weights pod is starting"


def test_the_rate_is_that_of_the_last_twenty_seconds():
    meter = Meter()
    assert meter.rate(0, 0) == 0
    assert meter.rate(10, 100) == 10
    assert meter.rate(20, 1000) == 50
    assert meter.rate(40, 1000) == 0


def test_a_file_that_begins_anew_makes_no_negative_rate():
    meter = Meter()
    meter.rate(0, 1000)
    assert meter.rate(1, 400) == 0
    assert meter.rate(2, 500) == 100

"""Probes are due and count as a kubelet's."""

from __future__ import annotations

import httpx
import pytest

from sandbox.agent.probes import Probe, ask, port_of, probes_of

SPEC = {
    "httpGet": {"path": "/health", "port": 8000},
    "initialDelaySeconds": 15,
    "periodSeconds": 5,
    "failureThreshold": 3,
}


def test_the_first_try_waits_for_the_initial_delay() -> None:
    assert Probe(SPEC, 100.0).due == 115.0


def test_the_next_try_is_a_period_later() -> None:
    probe = Probe(SPEC, 100.0)
    probe.record(success=True, now=116.0)
    assert probe.due == 121.0


def test_a_factor_shortens_delay_and_period() -> None:
    probe = Probe(SPEC, 100.0, factor=0.1)
    assert probe.due == 101.5
    probe.record(success=True, now=102.0)
    assert probe.due == 102.5


def test_a_factor_leaves_the_time_until_a_failure_counts() -> None:
    probe = Probe(SPEC, 100.0, factor=0.1)
    for _ in range(29):
        probe.record(success=False, now=102.0)
    assert probe.passed is None
    probe.record(success=False, now=102.0)
    assert probe.passed is False


def test_one_success_is_enough_by_default() -> None:
    probe = Probe(SPEC, 0.0)
    assert probe.passed is None
    probe.record(success=True, now=15.0)
    assert probe.passed is True


def test_only_failures_in_a_row_up_to_the_threshold_count() -> None:
    probe = Probe(SPEC, 0.0)
    for success in (True, False, False, True, False, False):
        probe.record(success=success, now=1.0)
    assert probe.passed is True
    probe.record(success=False, now=2.0)
    assert probe.passed is False


def test_probes_of_other_kinds_count_as_absent() -> None:
    container = {"livenessProbe": {"exec": {"command": ["true"]}}, "readinessProbe": SPEC}
    assert list(probes_of(container, 0.0)) == ["readiness"]


@pytest.mark.parametrize(("port", "expected"), [(8000, 8000), ("8000", 8000), ("http", 8001)])
def test_a_port_is_found_by_number_or_name(port: int | str, expected: int) -> None:
    container = {"ports": [{"name": "http", "containerPort": 8001}]}
    assert port_of({"httpGet": {"port": port}}, container) == expected


def answering(status: int) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(status)))


def test_a_status_from_200_to_399_passes() -> None:
    with answering(204) as client:
        assert not ask(client, Probe(SPEC, 0.0), 20000, "10.244.0.2:8000")


def test_another_status_fails_in_the_kubelets_words() -> None:
    with answering(503) as client:
        failure = ask(client, Probe(SPEC, 0.0), 20000, "10.244.0.2:8000")
    assert failure == "HTTP probe failed with statuscode: 503"


def test_a_port_that_nobody_serves_is_refused() -> None:
    with answering(200) as client:
        failure = ask(client, Probe(SPEC, 0.0), None, "10.244.0.2:8000")
    assert failure == (
        'Get "http://10.244.0.2:8000/health": dial tcp 10.244.0.2:8000: connect: connection refused'
    )

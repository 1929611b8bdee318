"""The node agent leads paths and ports to what stands for them on this machine."""

from __future__ import annotations

import pytest

from sandbox.agent.rewriting import rewrite_network, rewrite_paths, wanted_ports

ANYWHERE = "0.0.0.0"  # noqa: S104 -- what is replaced
PLACES = {"/data": "/host/v1", "/data/shared": "/host/v2", "/tmp": "/host/tmp"}  # noqa: S108 -- a container's path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data", "/host/v1"),
        ("/data/", "/host/v1/"),
        ("/data/hub/a.txt", "/host/v1/hub/a.txt"),
        ("/data/shared/x", "/host/v2/x"),
        ("--path=/data/x", "--path=/host/v1/x"),
        ("/a:/data:/data/shared", "/a:/host/v1:/host/v2"),
        ("echo hi > /data/x; cat '/tmp/y'", "echo hi > /host/v1/x; cat '/host/tmp/y'"),
        ('open("/data")', 'open("/host/v1")'),
    ],
)
def test_a_path_at_or_below_a_mount_is_led_to_its_directory(text: str, expected: str) -> None:
    assert rewrite_paths(text, PLACES) == expected


@pytest.mark.parametrize(
    "text",
    [
        "/database",
        "/data-2/x",
        "/data.old",
        "/srv/data",
        "./data",
        "http://hub/data/x",
        "http://127.0.0.1:80/data",
        "file:///data",
        "plain words",
        "",
    ],
)
def test_other_paths_stay_as_they_are(text: str) -> None:
    assert rewrite_paths(text, PLACES) == text


def test_without_mounts_nothing_changes() -> None:
    assert rewrite_paths("/data", {}) == "/data"


def test_only_a_declared_port_that_the_command_sets_is_assigned() -> None:
    arguments = ["serve", "--port", "8000", "--other", "9999"]
    assert wanted_ports(arguments, [8000, 55555, 9999]) == [8000]
    assert wanted_ports(["--port=8000"], [8000]) == [8000]
    assert wanted_ports(["--port"], [8000]) == []
    assert wanted_ports([], [8000]) == []


def test_the_server_listens_locally_on_the_assigned_port() -> None:
    arguments = ["serve", "--host", ANYWHERE, "--port", "8000", "--max-model-len", "8000"]
    assert rewrite_network(arguments, {8000: 20123}) == [
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        "20123",
        "--max-model-len",
        "8000",
    ]


def test_the_spelling_with_an_equals_sign_is_understood() -> None:
    arguments = [f"--host={ANYWHERE}", "--port=8000"]
    assert rewrite_network(arguments, {8000: 20123}) == ["--host=127.0.0.1", "--port=20123"]


def test_a_command_without_assigned_ports_stays_as_it_is() -> None:
    assert rewrite_network(["--host", ANYWHERE], {}) == ["--host", ANYWHERE]

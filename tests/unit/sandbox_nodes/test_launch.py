from __future__ import annotations

from sandbox.agent.launch import command_line

PLACES = {"/tmp": "/state/pod/tmp", "/weights": "/state/volume"}  # noqa: S108 -- a container's


def test_a_containers_own_command_is_led_to_its_folders() -> None:
    container = {"command": ["python3", "/weights/x.py"], "args": ["$(A)"]}
    found = command_line(container, ["/tmp/clone/python"], {"A": "/tmp/y"}, PLACES)  # noqa: S108 -- likewise
    assert found == ["python3", "/state/volume/x.py", "/state/pod/tmp/y"]


def test_a_program_of_this_machine_below_the_containers_tmp_is_still_found() -> None:
    container = {"args": ["--file", "/tmp/y"]}  # noqa: S108 -- likewise
    found = command_line(container, ["/tmp/clone/python", "-m", "x"], {}, PLACES)  # noqa: S108 -- likewise
    assert found == ["/tmp/clone/python", "-m", "x", "--file", "/state/pod/tmp/y"]  # noqa: S108 -- likewise

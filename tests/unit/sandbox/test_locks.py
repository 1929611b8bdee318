from __future__ import annotations

import threading
from pathlib import Path

from sandbox import locks
from sandbox.progress import silent


def test_a_free_lock_is_taken_and_leaves_no_file_behind(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    with locks.held(path, "working", silent):
        assert path.exists()
    assert not path.exists()


def test_a_second_holder_says_what_it_waits_for_and_gets_its_turn(tmp_path: Path) -> None:
    path, said, order = tmp_path / "lock", [], ["first in"]
    waits = threading.Event()

    def second() -> None:
        def report(text: str) -> None:
            said.append(text)
            waits.set()

        with locks.held(path, "building", report):
            order.append("second in")

    with locks.held(path, "building", silent):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(timeout=10)
        order.append("first out")
    thread.join(timeout=10)
    assert order == ["first in", "first out", "second in"]
    assert said == ["waiting: another process is building"]

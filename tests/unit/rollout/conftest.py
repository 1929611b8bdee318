"""Stand-ins in place of the tasks of a run that changes the release."""

from __future__ import annotations

import pytest

from tests.unit.rollout.stand_ins import Tasks


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Tasks:
    found = Tasks()
    found.put_in_place(monkeypatch)
    return found

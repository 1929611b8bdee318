"""What is only shown fails no run."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

from tasks import artifacts


def test_a_server_that_takes_no_table_page_or_bar_fails_no_run(monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []

    def away(*_: object, **__: object) -> None:
        raise httpx.ConnectError("nobody listens")

    for kind in ("create_table", "create_markdown", "create_progress", "update_progress"):
        monkeypatch.setattr(artifacts, f"{kind}_artifact", away)
    monkeypatch.setattr(artifacts, "say", said.append)
    artifacts.publish_table([{"model": "m"}], "plan", "The plan")
    artifacts.publish_page("# Plan", "page", "The plan")
    assert artifacts.publish_progress(None, 2.0, "bar", "at 2 %") is None
    bar = uuid4()
    assert artifacts.publish_progress(bar, 3.0, "bar", "at 3 %") == bar
    assert said == [
        f"the Prefect server does not take {key}: ConnectError"
        for key in ("plan", "page", "bar", "bar")
    ]

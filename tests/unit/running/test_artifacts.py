"""What is only shown fails no run, and says of which namespace it is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any
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


def show(namespace: str) -> None:
    """Show a table, a page and a bar in a thread that begins as Prefect's of a task do."""

    def task() -> None:
        artifacts.publish_table([{"model": "m"}], "plan", "The plan")
        artifacts.publish_page("# Plan", "page", "The page")
        artifacts.publish_progress(None, 2.0, "weights-m", "at 2 %")

    artifacts.show_for(namespace)
    with ThreadPoolExecutor() as threads:
        threads.submit(copy_context().run, task).result()


def test_of_two_namespaces_on_a_server_neither_shows_in_the_other_one_s_place(
    monkeypatch: pytest.MonkeyPatch,
):
    shown: list[tuple[str, str]] = []

    def create(**given: Any) -> None:
        shown.append((given["key"], given["description"]))

    for kind in ("table", "markdown", "progress"):
        monkeypatch.setattr(artifacts, f"create_{kind}_artifact", create)
    for namespace in ("vllm", "second"):
        copy_context().run(show, namespace)
    assert shown == [
        (f"{key}-{namespace}", f"Namespace {namespace}. {text}")
        for namespace in ("vllm", "second")
        for key, text in (("plan", "The plan"), ("page", "The page"), ("weights-m", "at 2 %"))
    ]

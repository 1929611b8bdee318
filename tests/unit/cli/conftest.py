"""A command line that is typed at, and what the Hub would say to it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from cli import main as entry
from vllm_flows.hub_advice import HubAdvice
from vllm_flows.observed import Access, HubFile, Verdict


class Terminal(io.StringIO):
    """A person who types this, and then presses Ctrl-C."""

    def isatty(self) -> bool:
        return True


@dataclass
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@dataclass
class StandInHub:
    """What the Hub would say; `silent` like one that cannot be reached."""

    ids: list[str] = field(default_factory=lambda: ["Qwen/Qwen3-4B", "Qwen/Qwen3-8B"])
    size: int = 8 * 10**9
    silent: bool = False

    def search(self, text: str, limit: int) -> list[str]:
        found = [one for one in self.ids if text.lower() in one.lower()]
        return [] if self.silent or not text else found[:limit]

    def look(self, repository: str, _revision: str) -> Verdict | None:
        if self.silent:
            return None
        if repository not in self.ids:
            return Verdict("", repository, access=Access.NO_REPOSITORY)
        files = (HubFile("model.safetensors", self.size, "a" * 64, "b" * 40),)
        return Verdict("", repository, "c" * 40, files=files)


Run = Callable[..., Said]


@pytest.fixture(autouse=True)
def process_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command that comes to its end in this process not end the process."""
    monkeypatch.setattr("cli.main.leave_threads", lambda _code: None)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> StandInHub:
    hub = StandInHub()
    monkeypatch.setattr(HubAdvice, "search", lambda _, *words: hub.search(*words))
    monkeypatch.setattr(HubAdvice, "look", lambda _, *words: hub.look(*words))
    return hub


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], hub: StandInHub
) -> Run:
    """Run a command; with `typed` on a terminal, `closed` without any standard input."""
    del hub

    def run(*arguments: str, typed: str | None = None, closed: bool = False) -> Said:
        stdin = io.StringIO() if typed is None else Terminal(typed)
        monkeypatch.setattr(sys, "stdin", None if closed else stdin)
        monkeypatch.setattr(sys, "argv", ["vllm-flows", *arguments])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        return Said(int(ended.value.code or 0), *capsys.readouterr())

    return run

"""Unit tests see no environment of the person who runs them, and no .env file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vllm_flows import redaction


@pytest.fixture(autouse=True)
def _no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what was collected: it is no secret of another test."""
    monkeypatch.setattr(redaction, "process", redaction.Redactor())


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("VLLM_", "HF_", "KUBE", "PREFECT_", "VAULT_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def somebody_types() -> Iterator[None]:
    """Let standard input be a person's, who would answer."""
    kept, (reading, writing) = os.dup(0), os.pipe()
    os.write(writing, b"my password\n")
    os.dup2(reading, 0)
    yield
    os.dup2(kept, 0)
    for one in (kept, reading, writing):
        os.close(one)

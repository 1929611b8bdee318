"""Unit tests see no environment of the person who runs them, and no .env file."""

from __future__ import annotations

import os
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

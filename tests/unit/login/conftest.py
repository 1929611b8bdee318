"""Login programs of a kubeconfig, as small shell scripts."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.login.programs import VERSION, Plugin


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    """Make a plugin from lines of shell, and return its entry in a kubeconfig."""

    def make(script: str, **more: Any) -> dict[str, Any]:
        file = tmp_path / "log-in"
        file.write_text(f"#!/bin/sh\n{textwrap.dedent(script)}")
        file.chmod(0o700)
        return {"apiVersion": VERSION, "command": str(file), **more}

    return make


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a kubeconfig with one user, and have it used."""

    def write(user: dict[str, Any], **cluster: Any) -> Path:
        document = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "one", "user": "me"}}],
            "clusters": [{"name": "one", "cluster": {"server": "https://10.0.0.1", **cluster}}],
            "users": [{"name": "me", "user": user}],
        }
        file = tmp_path / "kubeconfig"
        file.write_text(yaml.safe_dump(document))
        monkeypatch.setenv("KUBECONFIG", str(file))
        return file

    return write

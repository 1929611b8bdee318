"""The verbs for the API key, in a namespace that a stand-in keeps."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from cli import secrets
from vllm_flows import credentials
from vllm_flows.credentials import API_KEY, Credential
from vllm_flows.errors import ConfigurationError
from vllm_flows.settings import Settings


def test_a_key_that_is_there_is_not_replaced_unasked(monkeypatch: pytest.MonkeyPatch):
    there = Credential("sk-there", "Secret", stored=True)
    monkeypatch.setattr(secrets, "has_terminal", lambda: False)
    monkeypatch.setattr(secrets, "given_value", lambda *_, **__: None)
    monkeypatch.setattr(secrets, "keeper_of", lambda _: SimpleNamespace(cluster=None))
    monkeypatch.setattr(credentials, "read", lambda *_: there)
    monkeypatch.setattr(secrets, "_store", lambda *_: pytest.fail("it was replaced"))
    options = SimpleNamespace(settings=Settings)
    with pytest.raises(ConfigurationError, match="there is an API key already"):
        secrets.set_api_key.main([], standalone_mode=False, obj=options)


@pytest.mark.parametrize(
    ("variable", "warned"), [(None, False), ("stored", False), ("another", True)]
)
def test_a_variable_is_warned_of_that_would_undo_what_was_stored(
    capsys: pytest.CaptureFixture[str], variable: str | None, *, warned: bool
):
    in_environment = SecretStr(variable) if variable else None
    secrets._warn_of_variable(API_KEY, in_environment, "stored")  # noqa: SLF001 -- no cluster for it
    assert ("VLLM_API_KEY is set to another value" in capsys.readouterr().err) == warned

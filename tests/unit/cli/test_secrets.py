"""The verbs for the API key, in a namespace that a stand-in keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import click
import pytest
from pydantic import SecretStr

from cli import moving, secrets
from vllm_flows import credentials, secret_moving
from vllm_flows.credentials import API_KEY, Credential
from vllm_flows.errors import AnotherValueError, ConfigurationError
from vllm_flows.secret_mode import Maker
from vllm_flows.secret_moving import Step
from vllm_flows.settings import Settings


def test_a_key_that_is_there_is_not_replaced_unasked(monkeypatch: pytest.MonkeyPatch):
    there = Credential("sk-there", "Secret", stored=True)
    monkeypatch.setattr(secrets, "has_terminal", lambda: False)
    monkeypatch.setattr(secrets, "given_value", lambda *_, **__: None)
    monkeypatch.setattr(secrets, "keeper_of", lambda _: SimpleNamespace(cluster=None))
    monkeypatch.setattr(credentials, "read", lambda *_: there)
    monkeypatch.setattr(secrets, "_store", lambda *_, **__: pytest.fail("it was replaced"))
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


FOR_ALL = "; Vault's x counts for all namespaces that read it"


class FakeKeeper:
    """A fake, for whom Vault holds another value; `replaced` is what it was allowed."""

    def __init__(self) -> None:
        self.cluster = SimpleNamespace(namespace="vllm")
        self.replaced: list[bool] = []
        self.locks: list[str] = []
        self.held = False
        self.was_there = True
        self.maker = Maker.SYNCED

    def look(self, _: object) -> Any:
        store = SimpleNamespace(is_there=False)
        return SimpleNamespace(store=store, maker=Maker.NOBODY, for_all=FOR_ALL)

    def removable(self, _: object) -> Any:
        return SimpleNamespace(
            everything="the key of Vault's x, with Secret y,",
            objects="ExternalSecret x and Secret y",
            where="Vault's x",
            for_all=FOR_ALL,
            maker=self.maker,
        )

    def store(self, *_: object, anew: bool, replacing: bool) -> bool:
        assert (anew, self.held) == (True, True)
        self.replaced.append(replacing)
        if not replacing:
            raise AnotherValueError("Vault holds another", why="others may use it")
        return True

    def remove(self, _: object) -> bool:
        assert self.held, "it was deleted without the lock"
        return self.was_there


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> FakeKeeper:
    """Put the fake, and a lock that tells whether it is held, in the place of the cluster."""
    made = FakeKeeper()

    @contextmanager
    def locked(keeper: FakeKeeper, verb: str) -> Iterator[FakeKeeper]:
        keeper.locks.append(verb)
        keeper.held = True
        try:
            yield keeper
        finally:
            keeper.held = False

    monkeypatch.setattr(secrets, "keeper_of", lambda _: made)
    monkeypatch.setattr(secrets, "locked", locked)
    monkeypatch.setattr(credentials, "ensure_namespace", lambda _: None)
    monkeypatch.setattr(credentials, "read", lambda *_: Credential("sk", "", stored=False))
    return made


def run(command: click.Command, *words: str) -> None:
    command.main([*words], standalone_mode=False, obj=SimpleNamespace(settings=Settings))


@pytest.mark.parametrize(("words", "asked"), [(["--yes"], [True]), ([], [False])])
def test_where_nobody_can_be_asked_only_yes_replaces_what_vault_holds(
    monkeypatch: pytest.MonkeyPatch, keeper: FakeKeeper, words: list[str], asked: list[bool]
):
    monkeypatch.setattr(secrets, "has_terminal", lambda: False)
    with nullcontext() if words else pytest.raises(AnotherValueError):
        run(secrets.set_api_key, "--generate", *words)
    assert keeper.replaced == asked


def test_who_is_at_a_terminal_is_asked_without_the_lock(
    monkeypatch: pytest.MonkeyPatch, keeper: FakeKeeper
):
    questions: list[str] = []

    def confirm(question: str) -> None:
        assert keeper.locks == ["set-api-key"]
        questions.append(question)

    monkeypatch.setattr(secrets, "has_terminal", lambda: True)
    monkeypatch.setattr(secrets, "confirm", confirm)
    run(secrets.set_api_key, "--generate")
    assert questions == ["Vault holds another; others may use it. Replace it?"]
    assert keeper.replaced == [False, True]


@pytest.mark.parametrize("kind", ["hf-token", "api-key"])
def test_nothing_is_deleted_without_the_lock(keeper: FakeKeeper, kind: str):
    command = {"hf-token": secrets.delete_hf_token, "api-key": secrets.delete_api_key}[kind]
    run(command, "--yes")
    assert keeper.locks == [f"delete-{kind}"]


def test_that_vaults_value_counts_for_others_is_said_of_what_is_set_and_deleted(
    monkeypatch: pytest.MonkeyPatch, keeper: FakeKeeper, capsys: pytest.CaptureFixture[str]
):
    run(secrets.set_api_key, "--generate", "--yes")
    assert f"is set in namespace vllm{FOR_ALL}" in capsys.readouterr().err
    questions: list[str] = []
    monkeypatch.setattr(secrets, "confirm", questions.append)
    run(secrets.delete_api_key)
    assert f"in namespace vllm{FOR_ALL}. " in questions[0]
    assert f"is deleted in namespace vllm{FOR_ALL}" in capsys.readouterr().err
    keeper.was_there = False
    run(secrets.delete_api_key, "--yes")
    said = capsys.readouterr().err
    assert "Secret y are deleted in namespace vllm; Vault's x held no API key any more" in said


def test_of_a_plain_secret_that_is_deleted_nothing_of_vault_is_said(
    monkeypatch: pytest.MonkeyPatch, keeper: FakeKeeper, capsys: pytest.CaptureFixture[str]
):
    keeper.maker = Maker.US
    questions: list[str] = []
    monkeypatch.setattr(secrets, "confirm", questions.append)
    run(secrets.delete_api_key)
    assert FOR_ALL not in questions[0] + capsys.readouterr().err


def test_a_move_makes_the_namespace_before_it_takes_the_lock(
    monkeypatch: pytest.MonkeyPatch, keeper: FakeKeeper
):
    steps = [SimpleNamespace(step=Step.ATTACH, text="")]
    done: list[str] = []
    monkeypatch.setattr(moving, "keeper_of", secrets.keeper_of)
    monkeypatch.setattr(moving, "locked", secrets.locked)
    monkeypatch.setattr(secret_moving, "moves", lambda *_: steps)
    monkeypatch.setattr(secret_moving, "perform", lambda *_: done.append("performed"))
    monkeypatch.setattr(
        credentials, "ensure_namespace", lambda _: done.extend(["made", *keeper.locks])
    )
    run(moving.move_secrets, "--to", "vault", "--yes")
    assert done == ["made", "performed"]
    assert keeper.locks == ["move-secrets"]
    steps[0].step = Step.NONE
    run(moving.move_secrets, "--to", "vault")
    assert done == ["made", "performed"]

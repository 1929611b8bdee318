"""Judging where secrets are kept, and Vault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from vllm_flows import doctor_secrets, vault, vault_client
from vllm_flows import doctor_vault as doctor
from vllm_flows.credentials import API_KEY
from vllm_flows.doctor_findings import Finding, State
from vllm_flows.errors import VaultError
from vllm_flows.rights import EXTERNAL_SECRETS
from vllm_flows.secret_mode import Choice, Maker, Mode, Store, StoreState
from vllm_flows.settings import Settings
from vllm_flows.vault_tokens import Token

IN_VAULT = (Maker.SYNCED, Choice(Mode.VAULT, "the store is ready"), "")
PLAIN = (Maker.US, Choice(Mode.KUBERNETES, "it is plain already"), "")
OTHERS = (Maker.OTHER, Choice(Mode.KUBERNETES, ""), "SealedSecret x")


@pytest.mark.parametrize(
    ("token", "key", "state", "found"),
    [
        (PLAIN, PLAIN, State.OK, "plain Secrets: it is plain already"),
        (IN_VAULT, IN_VAULT, State.OK, "in Vault: the store is ready"),
        (IN_VAULT, PLAIN, State.WARNING, "hf-token: in Vault: the store is ready; vllm-api-key: p"),
        (OTHERS, PLAIN, State.OK, "hf-token: somebody else's (SealedSecret x); vllm-api-key:"),
    ],
)
def test_where_each_secret_is_kept_is_said_with_its_reason(
    token: Any, key: Any, state: State, found: str
):
    finding = doctor.judge_kept({"hf-token": token, "vllm-api-key": key})
    assert finding.state is state
    assert finding.found.startswith(found)
    assert bool(finding.fix) == (state is State.WARNING)


@pytest.mark.parametrize(("made", "state"), [(True, State.WARNING), (False, State.PROBLEM)])
def test_a_secret_that_does_not_come_is_a_problem_only_where_it_is_missing(
    state: State, *, made: bool
):
    finding = doctor.judge_sync("hf-token", "hf-external", "Vault is sealed", "ns", made=made)
    assert finding.state is state
    assert "Vault is sealed" in finding.found
    assert finding.fix == "kubectl -n ns describe externalsecret hf-external"


def test_missing_rights_to_external_secrets_are_named():
    finding = doctor.judge_external_rights(EXTERNAL_SECRETS[:2], "ns")
    assert "may not create, get externalsecrets in ns" in finding.found
    named = doctor.judge_external_rights(EXTERNAL_SECRETS[:2], "ns", "system:serviceaccount:ns:a")
    assert "external-secrets/role.yaml && kubectl -n ns create rolebinding" in named.fix
    assert "--role=vllm-flows-external-secrets --serviceaccount=ns:a " in named.fix


@pytest.mark.parametrize(
    ("token", "state", "found"),
    [
        (Token("jane", ("vllm",), 7200, renewable=False), State.OK, "ends in 2 h"),
        (Token("jane", ("vllm",), 600, renewable=True), State.OK, "can be renewed"),
        (Token("jane", ("vllm",), 600, renewable=False), State.WARNING, "ends in 10 min"),
        (Token("jane", ("vllm",), 0, renewable=False), State.OK, "has no end"),
        (Token("root", ("root",), 0, renewable=False), State.WARNING, "may do everything"),
    ],
)
def test_a_token_is_told_with_its_end(token: Token, state: State, found: str):
    finding = doctor.judge_vault("http://vault", {"version": "1.17.0"}, token)
    assert finding.state is state
    assert found in finding.found
    assert finding.found.startswith("Vault 1.17.0 at http://vault: token ")


def test_trouble_with_vault_keeps_no_install_from_working():
    error = VaultError("no right", next_command="vault policy read vllm-flows")
    finding = doctor.vault_trouble(error)
    assert (finding.state, finding.fix) == (State.WARNING, "vault policy read vllm-flows")


KEPT = SimpleNamespace(
    in_vault=True,
    path="vllm/api-key",
    place=API_KEY,
    maker=Maker.SYNCED,
    store=SimpleNamespace(address=""),
)


def asked(monkeypatch: pytest.MonkeyPatch, health: Mapping[str, Any], **settings: Any) -> Finding:
    class Keeper:
        """The keeper of one secret."""

        def __init__(self) -> None:
            given = {"vault_address": "http://vault", "vault_token": "t", **settings}
            self.settings = Settings.model_validate(given)

        def look(self, _: Any) -> Any:
            return KEPT

    class Opened:
        """A Vault that lets in and refuses to be read."""

        token = Token("jane", (), 0, renewable=False)

        def read(self, path: str) -> None:
            raise VaultError(f"Vault does not let this token read {path}")

    @contextmanager
    def opened(_: Any) -> Iterator[Opened]:
        yield Opened()

    monkeypatch.setattr(vault_client, "health", lambda _: health)
    monkeypatch.setattr(vault.Vault, "opened", opened)
    keeper: Any = Keeper()
    (finding,) = doctor_secrets._vault(keeper)  # noqa: SLF001 -- what the question asks
    return finding


def test_a_sealed_vault_is_told_before_any_login(monkeypatch: pytest.MonkeyPatch):
    finding = asked(monkeypatch, {"initialized": True, "sealed": True})
    assert "is sealed" in finding.found
    assert finding.fix.startswith("vault operator unseal")
    assert finding.found.count("goes on working") == 1


def test_what_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch):
    assert "read vllm/api-key" in asked(monkeypatch, {}).found


def test_a_wrapped_secret_id_is_not_used_up_by_looking(monkeypatch: pytest.MonkeyPatch):
    finding = asked(
        monkeypatch,
        {"sealed": False},
        vault_login="approle",
        vault_role_id="r",
        vault_wrapped_secret_id="w",
    )
    assert "the login was not tried" in finding.found


@pytest.mark.parametrize(
    ("state", "found"),
    [
        (StoreState.ABSENT, "not used: nothing is kept in it here"),
        (StoreState.UNKNOWN, "not used, or not known: this account may not look at Cluster"),
    ],
)
def test_who_may_not_look_is_not_told_that_nothing_is_in_vault(state: StoreState, found: str):
    assert doctor.not_used(Store("x", state)).found.startswith(found)

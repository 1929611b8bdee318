"""How Vault is reached, from the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import certifi
import pytest

from vllm_flows.errors import ConfigurationError
from vllm_flows.redaction import redacted
from vllm_flows.settings import Settings, load_settings
from vllm_flows.settings_sources import set_settings
from vllm_flows.vault_access import Access, AppRoleLogin, KubernetesLogin, TokenLogin, access_of
from vllm_flows.vault_tokens import Token, refused_root

ADDRESS = "https://vault.example.com:8200"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


def access(**given: Any) -> Access:
    return access_of(Settings.model_validate({"vault_address": ADDRESS, **given}))


def refused(**given: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        access(**given)
    assert "canary" not in str(caught.value)
    assert caught.value.next_command
    return caught.value


def test_variables_of_vaults_own_command_line_stand_in(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VAULT_ADDR", f"{ADDRESS}/")
    monkeypatch.setenv("VAULT_TOKEN", "hvs.standard")
    monkeypatch.setenv("VAULT_NAMESPACE", "team")
    found = access_of(load_settings())
    assert (found.address, found.namespace) == (ADDRESS, "team")
    assert found.login == TokenLogin("hvs.standard", "VLLM_VAULT_TOKEN (or VAULT_TOKEN)")
    monkeypatch.setenv("VLLM_VAULT_TOKEN", "hvs.ours")
    Path(".env").write_text("VLLM_VAULT_ADDRESS=https://from-file\n")
    found = access_of(load_settings())
    assert (found.address, found.login.token) == ("https://from-file", "hvs.ours")  # type: ignore[union-attr]  # a token


def test_the_doctor_says_which_variable_stands_in():
    found = set_settings({}, {"VAULT_ADDR": ADDRESS, "VAULT_TOKEN": "canary"}, {})
    assert found == [
        ("VLLM_VAULT_ADDRESS", ADDRESS, "VAULT_ADDR"),
        ("VLLM_VAULT_TOKEN", "set", "VAULT_TOKEN"),
    ]


def test_the_token_that_vault_login_left_is_found(tmp_path: Path):
    assert refused().what == "there is no Vault token"
    (tmp_path / ".vault-token").write_text("hvs.left\n")
    assert access().login == TokenLogin("hvs.left", "~/.vault-token")
    assert redacted("it is hvs.left") == "it is ***"


@pytest.mark.parametrize("token", ["hvs.canary\nX: y", "hvs canary", "hvs.canaryé"])
def test_a_token_that_no_header_can_hold_is_refused_without_being_shown(token: str):
    assert "holds no usable value" in refused(vault_token=token).what


def test_without_an_address_the_store_is_named_that_has_one():
    with pytest.raises(ConfigurationError) as caught:
        access_of(Settings(), "http://vault.vault:8200")
    assert "the cluster reaches it at http://vault.vault:8200" in caught.value.why
    assert "VLLM_VAULT_ADDRESS" in caught.value.next_command


@pytest.mark.parametrize(
    "address", ["vault:8200", "ftp://vault", "https://me:canary@vault", "https://vault/?a=canary"]
)
def test_an_address_that_is_none_is_refused(address: str):
    assert "is no address" in refused(vault_address=address, vault_token="t").what


def test_a_certificate_that_is_not_there_is_named():
    error = refused(vault_token="t", vault_ca_cert="/none/ca.pem")
    assert "/none/ca.pem" in error.what
    assert "VLLM_VAULT_CA_CERT" in error.why


def test_a_certificate_that_is_none_is_told_before_anything_is_asked(tmp_path: Path):
    file = tmp_path / "ca.der"
    for content in (b"", b"0\x82\x03canary", b"-----BEGIN CERTIFICATE-----\n"):
        file.write_bytes(content)
        error = refused(vault_token="t", vault_ca_cert=str(file))
        assert error.what == f"{file} is no CA certificate"
        assert "VLLM_VAULT_CA_CERT (or VAULT_CACERT) names it: it is not in PEM" in error.why
    assert access(vault_token="t", vault_ca_cert=certifi.where()).ca_cert == certifi.where()
    assert access(vault_token="t", vault_ca_cert=str(tmp_path)).ca_cert == str(tmp_path)


def test_a_service_account_logs_in_with_the_token_of_its_pod(tmp_path: Path):
    file = tmp_path / "token"
    given: dict[str, Any] = {"vault_login": "kubernetes", "vault_jwt_file": file}
    assert "VLLM_VAULT_ROLE" in refused(**given).what
    given["vault_role"] = "vllm"
    assert str(file) in refused(**given).what
    file.write_text("jwt\n")
    assert access(**given).login == KubernetesLogin("vllm", "jwt", "kubernetes")
    moved = access(**given, vault_login_mount="k8s/").login
    assert isinstance(moved, KubernetesLogin)
    assert moved.mount == "k8s"


def test_an_approle_logs_in_with_a_wrapped_secret_id_or_a_bare_one():
    given: dict[str, Any] = {"vault_login": "approle"}
    assert "VLLM_VAULT_ROLE_ID" in refused(**given).what
    given["vault_role_id"] = "role"
    assert "VLLM_VAULT_WRAPPED_SECRET_ID" in refused(**given).what
    bare = access(**given, vault_secret_id="bare").login
    assert bare == AppRoleLogin("role", "bare", "approle")
    both = access(**given, vault_secret_id="bare", vault_wrapped_secret_id="wrapped").login
    assert both == AppRoleLogin("role", "wrapped", "approle", wrapped=True)


@pytest.mark.parametrize("path", ["", "/", "../x", "a b", "a//b"])
def test_a_path_that_vault_has_not_is_refused(monkeypatch: pytest.MonkeyPatch, path: str):
    monkeypatch.setenv("VLLM_VAULT_API_KEY_PATH", path)
    with pytest.raises(ConfigurationError, match="VLLM_VAULT_API_KEY_PATH"):
        load_settings()


@pytest.mark.parametrize("policies", [("root",), ("root", "other"), ("other", "root")])
def test_a_token_with_roots_policy_among_others_is_a_root_token(policies: tuple[str, ...]):
    token = Token.of({"policies": list(policies)})
    assert refused_root(token, allowed=False)
    assert not refused_root(token, allowed=True)
    assert not refused_root(Token.of({"policies": ["rooted"]}), allowed=False)


@pytest.mark.parametrize("place", ["policies", "identity_policies"])
def test_a_root_token_is_known_whatever_gives_it_the_policy(place: str):
    assert Token.of({place: ["root"], "ttl": 0}).is_root

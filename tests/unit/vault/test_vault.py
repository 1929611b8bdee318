"""Vault through the real hvac: what is written, kept, refused, and said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import requests

from tests.unit.vault.conftest import ADDRESS, TOKEN, Server
from vllm_flows.errors import (
    ConfigurationError,
    LockLostError,
    VaultConflictError,
    VaultError,
    VaultUnavailableError,
    VllmFlowsError,
)
from vllm_flows.redaction import redacted
from vllm_flows.vault import Held, Vault
from vllm_flows.vault_access import Access, AppRoleLogin, KubernetesLogin, TokenLogin

PATH, DATA = "vllm/api-key", "secret/data/vllm/api-key"


def write(access: Access, value: str = "canary-new") -> bool:
    with Vault.opened(access) as vault:
        return vault.write(PATH, "api-key", value)


def refused(call: Callable[[], Any]) -> VllmFlowsError:
    with pytest.raises(VllmFlowsError) as caught:
        call()
    assert "canary" not in str(caught.value)
    assert caught.value.next_command
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


def test_what_is_not_there_is_written_as_its_first_version(server: Server, access: Access):
    assert write(access)
    assert server.kept == {PATH: [{"api-key": "canary-new"}]}
    assert not write(access)
    assert len(server.kept[PATH]) == 1


def test_other_keys_at_the_path_are_kept_on_write_and_on_removal(server: Server, access: Access):
    server.put(PATH, other="theirs")
    write(access)
    assert server.kept[PATH][-1] == {"other": "theirs", "api-key": "canary-new"}
    with Vault.opened(access) as vault:
        assert vault.remove(PATH, "api-key")
        assert not vault.remove(PATH, "api-key")
        assert vault.read(PATH) == Held(3, {"other": "theirs"})


def test_a_version_that_was_deleted_is_followed_by_the_next(server: Server, access: Access):
    server.kept[PATH] = [{"api-key": "old"}, None]
    assert write(access)
    assert len(server.kept[PATH]) == 3


def test_of_two_writers_at_once_the_second_is_told_and_overwrites_nothing(
    server: Server, access: Access
):
    server.before_write = lambda: server.put(PATH, **{"api-key": "canary-theirs"})
    error = refused(lambda: write(access))
    assert isinstance(error, VaultConflictError)
    assert "somebody else wrote secret/data/vllm/api-key" in error.what
    assert server.kept[PATH] == [{"api-key": "canary-theirs"}]


def test_what_was_written_since_an_earlier_look_is_not_overwritten(server: Server, access: Access):
    with Vault.opened(access) as vault:
        held = vault.read(PATH)
        server.put(PATH, **{"api-key": "canary-theirs"})
        error = refused(lambda: vault.write(PATH, "api-key", "canary-new", held))
    assert isinstance(error, VaultConflictError)
    assert server.kept[PATH] == [{"api-key": "canary-theirs"}]


def test_a_lock_that_was_lost_keeps_from_writing(server: Server, access: Access):
    def guard() -> None:
        raise LockLostError("lost")

    with Vault.opened(access, guard) as vault, pytest.raises(LockLostError):
        vault.write(PATH, "api-key", "new")
    assert not server.kept


@pytest.mark.parametrize(
    ("health", "said"),
    [
        ({"initialized": True, "sealed": True}, "is sealed"),
        ({"initialized": False, "sealed": True}, "is not initialised"),
    ],
)
def test_a_vault_that_is_sealed_or_new_says_so_and_can_be_asked_again(
    server: Server, access: Access, health: dict[str, bool], said: str
):
    server.health = health
    error = refused(lambda: write(access))
    assert isinstance(error, VaultUnavailableError)
    assert said in error.what
    assert error.next_command.startswith("vault operator")


def test_one_that_is_sealed_between_two_requests_says_so(server: Server, access: Access):
    server.answers[f"GET {DATA}"] = (503, {"errors": ["Vault is sealed"]})
    assert "is sealed" in refused(lambda: write(access)).what


def test_a_token_that_is_not_accepted_is_told_by_where_it_is_from(server: Server, access: Access):
    server.tokens.clear()
    error = refused(lambda: write(access))
    assert "does not accept the token of VLLM_VAULT_TOKEN" in error.what
    assert "expired" in error.why
    assert error.next_command.startswith("vault login")


def test_a_missing_right_is_told_with_the_path_and_the_lines_of_a_policy(
    server: Server, access: Access
):
    denied = (403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]})
    server.answers[f"GET {DATA}"] = denied
    error = refused(lambda: write(access))
    assert isinstance(error, VaultError)
    assert error.what == f"Vault does not let this token read {DATA}"
    assert f'path "{DATA}" {{ capabilities = ["create", "read", "update"] }}' in error.why
    server.answers = {f"POST {DATA}": denied}
    assert refused(lambda: write(access)).what == f"Vault does not let this token write {DATA}"


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ({"type": "kv", "options": {"version": "1"}}, "is one of version 1"),
        ({"type": "kv", "options": None}, "is one of version 1"),
        ({"type": "transit", "options": None}, "is an engine transit, not KV"),
    ],
)
@pytest.mark.parametrize("answer", [None, (403, {"errors": ["permission denied"]})])
def test_an_engine_without_versions_is_never_written_to(
    server: Server, access: Access, mount: dict[str, Any], said: str, answer: Any
):
    server.mount = mount
    if answer:
        server.answers[f"GET {DATA}"] = answer
    error = refused(lambda: write(access))
    assert isinstance(error, ConfigurationError)
    assert said in error.what
    assert not server.kept


def test_what_an_engine_without_versions_keeps_at_that_path_is_not_taken_for_a_secret(
    server: Server, access: Access
):
    server.answers[f"GET {DATA}"] = (200, {"data": {"api-key": "canary"}})
    assert "is one of version 1" in refused(lambda: write(access)).what


def test_what_an_engine_took_that_answers_with_no_version_is_taken_back(
    server: Server, access: Access
):
    server.answers = {
        "GET sys/internal/ui/mounts/secret": (404, {"errors": []}),
        f"POST {DATA}": (204, ""),
        f"DELETE {DATA}": (204, ""),
    }
    assert "is one of version 1" in refused(lambda: write(access)).what
    assert server.asked[-1] == f"DELETE {DATA}"


def test_a_mount_that_is_not_there_is_named(server: Server, access: Access):
    text = f'no handler for route "{DATA}". route entry not found.'
    server.answers[f"GET {DATA}"] = (404, {"errors": [text]})
    error = refused(lambda: write(access))
    assert "has nothing mounted at secret/" in error.what
    assert "VLLM_VAULT_MOUNT" in error.next_command


def test_where_the_mount_may_not_be_looked_at_nothing_stands_against_writing(
    server: Server, access: Access
):
    server.answers["GET sys/internal/ui/mounts/secret"] = (403, {"errors": ["permission denied"]})
    assert write(access)


def test_http_to_a_port_of_https_is_told_with_the_address_that_is_right(
    server: Server, access: Access
):
    text = "Client sent an HTTP request to an HTTPS server.\n"
    server.answers["GET auth/token/lookup-self"] = (400, text)
    plain = replace(access, address=ADDRESS.replace("https", "http"))
    server.answers = {
        f"GET {plain.address}/v1/{path}": (400, text)
        for path in ("auth/token/lookup-self", "sys/health")
    }
    error = refused(lambda: write(plain))
    assert "speaks https, not http" in error.what
    assert ADDRESS in error.next_command


def test_what_is_no_vault_is_told_as_none(server: Server, access: Access):
    server.answers["GET auth/token/lookup-self"] = (200, "<html>")
    assert "is no Vault" in refused(lambda: write(access)).what


@pytest.mark.parametrize(
    "answer", [(404, "<html>not found</html>"), (401, {"message": "Unauthorized"}), (404, {})]
)
@pytest.mark.parametrize("method", ["token", "approle", "kubernetes"])
def test_what_knows_no_tokens_and_no_logins_is_no_vault(
    server: Server, access: Access, answer: Any, method: str
):
    login = {"approle": APPROLE, "kubernetes": KUBERNETES}.get(method, access.login)
    server.answers = {
        f"POST auth/{method}/login": answer,
        "GET auth/token/lookup-self": answer,
        "GET sys/health": answer,
    }
    assert "is no Vault" in refused(lambda: write(replace(access, login=login))).what


def test_a_wrong_namespace_is_thought_of(server: Server, access: Access):
    server.tokens.clear()
    team = replace(access, namespace="team")
    assert "is not one of namespace team (VLLM_VAULT_NAMESPACE)" in refused(lambda: write(team)).why
    assert "VLLM_VAULT_NAMESPACE" not in refused(lambda: write(access)).why
    text = 'no handler for route "team/auth/token/lookup-self". route entry not found.'
    server.answers["GET auth/token/lookup-self"] = (404, {"errors": [text]})
    assert "has no namespace team" in refused(lambda: write(team)).what


def test_no_answer_is_told_with_its_cause(server: Server, access: Access):
    server.answers["GET auth/token/lookup-self"] = requests.ConnectionError("canary refused")
    with pytest.raises(VaultUnavailableError, match=f"Vault at {ADDRESS} does not answer"):
        write(access)


def test_a_standby_without_an_active_node_is_told(server: Server, access: Access):
    text = "local node not active but active cluster node not found"
    server.answers[f"GET {DATA}"] = (500, {"errors": [text]})
    error = refused(lambda: write(access))
    assert "no active node" in error.what
    assert error.retryable


def test_a_root_token_is_refused_unless_it_is_allowed(server: Server, access: Access):
    server.tokens[TOKEN]["policies"] = ["root"]
    error = refused(lambda: write(access))
    assert "root token" in error.what
    assert "VLLM_VAULT_ALLOW_ROOT" in error.next_command
    assert write(replace(access, allow_root=True))


@pytest.mark.parametrize(
    ("ttl", "renewable", "renewed"),
    [(60, True, True), (60, False, False), (3600, True, False), (0, True, False)],
)
def test_a_token_that_would_end_within_the_work_is_renewed(
    server: Server, access: Access, ttl: int, *, renewable: bool, renewed: bool
):
    server.tokens[TOKEN] |= {"ttl": ttl, "renewable": renewable}
    server.answers["POST auth/token/renew-self"] = (200, {"auth": {}})
    write(access)
    assert ("POST auth/token/renew-self" in server.asked) is renewed


def test_a_token_that_can_no_longer_be_renewed_is_used_to_its_end(server: Server, access: Access):
    server.tokens[TOKEN] |= {"ttl": 60, "renewable": True}
    server.answers["POST auth/token/renew-self"] = (400, {"errors": ["past the max TTL"]})
    assert write(access)


KUBERNETES = KubernetesLogin("vllm", "canary-jwt", "kubernetes")
APPROLE = AppRoleLogin("role", "canary-secret-id", "approle")
WRAPPED = replace(APPROLE, secret_id="canary-wrapping", wrapped=True)
GIVEN = (200, {"auth": {"client_token": TOKEN}})
REVOKED = "POST auth/token/revoke-self"


@pytest.mark.parametrize("login", [KUBERNETES, APPROLE])
def test_a_login_is_used_and_its_token_revoked(server: Server, access: Access, login: Any):
    server.answers = {f"POST auth/{login.mount}/login": GIVEN, REVOKED: (204, "")}
    assert write(replace(access, login=login))
    assert server.asked[-1] == REVOKED


def test_a_token_that_was_given_is_not_revoked(server: Server, access: Access):
    write(access)
    assert REVOKED not in server.asked


@pytest.mark.parametrize(
    ("login", "status", "text", "said"),
    [
        (APPROLE, 400, "invalid role or secret ID", "refuses the login by approle"),
        (KUBERNETES, 400, 'invalid role name "vllm"', "refuses the login by kubernetes"),
        (KUBERNETES, 403, "permission denied", "refuses the login by kubernetes"),
        (APPROLE, 404, 'no handler for route "auth/approle/login"', "mounted at auth/approle"),
        (APPROLE, 503, "Vault is sealed", "is sealed"),
    ],
)
def test_a_login_that_is_refused_is_told_with_vaults_reason(
    server: Server, access: Access, login: Any, status: int, text: str, said: str
):
    server.answers[f"POST auth/{login.mount}/login"] = (status, {"errors": [text]})
    error = refused(lambda: write(replace(access, login=login)))
    assert said in error.what
    assert status != 400 or text in error.why


def test_a_wrapped_secret_id_is_unwrapped_once_for_all_logins(server: Server, access: Access):
    unwrap = "POST sys/wrapping/unwrap"
    server.answers = {
        unwrap: (200, {"data": {"secret_id": "canary-secret-id"}}),
        "POST auth/approle/login": GIVEN,
        REVOKED: (204, ""),
    }
    wrapped = replace(access, login=WRAPPED)
    assert write(wrapped)
    assert not write(wrapped)
    assert server.asked.count(unwrap) == 1


def test_a_wrapped_secret_id_that_was_used_is_told_as_a_warning_and_how_to_get_another(
    server: Server, access: Access
):
    text = "wrapping token is not valid or does not exist"
    server.answers["POST sys/wrapping/unwrap"] = (400, {"errors": [text]})
    error = refused(lambda: write(replace(access, login=WRAPPED)))
    assert "was used already" in error.what
    assert "somebody else has the SecretID" in error.why
    assert REVOKED not in server.asked
    assert "-wrap-ttl" in error.next_command


def test_what_logins_use_and_paths_hold_is_kept_out_of_all_texts(server: Server, access: Access):
    made = "hvs.made-by-the-login"
    server.tokens[made] = server.tokens[TOKEN]
    server.put(PATH, **{"api-key": "old-value", "other": "value-of-others"})
    server.answers = {
        "POST sys/wrapping/unwrap": (200, {"data": {"secret_id": "unwrapped-id"}}),
        "POST auth/approle/login": (200, {"auth": {"client_token": made}}),
        REVOKED: (204, ""),
    }
    write(replace(access, login=WRAPPED))
    secrets = ["unwrapped-id", made, "old-value", "value-of-others"]
    assert redacted(" ".join(secrets)) == "*** *** *** ***"


def test_no_representation_shows_a_secret():
    logins = [KUBERNETES, APPROLE, WRAPPED, TokenLogin("canary", "x")]
    assert "canary" not in f"{logins} {Held(1, {'a': 'canary'})}"

"""Where a secret is kept, and what keeps from setting it."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_flows.errors import ConfigurationError, SecretStoreError
from vllm_flows.secret_mode import Choice, Maker, Mode, Store, StoreState, Wanted, choose, obstacle

READY = Store("vault", StoreState.READY, address="http://vault:8200", path="secret")
SEALED = Store("vault", StoreState.NOT_READY, "unable to validate store")
ABSENT = Store("vault", StoreState.ABSENT)
NONE = Store("vault", StoreState.NOT_SERVED)
DENIED = Store("vault", StoreState.UNKNOWN)
NOBODY, US, SYNCED, OTHER = Maker.NOBODY, Maker.US, Maker.SYNCED, Maker.OTHER


@pytest.mark.parametrize(
    ("wanted", "maker", "store", "mode", "reason"),
    [
        ("auto", NOBODY, READY, Mode.VAULT, "ClusterSecretStore vault is ready"),
        ("auto", NOBODY, SEALED, Mode.KUBERNETES, "is not ready: unable to validate store"),
        ("auto", NOBODY, ABSENT, Mode.KUBERNETES, "there is no ClusterSecretStore vault"),
        ("auto", NOBODY, NONE, Mode.KUBERNETES, "the cluster serves no ExternalSecrets"),
        ("auto", NOBODY, DENIED, Mode.KUBERNETES, "may not look at ClusterSecretStore vault"),
        ("auto", US, READY, Mode.KUBERNETES, "Secret hf-token is a plain one already"),
        ("auto", SYNCED, SEALED, Mode.VAULT, "an ExternalSecret makes Secret hf-token"),
        ("kubernetes", NOBODY, READY, Mode.KUBERNETES, "VLLM_SECRETS is kubernetes"),
        ("kubernetes", SYNCED, READY, Mode.VAULT, "an ExternalSecret makes Secret hf-token"),
        ("vault", NOBODY, NONE, Mode.VAULT, "VLLM_SECRETS is vault"),
        ("vault", US, READY, Mode.VAULT, "VLLM_SECRETS is vault"),
        ("auto", OTHER, NONE, Mode.KUBERNETES, "the cluster serves no ExternalSecrets"),
    ],
)
def test_where_a_secret_is_kept_is_what_makes_it_then_what_was_asked_for_then_what_is_there(
    wanted: Wanted, maker: Maker, store: Store, mode: Mode, reason: str
):
    found = choose(wanted, maker, store, "hf-token")
    assert found.mode is mode
    assert reason in found.reason
    assert isinstance(found, Choice)


@pytest.mark.parametrize("store", [READY, DENIED, Store("vault", StoreState.READY)])
def test_nothing_stands_against_a_store_that_is_ready_or_may_not_be_looked_at(store: Store):
    assert obstacle("vault", store, "secret") is None


@pytest.mark.parametrize(
    ("store", "said", "advice"),
    [
        (NONE, "serves no ExternalSecrets", "helm install external-secrets"),
        (ABSENT, "there is no ClusterSecretStore vault", "VLLM_SECRET_STORE"),
        (SEALED, "unable to validate store", "kubectl describe clustersecretstore vault"),
        (Store("vault", StoreState.READY, vault=False), "reads no Vault", "VLLM_SECRET_STORE"),
        (Store("vault", StoreState.READY, kv="v1"), "version 1", "version: v2"),
        (Store("vault", StoreState.READY, path="kv"), "'kv', not 'secret'", "VLLM_VAULT_MOUNT=kv"),
    ],
)
def test_what_keeps_from_setting_by_way_of_vault_is_told_before_anything_is_written(
    store: Store, said: str, advice: str
):
    error = obstacle("auto", store, "secret")
    assert isinstance(error, ConfigurationError | SecretStoreError)
    assert said in str(error)
    assert advice in error.next_command


def test_who_insists_on_plain_secrets_is_told_how_to_get_them():
    error = obstacle("kubernetes", READY, "secret")
    assert error
    assert error.next_command.startswith("vllm-flows move-secrets --to kubernetes")


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (None, ABSENT),
        (
            {
                "spec": {"provider": {"vault": {"server": "http://vault:8200", "path": "secret/"}}},
                "status": {"conditions": [{"type": "Ready", "status": "True", "message": "ok"}]},
            },
            Store("vault", StoreState.READY, "ok", address="http://vault:8200", path="secret"),
        ),
        (
            {"spec": {"provider": {"vault": {"server": "a", "version": "v1"}}}},
            Store("vault", StoreState.NOT_READY, "it says nothing", address="a", kv="v1"),
        ),
        (
            {
                "spec": {"provider": {"aws": {}}},
                "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Bad"}]},
            },
            Store("vault", StoreState.NOT_READY, "Bad", vault=False),
        ),
    ],
)
def test_a_store_is_read_from_the_api(item: Any, expected: Store):
    assert Store.of("vault", item) == expected

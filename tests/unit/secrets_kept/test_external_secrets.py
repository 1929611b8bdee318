"""ExternalSecrets as data."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_flows import external_secrets
from vllm_flows.external_secrets import LEFT_METADATA, failure, is_left, maker, manifest
from vllm_flows.secret_mode import Maker

NAME = "hf-token-external-secret"
OURS = {"app.kubernetes.io/managed-by": "vllm-flows"}


def item(
    labels: dict[str, str] | None = None, owner: str = "", kind: str = "ExternalSecret"
) -> Any:
    owners = [{"kind": kind, "name": owner, "controller": True}] if owner else []
    return {"metadata": {"name": "x", "labels": labels or {}, "ownerReferences": owners}}


def test_the_external_secret_makes_one_key_of_the_secret_and_leaves_it_when_vault_loses_it():
    made = manifest(
        NAME, secret="hf-token", key="token", version="v1", store="vault", path="vllm/hf"
    )
    assert made["apiVersion"] == "external-secrets.io/v1"
    assert made["metadata"] == {"name": NAME, "labels": OURS}
    spec = made["spec"]
    assert spec["secretStoreRef"] == {"kind": "ClusterSecretStore", "name": "vault"}
    assert spec["refreshInterval"] == "1m"
    target = spec["target"]
    assert (target["name"], target["creationPolicy"]) == ("hf-token", "Owner")
    assert target["deletionPolicy"] == "Retain"
    assert spec["data"] == [
        {"secretKey": "token", "remoteRef": {"key": "vllm/hf", "property": "token"}}
    ]


@pytest.mark.parametrize(
    ("secret", "external", "expected"),
    [
        (None, None, Maker.NOBODY),
        (None, item(OURS), Maker.SYNCED),
        (item(OURS, NAME), item(OURS), Maker.SYNCED),
        (item(OURS), item(OURS), Maker.SYNCED),
        (item(OURS, NAME), item({}), Maker.OTHER),
        (item(OURS), None, Maker.US),
        (item({}), None, Maker.OTHER),
        (item({"app.kubernetes.io/managed-by": "else"}), None, Maker.OTHER),
        (item(OURS, "theirs"), None, Maker.OTHER),
        (item(OURS, "x", "SealedSecret"), None, Maker.OTHER),
        (item(OURS, NAME), None, Maker.SYNCED),
        (item({}, NAME), None, Maker.OTHER),
    ],
)
def test_whose_a_secret_is(secret: Any, external: Any, expected: Maker):
    assert maker(secret, external, NAME) is expected


def test_the_operators_marks_are_found_and_can_be_taken_away():
    marked = item({"reconcile.external-secrets.io/managed": "true"})
    assert is_left(marked)
    assert not is_left(item(OURS))
    assert set(LEFT_METADATA["labels"].values()) == {None}


READY = {"type": "Ready", "status": "True", "message": "secret synced"}
FAILED = {"type": "Ready", "status": "False", "message": "could not get secret data from provider"}


def synced(*conditions: Any) -> Any:
    return {"metadata": {"name": NAME}, "status": {"conditions": list(conditions)}}


def event(reason: str, message: str, **times: Any) -> Any:
    return {"reason": reason, "message": message, **times}


@pytest.mark.parametrize("conditions", [[], [READY]])
def test_what_has_not_failed_has_no_failure(conditions: list[Any]):
    assert failure(synced(*conditions), [event("UpdateFailed", "older")]) == ""


def test_a_failure_is_told_with_the_stores_own_words_of_the_newest_event():
    events = [
        event("UpdateFailed", "older", lastTimestamp="2026-06-01T10:00:01Z"),
        event("UpdateFailed", "Vault is\n sealed", lastTimestamp="2026-06-01T10:00:02Z"),
        event("UpdateFailed", "oldest", eventTime="2026-06-01T10:00:00.5Z"),
        event("Updated", "secret updated", eventTime="2026-06-01T10:00:03.1Z"),
    ]
    assert failure(synced(FAILED), events) == (
        "could not get secret data from provider: Vault is sealed"
    )
    assert failure(synced(FAILED), []) == "could not get secret data from provider"


def test_one_that_is_told_again_and_again_is_as_new_as_the_last_time():
    events = [
        event(
            "UpdateFailed",
            "Vault is sealed",
            eventTime="2026-06-01T10:00:00.5Z",
            series={"lastObservedTime": "2026-06-01T10:00:09.1Z"},
        ),
        event("UpdateFailed", "older", lastTimestamp="2026-06-01T10:00:05Z"),
    ]
    assert failure(synced(FAILED), events).endswith(": Vault is sealed")


def test_what_nothing_controls_has_no_controller():
    owned = item(OURS, "theirs")
    owned["metadata"]["ownerReferences"][0]["controller"] = False
    assert external_secrets.controller(owned) == ""
    assert external_secrets.controller(item(OURS)) == ""
    assert external_secrets.controller(item(OURS, "theirs")) == "ExternalSecret theirs"

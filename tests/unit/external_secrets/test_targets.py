from __future__ import annotations

import base64
from typing import Any

import pytest

from sandbox.external_secrets import targets
from sandbox.external_secrets.decisions import CREATED_BY, DATA_HASH, MANAGED, digest

Object = dict[str, Any]
VALUES = {"token": b"one"}
ENCODED = {"token": base64.b64encode(b"one").decode()}


def external_secret(**target: object) -> Object:
    return {
        "apiVersion": "external-secrets.io/v1",
        "metadata": {"name": "es", "namespace": "ns", "uid": "1"},
        "spec": {"target": {"name": "hf-token"} | target},
    }


def owner(kind: str, name: str, version: str = "external-secrets.io/v1beta1") -> Object:
    return {"apiVersion": version, "kind": kind, "name": name, "uid": "0", "controller": True}


def secret(**changes: Any) -> Object:
    made = targets.empty_secret(external_secret())
    made["metadata"] |= changes.pop("metadata", {})
    return made | changes


def test_a_new_secret_has_the_values_the_marks_and_its_owner() -> None:
    made = targets.desired(secret(), external_secret(), VALUES)
    assert made["data"] == ENCODED
    assert made["metadata"]["annotations"] == {DATA_HASH: digest(ENCODED)}
    assert set(made["metadata"]["labels"]) == {MANAGED, CREATED_BY}
    (reference,) = made["metadata"]["ownerReferences"]
    assert (reference["name"], reference["uid"], reference["controller"]) == ("es", "1", True)


def test_no_other_key_stays_unless_it_is_merged() -> None:
    found = secret(data={"mine": "eA==", "token": "eA=="})
    assert targets.desired(found, external_secret(), VALUES)["data"] == ENCODED
    merged = targets.desired(found, external_secret(creationPolicy="Merge"), VALUES)
    assert merged["data"] == ENCODED | {"mine": "eA=="}
    assert "ownerReferences" not in merged["metadata"]


def test_merging_takes_back_the_keys_that_were_written_before() -> None:
    manager = "externalsecrets.external-secrets.io/es"
    fields = {"manager": manager, "fieldsV1": {"f:data": {".": {}, "f:gone": {}}}}
    found = secret(data={"mine": "eA==", "gone": "eA=="}, metadata={"managedFields": [fields]})
    merged = targets.desired(found, external_secret(creationPolicy="Merge"), VALUES)
    assert set(merged["data"]) == {"mine", "token"}


def test_what_another_external_secret_owns_is_refused() -> None:
    found = secret(metadata={"ownerReferences": [owner("ExternalSecret", "other")]})
    with pytest.raises(targets.OwnedError, match="owned by another ExternalSecret: other"):
        targets.desired(found, external_secret(), VALUES)


def test_what_something_else_owns_is_refused_only_to_an_owner() -> None:
    found = secret(metadata={"ownerReferences": [owner("Certificate", "tls", "cert/v1")]})
    with pytest.raises(targets.ControlledError, match="already owned by another Certificate tls"):
        targets.desired(found, external_secret(), VALUES)
    assert targets.desired(found, external_secret(creationPolicy="Orphan"), VALUES)


def test_an_owner_of_an_older_version_is_the_same_owner() -> None:
    found = secret(metadata={"ownerReferences": [owner("ExternalSecret", "es")]})
    (reference,) = targets.desired(found, external_secret(), VALUES)["metadata"]["ownerReferences"]
    assert reference["uid"] == "1"


def test_an_orphan_has_no_owner_any_more() -> None:
    owned = targets.desired(secret(), external_secret(), VALUES)
    orphaned = targets.desired(owned, external_secret(creationPolicy="Orphan"), VALUES)
    assert orphaned["metadata"]["ownerReferences"] == []
    assert CREATED_BY not in orphaned["metadata"]["labels"]


def test_what_is_as_it_should_be_stays_as_it_is() -> None:
    once = targets.desired(secret(), external_secret(), VALUES)
    assert targets.desired(once, external_secret(), VALUES) == once


def test_an_immutable_secret_keeps_its_values() -> None:
    once = targets.desired(secret(), external_secret(immutable=True), VALUES)
    assert targets.desired(once, external_secret(immutable=True), VALUES) == once
    with pytest.raises(targets.ImmutableError, match="immutable"):
        targets.desired(once, external_secret(immutable=True), {"token": b"two"})


def test_a_template_gives_type_labels_and_annotations() -> None:
    template = {"type": "my/type", "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}}
    made = targets.desired(secret(), external_secret(template=template), VALUES)
    assert made["type"] == "my/type"
    assert made["metadata"]["labels"]["a"] == "b"
    assert made["metadata"]["annotations"]["c"] == "d"

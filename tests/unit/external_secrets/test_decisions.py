from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.external_secrets import decisions

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def made(*, age: float | None = None, annotations: Any = None, **spec: object) -> dict[str, Any]:
    """Return an ExternalSecret; with an age it was synced that many seconds ago."""
    metadata = {"name": "es", "namespace": "ns", "generation": 1, "annotations": annotations}
    one: dict[str, Any] = {"metadata": metadata, "spec": {"refreshInterval": "1h"} | spec}
    if age is not None:
        synced = metadata | {"annotations": None}
        one["status"] = {
            "syncedResourceVersion": decisions.version_of(synced),
            "refreshTime": (NOW - timedelta(seconds=age)).isoformat(),
        }
    return one


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1h0m0s", 3600), ("90s", 90), ("1.5h", 5400), ("250ms", 0.25), ("0s", 0), ("0", 0)],
)
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: float) -> None:
    assert decisions.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "1d", "h", "1h 5m", "-1s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        decisions.seconds(text)


@pytest.mark.parametrize(
    ("one", "due"),
    [
        (made(), True),
        (made(age=60), False),
        (made(age=3601), True),
        (made(age=-60), True),
        (made(age=60, annotations={"force-sync": "1"}), True),
        (made(age=9999, refreshInterval="0s"), False),
        (made(refreshInterval="0s"), True),
        (made(age=9999, annotations={"force-sync": "1"}, refreshInterval="0s"), False),
        (made(refreshPolicy="CreatedOnce"), True),
        (made(age=9999, annotations={"a": "b"}, refreshPolicy="CreatedOnce"), False),
        (made(age=9999, refreshPolicy="OnChange"), False),
        (made(age=60, annotations={"a": "b"}, refreshPolicy="OnChange"), True),
    ],
)
def test_values_are_read_again_when_the_policy_says_so(one: dict[str, Any], *, due: bool) -> None:
    assert decisions.refresh_is_due(one, NOW) is due


@pytest.mark.parametrize(
    ("one", "after"),
    [
        (made(age=600), 3000),
        (made(age=7200), 0),
        (made(), 3600),
        (made(age=60, refreshInterval="0s"), None),
    ],
)
def test_the_next_look_is_when_the_interval_is_over(
    one: dict[str, Any], after: float | None
) -> None:
    assert decisions.next_refresh(one, NOW) == after


def secret(**changes: Any) -> dict[str, Any]:
    data = {"token": "b25l"}
    metadata = {
        "labels": {decisions.MANAGED: "true"},
        "annotations": {decisions.DATA_HASH: decisions.digest(data)},
    }
    return {"metadata": metadata | changes, "data": data}


@pytest.mark.parametrize(
    ("found", "policy", "valid"),
    [
        (secret(), "Owner", True),
        (None, "Owner", False),
        (None, "Orphan", True),
        (secret(labels={}), "Owner", False),
        (secret(annotations={decisions.DATA_HASH: "of other data"}), "Owner", False),
        (secret(annotations={}), "Orphan", True),
    ],
)
def test_a_secret_that_was_touched_is_not_valid(
    found: dict[str, Any] | None, policy: str, *, valid: bool
) -> None:
    assert decisions.secret_is_valid(found, policy) is valid


def test_waits_after_failures_grow_up_to_seven_minutes() -> None:
    waits = [decisions.retry_after(failures) for failures in (1, 2, 3, 9, 10, 100)]
    assert waits == [1, 2, 4, 256, 420, 420]


def test_a_conditions_time_changes_with_its_status_only() -> None:
    first = decisions.with_condition([], ready=True, reason="A", message="a", now="1")
    second = decisions.with_condition(first, ready=True, reason="B", message="b", now="2")
    third = decisions.with_condition(second, ready=False, reason="C", message="c", now="3")
    assert [one["lastTransitionTime"] for (one,) in (first, second, third)] == ["1", "1", "3"]
    assert third[0] | {} == {
        "type": "Ready",
        "status": "False",
        "reason": "C",
        "message": "c",
        "lastTransitionTime": "3",
    }


@pytest.mark.parametrize(
    ("conditions", "served"),
    [(None, True), ([{"namespaces": ["ns"]}], True), ([{"namespaces": ["other"]}], False)],
)
def test_a_store_serves_the_namespaces_it_names(conditions: Any, *, served: bool) -> None:
    store = {"spec": {"conditions": conditions}}
    assert decisions.serves_namespace(store, "ns") is served


def test_a_long_name_makes_a_short_field_manager() -> None:
    assert decisions.field_manager("es") == "externalsecrets.external-secrets.io/es"
    assert decisions.field_manager("e" * 64).startswith("externalsecrets.external-secrets.io/sha3/")


def test_the_secret_has_the_name_of_the_external_secret_unless_it_says_another() -> None:
    assert decisions.target_of(made()) == "es"
    assert decisions.target_of(made(target={"name": "hf-token"})) == "hf-token"

"""Of two namespaces on one Prefect server neither is given the other's names, pool or events."""

from __future__ import annotations

from typing import Any, Self

import pytest
from prefect.client.schemas.actions import VariableCreate
from prefect.exceptions import ObjectAlreadyExists

from deployments import catalogue, places, steps
from deployments.places import Place, Registered, There, insist_on_own_pool, moved_from, settled
from vllm_flows.errors import ClusterUnavailableError, ConfigurationError
from vllm_flows.settings import Settings

NAMES = {"deploy", "update"}
FIRST = Place("vllm", "uid-1")
SECOND = Place("second", "uid-1")


def there(place: Place, pool: str = "vllm") -> There:
    return There(place.namespace, [Registered.of(name, pool, place.tags) for name in NAMES])


def test_the_first_namespace_has_the_names_of_prefect_yaml_again_and_again():
    assert settled(FIRST, There()).suffix == ""
    assert settled(FIRST, there(FIRST)).suffix == ""


def test_the_second_one_has_names_of_its_own():
    assert settled(SECOND, there(FIRST)).suffix == "-second"


class Variables:
    """Stands for Prefect's client: a variable of a name is made once."""

    def __init__(self) -> None:
        self.there: dict[str, VariableCreate] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def create_variable(self, wanted: VariableCreate) -> None:
        if wanted.name in self.there:
            raise ObjectAlreadyExists(Exception())
        self.there[wanted.name] = wanted

    def read_variable_by_name(self, name: str) -> VariableCreate | None:
        return self.there.get(name)


def test_of_two_that_register_at_once_one_gets_the_names(monkeypatch: pytest.MonkeyPatch):
    server = Variables()
    monkeypatch.setattr(places, "get_client", lambda **_: server)
    for _ in range(2):
        places.claim(FIRST)
    with pytest.raises(ConfigurationError) as refused:
        places.claim(SECOND)
    assert refused.value.next_command.startswith("the same command again")
    places.claim(settled(SECOND, there(FIRST)))


def test_what_an_earlier_version_registered_for_nobody_is_taken_over_only_when_asked_to():
    old = There("", [Registered.of(name, "vllm", ["vllm"]) for name in NAMES])
    with pytest.raises(ConfigurationError) as refused:
        settled(SECOND, old)
    assert "deploy, update" in refused.value.what
    assert "deploy-flows --take-over" in refused.value.next_command
    assert settled(SECOND, old, take_over=True) == SECOND
    insist_on_own_pool(SECOND, "vllm", old)


def test_what_says_no_namespace_beside_names_that_have_an_owner_is_left_alone():
    somebodys = There("vllm", [*there(FIRST).deployments, Registered.of("mine", "p", ["vllm"])])
    assert places.nobodys(somebodys) == []
    assert settled(FIRST, somebodys) == FIRST
    assert settled(SECOND, somebodys).suffix == "-second"


def test_another_cluster_with_the_same_namespace_is_refused_unless_it_is_taken_over():
    other = Place("vllm", "uid-2")
    with pytest.raises(ConfigurationError) as refused:
        settled(other, there(FIRST))
    assert "--take-over" in refused.value.next_command
    assert settled(other, there(FIRST), take_over=True) == other


def test_a_cluster_that_cannot_be_asked_is_the_one_that_was_known():
    assert settled(Place("vllm"), there(FIRST)) == FIRST
    assert settled(FIRST, there(Place("vllm"))) == FIRST


def test_a_work_pool_of_another_namespace_is_refused_with_the_command_that_does():
    with pytest.raises(ConfigurationError) as refused:
        insist_on_own_pool(SECOND, "vllm", there(FIRST))
    assert refused.value.next_command == "vllm-flows deploy-flows --work-pool vllm-second"
    insist_on_own_pool(SECOND, "vllm-second", there(FIRST))
    insist_on_own_pool(FIRST, "vllm", there(FIRST))


def test_who_moves_to_another_pool_is_told_which_one_is_left():
    assert moved_from(FIRST, "vllm-jobs", there(FIRST)) == ["vllm"]
    assert moved_from(FIRST, "vllm", there(FIRST)) == []


def test_the_deployments_of_a_namespace_work_on_it_and_hear_its_events_alone():
    found = catalogue.deployments(Place("second", "uid-1", "-second"))
    for one in found:
        assert one.name.endswith("-second")
        assert one.parameters == {"namespace": "second"}
        assert one.tags == ["vllm", "namespace:second", "cluster:uid-1"]
    (trigger,) = [trigger for one in found for trigger in one.triggers]
    assert trigger.match["vllm-flows.namespace"] == ["second"]  # type: ignore[union-attr]  # an event's
    assert "{{ event.payload.model }}" in (trigger.parameters or {}).values()


class Unreachable:
    """A cluster that does not answer."""

    @staticmethod
    def connect(namespace: str, _context: str) -> None:
        raise ClusterUnavailableError(namespace, next_command="")


def test_without_a_cluster_the_namespace_alone_says_whose_they_are(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(places, "Cluster", Unreachable)
    assert places.place_of(Settings(namespace="second")) == Place("second")


def asked_by_prefect(monkeypatch: pytest.MonkeyPatch, there: There | None = None) -> dict[str, Any]:
    monkeypatch.setattr(steps, "read_server", lambda: there or There())
    monkeypatch.setattr(steps, "claim", lambda _place: None)
    monkeypatch.setattr(steps, "keep_schedules", lambda _names: None)
    monkeypatch.setattr(steps, "place_of", lambda settings: Place(settings.namespace))
    steps.here.cache_clear()
    return steps.here("vllm")


def test_prefects_own_command_refuses_without_the_folder_and_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delenv(steps.DIRECTORY, raising=False)
    with pytest.raises(SystemExit, match="next: export VLLM_FLOWS_DIR=") as refused:
        asked_by_prefect(monkeypatch)
    assert "Traceback" not in str(refused.value)


def test_prefects_own_command_takes_no_names_of_another_namespace(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(steps.DIRECTORY, "/work")
    monkeypatch.setenv("VLLM_NAMESPACE", "second")
    assert asked_by_prefect(monkeypatch)["directory"] == "/work"
    for other in (There("vllm"), There("second", there(FIRST).deployments)):
        with pytest.raises(SystemExit, match="vllm-flows deploy-flows --work-pool vllm-second"):
            asked_by_prefect(monkeypatch, other)

"""What the API itself says of an object that somebody changed."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest

from vllm_flows.changed_outside import changed_outside
from vllm_flows.errors import ClusterError, ClusterUnavailableError, NoRightError

SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "vllm-qwen-engine-service"},
    "spec": {"type": "ClusterIP", "ports": [{"name": "service-port", "port": 80}]},
}


class FakeCluster:
    """A fake: one object, and what the API answers to a dry run."""

    def __init__(self, there: dict[str, Any] | None, answer: dict[str, Any] | ClusterError) -> None:
        self.there = there
        self.answer = answer

    def get(self, _kind: str, _name: str) -> dict[str, Any] | None:
        return self.there

    def dry_run(self, _item: object) -> dict[str, Any]:
        if isinstance(self.answer, ClusterError):
            raise self.answer
        return self.answer


def found(there: dict[str, Any], answer: dict[str, Any] | ClusterError) -> Any:
    return changed_outside(FakeCluster(there, answer), [[SERVICE]])  # type: ignore[arg-type]  # a fake


def other_port() -> dict[str, Any]:
    there = deepcopy(SERVICE)
    there["spec"]["ports"][0]["port"] = 81
    return there


def test_what_the_api_would_leave_as_it_is_is_no_drift():
    assert found(other_port(), other_port()) == ()


def test_what_helm_can_set_right_needs_no_repair():
    (drift,) = found(other_port(), SERVICE)
    assert drift.changes == ("spec.ports[service-port].port: 80 -> 81",)
    assert drift.repair == {}


def test_where_the_api_refuses_the_manifest_its_fields_are_the_repair():
    (drift,) = found(other_port(), ClusterError("spec.ports[1].name: Duplicate value"))
    assert drift.changes == ("spec.ports[service-port].port: 80 -> 81",)
    assert drift.repair == {"spec": SERVICE["spec"]}


@pytest.mark.parametrize("kind", [NoRightError, ClusterUnavailableError])
def test_an_api_that_does_not_say_refuses_nothing(kind: type[ClusterError]):
    (drift,) = found(other_port(), kind("no answer"))
    assert drift.repair == {}


class Echo(FakeCluster):
    """A fake: an API that would store whatever is applied."""

    def __init__(self, there: dict[str, Any] | None) -> None:
        super().__init__(there, {})

    def dry_run(self, item: Any) -> dict[str, Any]:
        return dict(item)


def with_port(port: int) -> dict[str, Any]:
    made = deepcopy(SERVICE)
    made["spec"]["ports"][0]["port"] = port
    return made


def half_way(there: dict[str, Any] | None, *manifests: list[dict[str, Any]]) -> Any:
    return changed_outside(Echo(there), manifests)  # type: ignore[arg-type]  # a fake


@pytest.mark.parametrize("there", [SERVICE, with_port(90)])
def test_an_object_that_helm_did_or_did_not_come_to_was_changed_by_nobody(there: Any):
    assert half_way(there, [with_port(90)], [SERVICE]) == ()
    assert half_way(there, [with_port(91)], [with_port(90)], [SERVICE]) == ()


def test_what_is_as_in_no_manifest_of_an_unfinished_helm_was_changed_by_somebody():
    (drift,) = half_way(with_port(81), [with_port(90)], [SERVICE])
    assert drift.changes == ("spec.ports[service-port].port: 80 -> 81",)


def test_an_object_that_helm_was_yet_to_make_is_not_missing():
    assert half_way(None, [SERVICE], []) == ()
    (drift,) = half_way(None, [SERVICE], [SERVICE])
    assert drift.text == "Service vllm-qwen-engine-service is gone"
    (drift,) = half_way(with_port(81), [SERVICE], [])
    assert drift.changes


@dataclass
class ManyObjects:
    """A fake: objects by kind and name; reading some kinds is refused, writing any is."""

    objects: list[dict[str, Any]]
    refused: str = ""
    asked: list[str] = field(default_factory=list)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        self._asked(f"{kind} {name}", kind)
        return next((one for one in self.objects if one["metadata"]["name"] == name), None)

    def find(self, kind: str) -> list[dict[str, Any]]:
        self._asked(kind, kind)
        return [one for one in self.objects if one["kind"] == kind]

    def dry_run(self, item: dict[str, Any]) -> dict[str, Any]:
        raise ClusterError(f"{item['kind']} is refused")

    def _asked(self, what: str, kind: str) -> None:
        self.asked.append(what)
        if kind == self.refused:
            raise NoRightError(f"no right to read {kind}")


def named(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}, "spec": spec}


def seen(cluster: ManyObjects, *manifest: dict[str, Any]) -> list[str]:
    return [drift.text for drift in changed_outside(cluster, [manifest])]  # type: ignore[arg-type]  # a fake


def test_an_object_that_is_gone_has_nothing_to_be_merged_into():
    (drift,) = changed_outside(ManyObjects([]), [[SERVICE]])  # type: ignore[arg-type]  # a fake
    assert (drift.text, drift.repair) == ("Service vllm-qwen-engine-service is gone", {})


def test_kinds_that_may_not_be_read_or_are_not_known_are_left_out():
    cluster = ManyObjects([], refused="Role")
    manifest = (named("Role", "r"), named("ScaledObject", "x"), named("Service", "s"))
    assert seen(cluster, *manifest) == ["Service s is gone"]


def test_many_objects_of_a_kind_are_asked_for_at_once_and_a_few_one_by_one():
    there = [named("Service", f"s{number}", type="a") for number in range(4)]
    few, many = ManyObjects(there), ManyObjects(there)
    assert seen(few, *there[:3]) == seen(many, *there) == []
    assert few.asked == ["Service s0", "Service s1", "Service s2"]
    assert many.asked == ["Service"]


def test_all_that_changed_is_told_in_one_order():
    there = [named("Service", name, type="b") for name in ("s2", "s1")]
    wanted = [named("Service", name, type="a") for name in ("s2", "s1")]
    found = seen(ManyObjects(there), *wanted, named("Deployment", "d"))
    assert found == [
        "Deployment d is gone",
        "Service s1: spec.type: a -> b",
        "Service s2: spec.type: a -> b",
    ]


def test_of_what_the_api_would_store_only_what_the_manifest_speaks_of_counts():
    answer = deepcopy(SERVICE) | {"status": {}}
    answer["metadata"] |= {"generation": 7, "managedFields": ["other"]}
    answer["spec"] |= {"sessionAffinity": "None"}
    (drift,) = found(other_port(), answer)
    assert drift.changes == ("spec.ports[service-port].port: 80 -> 81",)

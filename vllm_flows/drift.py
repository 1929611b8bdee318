"""What somebody else changed on the release's objects since helm wrote them. Pure.

Only what the manifest says is compared: Kubernetes adds defaults and status, other controllers add
fields of their own, and none of that is drift.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vllm_flows.holding import RELEASED, RESUMED, is_held, is_set_aside
from vllm_flows.quantities import parse_quantity

Object = Mapping[str, Any]

_LISTED = 8
_NOT_COMPARED = {"apiVersion", "kind", "status", "stringData"}
_HELMS_LABEL = "app.kubernetes.io/managed-by"
"""Helm writes `Helm` into it, whatever the chart does (0.1.12 has `helm`)."""
_NOT_REPAIRED = {"apiVersion", "kind", "metadata", "status"}
_HELD = "its rollout is held (spec.minReadySeconds), as an interrupted run left it"
_SECRET = "Secret"  # noqa: S105 -- a kind of object


@dataclass(frozen=True)
class Drift:
    """One object that is not as helm left it; `changes` are `path: wanted -> found`.

    No changes: the object is gone. `repair` are fields that set right what helm cannot, merged
    into the object (RFC 7396), which replaces its lists: the manifest's where the API refuses to
    apply it to what is there, and what somebody paused. Empty for every other drift.
    """

    kind: str
    name: str
    changes: tuple[str, ...] = ()
    repair: Object = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Say it in a line."""
        if not self.changes:
            return f"{self.kind} {self.name} is gone"
        more = len(self.changes) - _LISTED
        rest = f" and {more} more" if more > 0 else ""
        return f"{self.kind} {self.name}: {', '.join(self.changes[:_LISTED])}{rest}"

    @property
    def but_held(self) -> Drift | None:
        """What is left of it but for the hold of a rollout, which is no change from outside."""
        changes = tuple(one for one in self.changes if one != _HELD)
        if len(changes) == len(self.changes):
            return self
        fields = dict(self.repair.get("spec") or {})
        for name in RELEASED["spec"]:
            fields.pop(name, None)
        repair = {"spec": fields} if fields else {}
        return replace(self, changes=changes, repair=repair) if changes else None

    def restarts(self, deployment: str) -> bool:
        """Say whether setting it right replaces the pods of the Deployment of that name."""
        mine = self.kind == "Deployment" and self.name == deployment
        return mine and any(change.startswith("spec.template") for change in self.changes)


def drift_of(wanted: Object, found: Object | None) -> Drift | None:
    """Compare an object of the manifest with the one in the cluster; None when nothing differs."""
    kind, name = str(wanted["kind"]), str(wanted["metadata"]["name"])
    if found is None:
        return Drift(kind, name)
    shown = {key: value for key, value in wanted.items() if key not in _NOT_COMPARED}
    metadata = wanted["metadata"]
    labels = {key: v for key, v in (metadata.get("labels") or {}).items() if key != _HELMS_LABEL}
    shown["metadata"] = {**metadata, "labels": labels}
    changes = tuple(_changes(shown, found, "", hidden=kind == _SECRET))
    if _was_paused(wanted, found) and not is_set_aside(found):
        return Drift(kind, name, (*changes, "spec.paused: (not set) -> True"), RESUMED)
    if kind == "Deployment" and is_held(found):  # one that is set aside gets our limits, too
        others = (one for one in changes if not one.startswith("spec.strategy"))
        return Drift(kind, name, (*others, _HELD), RELEASED)
    return Drift(kind, name, changes) if changes else None


def _was_paused(wanted: Object, found: Object) -> bool:
    """Say whether somebody paused a Deployment: nothing of it changes until that is undone."""
    both = (each.get("spec") or {} for each in (wanted, found))
    before, now = (each.get("paused") for each in both)
    return wanted["kind"] == "Deployment" and bool(now) and not before


def with_repair(drift: Drift | None, wanted: Object) -> Drift | None:
    """Return the drift with the manifest's fields as its repair."""
    if drift is None:
        return None
    fields = {key: value for key, value in wanted.items() if key not in _NOT_REPAIRED}
    if drift.repair:
        fields["spec"] = {**fields["spec"], **drift.repair["spec"]}
    return replace(drift, repair=fields)


def _changes(wanted: object, found: object, path: str, *, hidden: bool) -> Iterator[str]:
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for key, value in wanted.items():
            inner = f"{path}.{key}" if path else str(key)
            yield from _changes(value, found.get(key), inner, hidden=hidden)
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(_paired(wanted, found)):
            yield from _changes(one, other, f"{path}[{_label(one, number)}]", hidden=hidden)
    elif not _same(wanted, found):
        yield path if hidden else f"{path}: {_said(wanted)} -> {_said(found)}"


def _paired(wanted: Sequence[Any], found: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Pair what has names of its own by name, as Kubernetes does; else by position."""
    by_name = {_name(one): one for one in found}
    unique = len(by_name) == len(found) and None not in by_name
    if unique and all(_name(one) in by_name for one in wanted):
        return [(one, by_name[_name(one)]) for one in wanted]
    return list(zip(wanted, found, strict=True))


def _name(item: object) -> str | None:
    name = item.get("name") if isinstance(item, Mapping) else None
    return name if isinstance(name, str) else None


def _label(item: object, number: int) -> str:
    return _name(item) or str(number)


def _same(wanted: object, found: object) -> bool:
    """Say whether two values mean the same: nothing and empty, 1 and "1", 1000m and 1."""
    if wanted == found or (not wanted and not found):
        return True
    if isinstance(wanted, Mapping | list) or isinstance(found, Mapping | list):
        return False
    return str(wanted) == str(found) or _quantity(wanted) == _quantity(found) is not None


def _quantity(value: object) -> object:
    try:
        return parse_quantity(str(value))
    except ValueError:
        return None


def _said(value: object) -> str:
    if value is None:
        return "(not set)"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 -- a line has room for two

"""Which fields of a model's chart values differ, in the words of models.yaml. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from vllm_flows.observed import API_KEY_ANNOTATION

_TERMS = "nodeSelectorTerms"


def entries(values: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the models of a release's values by name."""
    listed = (values.get("servingEngineSpec") or {}).get("modelSpec") or []
    return {entry["name"]: entry for entry in listed}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return what differs between two entries, empty when it is nothing of the model's own."""
    versions = [
        (entry.get("podAnnotations") or {}).get(API_KEY_ANNOTATION) for entry in (before, after)
    ]
    word = "changed" if versions[1] else "goes: open to all who reach it"
    key = [f"the API key {word}"] if versions[0] != versions[1] else []
    return ", ".join([*key, *differences(_selecting(before), _selecting(after))])


def _selecting(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Write the nodes that an entry selects as models.yaml does, instead of as the chart does."""
    rest = {key: value for key, value in entry.items() if key != _TERMS}
    labels = [
        f"{each['key']}={'|'.join(map(str, each.get('values') or ()))}"
        for term in entry.get(_TERMS) or ()
        for each in term.get("matchExpressions") or ()
    ]
    return {**rest, "nodeSelector": ", ".join(labels)} if labels else rest


def at_commit(entry: Mapping[str, Any], served: str, commit: str) -> Mapping[str, Any]:
    """Return an entry as it would be at another commit than it serves."""
    text = json.dumps(entry)
    found: Mapping[str, Any] = json.loads(text.replace(served, commit) if served else text)
    return found


def differences(before: object, after: object, path: str = "") -> Iterator[str]:
    """Yield `field before -> after` for every field that differs, named as models.yaml does."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after} - {"podAnnotations", "replicaCount"}):
            yield from differences(
                before.get(key), after.get(key), f"{path}.{key}" if path else str(key)
            )
    elif isinstance(before, list) and isinstance(after, list) and before != after:
        pairs = zip(before, after, strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        yield f"{path} {_shown_from(same, before)} -> {_shown_from(same, after)}"
    elif before != after:
        yield f"{path} {_shown(before)} -> {_shown(after)}"


def _shown(value: object) -> str:
    if value is None:
        return "(not set)"
    return _shown_from(0, value) if isinstance(value, list) else str(value)


def _shown_from(begin: int, values: Sequence[object]) -> str:
    """Write a list with `...` for what both lists begin with."""
    shown = ["..."] if begin else []
    return "[" + " ".join([*shown, *map(str, values[begin:])]) + "]"

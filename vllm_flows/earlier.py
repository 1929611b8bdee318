"""Which earlier revision of the release served, and what going back to it changes. Pure.

A revision served when each of its models was seen to answer with the configuration that it has
there. What only was a step of a change of several models is nothing to go back to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vllm_flows.differences import at_commit, differences, entries
from vllm_flows.errors import ReleaseError
from vllm_flows.going_back import Past
from vllm_flows.names import RELEASE
from vllm_flows.observed import DIGEST_ANNOTATION, REVISION_ANNOTATION, WeightsClaim
from vllm_flows.waves import shared_values

Entry = Mapping[str, Any]

_STEP = "vllm-flows: step"
_FINISHED = {"deployed", "superseded"}
"""Helm's words for revisions that it brought to their end."""
_ASKS_NOTHING = {"--convert", "pooling"}
"""Arguments of engines that only embed."""


@dataclass(frozen=True)
class Change:
    """What going back does to one model.

    `now` and `then` are commits, "" where it is not deployed; `lines` are what models.yaml has to
    say for it to stay so. `replicas` and `asked` are of then: whether it can be asked at all.
    `replaces`: pods that run are replaced by others.
    """

    model: str
    now: str
    then: str
    text: str
    lines: tuple[str, ...] = ()
    repository: str = ""
    replicas: int = 0
    asked: bool = False
    digest: str = ""
    replaces: bool = False


@dataclass(frozen=True)
class WayThere:
    """The revision that the release is at, the earlier one, and what differs.

    `common` tells what of it all engines share. They are the same revision where an interrupted
    rollback is only to be proven.
    """

    current: int
    target: Past
    changes: tuple[Change, ...]
    common: tuple[str, ...] = ()

    @property
    def agreed(self) -> str:
        """What tells this way from any other."""
        return f"{self.current} -> {self.target.revision}"

    @property
    def then(self) -> list[Change]:
        """The changed models that are there then."""
        return [change for change in self.changes if change.then]


def step_of(number: int, count: int) -> str:
    """Return the words that mark a revision as a step towards another; "" for the last one."""
    return f"{_STEP} {number} of {count}" if number < count else ""


def way_rows(way: WayThere) -> list[dict[str, str]]:
    """Return a row for each model that changes, and one for what all engines share."""
    rows = [
        {
            "model": change.model,
            "now": change.now[:8] or "-",
            "then": change.then[:8] or "-",
            "what changes": change.text,
        }
        for change in way.changes
    ]
    common = {"model": "(all, router)", "now": "", "then": "", "what changes": ""}
    return rows + [{**common, "what changes": text} for text in way.common]


def lines_to_write(way: WayThere) -> list[str]:
    """Return what models.yaml and the settings have to say for the state of then to stay."""
    lines = [line for change in way.changes for line in change.lines]
    return [*lines, *(f"settings (VLLM_...): {text}" for text in way.common)]


def way_there(
    pasts: Iterable[Past], claims: Mapping[str, WeightsClaim], wanted: int | None, namespace: str
) -> WayThere:
    """Return the way to the newest revision that served before, or to the one that is `wanted`.

    `pasts` are the kept revisions, the newest first. Raises ReleaseError when there is none, or
    weights of it are no longer on their volume.
    """
    newer_first = iter(pasts)
    now = next(newer_first, None)
    if now is None:
        raise ReleaseError(
            "nothing is installed, so there is nothing to go back to",
            next_command="vllm-flows install",
        )
    if wanted is None:
        found = _interrupted(now, claims) or _that_served(now, newer_first, claims, namespace)
    else:
        found = _asked_for(now, newer_first, wanted, namespace)
    _check_weights(found, claims)
    return found


def _interrupted(now: Past, claims: Mapping[str, WeightsClaim]) -> WayThere | None:
    """Return what is left of a rollback that helm did and that was not proven, if there is any.

    Then what is deployed answered once, and something else did after it.
    """
    if not served(now, claims):
        return None
    left = [
        _change(name, entry, entry, ())
        for name, entry in entries(now.values).items()
        if _is_asked(entry) and _mark(entry, DIGEST_ANNOTATION) != claims[name].proven
    ]
    text = "went back already, and was not asked yet"
    told = [replace(one, text=text, lines=(f"{one.model}: revision: {one.then}",)) for one in left]
    return WayThere(now.revision, now, tuple(told)) if told else None


def _that_served(
    now: Past, pasts: Iterator[Past], claims: Mapping[str, WeightsClaim], namespace: str
) -> WayThere:
    for past in pasts:
        if past.status not in _FINISHED or past.description.startswith(_STEP):
            continue
        found = _between(now, past)
        if (found.changes or found.common) and served(past, claims):
            return found
    raise ReleaseError(
        "there is nothing to go back to",
        why="Helm keeps no earlier revision that differs from what is deployed and of which every "
        "model was seen to answer",
        next_command=f"helm history {RELEASE} -n {namespace}   (then: vllm-flows rollback --to N)",
    )


def _asked_for(now: Past, pasts: Iterator[Past], wanted: int, namespace: str) -> WayThere:
    known = []
    for past in pasts:
        known.append(str(past.revision))
        if past.revision != wanted:
            continue
        if past.status not in _FINISHED:
            raise _refused(
                f"Helm did not finish revision {wanted} (it is {past.status})", namespace
            )
        found = _between(now, past)
        if found.changes or found.common:
            return found
        raise _refused(f"revision {wanted} is what is deployed", namespace)
    if wanted == now.revision:
        raise _refused(f"revision {wanted} is the one that is deployed", namespace)
    kept = f"kept are {', '.join(known)}" if known else "no earlier one is kept"
    raise _refused(f"Helm keeps no earlier revision {wanted} ({kept})", namespace)


def _refused(what: str, namespace: str) -> ReleaseError:
    return ReleaseError(what, next_command=f"helm history {RELEASE} -n {namespace}")


def served(past: Past, claims: Mapping[str, WeightsClaim]) -> bool:
    """Say whether every model of a revision was seen to answer as it is there."""
    asked = {name: entry for name, entry in entries(past.values).items() if _is_asked(entry)}
    return all(
        name in claims and _mark(entry, DIGEST_ANNOTATION) in claims[name].answered
        for name, entry in asked.items()
    )


def _between(now: Past, past: Past) -> WayThere:
    before, after = entries(now.values), entries(past.values)
    common = tuple(_common(now, past))
    found = [
        _change(name, before.get(name, {}), after.get(name, {}), common)
        for name in sorted({*before, *after})
    ]
    return WayThere(now.revision, past, tuple(one for one in found if one.text), common)


def _common(now: Past, past: Past) -> Iterator[str]:
    """Tell what differs that all engines share, or that is the router's."""
    if now.chart_version != past.chart_version:
        yield f"chart {now.chart_version} -> {past.chart_version}"
    yield from differences(shared_values(now.values), shared_values(past.values))
    router = now.values.get("routerSpec"), past.values.get("routerSpec")
    yield from differences(*router, "routerSpec")


def _change(name: str, before: Entry, after: Entry, common: tuple[str, ...]) -> Change:
    now, then = _mark(before, REVISION_ANNOTATION), _mark(after, REVISION_ANNOTATION)
    if not after:
        text = "goes: it was not there yet; its weights stay on the volume"
        return Change(name, now, "", text, (f"take {name} off the list",))
    told, lines = [], []
    if not before:
        told, lines = ["comes back"], [f"list {name} again, with revision: {then}"]
    elif now != then:
        told.append(f"revision {now[:8]} -> {then[:8]}")
        lines.append(f"{name}: revision: {then}")
    others = list(differences(at_commit(before, now, then), after)) if before else []
    told += others
    lines += [f"{name}: {other}" for other in others]
    counts = [int(entry.get("replicaCount", 1)) for entry in (before or after, after)]
    if counts[0] != counts[1]:
        told.append(f"replicas {counts[0]} -> {counts[1]}")
        lines.append(f"{name}: replicaCount: {counts[1]}")
    if not told and common:
        told.append("restarts: what all engines share changes")
    return Change(
        name,
        now,
        then,
        ", ".join(told),
        tuple(lines),
        repository=str(after["modelURL"]),
        replicas=counts[1],
        asked=_is_asked(after),
        digest=_mark(after, DIGEST_ANNOTATION),
        replaces=bool(before)
        and _mark(before, DIGEST_ANNOTATION) != _mark(after, DIGEST_ANNOTATION),
    )


def _check_weights(way: WayThere, claims: Mapping[str, WeightsClaim]) -> None:
    for change in way.then:
        claim = claims.get(change.model)
        if claim and change.then in claim.complete and not claim.leaving:
            continue
        raise ReleaseError(
            f"revision {way.target.revision} cannot come back: the weights of {change.then[:8]} "
            "are no longer on its volume",
            next_command=f"write revision: {change.then} in models.yaml, then vllm-flows install "
            "(it fetches them again)",
            model=change.model,
        )


def _is_asked(entry: Entry) -> bool:
    arguments = (entry.get("vllmConfig") or {}).get("extraArgs") or ()
    return int(entry.get("replicaCount", 1)) > 0 and _ASKS_NOTHING.isdisjoint(arguments)


def _mark(entry: Entry, annotation: str) -> str:
    return str((entry.get("podAnnotations") or {}).get(annotation, ""))

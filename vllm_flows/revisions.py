"""What a new commit of a repository changes for the engine that serves an older one. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from vllm_flows.checks import trust
from vllm_flows.claims import blob_name
from vllm_flows.errors import VllmFlowsError
from vllm_flows.models import Model
from vllm_flows.observed import Description, HubFile, Verdict
from vllm_flows.repository_facts import plain
from vllm_flows.repository_files import is_weights, license_files, needed_files
from vllm_flows.revision_class import Change

_SCRIPT = ".py"
_MOST_REASONS = 4
_MOST_FILES = 5
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Contents:
    """A repository at one commit, as far as it is known.

    `files` are all of its files; None when the Hub has the commit no more. Then `blobs` are the
    files that were fetched of it, by the first digits of their hash (`claims.blob_name`).
    `license` and `gated` are None when nobody knows them any more.
    """

    files: tuple[HubFile, ...] | None = None
    blobs: Mapping[str, int] = field(default_factory=dict)
    license: str | None = None
    gated: str | None = None


@dataclass(frozen=True)
class Assessment:
    """The class of a change; why a person is to decide, and some files that are other ones now."""

    change: Change
    reasons: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def assess(
    model: Model, old: Contents, new: Contents, verdict: Verdict, doubts: Iterable[str] = ()
) -> Assessment:
    """Judge the way from what is served to a new commit, of which the Hub gave the verdict.

    `doubts` are further reasons why a person should decide.
    """
    code = bool(verdict.custom_code) and model.trust_remote_code is not False
    changed = _changed(old, new, code=code)
    reasons = [
        *doubts,
        *(problem.what for problem in verdict.problems),
        *_untrusted(model, verdict),
        *_new_code(model, old, changed),
        *_other_terms(old, new),
    ]
    change = Change.ASK if reasons else _class_of(old, new, changed, code=code)
    shown = tuple(plain(name)[:_LONGEST_NAME] for name in changed[:_MOST_FILES])
    return Assessment(change, tuple(map(plain, reasons[:_MOST_REASONS])), shown)


def same_for_engine(one: Contents, other: Contents) -> bool:
    """Say whether two commits have the same files for an engine, the code among them."""
    known = one.files is not None and other.files is not None
    return known and not _changed(one, other, code=True)


def other_terms(served: Description, verdict: Verdict) -> tuple[str, ...]:
    """Say how the terms differ from those that what is served was brought under, if both are known.

    The Hub's verdict tells of the license by its id and of the gate, not of the license's text.
    """
    if served.license is None or not verdict.described:
        return ()
    old = Contents(license=served.license, gated=served.gated)
    return tuple(_other_terms(old, Contents(license=verdict.license, gated=verdict.gated)))


def _untrusted(model: Model, verdict: Verdict) -> Iterator[str]:
    """Say what an install would refuse."""
    if verdict.problems:
        return  # then the Hub did not tell all of it
    for said in trust(model, verdict):
        if isinstance(said, VllmFlowsError):
            yield f"{said.what}: {said.why}" if said.why else said.what


def _new_code(model: Model, old: Contents, changed: list[str]) -> Iterator[str]:
    """Say that code changed which models.yaml lets run: what was read was the older one."""
    scripts = [name for name in changed if name.endswith(_SCRIPT)]
    if model.trust_remote_code and scripts and old.files is not None:
        yield f"its own code, which trustRemoteCode lets run, changed: {', '.join(scripts)}"


def _other_terms(old: Contents, new: Contents) -> Iterator[str]:
    if old.license is None:
        yield f"the license of what is served is not known; it is {new.license or 'unknown'} now"
    elif old.license != new.license:
        yield f"its license was {old.license or 'unknown'} and is {new.license or 'unknown'} now"
    if old.files is not None and new.files is not None:
        before, now = license_files(old.files), license_files(new.files)
        if {file.blob_id for file in before} != {file.blob_id for file in now}:
            names = sorted({file.name for file in {*before} ^ {*now}})
            yield f"the text of its license changed: {', '.join(names)}"
    if old.gated is not None and new.gated != old.gated:
        yield f"its gate was {old.gated!r} and is {new.gated!r} now"


def _changed(old: Contents, new: Contents, *, code: bool) -> list[str]:
    """Name the files of an engine that are new, other ones, or gone; weights come first."""
    now = _needed(new, code=code)
    if old.files is None:
        found = {name for name, file in now.items() if blob_name(file) not in old.blobs}
    else:
        before = _needed(old, code=code)
        found = {
            name
            for name in {*before, *now}
            if name not in before or name not in now or not _same(before[name], now[name])
        }
    return sorted(found, key=lambda name: (not is_weights(name), name))


def _class_of(old: Contents, new: Contents, changed: list[str], *, code: bool) -> Change:
    if not changed:
        return Change.DOCUMENTATION
    if old.files is None:
        return Change.WEIGHTS if is_weights(changed[0]) else Change.CONFIGURATION
    other = _weights(old, code=code) != _weights(new, code=code)
    return Change.WEIGHTS if other else Change.CONFIGURATION


def _needed(contents: Contents, *, code: bool) -> dict[str, HubFile]:
    return {file.name: file for file in needed_files(contents.files or (), code=code)}


def _weights(contents: Contents, *, code: bool) -> Counter[str]:
    """Count the contents of the weights: files that are only called otherwise hold the same."""
    needed = _needed(contents, code=code)
    return Counter(blob_name(file) for name, file in needed.items() if is_weights(name))


def _same(one: HubFile, other: HubFile) -> bool:
    return (one.sha256 or one.blob_id) == (other.sha256 or other.blob_id)

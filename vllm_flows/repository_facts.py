"""What a repository's own documents say of it: configuration, custom code, scan. Pure.

Everything here was written by strangers: any of it may be of another shape than expected.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_flows.observed import HubFile
from vllm_flows.redaction import redacted

_LONGEST_TEXT = 200
DEEPEST = 100
"""Levels of JSON. Real configurations have about five; what is deeper can be read, not pickled."""
_TOO_DEEP = "it is nested too deeply"
_ELSEWHERE = "--"
_UNSAFE_LEVELS = {"unsafe", "suspicious"}


def plain(text: object) -> str:
    """Return a stranger's text as it may be shown: one short line without control characters.

    Nor with a secret that was collected.
    """
    # Before it is cut: of half a secret the value is not found.
    line = " ".join(redacted(str(text)).split())
    return "".join(one if one.isprintable() else "?" for one in line)[:_LONGEST_TEXT]


def parse_configuration(data: bytes, deepest: int = DEEPEST) -> dict[str, Any]:
    """Return the JSON object that the bytes hold, `deepest` levels at most.

    Raises ValueError when they hold none, or a deeper one.
    """
    try:
        found = json.loads(data)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    if not isinstance(found, dict):
        # Not a TypeError: the caller asked about the bytes' content, which is a value.
        raise ValueError("it is no JSON object")  # noqa: TRY004
    if _is_deeper(found, deepest):
        raise ValueError(_TOO_DEEP)
    return found


def _is_deeper(value: object, levels: int) -> bool:
    """Say whether maps and lists lie in each other on more levels than that."""
    if not isinstance(value, dict | list):
        return False
    parts = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(part, levels - 1) for part in parts)


def custom_code(repository: str, *configurations: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what of Python code the configurations' `auto_map` refers to, sorted.

    `module.Class` is of the repository itself, `owner/name--module.Class` of another one.
    """
    own = repository + _ELSEWHERE
    found = {
        plain(name).removeprefix(own)
        for configuration in configurations
        for name in _names(configuration.get("auto_map"))
    }
    return tuple(sorted(found))


def _names(value: object) -> Iterable[str]:
    """Yield the names in an `auto_map`: a text, or lists (of slow and fast tokenizer) and maps."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _names(part)
    elif isinstance(value, list):
        yield from (part for part in value if isinstance(part, str))


def code_elsewhere(code: Iterable[str]) -> tuple[str, ...]:
    """Return the other repositories that the code lies in; their files are not fetched."""
    return tuple(sorted({name.partition(_ELSEWHERE)[0] for name in code if _ELSEWHERE in name}))


@dataclass(frozen=True)
class Scan:
    """What the Hub's security scan says of the files that would be fetched; `told`: anything."""

    unsafe: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    told: bool = True


def scan_of(status: object, files: Iterable[HubFile]) -> Scan:
    """Read the Hub's `securityRepoStatus`: `scansDone`, `filesWithIssues` of path and level.

    The levels unsafe and suspicious make a file unsafe; others (caution) are noted.
    """
    if not isinstance(status, Mapping):
        note = "the Hub tells no security scan: whether a file is unsafe is not known"
        return Scan(notes=(note,), told=False)
    needed = {file.name for file in files}
    issues = status.get("filesWithIssues")
    found = {
        issue["path"]: plain(issue.get("level") or "issue")
        for issue in (issues if isinstance(issues, list) else ())
        if isinstance(issue, Mapping)
        and isinstance(issue.get("path"), str)
        and issue["path"] in needed
    }
    unsafe = sorted(path for path, level in found.items() if level in _UNSAFE_LEVELS)
    notes = [
        f"the Hub's scan says {level} of {plain(path)}"
        for path, level in sorted(found.items())
        if level not in _UNSAFE_LEVELS
    ]
    if status.get("scansDone") is False:
        notes.append("the Hub has not finished its security scan of this repository")
    return Scan(tuple(unsafe), tuple(notes))

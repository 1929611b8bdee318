"""Where the entries of a list stand in YAML text, to add and take out lines of it.

Places come from YAML's own scanner; every line that is not an entry's stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from vllm_flows.yaml_text import LOADER

_OPENING = (
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)
_BREAKS = ("\r\n", "\n", "\r")
_SEVERAL = 2


class InBracketsError(Exception):
    """The list is written in brackets; it has no lines of its own for each entry."""


@dataclass(frozen=True)
class Entries:
    """The lines of a text, and which of them are the entries of its list.

    A span is its first line and the line after its last, counted from 0; `end` is the line before
    which a further entry goes, `column` where its dash stands.
    """

    lines: list[str]
    spans: list[tuple[int, int]]
    end: int
    column: int = 0

    @property
    def close(self) -> bool:
        """Whether a further entry follows what is before it without a blank line between."""
        before = self.lines[: self.end]
        if not before or before[-1].isspace():
            return not before
        if before[-1].startswith("---"):
            return True
        last = self.spans[-1][0] - 1 if len(self.spans) >= _SEVERAL else -1
        return last >= 0 and not self.lines[last].isspace()


def entries_of(text: str) -> Entries:
    """Return where the entries of the list in `text` are; none when it holds no list yet.

    The text is one that YAML can read. Raises InBracketsError for `[...]`.
    """
    # YAML ends lines where Python does, but for characters that it does not allow at all.
    lines = text.splitlines(keepends=True)
    end, column, depth, last = len(lines), 0, 0, 0
    spans: list[tuple[int, int]] = []
    for token in yaml.scan(text, Loader=LOADER):
        if isinstance(token, _OPENING):
            if depth == 0 and isinstance(token, yaml.FlowSequenceStartToken):
                raise InBracketsError
            depth += 1
        elif isinstance(token, _CLOSING):
            depth -= 1
        elif isinstance(token, yaml.DocumentEndToken):
            end = token.start_mark.line
        if depth == 1 and isinstance(token, yaml.BlockEntryToken):
            column = token.start_mark.column
            spans.append((token.start_mark.line, 0))
        if spans and depth >= 1 and not isinstance(token, yaml.BlockEndToken):
            last = token.end_mark.line + (token.end_mark.column > 0)
            spans[-1] = (spans[-1][0], last)
    spans = [(first, _with_comments(lines, last, column)) for first, last in spans]
    return Entries(lines, spans, end, column)


def _with_comments(lines: list[str], last: int, column: int) -> int:
    """Return the line after an entry with the comments below it that are indented as its own."""
    while last and lines[last - 1].isspace():
        last -= 1
    for number, line in enumerate(lines[last:], last + 1):
        bare = line.lstrip(" \t")
        if bare.startswith("#") and len(line) - len(bare) > column:
            last = number
        elif not line.isspace():
            break
    return last


def appended(text: str, entry: Mapping[str, object], *, apart: bool = True) -> str:
    """Return `text` with one more entry at the end of its list.

    It stands apart by a blank line, if others do; never when `apart` is false. A text without a
    line break at its end has none afterwards. Raises InBracketsError.
    """
    found = entries_of(text)
    newline = _newline(found.lines)
    before, after = found.lines[: found.end], found.lines[found.end :]
    block = _block(entry, found.column, newline)
    if before and not before[-1].endswith(_BREAKS):
        before[-1] += newline
        block[-1] = block[-1].removesuffix(newline)
    gap = [newline] if apart and not found.close else []
    return "".join([*before, *gap, *block, *after])


def without(text: str, index: int, *, apart: bool = True, unended: bool = True) -> str:
    """Return `text` without one entry of its list: the reverse of `appended`.

    The blank line before it goes with it, if there is one and `apart` is true; at the beginning of
    the text the one after it. With the only entry goes an end mark (`...`) that would end nothing.
    A text without a line break at its end has none afterwards, unless `unended` is false. Raises
    InBracketsError.
    """
    found = entries_of(text)
    lines, (first, last) = found.lines, found.spans[index]
    if not _begins(lines[:first]) and len(found.spans) == 1:
        del lines[found.end : found.end + 1]  # `...` ends what nothing begins any more
    if apart and first and lines[first - 1].isspace():
        first -= 1
    elif apart and not first and last < len(lines) and lines[last].isspace():
        last += 1
    kept = [*lines[:first], *lines[last:]]
    if kept and unended and last == len(lines) and not lines[-1].endswith(_BREAKS):
        kept[-1] = _unbroken(kept[-1])
    return "".join(kept)


def _begins(lines: list[str]) -> bool:
    """Say whether a document begins in these lines: they hold more than comments."""
    return not all(line.isspace() or line.lstrip().startswith("#") for line in lines)


def _unbroken(line: str) -> str:
    ending = next((one for one in _BREAKS if line.endswith(one)), "")
    return line.removesuffix(ending)


def _newline(lines: list[str]) -> str:
    """Return how lines end here: as the last that ends does."""
    for line in reversed(lines):
        for ending in _BREAKS:
            if line.endswith(ending):
                return ending
    return "\n"


def _block(entry: Mapping[str, object], column: int, newline: str) -> list[str]:
    text = yaml.safe_dump(dict(entry), sort_keys=False, allow_unicode=True, width=float("inf"))
    signs = ["- ", *["  "] * len(text)]
    return [
        f"{' ' * column}{sign}{line}{newline}"
        for sign, line in zip(signs, text.splitlines(), strict=False)
    ]

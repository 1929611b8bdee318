"""Text to YAML nodes, within bounds: size, nesting and number of documents.

The bounds are checked before anything is built, so no text can take more than a moment, or
the process down with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import yaml
from yaml.reader import Reader

SIZE_LIMIT = 1024 * 1024
DEPTH_LIMIT = 20

# libyaml's parser is ten times as fast; a PyYAML built without it has the other alone.
LOADER: type[yaml.CSafeLoader | yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_HINTS = {
    "mapping values are not allowed": "; a line is indented too far, or a colon wants quotes",
    "expected key": "; a line is indented too far, or a bracket or quote stays open",
    "quoted scalar": "; a quote stays open",
    "undefined alias": "; its anchor (&) must stand before it",
}


class Mark(NamedTuple):
    """A place in the text; lines and columns count from 1, as editors show them."""

    line: int
    column: int

    @classmethod
    def of(cls, item: yaml.Node | yaml.Event) -> Mark:
        """Return where a node or an event begins."""
        start = item.start_mark
        return cls(start.line + 1, start.column + 1) if start else cls(1, 1)


class UnreadableError(Exception):
    """The text cannot be read any further than `mark`."""

    def __init__(self, mark: Mark, message: str) -> None:
        super().__init__(message)
        self.mark = mark
        self.message = message


def compose(text: str) -> yaml.Node | None:
    """Return the root node of the one document of `text`, None when it holds none.

    Raises UnreadableError for anything else.
    """
    _check_size(text)
    _check_characters(text)
    _check_structure(text)
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=LOADER)
    except yaml.YAMLError as error:
        raise _unreadable(error, text) from None
    return node


def _check_size(text: str) -> None:
    size = len(text.encode(errors="surrogatepass"))
    if size > SIZE_LIMIT:
        message = f"holds {size / SIZE_LIMIT:.1f} MiB; at most 1 MiB is read"
        raise UnreadableError(Mark(1, 1), message)


def _check_characters(text: str) -> None:
    found = Reader.NON_PRINTABLE.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - text.rfind("\n", 0, found.start())
        message = f"holds the character U+{ord(found.group()):04X}, which YAML does not allow"
        raise UnreadableError(Mark(line, column), message)


def _check_structure(text: str) -> None:
    """Refuse deep nesting and further documents while nothing is built yet.

    Composing calls itself once per level, and libyaml would let a text nest until the stack ends.
    """
    depth = documents = 0
    for event in _events(text):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        if depth > DEPTH_LIMIT:
            message = f"is nested deeper than {DEPTH_LIMIT} levels"
            raise UnreadableError(Mark.of(event), message)
        if documents > 1:
            message = "begins a second document; keep one list, without a line of ---"
            raise UnreadableError(Mark.of(event), message)


def _events(text: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=LOADER)
    except yaml.YAMLError as error:
        raise _unreadable(error, text) from None


def _unreadable(error: yaml.YAMLError, text: str) -> UnreadableError:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return UnreadableError(Mark(1, 1), f"is not YAML: {error}")
    mark = Mark(error.problem_mark.line + 1, error.problem_mark.column + 1)
    line = "".join(text.splitlines()[mark.line - 1 : mark.line])
    if re.match(r" *\t", line):
        return UnreadableError(mark, "is indented with a tab; YAML takes spaces alone")
    begun = error.context_mark
    context = f" {error.context} from line {begun.line + 1}" if begun else ""
    said = f"{error.problem}{context}"
    hint = next((hint for words, hint in _HINTS.items() if words in said), "")
    return UnreadableError(mark, f"is not YAML: {said}{hint}")

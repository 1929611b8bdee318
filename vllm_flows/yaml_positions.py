"""YAML text as plain data that remembers where everything stood.

Only text, numbers, truth values, null, lists and mappings come out; no other object is ever
made. Aliases and merge keys are followed up to a bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import yaml
from yaml.constructor import SafeConstructor

from vllm_flows.yaml_text import DEPTH_LIMIT, Mark, UnreadableError, compose

NODE_LIMIT = 100_000

Path = tuple[str | int, ...]
_TAGS = "tag:yaml.org,2002:"
_MERGE = f"{_TAGS}merge"
_KEY_TAGS = {f"{_TAGS}str", f"{_TAGS}timestamp", f"{_TAGS}value"}
_TEXT_TAGS = {*_KEY_TAGS, _MERGE}
_PLAIN_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")


class YamlProblem(NamedTuple):
    """Something the text may not hold: at `mark`, about the value at `path`."""

    mark: Mark
    path: Path
    message: str


@dataclass
class Document:
    """The data of a text, the place of each key and value, and what was wrong with it.

    `written` holds the text of each scalar that is no text to YAML (`yes`, `010`).
    """

    data: object = None
    keys: dict[Path, Mark] = field(default_factory=dict)
    values: dict[Path, Mark] = field(default_factory=dict)
    written: dict[Path, str] = field(default_factory=dict)
    problems: list[YamlProblem] = field(default_factory=list)

    def place(self, path: Path) -> Mark:
        """Return where the value at `path` stands, or what holds it when it does not exist."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Mark(1, 1))


def read_document(text: str) -> Document:
    """Return the one YAML document of `text`; what is wrong with it is in its `problems`."""
    document = Document()
    try:
        node = compose(text)
        if node is not None:
            document.data = _Builder(document).build(node, ())
    except UnreadableError as error:
        return Document(problems=[YamlProblem(error.mark, (), error.message)])
    return document


class _Builder:
    """Turns composed nodes into data; an aliased node is built anew at each of its uses."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._constructor = SafeConstructor()
        self._nodes = 0

    def build(self, node: yaml.Node, path: Path) -> object:
        """Return the data of `node`, whose place is kept under `path`."""
        self._count(node, len(path))
        self._document.values[path] = Mark.of(node)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAGS}map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAGS}seq":
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _TEXT_TAGS:
            return str(node.value)
        if isinstance(node, yaml.ScalarNode):
            self._document.written[path] = str(node.value)
            return self._number(node, path)
        self._refuse_tag(node, path)
        return None

    def _count(self, node: yaml.Node, depth: int) -> None:
        self._nodes += 1
        if self._nodes > NODE_LIMIT:
            message = f"grows to more than {NODE_LIMIT} values as aliases are followed"
            raise UnreadableError(Mark.of(node), message)
        if depth > DEPTH_LIMIT:
            message = f"is nested deeper than {DEPTH_LIMIT} levels as aliases are followed"
            raise UnreadableError(Mark.of(node), message)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        built: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in built:
                first = self._document.keys[*path, key].line
                message = f"this key stands here a second time; the first is in line {first}"
                self._refuse(key_node, (*path, key), message)
                continue
            self._document.keys[*path, key] = Mark.of(key_node)
            built[key] = self.build(value_node, (*path, key))
        for key_node, value_node in self._merged(node, path, len(path)):
            key = str(key_node.value)
            if key not in built:
                self._document.keys[*path, key] = Mark.of(key_node)
                built[key] = self.build(value_node, (*path, key))
        return built

    def _key(self, node: yaml.Node, path: Path) -> str | None:
        """Return the key of an entry; None for a merge key and, with a problem, for no text."""
        if node.tag == _MERGE:
            return None
        if isinstance(node, yaml.ScalarNode) and node.tag in _KEY_TAGS:
            return str(node.value)
        what = f"{node.value[:40]!r}" if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        self._refuse(node, path, f"a key should be text, not {what}")
        return None

    def _merged(
        self, node: yaml.MappingNode, path: Path, depth: int
    ) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """Yield what `<<: *alias` brings, the nearest first; the mapping's own keys win over it."""
        for merge_node, value_node in node.value:
            if merge_node.tag != _MERGE:
                continue
            listed = isinstance(value_node, yaml.SequenceNode)
            for source in value_node.value if listed else [value_node]:
                self._count(source, depth)
                if not isinstance(source, yaml.MappingNode):
                    message = "<< takes an alias of a mapping, such as <<: *common"
                    self._refuse(merge_node, path, message)
                    continue
                for pair in source.value:
                    self._count(pair[0], depth)
                    if pair[0].tag in _KEY_TAGS:
                        yield pair
                yield from self._merged(source, path, depth + 1)

    def _number(self, node: yaml.ScalarNode, path: Path) -> object:
        """Return the number, truth value or null that `node` is."""
        kind = node.tag.removeprefix(_TAGS)
        try:
            match kind:
                case "null":
                    return None
                case "bool":
                    return bool(self._constructor.construct_yaml_bool(node))
                case "float":
                    return float(self._constructor.construct_yaml_float(node))
                case "int":
                    return self._integer(node, path)
        except (ValueError, LookupError, ArithmeticError):
            self._refuse(node, path, f"{node.value[:40]!r} is not a value of the tag !!{kind}")
            return None
        self._refuse_tag(node, path)
        return None

    def _integer(self, node: yaml.ScalarNode, path: Path) -> int:
        number = int(self._constructor.construct_yaml_int(node))
        if not _PLAIN_INTEGER.fullmatch(node.value):
            text = node.value[:40]
            message = f'{text} is the number {number} to YAML; write {number}, or "{text}" for text'
            self._refuse(node, path, message)
        return number

    def _refuse_tag(self, node: yaml.Node, path: Path) -> None:
        tag = node.tag.replace(_TAGS, "!!", 1)
        self._refuse(node, path, f"the tag {tag[:60]} is not allowed; remove it")

    def _refuse(self, node: yaml.Node, path: Path, message: str) -> None:
        self._document.problems.append(YamlProblem(Mark.of(node), path, message))

"""The names and replicas in models.yaml for verbs that need no more of it.

They come without the schema, whose import and checks take longer than a read verb may. What does
not look like a right list is read by the schema, which knows what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from vllm_flows.errors import ModelsFileError
from vllm_flows.model_checks import check_name
from vllm_flows.models_text import read_text
from vllm_flows.yaml_text import UnreadableError, compose

_TEXT, _INTEGER = "tag:yaml.org,2002:str", "tag:yaml.org,2002:int"
_COUNT = re.compile(r"0|[1-9]\d*", re.ASCII)
"""As everybody writes it; what else YAML takes for an integer the schema reads."""
_REPLICAS = 1
"""Of a model whose entry says nothing of them."""


class Listed(NamedTuple):
    """The models that could be read, each with its replicas, and why those may not be all."""

    replicas: Mapping[str, int]
    error: ModelsFileError | None = None

    @property
    def names(self) -> list[str]:
        """Their names, in the order of the file."""
        return list(self.replicas)


def read_listed(path: Path) -> Listed:
    """Return the models in the file at `path`, in its order.

    Its `error` is what `load_models` would raise when the file cannot be read, or when an entry
    does not look like a model with a name of its own; other values are not looked at.
    """
    try:
        text = read_text(path)
    except ModelsFileError as error:
        return Listed({}, error)
    found = _quickly(text)
    return Listed(found) if found else _closely(text, str(path))


def _quickly(text: str) -> dict[str, int]:
    """Return the models of a list that looks right; none of any other."""
    try:
        root = compose(text)
        entries = root.value if isinstance(root, yaml.SequenceNode) else []
        found = {check_name(_name(entry)): _replicas(entry) for entry in entries}
    except (UnreadableError, ValueError):
        return {}
    return found if len(found) == len(entries) else {}


def _name(entry: yaml.Node) -> str:
    """Return the name that stands in an entry with a Hub's id; "" where it is not as usual."""
    names, urls = _values(entry, "name"), _values(entry, "modelURL")
    right = len(names) == 1 and urls and names[0].tag == _TEXT
    return str(names[0].value) if right else ""


def _replicas(entry: yaml.Node) -> int:
    """Return the replicas that stand in an entry. Raises ValueError where they are not as usual."""
    match _values(entry, "replicaCount"):
        case []:
            return _REPLICAS
        case [yaml.ScalarNode(tag=tag, value=text)] if tag == _INTEGER and _COUNT.fullmatch(text):
            return int(text)
        case _:
            raise ValueError(entry.start_mark)


def _values(entry: yaml.Node, key: str) -> list[yaml.Node]:
    """Return what stands under a key, as often as it does."""
    pairs = entry.value if isinstance(entry, yaml.MappingNode) else []
    return [value for name, value in pairs if name.value == key]


def _closely(text: str, source: str) -> Listed:
    from vllm_flows.models_file import as_error, examine

    models, problems = examine(text)
    error = as_error(problems, source) if problems else None
    return Listed({model.name: model.replica_count for model in models}, error)

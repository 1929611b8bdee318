"""The names in models.yaml for verbs that need no more of it.

They come without the schema, whose import and checks take longer than a read verb may. What does
not look like a right list is read by the schema, which knows what is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import yaml

from vllm_flows.errors import ModelsFileError
from vllm_flows.model_checks import check_name
from vllm_flows.models_text import read_text
from vllm_flows.yaml_text import UnreadableError, compose

_TEXT = "tag:yaml.org,2002:str"


class Listed(NamedTuple):
    """The names of the models that could be read, and why those may not be all."""

    names: list[str]
    error: ModelsFileError | None = None


def read_listed(path: Path) -> Listed:
    """Return the names in the file at `path`, in its order.

    Its `error` is what `load_models` would raise when the file cannot be read, or when an entry
    does not look like a model with a name of its own; other values are not looked at.
    """
    try:
        text = read_text(path)
    except ModelsFileError as error:
        return Listed([], error)
    names = _quickly(text)
    return Listed(names) if names else _closely(text, str(path))


def _quickly(text: str) -> list[str]:
    """Return the names of a list that looks right; none of any other."""
    try:
        root = compose(text)
        entries = root.value if isinstance(root, yaml.SequenceNode) else []
        names = [check_name(_name(entry)) for entry in entries]
    except (UnreadableError, ValueError):
        return []
    return names if len(set(names)) == len(names) else []


def _name(entry: yaml.Node) -> str:
    """Return the name that stands in an entry with a Hub's id; "" where it is not as usual."""
    pairs = entry.value if isinstance(entry, yaml.MappingNode) else []
    keys = [key.value for key, _ in pairs]
    if keys.count("name") != 1 or "modelURL" not in keys:
        return ""
    name = pairs[keys.index("name")][1]
    return str(name.value) if name.tag == _TEXT else ""


def _closely(text: str, source: str) -> Listed:
    from vllm_flows.models_file import as_error, examine

    models, problems = examine(text)
    error = as_error(problems, source) if problems else None
    return Listed([model.name for model in models], error)

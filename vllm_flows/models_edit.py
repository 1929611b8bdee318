"""Adding models to the text of a models.yaml and taking them out; all else keeps its bytes.

What comes out is looked at before it is given back: it is a right models.yaml, and holds what it
held before but for the change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

from vllm_flows.errors import ConfigurationError
from vllm_flows.models_file import as_error, find_problems
from vllm_flows.names import some_of
from vllm_flows.yaml_entries import InBracketsError, appended, without
from vllm_flows.yaml_positions import read_document


def names_in(text: str, source: str) -> list[str]:
    """Return the names in the list, in its order; none of an empty text.

    Raises ModelsFileError when the text holds something else than a list; `source` names it.
    """
    return [name for name in map(_name, _entries(text, source)) if name]


def with_model(text: str, entry: Mapping[str, object], source: str) -> str:
    """Return `text` with one more model at the end of its list.

    Raises ConfigurationError when the text or the entry has problems, the text has a model of this
    name, or it cannot be changed so that all else stays as it is.
    """
    held = _entries(text, source)
    if held:
        _check(text, source)
    insist_on_new(_name(entry), [_name(one) for one in held], source)
    ways = (partial(appended, text, entry, apart=apart) for apart in (True, False))
    result = _changed(ways, [*held, dict(entry)], "add", source)
    _check(result, source)
    return result


def insist_on_new(name: str | None, names: Collection[str], source: str) -> None:
    """Raise ConfigurationError when a model has this name already."""
    if name in names:
        raise ConfigurationError(
            f"{source} has a model {name} already",
            next_command="choose another name, or change that model in the file",
        )


def without_models(text: str, names: Collection[str], source: str) -> str:
    """Return `text` without the models of these names; it may hold none afterwards.

    Raises ConfigurationError for an unknown name, when the rest has problems, or when it cannot
    stay as it is.
    """
    held = _entries(text, source)
    unknown = [name for name in names if name not in map(_name, held)]
    if unknown:
        known = some_of(names_in(text, source)) or "none"
        raise ConfigurationError(
            f"{source} has no model {unknown[0]!r}",
            why=f"its models: {known}",
            next_command="vllm-flows list-models",
        )
    # From the last on: what uses an anchor stands behind it.
    for index in reversed([n for n, entry in enumerate(held) if _name(entry) in names]):
        del held[index]
        text = _one_less(text, index, held, source)
    if held:
        _check(text, source)
    return text


def _one_less(text: str, index: int, rest: list[object], source: str) -> str:
    ways = (
        partial(without, text, index, apart=apart, unended=unended)
        for apart, unended in ((True, True), (False, True), (False, False))
    )
    return _changed(ways, rest, "remove", source)


def _entries(text: str, source: str) -> list[object]:
    document = read_document(text)
    if isinstance(document.data, list):
        return list(document.data)
    if document.data is not None or document.problems:
        raise as_error(find_problems(text), source)
    return []


def _name(entry: object) -> str:
    name = entry.get("name") if isinstance(entry, Mapping) else None
    return name if isinstance(name, str) else ""


def _check(text: str, source: str) -> None:
    problems = find_problems(text)
    if problems:
        raise as_error(problems, source)


def _changed(
    ways: Iterable[Callable[[], str]], wanted: list[object], verb: str, source: str
) -> str:
    """Return the first changed text that holds what is wanted.

    Blank lines and the last line break may be part of a text that the file holds.
    """
    try:
        for change in ways:
            document = read_document(result := change())
            if (document.data or []) == wanted and not document.problems:
                return result
    except InBracketsError:
        raise ConfigurationError(
            f"{source} is a list in brackets, which is not changed",
            why="a model is added and removed as lines of its own",
            next_command="write each model as a block that begins with `- name:`, and run this "
            "again",
        ) from None
    raise ConfigurationError(
        f"{source} is written so that this would change other models too",
        why="an anchor (&) that others use, or a text at the end without a line break",
        next_command=f"{verb} the model by hand, then run: vllm-flows validate",
    )

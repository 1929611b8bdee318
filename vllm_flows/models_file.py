"""models.yaml: text to models, or every problem of it at once with its line and column."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from vllm_flows.errors import ConfigurationError, ModelsFileError
from vllm_flows.model_problems import (
    MODEL_KEYS,
    PARTS,
    Problem,
    dotted,
    explain,
    nearest,
    unknown_key,
)
from vllm_flows.models import Model
from vllm_flows.models_text import EXAMPLE, read_text
from vllm_flows.yaml_positions import Document, YamlProblem, read_document
from vllm_flows.yaml_positions import Path as DataPath


def load_models(path: Path) -> list[Model]:
    """Return the models that the file at `path` lists.

    Raises ModelsFileError when it cannot be read or has any problem, with all of them.
    """
    return parse_models(read_text(path), str(path))


def parse_models(text: str, source: str) -> list[Model]:
    """Return the models that `text` lists; `source` names it in messages.

    Raises ModelsFileError with all problems of the text.
    """
    models, problems = examine(text)
    if problems:
        raise as_error(problems, source)
    return models


def checked(models: Sequence[Model]) -> Sequence[Model]:
    """Return models that came from elsewhere than a file, such as a form.

    Raises ConfigurationError when there are none or two have one name.
    """
    names = [model.name for model in models]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise ConfigurationError(
            f"two models have the name {twice[0]!r}" if twice else "the list has no models",
            next_command="correct the parameter `models`, or leave it out to read the models file",
        )
    return models


def find_problems(text: str) -> list[Problem]:
    """Return all problems of `text`, in the order of the lines; none for a good file."""
    return examine(text)[1]


def as_error(problems: list[Problem], source: str) -> ModelsFileError:
    """Return the error that shows `problems`, one per line."""
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return ModelsFileError(
        f"{source} has {count}",
        why="\n".join(problem.text(source) for problem in problems),
        next_command=f"correct the file, then run: vllm-flows validate {shlex.quote(source)}",
    )


def examine(text: str) -> tuple[list[Model], list[Problem]]:
    """Return the models of `text` that are right, and all problems, in the order of the lines."""
    document = read_document(text)
    if not isinstance(document.data, list):
        return [], _problems_of_the_whole(document)
    models: list[Model] = []
    unfit = [found for found in document.problems if not _is_number_as_name(document, found)]
    problems = [_problem(document, found.path, found.message, found.mark) for found in unfit]
    # What YAML itself says about a value, the schema need not say again.
    spoiled = {found.path for found in unfit if document.values.get(found.path) == found.mark}
    for index, entry in enumerate(document.data):
        model, found_here = _examine_entry(document, index, entry, spoiled)
        models += [model] if model else []
        problems += found_here
    problems += _repeated_names(document)
    if not document.data and not problems:
        problems = [_problem(document, (), f"lists no models; take one from {EXAMPLE}")]
    return models, sorted(set(problems))


def _is_number_as_name(document: Document, found: YamlProblem) -> bool:
    """For a name such as 010 quotes would not help; the schema's check says what does."""
    return found.path[1:] == ("name",) and found.path in document.written


def _problems_of_the_whole(document: Document) -> list[Problem]:
    problems = [Problem.at(found.mark, "", found.message) for found in document.problems]
    data = document.data
    if problems and data is None:
        return problems
    if data is None:
        message = f"lists no models; take one from {EXAMPLE}"
    elif isinstance(data, dict) and "models" in data:
        message = "should be a list at the top level; remove the line `models:` and keep the list"
    elif isinstance(data, dict) and "modelURL" in data:
        message = "should be a list at the top level; begin each model with `- name:`"
    else:
        message = "should be a list of models at the top level, each beginning with `- name:`"
    return sorted([*problems, _problem(document, (), message)])


def _problem(
    document: Document, path: DataPath, message: str, mark: tuple[int, int] | None = None
) -> Problem:
    """Say `message` about the value at `path`, which begins with the model's index."""
    field = dotted(path[1:])
    said = f"{field}: {message}" if field else message
    return Problem.at(mark or document.place(path), _label(document, path), said)


def _label(document: Document, path: DataPath) -> str:
    """Return the model's name, or its number in the list when it has none."""
    if not path or not isinstance(path[0], int):
        return ""
    entry = cast("list[object]", document.data)[path[0]]
    name = entry.get("name") if isinstance(entry, dict) else None
    name = document.written.get((path[0], "name"), name)
    return name if isinstance(name, str) and name else f"model {path[0] + 1}"


def _examine_entry(
    document: Document, index: int, entry: object, spoiled: set[DataPath]
) -> tuple[Model | None, list[Problem]]:
    if not isinstance(entry, dict):
        message = "should be a mapping with name and modelURL"
        if isinstance(entry, str) and re.match(r"\w+:\S", entry):
            message += "; put a space after each colon"
        return None, [] if (index,) in spoiled else [_problem(document, (index,), message)]
    entry = cast("dict[str, object]", entry)
    problems = _unknown_keys(document, (index,), entry, MODEL_KEYS)
    known = {key: value for key, value in entry.items() if key in MODEL_KEYS}
    for part, keys in PARTS.items():
        held = known.get(part)
        if isinstance(held, dict):
            problems += _unknown_keys(document, (index, part), held, keys)
            known[part] = {key: value for key, value in held.items() if key in keys}
    if (index, "name") in document.written and known.get("name") is not None:
        known["name"] = document.written[index, "name"]
    try:
        return Model.model_validate(known), problems
    except ValidationError as error:
        found = error.errors(include_url=False)
    # A misspelt key is one mistake, not a missing one and an unknown one.
    meant = {nearest(key, MODEL_KEYS) for key in entry.keys() - known.keys()}
    described = [
        _describe(document, index, item)
        for item in found
        if item["type"] != "missing" or item["loc"][-1] not in meant
    ]
    return None, problems + [problem for path, problem in described if path not in spoiled]


def _unknown_keys(
    document: Document, path: DataPath, mapping: dict[str, object], known: tuple[str, ...]
) -> list[Problem]:
    return [
        _problem(
            document,
            (*path, key),
            unknown_key(key, str(path[1]) if len(path) > 1 else ""),
            document.keys[*path, key],
        )
        for key in mapping
        if key not in known
    ]


def _describe(document: Document, index: int, error: ErrorDetails) -> tuple[DataPath, Problem]:
    """Return the path a pydantic error is about, and the problem it makes."""
    steps = error["ctx"]["at"] if error["type"] == "across_fields" else error["loc"]
    path: DataPath = (index, *steps)
    return path, _problem(document, path, explain(error, document.written.get(path)))


def _repeated_names(document: Document) -> list[Problem]:
    first: dict[str, int] = {}
    problems = []
    for index, entry in enumerate(cast("list[object]", document.data)):
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            continue
        line = document.place((index, "name")).line
        if name in first:
            message = f"the model in line {first[name]} has this name too; choose another"
            problems.append(_problem(document, (index, "name"), message))
        first.setdefault(name, line)
    return problems


def named(models: Sequence[Model], name: str) -> Model:
    """Return the model of that name. Raises ConfigurationError when models.yaml lists none."""
    for model in models:
        if model.name == name:
            return model
    raise ConfigurationError(
        f"models.yaml lists no model {name}", next_command="vllm-flows list-models"
    )

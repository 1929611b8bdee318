"""One model as it is put together for models.yaml, field by field, before it stands in a file."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import ValidationError

from vllm_flows.model_problems import CONFIG_KEYS, MODEL_KEYS, dotted, explain
from vllm_flows.models import Model

_CONFIG = "vllmConfig"
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_TEXTS = {"name", "modelURL", "revision"}
_STAND_INS = {"name": "a", "modelURL": "a/a"}


def value_of(field: str, text: str) -> object:
    """Return what a field's value is as YAML would read it: a number, or the text."""
    if field in _TEXTS or not _NUMBER.fullmatch(text):
        return text
    return float(text) if "." in text else int(text)


def entry_of(values: Mapping[str, object]) -> dict[str, object]:
    """Return the entry with these fields, of the model or of its vllmConfig, in the usual order.

    None leaves a field out. GPUs and tensorParallelSize are the same: vLLM would leave GPUs idle.
    """
    given = {field: value for field, value in values.items() if value is not None}
    gpus, size = given.get("requestGPU"), given.get("tensorParallelSize")
    if size is None and isinstance(gpus, int) and gpus > 1:
        given["tensorParallelSize"] = gpus
    if gpus is None and isinstance(size, int) and size > 1:
        given["requestGPU"] = size
    entry = {field: given[field] for field in MODEL_KEYS if field in given}
    config = {field: given[field] for field in CONFIG_KEYS if field in given}
    return {**entry, _CONFIG: config} if config else entry


def problems_of(values: Mapping[str, object]) -> dict[str, str]:
    """Return what is wrong with the fields, by field; in the words of models.yaml's own errors.

    A name or Hub id that is left out is no problem.
    """
    try:
        Model.model_validate(entry_of({**_STAND_INS, **values}))
    except ValidationError as error:
        found = error.errors(include_url=False)
    else:
        return {}
    problems: dict[str, str] = {}
    for one in found:
        steps = one["ctx"]["at"] if one["type"] == "across_fields" else one["loc"]
        problems.setdefault(dotted(steps).removeprefix(f"{_CONFIG}."), explain(one, None))
    return problems

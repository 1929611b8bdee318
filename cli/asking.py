"""What is asked about a model that is to be added, each answer checked at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import click

from cli.confirming import asked
from cli.hub_ids import ask_hub_id
from cli.output import note

if TYPE_CHECKING:
    from vllm_flows.hub_advice import HubAdvice
    from vllm_flows.observed import Verdict

_REVISION = "main"
_DEFAULTS = {"requestGPU": 1, "requestMemory": "16Gi", "pvcStorage": "50Gi"}
_QUESTIONS = {
    "requestGPU": "GPUs per replica",
    "requestMemory": "Memory per replica",
    "pvcStorage": "Volume for the weights",
}
ASKED = ("name", "modelURL", *_QUESTIONS)
"""The fields that are asked for where they are not given."""

Values = dict[str, Any]


def ask_for_rest(given: Mapping[str, Any], names: Collection[str], advice: HubAdvice) -> Values:
    """Return the values with answers for what is not given; `names` are taken already."""
    from vllm_flows.model_checks import slug

    values, revision = dict(given), str(given.get("revision", _REVISION))
    if "modelURL" in values:
        verdict = advice.look(values["modelURL"], revision)
    else:
        values["modelURL"], verdict = ask_hub_id(advice, revision)
    proposals = _DEFAULTS | _proposed(values, verdict)
    if "name" not in values:
        usual = slug(values["modelURL"].partition("/")[2])
        values["name"] = _ask("Name", "name", "" if usual in names else usual, {}, names)
    for field, question in _QUESTIONS.items():
        if field not in values:
            values[field] = _ask(question, field, proposals[field], values)
    return values


def fill_in(given: Mapping[str, Any], advice: HubAdvice) -> Values:
    """Return the values with proposals for what is not given, where defaults would not do."""
    if "pvcStorage" in given and "requestGPU" in given:
        return dict(given)
    proposed = _proposed(given, advice.look(given["modelURL"], given.get("revision", _REVISION)))
    news = {field: value for field, value in proposed.items() if value != _DEFAULTS[field]}
    return news | dict(given)


def _proposed(given: Mapping[str, Any], verdict: Verdict | None) -> Values:
    """Say what the Hub tells, and return what follows from it for fields not given."""
    from vllm_flows.proposals import proposal_for

    if "tensorParallelSize" in given:
        given = {"requestGPU": given["tensorParallelSize"], **given}
    proposed = {"requestGPU": given["requestGPU"]} if "requestGPU" in given else {}
    if verdict is None:
        return proposed
    found = proposal_for(given, verdict)
    warning = "" if verdict.described else "warning: "
    note(f"{warning}{verdict.repository}: {found.text}")
    usual = {"pvcStorage": found.storage, "requestGPU": found.gpus}
    return {field: value for field, value in usual.items() if value} | proposed


def _ask(
    question: str, field: str, default: object, values: Values, taken: Collection[str] = ()
) -> object:
    from vllm_flows.model_entry import problems_of, value_of

    def check(text: object) -> object:
        value = value_of(field, str(text).strip())
        problem = next(iter(problems_of({**values, field: value}).values()), None)
        if value in taken:
            problem = f"there is a model {value} already; choose another name"
        if problem:
            raise click.UsageError(problem)
        return value

    return asked(lambda: click.prompt(question, default or None, value_proc=check, err=True))

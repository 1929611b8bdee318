"""Hub ids offered to a person: on the shell's Tab key, and at a question."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from cli.confirming import asked
from cli.output import note

if TYPE_CHECKING:
    from vllm_flows.hub_advice import HubAdvice
    from vllm_flows.observed import Verdict

_COMPLETION_SECONDS = 1.5
_COMPLETED = 30
_LISTED = 9
_FIRST = "Hub id, such as Qwen/Qwen3-4B, or words to search the Hub for"
_AGAIN = "Hub id, or a number of the list"


def complete_hub_ids(
    ctx: click.Context,  # noqa: ARG001 -- click's signature
    param: click.Parameter,  # noqa: ARG001 -- click's signature
    incomplete: str,
) -> list[CompletionItem]:
    """Return what the Hub finds, ids that begin so alone if there are any; none without a Hub."""
    from vllm_flows.errors import ConfigurationError
    from vllm_flows.hub_advice import HubAdvice
    from vllm_flows.settings import load_settings

    try:
        endpoint = load_settings().hub_endpoint
    except ConfigurationError:  # a completion says nothing
        return []
    found = HubAdvice(endpoint, None, _COMPLETION_SECONDS).search(incomplete, _COMPLETED)
    begun = [one for one in found if one.lower().startswith(incomplete.lower())]
    return [CompletionItem(one) for one in begun or found]


def ask_hub_id(advice: HubAdvice, revision: str) -> tuple[str, Verdict | None]:
    """Ask until there is a Hub id; return it with what the Hub says, None where it is silent.

    What is no id, or none that the Hub knows, is searched for; an unknown one that is given twice
    is taken: it may be private.
    """
    from vllm_flows.model_entry import problems_of

    listed: list[str] = []
    doubted = ""
    while True:
        typed = _typed(listed)
        problem = problems_of({"modelURL": typed}).get("modelURL")
        if not problem:
            verdict = advice.look(typed, revision)
            if typed == doubted or not _is_unknown(verdict):
                return typed, verdict
            doubted = typed
            problem = f"the Hub shows no {typed}; the same once more takes it all the same"
        listed = _matches(advice, typed)
        if doubted == typed or not listed:
            note(f"Error: {problem}")
        for number, one in enumerate(listed, 1):
            note(f"  {number}  {one}")


def _typed(listed: list[str]) -> str:
    question = _AGAIN if listed else _FIRST
    typed = str(asked(lambda: click.prompt(question, err=True))).strip()
    chosen = typed.isdecimal() and 1 <= int(typed) <= len(listed)
    return listed[int(typed) - 1] if chosen else typed


def _is_unknown(verdict: Verdict | None) -> bool:
    from vllm_flows.observed import Access

    return verdict is not None and verdict.access is Access.NO_REPOSITORY


def _matches(advice: HubAdvice, typed: str) -> list[str]:
    """Search for all of it, else for the model, else for the organisation."""
    owner, _, name = typed.partition("/")
    for words in dict.fromkeys((typed, name, owner)):
        found = advice.search(words, _LISTED)
        if found:
            return found
    return []

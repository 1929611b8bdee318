"""What the Hub says of models that are served, and of the token. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from vllm_flows.errors import VllmFlowsError
from vllm_flows.health import HUB, Checked, Finding, Kind
from vllm_flows.observed import Access, Verdict
from vllm_flows.sizes import human_count

OF_THE_TOKEN = {Access.EXPIRED, Access.INVALID, Access.NO_SCOPE}
"""Refusals that all models share: they are told once."""


def judge_verdict(
    verdict: Verdict, served: str, refused: Mapping[str, str] = MappingProxyType({})
) -> list[Finding]:
    """Judge what the Hub says of a model that serves a commit; its silence is not the model's.

    `refused` are the commits that did not do when they were tried, and why.
    """
    if verdict.access is Access.SILENT or verdict.access in OF_THE_TOKEN:
        return []
    closed = verdict.access not in {Access.OPEN, Access.GRANTED}
    if closed and verdict.problems:
        problem = verdict.problems[0]
        return [Finding(Kind.ACCESS, problem.what, problem.why, problem.next_command)]
    if verdict.described and served and verdict.commit != served:
        what = f"a newer revision is out: {verdict.commit[:8]}, and {served[:8]} is served"
        if why := refused.get(verdict.commit):
            again = f"vllm-flows update {verdict.model} --again"
            return [Finding(Kind.NEWER, f"{what}: it was tried and did not do", why, again)]
        return [Finding(Kind.NEWER, what)]
    return []


def judge_hub(
    verdicts: Iterable[Verdict], token: VllmFlowsError | None, silent: VllmFlowsError | None
) -> Checked:
    """Judge what is not about one model: the Hub's silence, and the token's shortcoming."""
    found = []
    quiet = [one for one in verdicts if one.access is Access.SILENT]
    if quiet or silent:
        error = silent or quiet[0].problems[0]
        many = f"{human_count(len(quiet), 'model')}: " if quiet else ""
        found.append(_finding(Kind.NOT_MEASURED, error, f"{many}{error.what}"))
    if token:
        found.append(_finding(Kind.TOKEN, token, token.what))
    else:
        found += _refused(verdicts)
    return Checked(HUB, tuple(found))


def _refused(verdicts: Iterable[Verdict]) -> list[Finding]:
    for one in verdicts:
        if one.access in OF_THE_TOKEN and one.problems:
            return [_finding(Kind.TOKEN, one.problems[0], one.problems[0].what)]
    return []


def _finding(kind: Kind, error: VllmFlowsError, what: str) -> Finding:
    return Finding(kind, what, error.why, error.next_command)

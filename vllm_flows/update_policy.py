"""Whether a new revision of a model may be rolled out, and when. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import StrEnum

from vllm_flows.models import Model
from vllm_flows.revision_class import Change
from vllm_flows.update_window import parse_window


class May(StrEnum):
    """The answer: at once, not before a moment, when somebody agrees, or not at all."""

    NOW = "now"
    WAIT = "wait"
    ASK = "ask"
    NO = "no"


@dataclass(frozen=True)
class Permission:
    """The answer and why; `until` is set for WAIT alone, a moment in UTC."""

    answer: May
    why: str
    until: datetime | None = None


def may_update(
    model: Model,
    change: Change,
    now: datetime,
    zone: tzinfo,
    refused: str = "",
    *,
    agreed: bool = False,
    begun: bool = False,
) -> Permission:
    """Say whether a change of this class may be rolled out now.

    `now` is a moment with a time zone; `zone` is the one that the model's window is written in.
    `refused`: why the commit did not do when it was tried, empty where it was not. `agreed`:
    somebody did, who is not asked again; a window is waited for all the same. `begun`: the commit
    runs, and only has to be seen to answer.
    """
    if why := _why_not(model, change, refused):
        return Permission(May.NO, why)
    if begun:
        return Permission(May.NOW, "it runs, and was not seen to answer: it is asked")
    if change is Change.ASK and not agreed:
        return Permission(May.ASK, "what changed is for a person to decide")
    if model.update == "approve" and not agreed:
        return Permission(May.ASK, "models.yaml says update: approve")
    until = parse_window(model.update_window).opening(now, zone) if model.update_window else None
    if until:
        return Permission(May.WAIT, f"its window is {model.update_window}", until)
    why = "somebody agreed" if agreed else f"models.yaml says update: {model.update}"
    return Permission(May.NOW, why)


def _why_not(model: Model, change: Change, refused: str) -> str:
    if change not in {Change.CONFIGURATION, Change.WEIGHTS, Change.ASK}:
        return f"nothing to update: {change}"
    if model.update == "never":
        return "models.yaml says update: never"
    return did_not_do(model.name, refused) if refused else ""


def did_not_do(model: str, why: str) -> str:
    """Say that a commit was tried before and did not do, and how it is tried again."""
    again = f"`vllm-flows update {model} --again` tries it again"
    return f"was tried before and did not do ({why}); {again}"

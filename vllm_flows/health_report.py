"""What a health check found, as rows for people and as data. Pure."""

from __future__ import annotations

from typing import Any

from vllm_flows.health import Checked, Health, State
from vllm_flows.names import some_of
from vllm_flows.sizes import human_count, human_seconds

Row = dict[str, Any]

_SHOWN = 2
_NAMED = 5
_NO_MARKDOWN = {ord(sign): f"\\{sign}" for sign in "\\|<>[]*_"} | {ord("`"): "'"}


def health_rows(health: Health) -> list[Row]:
    """Return a row for each model, then for what they share; the worst of each in words."""
    return [_row(one) for one in health.checked]


def _row(one: Checked) -> Row:
    first, rate = one.first_token_seconds, one.tokens_per_second
    return {
        "model": one.name,
        "state": str(one.state),
        "ready": "-" if one.shared else f"{one.ready}/{one.wanted}",
        "first token": "-" if first is None else human_seconds(first),
        "tokens/s": "-" if rate is None else f"{rate:.3g}",
        "found": _found(one) or "-",
    }


def _found(one: Checked) -> str:
    more = len(one.findings) - _SHOWN
    texts = [f"{finding.kind}: {finding.text}" for finding in one.findings[:_SHOWN]]
    return "; ".join(texts) + (f"; and {more} more" if more > 0 else "")


def next_lines(health: Health) -> list[str]:
    """Return what to run, a line for each that is not green."""
    return [
        f"{one.name}: next: {one.findings[0].next_for(one.name)}"
        for one in health.checked
        if one.state is not State.GREEN
    ]


def page(health: Health, picture: str) -> str:
    """Return a page of Markdown: the sentence, the picture at an address, what to run."""
    rows = [
        f"| {one.name} | {one.state} | {_plain(one.findings[0].next_for(one.name))} "
        f"| {_plain(_found(one))} |"
        for one in health.checked
        if one.state is not State.GREEN
    ]
    table = ["| model | state | next | found |", "|---|---|---|---|", *rows] if rows else []
    repairs = [f"- {_plain(line)}" for line in health.repairs]
    parts = (
        [f"**{sentence(health)}**"],
        [f"![the last checks]({picture})"],
        table,
        ["What was repaired, and what was not:", "", *repairs] if repairs else [],
    )
    return "\n\n".join("\n".join(part) for part in parts if part)


def _plain(text: str) -> str:
    """Return a text that is no Markdown: what others wrote may hold anything."""
    return " ".join(text.split()).translate(_NO_MARKDOWN)


def sentence(health: Health) -> str:
    """Say it in a line."""
    counts = health.counts()
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none"
    at_fault = [one for one in health.checked if one.shared and one.state is not State.GREEN]
    shared = "".join(f"; {one.name} {one.state}" for one in at_fault)
    mended = f"; repaired since: {some_of(health.mended, _NAMED)}" if health.mended else ""
    many = human_count(sum(counts.values()), "model")
    return f"{many} checked in {human_seconds(health.seconds)}: {told}{shared}{mended}"


def health_data(health: Health) -> dict[str, Any]:
    """Return it with stable keys; times in seconds, None what was not measured."""
    return {
        "state": str(health.state),
        "at": round(health.at),
        "seconds": round(health.seconds, 1),
        "deep": health.deep,
        "models": [_data(one) for one in health.checked if not one.shared],
        "shared": [
            {"name": one.name, "state": str(one.state), "findings": _findings(one)}
            for one in health.checked
            if one.shared
        ],
        "repairs": list(health.repairs),
    }


def _data(one: Checked) -> dict[str, Any]:
    return {
        "model": one.name,
        "state": str(one.state),
        "revision": one.revision,
        "replicas": one.wanted,
        "ready": one.ready,
        "firstTokenSeconds": _rounded(one.first_token_seconds),
        "tokensPerSecond": _rounded(one.tokens_per_second),
        "seconds": round(one.seconds, 1),
        "findings": _findings(one),
    }


def _findings(one: Checked) -> list[dict[str, str]]:
    return [
        {
            "kind": str(finding.kind),
            "state": str(finding.state),
            "replica": finding.replica,
            "what": finding.what,
            "why": finding.why,
            "next": finding.next_for(one.name),
        }
        for finding in one.findings
    ]


def _rounded(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.4g}")

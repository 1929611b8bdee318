"""The trend of the last checks as a picture: SVG that needs nothing beside itself. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from math import ceil
from types import MappingProxyType
from xml.sax.saxutils import escape

from vllm_flows.health import State
from vllm_flows.health_memory import Memory, Run

_WIDTH, _HEIGHT = 720, 260
_ROW, _CELL, _ROWS = 18, 16, 20
_NAMES = 330
"""Pixels for a name of 47 characters."""
_LEFT, _TOP, _FLOOR = 48, 44, 210
_GAP = 2
_WIDEST = 40
_LABEL = 60
"""Pixels between two moments that are named."""
_COLOURS = {
    State.GREEN: "#2e9e5b",
    State.INCONCLUSIVE: "#9aa3ad",
    State.DEGRADED: "#e0a100",
    State.DOWN: "#c9372c",
}
_STYLE = "font-family:system-ui,sans-serif;font-size:12px;fill:#57606a"


def trend(
    runs: Sequence[Run], zone: tzinfo = UTC, unwell: Mapping[str, Memory] = MappingProxyType({})
) -> str:
    """Return a picture of how many models were in which state, one bar for each check.

    The oldest is on the left; the last one's numbers stand in the legend. Below are the last checks
    of each model that is `unwell`, as many as have room.
    """
    most = max((sum(run.counts.values()) for run in runs), default=0)
    parts = [_text(_LEFT, 20, "Health of all models, check by check"), *_legend(runs), *_axis(most)]
    if runs and most:
        step = min((_WIDTH - _LEFT - 12) / len(runs), _WIDEST)
        every = ceil(_LABEL / step)
        for number, run in enumerate(runs):
            left = _LEFT + number * step
            parts += _bar(run, left, step - _GAP, most, zone)
            if number % every == 0:
                moment = datetime.fromtimestamp(run.at, zone)
                parts.append(_text(left, _FLOOR + 18, f"{moment:%d %b}"))
                parts.append(_text(left, _FLOOR + 34, f"{moment:%H:%M}"))
    rows = list(unwell.items())[:_ROWS]
    height = _HEIGHT + _ROW * len(rows) + (_ROW if rows else 0)
    for number, (name, memory) in enumerate(rows):
        parts += _strip(name, memory, _HEIGHT + _ROW * number, zone)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img">\n'
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>\n{body}\n</svg>'
    )


def _strip(name: str, memory: Memory, top: float, zone: tzinfo) -> list[str]:
    """Return one model's last checks, a box each; its words are there for who points at it."""
    parts = [_text(_LEFT, top + 12, name)]
    for number, (at, state, first, rate) in enumerate(memory.checks):
        moment = datetime.fromtimestamp(at, zone)
        told = f"{moment:%Y-%m-%d %H:%M}: {state}"
        told += "" if first is None else f", first token {first:.3g} s"
        told += "" if rate is None else f", {rate:.3g} tokens/s"
        box = _box(_NAMES + number * (_CELL + _GAP), top, _CELL, _CELL, _colour(state))
        parts.append(f"<g><title>{escape(told)}</title>{box}</g>")
    return parts


def _colour(state: str) -> str:
    return next((colour for one, colour in _COLOURS.items() if one == state), "#d0d7de")


def as_address(picture: str) -> str:
    """Return the picture as an address that holds it: nothing is fetched to show it."""
    return f"data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()}"


def _legend(runs: Sequence[Run]) -> list[str]:
    parts, left = [], float(_LEFT)
    for state, colour in reversed(_COLOURS.items()):
        label = f"{runs[-1].counts.get(state, 0)} {state}" if runs else str(state)
        parts.append(_box(left, 27, 10, 10, colour))
        parts.append(_text(left + 14, 36, label))
        left += 26 + 7.5 * len(label)
    return parts


def _axis(most: int) -> list[str]:
    line = f'<line x1="{_LEFT}" y1="{_FLOOR}" x2="{_WIDTH - 12}" y2="{_FLOOR}" stroke="#d0d7de"/>'
    return [line, _text(8, _FLOOR, "0"), _text(8, _TOP + 10, str(most))] if most else [line]


def _bar(run: Run, left: float, width: float, most: int, zone: tzinfo) -> list[str]:
    """Return the bar of one check, the worst on top, with its numbers for who points at it."""
    told = ", ".join(f"{count} {state}" for state, count in run.counts.items() if count)
    parts, floor = [], float(_FLOOR)
    for state, colour in _COLOURS.items():
        height = run.counts.get(state, 0) / most * (_FLOOR - _TOP)
        if height:
            floor -= height
            parts.append(_box(left, floor, width, height, colour))
    title = escape(f"{datetime.fromtimestamp(run.at, zone):%Y-%m-%d %H:%M}: {told}")
    return [f"<g><title>{title}</title>", *parts, "</g>"]


def _box(left: float, top: float, width: float, height: float, colour: str) -> str:
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'fill="{colour}"/>'
    )


def _text(left: float, base: float, text: str) -> str:
    return f'<text x="{left:.1f}" y="{base:.1f}" style="{_STYLE}">{escape(text)}</text>'

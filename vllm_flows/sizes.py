"""Numbers as people read them."""

from __future__ import annotations

_STEP = 1000


def human_bytes(count: float) -> str:
    """Return bytes in the decimal unit that the Hub's pages use: `6.43 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < _STEP:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= _STEP
    return f"{count:.3g} TB"


def human_seconds(seconds: float) -> str:
    """Return a duration: `0.42 s`, `12 s`, `3 min 5 s`, `1 h 2 min`."""
    if seconds < 10:  # noqa: PLR2004 -- below ten seconds, tenths matter
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def human_age(seconds: float) -> str:
    """Return an age in its largest unit, as kubectl does: `45s`, `12m`, `3h`, `5d`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds:.0f}s"


def human_count(count: int, noun: str) -> str:
    """Return the count with its noun, as `1 model` or `2 models`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"

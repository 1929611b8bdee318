"""How long something may take, as Go and helm write it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def parse_duration(value: object) -> object:
    """Turn Go's notation as helm takes it (`30m`, `1h30m`, `90s`) into a timedelta.

    Raises ValueError for a string in another notation or for zero.
    """
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if not match or not any(match.groups()):
        message = f"{value!r} is not a duration such as 30m, 1h30m or 90s"
        raise ValueError(message)
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    duration = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if not duration:
        message = f"{value!r} leaves no time at all"
        raise ValueError(message)
    return duration


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
"""A setting's field that is written so."""

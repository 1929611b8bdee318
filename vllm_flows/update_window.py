"""The hours of a week in which updates may begin, as models.yaml writes them. Pure.

`Sun 02:00-05:00`, `Mon-Fri 22:00-02:00` (over midnight), `Sat,Sun 00:00-24:00`, or without days
for every day. No window begins at 24:00. Hours are those of a time zone; an hour that a change of
clocks leaves out is no hour of that day: what begins or ends in it does so when the clocks change.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SHORTEST = 3
_WEEK = len(_DAYS)
_TEXT = re.compile(r"(?:(\S+) +)?(\d{1,2}):(\d\d) *- *(\d{1,2}):(\d\d)", re.ASCII)
_MINUTE = timedelta(minutes=1)
_HOURS = 24
_MINUTES = 60
_EXAMPLES = "write it as Sun 02:00-05:00, Mon-Fri 22:00-02:00 or 01:00-04:00"


@dataclass(frozen=True)
class Window:
    """Days of the week (Monday is 0) on which the window opens, and its hours."""

    days: frozenset[int]
    begin: time
    end: time

    def opening(self, now: datetime, zone: tzinfo) -> datetime | None:
        """Return when the window opens next after `now`; None while it is open.

        `now` and the answer are moments with a time zone; the answer's is UTC.
        """
        later = []
        for begin, end in self._times(now.astimezone(zone).date(), zone):
            if begin <= now < end:
                return None
            if begin > now:
                later.append(begin)
        return min(later)

    def _times(self, today: date, zone: tzinfo) -> Iterator[tuple[datetime, datetime]]:
        """Yield beginnings and ends from yesterday to a fortnight from now."""
        for days in range(-1, 2 * _WEEK):
            day = today + timedelta(days=days)
            if day.weekday() not in self.days:
                continue
            last = day if self.end > self.begin else day + timedelta(days=1)
            begin, end = _moment(day, self.begin, zone), _moment(last, self.end, zone)
            if begin < end:
                yield begin, end


def _moment(day: date, hour: time, zone: tzinfo) -> datetime:
    """Return when it is that hour of the day, in UTC: the first time, if the clocks go back.

    For one that the clocks leave out `fold` reads it in the time from before and after the change,
    between which the change itself lies.
    """
    local = datetime.combine(day, hour, zone)
    usual, early = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    if usual <= early:
        return usual
    changed = local.replace(fold=1).utcoffset()
    minutes = [early + _MINUTE * count for count in range((usual - early) // _MINUTE)]
    found = bisect_left(
        minutes, 1, key=lambda one: int(one.astimezone(zone).utcoffset() == changed)
    )
    return early + _MINUTE * found


def parse_window(text: str) -> Window:
    """Return the window that the text means. Raises ValueError with what to write instead."""
    match = _TEXT.fullmatch(text.strip())
    if not match:
        message = f"{text[:40]!r} is not a window; {_EXAMPLES}"
        raise ValueError(message)
    days, *numbers = match.groups()
    first, first_minute, last, last_minute = map(int, numbers)
    begin, end = _hour(first, first_minute), _hour(last, last_minute)
    if first == _HOURS:
        message = f"{text[:40]!r} begins when its day ends: write 00:00 of the next; {_EXAMPLES}"
        raise ValueError(message)
    if begin == end and last != _HOURS:
        message = f"{text[:40]!r} begins when it ends; {_EXAMPLES}"
        raise ValueError(message)
    return Window(_days(days) if days else frozenset(range(_WEEK)), begin, end)


def check_window(text: str) -> str:
    """Return `text` when it is a window. Raises ValueError with what to write instead."""
    parse_window(text)
    return text


def _hour(hour: int, minute: int) -> time:
    if hour > _HOURS or minute >= _MINUTES or (hour == _HOURS and minute):
        message = f"{hour:02}:{minute:02} is no time of day; {_EXAMPLES}"
        raise ValueError(message)
    return time(hour % _HOURS, minute)


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin = _day(first)
        end = _day(last) if dash else begin
        found |= {(begin + step) % _WEEK for step in range((end - begin) % _WEEK + 1)}
    return frozenset(found)


def _day(text: str) -> int:
    word = text.capitalize()
    found = [number for number, day in enumerate(_DAYS) if day.startswith(word)]
    if len(word) < _SHORTEST or not found:
        days = ", ".join(day[:_SHORTEST] for day in _DAYS)
        message = f"{text[:20]!r} is no day of the week; days are {days}"
        raise ValueError(message)
    return found[0]

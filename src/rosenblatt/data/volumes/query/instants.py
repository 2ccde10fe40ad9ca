"""Dates and times in queries, such as '2024-01-31' and '2024-01-31 14:30:00+01:00', as nanoseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_CLOCK = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?)?"
_TIME = re.compile(_CLOCK)
_OFFSET = r"(?P<offset>Z|[+-][0-9]{2}:?[0-9]{2})"
_DATE = rf"(?P<month>[0-9]{{2}})(?:-(?P<day>[0-9]{{2}})(?:[ T]{_CLOCK}{_OFFSET}?)?)?"
_INSTANT = re.compile(rf"(?P<year>[0-9]{{4}})(?:-{_DATE})?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_instant(text: str, zone: str | None) -> int:
    """Parse a date, with or without a time, as nanoseconds since 1970; a year or a month stands for its first day.

    Args:
        text: the date.
        zone: the time zone of the column, in which dates without an offset are; None if it has none, in which case
            the date must have no offset.

    Raises ValueError if it is not a date.
    """
    match = _INSTANT.fullmatch(text)
    if not match or (match["offset"] and zone is None):
        raise ValueError(text)
    year, month, day = (int(match[name] or 1) for name in ("year", "month", "day"))
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    local = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    if match["offset"]:
        local -= _parse_offset(match["offset"])
    elif zone is not None:
        local = local.replace(tzinfo=ZoneInfo(zone))
    return (local - _EPOCH) // timedelta(microseconds=1) * 1_000 + _parse_fraction(match["fraction"])


def parse_time_of_day(text: str) -> int:
    """Parse a time of day, such as '14:30', as nanoseconds since midnight. Raises ValueError if it is none."""
    match = _TIME.fullmatch(text)
    if not match:
        raise ValueError(text)
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(text)
    return ((hour * 60 + minute) * 60 + second) * 10**9 + _parse_fraction(match["fraction"])


def _parse_fraction(digits: str | None) -> int:
    return int((digits or "").ljust(9, "0"))


def _parse_offset(text: str) -> timedelta:
    if text == "Z":
        return timedelta(0)
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return -offset if text[0] == "-" else offset

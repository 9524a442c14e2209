"""Parses every format in which providers write a duration in headers and error messages."""

from __future__ import annotations

import re
from typing import Final

_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_GO: Final = re.compile(rf"(?:{_PART.pattern})+")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_EPOCH: Final = 1e9
"""A bare number above this is a timestamp, not a duration: 2001 as epoch seconds."""


def seconds(text: str, wall: float | None = None) -> float | None:
    """`text` as seconds from now, for any of the formats below; None for any other text.

    "17.39", "6m0s", "120ms", an RFC 3339 time, an HTTP date, epoch seconds or milliseconds.

    wall: the current time in epoch seconds; without it, timestamps give None.
    """
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        return _span(text) if _GO.fullmatch(text) else _until(_moment(text), wall)
    if not abs(number) < float("inf"):
        return None
    if number < _EPOCH:
        return max(0.0, number)
    return _until(number / 1000 if number > _EPOCH * 1000 else number, wall)


def _span(text: str) -> float:
    return round(sum(float(amount) * _SECONDS[unit] for amount, unit in _PART.findall(text)), 9)


def _until(moment: float | None, wall: float | None) -> float | None:
    return None if moment is None or wall is None else max(0.0, moment - wall)


_RFC3339: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d(?:\.\d+)?)(?:[Zz]|([+-])(\d\d):?(\d\d))?")
_HTTP_DATE: Final = re.compile(r"(?:[A-Za-z]{3}, )?(\d\d?)[ -]([A-Za-z]{3})[ -](\d{4}) (\d\d):(\d\d):(\d\d) (?:GMT|UTC|\+0000)")
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def _moment(text: str) -> float | None:
    """Epoch seconds of a date in RFC 3339 or HTTP format, in UTC if it has no zone; None for any other text."""
    if (found := _RFC3339.fullmatch(text)) is not None:
        year, month, day, hour, minute, second, sign, zone_hours, zone_minutes = found.groups()
        zone = (int(zone_hours) * 3600 + int(zone_minutes) * 60) * (-1 if sign == "-" else 1) if sign else 0
        return _epoch(int(year), int(month), int(day)) + int(hour) * 3600 + int(minute) * 60 + float(second) - zone
    if (found := _HTTP_DATE.fullmatch(text)) is not None and found[2].lower() in _MONTHS:
        month_number = _MONTHS.index(found[2].lower()) + 1
        return _epoch(int(found[3]), month_number, int(found[1])) + int(found[4]) * 3600 + int(found[5]) * 60 + int(found[6])
    return None


def _epoch(year: int, month: int, day: int) -> int:
    """Epoch seconds of a day in the Gregorian calendar. The year is counted from March so that leap days come last."""
    if month < 3:
        year, month = year - 1, month + 12
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 1
    return (days - 719_468) * 86_400


_UNIT: Final = r"(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)"
_HINT: Final = re.compile(
    rf"(?:try again|retry|retry your request|wait)(?: in| after)?(?: about| at least)? ((?:\d+(?:\.\d+)?\s?{_UNIT}(?![a-z])\s?)+)",
    re.IGNORECASE,
)
_WORD: Final = re.compile(rf"(\d+(?:\.\d+)?)\s?({_UNIT})(?![a-z])", re.IGNORECASE)


def hinted(message: str) -> float | None:
    """Seconds from a message such as "Please try again in 5.289s" (OpenAI, Groq) or "Please retry after 27 seconds" (Azure)."""
    found = _HINT.search(message)
    if found is None:
        return None
    return sum(float(amount) * _SECONDS[_short(unit.lower())] for amount, unit in _WORD.findall(found.group(1)))


def _short(unit: str) -> str:
    return "ms" if unit == "ms" or unit.startswith("milli") else unit[0]

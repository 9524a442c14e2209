"""Every way providers write a span of time in headers and error texts."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_GO: Final = re.compile(rf"(?:{_PART.pattern})+")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_EPOCH: Final = 1e9
"""A bare number above this is a moment, not a span: 2001 in seconds."""


def seconds(text: str, wall: float | None = None) -> float | None:
    """`text` as seconds from now: "17.39", "6m0s", "120ms", an RFC 3339 time, an HTTP date, epoch seconds or milliseconds.

    wall: the time now as epoch seconds; without it moments cannot be told. None for what is none of these.
    """
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        return _span(text) if _GO.fullmatch(text) else _moment(text, wall)
    if number != number or number in (float("inf"), float("-inf")):
        return None
    if number < _EPOCH:
        return max(0.0, number)
    return None if wall is None else max(0.0, (number / 1000 if number > _EPOCH * 1000 else number) - wall)


def _span(text: str) -> float:
    return sum(float(amount) * _SECONDS[unit] for amount, unit in _PART.findall(text))


def _moment(text: str, wall: float | None) -> float | None:
    if wall is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        try:
            when = parsedate_to_datetime(text)
        except ValueError:
            return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, when.timestamp() - wall)


_HINT: Final = re.compile(
    r"(?:try again|retry) (?:in|after) (?:about )?((?:\d+(?:\.\d+)?\s?(?:ms|seconds?|secs?|minutes?|s|m|h|d)\s?)+)", re.IGNORECASE
)
_WORD: Final = re.compile(r"(\d+(?:\.\d+)?)\s?(ms|s|m|h|d)[a-z]*", re.IGNORECASE)


def hinted(message: str) -> float | None:
    """Seconds from a text such as "Please try again in 5.289s" (OpenAI, Groq)."""
    found = _HINT.search(message)
    if found is None:
        return None
    return sum(float(amount) * _SECONDS[unit.lower()] for amount, unit in _WORD.findall(found.group(1)))

"""Rate-limit headers of every family, as `QuotaView`s. Replies without any cost next to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headrace.dialects.durations import seconds
from headrace.limits.view import QuotaView, UnitName
from headrace.wire import Headers

# name of the limit in the header → unit, seconds of its window where the name says so
_NAMES: Final[Mapping[str, tuple[UnitName, float | None]]] = {
    "requests": ("requests", None),
    "tokens": ("tokens", None),
    "input-tokens": ("input", None),
    "output-tokens": ("output", None),
    "requests-minute": ("requests", 60.0),
    "requests-hour": ("requests", 3600.0),
    "requests-day": ("requests", 86400.0),
    "tokens-minute": ("tokens", 60.0),
    "tokens-hour": ("tokens", 3600.0),
    "tokens-day": ("tokens", 86400.0),
    "req-minute": ("requests", 60.0),
    "req-10-second": ("requests", 10.0),
    "tokens-prompt": ("input", 60.0),
    "tokens-generated": ("output", 60.0),
}

_PREFIXES: Final = ("x-ratelimit-", "anthropic-ratelimit-")
_FIELDS: Final = ("limit", "remaining", "reset")

UNLIMITED: Final = float(2**62)
"""Cerebras says 9223372036854767616 where it sets no limit."""

# Groq's request headers are the day's, its token headers the minute's (console.groq.com/docs/rate-limits, read 2026-11).
_WINDOWS: Final[Mapping[str, Mapping[UnitName, float]]] = {"groq": {"requests": 86400.0, "tokens": 60.0}}


def read_quota(headers: Mapping[str, str], *, family: str = "", now_wall: float | None = None) -> tuple[QuotaView, ...]:
    """What the headers say of each limit; () when they say nothing.

    family: the provider's `quota` column. now_wall: epoch seconds, for headers that give moments instead of spans.
    """
    if isinstance(headers, Headers) and not any(b"atelimit" in name for name, _ in headers.raw):
        return ()
    found: dict[str, dict[str, str]] = {}
    for header, value in headers.items():
        name, field = _split(header.lower())
        if name is not None:
            found.setdefault(name, {})[field] = value
    windows = _WINDOWS.get(family, {})
    return tuple(view for name, fields in found.items() if (view := _view(name, fields, windows, now_wall)) is not None)


def _split(header: str) -> tuple[str | None, str]:
    """`x-ratelimit-limit-requests` and `anthropic-ratelimit-requests-limit` as ("requests", "limit")."""
    for prefix in _PREFIXES:
        if header.startswith(prefix):
            rest = header.removeprefix(prefix)
            for field in _FIELDS:
                if rest.startswith(f"{field}-"):
                    return rest.removeprefix(f"{field}-"), field
                if rest.endswith(f"-{field}"):
                    return rest.removesuffix(f"-{field}"), field
    return None, ""


def _view(name: str, fields: Mapping[str, str], windows: Mapping[UnitName, float], wall: float | None) -> QuotaView | None:
    known = _NAMES.get(name)
    if known is None:
        return None
    unit, window = known
    limit, remaining = _number(fields.get("limit")), _number(fields.get("remaining"))
    if limit is None and remaining is None:
        return None
    reset = fields.get("reset")
    return QuotaView(unit, limit, remaining, None if reset is None else seconds(reset, wall), window or windows.get(unit))


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < UNLIMITED else None

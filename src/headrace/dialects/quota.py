"""Rate-limit headers of all providers, read into `QuotaView`s. Responses without any cost almost nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from headrace.limits.view import QuotaView, UnitName
from headrace.wire import Headers

MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86_400.0
MONTH: Final = 30 * DAY

# The limit's name in the header → its unit, and its window in seconds if the name implies one.
_NAMES: Final[Mapping[str, tuple[UnitName, float | None]]] = {
    "": ("requests", None),  # `x-ratelimit-limit` and `ratelimit-limit` alone: Together, OpenRouter, Hugging Face
    "requests": ("requests", None),
    "tokens": ("tokens", None),
    "input-tokens": ("input", None),
    "output-tokens": ("output", None),
    "project-requests": ("requests", None),
    "project-tokens": ("tokens", None),
    "tokens_usage_based": ("tokens", None),
    "minute": ("requests", MINUTE),
    "requests-minute": ("requests", MINUTE),
    "requests-hour": ("requests", HOUR),
    "requests-day": ("requests", DAY),
    "tokens-minute": ("tokens", MINUTE),
    "tokens-hour": ("tokens", HOUR),
    "tokens-day": ("tokens", DAY),
    "tokens-month": ("tokens", MONTH),
    "req-minute": ("requests", MINUTE),
    "req-10-second": ("requests", 10.0),
    # Fireworks (docs.fireworks.ai/serverless/rate-limits, read 2026-11); cached prompt tokens count in the first only
    "tokens-prompt": ("input", MINUTE),
    "tokens-cache-adjusted-prompt": ("input", MINUTE),
    "tokens-generated": ("output", MINUTE),
    # Mistral's older names (recorded 2024-2025), for token limits
    "bysize": ("tokens", MINUTE),
    "bysize-minute": ("tokens", MINUTE),
    "bysize-month": ("tokens", MONTH),
}

_HEADER: Final = re.compile(
    r"(?:x-|anthropic-)?rate-?limit(?P<bysize>bysize)?"
    r"(?:-(?P<field>limit|remaining|reset|renewalperiod)(?:-(?P<after>[\w-]+))?|-(?P<before>[\w-]+?)-(?P<last>limit|remaining|reset))"
)

UNLIMITED: Final = float(2**62)
"""Cerebras sends 9223372036854767616 where it sets no limit (recorded through Hugging Face)."""

_WINDOWS: Final[Mapping[str, Mapping[UnitName, float]]] = {
    # Groq's request headers are per day, its token headers per minute (console.groq.com/docs/rate-limits, read 2026-11).
    "groq": {"requests": DAY, "tokens": MINUTE},
    # docs.together.ai/docs/rate-limits, read 2026-11
    "together": {"requests": 1.0},
    # huggingface.co/docs/hub/rate-limits, read 2026-11
    "huggingface": {"requests": 300.0},
}


def read_quota(headers: Mapping[str, str], *, family: str = "", now_wall: float | None = None) -> tuple[QuotaView, ...]:
    """The state of each rate limit in the headers; () if there is none.

    family: the provider's `quota` column. now_wall: epoch seconds, for headers with timestamps instead of durations.
    """
    if type(headers) is Headers:
        for name, _ in headers.raw:
            if b"limit" in name.lower():
                break
        else:
            return ()
    found: dict[str, dict[str, str]] = {}
    for header, value in headers.items():
        split = _split(header)
        if split is not None:
            found.setdefault(split[0], {})[split[1]] = value
    views = [_view(name, fields, _WINDOWS.get(family, {}), now_wall) for name, fields in found.items()]
    return tuple([view for view in views if view is not None]) or _draft(headers)


@lru_cache(maxsize=512)
def _split(header: str) -> tuple[str, str] | None:
    """The limit's name and field: ("requests", "limit") for `x-ratelimit-limit-requests` and `anthropic-ratelimit-requests-limit`."""
    found = _HEADER.fullmatch(header.lower())
    if found is None:
        return None
    return "-".join(filter(None, (found["bysize"], found["after"] or found["before"]))), found["field"] or found["last"]


def _view(name: str, fields: Mapping[str, str], windows: Mapping[UnitName, float], wall: float | None) -> QuotaView | None:
    known = _NAMES.get(name)
    if known is None:
        return None
    unit, window = known
    limit, remaining = _number(fields.get("limit")), _number(fields.get("remaining"))
    if limit is None and remaining is None:
        return None
    renewal = _number(fields.get("renewalperiod"))
    reset = _seconds(fields["reset"], wall) if "reset" in fields else None
    if reset is not None and renewal and reset > renewal:
        reset /= 1000  # Azure sends seconds or milliseconds: 500 for one of 120 requests per minute (recorded 2026)
    return QuotaView(unit, limit, remaining, reset, window or renewal or windows.get(unit))


def _seconds(text: str, wall: float | None) -> float | None:
    from headrace.dialects.durations import seconds  # late: most responses have no such time

    return seconds(text, wall)


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < UNLIMITED else None


_ITEM: Final = re.compile(r'"?([\w.:-]+)"?((?:\s*;\s*\w+=(?:"[^"]*"|[^;,"]*))+)')
_PARAMETER: Final = re.compile(r';\s*(\w+)=(?:"([^"]*)"|([^;,"]*))')
_DRAFT_UNITS: Final[Mapping[str, UnitName]] = {"requests": "requests", "tokens": "tokens"}


def _draft(headers: Mapping[str, str]) -> tuple[QuotaView, ...]:
    """Reads `RateLimit: "name";r=50;t=30` with `RateLimit-Policy: "name";q=100;w=60` (draft-ietf-httpapi-ratelimit-headers-11)."""
    policies = dict(_items(headers.get("ratelimit-policy", "")))
    views = []
    for name, state in _items(headers.get("ratelimit", "")):
        policy = policies.get(name, {})
        unit = _DRAFT_UNITS.get(policy.get("qu", "requests"))
        if unit is not None:
            given = (_number(policy.get("q")), _number(state.get("r")), _number(state.get("t")), _number(policy.get("w")))
            views.append(QuotaView(unit, *given))
    return tuple(views)


def _items(header: str) -> list[tuple[str, dict[str, str]]]:
    return [
        (name, {parameter: quoted or bare.strip() for parameter, quoted, bare in _PARAMETER.findall(parameters)})
        for name, parameters in _ITEM.findall(header)
    ]

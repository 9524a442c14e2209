"""Every recorded word of a provider on its limits is understood, or known to say nothing of requests and tokens."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from conformance.corpus import Exchange, everything, folder
from headrace.dialects.durations import seconds
from headrace.dialects.quota import UNLIMITED, read_quota
from headrace.limits import QuotaView
from headrace.providers.catalog import catalog

pytestmark = pytest.mark.skipif(
    folder() is None,
    reason="no recorded traffic here: set HEADRACE_WIRE to its folder (shared/wire beside the repository is found by itself)",
)

WORD = re.compile(r"rate-?limit|retry-after")
OF_SOMETHING_ELSE = re.compile(
    r"retry-after(-ms)?"  # read below
    r"|.*-(input-images|audio-seconds|input-characters|ocr-pages)(-minute)?"  # what we do not count
    r"|.*-query-cost"  # what this one call took
    r"|x-ratelimit|x-ratelimit-(key|abusepenalty-active)"  # names and flags
    r"|x-ratelimit-renewalperiod-(requests|tokens)"  # the window: read below
    r"|x-ratelimit-(requests|tokens)"  # a gateway's own spelling of a limit, once
    r"|llm_provider-.*"  # a gateway telling of another's headers, which it sends as well
)
CATALOG = {"together": "together_ai", "pydantic-gateway": "openai", "local-openai-compatible": "openai", "bedrock-mantle": "openai"}


def family(provider: str) -> str:
    row = catalog().get(CATALOG.get(provider, provider))
    return row.quota if row is not None else ""


def spoken() -> Iterator[tuple[Exchange, str, str]]:
    """Exchanges, and their headers about limits."""
    for exchange in everything():
        for name, value in exchange.headers.items():
            if WORD.search(name.lower()):
                yield exchange, name.lower(), value


def number(value: str) -> float | None:
    return float(value) if re.fullmatch(r"\d+(\.\d+)?", value) else None


def redacted(value: str) -> bool:
    """By its recorder; or the number with which Cerebras says that there is no limit."""
    return "XXX" in value or (number(value) or 0) >= UNLIMITED


def said_by(views: tuple[QuotaView, ...], name: str, value: str) -> bool:
    """Whether one of the views has what this header says."""
    if "reset" in name:
        wanted = seconds(value, 0.0)
        return wanted is not None and any(view.reset in (wanted, wanted / 1000) for view in views)
    field = "limit" if re.search(r"limit-limit|-limit$|bysize-limit|ratelimit-limit", name) else "remaining"
    return any(getattr(view, field) == number(value) for view in views)


def test_every_recorded_limit_remainder_and_reset_is_read() -> None:
    seen, missed = Counter[str](), Counter[str]()
    for exchange, name, value in spoken():
        if OF_SOMETHING_ELSE.fullmatch(name) or redacted(value):
            continue
        views = read_quota(exchange.headers, family=family(exchange.provider), now_wall=0.0)
        (seen if said_by(views, name, value) else missed)[f"{exchange.provider} {name}"] += 1
    assert not missed
    assert sum(seen.values()) > 5_000


def test_every_recorded_retry_after_is_read() -> None:
    waits = [(value, seconds(value, 0.0)) for _, name, value in spoken() if name.startswith("retry-after")]
    assert len(waits) >= 28
    assert all(wait == float(value) for value, wait in waits)


def test_azures_word_on_its_window_is_believed() -> None:
    periods = [
        (exchange, value)
        for exchange, name, value in spoken()
        if name == "x-ratelimit-renewalperiod-requests" and not redacted(exchange.headers["x-ratelimit-limit-requests"])
    ]
    assert periods
    for exchange, value in periods:
        [view] = [view for view in read_quota(exchange.headers, family="openai") if view.unit == "requests"]
        assert view.window == float(value)
        assert view.reset is not None
        assert view.reset <= view.window


def test_groqs_requests_are_the_days_and_its_tokens_the_minutes() -> None:
    windows = {
        (view.unit, view.window)
        for exchange in everything()
        if exchange.provider == "groq"
        for view in read_quota(exchange.headers, family=family("groq"))
    }
    assert windows == {("requests", 86_400.0), ("tokens", 60.0)}

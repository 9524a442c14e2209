"""Rate-limit headers of every family, and the ways they write time."""

from __future__ import annotations

import calendar
import email.utils
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.dialects.durations import hinted, seconds
from headrace.dialects.quota import read_quota
from headrace.limits.view import QuotaView
from headrace.wire import Headers

NOW = 1_787_000_000.0


@pytest.mark.parametrize(
    ("family", "headers", "views"),
    [
        (
            "openai",
            {
                "x-ratelimit-limit-requests": "500",
                "x-ratelimit-remaining-requests": "499",
                "x-ratelimit-reset-requests": "120ms",
                "x-ratelimit-limit-tokens": "200000",
                "x-ratelimit-remaining-tokens": "199730",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            (QuotaView("requests", 500, 499, 0.12), QuotaView("tokens", 200_000, 199_730, 360.0)),
        ),
        (
            "openai",
            {
                "x-ratelimit-limit-project-tokens": "30000000",
                "x-ratelimit-remaining-project-tokens": "29999828",
                "x-ratelimit-reset-project-tokens": "0s",
            },
            (QuotaView("tokens", 30_000_000, 29_999_828, 0.0),),
        ),
        (
            "openai",
            {
                "x-ratelimit-limit-requests": "250",
                "x-ratelimit-remaining-requests": "248",
                "x-ratelimit-reset-requests": "1",
                "x-ratelimit-renewalperiod-requests": "60",
            },
            (QuotaView("requests", 250, 248, 1.0, 60.0),),
        ),
        (  # Symptom: after one of 120 requests a minute the limit was said to be whole again in eight minutes.
            "openai",
            {
                "x-ratelimit-limit-requests": "120",
                "x-ratelimit-remaining-requests": "119",
                "x-ratelimit-reset-requests": "500",
                "x-ratelimit-renewalperiod-requests": "60",
            },
            (QuotaView("requests", 120, 119, 0.5, 60.0),),
        ),
        (
            "groq",
            {
                "x-ratelimit-limit-requests": "14400",
                "x-ratelimit-remaining-requests": "14398",
                "x-ratelimit-reset-requests": "2m59.56s",
                "x-ratelimit-limit-tokens": "6000",
                "x-ratelimit-remaining-tokens": "5987",
                "x-ratelimit-reset-tokens": "26ms",
            },
            (QuotaView("requests", 14_400, 14_398, 179.56, 86_400.0), QuotaView("tokens", 6000, 5987, 0.026, 60.0)),
        ),
        (
            "mistral",
            {
                "x-ratelimit-limit-tokens-minute": "500000",
                "x-ratelimit-remaining-tokens-minute": "499000",
                "x-ratelimit-limit-req-10-second": "60",
                "x-ratelimit-tokens-query-cost": "32",
            },
            (QuotaView("tokens", 500_000, 499_000, None, 60.0), QuotaView("requests", 60, None, None, 10.0)),
        ),
        (
            "mistral",
            {
                "ratelimitbysize-limit": "500000",
                "ratelimitbysize-remaining": "467979",
                "ratelimitbysize-reset": "19",
                "ratelimitbysize-query-cost": "32021",
            },
            (QuotaView("tokens", 500_000, 467_979, 19.0, 60.0),),
        ),
        (
            "together",
            {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "9", "x-ratelimit-reset": "2", "x-ratelimit": "false"},
            (QuotaView("requests", 10, 9, 2.0, 1.0),),
        ),
        (
            "cerebras",
            {
                "x-ratelimit-remaining-requests-day": "2879999",
                "x-ratelimit-limit-tokens-minute": "9223372036854767616",
                "x-ratelimit-remaining-tokens-minute": "9223372036854767616",
            },
            (QuotaView("requests", None, 2_879_999, None, 86_400.0),),
        ),
        (
            "cerebras",
            {
                "x-ratelimit-limit-tokens-minute": "60000",
                "x-ratelimit-remaining-tokens-minute": "100",
                "x-ratelimit-reset-tokens-minute": "33.0118",
            },
            (QuotaView("tokens", 60_000, 100, 33.0118, 60.0),),
        ),
        ("xai", {"x-ratelimit-limit-requests": "1800", "x-ratelimit-remaining-requests": "1799"}, (QuotaView("requests", 1800, 1799),)),
        (
            "huggingface",
            {"ratelimit-limit": "1000", "ratelimit-remaining": "998", "ratelimit-reset": "17"},
            (QuotaView("requests", 1000, 998, 17.0, 300.0),),
        ),
        (
            "huggingface",
            {"ratelimit": '"api";r=50;t=30', "ratelimit-policy": '"api";q=100;w=300'},
            (QuotaView("requests", 100, 50, 30.0, 300.0),),
        ),
        (
            "fireworks",
            {
                "x-ratelimit-limit-tokens-prompt": "60000",
                "x-ratelimit-remaining-tokens-prompt": "59000",
                "x-ratelimit-limit-tokens-generated": "6000",
            },
            (QuotaView("input", 60_000, 59_000, None, 60.0), QuotaView("output", 6000, None, None, 60.0)),
        ),
        (
            "anthropic",
            {
                "anthropic-ratelimit-input-tokens-limit": "400000",
                "anthropic-ratelimit-input-tokens-remaining": "399000",
                "anthropic-ratelimit-input-tokens-reset": "2026-08-17T20:54:20Z",
            },
            (QuotaView("input", 400_000, 399_000, 60.0),),
        ),
        (
            "openrouter",
            {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1787000060000"},
            (QuotaView("requests", 20, 0, 60.0),),
        ),
        ("openai", {"x-ratelimit-limit-requests": "X-RATELIMIT-XXX", "content-type": "application/json"}, ()),
        ("openai", {"content-type": "application/json", "retry-after": "3"}, ()),
        ("openai", {}, ()),
    ],
)
def test_each_family_is_read(family: str, headers: dict[str, str], views: tuple[QuotaView, ...]) -> None:
    assert read_quota(Headers.of(headers), family=family, now_wall=NOW) == views
    assert read_quota(headers, family=family, now_wall=NOW) == views


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0.0),
        ("17.39", 17.39),
        ("12ms", 0.012),
        ("0s", 0.0),
        ("1.2s", 1.2),
        ("6m0s", 360.0),
        ("1h2m3s", 3723.0),
        ("59.56s", 59.56),
        ("250us", 0.00025),
        ("2d", 172_800.0),
        (" 5 ", 5.0),
        ("-3", 0.0),
        ("1787000010", 10.0),
        ("1787000010500", 10.5),
        ("1786999000", 0.0),
        ("2026-08-17T20:53:30Z", 10.0),
        ("2026-08-17T22:53:30+02:00", 10.0),
        ("2026-08-17T20:53:30.5Z", 10.5),
        ("Mon, 17 Aug 2026 20:53:30 GMT", 10.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("5 parsecs", None),
        ("2026-13", None),
        ("12msx", None),
    ],
)
def test_every_way_to_write_time(text: str, value: float | None) -> None:
    assert seconds(text, NOW) == (None if value is None else pytest.approx(value, abs=1e-6))


def test_without_a_clock_a_moment_cannot_be_told() -> None:
    assert seconds("2026-08-17T20:53:30Z") is None
    assert seconds("1787000010") is None
    assert seconds("10") == 10.0


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))
def test_dates_agree_with_the_calendar(moment: datetime) -> None:
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    epoch = calendar.timegm(moment.timetuple())
    for text in (moment.isoformat(), email.utils.format_datetime(moment, usegmt=True)):
        assert seconds(text, 0.0) == epoch


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Please try again in 5.289s. Visit", 5.289),
        ("Try again in 1h2m3s", 3723.0),
        ("Please retry after 27 seconds.", 27.0),
        ("retry in 500 milliseconds", 0.5),
        ("Please retry after 1 second.", 1.0),
        ("Please wait 2 minutes before", 120.0),
        ("try again after 24 hours", 86_400.0),
        ("Please try again later", None),
        ("wait 5 months", None),
    ],
)
def test_hints_in_words(text: str, value: float | None) -> None:
    assert hinted(text) == (None if value is None else pytest.approx(value))

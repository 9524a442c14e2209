"""Limits as providers hold them: tables of moments, and what may never happen whatever comes."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.simulator.durations import go_duration
from headrace.simulator.enforce import TICK, Admitted, Cost, Enforcer, FixedWindow, Meter, Refused, Rule, Shape, SlidingLog, TokenBucket

ONE = Cost(10, 20)


def requests(amount: float, window: float = 60.0, shape: Shape = "sliding", **more: Any) -> Rule:
    return Rule("requests", amount, window, shape, **more)


def verdicts(enforcer: Enforcer, moments: list[float], cost: Cost = ONE) -> str:
    """One letter per request: a(dmitted) or r(efused)."""
    return "".join("a" if isinstance(enforcer.admit(now, cost), Admitted) else "r" for now in moments)


@pytest.mark.parametrize(
    ("rule", "moments", "expected"),
    [
        pytest.param(requests(3), [0, 1, 2, 3, 59.9, 60, 61, 61], "aaarraar", id="a sliding log frees each request a minute later"),
        pytest.param(
            requests(3, shape="fixed"), [0, 1, 2, 3, 59.9, 60, 61, 62, 63], "aaarraaar", id="a fixed window frees all at its turn"
        ),
        pytest.param(requests(3, shape="fixed", phase=30), [0, 1, 2, 29, 30, 31], "aaaraa", id="a fixed window turns at its phase"),
        pytest.param(requests(60, shape="bucket", burst=3), [0, 0, 0, 0, 1, 1, 2.5, 3, 3], "aaararaar", id="a bucket refills steadily"),
        pytest.param(requests(6, shape="bucket", burst=1), [0, 1, 9.9, 10, 11], "arrar", id="a bucket holds at least one request"),
        pytest.param(requests(2, 1.0), [0, 0.5, 0.9, 1.0, 1.4, 1.5], "aarara", id="a window of one second"),
        pytest.param(requests(2, 10.0), [0, 1, 9.9, 10, 10.5, 11], "aarara", id="a window of ten seconds"),
    ],
)
def test_requests_are_let_in_by_the_rule(rule: Rule, moments: list[float], expected: str) -> None:
    assert verdicts(Enforcer([rule]), moments) == expected


def test_all_limits_hold_at_once_and_a_refusal_charges_none_of_them() -> None:
    enforcer = Enforcer([requests(100), Rule("tokens", 100), requests(2, 1.0)])
    assert verdicts(enforcer, [0, 0.1, 0.2], Cost(10, 20)) == "aar"
    assert enforcer.gauges[1].meter.room(0.2) == 40
    assert verdicts(enforcer, [2], Cost(10, 40)) == "r"
    assert enforcer.gauges[0].meter.room(2) == 98
    assert verdicts(enforcer, [2], Cost(10, 30)) == "a"


@pytest.mark.parametrize(
    ("accounting", "estimate", "arrival", "during", "end"),
    [
        ("reserve", "sum", 110, 110, 110),
        ("reserve", "max", 100, 100, 100),
        ("settle", "sum", 110, 110, 40),
        ("settle", "max", 100, 100, 30),
        ("post", "sum", 10, 40, 40),
    ],
)
def test_tokens_are_charged_as_the_provider_accounts(accounting: Any, estimate: Any, arrival: int, during: int, end: int) -> None:
    enforcer = Enforcer([Rule("tokens", 1000)], accounting=accounting, estimate=estimate)
    meter = enforcer.gauges[0].meter
    admitted = enforcer.admit(0, Cost(10, 100))
    assert isinstance(admitted, Admitted)
    assert 1000 - meter.room(0) == arrival
    for second in range(3):
        enforcer.produce(second, admitted, 10)
    assert 1000 - meter.room(3) == during
    enforcer.end(4, admitted)
    assert 1000 - meter.room(4) == end
    enforcer.end(5, admitted)
    assert 1000 - meter.room(5) == end, "the end is counted once"


def test_input_and_output_are_limited_apart_and_cached_input_is_free() -> None:
    enforcer = Enforcer([Rule("input_tokens", 100), Rule("output_tokens", 50)], accounting="post")
    admitted = enforcer.admit(0, Cost(90, 500, cached=80))
    assert isinstance(admitted, Admitted)
    enforcer.produce(1, admitted, 60)
    assert [gauge.meter.room(1) for gauge in enforcer.gauges] == [90, -10]
    refused = enforcer.admit(2, Cost(10, 1))
    assert isinstance(refused, Refused)
    assert refused.scope == "output_tokens/60s", "output in debt lets nothing in, however small"
    assert isinstance(enforcer.admit(61.5, Cost(95, 1)), Admitted)


def test_output_produced_after_the_fact_makes_the_next_wait() -> None:
    enforcer = Enforcer([Rule("tokens", 600, shape="bucket")], accounting="post")
    admitted = enforcer.admit(0, Cost(100, 9999))
    assert isinstance(admitted, Admitted)
    enforcer.produce(0, admitted, 700)
    refused = enforcer.admit(0, Cost(100, 0))
    assert isinstance(refused, Refused)
    assert refused.retry_after == pytest.approx(30, abs=1e-5)


def test_concurrency_counts_until_the_end() -> None:
    enforcer = Enforcer([], concurrency=2)
    first, second = enforcer.admit(0, ONE), enforcer.admit(0, ONE)
    assert isinstance(first, Admitted)
    assert isinstance(second, Admitted)
    refused = enforcer.admit(1, ONE)
    assert isinstance(refused, Refused)
    assert (refused.scope, refused.retry_after) == ("concurrency", None)
    enforcer.end(2, first)
    enforcer.end(2, first)
    assert enforcer.in_flight == 1
    assert verdicts(enforcer, [2, 2]) == "ar"
    assert enforcer.peak_in_flight == 2


@pytest.mark.parametrize(("count_failed", "room"), [(True, 7), (False, 10)])
def test_failed_requests_count_or_are_given_back(count_failed: bool, room: int) -> None:
    enforcer = Enforcer([requests(10)], count_failed=count_failed)
    for second in range(3):
        admitted = enforcer.admit(second, ONE)
        assert isinstance(admitted, Admitted)
        enforcer.end(second, admitted, failed=True)
    assert enforcer.gauges[0].meter.room(3) == room


@pytest.mark.parametrize("shape", ["bucket", "fixed", "sliding"])
def test_pestering_prolongs_a_refusal_but_leaves_no_debt(shape: Shape) -> None:
    patient, pest = (Enforcer([requests(60, shape=shape)], count_failed=True) for _ in range(2))
    assert verdicts(patient, [0.0] * 60) == verdicts(pest, [0.0] * 60) == "a" * 60
    assert "a" not in verdicts(pest, [0.5 + step / 1000 for step in range(1000)])
    assert "a" not in verdicts(pest, [1.5 + step / 20 for step in range(1000)])
    assert verdicts(pest, [200.0 + step / 100 for step in range(61)]) == "a" * 60 + "r"
    assert verdicts(patient, [60.001]) == "a"


@pytest.mark.parametrize("shape", ["bucket", "fixed", "sliding"])
def test_what_never_fits_says_so_at_once(shape: Shape) -> None:
    refused = Enforcer([Rule("tokens", 100, shape=shape)]).admit(0, Cost(60, 60))
    assert isinstance(refused, Refused)
    assert refused.retry_after is None
    assert "must be reduced" in refused.message


def test_a_refusal_names_the_limit_that_takes_longest() -> None:
    enforcer = Enforcer([requests(1), Rule("tokens", 60, 10.0)])
    enforcer.admit(0, Cost(30, 30))
    refused = enforcer.admit(5, Cost(30, 30))
    assert isinstance(refused, Refused)
    assert (refused.scope, refused.unit) == ("requests/60s", "requests")
    assert refused.message == "on requests per min (RPM): Limit 1, Used 1, Requested 1. Please try again in 55s."


def test_the_view_shows_limit_remaining_and_reset() -> None:
    enforcer = Enforcer([requests(600, shape="bucket"), Rule("tokens", 60_000, shape="bucket")])
    enforcer.admit(0, Cost(100, 200))
    views = enforcer.view(0, "requests"), enforcer.view(0, "tokens")
    assert [(view.limit, view.remaining, round(view.reset, 6)) for view in views if view] == [(600, 599, 0.1), (60_000, 59_700, 0.3)]
    assert enforcer.view(0, "input_tokens") is None


@pytest.mark.parametrize("shape", ["bucket", "fixed", "sliding"])
def test_limits_can_change_and_what_was_used_stays_used(shape: Shape) -> None:
    enforcer = Enforcer([requests(10, shape=shape)])
    assert verdicts(enforcer, [0.0] * 8) == "a" * 8
    enforcer.change([requests(9, shape=shape)], None)
    assert verdicts(enforcer, [0.0] * 2) == "ar"
    enforcer.change([requests(20, shape=shape), Rule("tokens", 90)], 3)
    assert verdicts(enforcer, [0.0] * 5) == "rrrrr", "nine are in flight"
    enforcer.change([requests(20, shape=shape), Rule("tokens", 90)], None)
    assert verdicts(enforcer, [0.0] * 5) == "aaarr", "the new limit on tokens lets three in"


def test_saturated_minutes_and_their_use_are_counted() -> None:
    enforcer = Enforcer([requests(60), Rule("tokens", 60_000)])
    for second in range(200):
        enforcer.admit(float(second), Cost(10, 20))
    assert (enforcer.saturation.minutes, enforcer.saturation.by) == (3, {"requests/60s": 3})
    assert enforcer.saturation.use == pytest.approx(3)
    enforcer.forget()
    assert enforcer.saturation.minutes == 0


def test_an_idle_minute_is_not_saturated() -> None:
    enforcer = Enforcer([requests(60)])
    for moment in (0.0, 1.0, 61.0, 300.0, 900.0):
        enforcer.admit(moment, ONE)
    assert enforcer.saturation.minutes == 0


steps = st.lists(st.tuples(st.floats(0, 30, allow_nan=False), st.floats(0, 12, allow_nan=False)), min_size=1, max_size=60)


def admitted_by(meter: Meter, plan: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """What a meter lets in of a plan of (pause, amount), as (moment, amount)."""
    now, log = 1000.0, []
    for pause, amount in plan:
        now += pause
        if amount <= meter.room(now):
            meter.take(now, amount)
            log.append((now, amount))
    return log


@given(steps)
def test_no_sliding_window_ever_holds_more_than_its_limit(plan: list[tuple[float, float]]) -> None:
    log = admitted_by(SlidingLog(20, 60), plan)
    for when, _ in log:
        assert sum(amount for moment, amount in log if when - 60 + TICK < moment <= when) <= 20 + 1e-6


@given(steps, st.floats(0, 60))
def test_no_fixed_window_ever_holds_more_than_its_limit(plan: list[tuple[float, float]], phase: float) -> None:
    windows: dict[int, float] = {}
    for when, amount in admitted_by(FixedWindow(20, 60, phase), plan):
        window = math.floor((when - phase + TICK) / 60)
        windows[window] = windows.get(window, 0) + amount
    assert all(used <= 20 + 1e-6 for used in windows.values())


@given(steps)
def test_no_interval_of_a_bucket_holds_more_than_its_capacity_and_what_flowed_in(plan: list[tuple[float, float]]) -> None:
    log = admitted_by(TokenBucket(0.5, 20), plan)
    for first, (start, _) in enumerate(log):
        used = 0.0
        for when, amount in log[first:]:
            used += amount
            assert used <= 20 + 0.5 * (when - start) + 1e-6


METERS = {
    "bucket": lambda: TokenBucket(0.5, 20),
    "fixed": lambda: FixedWindow(20, 60, 7),
    "sliding": lambda: SlidingLog(20, 60),
}


@given(st.sampled_from(sorted(METERS)), steps, st.floats(0.01, 20))
def test_who_waits_as_long_as_told_is_let_in_and_not_much_earlier(shape: str, plan: list[tuple[float, float]], amount: float) -> None:
    meter = METERS[shape]()
    admitted_by(meter, plan)
    now = 1000.5 + sum(pause for pause, _ in plan)
    wait = meter.wait(now, amount)
    if wait > 0.01:
        assert meter.room(now + wait - 0.01) < amount, "a shorter wait would have done"
    assert meter.room(now + wait) >= amount - 1e-6


@given(st.sampled_from(sorted(METERS)), steps)
def test_after_the_reset_all_of_it_is_free(shape: str, plan: list[tuple[float, float]]) -> None:
    meter = METERS[shape]()
    admitted_by(meter, plan)
    now = 1000.5 + sum(pause for pause, _ in plan)
    assert meter.room(now + meter.reset(now)) == pytest.approx(20, abs=1e-5)


@given(st.sampled_from(["reserve", "settle", "post"]), st.sampled_from(["bucket", "fixed", "sliding"]), st.data())
def test_whatever_happens_charges_and_refunds_add_up(accounting: Any, shape: Shape, data: st.DataObject) -> None:
    """In one window nothing expires, so what is in use is what the finished and the running requests explain."""
    enforcer = Enforcer([Rule("tokens", 10_000, 1e6, shape, burst=1e6)], accounting=accounting)
    running: list[Admitted] = []
    expected = 0.0
    for _ in range(data.draw(st.integers(1, 20))):
        if running and data.draw(st.booleans()):
            admitted = running.pop(data.draw(st.integers(0, len(running) - 1)))
            produced = data.draw(st.integers(0, admitted.cost.output))
            enforcer.produce(5.0, admitted, produced)
            enforcer.end(5.0, admitted)
            expected += {"reserve": 0, "settle": produced - admitted.cost.output, "post": produced}[accounting]
        else:
            cost = Cost(data.draw(st.integers(1, 200)), data.draw(st.integers(0, 200)))
            verdict = enforcer.admit(5.0, cost)
            assert isinstance(verdict, Admitted)
            running.append(verdict)
            expected += cost.prompt + (0 if accounting == "post" else cost.output)
    assert 10_000 - enforcer.gauges[0].meter.room(5.0) == pytest.approx(expected)
    assert enforcer.in_flight == len(running)


@given(st.lists(st.floats(0.001, 3), min_size=10, max_size=80))
def test_a_pacer_at_exactly_the_rate_is_never_refused(pauses: list[float]) -> None:
    """Whoever sends at the bucket's own rate and never faster gets all of it."""
    enforcer = Enforcer([requests(20, shape="bucket", burst=6)])
    moments = [0.0]
    for pause in pauses:
        moments.append(moments[-1] + max(3.0, pause))
    assert verdicts(enforcer, moments) == "a" * len(moments)
    assert all(later - earlier >= 3 - 1e-9 for earlier, later in pairwise(moments))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (-1, "0s"), (0.0001, "1ms"), (0.12, "120ms"), (1, "1s"), (8.64, "8.64s"), (59.9995, "1m0s"), (360, "6m0s"),
        (179.56, "2m59.56s"), (37025.7, "10h17m5.7s"), (86_400, "24h0m0s"),
    ],
)  # fmt: skip
def test_durations_read_as_go_writes_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text

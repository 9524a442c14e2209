"""One limit, call by call: what fits when, and limits that cannot be."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import ConfigurationError, NeverFits
from headrace.limits import Ask, Charge, Limit, Limiter, Profile, Unit, Used, limits_of, override, profile_of
from headrace.limits.account import Account
from headrace.limits.costs import amounts, expected, in_the_end, on_arrival
from headrace.limits.meter import Meter
from headrace.limits.meter_settings import MeterSettings
from headrace.limits.pace import Pace
from headrace.limits.sizes import SEEN, Sizes
from headrace.limits.sliding_log import EPSILON, SlidingLog
from headrace.runtime.virtual import World

TPM = Limit(Unit.TOKENS, 1_000, 60.0, "tpm")


# ---- limit


@pytest.mark.parametrize("amount", [0, -1, True, 1.5, "9", None])
def test_a_limit_that_is_no_whole_positive_number_is_refused_by_name(amount: Any) -> None:
    with pytest.raises(ConfigurationError, match="rpm"):
        Limit(Unit.REQUESTS, amount, 60.0, "rpm")


@pytest.mark.parametrize("window", [0, -1.0, math.inf, math.nan])
def test_a_window_that_is_no_time_is_refused(window: float) -> None:
    with pytest.raises(ConfigurationError, match="window"):
        Limit(Unit.TOKENS, 5, window)


@pytest.mark.parametrize(
    ("name", "amount", "seconds"),
    [
        ("rpm", 1, 60.0), ("tpm", 100, 60.0), ("itpm", 50, 60.0), ("otpm", 50, 60.0), ("rpd", 1, 86_400.0), ("tpd", 100, 86_400.0)
    ],
)  # fmt: skip
def test_a_limit_that_is_taken_opens_when_its_window_has_passed(name: str, amount: int, seconds: float) -> None:
    world, limiter, began = World(), Limiter(), []
    limiter.add("d", group="g", limits=limits_of(**{name: amount}), profile=Profile())

    async def call() -> None:
        held = await limiter.reserve(Ask("g", Charge(input=50, max_output=50)), world)
        began.append(world.now())
        limiter.settle(held, used=Used(input=50, output=50), now=world.now())

    world.spawn(call())
    world.spawn(call())
    world.run(until=2 * seconds)
    assert began == [0.0, pytest.approx(seconds, rel=0.05)]


def test_what_is_in_flight_has_no_window() -> None:
    with pytest.raises(ConfigurationError, match="no window, so it must be 0"):
        Limit(Unit.IN_FLIGHT, 5, 60.0)


def test_an_unknown_limit_is_told_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="rpm, tpm"):
        limits_of(rps=5)


def test_an_unknown_unit_is_told_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"windows\[0\].unit must be one of requests, tokens"):
        limits_of(windows=[{"unit": "words", "amount": 5, "window": 1}])


@pytest.mark.parametrize("charge", [{"input": -1}, {"max_output": -1}, {"money": -1}, {"requests": -1}, {"input": 5, "cached": 6}])
def test_a_charge_below_nothing_is_refused(charge: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="negative"):
        Charge(**charge)


# ---- profile


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"windows": [1.0], "request_burst": 5.0}, "contradict"),
        ({"accounting": "post", "estimate": "max"}, "contradict"),
        ({"windows": [60.0]}, "shorter than the minute"),
        ({"token_burst": 0}, "token_burst"),
        ({"accounting": "later"}, "accounting"),
        ({"acounting": "post"}, "acounting"),
    ],
)
def test_a_profile_that_contradicts_itself_is_refused_by_name(facts: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        override(Profile(), facts)


def test_an_unknown_profile_is_told_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="openai"):
        profile_of("opnai")


# ---- guard, pace


def test_a_log_opens_when_enough_has_left_the_window() -> None:
    log = SlidingLog(10.0)
    for second in range(4):
        log.add(float(second), 2.0)
    assert log.when(2.0, 10.0, 3.0) == 3.0
    assert log.when(4.0, 10.0, 3.0) == 10.0
    assert log.when(5.0, 10.0, 3.0) == 11.0
    assert log.when(11.0, 10.0, 3.0) == math.inf


def test_a_log_opens_no_sooner_because_a_moment_came_out_of_order() -> None:
    """A thread that read the clock early and got the lock late."""
    log = SlidingLog(60.0)
    log.add(10.0, 2.0)
    log.add(5.0, 2.0)
    assert log.when(3.0, 4.0, 12.0) == 70.0


def test_what_was_charged_long_ago_leaves_a_log_when_it_should() -> None:
    log = SlidingLog(60.0)
    log.add(30.0, 2)
    old = log.insert(10.0, 5)
    assert log.insert(40.0, 1) is log.add(40.001, 1), "what comes next joins the newest"
    assert (log.used, log.since(20.0), log.when(1, 9, 50.0)) == (9, 4, 70.0)
    assert log.current(70.0) == 4
    assert old.gone


def test_a_correction_counts_only_within_the_window() -> None:
    log = SlidingLog(10.0)
    entry = log.add(0.0, 5.0)
    log.correct(entry, -3.0)
    assert log.current(1.0) == 2.0
    log.forget(10.0)
    log.correct(entry, 9.0)
    assert log.current(10.0) == 0.0


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 5)), min_size=1, max_size=20), st.integers(1, 12), st.floats(0.1, 90))
def test_at_the_moment_that_a_log_names_there_is_room(charges: list[tuple[float, int]], room: int, window: float) -> None:
    """Symptom: a call that waited for 0.9 s + 60.5 s found the charge of 0.9 s still there at 61.4 s, and waited for something else."""
    log = SlidingLog(window)
    for at, cost in sorted(charges):
        log.add(at, cost)
    moment = log.when(1, room, 100.0)
    assert log.current(moment) + 1 <= room + EPSILON


def test_a_pace_lets_any_size_through_and_makes_the_next_one_pay() -> None:
    pace = Pace(10.0)
    assert pace.when(0.0, 4.0) == 0.0
    pace.add(0.0, 100.0)
    assert pace.when(0.0, 4.0) == 6.0
    pace.correct(-50.0)
    assert pace.when(0.0, 4.0) == 1.0


# ---- costs


@pytest.mark.parametrize(
    ("accounting", "estimate", "arrives", "probably", "ends"),
    [
        ("reserve", "sum", 150, 150, 150),
        ("reserve", "max", 100, 100, 100),
        ("settle", "sum", 150, 107, 120),
        ("post", "sum", 100, 107, 100),
    ],
)
def test_what_a_call_costs_by_how_its_provider_counts(accounting: Any, estimate: Any, arrives: int, probably: int, ends: int) -> None:
    profile, charge = Profile(accounting=accounting, estimate=estimate), Charge(input=100, max_output=50)
    assert amounts(charge, 100, 50)[on_arrival(Unit.TOKENS, profile)] == arrives
    assert expected(Unit.TOKENS, profile)(charge, 100, 7) == probably
    assert in_the_end(Unit.TOKENS, profile)(charge, 100, Used(input=100, output=20)) == ends


@pytest.mark.parametrize(("accounting", "ends"), [("reserve", 120), ("settle", 120), ("post", 100)])
def test_a_bound_that_nobody_stated_is_not_charged_for(accounting: Any, ends: int) -> None:
    profile, charge = Profile(accounting=accounting), Charge(input=100, max_output=1024, stated=False)
    assert expected(Unit.TOKENS, profile)(charge, 100, 7) == 107
    assert in_the_end(Unit.TOKENS, profile)(charge, 100, Used(input=100, output=20)) == ends
    assert in_the_end(Unit.OUTPUT, Profile(accounting="reserve"))(charge, 100, Used(input=100, output=20)) == 20


# ---- sizes


def test_what_a_call_without_a_bound_may_write_is_learned() -> None:
    sizes, unstated = Sizes(), Charge(input=10, max_output=1024, stated=False)
    assert sizes.most(1024) == 1024
    for number in range(64):
        sizes.learn(unstated, Used(output=5000 if number % 2 else 3000), 1.0, float(number))
    assert sizes.most(1024) == 5000
    assert sizes.expected(unstated) == pytest.approx(4000)
    assert sizes.expected(Charge(input=10, max_output=1024)) == 1024


def test_how_a_provider_counts_prompts_is_learned() -> None:
    sizes = Sizes()
    for number in range(200):
        sizes.learn(Charge(input=100, max_output=500), Used(input=120, output=10), 1.0, number / 10)
    assert sizes.ratio == pytest.approx(1.2, abs=0.01)
    assert sizes.expected(Charge(max_output=500)) == pytest.approx(10)


def test_before_anything_is_seen_a_third_of_max_tokens_is_expected() -> None:
    assert Sizes().expected(Charge(max_output=300)) == 100
    assert SEEN > 1


# ---- meter, account


def test_what_is_kept_free_for_a_while_does_not_make_a_call_too_large() -> None:
    meter = Meter(TPM, Profile(), MeterSettings())
    meter.margin = 0.9
    assert meter.largest >= 900
    assert meter.when(900, 0.0) == 0.0
    assert meter.largest < 1_001


def test_a_limit_that_its_provider_lowered_makes_a_call_too_large() -> None:
    meter = Meter(TPM, Profile(), MeterSettings())
    meter.state(500)
    assert meter.largest < 600
    meter.state(None)
    assert meter.largest >= 600


def test_a_normal_call_runs_ahead_no_further_because_no_interactive_one_came() -> None:
    """Symptom: without interactive calls, normal ones were promised room by their tolerance, and had to wait for their own."""
    account = Account("a", [TPM], Profile(confidence="documented"), MeterSettings())
    charge = Charge(input=100)
    account.take(charge, account.costs(charge), 0.0, False)
    at, _ = account.when(account.costs(charge), 0.0, False)
    assert at == account.open_at(0.0) == pytest.approx(100 / (1_000 / 60) - MeterSettings().tolerance)


def test_our_own_short_windows_are_exact() -> None:
    """Symptom: five requests in ten seconds of our own were five in ten and a quarter."""
    limiter, world = Limiter(), World()
    limiter.add("d", group="g", limits=(), profile=Profile())
    limiter.add_scope("key", [Limit(Unit.REQUESTS, 1, 10.0)])
    for _ in range(2):
        held = world.complete(limiter.reserve(Ask("g", Charge(), scopes=("key",)), world))
    assert held.waited == pytest.approx(10.0)


def test_a_call_larger_than_a_limit_is_refused_by_the_name_of_the_limit() -> None:
    limiter, world = Limiter(), World()
    limiter.add("d", group="g", limits=[TPM], profile=Profile())
    with pytest.raises(NeverFits, match="tpm allows 1000"):
        world.complete(limiter.reserve(Ask("g", Charge(input=1_001)), world))


def test_a_line_stands_still_forever_after_charges_that_came_and_went() -> None:
    """0.2 and 0.5 taken back leave a hair less than nothing, which read as "no room"."""
    account = Account("a", [TPM], Profile(), MeterSettings())
    meter = account.meters[0]
    holds = [meter.take(cost, cost, 0.0) for cost in (0.2, 0.5)]
    for hold in holds:
        meter.settle(hold, 0.0, 0.0)
    assert meter.used < 0
    assert account.has_room((10.0, (10.0,)), 1.0, urgent=False)


def test_a_flow_is_kept_even_where_interactive_calls_come() -> None:
    """A flood's burst came back each minute, and a light tenant found nothing free for eleven seconds after it."""
    meter = Meter(Limit(Unit.REQUESTS, 600), Profile(request_burst=60.0), MeterSettings())
    for _ in range(100):
        meter.take(1, 1, 0.0)
    assert meter.when(1, 0.0, urgent=False, whole=True) == 0.0
    assert meter.when(1, 0.0, urgent=False, whole=False) == pytest.approx(8.0)
    assert meter.when(1, 0.0, urgent=True) == 0.0


def test_calls_that_leave_late_together_are_a_burst_when_they_leave() -> None:
    """A bucket of five seconds was overfilled: what left two seconds late was taken to have drained meanwhile."""
    meter = Meter(Limit(Unit.REQUESTS, 600), Profile(request_burst=5.0), MeterSettings())
    holds = [meter.take(1, 1, 0.0) for _ in range(40)]
    for hold in holds:
        meter.delay(hold, 2.0)
    assert meter.when(1, 2.0, urgent=False) == pytest.approx(2.0)
    for _ in range(10):
        meter.take(1, 1, 2.0)
    assert meter.when(1, 2.0, urgent=False) > 2.0


def test_a_call_that_departs_twice_late_is_charged_once() -> None:
    """Woken late, and sent later still: the flow paid for each such call twice, and stood still for as long again."""
    meter = Meter(Limit(Unit.REQUESTS, 600), Profile(request_burst=60.0), MeterSettings())
    holds = [meter.take(1, 1, 0.0) for _ in range(300)]
    for hold in holds:
        meter.delay(hold, 1.0)
    once = meter.open_at(1.0)
    for hold in holds:
        meter.delay(hold, 1.5)
    assert meter.open_at(1.5) == pytest.approx(once, abs=0.6)


def test_what_late_calls_gave_back_is_not_charged_again_by_the_next_late_one() -> None:
    """Calls were expected to take all they reserved and took a tenth: each late one after them brought the whole debt back."""
    meter = Meter(Limit(Unit.TOKENS, 60_000), Profile(accounting="settle", token_burst=60.0), MeterSettings())
    for _ in range(10):
        hold = meter.take(3_000, 3_000, 0.0)
        meter.delay(hold, 1.0)
        meter.settle(hold, 300, 1.0)
    meter.delay(meter.take(300, 300, 1.0), 1.1)
    assert meter._pace is not None
    assert meter._pace.paid_until == pytest.approx(1.0 + 11 * 0.3, abs=0.3)


# ---- places, and room that is kept


def test_while_one_goes_and_sees_whether_another_process_left_a_place_nobody_else_does() -> None:
    """Should nothing be heard of it, the next goes in a few seconds."""
    meter = Meter(Limit(Unit.IN_FLIGHT, 4, 0.0), Profile(), MeterSettings())
    meter.offer(0.0, 1.0)
    assert meter.when(1, 0.5) == 1.0
    meter.take(1, 1, 1.0)
    assert 2.0 <= meter.when(1, 1.0) <= 6.0


def test_a_limit_of_which_others_have_every_place_is_full() -> None:
    """And not divided by nothing: it is asked for its share all the same."""
    meter = Meter(Limit(Unit.IN_FLIGHT, 4, 0.0), Profile(), MeterSettings())
    meter.offer(0.0, 5.0)
    assert meter.share(1.0) == 0.0
    assert meter.when(1, 1.0) == 5.0
    meter.take(1, 1, 5.0)
    assert meter.share(5.0) >= 1.0


def test_for_a_minute_after_an_interactive_call_a_share_of_a_window_is_kept_for_the_next() -> None:
    account = Account("a", [Limit(Unit.REQUESTS, 10, 60.0)], Profile(), MeterSettings(kept_for_urgent=0.5, paced=False))
    charge = Charge(input=1)
    costs = account.costs(charge)
    account.take(charge, costs, 0.0, True)
    for at in (50.0, 50.0, 50.0, 50.0):
        assert account.has_room(costs, at, False)
        account.take(charge, costs, at, False)
    for at, others in ((50.0, False), (59.9, False), (60.1, True)):
        assert account.has_room(costs, at, True)
        assert account.has_room(costs, at, False) is others
        assert (account.when(costs, at, False)[0] == at) is others

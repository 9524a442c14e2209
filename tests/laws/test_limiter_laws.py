"""Invariants of the limiter (P1 to P8 and P10 of its design), as property tests on a virtual clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Generator
from random import Random
from types import coroutine
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tests.laws.crowd import Call, Crowd, calls, limiter_of, moments, most_at_once, most_in_a_window

from headrace.errors import NeverFits, QueueTimeout
from headrace.limits import Ask, Charge, Limit, Limiter, LimiterSettings, Profile, QuotaView, Reservation, Unit, Used
from headrace.limits.meter_settings import MeterSettings

RPM, TPM = Limit(Unit.REQUESTS, 12, 60.0, "rpm"), Limit(Unit.TOKENS, 2_000, 60.0, "tpm")
SPREAD, SHORT_SPREAD = MeterSettings().spread, MeterSettings().short_spread
KEY, TEAM, ALL = (
    (Limit(Unit.REQUESTS, 5, 10.0, "key"),),
    (Limit(Unit.TOKENS, 1_500, 60.0, "team"), Limit(Unit.IN_FLIGHT, 3, 0.0, "team at once")),
    (Limit(Unit.REQUESTS, 9, 30.0, "all"), Limit(Unit.OUTPUT, 1_200, 30.0, "all output")),
)
SCOPES = {"key": KEY, "team": TEAM, "all": ALL}
CROWDS = st.lists(calls(), min_size=1, max_size=40)
SHAPES = st.sampled_from(
    (
        Profile(accounting="reserve"),
        Profile(accounting="settle"),
        Profile(accounting="post"),
        Profile(accounting="reserve", windows=(10.0,)),
        Profile(accounting="reserve", windows=(5.0, 20.0)),
        Profile(accounting="reserve", request_burst=60.0, token_burst=60.0),
        Profile(accounting="settle", request_burst=30.0, token_burst=30.0),
    )
)

DENSE = [Call(number / 4, prompt=90, most=90, output=40, scopes=("key", "team", "all")[: number % 4]) for number in range(48)]
"""More than any limit bears, at every moment."""


def visited(callers: list[Call], profile: Profile, deployments: int = 2) -> Crowd:
    """A crowd after all its calls have ended, at a limiter with deployments and scopes."""
    limiter = limiter_of(RPM, TPM, deployments=deployments, profile=profile)
    for name, limits in SCOPES.items():
        limiter.add_scope(name, limits)
    crowd = Crowd(limiter, accounting=profile.accounting)
    crowd.come(callers)
    crowd.world.run()
    return crowd


# ---- P1: never more than the limit


@given(CROWDS, SHAPES)
@example(DENSE, Profile(accounting="reserve"))
@example(DENSE, Profile(accounting="settle"))
@example(DENSE, Profile(accounting="post"))
@example(DENSE, Profile(accounting="reserve", windows=(10.0,)))
def test_no_window_of_a_deployment_exceeds_its_limit(callers: list[Call], profile: Profile) -> None:
    crowd = visited(callers, profile)
    for name in ("d0", "d1"):
        grants = crowd.at(name)
        assert most_in_a_window(grants, Unit.REQUESTS, 60.0 + SPREAD, profile.accounting) <= RPM.amount
        assert most_in_a_window(grants, Unit.TOKENS, 60.0 + SPREAD, profile.accounting) <= TPM.amount
        for window in profile.windows:
            share = math.floor(RPM.amount * window / 60)
            assert most_in_a_window(grants, Unit.REQUESTS, window + SHORT_SPREAD, profile.accounting) <= share


@given(CROWDS, SHAPES)
@example(DENSE, Profile(accounting="settle"))
def test_no_window_of_a_scope_exceeds_its_limit(callers: list[Call], profile: Profile) -> None:
    crowd = visited(callers, profile)
    for name, limits in SCOPES.items():
        grants = crowd.at(scope=name)
        for limit in limits:
            if limit.unit is Unit.IN_FLIGHT:
                assert most_at_once(grants) <= limit.amount
            else:
                assert most_in_a_window(grants, limit.unit, limit.window, "settle") <= limit.amount


@given(CROWDS, st.integers(1, 4))
def test_calls_in_flight_never_exceed_their_limit(callers: list[Call], amount: int) -> None:
    crowd = Crowd(limiter_of(Limit(Unit.IN_FLIGHT, amount, 0.0)))
    crowd.come([Call(**{**vars(call), "scopes": ()}) for call in callers])
    crowd.world.run()
    assert most_at_once(crowd.grants) <= amount


@given(st.lists(calls(scopes=()), max_size=40), st.lists(st.tuples(st.integers(0, 120), st.sampled_from((20.0, 90.0, 4000.0))), max_size=3))
def test_a_clock_that_jumps_forward_admits_no_call_too_early(callers: list[Call], leaps: list[tuple[int, float]]) -> None:
    crowd = Crowd(limiter_of(RPM, TPM))
    crowd.come(callers)
    for at, seconds in leaps:
        crowd.world.at(at + 0.137, lambda seconds=seconds: crowd.world.jump(seconds))  # type: ignore[misc]
    crowd.world.run()
    assert most_in_a_window(crowd.grants, Unit.REQUESTS, 60.0 + SPREAD, "reserve") <= RPM.amount
    assert most_in_a_window(crowd.grants, Unit.TOKENS, 60.0 + SPREAD, "reserve") <= TPM.amount
    assert not crowd.waiting
    assert crowd.limiter.snapshot(crowd.world.now())["queues"] == {"g": 0}


@given(st.lists(st.tuples(st.floats(-5, 30), st.integers(1, 500)), min_size=1, max_size=60))
def test_times_out_of_order_admit_no_call_too_early(steps: list[tuple[float, int]]) -> None:
    """Threads read the clock before they acquire the lock, so a time may be earlier than one already seen."""
    limiter, now, latest, passed = limiter_of(RPM, TPM), 100.0, 100.0, []
    for step, tokens in steps:
        now = max(0.0, now + step)
        try:
            settled(limiter, Ask("g", Charge(input=tokens), max_wait=0), now)
        except QueueTimeout:
            continue
        latest = max(latest, now)
        passed.append((latest, tokens))
    for at, _ in passed:
        inside = [tokens for other, tokens in passed if at - 60.0 - SPREAD < other <= at]
        assert len(inside) <= RPM.amount
        assert sum(inside) <= TPM.amount


# ---- P2: the flow


@given(st.lists(calls(scopes=(), leaves=None), min_size=2, max_size=60))
def test_a_token_bucket_exceeds_its_rate_by_no_more_than_its_tolerance(callers: list[Call]) -> None:
    rpm, tpm = Limit(Unit.REQUESTS, 120, 60.0), Limit(Unit.TOKENS, 6_000, 60.0)
    crowd = Crowd(limiter_of(rpm, tpm, profile=Profile(confidence="documented")))
    crowd.come([Call(**{**vars(call), "ending": "unknown", "at": call.at / 4}) for call in callers])
    crowd.world.run()
    ahead = MeterSettings().urgent_tolerance
    for first, grant in enumerate(crowd.grants):
        for last in range(first, len(crowd.grants)):
            flow = crowd.grants[first : last + 1]
            seconds = flow[-1].at - grant.at
            assert len(flow) <= 2.0 * (seconds + ahead) + 1 + 1e-6
            assert sum(one.call.prompt + one.call.most for one in flow) <= 100.0 * (seconds + ahead) + 800 + 1e-6


# ---- P3: the books balance


@given(CROWDS, SHAPES)
def test_the_accounting_holds_exactly_what_was_admitted(callers: list[Call], profile: Profile) -> None:
    assume(profile.accounting != "post")
    crowd = visited(callers, profile)
    now = crowd.world.now()
    snapshot = crowd.limiter.snapshot(now)
    assert snapshot["queues"] == {"g": 0}
    for name, shown in snapshot["deployments"].items():
        assert shown["in_flight"] == 0
        recent = [grant for grant in crowd.at(name) if grant.at > now - 60.0 - SPREAD]
        edge = [grant for grant in crowd.at(name) if abs(grant.at - (now - 60.0 - SPREAD)) < 0.1]
        assume(not edge)
        assert shown["limits"]["rpm"]["used"] == pytest.approx(sum(grant.cost(Unit.REQUESTS, "", now) for grant in recent))
        tokens = sum(grant.cost(Unit.TOKENS, profile.accounting, now) for grant in recent)
        assert shown["limits"]["tpm"]["used"] == pytest.approx(tokens, abs=1e-6)


@given(CROWDS, SHAPES)
def test_an_idle_limiter_returns_to_its_initial_state(callers: list[Call], profile: Profile) -> None:
    """P7 too: a call cancelled at any time leaves nothing behind."""
    crowd = visited(callers, profile)
    crowd.world.jump(200.0)
    now = crowd.world.now()
    whole = Ask("g", Charge(input=10, max_output=10), scopes=tuple(SCOPES))
    for _ in range(2):
        crowd.world.complete(crowd.limiter.reserve(Ask("g", whole.charge, scopes=("team",), max_wait=0), crowd.world))
    snapshot = crowd.limiter.snapshot(now)
    assert sum(shown["in_flight"] for shown in snapshot["deployments"].values()) == 2
    assert sum(shown["limits"]["rpm"]["used"] for shown in snapshot["deployments"].values()) == 2


# ---- P4: all or nothing


@given(st.sampled_from(tuple(SCOPES)), st.integers(1, 3))
def test_a_call_held_back_by_one_scope_reserves_nothing_elsewhere(shut: str, others: int) -> None:
    limiter = limiter_of(RPM, TPM)
    for name in SCOPES:
        limiter.add_scope(name, [Limit(Unit.REQUESTS, 1 if name == shut else 9, 30.0, name)])
    crowd = Crowd(limiter)
    crowd.come([Call(0.0, scopes=(shut,))])
    crowd.world.run(until=5.0)
    before = books(limiter, 5.0)
    crowd.come([Call(5.0, scopes=tuple(SCOPES), leaves=10.0), *[Call(6.0, scopes=tuple(SCOPES), max_wait=1.0)] * others])
    crowd.world.run(until=10.0)
    assert books(limiter, 10.0) == before
    assert len(crowd.errors) == others
    crowd.world.run(until=20.0)
    assert books(limiter, 20.0) == before
    assert len(crowd.grants) == 1


def books(limiter: Limiter, now: float) -> tuple[Any, ...]:
    shown = limiter.snapshot(now)["deployments"]
    scopes = {name: [meter.share(now) for meter in account.meters] for name, account in limiter._roster.scopes.items()}
    return {name: one["limits"] for name, one in shown.items()}, scopes, {name: one["in_flight"] for name, one in shown.items()}


# ---- P5: nobody waits for nothing


def somebody_waits_for_nothing(crowd: Crowd) -> Call | None:
    now = crowd.world.now()
    for call, since in crowd.waiting.items():
        if since < now and any(wait <= 0 for wait, _ in crowd.limiter.peek(call.ask(), now).deployments.values()):
            return call
    return None


def watched(crowd: Crowd, until: float) -> list[tuple[float, Call]]:
    """Calls that wait although there is room, with the time at which that was seen."""
    found: list[tuple[float, Call]] = []

    def look() -> None:
        idle = somebody_waits_for_nothing(crowd)
        if idle is not None:
            found.append((crowd.world.now(), idle))

    for moment in moments(until):
        crowd.world.at(moment, look)
    crowd.world.run()
    return found


@given(CROWDS, SHAPES)
def test_no_call_waits_while_a_deployment_has_room(callers: list[Call], profile: Profile) -> None:
    limiter = limiter_of(RPM, TPM, deployments=2, profile=profile)
    for name, limits in SCOPES.items():
        limiter.add_scope(name, limits)
    crowd = Crowd(limiter)
    crowd.come(callers)
    assert watched(crowd, 300.0) == []


def test_a_call_whose_moment_had_come_was_looked_at_a_rounding_too_early_and_waited_for_the_next() -> None:
    crowd = Crowd(limiter_of(RPM, TPM, deployments=2))
    moments_of = [0.0] * 4 + [59.5] + [60.0] * 2
    crowd.come([Call(at, prompt=number, most=0, output=0, lasts=0.0) for number, at in enumerate(moments_of)])
    assert watched(crowd, 300.0) == []


def test_room_reserved_for_interactive_calls_is_released_after_a_minute_without_any() -> None:
    """Symptom: a call kept waiting for room reserved for interactive calls after the reservation had ended."""
    crowd = Crowd(limiter_of(RPM, TPM, deployments=2))
    crowd.come([Call(0.0, prompt=number, most=0, output=0, priority=0, lasts=0.0) for number in range(8)])
    crowd.come([Call(44.0, prompt=number, most=0, output=0, priority=0, lasts=0.0) for number in range(2)])
    crowd.come([Call(99.5, most=372, output=0, lasts=0.0), Call(103.75, prompt=102, most=122, output=0, priority=0, lasts=0.0)])
    crowd.come([Call(103.75, prompt=0, most=0, output=0, lasts=0.0)])
    assert watched(crowd, 150.0) == []


def test_a_call_that_becomes_eligible_because_another_leaves_is_admitted_at_once() -> None:
    crowd = Crowd(limiter_of(TPM, settings=LimiterSettings(look_ahead=2)))
    crowd.come([Call(0.0, prompt=1_500, most=0)])
    crowd.come([Call(1.0, prompt=1_900, most=0, leaves=leaves) for leaves in (None, 49.0)])
    crowd.come([Call(2.0, prompt=10, most=0, tenant="")])
    crowd.world.run(until=55.0)
    assert [grant.at for grant in crowd.grants] == [0.0, pytest.approx(50.0, abs=0.02)]
    crowd.world.close()


def test_room_that_appears_just_after_a_long_queue_was_examined_is_used() -> None:
    """A long queue is examined at most a hundred times a second; room that appears in between is found at the next examination."""
    quick = LimiterSettings(look_ahead=2)
    crowd = Crowd(limiter_of(Limit(Unit.TOKENS, 2_000, 120.0), profile=Profile(accounting="settle"), settings=quick))
    crowd.come([Call(0.0, prompt=10, most=890, lasts=5.0 + late) for late in (0.0, 0.001)])
    crowd.come([Call(1.0, prompt=10 + number, most=890, lasts=50.0) for number in range(4)])
    crowd.world.run(until=20.0)
    first, second = [grant.at for grant in crowd.grants[2:]]
    assert first == 5.0
    assert 5.001 <= second <= 5.001 + quick.nap
    crowd.world.close()


def test_an_interactive_call_passes_a_queue_that_waits_for_other_deployments() -> None:
    crowd = Crowd(limiter_of(Limit(Unit.REQUESTS, 60, 60.0), profile=Profile(confidence="documented")))
    crowd.come([*[Call(0.0, prompt=number) for number in range(20)], Call(0.1, priority=0)])
    crowd.world.run(until=0.5)
    assert [grant.at for grant in crowd.grants if grant.call.priority == 0] == [0.1]
    assert crowd.waiting
    crowd.world.close()


def test_a_deployment_with_room_sooner_because_a_call_cost_less_is_examined_sooner() -> None:
    """A hundred tokens a second: 1,010 were reserved and 200 of them released, so the next call waits only for the rest."""
    profile = Profile(accounting="settle", confidence="documented")
    crowd = Crowd(limiter_of(Limit(Unit.TOKENS, 6_000, 60.0), profile=profile))
    crowd.come([Call(0.0, prompt=10, most=3_000, output=800, lasts=2.0), Call(1.0, prompt=10, most=100)])
    crowd.world.run(until=30.0)
    assert [grant.at for grant in crowd.grants] == [0.0, pytest.approx(4.1)]


@pytest.mark.parametrize("blocked", [30, 200])
def test_calls_of_a_scope_without_room_do_not_delay_others(blocked: int) -> None:
    """Symptom: a team that had used up its daily limit was at the head of the queue, and no call behind it was served."""
    limiter = limiter_of(Limit(Unit.REQUESTS, 60, 60.0))
    limiter.add_scope("spent", [Limit(Unit.REQUESTS, 1, 86_400.0, "a day's")])
    crowd = Crowd(limiter)
    spent = [Call(0.0 + number / 1000, tenant="spent", scopes=("spent",), prompt=number) for number in range(blocked)]
    crowd.come([*spent, *[Call(2.0 + number, tenant="other", prompt=number, lasts=0.1) for number in range(150)]])
    crowd.world.run(until=600.0)
    assert len(crowd.grants) == 151
    assert max(grant.waited for grant in crowd.grants) < 60.0
    crowd.world.close()


def test_calls_of_one_tenant_with_different_scopes_do_not_wait_for_each_other() -> None:
    limiter = limiter_of(Limit(Unit.REQUESTS, 60, 60.0))
    for name in ("spent", "rich"):
        limiter.add_scope(name, [Limit(Unit.REQUESTS, 1 if name == "spent" else 1000, 86_400.0, name)])
    crowd = Crowd(limiter)
    crowd.come([Call(0.0 + number / 1000, scopes=("spent",), prompt=number) for number in range(100)])
    crowd.come([Call(2.0 + number, scopes=("rich",), prompt=number) for number in range(100)])
    crowd.world.run(until=300.0)
    assert len(crowd.at(scope="rich")) == 100
    crowd.world.close()


def test_calls_bound_to_a_deployment_without_room_do_not_delay_others() -> None:
    limiter = limiter_of(Limit(Unit.REQUESTS, 60, 60.0), deployments=2)
    limiter.gate("d0", 5_000.0, 0.0)
    crowd = Crowd(limiter)
    ask = Ask("g", Charge(input=10), only=frozenset({"d0"}))
    for _ in range(40):
        crowd.world.spawn(limiter.reserve(ask, crowd.world))
    crowd.come([Call(1.0 + number, prompt=number) for number in range(100)])
    crowd.world.run(until=300.0)
    assert len(crowd.grants) == 100
    crowd.world.close()


def test_raising_a_limit_admits_the_calls_that_waited_for_it() -> None:
    limiter = limiter_of(Limit(Unit.REQUESTS, 600, 60.0))
    limiter.add_scope("key", [Limit(Unit.REQUESTS, 1, 3600.0, "key")])
    crowd = Crowd(limiter)
    crowd.come([Call(0.0, scopes=("key",)), Call(1.0, scopes=("key",))])
    crowd.world.run(until=5.0)
    limiter.add_scope("key", [Limit(Unit.REQUESTS, 2, 3600.0, "key")])
    crowd.world.run(until=10.0)
    assert len(crowd.grants) == 2
    crowd.world.close()


# ---- P6: nobody starves, and shares are fair


@settings(max_examples=8)
@given(st.integers(0, 80), st.integers(1_000, 1_990))
def test_a_large_call_is_not_starved_by_small_ones(before: int, size: int) -> None:
    crowd = Crowd(limiter_of(TPM))
    small = [Call(number / 4, prompt=20, most=0, output=0, tenant=f"t{number % 7}", lasts=0.0) for number in range(4 * 300)]
    crowd.come([*small, Call(before / 4 + 0.1, prompt=size, most=0, output=0, tenant="large")])
    crowd.world.run(until=400.0)
    crowd.world.close()
    [large] = [grant for grant in crowd.grants if grant.call.tenant == "large"]
    assert large.waited <= 180.0


def test_no_call_is_overtaken_more_often_than_allowed() -> None:
    quick = LimiterSettings(most_bypassed=8)
    crowd = Crowd(limiter_of(TPM, settings=quick))
    crowd.come([Call(0.0, prompt=1_500, tenant="first"), Call(0.5, prompt=1_990, most=0, output=0, tenant="large")])
    crowd.come([Call(1.0 + number / 100, prompt=10 + number % 7, most=0, tenant=f"t{number % 5}", lasts=0.0) for number in range(400)])
    crowd.world.run()
    order = [grant.call.tenant for grant in crowd.grants]
    assert order.index("large") <= 1 + 8 + quick.look_ahead


@settings(max_examples=8)
@given(st.lists(st.sampled_from((1.0, 2.0, 5.0)), min_size=2, max_size=4), st.sampled_from((1, 40)))
def test_saturating_tenants_get_shares_by_weight(weights: list[float], factor: int) -> None:
    """The first tenant's calls may be many times as large as the others'."""
    crowd = Crowd(limiter_of(Limit(Unit.TOKENS, 10_000, 60.0)))
    for number, weight in enumerate(weights):
        size = 20 * factor if number == 0 else 20
        crowd.come([Call(n / 1e4, prompt=size, most=0, output=0, tenant=str(number), weight=weight, lasts=0.0) for n in range(600)])
    crowd.world.run(until=61.0)
    crowd.world.close()
    served = [served_cost(crowd, str(number)) / weight for number, weight in enumerate(weights)]
    largest = (20 * factor + 600) / min(weights)
    assert max(served) - min(served) <= 2 * largest + 24 * largest * (factor > 1)


def test_a_tenant_with_large_calls_gets_fewer_of_them() -> None:
    crowd = Crowd(limiter_of(Limit(Unit.TOKENS, 60_000, 60.0)))
    for tenant, size in (("large", 1_600), ("small", 20)):
        crowd.come([Call(n / 1e4, prompt=size, most=0, output=0, tenant=tenant, lasts=0.0) for n in range(400)])
    crowd.world.run(until=40.0)
    crowd.world.close()
    served = [grant.call.tenant for grant in crowd.grants]
    assert served.count("small") / served.count("large") == pytest.approx((1_600 + 600) / (20 + 600), rel=0.15)


def served_cost(crowd: Crowd, tenant: str) -> float:
    """What a tenant was served, in the unit of fair queuing: its tokens, plus 600 per call."""
    return sum(grant.call.prompt + grant.call.most + 600 for grant in crowd.grants if grant.call.tenant == tenant)


def test_turns_in_one_priority_class_do_not_affect_another() -> None:
    """Symptom: after a busy hour of interactive calls a new tenant's batch calls were served only after the old tenant's."""
    crowd = Crowd(limiter_of(Limit(Unit.REQUESTS, 60, 60.0)))
    crowd.come([Call(number * 1.25, prompt=number, tenant="chat", priority=0, lasts=0.1) for number in range(400)])
    crowd.come([Call(0.0, prompt=number, tenant="old", priority=2, lasts=0.1) for number in range(150)])
    crowd.come([Call(300.0, prompt=number, tenant="new", priority=2, lasts=0.1) for number in range(20)])
    crowd.world.run(until=450.0)
    crowd.world.close()
    crowd.grants = [grant for grant in crowd.grants if grant.at > 300.0 and grant.call.priority == 2]
    assert abs(served_cost(crowd, "new") - served_cost(crowd, "old")) <= 2 * (150 + 600)  # two calls of the larger kind
    assert min(served_cost(crowd, "new"), served_cost(crowd, "old")) > 10 * 600


@given(st.lists(calls(scopes=(), leaves=None, ending="served"), min_size=2, max_size=40))
def test_a_higher_priority_is_never_served_after_a_lower_one_it_could_have_replaced(callers: list[Call]) -> None:
    crowd = Crowd(limiter_of(Limit(Unit.REQUESTS, 6, 60.0)))
    crowd.come([Call(**{**vars(call), "at": call.at / 8, "prompt": 10, "most": 10, "output": 5, "priority": number % 3})
                for number, call in enumerate(callers)])  # fmt: skip
    crowd.world.run()
    for grant in crowd.grants:
        waited_then = [other for other in crowd.grants if other.at - other.waited < grant.at < other.at]
        assert all(other.call.priority >= grant.call.priority for other in waited_then)


# ---- P7: whoever leaves takes everything along


@coroutine
def suspended() -> Generator[None, None, None]:
    yield


class HandWaiter:
    """Waits until the test steps it, woken or not."""

    async def wait(self, timeout: float | None) -> bool:
        await suspended()
        return False

    def wake(self) -> None: ...


class HandClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await suspended()

    def waiter(self) -> HandWaiter:
        return HandWaiter()


def settled(limiter: Limiter, ask: Ask, now: float, used: Used | None = None) -> None:
    """Admit one call at `now` and end it at once. Raises what `reserve` raises."""
    clock = HandClock()
    clock.time = now
    step = limiter.reserve(ask, clock)
    try:
        while True:
            step.send(None)
    except StopIteration as over:
        limiter.settle(over.value, used=used, now=now)


def interrupted(step: Coroutine[Any, Any, Reservation]) -> None:
    with pytest.raises(KeyboardInterrupt):
        step.throw(KeyboardInterrupt())


def closed(step: Coroutine[Any, Any, Reservation]) -> None:
    step.close()


@pytest.mark.parametrize("point", range(6))
@pytest.mark.parametrize("leave", [interrupted, closed])
@pytest.mark.parametrize("granted", [False, True])
def test_cancellation_at_any_await_leaves_nothing_behind(
    leave: Callable[[Coroutine[Any, Any, Reservation]], None], point: int, granted: bool
) -> None:
    limiter, clock = limiter_of(Limit(Unit.REQUESTS, 1, 60.0, "rpm")), HandClock()
    limiter.add_scope("key", [Limit(Unit.IN_FLIGHT, 1, 0.0, "key")])
    settled(limiter, Ask("g", Charge(), scopes=("key",)), 0.0)
    step = limiter.reserve(Ask("g", Charge(), scopes=("key",)), clock)
    step.send(None)
    for _ in range(point):
        clock.time += 5.0
        step.send(None)
    if granted:  # in the very moment in which he leaves
        clock.time = 70.0
        other = limiter.reserve(Ask("g", Charge(), tenant="z"), clock)
        other.send(None)
        other.close()
        assert limiter.snapshot(70.0)["deployments"]["d0"]["in_flight"] == 1
    leave(step)
    clock.time += 140.0
    assert limiter.snapshot(clock.time)["queues"] == {"g": 0}
    assert limiter.snapshot(clock.time)["deployments"]["d0"]["in_flight"] == 0
    settled(limiter, Ask("g", Charge(), scopes=("key",), max_wait=0), clock.time)


@given(CROWDS, st.data())
def test_remaining_calls_are_served_whichever_others_are_cancelled(callers: list[Call], data: st.DataObject) -> None:
    """A cancelled call that kept the queue's timer hands it over."""
    crowd = visited(callers, Profile())
    stayed = [call for call in callers if call.leaves is None]
    served = [grant.call for grant in crowd.grants]
    assert all(any(call is one for one in served) or any(call is one for one, _, _ in crowd.errors) for call in stayed)
    assert all(isinstance(error, NeverFits) for _, _, error in crowd.errors)


def test_the_timekeeping_call_hands_over_when_cancelled_just_after_a_look() -> None:
    crowd = Crowd(limiter_of(Limit(Unit.TOKENS, 2_000, 120.0), settings=LimiterSettings(look_ahead=2)))
    crowd.come([Call(0.0, prompt=1_900, most=0, lasts=5.0)])
    crowd.come([Call(1.0, prompt=400 + number, most=0, leaves=4.001 if number == 0 else None) for number in range(5)])
    crowd.world.run(until=200.0)
    assert len(crowd.grants) == 5
    assert not crowd.waiting


# ---- P8: what was foretold


@given(st.lists(calls(scopes=(), leaves=None, ending="unknown", tenant="a", priority=1), max_size=20), st.integers(0, 400))
def test_the_wait_predicted_with_an_empty_queue_is_exact(callers: list[Call], size: int) -> None:
    crowd = Crowd(limiter_of(RPM, TPM, deployments=2, profile=Profile(confidence="documented")))
    crowd.come(callers)
    crowd.world.run()
    ask = Ask("g", Charge(input=size, max_output=10))
    foretold = crowd.limiter.peek(ask, crowd.world.now())
    held = crowd.world.complete(crowd.limiter.reserve(ask, crowd.world))
    assert held.waited == pytest.approx(foretold.wait, abs=1e-3)
    assert foretold.deployments[held.deployment][0] <= held.waited + 1e-3


# ---- deadlines


@given(st.lists(calls(scopes=()), max_size=30), st.integers(0, 600), st.floats(0, 90))
def test_no_call_waits_past_its_deadline(callers: list[Call], at: int, patience: float) -> None:
    crowd = Crowd(limiter_of(RPM, TPM))
    hasty = Call(at / 5, prompt=100, tenant="hasty", max_wait=patience)
    crowd.come([*callers, hasty])
    crowd.world.run()
    outcome = [grant.waited for grant in crowd.grants if grant.call is hasty]
    outcome += [when - hasty.at for call, when, error in crowd.errors if call is hasty]
    assert len(outcome) == 1
    assert outcome[0] <= patience + 1e-9


@given(st.floats(0.0, 100.0))
def test_a_call_that_would_fit_at_its_deadline_is_served(patience: float) -> None:
    """One request a minute: a call that may wait a minute is served, and one that may not is refused at once."""
    crowd = Crowd(limiter_of(Limit(Unit.REQUESTS, 1, 60.0)))
    crowd.come([Call(0.0), Call(1.0, max_wait=patience)])
    crowd.world.run()
    if patience >= 59.0 + SPREAD:
        assert [grant.waited for grant in crowd.grants] == pytest.approx([0.0, 59.0 + SPREAD])
    else:
        [(_, when, error)] = crowd.errors
        assert when == 1.0
        assert error.retry_after == pytest.approx(59.0 + SPREAD)


def test_a_call_that_may_not_wait_passes_a_queue_that_waits_for_something_else() -> None:
    """Symptom: a call with max_wait=0 was refused whenever another call waited, even if there was room."""
    limiter = limiter_of(Limit(Unit.REQUESTS, 600, 60.0))
    limiter.add_scope("spent", [Limit(Unit.REQUESTS, 1, 3600.0, "spent")])
    crowd = Crowd(limiter)
    crowd.come([Call(0.0, scopes=("spent",)), Call(1.0, scopes=("spent",)), Call(2.0, max_wait=0.0)])
    crowd.world.run(until=5.0)
    assert crowd.errors == []
    crowd.world.close()


def test_a_call_that_fits_exactly_at_its_deadline_is_served_whichever_call_keeps_the_time() -> None:
    crowd = Crowd(limiter_of(Limit(Unit.REQUESTS, 2, 60.0), profile=Profile(confidence="documented")))
    first = 60.0 + SPREAD
    crowd.come([Call(0.0), Call(0.0, prompt=1), Call(1.0, prompt=2, max_wait=first - 1.0), Call(2.0, prompt=3, max_wait=first - 2.0)])
    crowd.world.run()
    assert crowd.errors == []


# ---- money


@given(st.lists(st.tuples(st.integers(1, 900), st.integers(0, 900)), min_size=1, max_size=60), st.integers(1, 8_000))
def test_a_budget_is_never_exceeded_and_never_refuses_what_it_has_left(bills: list[tuple[int, int]], budget: int) -> None:
    """In nano-dollars: the sum of what was spent and of what calls in flight may spend stays within the budget."""
    limiter = limiter_of(Limit(Unit.REQUESTS, 100_000, 60.0))
    limiter.add_scope("budget", [Limit(Unit.MONEY, budget, 2_592_000.0, "budget")])
    crowd = Crowd(limiter)
    plans = [Call(number / 4, money=most, spent=min(most, spent), scopes=("budget",), max_wait=0.0, lasts=2.1, prompt=number)
             for number, (most, spent) in enumerate(bills)]  # fmt: skip
    crowd.come(plans)
    crowd.world.run()
    assert most_in_a_window(crowd.grants, Unit.MONEY, 2_592_000.0, "settle") <= budget
    for call, when, _ in crowd.errors:
        committed = sum(grant.cost(Unit.MONEY, "settle", when) for grant in crowd.grants if grant.at <= when)
        assert committed + call.money > budget


def test_a_thousand_concurrent_calls_spend_a_budget_to_the_last_call() -> None:
    limiter = limiter_of(Limit(Unit.REQUESTS, 10_000_000, 60.0))
    limiter.add_scope("budget", [Limit(Unit.MONEY, 10_000_000_000, 2_592_000.0, "budget")])
    crowd = Crowd(limiter)
    crowd.come([Call(0.0, money=30_000_000, spent=20_000_001, scopes=("budget",), max_wait=0.0, prompt=n, lasts=1.0) for n in range(1_000)])
    crowd.world.run()
    assert len(crowd.grants) == 333  # 333 x $0.03 of $10
    crowd.come([Call(10.0, money=30_000_000, spent=20_000_001, scopes=("budget",), max_wait=0.0, prompt=n, lasts=1.0) for n in range(400)])
    crowd.world.run()
    spent = sum(grant.call.spent for grant in crowd.grants)
    assert spent <= 10_000_000_000
    assert len(crowd.grants) == 333 + (10_000_000_000 - 333 * 20_000_001) // 30_000_000


# ---- gates


@given(st.lists(calls(scopes=(), leaves=None, ending="served"), min_size=1, max_size=30), st.floats(0, 100), st.floats(0.1, 50))
def test_deployments_of_one_account_obey_its_gate(callers: list[Call], at: float, seconds: float) -> None:
    """A Retry-After holds every deployment of the account, in every group."""
    limiter = Limiter()
    for name in ("a", "b"):
        limiter.add(name, group=("g", f"only {name}"), limits=[RPM, TPM], profile=Profile(), account="shared")
    crowd = Crowd(limiter)
    crowd.come(callers)
    crowd.world.at(at, lambda: limiter.gate("a", at + seconds, at))
    crowd.world.run()
    assert not [grant for grant in crowd.grants if at < grant.at < at + seconds - 1e-9]
    assert len(crowd.grants) + len(crowd.errors) == len(callers)


def test_a_shorter_gate_does_not_open_a_longer_one() -> None:
    limiter = limiter_of(RPM)
    limiter.gate("d0", 30.0, 0.0)
    limiter.gate("d0", 10.0, 1.0)
    assert limiter.peek(Ask("g", Charge()), 2.0).wait == 28.0


# ---- P10: headers in any order


VIEWS = st.lists(
    st.tuples(st.integers(0, 50), st.sampled_from((100.0, 300.0, 600.0)), st.floats(0, 1)),
    min_size=1,
    max_size=12,
    unique_by=lambda row: row[0],
)  # fmt: skip


def shown_headers(rows: list[tuple[int, float, float]], order: list[int]) -> Limiter:
    """A limiter that has read these headers (time sent, limit, share remaining), in the order given."""
    limiter = limiter_of(Limit(Unit.REQUESTS, 600, 60.0, "rpm"))
    held = {}
    for sent, _, _ in sorted(rows):
        clock = HandClock()
        clock.time = float(sent)
        step = limiter.reserve(Ask("g", Charge(), max_wait=0), clock)
        with pytest.raises(StopIteration) as over:
            step.send(None)
        held[sent] = over.value.value
    for number in order:
        sent, limit, remaining = rows[number]
        view = QuotaView("requests", limit, math.floor(limit * remaining), None)
        limiter.settle(held[sent], used=Used(), view=(view,), now=60.0)
    return limiter


@given(VIEWS)
def test_a_view_shown_twice_is_shown_once(rows: list[tuple[int, float, float]]) -> None:
    order = sorted(range(len(rows)), key=lambda number: rows[number][0])
    once, twice = shown_headers(rows, order), shown_headers(rows, [number for number in order for _ in (0, 1)])
    assert books(once, 60.0) == books(twice, 60.0)


@given(VIEWS, st.randoms(use_true_random=False))
def test_a_view_of_an_earlier_moment_changes_nothing(rows: list[tuple[int, float, float]], chance: Random) -> None:
    """Responses arrive in any order; the newest one determines the limit's state."""
    newest = max(range(len(rows)), key=lambda number: rows[number][0])
    rest = [number for number in range(len(rows)) if number != newest]
    chance.shuffle(rest)
    alone, all_of_them = shown_headers([*rows], [newest]), shown_headers(rows, [newest, *rest])
    rooms = [limiter.snapshot(60.0)["deployments"]["d0"]["limits"]["rpm"]["limit"] for limiter in (alone, all_of_them)]
    assert rooms[0] == rooms[1]


def test_replies_from_before_a_limit_was_halved_do_not_raise_it_again() -> None:
    """Symptom: a long response to a request sent before the provider halved the limit restored the old one."""
    rows = [*[(sent, 600.0, 0.9) for sent in range(10)], (20, 300.0, 0.9)]
    limiter = shown_headers(rows, [10, *range(10)])
    assert limiter.snapshot(60.0)["deployments"]["d0"]["limits"]["rpm"]["limit"] == pytest.approx(300)


# ---- what can never be


def test_a_call_that_waits_is_refused_by_name_once_its_limit_can_no_longer_hold_it() -> None:
    """Symptom: the provider lowered a limit below the size of a waiting call, and the call waited forever."""
    limiter = limiter_of(Limit(Unit.TOKENS, 1_000, 60.0, "tpm"))
    crowd = Crowd(limiter)
    first = crowd.world.complete(limiter.reserve(Ask("g", Charge(input=900)), crowd.world))
    crowd.come([Call(1.0, prompt=800, most=0)])
    crowd.world.run(until=2.0)
    limiter.settle(first, used=Used(input=900), view=(QuotaView("tokens", 500, 0),), now=2.0)
    crowd.world.run(until=300.0)
    [(_, _, error)] = crowd.errors
    assert isinstance(error, NeverFits)
    assert "tpm" in str(error)


def test_what_others_use_for_a_while_refuses_no_large_call() -> None:
    """Symptom: half of the limit was in use elsewhere, and a call of 60 % of it failed with NeverFits."""
    limiter = limiter_of(Limit(Unit.TOKENS, 1_000, 60.0, "tpm"))
    [meter] = limiter._roster.members["d0"].account.meters
    meter.share_with(8.0)
    crowd = Crowd(limiter)
    crowd.come([Call(0.0, prompt=600, most=0), Call(1.0, prompt=601, most=0)])
    crowd.world.run()
    assert len(crowd.grants) == 2
    assert crowd.grants[1].at >= 60.0

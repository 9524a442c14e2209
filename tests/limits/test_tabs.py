"""Calls that come close together are charged together: to the same sums, and by the same rules, as each by itself."""

from __future__ import annotations

import random
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Failure, Kind
from headrace.limits import Ask, Charge, Limiter, Reservation, Used, limits_of, profile_of
from headrace.limits.left import left_of
from headrace.limits.sliding_log import SLOTS
from headrace.limits.tabs import LONGEST
from headrace.limits.view import QuotaView

KEY = limits_of(rpm=2000, tpm=60_000, max_parallel_requests=40)


def limiter(*, rpm: int = 3000, tpm: int = 90_000, profile: str = "openai", deployments: str = "d") -> Limiter:
    made = Limiter(random=random.Random(1))
    for name in deployments:
        made.add(name, group="chat", limits=limits_of(rpm=rpm, tpm=tpm), profile=profile_of(profile), provider=profile)
    made.add_scope("key", KEY)
    return made


def alone(limiter: Limiter, ask: Ask, now: float) -> Reservation | None:
    """As a call is let in that no other is close to."""
    seat = limiter.seat("chat", ("key",))
    with limiter._lock:
        return limiter._admission.at_once(seat.group, ask, seat.scopes, now)


def together(limiter: Limiter, ask: Ask, now: float) -> Reservation | None:
    return limiter.at_once(limiter.seat("chat", ("key",)), ask, now)


@pytest.mark.parametrize("seed", range(3))
def test_calls_on_tabs_are_let_in_and_charged_like_any_other(seed: int) -> None:
    """Whoever looks, at whatever moment, sees the same sums; who is let in and who is not is the same, up to the limits and at them."""
    chance = random.Random(seed)
    one, other = limiter(), limiter()
    now, tabs, refused = 1000.0, 0, 0
    under_way: list[tuple[Reservation, Reservation, Charge]] = []
    for _ in range(500):
        now += chance.choice((0.0, 0.0005, 0.002, 0.004, 0.02))
        charge = Charge(chance.choice((3, 9, 14)), chance.choice((20, 90)))
        ask = Ask("chat", charge, scopes=("key",))
        mine, yours = together(one, ask, now), alone(other, ask, now)
        assert (mine is None) == (yours is None)
        if mine is None or yours is None:
            refused += 1
        else:
            tabs += mine.put is not None
            under_way.append((mine, yours, charge))
        while under_way and chance.random() < 0.55:
            mine, yours, charge = under_way.pop(chance.randrange(len(under_way)))
            end(one, other, mine, yours, charge, chance, now)
        if chance.random() < 0.02:
            looks = [each.snapshot(now) for each in (one, other)]
            assert sums(looks[0]) == pytest.approx(sums(looks[1]), abs=1e-6)
        if chance.random() < 0.1:
            left = [[(one.unit, one.remaining) for one in each.left(["key"], now)] for each in (one, other)]
            assert left[0] == left[1]
    assert tabs > 60
    assert refused > 20, (tabs, refused)


SCOPES = {
    "ann": limits_of(rpm=70, max_parallel_requests=30), "bob": limits_of(rpm=80, tpm=4_000), "cid": limits_of(tpm=5_000),
    "team": limits_of(tpm=9_000, windows=[{"unit": "output", "amount": 4_000, "window": 30}]),
    "budget": limits_of(windows=[{"unit": "money", "amount": 60_000, "window": 86_400}]), "all": limits_of(max_parallel_requests=40),
}  # fmt: skip
CALLERS = [("ann", "team", "all"), ("bob", "team", "budget", "all"), ("cid", "budget"), ()]


def town() -> Limiter:
    """Two deployments on one account and one on its own, and callers with some limits in common."""
    made = Limiter(random=random.Random(1))
    for name, group, account, profile in (("d", "chat", "x", "openai"), ("e", "long", "x", "openai"), ("f", "other", "y", "groq")):
        made.add(name, group=group, limits=limits_of(rpm=40_000, tpm=2_000_000), profile=profile_of(profile), account=account)
    for name, limits in SCOPES.items():
        made.add_scope(name, limits)
    for number, account in enumerate(made._roster.accounts()):
        account.sizes.ratio = 1.0 + number / 8  # each counts prompts in its own way
    return made


@given(st.integers(0, 1 << 32))
def test_calls_of_many_callers_over_shared_limits_are_let_in_and_charged_like_any_other(seed: int) -> None:
    """Whatever tabs they share: limits of a caller, of a team, of all, budgets, and accounts of several deployments."""
    chance = random.Random(seed)
    one, other = town(), town()
    seats = {(group, scopes): one.seat(group, scopes) for group in ("chat", "long", "other") for scopes in CALLERS}
    now, tabs, under_way = 1000.0, 0, list[tuple[Reservation, Reservation, Charge]]()
    for _ in range(chance.choice((60, 250))):
        now += chance.choice((0.0, 0.0, 0.0005, 0.002, 0.015)) if chance.random() < 0.98 else chance.choice((25.0, 40.0))
        (group, scopes), seat = chance.choice(list(seats.items()))
        charge = Charge(chance.choice((3, 9, 140)), chance.choice((0, 20, 90)), expected_output=7, money=chance.choice((0, 40, 700)))
        ask = Ask(group, charge, scopes=scopes)
        mine = one.at_once(seat, ask, now)
        with other._lock:
            yours = other._admission.at_once(other._roster.group(group), ask, other._roster.scopes_of(ask), now)
        assert (mine is None) == (yours is None)
        if mine is not None and yours is not None:
            tabs += mine.put is not None
            under_way.append((mine, yours, charge))
        while under_way and chance.random() < 0.5:
            mine, yours, charge = under_way.pop(chance.randrange(len(under_way)))
            end(one, other, mine, yours, charge, chance, now, counted=0)  # a prompt that nobody counts teaches nothing
        if chance.random() < 0.03:
            assert books(one, now) == pytest.approx(books(other, now), abs=1e-6)
        if chance.random() < 0.1:
            left = [[(one.unit, one.remaining) for one in each.left(scopes, now)] for each in (one, other)]
            assert left[0] == left[1]
        if chance.random() < 0.02:  # a limit that changes while calls are put down under it
            for each in (one, other):
                each.add_scope("bob", limits_of(rpm=80 + len(under_way), **({"tpm": 4_000} if len(under_way) % 2 else {})))
    assert tabs
    assert books(one, now) == pytest.approx(books(other, now), abs=1e-6)
    for moment in (now + 59 + step / 50 for step in range(60)):
        mine_then, yours_then = books(one, moment), books(other, moment + 60 / SLOTS)  # by when what shares a slot has left as well
        assert all(mine >= yours - 1e-6 for mine, yours in zip(mine_then, yours_then, strict=True)), "it left too soon"


def books(limiter: Limiter, now: float) -> list[float]:
    """All that is on them, and what is set aside of budgets."""
    used = sums(limiter.snapshot(now))
    return [*used, *[meter._open for account in limiter._roster.accounts() for meter in account.meters]]


@pytest.mark.parametrize("limits", [{"max_parallel_requests": 40}, {"rpm": 40}, {"tpm": 40 * 23}], ids=lambda limits: next(iter(limits)))
def test_a_burst_on_tabs_stops_where_calls_by_themselves_would(limits: dict[str, int]) -> None:
    """However many come within one tab: the last for whom there is room is the last for both."""
    let_in = []
    for tabs in (True, False):
        now, one = 50.0, limiter(rpm=600_000, tpm=90_000_000)
        one.add_scope("few", limits_of(**limits))
        seat, ask, count = one.seat("chat", ("few",)), Ask("chat", Charge(3, 20), scopes=("few",)), 0
        for _ in range(80):
            now += LONGEST / 80
            with one._lock if not tabs else nullcontext():
                count += (one.at_once(seat, ask, now) if tabs else one._admission.at_once(seat.group, ask, seat.scopes, now)) is not None
        let_in.append(count)
    assert let_in[0] == let_in[1] <= 40


def end(
    one: Limiter,
    other: Limiter,
    mine: Reservation,
    yours: Reservation,
    charge: Charge,
    chance: random.Random,
    now: float,
    counted: int | None = None,
) -> None:
    """As calls end: answered, refused, broken off, not sent."""
    how = chance.random()
    input, output = charge.input if counted is None else counted, chance.randrange(charge.max_output + 1)
    used = Used(input, output, money=charge.money // 2) if how < 0.8 else None
    failure = Failure(Kind.SERVER, "broken", provider="openai") if how > 0.9 else None
    for limiter, reservation in ((one, mine), (other, yours)):
        limiter.settle(reservation, used=used, now=now, failure=failure, sent=not 0.8 <= how < 0.85)
        limiter.settle(reservation, used=used, now=now)


def sums(snapshot: dict[str, dict[str, dict[str, dict[str, dict[str, float]]]]]) -> list[float]:
    held = {**snapshot["deployments"], **snapshot["scopes"]}
    return [number for use in held.values() for number in (use["in_flight"], *[limit["used"] for limit in use["limits"].values()])]  # type: ignore[misc]


def test_what_is_on_a_tab_is_told_of_at_once() -> None:
    """An answer's headers count the calls that have only been put down."""
    one, now = limiter(), 50.0
    seat = one.seat("chat", ("key",))
    told = []
    for _ in range(5):
        now += 0.001
        assert one.at_once(seat, Ask("chat", Charge(5, 20), scopes=("key",)), now) is not None
        told.append(one.look(lambda now: [left_of(meter, now).remaining for meter in seat.scopes[0].meters], now))
    assert told == [[2000 - n, 60_000 - 25 * n, 40 - n] for n in range(1, 6)]


def test_one_call_of_each_tab_is_learned_from() -> None:
    """What its headers say lowers a limit; the others of the tab are not asked."""
    one, now, heard = limiter(), 50.0, []
    seat = one.seat("chat", ("key",))
    view = [QuotaView("requests", 600.0, 599.0, 1.0, None)]
    for _ in range(30):
        now += LONGEST / 10
        reservation = one.at_once(seat, Ask("chat", Charge(5, 20), scopes=("key",)), now)
        assert reservation is not None
        heard.append(reservation.heard)
        one.settle(reservation, used=Used(5, 9), now=now, view=view if len(heard) > 20 else ())
    assert sum(heard) < 15
    assert one.snapshot(now)["deployments"]["d"]["limits"]["rpm"]["limit"] == 600


def test_slack_deployments_share_calls_that_are_put_down() -> None:
    one, now = limiter(deployments="abc"), 50.0
    seat = one.seat("chat", ("key",))
    took = [one.at_once(seat, Ask("chat", Charge(5, 20), scopes=("key",)), now := now + 0.001) for _ in range(30)]
    counts = [sum(one is not None and one.deployment == name for one in took) for name in "abc"]
    assert sum(counts) == 30
    assert max(counts) - min(counts) <= 2
    assert any(one is not None and one.put and len(one.decided) == 2 for one in took)


def test_calls_that_have_ended_leave_nothing_in_doubt_and_pay_what_they_used() -> None:
    """Whether they end while their tab is open or afterwards: in doubt are those under way, and the flow has what answers came to."""
    one, other, now = limiter(), limiter(), 50.0
    ask, used = Ask("chat", Charge(5, 20, stated=False), scopes=("key",)), Used(5, 20)
    pairs = []
    for number in range(11):
        now += 0.001
        mine, yours = together(one, ask, now), alone(other, ask, now)
        assert mine is not None
        assert yours is not None
        if number:
            pairs.append((mine, yours))
        else:  # after the first answer it is looked for what caution took, by itself
            one.settle(mine, used=used, now=now)
            other.settle(yours, used=used, now=now)
    assert sum(mine.put is not None for mine, _ in pairs) > 5
    accounts = [reservation.ledger.account for reservation in pairs[-1]]
    for ending in (pairs[-4:], pairs[3:-4], pairs[:3]):
        for reservations in ending:
            for each, reservation in zip((one, other), reservations, strict=True):
                each.settle(reservation, used=used, now=now)
        for each in (one, other):
            each.snapshot(now)
        (mine_doubt, mine_paid), (your_doubt, your_paid) = [
            ((account.sizes.unconfirmed, account.sizes.owed), [meter._pace.paid_until for meter in account.meters if meter._pace])
            for account in accounts
        ]
        assert mine_doubt == pytest.approx(your_doubt, abs=1e-6)
        assert mine_paid == pytest.approx(your_paid, abs=1e-6)

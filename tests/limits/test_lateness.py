"""Calls that leave, or arrive, at other moments than they were let through."""

from __future__ import annotations

import pytest

from headrace.errors import Failure, Kind
from headrace.limits import Charge, Limit, Profile, Unit
from headrace.limits.account import Account
from headrace.limits.learn import Learner
from headrace.limits.learn_settings import LearnSettings
from headrace.limits.meter import Meter
from headrace.limits.meter_settings import MeterSettings

ONE_A_SECOND = Limit(Unit.REQUESTS, 60)


def test_a_call_that_left_late_counts_from_when_it_left() -> None:
    meter = Meter(Limit(Unit.REQUESTS, 1), Profile(), MeterSettings())
    hold = meter.take(1, 1, 0.0)
    meter.delay(hold, 5.0)
    assert meter.used == 1
    assert meter.when(1, 10.0) == pytest.approx(65.5)


def test_a_call_that_left_when_all_was_forgotten_counts_again() -> None:
    meter = Meter(Limit(Unit.REQUESTS, 1), Profile(), MeterSettings())
    hold = meter.take(1, 1, 0.0)
    assert meter.when(1, 61.0) == 61.0
    meter.delay(hold, 61.0)
    assert meter.when(1, 62.0) == pytest.approx(121.5)
    meter.settle(hold, 0, 62.0)
    assert meter.when(1, 62.0) == 62.0


def refused(account: Account, learner: Learner, now: float) -> None:
    charge = Charge(input=10)
    taken = account.take(charge, account.costs(charge), now, False)
    account.settle(taken, None, True, Failure(Kind.RATE_LIMIT, "slow down", retry_after=0.1, scope="requests"), now)
    learner.refused(Failure(Kind.RATE_LIMIT, "slow down", retry_after=0.1, scope="requests"), taken, (), now)


def test_a_refusal_at_the_edge_of_a_known_window_widens_it_and_finds_no_other() -> None:
    """One late arrival in ten seconds' window had us keep to one call a second, at three quarters of the limit."""
    account = Account("a", [ONE_A_SECOND], Profile(windows=(10.0,)), MeterSettings())
    learner = Learner(account, LearnSettings())
    meter, charge = account.meters[0], Charge(input=10)
    for second in range(10):
        account.take(charge, account.costs(charge), float(second), False)
    before = meter.when(1, 9.5)
    refused(account, learner, 9.5)
    assert meter.when(1, 9.5) == pytest.approx(before + MeterSettings().short_spread / 3)
    assert not meter.watches(1.0)
    assert meter.margin == 0


def test_windows_widen_only_so_far() -> None:
    meter = Meter(ONE_A_SECOND, Profile(windows=(10.0,)), MeterSettings())
    for _ in range(10):
        meter.take(1, 1, 0.0)
    assert sum(meter.late(0.0) for _ in range(100)) < 30
    assert meter.when(1, 0.0) <= 12.2

"""Budgets over a shared store: what was spent before this process, and by others, is known from the ledger and charged without a call."""

from __future__ import annotations

import random
from functools import partial

import pytest

from headrace.errors import BudgetExceededError, HeadraceError
from headrace.limits import Ask, Charge, Used, profile_of
from headrace.limits.limit import Limit, Unit
from headrace.limits.memory import MemoryServer, MemoryStore
from headrace.limits.shared import SharedLimiter
from headrace.runtime.virtual import World

BUDGET, SPENT, PRICE = 100_000, 60_000, 1_000


class Office:
    """Three processes with one budget, of which more than half was spent before; each knows that."""

    def __init__(self, late: float = 0.0) -> None:
        """late: seconds after which the ledger tells the others of a call."""
        self.late = late
        self.world, self.server = World(), MemoryServer()
        self.limiters = []
        for number in range(3):
            store = MemoryStore(self.server, self.world, self.world.at, process=f"p{number}", trip=0.001)
            limiter = SharedLimiter(store, random=random.Random(number))
            limiter.add("d", group="g", limits=(), profile=profile_of("openai"))
            limiter.add_scope("team", [Limit(Unit.MONEY, BUDGET, 30 * 86_400.0, "max_budget")])
            limiter.charge_scope("team", SPENT, 0.0)
            self.limiters.append(limiter)
            for at in range(1, 90):
                self.world.at(at + number / 3, partial(limiter.presence.beat, at + number / 3))
        self.paid = 0
        self.refused: list[HeadraceError] = []

    async def call(self, limiter: SharedLimiter) -> None:
        try:
            held = await limiter.reserve(Ask("g", Charge(10, 10, money=PRICE), scopes=("team",), max_wait=5.0), self.world)
        except HeadraceError as error:
            self.refused.append(error)
            return
        await self.world.sleep(0.1)
        limiter.settle(held, used=Used(10, 10, money=PRICE), now=self.world.now())
        self.paid += PRICE
        await self.world.sleep(self.late)
        for other in self.limiters:
            if other is not limiter:
                other.charge_scope("team", PRICE, self.world.now())  # as the ledger tells

    def calls(self, count: int, since: float, every: float) -> None:
        for number in range(count):
            limiter = self.limiters[number % 3]
            self.world.at(since + every * number, lambda limiter=limiter: self.world.spawn(self.call(limiter)))


@pytest.mark.parametrize("away", [0.01, 15.0])
def test_a_store_that_begins_anew_does_not_count_what_was_spent_once_for_each_process(away: float) -> None:
    """Each told it all that it knew of, the others' spending included: a budget of which 60 % were spent was over by far for everybody."""
    office = Office()
    office.calls(9, 1.0, 0.5)
    office.world.at(20.0, partial(setattr, office.server, "away", True))
    office.world.at(20.0 + away, partial(setattr, office.server, "away", False))
    office.world.at(20.0 + away, office.server.forget)
    office.calls(12, 60.0, 0.5)
    office.world.run(until=85)
    assert office.refused == []
    assert office.paid == 21 * PRICE


@pytest.mark.parametrize("goes", [0.5, 10.0])
def test_while_the_store_is_lost_what_was_spent_before_it_counts(goes: float) -> None:
    """Each has its part of what is left: neither of the whole budget nor of nothing."""
    office = Office()
    office.calls(6, 0.0, 0.05)
    office.world.at(goes, partial(setattr, office.server, "away", True))
    office.calls(120, goes + 5.0, 0.1)
    office.world.run(until=40)
    left = BUDGET - SPENT - 6 * PRICE
    assert 0.4 * left <= office.paid - 6 * PRICE <= left
    assert any(isinstance(error, BudgetExceededError) for error in office.refused)


@pytest.mark.parametrize("rate", [5, 60])
def test_what_was_spent_before_the_store_began_is_not_there_for_each_process_once_more(rate: int) -> None:
    """The shared books knew nothing of it, and what the others spent was heard of seconds later: a budget was passed by a half.

    What others spend while a process first looks, and it has not heard of, is not told apart from that.
    """
    office = Office(late=6.0)
    office.calls(200, 5.0, 1 / rate)
    office.world.run(until=80)
    assert BUDGET - SPENT - 3 * PRICE <= office.paid <= BUDGET - SPENT + 2 * PRICE

"""Samples a running simulation: which calls wait, for which limit, and how much of each limit is used."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any, Final, Protocol

from msgspec import Struct

from headrace.limits import Ask, Limit, Limiter, Unit
from headrace.planner.forecast import LimitUse, Series
from headrace.planner.providers import LONG, Account
from headrace.runtime.virtual import World

FIRST_LOOK: Final = 0.25
"""Seconds between two samples at first; doubles after every `LOOKS` samples, so that a month takes hardly longer to
simulate than a day."""
LOOKS: Final = 20_000
SLICES: Final = 480
"""Most slices of a run."""


class Watched(Protocol):
    """What of a simulation is sampled."""

    world: World
    limiter: Limiter
    accounts: dict[str, Account]
    waiting: Any
    over: bool

    def typical(self, group: str) -> Ask: ...


class _Slice(Struct):
    """A part of the run."""

    seconds: float = 0.0
    waiting: float = 0.0
    """Call-seconds in the queue."""
    running: list[float] = []
    """Call-seconds in flight, by account."""
    totals: list[float] = []
    """Amounts used from the beginning of the run to the end of the slice, by gauge."""


class Gauges:
    """Samples a simulation at intervals."""

    def __init__(self, run: Watched) -> None:
        self._run = run
        self._accounts = list(dict.fromkeys(run.accounts.values()))
        self._gauges = [gauge for account in self._accounts for gauge in account.gauges]
        self._held: defaultdict[tuple[Account, str], float] = defaultdict(float)
        """Seconds in which calls waited and this limit was the reason, by account and limit."""
        self._slices: list[_Slice] = []
        self._width = 1.0
        self._chance = random.Random(0)

    async def watch(self) -> None:
        """Sample until the run is over, at a random moment of each step, because paced calls are periodic."""
        run, step, looks, begins = self._run, FIRST_LOOK, 0, self._run.world.now()
        while not run.over:
            await run.world.sleep(begins + step * self._chance.random() - run.world.now())
            self._look(step)
            begins, looks = begins + step, looks + 1
            if looks == LOOKS:
                step, looks = 2 * step, 0
        self._close()

    def _look(self, seconds: float) -> None:
        """Take a sample that stands for `seconds`."""
        if not self._slices or self._slices[-1].seconds >= self._width:
            self._close()
            self._slices.append(_Slice(running=[0.0] * len(self._accounts)))
        current = self._slices[-1]
        current.seconds += seconds
        for position, account in enumerate(self._accounts):
            current.running[position] += account.enforcer.in_flight * seconds
        for group, count in self._run.waiting.items():
            if count:
                current.waiting += count * seconds
                self._look_for_cause(group, seconds)

    def _look_for_cause(self, group: str, seconds: float) -> None:
        run, now = self._run, self._run.world.now()
        found = run.limiter.peek(run.typical(group), now).deployments
        held = {(run.accounts[name], label or self._fullest(name, now)) for name, (_, label) in found.items()}
        for one in held:
            self._held[one] += seconds

    def _fullest(self, name: str, now: float) -> str:
        """The limit with the least room left, for the moment when a call would fit and waiting calls are not admitted yet."""
        limits = self._run.limiter.snapshot(now)["deployments"][name]["limits"]
        return max(limits, key=lambda label: float(limits[label]["share"]), default="")

    def _close(self) -> None:
        if self._slices:
            self._slices[-1].totals = [gauge.total for gauge in self._gauges]
        if len(self._slices) >= SLICES:
            self._slices = [_joined(*self._slices[at : at + 2]) for at in range(0, len(self._slices), 2)]
            self._width *= 2

    # ---- results

    def limits(self, until: float) -> tuple[LimitUse, ...]:
        """Every limit with its use up to second `until`."""
        return tuple(self._use(account, limit, max(until, 1e-9)) for account in self._accounts for limit in account.limits)

    def _use(self, account: Account, limit: Limit, until: float) -> LimitUse:
        enforcer = account.enforcer
        if limit.unit is Unit.IN_FLIGHT:
            use = sum(one.running[self._accounts.index(account)] for one in self._slices) / (limit.amount * until)
            peak = enforcer.peak_in_flight / limit.amount
        else:
            gauge = account.gauge(limit)
            use = gauge.total / (limit.amount * max(1.0, until / limit.window))
            peak = gauge.meter.peak / gauge.meter.limit
        held = min(1.0, self._held[account, limit.label] / until)
        return LimitUse(account.label, limit.label, limit.amount, limit.window, use, peak, held)

    def series(self) -> Series:
        shares = {
            f"{account.label} {limit.label}": tuple(self._shares(account, limit)) for account in self._accounts for limit in account.limits
        }
        return Series(self._width, tuple(one.waiting / one.seconds for one in self._slices), shares)

    def _shares(self, account: Account, limit: Limit) -> list[float]:
        if limit.unit is Unit.IN_FLIGHT:
            position = self._accounts.index(account)
            return [one.running[position] / one.seconds / limit.amount for one in self._slices]
        position = self._gauges.index(account.gauge(limit))
        totals = [0.0, *(one.totals[position] for one in self._slices)]
        return [self._share(totals, at, limit) for at in range(1, len(totals))]

    def _share(self, totals: list[float], at: int, limit: Limit) -> float:
        """The used share in the window that ends with a slice; for slices longer than the window, their mean."""
        slices = max(1, round(limit.window / self._width))
        since = (at - 1) // slices * slices if limit.window >= LONG else max(0, at - slices)
        return (totals[at] - totals[since]) / (limit.amount * max(1.0, self._width / limit.window))


def _joined(first: _Slice, second: _Slice | None = None) -> _Slice:
    if second is None:
        return first
    running = [one + other for one, other in zip(first.running, second.running, strict=True)]
    return _Slice(first.seconds + second.seconds, first.waiting + second.waiting, running, second.totals)

"""One limit, mirrored: what its provider has on its books, and when the next call fits."""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

from headrace.limits.guard import Entry, SlidingLog
from headrace.limits.limit import Charge, Limit, Unit, Used
from headrace.limits.pace import Pace
from headrace.limits.profile import Profile


class MeterSettings(Struct, frozen=True):
    """How far the mirror keeps from the edge. Reasons: docs/limits.md."""

    spread: float = 0.5
    """Seconds by which the travel times of two requests may differ: the window is watched this much longer."""
    tolerance: float = 4.0
    """Seconds of its rate that a flow may run ahead; below a second it wastes what two limits leave each other."""
    least_burst: float = 5.0
    """Calls that may go at once however low the limit is."""


class Hold:
    """What one reservation holds of one meter."""

    __slots__ = ("charged", "entries", "expected", "meter")

    def __init__(self, meter: Meter, charged: float, expected: float, entries: tuple[Entry, ...]) -> None:
        self.meter = meter
        self.charged = charged
        self.expected = expected
        self.entries = entries


EPSILON: Final = 1e-9


class Meter:
    """One limit of one account."""

    __slots__ = ("_log", "_pace", "_shorter", "limit", "margin", "profile", "running", "settings", "stated")

    def __init__(self, limit: Limit, profile: Profile, settings: MeterSettings) -> None:
        self.limit = limit
        self.profile = profile
        self.settings = settings
        self.margin = 0.0
        """Share of the limit kept free, after refusals that nobody could explain."""
        self.stated: float | None = None
        """A lower limit that the provider itself named."""
        self.running = 0
        window = limit.window
        self._log = SlidingLog(window + settings.spread)
        self._pace = Pace(limit.amount / window, self._tolerance()) if window else None
        self._shorter: list[tuple[SlidingLog, float]] = []
        if limit.unit is Unit.REQUESTS and window == 60.0:
            for shorter in profile.windows:
                self.watch(shorter)

    def _tolerance(self) -> float:
        rate = self.limit.amount / self.limit.window
        if self.profile.burst is not None:
            return max(0.0, self.profile.burst - self.settings.spread - 1 / rate)
        calls = self.settings.least_burst / rate if self.limit.unit is Unit.REQUESTS else 0.0
        return max(self.settings.tolerance, min(calls, self.limit.window))

    def watch(self, window: float) -> None:
        """Keep requests below their share of the limit in a shorter window as well."""
        amount = math.floor(self.limit.amount * window / self.limit.window + EPSILON)
        if amount >= 1 and all(log.window != window + self.settings.spread for log, _ in self._shorter):
            self._shorter.append((SlidingLog(window + self.settings.spread), float(amount)))
            if self._pace is not None:
                self._pace.tolerance = min(self._pace.tolerance, max(window, 1 / self._pace.rate))

    @property
    def room(self) -> float:
        """What may be charged within a window."""
        amount = self.limit.amount if self.stated is None else min(self.limit.amount, self.stated)
        return amount * (1 - self.margin)

    # what a call costs here

    def cost(self, charge: Charge, input: float) -> float:
        """The most it can cost, as this provider counts. input: the corrected estimate of its prompt."""
        profile = self.profile
        match self.limit.unit:
            case Unit.REQUESTS:
                return charge.requests
            case Unit.IN_FLIGHT:
                return 1
            case Unit.INPUT:
                return input - (charge.cached if profile.cached_free else 0)
            case Unit.OUTPUT:
                return charge.max_output
            case Unit.MONEY:
                return charge.money
        if not profile.output_counts:
            return input
        return max(input, charge.max_output) if profile.estimate == "max" else input + charge.max_output

    def real_cost(self, used: Used, charged: float) -> float:
        """What it turned out to cost."""
        profile = self.profile
        input = used.input - (used.cached if profile.cached_free else 0)
        match self.limit.unit:
            case Unit.REQUESTS | Unit.IN_FLIGHT:
                return charged
            case Unit.INPUT:
                return input
            case Unit.OUTPUT:
                return used.output if profile.accounting != "reserve" else charged
            case Unit.MONEY:
                return used.money
        if profile.accounting == "reserve":
            return charged
        return input + used.output if profile.output_counts else input

    # when it fits

    def open_at(self, now: float) -> float:
        """The moment before which no call at all passes."""
        if self._pace is None:
            return now if self.running < self.room else math.inf
        return self._pace.when(now)

    def when(self, cost: float, now: float) -> float:
        """The moment at which a call of this cost fits; inf when it never will, or only once a running call has ended."""
        if self._pace is None:
            return now if self.running + cost <= self.room else math.inf
        at = max(self._pace.when(now), self._log.when(cost, self.room, now))
        for log, amount in self._shorter:
            at = max(at, log.when(cost, amount, now))
        return at

    def never(self, cost: float) -> bool:
        """Whether a call of this cost is larger than the whole limit."""
        return cost > self.room + EPSILON

    def share(self, now: float) -> float:
        """The used part of the limit, 0 to 1."""
        if self._pace is None:
            return self.running / self.room
        self._log.forget(now)
        return self._log.used / self.room if self.room else 1.0

    @property
    def used(self) -> float:
        return self.running if self._pace is None else self._log.used

    # taking and giving back

    def take(self, cost: float, expected: float, now: float) -> Hold:
        """Charge a call. expected: what it will probably have cost in the end."""
        self.running += 1
        if self._pace is None:
            return Hold(self, cost, expected, ())
        self._pace.add(now, expected)
        entries = (self._log.add(now, cost), *(log.add(now, cost) for log, _ in self._shorter))
        return Hold(self, cost, expected, entries)

    def settle(self, hold: Hold, used: Used | None, sent: bool, now: float) -> None:
        """End a charge. used: None where nobody knows, which leaves the charge as it stands."""
        self.running -= 1
        if self._pace is None:
            return
        if not sent:
            self._correct(hold, 0.0)
        elif used is not None:
            self._correct(hold, self._settled(hold, used, now))

    def _settled(self, hold: Hold, used: Used, now: float) -> float:
        """What stays on the books where the call was sent; output that is counted as it is written goes on them now."""
        real = self.real_cost(used, hold.charged)
        if self.profile.accounting != "post" or self.limit.unit not in (Unit.TOKENS, Unit.OUTPUT) or not self.profile.output_counts:
            return real
        self._log.add(now, used.output)
        assert self._pace is not None
        self._pace.correct(used.output)
        return real - used.output

    def _correct(self, hold: Hold, cost: float) -> None:
        log, shorter = self._log, self._shorter
        for entry, (kept, _) in zip(hold.entries, ((log, 0.0), *shorter), strict=False):
            kept.correct(entry, cost)
        if self._pace is not None:
            self._pace.correct(cost - hold.expected)

    def foreign(self, cost: float, now: float) -> None:
        """Somebody else has used this much of the limit."""
        if cost > 0 and self._pace is not None:
            self._log.add(now, cost)
            self._pace.add(now, cost)

    def recent(self, seconds: float, now: float) -> float:
        """What was charged in the last `seconds`."""
        return self._log.since(now - seconds)

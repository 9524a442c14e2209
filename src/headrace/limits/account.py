"""The ledger of one quota: its limits, what holds it shut, and what its provider has taught us about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from headrace.errors import Failure, Kind
from headrace.limits.guard import SlidingLog
from headrace.limits.limit import Charge, Limit, Unit, Used
from headrace.limits.meter import Hold, Meter, MeterSettings
from headrace.limits.profile import Profile
from headrace.limits.view import QuotaView

UNITS: Final = {"requests": Unit.REQUESTS, "tokens": Unit.TOKENS, "input": Unit.INPUT, "output": Unit.OUTPUT}


class LearnSettings(Struct, frozen=True):
    """How an account learns from refusals. Reasons: docs/limits.md."""

    hold: float = 1.0
    """Seconds a refusal without Retry-After holds the quota; doubles with each further one, up to `hold_max`."""
    hold_max: float = 30.0
    margin_step: float = 0.02
    """Share of a limit kept free after a refusal that our books do not explain."""
    margin_max: float = 0.3
    margin_decay: float = 0.0002
    """Share given back by each reply."""
    growth: float = 1.03
    """By which a discovered limit is raised after a quiet minute."""


class Account:
    """One quota. Deployments that share a key, an address and a model share it."""

    __slots__ = (
        "_count",
        "_hold_until",
        "_last_429",
        "_learn",
        "_mean_output",
        "_meters_settings",
        "_passed",
        "_ratio",
        "_refusals",
        "deployments",
        "in_flight",
        "meters",
        "name",
        "profile",
    )  # fmt: skip

    def __init__(self, name: str, limits: Sequence[Limit], profile: Profile, settings: MeterSettings, learn: LearnSettings) -> None:
        self.name = name
        self.profile = profile
        self.meters = [Meter(limit, profile, settings) for limit in limits]
        self.in_flight = 0
        self.deployments: set[str] = set()
        self._meters_settings = settings
        self._learn = learn
        self._hold_until = -math.inf
        self._ratio = 1.0
        """What the provider counts of a prompt for each token we estimate."""
        self._mean_output: float | None = None
        self._refusals = 0
        self._last_429 = -math.inf
        self._passed = SlidingLog(60.0)
        """Calls that got through in the last minute: what an unknown limit allows."""
        self._count = 0

    # costs

    def input_of(self, charge: Charge) -> float:
        return charge.input * self._ratio

    def expected(self, charge: Charge) -> float:
        """Tokens a call will probably write."""
        if charge.expected_output is not None:
            return min(charge.expected_output, charge.max_output)
        return min(charge.max_output, 256.0 if self._mean_output is None else self._mean_output)

    # when

    def open_at(self, now: float) -> float:
        """The moment before which nothing passes."""
        at = max(now, self._hold_until)
        for meter in self.meters:
            opens = meter.open_at(now)
            if opens > at:
                at = opens
        return at

    def when(self, charge: Charge, now: float) -> tuple[float, Meter | None]:
        """The moment at which a call fits, and the limit that decides it."""
        at, binding = max(now, self._hold_until), None
        input = self.input_of(charge)
        for meter in self.meters:
            fits = meter.when(meter.cost(charge, input), now)
            if fits > at:
                at, binding = fits, meter
        return at, binding

    def never(self, charge: Charge) -> Meter | None:
        """The limit that a call is larger than, if there is one."""
        input = self.input_of(charge)
        return next((meter for meter in self.meters if meter.never(meter.cost(charge, input))), None)

    @property
    def held_until(self) -> float:
        return self._hold_until

    # taking and giving back

    def take(self, charge: Charge, now: float) -> list[Hold]:
        """Charge a call against every limit."""
        self.in_flight += 1
        if not self.meters:
            return []
        input, output = self.input_of(charge), self.expected(charge)
        likely = Used(int(input), int(output), charge.cached, charge.money_expected)
        holds = []
        for meter in self.meters:
            cost = meter.cost(charge, input)
            holds.append(meter.take(cost, min(cost, meter.real_cost(likely, cost)), now))
        return holds

    def settle(self, charge: Charge, holds: list[Hold], used: Used | None, sent: bool, now: float) -> None:
        """End a call: charge what it used, give back the rest."""
        self.in_flight -= 1
        for hold in holds:
            hold.meter.settle(hold, used, sent, now)
        if used is not None and sent:
            self._learn_sizes(charge, used)

    def _learn_sizes(self, charge: Charge, used: Used) -> None:
        share = 0.2 if self._count < 20 else 0.02
        self._count += 1
        if used.output:
            self._mean_output = used.output if self._mean_output is None else (1 - share) * self._mean_output + share * used.output
        if charge.input >= 16 and used.input:
            ratio = min(4.0, max(0.25, used.input / charge.input))
            self._ratio += share * (ratio - self._ratio)

    # the provider's word

    def hold(self, until: float) -> None:
        """Nothing passes before `until`."""
        self._hold_until = max(self._hold_until, until)

    def refused(self, failure: Failure, now: float) -> None:
        """A 429. Hold the quota as long as it asks, and find out what our books did not show."""
        self._refusals = 0 if now - self._last_429 > 60 else self._refusals + 1
        first_in_a_while = now - self._last_429 > 1.0
        self._last_429 = now
        backoff = min(self._learn.hold_max, self._learn.hold * 2.0 ** min(self._refusals, 10))
        self.hold(now + (failure.retry_after if failure.retry_after is not None else backoff))
        if first_in_a_while and failure.kind is Kind.RATE_LIMIT and failure.scope not in ("concurrency", "capacity"):
            self._explain(failure, now)

    def _explain(self, failure: Failure, now: float) -> None:
        """What would explain the refusal: a limit we did not know, a shorter window, else somebody else on the same key."""
        unit = Unit.TOKENS if failure.scope == "tokens" else Unit.REQUESTS
        meter = next((meter for meter in self.meters if meter.limit.unit is unit and meter.limit.window == 60.0), None)
        if meter is None:
            if unit is Unit.REQUESTS:
                self._discover(now)
            return
        for window in (10.0, 1.0):
            allowed = meter.limit.amount * window / 60
            if unit is Unit.REQUESTS and (failure.retry_after or 0) <= window and meter.recent(window, now) > allowed:
                meter.watch(window)
                return
        meter.margin = min(self._learn.margin_max, meter.margin + self._learn.margin_step)

    def _discover(self, now: float) -> None:
        """Requests per minute that nobody told us: what got through in the last minute was allowed."""
        self._passed.forget(now)
        passed = max(1, int(self._passed.used))
        meter = Meter(Limit(Unit.REQUESTS, passed, 60.0, "rpm (discovered)"), self.profile, self._meters_settings)
        meter.foreign(float(passed), now)
        self.meters.append(meter)

    def answered(self, views: Sequence[QuotaView], now: float) -> None:
        """A reply that was not a refusal, and what its headers say."""
        self._passed.add(now, 1.0)
        self._passed.forget(now)
        for meter in self.meters:
            if meter.margin:
                meter.margin = max(0.0, meter.margin - self._learn.margin_decay)
        for view in views:
            self._heed(view, now)

    def _heed(self, view: QuotaView, now: float) -> None:
        """A lower limit than ours counts at once; less remaining than our books show was used by somebody else."""
        window = view.window or 60.0
        meter = next((m for m in self.meters if m.limit.unit is UNITS[view.unit] and m.limit.window == window), None)
        if meter is None or not view.limit:
            return
        if view.window is None and view.limit < meter.limit.amount / 20:
            return  # too far off to be the same limit: Azure counts its request headers over ten seconds
        meter.stated = view.limit if view.limit < meter.limit.amount else None
        if view.remaining is not None:
            ours = meter.limit.amount if meter.stated is None else meter.stated
            missing = (ours - meter.used) - view.remaining - max(1.0, 0.02 * ours)
            if view.limit >= ours and missing > 0 and view.unit == "requests":
                meter.foreign(missing, now)

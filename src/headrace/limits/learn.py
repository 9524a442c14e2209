"""What an account learns from its provider's responses: refusals, headers, and quiet periods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from msgspec import Struct, structs

from headrace.errors import Failure, Kind
from headrace.limits.account import Account, Taken
from headrace.limits.foreign import Foreign
from headrace.limits.learn_settings import LearnSettings
from headrace.limits.limit import Limit, Unit
from headrace.limits.meter import Meter
from headrace.limits.shortfall import Shortfall
from headrace.limits.sliding_log import SlidingLog
from headrace.limits.view import QuotaView

UNITS: Final = {"requests": Unit.REQUESTS, "tokens": Unit.TOKENS, "input": Unit.INPUT, "output": Unit.OUTPUT}
MINUTE: Final = 60.0
SHORT_WINDOWS: Final = (10.0, 1.0)
"""Shorter windows, in seconds, over which providers are known to enforce requests per minute: Azure and OpenAI, xAI."""
REFILL: Final = 2.0
"""Seconds by which a Retry-After may be rounded up and still be that of a bucket which soon takes one more call.
Affects how many refusals it takes to find the bucket."""
EASING: Final = 1.0
"""Seconds between two relaxations of earlier caution."""
KIN_LATER: Final = 120.0
"""Seconds for which accounts of the same provider keep a learned window longer than the account that found it: by then
that one knows whether it is real."""
UNEXPLAINED: Final = 0.75
"""Used share of a minute up to which a refusal is not taken for a lower limit per minute. If it was one, the window
learned instead does no harm: one of a second allows more than three quarters of the limit."""


class LearnedWindow(Struct, eq=False):
    """A short window that explained a refusal."""

    meter: Meter
    window: float
    found: float
    until: float
    """Clock seconds until which it is assumed to exist."""


class Learner:
    """What one account learned from refusals and headers."""

    __slots__ = (
        "_account", "_agreeing", "_cautious_at", "_discovered", "_explained_at", "_few", "_foreign", "_grown_at", "_kin",
        "_last_refusal", "_learned", "_lifted", "_newest", "_passed", "_refusals", "_relaxed_at", "_settings", "_shortfalls", "_warned_at",
    )  # fmt: skip

    def __init__(self, account: Account, settings: LearnSettings, kin: list[Learner] | None = None) -> None:
        """kin: the learners of all accounts of one provider; this one is added."""
        self._account = account
        self._kin = [] if kin is None else kin
        self._kin.append(self)
        self._settings = settings
        self._refusals = 0
        self._few = 0.0
        """Calls that may go at once where limits per minute are low, until one is refused."""
        self._last_refusal = -math.inf
        self._warned_at = -math.inf
        """When another account of the provider was refused for a window that this one has as well."""
        self._explained_at = -math.inf
        self._passed = SlidingLog(MINUTE)
        """Calls that got through in the last minute: a lower bound of an unknown limit."""
        self._discovered: Meter | None = None
        self._grown_at = -math.inf
        self._cautious_at: float | None = None
        self._relaxed_at = -math.inf
        self._learned: list[LearnedWindow] = []
        """Windows that explained a refusal."""
        self._lifted: dict[tuple[Meter, float], float] = {}
        """Windows that were dropped to test whether they are real, and for how many seconds they were kept before."""
        self._agreeing: dict[Meter, int] = {}
        self._shortfalls: dict[Meter, Shortfall] = {}
        self._newest: dict[Meter, float] = {}
        """When the request was sent whose response last reported each limit."""
        self._foreign: dict[Meter, Foreign] = {}
        if account.profile.confidence == "unknown":
            self._be_careful(settings.first_tolerance, account.settings.least_burst)

    # ---- refusals

    def refused(self, failure: Failure, taken: Taken, views: Sequence[QuotaView], now: float) -> None:
        """Handle a 429: hold the quota for as long as it asks, and find out what our accounting missed."""
        settings, quiet = self._settings, now - self._last_refusal
        paced = self._paced(failure)
        ahead = 0.0 if paced is None else paced.tolerance
        self._refusals = self._refusals + 1 if quiet <= MINUTE else 0
        self._last_refusal = now
        if self._few:
            self._be_careful(settings.first_tolerance)
        backoff = min(settings.hold_max, settings.hold * 2.0 ** min(self._refusals, 10))
        wait = failure.retry_after if failure.retry_after is not None else backoff
        self._account.held_until = max(self._account.held_until, now + wait)
        for view in views:
            self._heed_limit(view, taken.at)
        if failure.kind is not Kind.RATE_LIMIT or self._bucket_was_full(failure, taken, now, now + wait):
            return
        if taken.at >= self._explained_at:  # calls already in flight say nothing about what was learned since
            self._explained_at = now
            self._explain(failure, taken, views, now)
        if paced is not None:
            # There will be room for one call then, not for the whole burst that pacing allowed: the others would be
            # refused again.
            paced.drain(now + wait, ahead)

    def _paced(self, failure: Failure) -> Meter | None:
        """The paced limit that a refusal names; None if there is none."""
        if failure.scope not in ("tokens", "requests"):
            return None
        meter = self._account.meter_of(Unit.TOKENS if failure.scope == "tokens" else Unit.REQUESTS, MINUTE)
        return meter if meter is not None and meter.tolerance < math.inf else None

    def _bucket_was_full(self, failure: Failure, taken: Taken, now: float, until: float) -> bool:
        """Whether a bucket of known size explains the refusal.

        If so, raise our level to the provider's, which drains later than ours.
        """
        unit = Unit.TOKENS if failure.scope == "tokens" else Unit.REQUESTS
        meter = self._account.meter_of(unit, MINUTE) if failure.scope in (None, "tokens", "requests") else None
        cost = 0.0 if meter is None else meter.arrival(taken.charge, taken.input, taken.charge.max_output)
        if meter is None or not meter.explains(cost, now):
            return False
        meter.fill(cost, until)
        short = self._shortfall(meter).short_of(taken)
        if meter.margin + self._settings.margin_step < short < 1:
            meter.margin = min(self._settings.margin_max, short)
        return True

    def _explain(self, failure: Failure, taken: Taken, views: Sequence[QuotaView], now: float) -> None:
        """Find an explanation: an unknown limit, a shorter window, a smaller bucket, or another client on the account."""
        if failure.scope == "concurrency":
            self._limit_parallel()
        if failure.scope in ("concurrency", "capacity", "spend", "day"):
            return
        unit = Unit.TOKENS if failure.scope == "tokens" else Unit.REQUESTS
        meter = self._account.meter_of(unit, MINUTE)
        if meter is None:
            self._discover(unit, views, now)
        elif meter is self._discovered:
            self._lower(meter, now)
        elif not (unit is Unit.REQUESTS and self._a_window_explains(meter, failure.retry_after, taken, now)) and not self._smaller_bucket(
            meter, failure.retry_after, now
        ):
            self._shortfall(meter).refused(taken, failure.retry_after, now)

    def _shortfall(self, meter: Meter) -> Shortfall:
        return self._shortfalls.get(meter) or self._shortfalls.setdefault(meter, Shortfall(meter, self._settings))

    def _a_window_explains(self, meter: Meter, retry_after: float | None, taken: Taken, now: float) -> bool:
        """Find a short window or a small bucket that explains the refusal. Returns False if there is none.

        Tried in order: a smaller bucket than assumed, a window shorter than those learned, one that is watched not
        quite long enough, a new one.
        """
        held = [learned.window for learned in self._learned if learned.meter is meter]
        if held and self._cautious_at is not None and meter.tolerance > self._settings.least_tolerance:
            self._be_careful(self._settings.least_tolerance)
            return True
        if held and self._find_window(meter, retry_after, taken, now, below=min(held)):
            return True
        return meter.late(now) or self._find_window(meter, retry_after, taken, now)

    def _find_window(self, meter: Meter, retry_after: float | None, taken: Taken, now: float, below: float = MINUTE) -> bool:
        """Start watching the longest short window in which we sent more than its share, if the requested wait is as short."""
        for window in SHORT_WINDOWS:
            possible = window < below and not meter.watches(window) and (retry_after is None or retry_after <= window + 0.05)
            if possible and meter.sent_around(taken.at, window) + 1 > meter.share_of(window):
                meter.watch(window)
                if self._cautious_at is not None:  # it may have been a small bucket as well
                    self._be_careful(max(self._settings.least_tolerance, meter.tolerance / 2))
                learned = LearnedWindow(meter, window, now, now + self._patience(meter, window, now))
                self._learned.append(learned)
                if meter.share(now) < UNEXPLAINED:
                    self._tell_kin(learned, meter.tolerance, now)
                return True
        return False

    def _tell_kin(self, found: LearnedWindow, tolerance: float, now: float) -> None:
        """Share the window with the provider's other accounts, which it presumably applies to as well."""
        for other in self._kin:
            if other is not self:
                other._hear_of(found.window, found.until + KIN_LATER, tolerance, now)

    def _hear_of(self, window: float, until: float, tolerance: float, now: float) -> None:
        meter = self._account.meter_of(Unit.REQUESTS, MINUTE)
        self._warned_at = self._explained_at = now
        known = next((learned for learned in self._learned if learned.meter is meter and learned.window == window), None)
        if known is not None:
            known.until = max(known.until, until)
        elif meter is not None and not meter.watches(window):
            meter.watch(window)
            self._learned.append(LearnedWindow(meter, window, now, until))
            if self._cautious_at is not None and tolerance < meter.tolerance:
                self._be_careful(tolerance)

    def _patience(self, meter: Meter, window: float, now: float) -> float:
        """Seconds for which a new window is assumed to exist."""
        settings, before = self._settings, self._lifted.get((meter, window), 0.0)
        first = settings.probe_sure_after if meter.share(now) < UNEXPLAINED else settings.probe_after
        return min(settings.probe_at_least_daily, max(first, 2 * before))

    def _smaller_bucket(self, meter: Meter, retry_after: float | None, now: float) -> bool:
        """Halve the pacing tolerance after a refusal that a smaller bucket explains.

        That is one after a burst, far from a full minute, with a wait as short as the refill of one call.
        """
        if meter.limit.unit is Unit.REQUESTS and (retry_after or 0.0) > REFILL + 2 * MINUTE / meter.limit.amount:
            return False
        if meter.known_bucket or meter.tolerance <= self._settings.least_tolerance or meter.share(now) > 0.9:
            return False
        self._be_careful(max(self._settings.least_tolerance, meter.tolerance / 2))
        return True

    def _be_careful(self, tolerance: float, few: float = 0.0) -> None:
        self._cautious_at, self._few = self._last_refusal, few
        for meter in self._account.meters:
            meter.slow_to(tolerance, few)

    def _discover(self, unit: Unit, views: Sequence[QuotaView], now: float) -> None:
        """Add a limit per minute that was not configured: as the headers say, else what got through in the last minute."""
        said = next((int(view.limit) for view in views if UNITS[view.unit] is unit and view.limit and view.remaining == 0), 0)
        self._passed.forget(now)
        if not said and unit is not Unit.REQUESTS:
            return
        account, amount = self._account, said or max(1, int(self._passed.used))
        account.join([Limit(unit, amount, MINUTE, f"{'rpm' if unit is Unit.REQUESTS else 'tpm'} (discovered)")])
        meter = account.meter_of(unit, MINUTE)
        assert meter is not None
        meter.remember(self._passed if unit is Unit.REQUESTS else SlidingLog(MINUTE))
        self._discovered = meter if not said else self._discovered
        self._grown_at = now

    def _lower(self, meter: Meter, now: float) -> None:
        """Lower a discovered limit that was still too high, to what got through in the last minute."""
        self._passed.forget(now)
        amount = max(1, min(int(self._passed.used), int(meter.limit.amount * 0.95)))
        meter.resize(structs.replace(meter.limit, amount=amount))
        self._grown_at = now

    def _limit_parallel(self) -> None:
        """Too many concurrent calls: limit them to three quarters of those in flight.

        Later responses raise the limit again.
        """
        account = self._account
        amount = max(1, int(account.in_flight * 0.75))
        account.join([Limit(Unit.IN_FLIGHT, amount, 0.0, "max_parallel_requests (discovered)")])

    # ---- responses

    def answered(self, taken: Taken, views: Sequence[QuotaView], now: float) -> None:
        """Handle a response that was not a refusal, and its headers."""
        if self._discovered is not None or not self._account.meters:
            self.passed(taken.at, now)
        if now - self._relaxed_at >= EASING:
            self._relaxed_at = now
            if self._last_refusal > -math.inf or self._learned or self._cautious_at is not None:
                self._relax(now)
        for view in views:
            self._heed_limit(view, taken.at)
            self._heed_remaining(view, taken)

    def passed(self, at: float, now: float) -> None:
        """Record that a call sent at `at` got through, for accounts without a limit or with a discovered one."""
        if self._discovered is not None or not self._account.meters:
            self._passed.add(at, 1.0)
            self._passed.forget(now)

    def eases(self, now: float) -> bool:
        """Whether it is time to relax earlier caution."""
        return now - self._relaxed_at >= EASING

    def _relax(self, now: float) -> None:
        """Relax earlier caution after a quiet period."""
        if self._cautious_at is not None:
            self._grow_tolerance(now)
        for shortfall in self._shortfalls.values():
            shortfall.narrow(now)
        if self._discovered is not None and now - max(self._grown_at, self._last_refusal) > MINUTE:
            self._raise_discovered(self._discovered, now)
        due = next((learned for learned in self._learned if now > learned.until), None)
        if due is not None:
            self._lift(due, now)

    def _lift(self, learned: LearnedWindow, now: float) -> None:
        """Stop watching a window, to test whether it is real."""
        self._learned.remove(learned)
        self._lifted[learned.meter, learned.window] = learned.until - learned.found
        learned.meter.unwatch(learned.window)
        self._be_careful(self._settings.first_tolerance)  # otherwise what the window held back would go out, and be refused, as one burst
        self._cautious_at = now

    def _raise_discovered(self, meter: Meter, now: float) -> None:
        self._grown_at = now
        if meter.share(now) > 0.8:
            meter.resize(structs.replace(meter.limit, amount=max(meter.limit.amount + 1, int(meter.limit.amount * self._settings.growth))))

    def _grow_tolerance(self, now: float) -> None:
        """Double the pacing tolerance every ten seconds, starting a minute after a refusal, up to the normal one."""
        assert self._cautious_at is not None
        if self._cautious_at == -math.inf:
            self._cautious_at = now
        passed = now - self._cautious_at
        if passed < 1.0 or now - max(self._last_refusal, self._warned_at) < MINUTE:
            return
        self._cautious_at = now
        more = 2.0 ** (min(passed, 10.0) / 10.0)  # gradually: going too far then costs one refused call, not a burst of them
        tolerance = max((more * meter.caution for meter in self._account.meters if meter.caution < math.inf), default=math.inf)
        if tolerance > self._account.settings.known_tolerance:
            tolerance, self._cautious_at = math.inf, None
        for meter in self._account.meters:
            meter.slow_to(tolerance, self._few)

    # ---- headers

    def _heed_limit(self, view: QuotaView, sent: float) -> None:
        """Apply a limit stated in headers: a lower one at once, a higher one after three responses that agree.

        Older requests are ignored.
        """
        meter = self._meter_for(view)
        if meter is None or not view.limit or sent < self._newest.get(meter, -math.inf):
            return
        self._newest[meter] = sent
        ours = float(meter.limit.amount)
        short = next((window for window in SHORT_WINDOWS if abs(view.limit * MINUTE / window / ours - 1) < 0.02), None)
        if view.window is None and short is not None and meter.limit.unit is Unit.REQUESTS:
            meter.watch(short)  # Azure counts its request headers over ten seconds, or one
        elif view.limit < min(ours, meter.stated or ours):
            self._agreeing[meter] = 0
            meter.state(view.limit)
        elif meter.stated is not None and view.limit > meter.stated:
            self._agreeing[meter] = self._agreeing.get(meter, 0) + 1
            if self._agreeing[meter] >= 3:
                meter.state(view.limit if view.limit < ours else None)

    def _heed_remaining(self, view: QuotaView, taken: Taken) -> None:
        """If less remains than our accounting shows, other clients use the difference: leave them that much."""
        meter = self._meter_for(view)
        hold = next((hold for hold in taken.holds if hold.meter is meter), None)
        if meter is None or hold is None or view.remaining is None or not view.limit:
            return
        seen = self._foreign.get(meter) or self._foreign.setdefault(meter, Foreign(small_bucket=meter.capacity < meter.limit.amount))
        rate = seen.observe(meter, taken.at, hold.view, view.limit, view.remaining)
        if rate is not None:
            meter.share_with(rate)

    def _meter_for(self, view: QuotaView) -> Meter | None:
        return self._account.meter_of(UNITS[view.unit], view.window or MINUTE)

"""What an account learns from its provider's answers: refusals, headers, quiet time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from msgspec import Struct, structs

from headrace.errors import Failure, Kind
from headrace.limits.account import Account, Taken
from headrace.limits.guard import SlidingLog
from headrace.limits.limit import Limit, Unit
from headrace.limits.meter import Meter
from headrace.limits.view import QuotaView

UNITS: Final = {"requests": Unit.REQUESTS, "tokens": Unit.TOKENS, "input": Unit.INPUT, "output": Unit.OUTPUT}
MINUTE: Final = 60.0
SHORT_WINDOWS: Final = (10.0, 1.0)
"""Over which providers are known to enforce requests per minute: Azure and OpenAI, xAI."""
NOISE: Final = 1.5
"""Standard deviations by which others are left more than they use on average: their calls come in lumps."""
STALE: Final = 15.0
"""Seconds by which what we know of a window is behind: the smoothing of some views, and a call's way."""

REFILL: Final = 2.0
"""Seconds by which a wait may be rounded up and still be that of a bucket which takes one more call soon."""

SOON: Final = 20.0
"""Seconds after a refusal within which another says that far too much was sent, and not by how much."""

EASING: Final = 1.0
"""Seconds between two answers after which caution gives something back."""

FULL_AGAIN: Final = (5.0, 120.0)
"""Seconds between two refusals within which they say what gets through."""

DOUBTFUL: Final = 0.05
"""Share of a limit by which a header may differ from our books because of calls that are under way."""

DOUBTS: Final = 3
"""Headers in turn that have to speak against a window."""


class LearnSettings(Struct, frozen=True):
    """How an account learns. Reasons: docs/limits.md."""

    hold: float = 1.0
    """Seconds a refusal without Retry-After holds the quota; doubles with each further one, up to `hold_max`."""
    hold_max: float = 30.0
    margin_step: float = 0.02
    """Share of a limit kept free after a refusal that our books do not explain; doubles with each further one within a minute."""
    margin_max: float = 0.9
    margin_life: float = 600.0
    """Seconds without a refusal in which a margin falls to a third."""
    growth: float = 1.03
    """By which a discovered limit is raised after a quiet minute."""
    first_tolerance: float = 0.1
    """Seconds a flow may run ahead at first where nobody knows the provider; doubles every ten seconds without a refusal."""
    least_tolerance: float = 0.1
    probe_after: float = 600.0
    """Seconds after which a learned window is lifted, to see whether it was one."""


class Learner:
    """The memory of one account's refusals and headers."""

    __slots__ = (
        "_account", "_agreeing", "_cautious_at", "_discovered", "_explained_at", "_foreign", "_full", "_grown_at", "_last_refusal",
        "_learned", "_newest", "_passed", "_refusals", "_relaxed_at", "_settings", "_unexplained",
    )  # fmt: skip

    def __init__(self, account: Account, settings: LearnSettings) -> None:
        self._account = account
        self._settings = settings
        self._refusals = 0
        self._unexplained = 0
        self._last_refusal = -math.inf
        self._explained_at = -math.inf
        self._passed = SlidingLog(MINUTE)
        """Calls that got through in the last minute: what an unknown limit allows."""
        self._discovered: Meter | None = None
        self._grown_at = -math.inf
        self._cautious_at: float | None = None
        self._relaxed_at = -math.inf
        self._learned: list[tuple[Meter, float, float]] = []
        """Windows that explained a refusal: meter, window, when."""
        self._agreeing: dict[Meter, int] = {}
        self._full: dict[Meter, tuple[float, float, float]] = {}
        """When a limit was full, all that we had sent by then, and the share of it that did not get through since."""
        self._newest: dict[Meter, float] = {}
        """When the call was sent whose reply was the last word on a limit."""
        self._foreign: dict[Meter, Foreign] = {}
        if account.profile.confidence == "unknown":
            self._be_careful(settings.first_tolerance)

    # ---- refusals

    def refused(self, failure: Failure, taken: Taken, views: Sequence[QuotaView], now: float) -> None:
        """A 429. Hold the quota as long as it asks, and find out what our books did not show."""
        settings, quiet = self._settings, now - self._last_refusal
        self._refusals = self._refusals + 1 if quiet <= MINUTE else 0
        self._last_refusal = now
        backoff = min(settings.hold_max, settings.hold * 2.0 ** min(self._refusals, 10))
        wait = failure.retry_after if failure.retry_after is not None else backoff
        self._account.held_until = max(self._account.held_until, now + wait)
        for view in views:
            self._heed_limit(view, taken.at)
        if failure.kind is not Kind.RATE_LIMIT or self._bucket_was_full(failure, taken, now, now + wait):
            return
        if taken.at >= self._explained_at:  # those that were on their way already say nothing of what was learned since
            self._explained_at = now
            self._explain(failure, taken, views, now, quiet)
        self._start_slowly(failure, now + wait)

    def _start_slowly(self, failure: Failure, until: float) -> None:
        """There will be room for one call then, not for all that the flow may run ahead: the others of a burst would be refused again."""
        unit = Unit.TOKENS if failure.scope == "tokens" else Unit.REQUESTS
        meter = self._account.meter_of(unit, MINUTE) if failure.scope in ("tokens", "requests") else None
        if meter is not None:
            meter.drain(until)

    def _bucket_was_full(self, failure: Failure, taken: Taken, now: float, until: float) -> bool:
        """A bucket of known size was fuller than ours, which begins to drain before the call has arrived: level the two."""
        unit = Unit.TOKENS if failure.scope == "tokens" else Unit.REQUESTS
        meter = self._account.meter_of(unit, MINUTE) if failure.scope in (None, "tokens", "requests") else None
        cost = 0.0 if meter is None else meter.arrival(taken.charge, taken.input, taken.charge.max_output)
        if meter is None or not meter.explains(cost, now):
            return False
        meter.fill(cost, until)
        short = self._short_of(meter, taken)
        if meter.margin + self._settings.margin_step < short < 1:
            meter.margin = min(self._settings.margin_max, short)
        return True

    def _short_of(self, meter: Meter, taken: Taken) -> float:
        """The share of the limit by which less got through since an earlier refusal: of a bucket, less flows into it than we were told.

        1 where nobody can say, since that was too short a while ago, or too long.
        """
        hold = next((hold for hold in taken.holds if hold.meter is meter), None)
        if hold is None:
            return 1.0
        since, before, known = self._full.get(meter, (-math.inf, 0.0, 1.0))
        ever, passed = hold.view[1] - hold.asked, taken.at - since
        if passed > FULL_AGAIN[1]:
            since, before, known = taken.at, ever, 1.0
        elif passed >= FULL_AGAIN[0]:
            known = 1 - ((ever - before) / passed * meter.limit.window + meter.left_to_others) / meter.limit.amount
        self._full[meter] = (since, before, known)
        return known

    def _explain(self, failure: Failure, taken: Taken, views: Sequence[QuotaView], now: float, quiet: float) -> None:
        """A limit that nobody told us, a shorter window, a smaller bucket, else somebody else on the same account."""
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
            self._keep_off(meter, taken, quiet)

    def _keep_off(self, meter: Meter, taken: Taken, quiet: float) -> None:
        """Leave a part of the limit free. Refused again soon, believe no more than what stood on the books when the call was sent."""
        self._unexplained = self._unexplained + 1 if quiet <= 2 * MINUTE else 0
        margin = meter.margin + self._settings.margin_step * 2.0 ** min(self._unexplained, 5)
        hold = next((hold for hold in taken.holds if hold.meter is meter), None)
        if self._unexplained and hold is not None and meter.covers(taken.at):
            passed = 1 - (hold.view[0] - hold.asked + meter.left_to_others) / meter.limit.amount
            margin = max(passed, margin) if quiet < SOON or passed <= meter.margin else passed
        short = max(meter.margin + self._settings.margin_step, self._short_of(meter, taken))
        meter.margin = min(self._settings.margin_max, margin, short)

    def _a_window_explains(self, meter: Meter, retry_after: float | None, taken: Taken, now: float) -> bool:
        """A bucket smaller than we took it for, or a window shorter than those we learned to watch; else one that is watched not quite
        long enough, else one we did not know."""
        held = [window for of, window, _ in self._learned if of is meter]
        if held and self._cautious_at is not None and meter.tolerance > self._settings.least_tolerance:
            self._be_careful(self._settings.least_tolerance)
            return True
        if held and self._find_window(meter, retry_after, taken, now, below=min(held)):
            return True
        return meter.late(now) or self._find_window(meter, retry_after, taken, now)

    def _find_window(self, meter: Meter, retry_after: float | None, taken: Taken, now: float, below: float = MINUTE) -> bool:
        """The longest short window in which we sent more than its share, if the wait asked for is as short."""
        for window in SHORT_WINDOWS:
            possible = window < below and not meter.watches(window) and (retry_after is None or retry_after <= window + 0.05)
            if possible and meter.sent_around(taken.at, window) + 1 > meter.share_of(window):
                meter.watch(window)
                if self._cautious_at is not None:  # it may have been a small bucket as well
                    self._be_careful(max(self._settings.least_tolerance, meter.tolerance / 2))
                self._learned.append((meter, window, now))
                return True
        return False

    def _smaller_bucket(self, meter: Meter, retry_after: float | None, now: float) -> bool:
        """Far from a full minute, yet refused after a burst, for as long as a call's room takes to refill: run ahead by half."""
        if meter.limit.unit is Unit.REQUESTS and (retry_after or 0.0) > REFILL + 2 * MINUTE / meter.limit.amount:
            return False
        if meter.known_bucket or meter.tolerance <= self._settings.least_tolerance or meter.share(now) > 0.9:
            return False
        self._be_careful(max(self._settings.least_tolerance, meter.tolerance / 2))
        return True

    def _be_careful(self, tolerance: float) -> None:
        self._cautious_at = self._last_refusal
        for meter in self._account.meters:
            meter.slow_to(tolerance)

    def _discover(self, unit: Unit, views: Sequence[QuotaView], now: float) -> None:
        """A limit per minute that nobody told us: as the headers say, else what got through in the last minute was allowed."""
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
        """A discovered limit was still too high: what got through in the last minute was allowed."""
        self._passed.forget(now)
        amount = max(1, min(int(self._passed.used), int(meter.limit.amount * 0.95)))
        meter.resize(structs.replace(meter.limit, amount=amount))
        self._grown_at = now

    def _limit_parallel(self) -> None:
        """Too many at once: three quarters of what is running. Replies raise it again, one for each round."""
        account = self._account
        amount = max(1, int(account.in_flight * 0.75))
        account.join([Limit(Unit.IN_FLIGHT, amount, 0.0, "max_parallel_requests (discovered)")])

    # ---- answers

    def answered(self, taken: Taken, views: Sequence[QuotaView], now: float) -> None:
        """A reply that was not a refusal, and what its headers say."""
        if self._discovered is not None or not taken.holds:
            self._passed.add(taken.at, 1.0)
            self._passed.forget(now)
        if now - self._relaxed_at >= EASING:
            self._relaxed_at = now
            if self._last_refusal > -math.inf or self._cautious_at is not None:
                self._relax(now)
        for view in views:
            self._heed_limit(view, taken.at)
            self._heed_remaining(view, taken)

    def _relax(self, now: float) -> None:
        """Quiet time: give back what caution took."""
        if self._cautious_at is not None:
            self._grow_tolerance(now)
        for meter in self._account.meters:
            if meter.margin and now - self._last_refusal > MINUTE:
                meter.margin = self._decayed(meter.margin, now)
        if self._discovered is not None and now - max(self._grown_at, self._last_refusal) > MINUTE:
            self._raise_discovered(self._discovered, now)
        if self._learned and now - self._learned[0][2] > self._settings.probe_after:
            meter, window, _ = self._learned.pop(0)
            meter.unwatch(window)
            self._be_careful(self._settings.first_tolerance)  # else what the window held back would be refused as one burst
            self._cautious_at = now

    def _decayed(self, margin: float, now: float) -> float:
        quiet, self._grown_at = now - max(self._grown_at, self._last_refusal + MINUTE), now
        left = margin * math.exp(-max(0.0, quiet) / self._settings.margin_life)
        return left if left > 0.001 else 0.0

    def _raise_discovered(self, meter: Meter, now: float) -> None:
        self._grown_at = now
        if meter.share(now) > 0.8:
            meter.resize(structs.replace(meter.limit, amount=max(meter.limit.amount + 1, int(meter.limit.amount * self._settings.growth))))

    def _grow_tolerance(self, now: float) -> None:
        """Twice as far ahead every ten seconds, a minute after a refusal, until it is as far as anywhere."""
        assert self._cautious_at is not None
        if self._cautious_at == -math.inf:
            self._cautious_at = now
        passed = now - self._cautious_at
        if passed < 1.0 or now - self._last_refusal < MINUTE:
            return
        self._cautious_at = now
        more = 2.0 ** (min(passed, 10.0) / 10.0)  # little by little: who goes too far is refused one call, not a burst of them
        tolerance = max((more * meter.tolerance for meter in self._account.meters if meter.tolerance < math.inf), default=math.inf)
        if tolerance > self._account.settings.known_tolerance:
            tolerance, self._cautious_at = math.inf, None
        for meter in self._account.meters:
            meter.slow_to(tolerance)

    # ---- headers

    def _heed_limit(self, view: QuotaView, sent: float) -> None:
        """A lower limit than ours counts at once, ours again after three replies that say so. Replies to earlier calls are no news."""
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
        """Less remaining than our books show is used by somebody else: leave him as much."""
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


class Foreign:
    """What others use of one limit, from the difference between what is remaining and what we have used."""

    __slots__ = ("_at", "_ever", "_fits_bucket", "_fits_window", "_odd_for_window", "_rate", "_remaining", "_theirs", "_unrest")

    def __init__(self, *, small_bucket: bool = False) -> None:
        self._fits_window = not small_bucket
        """Whether the headers could be those of a sliding window: nobody else's use can leave more than our own does."""
        self._fits_bucket = True
        """Whether they could be those of a bucket, which never fills by leaps."""
        self._odd_for_window = 0
        """Views in turn that speak against a window."""
        self._at = -math.inf
        self._ever = 0.0
        self._remaining = 0.0
        self._rate = 0.0
        self._theirs = 0.0
        """What of the window others had by the last view."""
        self._unrest = 0.0
        """Variance that their use gains in a second, as it was seen."""

    def observe(self, meter: Meter, at: float, ours: tuple[float, float], limit: float, remaining: float) -> float | None:
        """Units a second to leave to others, None where nothing new was seen. at: when the request was sent.

        Views older than one already seen change nothing, so their order does not matter; more than one in two seconds is no news.
        """
        since = at - self._at
        if since < 2.0:
            return None
        used, ever = ours
        window = meter.limit.window
        level = self._remaining - (ever - self._ever)
        """What is left of what the last view showed."""
        self._doubt_shapes(limit, remaining, used, level + since * limit / window)
        if not meter.known_bucket or self._fits_window:
            theirs = limit - remaining - used
            self._surprised((theirs - self._theirs) ** 2 / 2, since)
            share = 0.4 if self._fits_window and since < math.inf else 0.15  # one view alone says little
            self._rate += share * (theirs / window - self._rate)
            self._theirs = theirs
        elif self._fits_bucket and self._remaining + since * limit / window <= min(limit, meter.capacity):  # else it ran over
            drained = (level - remaining) / since + limit / window
            self._surprised(((drained - self._rate) * since) ** 2, since)
            self._rate += (1 - math.exp(-since / 20)) * (drained - self._rate)
        else:
            self._rate *= 0.9
        self._at, self._ever, self._remaining = at, ever, remaining
        return self._with_noise(meter, window)

    def _doubt_shapes(self, limit: float, remaining: float, used: float, filled: float) -> None:
        """Which ways of counting the headers rule out. filled: what a bucket that nobody else uses would hold by now.

        One view is not enough to rule out a window: a burst leaves the provider's a little sooner than ours, which is watched longer.
        """
        odd = remaining > limit - used + DOUBTFUL * limit
        self._odd_for_window = self._odd_for_window + 1 if odd else 0
        if self._odd_for_window >= DOUBTS:
            self._fits_window = False
        if self._at > -math.inf and remaining > filled + 2 * DOUBTFUL * limit:
            self._fits_bucket = False

    def _surprised(self, square: float, since: float) -> None:
        """Their use was as far from what was expected, squared, after so many seconds. The first view surprises nobody."""
        if since < math.inf:
            self._unrest += 0.1 * (square / since - self._unrest)

    def _with_noise(self, meter: Meter, window: float) -> float:
        """Their rate, and what it may be above it: as it was seen to vary, by single units at least, and at most as much again."""
        if self._rate < (0.01 if self._fits_window else 0.03) * meter.limit.amount / window:
            return 0.0
        span = STALE if self._fits_window else window
        return self._rate + min(self._rate, NOISE * math.sqrt(max(self._unrest, self._rate) * span) / window)

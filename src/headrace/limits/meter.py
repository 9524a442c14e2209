"""Mirrors one limit: what its provider has charged, and when the next call fits."""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

from headrace.limits.costs import amounts, as_written, expected, in_the_end, on_arrival
from headrace.limits.limit import Charge, Limit, Unit
from headrace.limits.meter_settings import EASE, PACED, SELDOM, MeterSettings
from headrace.limits.pace import Pace
from headrace.limits.profile import Profile
from headrace.limits.sliding_log import EPSILON, NO_ENTRY, Entry, SlidingLog


class Hold(Struct, eq=False, gc=False):
    """What one reservation holds of one meter."""

    meter: Meter
    charged: float
    expected: float
    entry: Entry
    """In the log of the limit's own window."""
    view: tuple[float, float]
    """Our totals just after it, in the window and ever. Its response's headers describe that moment."""
    asked: float = 0.0
    """The charge on arrival."""
    shorter: tuple[tuple[SlidingLog, Entry], ...] = ()
    """In the logs of shorter windows that are watched as well."""
    late: bool = False
    """Whether it was sent later than it was admitted."""


UNSEEN: Final = (0.0, 0.0)
NO_PLACE: Final = 0.5
"""Room for calls in flight where none is allowed. Not 0, because it is a divisor; any fraction of one would do."""
TRIES_AGAIN: Final = 2.0
"""Seconds after which another call may probe for a place, if the previous one has had no reply."""


class Meter:
    """One limit of one account."""

    __slots__ = (
        "_burst", "_drained_until", "_ever", "_few", "_foreign", "_log", "_margin", "_open", "_pace", "_shorter", "arrives", "as_written",
        "caution", "constant", "counts_money", "counts_running", "doubted", "eases", "elsewhere", "expected", "expects", "final",
        "largest", "limit", "places", "profile", "room", "room_behind_urgent", "running", "settings", "spare", "stated", "tolerance",
        "tries_at", "unbooked", "whole",
    )  # fmt: skip

    def __init__(self, limit: Limit, profile: Profile, settings: MeterSettings) -> None:
        self.limit = limit
        self.profile = profile
        self.settings = settings
        self.arrives = on_arrival(limit.unit, profile)
        self.expected = expected(limit.unit, profile)
        self.final = in_the_end(limit.unit, profile)
        self.as_written = as_written(limit.unit, profile)
        self.counts_running = limit.unit is Unit.IN_FLIGHT
        self.counts_money = limit.unit is Unit.MONEY
        self.constant = limit.unit in (Unit.REQUESTS, Unit.IN_FLIGHT)
        """Whether the final cost of a call equals its cost on arrival."""
        self.doubted = settings.paced and (self.as_written or limit.unit in (Unit.TOKENS, Unit.INPUT))
        """Whether the provider may have charged more than we have."""
        self.running = 0
        """Calls in flight, if the limit counts those."""
        self.places = math.inf
        """Places available to this process, if other processes hold the rest."""
        self.tries_at = math.inf
        """From when on one more call may probe whether other processes have freed a place."""
        self.stated: float | None = None
        """A lower limit that the provider itself reported."""
        self._margin = 0.0
        self._foreign = 0.0
        self._ever = 0.0
        self._open = 0.0
        """Money reserved for calls in flight; the unused part is given back."""
        self.caution = math.inf
        """Temporary bound on the pacing tolerance, in seconds."""
        self._few = 0.0
        self._drained_until = -math.inf
        """Until then our bucket level comes from a refusal and says nothing about what we sent."""
        self.tolerance = math.inf
        """Seconds that the flow may run ahead; inf if it is not paced."""
        self._log = SlidingLog(limit.window + (settings.spread if limit.window >= 60.0 else settings.short_spread))
        self.elsewhere = 0.0
        """What other processes had charged at the last snapshot of the shared accounting. Only for reporting what is left."""
        self.unbooked = self.spare = 0.0
        """What calls on an open tab have taken, and what they may take."""
        self._shorter: list[tuple[SlidingLog, float, float]] = []
        """Watched windows shorter than a minute: (log, amount, seconds)."""
        self._pace = Pace(limit.amount / limit.window) if settings.paced and 0 < limit.window <= PACED else None
        self.expects = self._pace is not None and not self.constant
        """Whether pacing charges the expected final cost."""
        self._burst = _burst(limit, profile)
        self.eases = True
        """Whether the tolerance of a flow with a known burst shrinks as the window fills. Not while other processes
        fill it."""
        self._apply()
        if limit.unit is Unit.REQUESTS and limit.window == 60.0:
            for window in profile.windows:
                self.watch(window)

    # ---- amounts

    @property
    def margin(self) -> float:
        """Share of the limit kept free after unexplained refusals."""
        return self._margin

    @margin.setter
    def margin(self, share: float) -> None:
        self._margin = share
        self._apply()

    def resize(self, limit: Limit) -> None:
        """Change the amount; what was charged stays charged."""
        self.limit = limit
        self._burst = _burst(limit, self.profile)
        self._apply()

    def state(self, amount: float | None) -> None:
        """Set the amount that the provider reported; None clears it.

        A lower one replaces the margin that was kept before it was known.
        """
        self.stated, before = amount, self.whole
        self._apply()
        if self.whole < before:
            self.margin = max(0.0, 1 - (1 - self._margin) * before / self.whole)

    def _apply(self) -> None:
        amount = self.limit.amount if self.stated is None else min(self.limit.amount, self.stated)
        self.whole: float = amount
        """What the limit allows within a window if no one else uses it and nothing is in doubt."""
        self.largest = amount if self._burst is None else min(amount, self._burst)
        """The most that one call may ever cost: all of the limit, and of its bucket. What is kept free temporarily, for
        doubt or for others, is no reason to refuse a call: it goes when nothing else is charged."""
        whole = amount * (1 - self._margin)
        self.room = min(max(0.02 * amount, whole - self._foreign * self._log.window), max(NO_PLACE, self.places))
        """What may be charged within a window, or run concurrently."""
        self._shorter = [(log, share_of(amount, self.limit.window, window), window) for log, _, window in self._shorter]
        kept = self.settings.kept_for_urgent if 30 <= self.limit.window <= PACED else 0.0
        self.room_behind_urgent = self.room * (1 - kept)
        if self._pace is not None:
            self._pace.rate = max(0.02 * amount, whole - self._foreign * self.limit.window) / self.limit.window
            few = self._few / self._pace.rate if self.limit.unit is Unit.REQUESTS and self._pace.rate < SELDOM else 0.0
            self.tolerance = min(max(self.caution, few), self._tolerance(self._pace.rate))

    def _tolerance(self, rate: float) -> float:
        """Seconds the flow may run ahead."""
        settings = self.settings
        if self._burst is not None:
            return settings.known_tolerance
        calls = settings.least_burst / rate if self.limit.unit is Unit.REQUESTS and not self._shorter else 0.0
        return max(settings.tolerance, min(calls, self.limit.window))

    def offer(self, places: float, tries_at: float) -> None:
        """Set how many calls may be in flight here, and from when on one more may probe."""
        self.places, self.tries_at = places, tries_at
        self._apply()

    def slow_to(self, tolerance: float, few: float = 0.0) -> None:
        """Bound the pacing tolerance, whatever else would allow. few: calls that may go at once where the rate is low."""
        self.caution, self._few = tolerance, few
        self._apply()

    def watch(self, window: float) -> None:
        """Also keep requests below their share of the limit in a shorter window. Earlier charges are carried over."""
        if self.watches(window):
            return
        log = SlidingLog(window + self.settings.short_spread)
        self._log.copy_to(log)
        self._shorter = [*self._shorter, (log, 0.0, window)]
        self._apply()

    def unwatch(self, window: float) -> None:
        """Stop watching that shorter window."""
        self._shorter = [watched for watched in self._shorter if watched[2] != window]
        self._apply()

    def watches(self, window: float) -> bool:
        return any(watched == window for _, _, watched in self._shorter)

    def late(self, now: float) -> bool:
        """Whether a nearly full short window explains a refusal: calls arrived closer together than they were sent.

        If so, it is watched a little longer from now on.
        """
        for log, amount, window in self._shorter:
            if log.current(now) + 1 >= 0.9 * amount and log.window < window + max(0.2 * window, 1.25 * self.settings.short_spread):
                log.window += self.settings.short_spread / 3
                return True
        return False

    # ---- when a call fits

    def open_at(self, now: float, urgent: bool = False, whole: bool = True) -> float:
        """The moment before which pacing admits no call at all. urgent, whole: as in `when`."""
        pace, least = self._pace, 1.0 if self.limit.unit is Unit.REQUESTS else 0.0
        return now if pace is None else pace.when(now, self.ahead(least, now, urgent, whole))

    def when(self, cost: float, now: float, doubt: float = 0.0, urgent: bool = True, whole: bool = True) -> float:
        """The moment at which a call of this cost fits; inf if never, or only once a running call has ended.

        doubt: what the provider may have charged and we have not. whole: whether the share reserved for interactive
        calls may be used.
        """
        if self.counts_running:
            return now if self.running + cost <= self.room + EPSILON else max(now, self.tries_at)
        room = (self.room if whole else self.room_behind_urgent) - doubt
        log, pace, at = self._log, self._pace, now
        if log.current(now) + cost > room + EPSILON:
            at = log.when(cost, room if room > cost or cost > self.whole + EPSILON else cost, now)
        if pace is not None and pace.paid_until > at:
            at = pace.when(at, self.ahead(cost, now, urgent, whole))
        for shorter, amount, _ in self._shorter:
            at = max(at, shorter.when(cost, amount, now))
        return at

    def short_windows_allow(self, cost: float, now: float) -> bool:
        """Whether a call fits into all the shorter windows now."""
        return all(log.current(now) + cost <= amount + EPSILON for log, amount, _ in self._shorter)

    def ahead(self, cost: float, now: float, urgent: bool, whole: bool = True) -> float:
        """Seconds that the flow may run ahead for a call of this cost.

        A bucket of known size must hold the whole call, whenever its travel time lets it arrive. A nearly full window
        allows little tolerance, otherwise the burst of a quiet period would recur each time it leaves the window. While
        there are interactive calls, others are paced more evenly still, so that room is left for these.
        """
        tolerance = self.tolerance if whole else min(self.tolerance, self.settings.even_tolerance)
        if urgent and tolerance < self.settings.urgent_tolerance and tolerance >= self.settings.tolerance:
            tolerance = self.settings.urgent_tolerance
        if self._burst is None:
            return tolerance
        assert self._pace is not None
        bucket = (self._burst - cost) / self._pace.rate - self.settings.spread
        return min(tolerance, self._ease(self._log.current(now)), bucket if bucket > 0.0 else 0.0)

    def _ease(self, used: float) -> float:
        """Tolerance of a flow with a known burst when so much of the window is used."""
        if self._burst is None or not self.eases:
            return math.inf
        if used >= self.room:
            return self.settings.even_tolerance
        return self.settings.even_tolerance + EASE * self.limit.window * (1 - used / self.room)

    def explains(self, cost: float, now: float) -> bool:
        """Whether a bucket of the known size explains a refusal: by our accounting it was at least half full."""
        if self._burst is None or self._pace is None or now < self._drained_until:
            return False
        return (self._pace.paid_until - now) * self._pace.rate + cost > self._burst / 2

    def fill(self, cost: float, until: float) -> None:
        """Raise our bucket level to what a refusal implies: a call of this cost fits only at `until`.

        Applies to buckets of known size.
        """
        if self._burst is not None and self._pace is not None:
            level = max(0.0, self._burst - cost) / self._pace.rate
            self._pace.paid_until = max(self._pace.paid_until, until + level)

    def drain(self, until: float, ahead: float) -> None:
        """Use up the tolerance until `until`, as a refusal implies.

        And a little longer: of calls sent as fast as room returns, one that travels faster than the last would arrive
        too early. ahead: the tolerance before the refusal; where it has shrunk since, the difference must be earned
        before the next call.
        """
        if self._pace is not None:
            ahead = min(ahead, self._ease(self._log.since(until - self._log.window)))
            self._pace.paid_until = max(self._pace.paid_until, until + self.settings.short_spread + ahead)
            self._drained_until = until

    def spent(self, cost: float, now: float) -> bool:
        """Whether the money for such a call is spent, and not only reserved by calls in flight."""
        return self.counts_money and self._log.current(now) - self._open + cost > self.room + EPSILON

    def share(self, now: float) -> float:
        """The used share of the limit: 0 to 1, or slightly more."""
        log = self._log
        used = self.running if self.counts_running else log.used if log.expires > now else log.current(now)
        return (used + self.unbooked) / self.room

    def whole_at(self, now: float) -> float:
        """The moment at which the whole limit is available again, if nothing more is taken."""
        if self.counts_running or self._pace is not None or self._shorter or self.stated is not None:
            return self.when(self.limit.amount, now)
        return self._log.empty_at(now)

    @property
    def used(self) -> float:
        """What is charged within the window."""
        return self.running if self.counts_running else self._log.used

    # ---- charging and settling

    def arrival(self, charge: Charge, input: float, most: float) -> float:
        """The amount that must fit before a call is sent. most: its output limit in tokens."""
        return amounts(charge, input, most)[self.arrives]

    def take(self, cost: float, expected: float, now: float) -> Hold:
        """Charge a call. expected: its expected final cost."""
        if self.counts_running:
            self.running += 1
            if self.running > self.room:
                self.tries_at = now + TRIES_AGAIN  # this call probes for a place; no other does meanwhile
            return Hold(self, cost, expected, NO_ENTRY, UNSEEN)
        log, pace = self._log, self._pace
        entry = log.add(now, cost)
        self._ever = ever = self._ever + cost
        if self.counts_money:
            self._open += cost
        if pace is None:
            return Hold(self, cost, 0.0, entry, (log.used, ever), cost)
        if self._burst is not None and not self.as_written and expected < cost:
            expected = cost  # a bucket of known size is mirrored exactly: it gives the rest back when the call ends
        pace.add(now, expected)
        if not self._shorter:
            return Hold(self, cost, expected, entry, (log.used, ever), cost)
        shorter = tuple([(shorter, shorter.add(now, cost)) for shorter, _, _ in self._shorter])
        return Hold(self, cost, expected, entry, (log.used, ever), cost, shorter)

    def book(self, cost: float, expected: float, at: float) -> Entry:
        """Charge several calls of a tab as one, admitted by `at`. Returns its log entry."""
        entry = self._log.add(at, cost)
        self._ever += cost
        if self._pace is not None:
            self._pace.add(at, expected)
        return entry

    def correct(self, entry: Entry, more: float) -> None:
        """Charge `more` for a call in a shared entry."""
        self._ever += more
        self._log.correct(entry, more)
        if more > 0:
            self.spare -= more

    def settle(self, hold: Hold, cost: float, now: float, written: float = 0.0, unreported: float = 0.0) -> None:
        """Settle a call.

        cost: its final cost of what is charged on arrival. written: output that counts in addition, `unreported` of it
        not charged yet.
        """
        charged, pace = hold.charged, self._pace
        if self.counts_running:
            self.running -= 1
        elif self.counts_money:
            self._open -= charged
        if cost != charged:
            hold.charged = cost
            self._ever += cost - charged
            self._log.correct(hold.entry, cost - charged)
            for log, entry in hold.shorter:
                log.correct(entry, cost - charged)
        if pace is not None and cost + written != hold.expected:
            pace.correct(cost + written - hold.expected, late=hold.late)
            hold.expected = cost + written
        if unreported:
            self.add_written(unreported, now)

    def delay(self, hold: Hold, now: float) -> None:
        """The call is sent later than it was admitted: move its charge."""
        if self.counts_running:
            return
        charged = hold.charged
        self._log.correct(hold.entry, -charged)
        hold.entry = self._log.add(now, charged)
        for log, entry in hold.shorter:
            log.correct(entry, -charged)
        hold.shorter = tuple([(log, log.add(now, charged)) for log, _ in hold.shorter])
        if self._pace is not None:
            self._pace.departs(now, hold.expected, again=hold.late)
            hold.late = True

    def add_written(self, tokens: float, now: float) -> None:
        """Charge output from the moment it was written."""
        self._log.add(now, tokens)
        self._ever += tokens

    # ---- use by other clients

    def share_with(self, rate: float) -> None:
        """Leave `rate` units a second to other clients of the account."""
        self._foreign = rate
        self._apply()

    @property
    def left_to_others(self) -> float:
        """Units of each window left to other clients."""
        return self._foreign * self.limit.window

    @property
    def known_bucket(self) -> bool:
        """Whether the provider is known to keep this limit as a token bucket, whose level its headers show."""
        return self._burst is not None

    @property
    def capacity(self) -> float:
        """What may be charged at once: a bucket of known size, else the whole limit."""
        return self.limit.amount if self._burst is None else self._burst

    def remember(self, log: SlidingLog) -> None:
        """Charge here what `log` recorded."""
        log.copy_to(self._log)

    def share_of(self, window: float) -> float:
        """What the limit allows in a shorter window."""
        return share_of(self.whole, self.limit.window, window)

    def sent_around(self, moment: float, seconds: float) -> float:
        """What may have arrived in the `seconds` before a call sent at `moment`, allowing for travel times."""
        spread = self.settings.short_spread
        return self._log.since(moment - seconds - spread) - self._log.since(moment + spread)

    def sent_between(self, since: float, until: float) -> float:
        """What was charged for calls sent after one moment and not after another."""
        return self._log.since(since) - self._log.since(until)

    def covers(self, moment: float) -> bool:
        """Whether our log covered the whole window at that moment, so that it shows what got through."""
        return moment - self._log.began >= self.limit.window

    def __repr__(self) -> str:
        return f"<Meter {self.limit.label} {self.used:.0f} of {self.room:.0f}>"


def share_of(amount: float, whole: float, window: float) -> float:
    """Requests that a limit of `amount` in `whole` seconds allows in a shorter window, rounded down, at least one."""
    return max(1.0, math.floor(amount * window / whole + EPSILON))


def _burst(limit: Limit, profile: Profile) -> float | None:
    """Units of the limit that the provider's bucket is known to hold; None if unknown."""
    seconds = {Unit.REQUESTS: profile.request_burst, Unit.TOKENS: profile.token_burst, Unit.INPUT: profile.token_burst}.get(limit.unit)
    if seconds is None or limit.window != 60.0:
        return None
    return max(1.0 if limit.unit is Unit.REQUESTS else 0.0, limit.amount * seconds / limit.window)

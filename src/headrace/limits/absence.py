"""While the store is lost: each limit is our share of it, and what we charged meanwhile is told when the store is back."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from msgspec import structs

from headrace.limits.blocks import LENGTH
from headrace.limits.guard import EPSILON, Entry, SlidingLog
from headrace.limits.members import Reservation
from headrace.limits.meter import Hold, Meter
from headrace.limits.quota import LONG_LEASE, Quota, key_of
from headrace.limits.store import MICRO, Message, Standing, restoring


def shrink(quota: Quota, share: float, unsure: Iterable[Reservation], now: float) -> None:
    """Let a share of each limit be all there is, less our part of what all have charged.

    unsure: those who have not heard from the store.
    """
    if quota.account.held_until == quota.shut_until:
        quota.account.held_until = quota.word_until
    quota.shut_until = -math.inf
    for meter in quota.account.meters:
        whole, known = quota.scaled.setdefault(meter, meter.limit), meter in quota.seeds
        if not known and meter.limit.window:
            quota.seeds[meter] = _parted(quota, meter, share, unsure, now)
        amount = math.floor(whole.amount * share)
        meter.offer(math.inf, math.inf)
        meter.resize(structs.replace(whole, amount=max(1, amount)))
        meter.eases = False
        if not known:
            _owe_ours(quota, meter, unsure)
            for log, part, _ in meter._shorter:  # nobody keeps what all charged there: our part is taken to be used
                log.insert(now, max(0.0, part - log.current(now) + _unsure_of_log(log, meter, unsure)))
        if amount < 1:
            quota.barred = True
            quota.account.held_until = math.inf


def _owe_ours(quota: Quota, meter: Meter, unsure: Iterable[Reservation]) -> None:
    """Let the flow be as far ahead as that of all was: nobody waits for a turn any more that was given among all.

    What goes back of those who have not heard counts at the new rate then, and so it is added at that.
    """
    seen = quota.seen.get(key_of(meter, meter.limit.window))
    if seen is not None and meter._pace is not None:
        seen_at, _, debt = seen
        meter._pace.paid_until = seen_at + debt + sum([hold.expected for hold in _holds(meter, unsure)]) / meter._pace.rate


def grow(quota: Quota, now: float) -> None:
    """The whole of each limit counts again."""
    for meter, limit in quota.scaled.items():
        meter.resize(limit)
        meter.eases = True
    for meter, seeds in quota.seeds.items():
        for entry, extra in seeds:
            meter._log.correct(entry, -extra)
    quota.scaled, quota.seeds = {}, {}
    if quota.barred:
        quota.barred, quota.account.held_until = False, now


def has_charged(quota: Quota, unsure: Iterable[Reservation], now: float) -> bool:
    """Whether anything of ours still counts there, but for calls that have not heard from the store."""
    return any(meter.share(now) * meter.room - _unsure_of(meter, unsure) > EPSILON for meter in quota.account.meters)


def _unsure_of(meter: Meter, unsure: Iterable[Reservation]) -> float:
    """What stands on our books for calls that did not hear from the store: it goes back."""
    return sum([hold.charged for hold in _holds(meter, unsure)])


def _unsure_of_log(log: SlidingLog, meter: Meter, unsure: Iterable[Reservation]) -> float:
    """The same, of a shorter window."""
    entries = [(entry, hold.charged) for hold in _holds(meter, unsure) for watched, entry in hold.shorter if watched is log]
    return sum([charged for entry, charged in entries if not entry.gone])


def _holds(meter: Meter, reservations: Iterable[Reservation]) -> list[Hold]:
    """What they hold of one limit."""
    taken = [taken for one in reservations for taken in one.all_taken()]
    return [hold for one in taken for hold in one.holds if hold.meter is meter]


def _doubtful(meter: Meter, unsure: Iterable[Reservation]) -> defaultdict[int, float]:
    """The same, entry by entry."""
    charged = defaultdict[int, float](float)
    for hold in _holds(meter, unsure):
        charged[id(hold.entry)] += hold.charged
    return charged


def _parted(quota: Quota, meter: Meter, share: float, unsure: Iterable[Reservation], now: float) -> list[tuple[Entry, float]]:
    """Let our books hold our part of what all have charged, whoever charged it: it leaves the window no sooner than that does.

    Then all parts of what is free add up to no more than what is free, at any moment. Calls on blocks go somewhat later than they were
    charged. What was added to which entries.
    """
    log, doubtful, changed = meter._log, _doubtful(meter, unsure), []
    log.forget(now)
    entries = list(log._entries)
    moments = [entry.at for entry in entries]
    for since, until, charged in charged_by_all(quota, meter, now):
        ours = entries[bisect_right(moments, since) : bisect_right(moments, until)]
        missing = share * charged - sum([entry.cost - doubtful[id(entry)] for entry in ours])
        if missing > 0:
            changed.append((log.insert(min(now, until + LENGTH), missing), missing))
        for entry in ours:  # the oldest first: what stays leaves last
            extra = min(0.0, max(missing, doubtful[id(entry)] - entry.cost))
            log.correct(entry, extra)
            changed.append((entry, extra))
            missing -= extra
    return changed


def charged_by_all(quota: Quota, meter: Meter, now: float) -> list[tuple[float, float, float]]:
    """What all processes may have charged after one moment and until another, by what we saw of their books: a window, bit by bit."""
    key, window = key_of(meter, meter.limit.window), meter.limit.window
    if key not in quota.seen:
        return [(-math.inf, now, meter._log.current(now))] if meter in quota.outside else []
    (seen_at, used, debt), flow = quota.seen[key], quota.flow.get(key, [])
    if meter in quota.outside:
        used = max(used, meter._log.current(now))
    charges, left = [], used
    for (since, before), (until, later) in reversed([*pairwise(flow)]):
        charges.append((since, until, min(left, later - before)))  # some of what was ever charged there was given back
        left -= charges[-1][2]
    first = flow[0][0] if flow else seen_at
    known = [bit for bit in [(-math.inf, first, left), *reversed(charges)] if bit[1] + LENGTH + meter._log.window > now]
    ahead = max(0.0, meter.tolerance - max(0.0, debt)) if meter._pace is not None else 0.0
    free = max(0.0, meter.room - sum([charged for _, _, charged in known]))
    return [*known, (seen_at, now, min(free, (now - seen_at + ahead) * meter.room / window))]


def told(quota: Quota, lost_at: float, unsure: Iterable[Reservation], now: float, store_now: float) -> Message:
    """What we charged since then, or ever if the books are new. store_now: in its microseconds."""
    for held in quota.held.values():
        if not held.stored:
            held.stored, held.at = True, store_now - (now - held.taken.left) * MICRO
    standings = [_standing(quota, meter, unsure, now) for meter in quota.account.meters if meter.limit.window]
    return restoring(quota.tag, quota.born, now - lost_at, LONG_LEASE, quota.ids(), standings)


def _standing(quota: Quota, meter: Meter, unsure: Iterable[Reservation], now: float) -> Standing:
    """What we charged one limit ourselves, without what stands there for others, or for calls that have not heard and go back."""
    extras = _doubtful(meter, unsure)
    for entry, extra in (*quota.seeds.get(meter, ()), *quota.outside.get(meter, {}).items()):
        extras[id(entry)] += extra
    charges = [(now - entry.at, entry.cost - extras[id(entry)]) for entry in meter._log._entries]
    rate, debt = 0.0, 0.0
    if meter._pace is not None:
        rate = meter._pace.rate * quota.factor(meter)
        debt = max(0.0, meter._pace.paid_until - now - sum([hold.expected for hold in _holds(meter, unsure)]) / meter._pace.rate)
    return Standing(
        key_of(meter, meter.limit.window), meter.limit.window, meter._log.window, rate, debt,
        tuple([(max(0.0, age), cost) for age, cost in charges if cost > EPSILON]),
    )  # fmt: skip

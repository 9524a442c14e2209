"""Operation without the shared store: each process uses its share of every limit.

When the store returns, the process reports what it charged.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from msgspec import structs

from headrace.limits.blocks import LENGTH
from headrace.limits.members import Reservation
from headrace.limits.meter import Hold, Meter
from headrace.limits.quota import LONG_LEASE, Quota, key_of
from headrace.limits.sliding_log import EPSILON, Entry, SlidingLog
from headrace.limits.store import MICRO, Message, Standing, restoring


def shrink(quota: Quota, share: float, unsure: Iterable[Reservation], now: float) -> None:
    """Reduce each limit to our share of it, less our share of what all processes have charged.

    unsure: reservations that have not heard from the store.
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
            for log, part, _ in meter._shorter:  # nobody records what all processes charged there: assume that our share is used up
                log.insert(now, max(0.0, part - log.current(now) + _unsure_of_log(log, meter, unsure)))
        if amount < 1:
            quota.barred = True
            quota.account.held_until = math.inf


def _owe_ours(quota: Quota, meter: Meter, unsure: Iterable[Reservation]) -> None:
    """Set the pacing debt to that of all processes, so that no call waits for a turn in the shared queue any more.

    The part of reservations that have not heard from the store is given back at the new rate, and so it is added at
    that rate.
    """
    seen = quota.seen.get(key_of(meter, meter.limit.window))
    if seen is not None and meter._pace is not None:
        seen_at, _, debt = seen
        meter._pace.paid_until = seen_at + debt + sum([hold.expected for hold in _holds(meter, unsure)]) / meter._pace.rate


def grow(quota: Quota, now: float) -> None:
    """Restore every limit to its full amount."""
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
    """Whether anything of ours still counts there, besides reservations that have not heard from the store."""
    return any(meter.share(now) * meter.room - _unsure_of(meter, unsure) > EPSILON for meter in quota.account.meters)


def _unsure_of(meter: Meter, unsure: Iterable[Reservation]) -> float:
    """What is charged here for reservations that did not hear from the store. It will be given back."""
    return sum([hold.charged for hold in _holds(meter, unsure)])


def _unsure_of_log(log: SlidingLog, meter: Meter, unsure: Iterable[Reservation]) -> float:
    """The same in the log of a shorter window."""
    entries = [(entry, hold.charged) for hold in _holds(meter, unsure) for watched, entry in hold.shorter if watched is log]
    return sum([charged for entry, charged in entries if not entry.gone])


def _holds(meter: Meter, reservations: Iterable[Reservation]) -> list[Hold]:
    """Their holds on one limit."""
    taken = [taken for one in reservations for taken in one.all_taken()]
    return [hold for one in taken for hold in one.holds if hold.meter is meter]


def _doubtful(meter: Meter, unsure: Iterable[Reservation]) -> defaultdict[int, float]:
    """The charged amounts of these holds, by log entry."""
    charged = defaultdict[int, float](float)
    for hold in _holds(meter, unsure):
        charged[id(hold.entry)] += hold.charged
    return charged


def _parted(quota: Quota, meter: Meter, share: float, unsure: Iterable[Reservation], now: float) -> list[tuple[Entry, float]]:
    """Make our log hold our share of what all processes charged.

    A charge leaves our window no earlier than theirs, whoever made it. Then the shares of what is free never add up to
    more than what is free. Calls on blocks are booked somewhat later than they were charged. Returns the entries and
    the amount added to each.
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
        for entry in ours:  # oldest first: what remains leaves the window last
            extra = min(0.0, max(missing, doubtful[id(entry)] - entry.cost))
            log.correct(entry, extra)
            changed.append((entry, extra))
            missing -= extra
    return changed


def charged_by_all(quota: Quota, meter: Meter, now: float) -> list[tuple[float, float, float]]:
    """What all processes may have charged within the window: (since, until, amount) intervals.

    Derived from our snapshots of the shared accounting.
    """
    key, window = key_of(meter, meter.limit.window), meter.limit.window
    if key not in quota.seen:
        return [(-math.inf, now, meter._log.current(now))] if meter in quota.outside else []
    (seen_at, used, debt), flow = quota.seen[key], quota.flow.get(key, [])
    if meter in quota.outside:
        used = max(used, meter._log.current(now))
    charges, left = [], used
    for (since, before), (until, later) in reversed([*pairwise(flow)]):
        charges.append((since, until, min(left, later - before)))  # part of what was charged in that interval was given back
        left -= charges[-1][2]
    first = flow[0][0] if flow else seen_at
    known = [bit for bit in [(-math.inf, first, left), *reversed(charges)] if bit[1] + LENGTH + meter._log.window > now]
    ahead = max(0.0, meter.tolerance - max(0.0, debt)) if meter._pace is not None else 0.0
    free = max(0.0, meter.room - sum([charged for _, _, charged in known]))
    return [*known, (seen_at, now, min(free, (now - seen_at + ahead) * meter.room / window))]


def told(quota: Quota, lost_at: float, unsure: Iterable[Reservation], now: float, store_now: float) -> Message:
    """The message that tells the store what we charged since `lost_at`, or all of it if the store is new.

    store_now: the store's clock, in microseconds.
    """
    for held in quota.held.values():
        if not held.stored:
            held.stored, held.at = True, store_now - (now - held.taken.left) * MICRO
    standings = [_standing(quota, meter, unsure, now) for meter in quota.account.meters if meter.limit.window]
    return restoring(quota.tag, quota.born, now - lost_at, LONG_LEASE, quota.ids(), standings)


def _standing(quota: Quota, meter: Meter, unsure: Iterable[Reservation], now: float) -> Standing:
    """What this process charged to one limit.

    Without amounts booked for others or for reservations that have not heard from the store.
    """
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

"""While the store is lost: each limit is our share of it, and what we charged meanwhile is told when the store is back."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from msgspec import structs

from headrace.limits.guard import EPSILON
from headrace.limits.members import Reservation
from headrace.limits.meter import Hold, Meter
from headrace.limits.quota import LONG_LEASE, Quota, key_of
from headrace.limits.store import MICRO, Message, Standing, restoring


def shrink(quota: Quota, share: float, unsure: Iterable[Reservation], now: float) -> None:
    """Let a share of each limit be all there is, less our part of what all have charged.

    unsure: those who have not heard from the store.
    """
    for meter in quota.account.meters:
        whole = quota.scaled.setdefault(meter, meter.limit)
        if meter not in quota.seeds and meter.limit.window:
            quota.seeds[meter] = [(meter._log.insert(at, extra), extra) for at, extra in _of_others(quota, meter, share, unsure, now)]
        amount = math.floor(whole.amount * share)
        meter.resize(structs.replace(whole, amount=max(1, amount)))
        if amount < 1:
            quota.barred = True
            quota.account.held_until = math.inf


def grow(quota: Quota, now: float) -> None:
    """The whole of each limit counts again."""
    for meter, limit in quota.scaled.items():
        meter.resize(limit)
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


def _holds(meter: Meter, reservations: Iterable[Reservation]) -> list[Hold]:
    """What they hold of one limit."""
    taken = [taken for one in reservations for taken in (one.taken, *[taken for _, taken in one.scopes])]
    return [hold for one in taken for hold in one.holds if hold.meter is meter]


def _of_others(quota: Quota, meter: Meter, share: float, unsure: Iterable[Reservation], now: float) -> list[tuple[float, float]]:
    """What has to stand on our books for others, and when: then from no moment on they hold less than our part of what all have charged."""
    charges, log, missing = [], meter._log, _unsure_of(meter, unsure)
    log.forget(now)
    for since, until, charged in reversed(charged_by_all(quota, meter, now)):
        missing += share * charged - (log.since(since) - log.since(until))
        if missing > 0:  # else we have charged more than our part: that much less is missing of what is older
            charges.append((until, missing))
            missing = 0.0
    return charges


def charged_by_all(quota: Quota, meter: Meter, now: float) -> list[tuple[float, float, float]]:
    """What all processes may have charged after one moment and until another, by what we saw of their books: a window, bit by bit."""
    key, window = key_of(meter, meter.limit.window), meter.limit.window
    if key not in quota.seen:
        return []
    (seen_at, used, debt), flow = quota.seen[key], quota.flow.get(key, [])
    known = [(since, until, later - before) for (since, before), (until, later) in pairwise(flow) if until + meter._log.window > now]
    earlier = max(0.0, used - sum([charged for _, _, charged in known]))
    ahead = max(0.0, meter.tolerance - debt) if meter._pace is not None else 0.0
    unseen = min(max(0.0, meter.room - used), (now - seen_at + ahead) * meter.room / window)
    first = known[0][0] if known else seen_at
    return [(-math.inf, first, earlier), *known, (seen_at, now, unseen)]


def told(quota: Quota, lost_at: float, unsure: Iterable[Reservation], now: float, store_now: float) -> Message:
    """What we charged since then, or ever if the books are new. store_now: in its microseconds."""
    for held in quota.held.values():
        if not held.stored:
            held.stored, held.at = True, store_now - (now - held.taken.at) * MICRO
    standings = [_standing(quota, meter, unsure, now) for meter in quota.account.meters if meter.limit.window]
    return restoring(quota.tag, quota.born, now - lost_at, LONG_LEASE, list(quota.held), standings)


def _standing(quota: Quota, meter: Meter, unsure: Iterable[Reservation], now: float) -> Standing:
    """What we charged one limit ourselves, without what stands there for others, or for calls that have not heard and go back."""
    waiting = _holds(meter, unsure)
    extras = defaultdict[int, float](float, {id(entry): extra for entry, extra in quota.seeds.get(meter, ())})
    for hold in waiting:
        extras[id(hold.entry)] += hold.charged
    charges = [(now - entry.at, entry.cost - extras[id(entry)]) for entry in meter._log._entries]
    rate, debt = 0.0, 0.0
    if meter._pace is not None:
        rate = meter._pace.rate * quota.factor(meter)
        debt = max(0.0, meter._pace.paid_until - now - sum([hold.expected for hold in waiting]) / meter._pace.rate)
    return Standing(
        key_of(meter, meter.limit.window), meter.limit.window, meter._log.window, rate, debt,
        tuple([(max(0.0, age), cost) for age, cost in charges if cost > EPSILON]),
    )  # fmt: skip

"""While the store is lost: each limit is our share of it, and what we charged meanwhile is told when the store is back."""

from __future__ import annotations

import math
from collections.abc import Iterable

from msgspec import structs

from headrace.limits.members import Reservation
from headrace.limits.meter import Meter
from headrace.limits.quota import LONG_LEASE, Quota, key_of
from headrace.limits.store import MICRO, Message, Standing, restoring


def shrink(quota: Quota, share: float, unsure: Iterable[Reservation], now: float) -> None:
    """Let a share of each limit be all there is, less our part of what all have charged.

    unsure: those who have not heard from the store.
    """
    for meter in quota.account.meters:
        whole = quota.scaled.setdefault(meter, meter.limit)
        if meter not in quota.seeds and meter.limit.window:
            extra = max(0.0, share * used_by_all(quota, meter, now) - (meter.used - _unsure_of(meter, unsure)))
            quota.seeds[meter] = (meter._log.add(now, extra), extra)
        amount = math.floor(whole.amount * share)
        meter.resize(structs.replace(whole, amount=max(1, amount)))
        if amount < 1:
            quota.barred = True
            quota.account.held_until = math.inf


def grow(quota: Quota, now: float) -> None:
    """The whole of each limit counts again."""
    for meter, limit in quota.scaled.items():
        meter.resize(limit)
    for meter, (entry, extra) in quota.seeds.items():
        meter._log.correct(entry, -extra)
    quota.scaled, quota.seeds = {}, {}
    if quota.barred:
        quota.barred, quota.account.held_until = False, now


def _unsure_of(meter: Meter, unsure: Iterable[Reservation]) -> float:
    """What stands on our books for calls that did not hear from the store: it goes back."""
    taken = [taken for one in unsure for taken in (one.taken, *[taken for _, taken in one.scopes])]
    return sum([hold.charged for one in taken for hold in one.holds if hold.meter is meter])


def used_by_all(quota: Quota, meter: Meter, now: float) -> float:
    """What all processes may have on the books by now, by what we saw last."""
    seen = quota.seen.get(key_of(meter, meter.limit.window))
    if seen is None:
        return 0.0
    at, used, debt = seen
    ahead = max(0.0, meter.tolerance - debt) if meter._pace is not None else 0.0
    age = now - at
    return min(meter.room, used + (age + ahead) * meter.room / meter.limit.window) if age < meter.limit.window else 0.0


def told(quota: Quota, lost_at: float, now: float, store_now: float) -> Message:
    """What we charged since then, or ever if the books are new. store_now: in its microseconds."""
    for held in quota.held.values():
        if not held.stored:
            held.stored, held.at = True, store_now - (now - held.taken.at) * MICRO
    standings = [_standing(quota, meter, now) for meter in quota.account.meters if meter.limit.window]
    return restoring(quota.tag, quota.born, now - lost_at, LONG_LEASE, list(quota.held), standings)


def _standing(quota: Quota, meter: Meter, now: float) -> Standing:
    """What we charged one limit ourselves, without what stands there for others."""
    seed, extra = quota.seeds.get(meter, (None, 0.0))
    charges = [(now - entry.at, entry.cost - (extra if entry is seed else 0.0)) for entry in meter._log._entries]
    rate = meter._pace.rate * quota.factor(meter) if meter._pace is not None else 0.0
    debt = max(0.0, meter._pace.paid_until - now) if meter._pace is not None else 0.0
    return Standing(
        key_of(meter, meter.limit.window), meter.limit.window, meter._log.window, rate, debt,
        tuple([(max(0.0, age), cost) for age, cost in charges if cost > 0]),
    )  # fmt: skip

"""What is left under a limit, for whoever is under it."""

from __future__ import annotations

from msgspec import Struct

from headrace.limits.limit import Unit
from headrace.limits.meter import Meter


class Left(Struct, frozen=True):
    """What is left under one limit."""

    unit: Unit
    limit: int
    remaining: int
    reset: float
    """Seconds until all of it is there again."""


def left_of(meter: Meter, now: float) -> Left:
    limit, share = meter.limit, meter.share(now)
    amount, window = limit.amount, limit.window
    if meter.unbooked > 0:  # something was taken only now
        return Left(limit.unit, amount, int(amount * (1 - share)) if share < 1.0 else 0, window)
    share = 0.0 if share < 0.0 else 1.0 if share > 1.0 else share
    reset = meter.whole_at(now) - now if share > 0 else 0.0
    return Left(limit.unit, amount, int(amount * (1 - share)), window if reset > window else reset if reset > 0.0 else 0.0)

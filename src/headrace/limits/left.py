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
    amount, share = meter.limit.amount, min(1.0, max(0.0, meter.share(now)))
    whole = meter.when(amount, now) if share > 0 else now
    return Left(meter.limit.unit, amount, int(amount * (1 - share)), min(meter.limit.window, max(0.0, whole - now)))

"""What is left under a limit, as reported to its caller."""

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
    """Seconds until the whole limit is available again."""


def left_of(meter: Meter, now: float) -> Left:
    limit, log = meter.limit, meter._log
    # the same as `Meter.share`, inlined: computed for every response
    used = meter.running if meter.counts_running else log.used if log.expires > now else log.current(now)
    share = (used + meter.unbooked + meter.elsewhere) / meter.room
    if meter.unbooked > 0 or meter.elsewhere > 0:  # taken on an open tab, or by other processes: when it is freed is not known here
        return Left(limit.unit, limit.amount, int(limit.amount * (1 - share)) if share < 1.0 else 0, limit.window)
    share = 0.0 if share < 0.0 else 1.0 if share > 1.0 else share
    reset = meter.whole_at(now) - now if share > 0 else 0.0
    reset = limit.window if reset > limit.window else reset if reset > 0.0 else 0.0
    return Left(limit.unit, limit.amount, int(limit.amount * (1 - share)), reset)

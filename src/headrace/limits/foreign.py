"""Estimates how much of a shared limit other clients use, from the remaining amounts in response headers."""

from __future__ import annotations

import math
from typing import Final

from headrace.limits.meter import Meter

NOISE: Final = 1.0
"""Standard deviations added to the others' average usage, because their calls come in bursts."""
STALE: Final = 15.0
"""Seconds by which our knowledge of a window lags: some headers are smoothed, and a call takes time."""
DOUBTFUL: Final = 0.05
"""Share of a limit by which a header may differ from our accounting because of calls in flight."""
DOUBTS: Final = 3
"""Consecutive headers needed to rule out a window."""
APART: Final = 2.0
"""Seconds between two headers that are evaluated."""


class FixedCount:
    """Interprets headers as a counter that restarts with each fixed window: the remaining amount rises only then."""

    __slots__ = ("_before", "_ever", "_limit", "_quick", "_remaining", "_theirs", "_turned_at", "fits")

    def __init__(self) -> None:
        self.fits = True
        """Whether the headers are consistent with such a counter."""
        self._remaining = math.inf
        """The least that could remain if only we had used anything since the counter restarted."""
        self._ever = 0.0
        self._limit = 0.0
        self._theirs = 0.0
        """What others used since the restart."""
        self._before = 0.0
        """What they used in the window before."""
        self._turned_at = -math.inf
        self._quick = 0
        """Consecutive restarts that came too soon after another."""

    def observe(self, at: float, ever: float, limit: float, remaining: float, window: float) -> float:
        """Units that others use per window. ever: all that we had used when the header was written."""
        left = self._remaining - (ever - self._ever) + (limit - self._limit)  # what was taken off the limit was used by nobody
        self._ever, self._limit = ever, limit
        if remaining > max(0.0, left) + DOUBTFUL * limit or at - self._turned_at >= window:
            self._turn(at, window)
            self._remaining = remaining
        else:
            self._theirs += max(0.0, left - remaining)
            self._remaining = min(left, remaining)
        passed = min(1.0, (at - self._turned_at) / window)
        theirs = self._theirs + (1 - passed) * self._before
        return theirs if theirs > DOUBTFUL * limit else 0.0

    def _turn(self, at: float, window: float) -> None:
        self._quick = self._quick + 1 if at - self._turned_at < 0.75 * window else 0
        if self._quick >= DOUBTS:
            self.fits = False
        self._before, self._theirs, self._turned_at = self._theirs, 0.0, at


class Foreign:
    """Other clients' usage of one limit: the difference between what remains and what we have used."""

    __slots__ = (
        "_at", "_count", "_ever", "_fits_bucket", "_fits_window", "_limit", "_odd_for_window", "_rate", "_remaining",
        "_theirs", "_unrest",
    )  # fmt: skip

    def __init__(self, *, small_bucket: bool = False) -> None:
        self._fits_window = not small_bucket
        """Whether the headers are consistent with a sliding window, in which others can never increase what remains."""
        self._fits_bucket = True
        """Whether they are consistent with a token bucket, which never refills in leaps."""
        self._count = None if small_bucket else FixedCount()
        self._odd_for_window = 0
        """Consecutive headers that contradict a window."""
        self._at = -math.inf
        self._ever = 0.0
        self._limit = 0.0
        self._remaining = 0.0
        self._rate = 0.0
        self._theirs = 0.0
        """The others' part of the window at the latest header."""
        self._unrest = 0.0
        """Observed variance of their usage per second."""

    def observe(self, meter: Meter, at: float, ours: tuple[float, float], limit: float, remaining: float) -> float | None:
        """Units per second to leave to others; None without new information. at: when the request was sent.

        Headers of requests older than the newest one are ignored, so their order does not matter; at most one in
        `APART` seconds is used.
        """
        since = at - self._at
        if since < APART:
            return None
        used, ever = ours
        window = meter.limit.window
        level = self._remaining - (ever - self._ever) + (limit - self._limit)
        """What remains of the level at the previous header."""
        self._doubt_shapes(limit, remaining, used, level + since * limit / window)
        counted = self._counted(at, ever, limit, remaining, window)
        if self._fits_window or (counted is None and not meter.known_bucket):
            theirs = limit - remaining - used
            self._surprised((theirs - self._theirs) ** 2 / 2, since)
            share = 0.4 if self._fits_window and since < math.inf else 0.15  # one header alone says little
            self._rate += share * (theirs / window - self._rate)
            self._theirs = theirs
        elif counted is not None:
            self._rate, self._unrest = counted / window, 0.0
        elif self._fits_bucket and self._remaining + since * limit / window <= min(limit, meter.capacity):  # else it overflowed
            drained = (level - remaining) / since + limit / window
            self._surprised(((drained - self._rate) * since) ** 2, since)
            self._rate += (1 - math.exp(-since / 20)) * (drained - self._rate)
        else:
            self._rate *= 0.9
        self._at, self._ever, self._limit, self._remaining = at, ever, limit, remaining
        return self._with_noise(meter, window)

    def _counted(self, at: float, ever: float, limit: float, remaining: float, window: float) -> float | None:
        """What others use per window if the provider counts fixed windows; None once that is ruled out."""
        if self._count is None:
            return None
        theirs = self._count.observe(at, ever, limit, remaining, window)
        if not self._count.fits:
            self._count = None
        return None if self._count is None else theirs

    def _doubt_shapes(self, limit: float, remaining: float, used: float, filled: float) -> None:
        """Rule out ways of counting that the headers contradict. filled: the level of a bucket that nobody else uses.

        One header cannot rule out a window: a burst leaves the provider's a little earlier than ours, which is watched
        longer.
        """
        odd = remaining > max(0.0, limit - used) + DOUBTFUL * limit  # a header does not show an overdraft
        self._odd_for_window = self._odd_for_window + 1 if odd else 0
        if self._odd_for_window >= DOUBTS:
            self._fits_window = False
        if self._at > -math.inf and remaining > filled + 2 * DOUBTFUL * limit:
            self._fits_bucket = False

    def _surprised(self, square: float, since: float) -> None:
        """Update the variance with a squared error observed over so many seconds. The first header has no error."""
        if since < math.inf:
            self._unrest += 0.1 * (square / since - self._unrest)

    def _with_noise(self, meter: Meter, window: float) -> float:
        """Their rate plus a margin for its variation: at least that of single units, at most as much as the rate itself."""
        if self._rate < (0.01 if self._fits_window else 0.03) * meter.limit.amount / window:
            return 0.0
        span = STALE if self._fits_window else window
        return self._rate + min(self._rate, NOISE * math.sqrt(max(self._unrest, self._rate) * span) / window)

"""What others use of a limit that we draw on too, by what its headers say is remaining."""

from __future__ import annotations

import math
from typing import Final

from headrace.limits.meter import Meter

NOISE: Final = 1.0
"""Standard deviations by which others are left more than they use on average: their calls come in lumps."""
STALE: Final = 15.0
"""Seconds by which what we know of a window is behind: the smoothing of some views, and a call's way."""
DOUBTFUL: Final = 0.05
"""Share of a limit by which a header may differ from our books because of calls that are under way."""
DOUBTS: Final = 3
"""Headers in turn that have to speak against a window."""
APART: Final = 2.0
"""Seconds between two headers that are news."""


class FixedCount:
    """The headers read as a counter that starts anew each window: what is remaining rises at its turn, and at no other time."""

    __slots__ = ("_before", "_ever", "_limit", "_quick", "_remaining", "_theirs", "_turned_at", "fits")

    def __init__(self) -> None:
        self.fits = True
        """Whether the headers can be those of one."""
        self._remaining = math.inf
        """The least that could be left if nobody but us had used anything since the counter turned."""
        self._ever = 0.0
        self._limit = 0.0
        self._theirs = 0.0
        """What others used since it turned."""
        self._before = 0.0
        """What they had used the time before."""
        self._turned_at = -math.inf
        self._quick = 0
        """Turns in a row that came too soon after another."""

    def observe(self, at: float, ever: float, limit: float, remaining: float, window: float) -> float:
        """Units that others use in a window. ever: all that we had used when the header was written."""
        left = self._remaining - (ever - self._ever) + (limit - self._limit)  # nobody used what was taken off the limit
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
    """What others use of one limit, from the difference between what is remaining and what we have used."""

    __slots__ = (
        "_at", "_count", "_ever", "_fits_bucket", "_fits_window", "_limit", "_odd_for_window", "_rate", "_remaining",
        "_theirs", "_unrest",
    )  # fmt: skip

    def __init__(self, *, small_bucket: bool = False) -> None:
        self._fits_window = not small_bucket
        """Whether the headers could be those of a sliding window: nobody else's use can leave more than our own does."""
        self._fits_bucket = True
        """Whether they could be those of a bucket, which never fills by leaps."""
        self._count = None if small_bucket else FixedCount()
        self._odd_for_window = 0
        """Views in turn that speak against a window."""
        self._at = -math.inf
        self._ever = 0.0
        self._limit = 0.0
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
        if since < APART:
            return None
        used, ever = ours
        window = meter.limit.window
        level = self._remaining - (ever - self._ever) + (limit - self._limit)
        """What is left of what the last view showed."""
        self._doubt_shapes(limit, remaining, used, level + since * limit / window)
        counted = self._counted(at, ever, limit, remaining, window)
        if self._fits_window or (counted is None and not meter.known_bucket):
            theirs = limit - remaining - used
            self._surprised((theirs - self._theirs) ** 2 / 2, since)
            share = 0.4 if self._fits_window and since < math.inf else 0.15  # one view alone says little
            self._rate += share * (theirs / window - self._rate)
            self._theirs = theirs
        elif counted is not None:
            self._rate, self._unrest = counted / window, 0.0
        elif self._fits_bucket and self._remaining + since * limit / window <= min(limit, meter.capacity):  # else it ran over
            drained = (level - remaining) / since + limit / window
            self._surprised(((drained - self._rate) * since) ** 2, since)
            self._rate += (1 - math.exp(-since / 20)) * (drained - self._rate)
        else:
            self._rate *= 0.9
        self._at, self._ever, self._limit, self._remaining = at, ever, limit, remaining
        return self._with_noise(meter, window)

    def _counted(self, at: float, ever: float, limit: float, remaining: float, window: float) -> float | None:
        """What others use in a window if the provider counts from the turn of each; None once it is known that it does not."""
        if self._count is None:
            return None
        theirs = self._count.observe(at, ever, limit, remaining, window)
        if not self._count.fits:
            self._count = None
        return None if self._count is None else theirs

    def _doubt_shapes(self, limit: float, remaining: float, used: float, filled: float) -> None:
        """Which ways of counting the headers rule out. filled: what a bucket that nobody else uses would hold by now.

        One view is not enough to rule out a window: a burst leaves the provider's a little sooner than ours, which is watched longer.
        """
        odd = remaining > max(0.0, limit - used) + DOUBTFUL * limit  # a header says nothing of what is overdrawn
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

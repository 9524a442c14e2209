"""Pacing by debt GCRA: spreads what a window allows over the window, with a tolerance for bursts."""

from __future__ import annotations

import math


class Pace:
    """A flow of at most `rate` a second that may run some seconds of tolerance ahead.

    A call passes if the debt is within tolerance, and only then adds its own cost to it: calls of any size pass, and
    what passes in any w seconds is at most rate * (w + tolerance) plus one call.
    """

    __slots__ = ("_departed", "paid_until", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.paid_until = -math.inf
        """The moment at which everything admitted so far will have been earned."""
        self._departed = -math.inf
        """The same for calls that were sent late, counted from when they were sent."""

    def when(self, now: float, tolerance: float) -> float:
        """The moment at which the next call may pass."""
        at = self.paid_until - tolerance
        return at if at > now else now

    def add(self, at: float, cost: float) -> None:
        """Add a call that passes."""
        start = self.paid_until
        self.paid_until = (start if start > at else at) + cost / self.rate

    def correct(self, difference: float, *, late: bool = False) -> None:
        """Add `difference` to the cost of a call. late: whether it was sent later than it was admitted."""
        self.paid_until += difference / self.rate
        if late:
            self._departed += difference / self.rate

    def departs(self, now: float, cost: float, *, again: bool = False) -> None:
        """A call admitted earlier is sent only now.

        Several of these together are a burst now, whatever was earned meanwhile.

        Their cost was added on admission, so the flow moves only as far as the late calls alone would have brought it.
        again: the call was sent late before, and failed to go out.
        """
        earned = cost / self.rate
        before = self._departed - earned if again else self._departed
        self._departed = max(before, now) + earned
        self.paid_until = max(self.paid_until, self._departed)

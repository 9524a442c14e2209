"""Debt GCRA: spread what a window allows over the window, with a tolerance for bursts."""

from __future__ import annotations

import math


class Pace:
    """A flow of at most `rate` a second, that may run some seconds of tolerance ahead.

    A call is let through when the debt is within tolerance, and only then adds its own cost to it: calls of any size pass,
    and what passes in any w seconds is at most rate * (w + tolerance) plus one call.
    """

    __slots__ = ("_departed", "paid_until", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.paid_until = -math.inf
        """The moment at which everything let through so far will have been earned."""
        self._departed = -math.inf
        """The same for what left late, from when it left."""

    def when(self, now: float, tolerance: float) -> float:
        """The moment at which the next call may pass."""
        at = self.paid_until - tolerance
        return at if at > now else now

    def add(self, at: float, cost: float) -> None:
        """Let a call pass."""
        start = self.paid_until
        self.paid_until = (start if start > at else at) + cost / self.rate

    def correct(self, difference: float, *, late: bool = False) -> None:
        """A call cost that much more than was added for it. late: whether it departed later than it was let through."""
        self.paid_until += difference / self.rate
        if late:
            self._departed += difference / self.rate

    def departs(self, now: float, cost: float, *, again: bool = False) -> None:
        """A call that was let through earlier leaves only now: several of them together are a burst now, whatever was earned meanwhile.

        Its cost was added when it was let through: the flow moves only as far as all that left late would have brought it by themselves.
        again: it has departed before, and after all did not go.
        """
        earned = cost / self.rate
        before = self._departed - earned if again else self._departed
        self._departed = max(before, now) + earned
        self.paid_until = max(self.paid_until, self._departed)

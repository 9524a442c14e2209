"""Debt GCRA: spread what a window allows over the window, with a tolerance for bursts."""

from __future__ import annotations


class Pace:
    """A flow of at most `rate` a second, that may run `tolerance` seconds ahead.

    A call is let through when the debt is within tolerance, and only then adds its own cost to it: calls of any size pass,
    and what passes in any w seconds is at most rate * (w + tolerance) plus one call.
    """

    __slots__ = ("_paid_until", "rate", "tolerance")

    def __init__(self, rate: float, tolerance: float) -> None:
        self.rate = rate
        self.tolerance = tolerance
        self._paid_until = float("-inf")
        """The moment at which everything let through so far will have been earned."""

    def when(self, now: float) -> float:
        """The moment at which the next call may pass."""
        return max(now, self._paid_until - self.tolerance)

    def add(self, at: float, cost: float) -> None:
        self._paid_until = max(self._paid_until, at) + cost / self.rate

    def correct(self, difference: float) -> None:
        """A call cost this much more (or less) than was added for it."""
        if self._paid_until > float("-inf"):
            self._paid_until += difference / self.rate

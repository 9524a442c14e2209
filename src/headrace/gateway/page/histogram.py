"""A histogram of seconds with exponential buckets: quantiles to within 10 %, in a few hundred bytes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Final

STEPS: Final = 8
"""Buckets per doubling: each is 9 % above the one before."""
LEAST: Final = 1e-4
"""Seconds: anything shorter counts as this."""


class Histogram:
    """A histogram to which values, and other histograms (`total`), can be added."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def add(self, seconds: Iterable[float]) -> None:
        """Count values in seconds."""
        self.counts.update([0 if each <= LEAST else round(STEPS * math.log2(each / LEAST)) for each in seconds])

    def quantile(self, share: float) -> float | None:
        """The value in seconds that a `share` of all values does not exceed; None if there are none."""
        left = share * self.counts.total()
        for step, count in sorted(self.counts.items()):
            left -= count
            if left <= 0:
                return float(f"{LEAST * 2 ** (step / STEPS):.3g}")
        return None


def total(parts: Iterable[Histogram]) -> Histogram:
    """The sum of several histograms."""
    whole = Histogram()
    for part in parts:
        whole.counts.update(part.counts)
    return whole

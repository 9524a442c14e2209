"""Seconds, counted in steps that grow with them: quantiles to within a tenth, in a few hundred bytes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Final

STEPS: Final = 8
"""For each doubling: the next step is 9 % up."""
LEAST: Final = 1e-4
"""Seconds: what is shorter counts as this."""


class Histogram:
    """Adds up; two of them too."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def add(self, seconds: Iterable[float]) -> None:
        self.counts.update([0 if each <= LEAST else round(STEPS * math.log2(each / LEAST)) for each in seconds])

    def quantile(self, share: float) -> float | None:
        """Seconds that `share` of all stay within; None of nothing."""
        left = share * self.counts.total()
        for step, count in sorted(self.counts.items()):
            left -= count
            if left <= 0:
                return float(f"{LEAST * 2 ** (step / STEPS):.3g}")
        return None


def total(parts: Iterable[Histogram]) -> Histogram:
    whole = Histogram()
    for part in parts:
        whole.counts.update(part.counts)
    return whole

"""Repeated wrong keys are slowed down, so that guessing a weak master key takes longer than it is worth."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

BURST: Final = 20
"""Failures allowed at once per address."""
EVERY: Final = 3.0
"""Seconds until one more is allowed."""
MOST: Final = 10_000
"""Addresses that are remembered."""


class Failures:
    """A token bucket of failures per address. Addresses without failures cost nothing."""

    __slots__ = ("_paid_until",)

    def __init__(self) -> None:
        self._paid_until: OrderedDict[str, float] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether any address has failed."""
        return bool(self._paid_until)

    def wait(self, address: str, now: float) -> float:
        """Seconds until the next attempt of that address is accepted; 0 if at once."""
        paid = self._paid_until.get(address)
        return 0.0 if paid is None else max(0.0, paid - now - (BURST - 1) * EVERY)

    def failed(self, address: str, now: float) -> None:
        """Count a failure of that address."""
        self._paid_until[address] = max(now, self._paid_until.pop(address, now)) + EVERY
        while len(self._paid_until) > MOST:
            self._paid_until.popitem(last=False)

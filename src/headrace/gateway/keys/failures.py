"""Who shows wrong keys is answered more slowly: guessing a weak master key must take longer than it is worth."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

BURST: Final = 20
"""Failures of one address at once."""
EVERY: Final = 3.0
"""Seconds for one more."""
MOST: Final = 10_000
"""Addresses that are remembered."""


class Failures:
    """A bucket of failures for each address. Addresses without failures cost nothing."""

    __slots__ = ("_paid_until",)

    def __init__(self) -> None:
        self._paid_until: OrderedDict[str, float] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether anybody has failed."""
        return bool(self._paid_until)

    def wait(self, address: str, now: float) -> float:
        """Seconds until another try of that address is looked at; 0 at once."""
        paid = self._paid_until.get(address)
        return 0.0 if paid is None else max(0.0, paid - now - (BURST - 1) * EVERY)

    def failed(self, address: str, now: float) -> None:
        self._paid_until[address] = max(now, self._paid_until.pop(address, now)) + EVERY
        while len(self._paid_until) > MOST:
            self._paid_until.popitem(last=False)

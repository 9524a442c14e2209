"""The exact sliding log: what was charged in the last window, entry by entry."""

from __future__ import annotations

import math
from collections import deque


class Entry:
    """One charge. Its cost may be corrected as long as it counts."""

    __slots__ = ("at", "cost", "gone")

    def __init__(self, at: float, cost: float) -> None:
        self.at = at
        self.cost = cost
        self.gone = False


class SlidingLog:
    """Charges of the last `window` seconds.

    Keeping their sum at or below a limit keeps every interval of that length below it, wherever a provider's minutes begin.
    """

    __slots__ = ("_entries", "used", "window")

    def __init__(self, window: float) -> None:
        self.window = window
        self._entries: deque[Entry] = deque()
        self.used = 0.0

    def forget(self, now: float) -> None:
        """Drop what has left the window."""
        entries, edge = self._entries, now - self.window
        while entries and entries[0].at <= edge:
            entry = entries.popleft()
            entry.gone = True
            self.used -= entry.cost
        if not entries:
            self.used = 0.0  # rounding errors of a long life end with it

    def add(self, at: float, cost: float) -> Entry:
        entry = Entry(at, cost)
        self._entries.append(entry)
        self.used += cost
        return entry

    def correct(self, entry: Entry, cost: float) -> None:
        """Let `entry` have cost this much. Without effect once it has left the window."""
        if not entry.gone:
            self.used += cost - entry.cost
            entry.cost = cost

    def when(self, cost: float, room: float, now: float) -> float:
        """The moment at which `cost` more fits into `room`, `now` if it does already, inf if it never will."""
        self.forget(now)
        excess = self.used + cost - room
        if excess <= 1e-9:
            return now
        if cost > room:
            return math.inf
        for entry in self._entries:
            excess -= entry.cost
            if excess <= 1e-9:
                return entry.at + self.window
        return now + self.window

    def since(self, moment: float) -> float:
        """What was charged after `moment`."""
        total = 0.0
        for entry in reversed(self._entries):
            if entry.at <= moment:
                break
            total += entry.cost
        return total

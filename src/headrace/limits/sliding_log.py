"""An exact sliding log: the charges of the last window, entry by entry."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from msgspec import Struct

SLOTS: Final = 4000
"""Most slots per window. Charges closer together share one, so a log stays small however many calls there are. A slot
counts until its last charge leaves the window: a call may wait up to a 4000th of the window longer than necessary,
never less."""
EPSILON: Final = 1e-6
"""Units by which a sum may exceed a limit because of rounding."""


class Entry(Struct, eq=False, gc=False):
    """One charge, or a slot of several."""

    at: float
    """Of the latest charge."""
    cost: float
    since: float
    """Of the first."""
    gone: bool = False
    """Whether it has left the window and no longer counts."""


NO_ENTRY: Final = Entry(-math.inf, 0.0, -math.inf, gone=True)


class SlidingLog:
    """Charges of the last `window` seconds.

    A sum at or below a limit keeps every interval of that length at or below it, wherever a provider's minute begins.
    """

    __slots__ = ("_entries", "_grain", "_last", "began", "expires", "used", "window")

    def __init__(self, window: float) -> None:
        self.window = window
        self.used = 0.0
        self._grain = window / SLOTS
        self._entries: deque[Entry] = deque()
        self._last = NO_ENTRY
        """The newest entry."""
        self.began = math.inf
        """When the first charge ever was made; inf before."""
        self.expires = math.inf
        """The moment before which no entry leaves the window; inf if there are none."""

    @property
    def last(self) -> Entry:
        """The newest entry."""
        return self._last

    def forget(self, now: float) -> None:
        """Drop entries that have left the window, at exactly the moment that `when` returns."""
        entries, window = self._entries, self.window
        while entries and entries[0].at + window <= now:
            entry = entries.popleft()
            entry.gone = True
            self.used -= entry.cost
        if entries:
            self.expires = entries[0].at + window
        else:
            self.expires, self._last = math.inf, NO_ENTRY
            self.used = 0.0  # drops accumulated rounding errors

    def current(self, now: float) -> float:
        """Sum of the charges within the window."""
        if self.expires <= now:
            self.forget(now)
        return self.used

    def add(self, at: float, cost: float) -> Entry:
        """Charge `cost`. Threads may call slightly out of order; the later moment counts."""
        self.used += cost
        last = self._last
        if at < last.at:
            at = last.at
        if at - last.since >= self._grain:
            return self._begin(at, cost)
        last.at = at
        last.cost += cost
        return last

    def _begin(self, at: float, cost: float) -> Entry:
        """Start a new slot."""
        if not self._entries:
            self.expires = at + self.window
            if self.began > at:
                self.began = at
        entry = self._last = Entry(at, cost, at)
        self._entries.append(entry)
        return entry

    def insert(self, at: float, cost: float) -> Entry:
        """Charge `cost` at a moment that may be long past, in an entry of its own."""
        entries, place = self._entries, len(self._entries)
        while place and entries[place - 1].at > at:
            place -= 1
        entry = Entry(at, cost, at)
        entries.insert(place, entry)
        self.used += cost
        self.expires, self._last = entries[0].at + self.window, entries[-1]
        return entry

    def correct(self, entry: Entry, difference: float) -> None:
        """Add `difference` to the cost of `entry`. Does nothing once it has left the window."""
        if not entry.gone:
            entry.cost += difference
            self.used += difference

    def when(self, cost: float, room: float, now: float) -> float:
        """The moment at which another `cost` fits into `room`: `now` if it does already, inf if it never will."""
        entries = self._entries
        if self.expires <= now:
            self.forget(now)
        excess = self.used + cost - room
        if excess <= EPSILON:
            return now
        if cost > room + EPSILON:
            return math.inf
        if cost >= room:  # only once the window is empty
            return self.empty_at(now)
        for entry in entries:
            excess -= entry.cost
            if excess <= EPSILON:
                return entry.at + self.window
        return now + self.window

    def empty_at(self, now: float) -> float:
        """The moment at which the window will be empty. Response headers report it, so a full log is not traversed."""
        for entry in reversed(self._entries):
            if entry.cost > 0:
                return entry.at + self.window
        return now

    def since(self, moment: float) -> float:
        """Sum of the charges after `moment`."""
        total = 0.0
        for entry in reversed(self._entries):
            if entry.at <= moment:
                break
            total += entry.cost
        return total

    def copy_to(self, other: SlidingLog) -> None:
        """Charge all entries to another log, of a shorter window."""
        for entry in self._entries:
            other.add(entry.at, entry.cost)

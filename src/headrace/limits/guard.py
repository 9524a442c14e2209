"""The exact sliding log: what was charged in the last window, entry by entry."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from msgspec import Struct

SLOTS: Final = 4000
"""Into which a window is cut at most: calls closer together share one, so that a log stays small however many come. A slot counts until
its last charge leaves the window: a call may wait a 4000th of the window longer than it had to, never shorter."""
EPSILON: Final = 1e-6
"""Units by which a sum may exceed a limit: rounding, never a whole one."""


class Entry(Struct, eq=False, gc=False):
    """One charge, or a slot of them."""

    at: float
    """Of the latest charge."""
    cost: float
    since: float
    """Of the first."""
    gone: bool = False
    """Whether it has left the window: it counts until then."""


NO_ENTRY: Final = Entry(-math.inf, 0.0, -math.inf, gone=True)


class SlidingLog:
    """Charges of the last `window` seconds.

    Keeping their sum at or below a limit keeps every interval of that length below it, wherever a provider's minutes begin.
    """

    __slots__ = ("_entries", "_grain", "_last", "began", "expires", "used", "window")

    def __init__(self, window: float) -> None:
        self.window = window
        self.used = 0.0
        self._grain = window / SLOTS
        self._entries: deque[Entry] = deque()
        self._last = NO_ENTRY
        """The newest of them."""
        self.began = math.inf
        """When the first charge of all was made; inf before."""
        self.expires = math.inf
        """Before this moment nothing of what is on the log leaves it; inf when there is nothing."""

    @property
    def last(self) -> Entry:
        """The newest entry."""
        return self._last

    def forget(self, now: float) -> None:
        """Drop what has left the window: at the very moment that `when` names, to the last bit."""
        entries, window = self._entries, self.window
        while entries and entries[0].at + window <= now:
            entry = entries.popleft()
            entry.gone = True
            self.used -= entry.cost
        if entries:
            self.expires = entries[0].at + window
        else:
            self.expires, self._last = math.inf, NO_ENTRY
            self.used = 0.0  # rounding errors of a long life end with it

    def current(self, now: float) -> float:
        """What was charged within the window."""
        if self.expires <= now:
            self.forget(now)
        return self.used

    def add(self, at: float, cost: float) -> Entry:
        """Charge `cost`. Threads may bring their moments out of order by a little; the log counts the later one."""
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
        """A slot of its own."""
        if not self._entries:
            self.expires = at + self.window
            if self.began > at:
                self.began = at
        entry = self._last = Entry(at, cost, at)
        self._entries.append(entry)
        return entry

    def insert(self, at: float, cost: float) -> Entry:
        """Charge what was charged at a moment that may be long past, in an entry of its own."""
        entries, place = self._entries, len(self._entries)
        while place and entries[place - 1].at > at:
            place -= 1
        entry = Entry(at, cost, at)
        entries.insert(place, entry)
        self.used += cost
        self.expires, self._last = entries[0].at + self.window, entries[-1]
        return entry

    def correct(self, entry: Entry, difference: float) -> None:
        """Let `entry` have cost that much more. Without effect once it has left the window."""
        if not entry.gone:
            entry.cost += difference
            self.used += difference

    def when(self, cost: float, room: float, now: float) -> float:
        """The moment at which `cost` more fits into `room`, `now` if it does already, inf if it never will."""
        entries = self._entries
        if self.expires <= now:
            self.forget(now)
        excess = self.used + cost - room
        if excess <= EPSILON:
            return now
        if cost > room + EPSILON:
            return math.inf
        if cost >= room:  # when everything has gone
            return self.empty_at(now)
        for entry in entries:
            excess -= entry.cost
            if excess <= EPSILON:
                return entry.at + self.window
        return now + self.window

    def empty_at(self, now: float) -> float:
        """The moment at which everything has left the window. Answers' headers tell it, so a full log is not walked through."""
        for entry in reversed(self._entries):
            if entry.cost > 0:
                return entry.at + self.window
        return now

    def since(self, moment: float) -> float:
        """What was charged after `moment`."""
        total = 0.0
        for entry in reversed(self._entries):
            if entry.at <= moment:
                break
            total += entry.cost
        return total

    def copy_to(self, other: SlidingLog) -> None:
        """Tell another log, of a shorter window, what was charged."""
        for entry in self._entries:
            other.add(entry.at, entry.cost)

"""Places for calls in flight, where processes want more of them than there are: whose is the one that has come free?

In `admit.lua` as well, line for line. All processes that want a place get the same number in the end, those that want fewer what they want.
A process whose own call ends has the place for the next of its callers, unless another that wants one is poorer: it asks in the same trip
in which it tells the end, and nobody looks in vain. What cannot be divided goes round: a process that has one more than others hands it on
for a while, and then leaves it to them. Nobody can call one that has none, and so a place is left to it only just before it looks: the
sooner it comes, or the longer it has waited, the surer. Time is whole microseconds of the store's own clock.
"""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

from headrace.limits.guard import EPSILON

HANDS_ON: Final = 2_000_000.0
"""For which a process goes on with the only place it has while others have none."""
SPARE_HANDS_ON: Final = 5_000_000.0
"""For which it goes on with one more than others who have some."""
LOOKS: Final = 2_800_000.0
"""Between two looks of a process at most, while one may be left to it or given back unsaid. It brings its sign of life along, which is due
as often."""
LOOKS_IN: Final = 10_000_000.0
"""After which it looks where nobody has more than it and all who hold the rest want more themselves, unless a call of its own ends before
and it asks then."""
KNOWN: Final = 2_000_000.0
"""For which one that wants a place is waited for after it should have come."""
SOON: Final = 8
"""A place is left to one that has none if it comes within so small a part of the time for which it has waited."""


class Want(Struct):
    """A process that wants more places than it holds."""

    level: float
    """Places that it holds, and those whose calls have ended since it was last here."""
    since: float
    """When it came to hold so many, or no more than so many."""
    until: float = 0.0
    """When it is forgotten, unless it comes again."""


class Places:
    """Those of one account."""

    def __init__(self) -> None:
        self.wants: dict[str, Want] = {}
        self.look = 0.0
        """When the next of those who look in turn should come at the earliest."""
        self.stride = 0.0
        """From one of them to the next: by the last whose own call had ended, since it knows how long they take."""

    def claimant(self, process: str, holds: float, room: float, stride: float, now: float) -> Claimant:
        """One that asks. room: how many there are; stride: as `Places` has it."""
        self.wants = {name: want for name, want in self.wants.items() if want.until > now}
        rivals = [want for name, want in self.wants.items() if name != process]
        want = self.wants.get(process) or Want(holds, now)
        gave = holds < want.level
        room, stride = max(1, math.floor(room + EPSILON)), stride if gave or not self.stride else self.stride
        return Claimant(self, process, holds, room, stride, now, want, rivals, gave)


class Claimant(Struct):
    """A process that asks for a place, and the others that want one."""

    places: Places
    process: str
    holds: float
    room: float
    stride: float
    now: float
    want: Want
    rivals: list[Want]
    gave: bool
    """Whether a call of its own has ended since it was last here."""

    def left(self, in_flight: float) -> float:
        """How many it may have: one at a time where others want some."""
        free = self.room - in_flight - self._left_to_rivals()
        return max(0.0, min(1.0, free) if self.rivals else free)

    def _left_to_rivals(self) -> float:
        """To each poorer one as many as make it as rich. To one that is as rich, the next: if this one has handed its own on for long
        enough and that one has waited as long; or if this one has come so much later that by any order of turns it is that one's."""
        hands_on = SPARE_HANDS_ON if self.holds > 0 else HANDS_ON
        first = self.want.since - len(self.rivals) * (hands_on / self.room + 2 * self.stride)
        if self.gave:
            first = self.now - hands_on if self.now - self.want.since >= hands_on else -1.0
        return sum([max(0.0, self.holds - one.level + (one.since <= first and self._comes_soon(one))) for one in self.rivals])

    def _comes_soon(self, one: Want) -> bool:
        """One that has places comes when a call of its own ends: nobody knows when."""
        return one.level > 0 or one.until - KNOWN - self.now <= (self.now - one.since) / SOON

    def take(self, in_flight: float, *, more: bool) -> tuple[float, float]:
        """It has one more, of so many in flight by now. What is left for it besides, and when it looks again if that is nothing.

        more: whether it wants more.
        """
        self.holds += 1
        if self.holds > self.want.level:
            self.want.level, self.want.since = self.holds, self.now
        self.gave = self.holds < self.want.level
        left, at = self.left(in_flight), self.now
        if not more:
            self.places.wants.pop(self.process, None)
        elif left == 0:
            at = self._looks_at()
            self._known(at + KNOWN)
        return left, at

    def give_up(self) -> float:
        """There is none for it. When it looks again."""
        if self.holds < self.want.level:
            self.want.level, self.want.since = self.holds, self.now
        at = self._looks_at()
        self._known(at + KNOWN)
        return at

    def _looks_at(self) -> float:
        """With its part of the places: by itself, should no call of its own end before. With less: in turn with others, in step with the
        ends of calls, or as seldom as the others where all places are with processes that hand theirs on."""
        levels = [one.level for one in self.rivals]
        richest, full = max(levels, default=0.0), sum(levels) + self.holds >= self.room
        fair = richest <= self.holds + 1
        if fair and self.holds > 0:
            return self.now + (LOOKS_IN if full and richest <= self.holds else LOOKS)
        at, apart = max(self.now + self.stride, self.places.look), self.stride + HANDS_ON / (8 * self.room)
        self.places.look = math.ceil(at + (max(apart, LOOKS / (1 + levels.count(0.0))) if fair and full else apart))
        return at

    def _known(self, until: float) -> None:
        self.places.stride = self.stride
        self.want.until = until
        self.places.wants[self.process] = self.want

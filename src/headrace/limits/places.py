"""Places for concurrent calls, when processes want more than the limit has: decides who gets one that is freed.

`admit.lua` has the same, line for line. Eventually all processes that want places hold the same number, and those that
want fewer hold what they want. A process whose own call ends keeps the place for its next caller, unless another
waiting process holds fewer: it asks in the same round trip that reports the end, so none is made in vain. An
indivisible remainder rotates: a process with one more than others reuses it for a while, and then leaves it to them. A
process without a place cannot be notified, so one is left to it only shortly before it polls: the sooner it polls, or
the longer it has waited, the more certainly. Times are whole microseconds of the store's clock.
"""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

from headrace.limits.sliding_log import EPSILON

HANDS_ON: Final = 2_000_000.0
"""For how long a process reuses its only place while others have none."""
SPARE_HANDS_ON: Final = 5_000_000.0
"""For how long it reuses one place more than others have."""
LOOKS: Final = 2_800_000.0
"""Longest time between two polls of a process while a place may be left to it or freed unnoticed. The poll carries its
heartbeat, which is due as often."""
LOOKS_IN: Final = 10_000_000.0
"""Longest time between two polls if no other process holds more and all holders want more themselves, unless a call of
its own ends before."""
KNOWN: Final = 2_000_000.0
"""For how long a process that wants a place is waited for after it was due."""
SOON: Final = 8
"""A place is left to a process without one if it polls within this fraction of the time that it has waited."""


class Want(Struct):
    """A process that wants more places than it holds."""

    level: float
    """Places that it holds, including those whose calls have ended since its last request."""
    since: float
    """Since when it holds that many, or no more than that."""
    until: float = 0.0
    """When it is forgotten, unless it asks again."""


class Places:
    """The claims of all processes on one account."""

    def __init__(self) -> None:
        self.wants: dict[str, Want] = {}
        self.look = 0.0
        """Earliest time of the next poll in the rotation."""
        self.stride = 0.0
        """Time between two polls of the rotation, from the last process whose own call had ended, since it knows how
        long calls take."""

    def claimant(self, process: str, holds: float, room: float, stride: float, now: float) -> Claimant:
        """A process that asks now. room: all places; stride: see `Places`."""
        self.wants = {name: want for name, want in self.wants.items() if want.until > now}
        rivals = [want for name, want in self.wants.items() if name != process]
        want = self.wants.get(process) or Want(holds, now)
        gave = holds < want.level
        room, stride = max(1, math.floor(room + EPSILON)), stride if gave or not self.stride else self.stride
        return Claimant(self, process, holds, room, stride, now, want, rivals, gave)


class Claimant(Struct):
    """A process that asks for a place, and its rivals."""

    places: Places
    process: str
    holds: float
    room: float
    stride: float
    now: float
    want: Want
    rivals: list[Want]
    gave: bool
    """Whether a call of its own has ended since its last request."""

    def left(self, in_flight: float) -> float:
        """Places it may take: one at a time if others want some."""
        free = self.room - in_flight - self._left_to_rivals()
        return max(0.0, min(1.0, free) if self.rivals else free)

    def _left_to_rivals(self) -> float:
        """Places left to others: to each rival with fewer, as many as make both equal.

        To an equal rival the next place, if this process has reused its own for long enough and the rival has waited as
        long; or if this process came so much later that the rival is next by any order.
        """
        hands_on = SPARE_HANDS_ON if self.holds > 0 else HANDS_ON
        first = self.want.since - len(self.rivals) * (hands_on / self.room + 2 * self.stride)
        if self.gave:
            first = self.now - hands_on if self.now - self.want.since >= hands_on else -1.0
        return sum([max(0.0, self.holds - one.level + (one.since <= first and self._comes_soon(one))) for one in self.rivals])

    def _comes_soon(self, one: Want) -> bool:
        """A process that holds places asks when a call of its own ends, which cannot be predicted."""
        return one.level > 0 or one.until - KNOWN - self.now <= (self.now - one.since) / SOON

    def take(self, in_flight: float, *, more: bool) -> tuple[float, float]:
        """Take one place.

        in_flight: all calls in flight including this one. Returns what more it may take, and when it polls again if
        nothing.

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
        """Record that it got no place. Returns when it polls again."""
        if self.holds < self.want.level:
            self.want.level, self.want.since = self.holds, self.now
        at = self._looks_at()
        self._known(at + KNOWN)
        return at

    def _looks_at(self) -> float:
        """When to poll again.

        With a fair share of the places: rarely, in case no call of its own ends before. With less: in rotation with
        others, in step with the ends of calls, or as rarely as the others if all places are held by processes that
        rotate them.
        """
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

"""The line before a store: who was let through here and may yet be sent back, and who of them may ask."""

from __future__ import annotations

from collections import deque
from typing import Any

from msgspec import Struct

from headrace.errors import HeadraceError, NeverFits
from headrace.limits.ask import Candidate
from headrace.limits.lock import Lock
from headrace.limits.members import Reservation, Waiting
from headrace.limits.scheduler import Match
from headrace.limits.usher import Usher
from headrace.ports import Clock, Waiter


class SharedUsher(Usher):
    """Remembers whom it let in from the line, for as long as the store may still send him back."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.places: dict[int, Waiting] = {}
        """Where those stood who were let through from the line and have not heard from the store."""
        self.by_share = False
        """Whether limits are our share of what they really are."""

    def serve(self, waiting: Waiting, found: Match, decided: tuple[Candidate, ...], now: float) -> None:
        super().serve(waiting, found, decided, now)
        if waiting.granted is not None:
            self.places[waiting.granted.id] = waiting

    def never(self, waiting: Waiting) -> HeadraceError | None:
        """While only our share counts, a call that is larger than it waits for the store."""
        error = super().never(waiting)
        return None if self.by_share and isinstance(error, NeverFits) else error

    def heard(self, reservation: Reservation) -> None:
        """The store let it pass, or it is over."""
        self.places.pop(reservation.id, None)

    def put_back(self, reservation: Reservation) -> None:
        """The store refused it: its tenant has had no turn."""
        place = self.places.pop(reservation.id, None)
        if place is not None:
            place.group.line.refund(place)


class Turns:
    """Those who ask the store about one quota: a few at once. When one is refused, those who wait behind it need not ask."""

    __slots__ = ("_asking", "_line")

    def __init__(self) -> None:
        self._asking = 0
        self._line: deque[_Waiting] = deque()

    def __len__(self) -> int:
        """Those who wait."""
        return len(self._line)

    async def may_ask(self, most: int, clock: Clock, lock: Lock) -> bool:
        """Wait until fewer than `most` ask. False when it is in vain by then; True: `asked` has to follow."""
        with lock:
            if self._asking < most:
                self._asking += 1
                return True
            mine = _Waiting(clock.waiter())
            self._line.append(mine)
        try:
            await mine.waiter.wait(None)
        except BaseException:
            with lock:
                if mine.called:
                    self._next()
                elif mine in self._line:
                    self._line.remove(mine)
            raise
        return mine.called

    def asked(self, *, in_vain: bool) -> None:
        """One has heard. Its caller holds the lock."""
        while in_vain and self._line:
            self._line.pop().waiter.wake()  # the last first: each goes to the front of its line
        self._next()

    def _next(self) -> None:
        if self._line:
            following = self._line.popleft()
            following.called = True
            following.waiter.wake()
        else:
            self._asking -= 1


class _Waiting(Struct, eq=False):
    """One that waits to ask."""

    waiter: Waiter
    called: bool = False

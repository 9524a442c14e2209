"""Admission with a shared store: calls admitted here may still be refused by the store, and only a few ask it at once."""

from __future__ import annotations

from collections import deque
from typing import Any

from msgspec import Struct

from headrace.errors import HeadraceError, NeverFits
from headrace.limits.admission import Admission
from headrace.limits.ask import Candidate
from headrace.limits.lock import Lock
from headrace.limits.members import Reservation, Waiting
from headrace.limits.scheduler import Match
from headrace.ports import Clock, Waiter


class SharedAdmission(Admission):
    """Remembers which calls it admitted from the queue until the store has confirmed them."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.places: dict[int, Waiting] = {}
        """Places of calls that were admitted from the queue and have not heard from the store, by reservation id."""
        self.by_share = False
        """Whether limits are reduced to this process's share."""

    def serve(self, waiting: Waiting, found: Match, decided: tuple[Candidate, ...], now: float) -> None:
        super().serve(waiting, found, decided, now)
        if waiting.granted is not None:
            self.places[waiting.granted.id] = waiting

    def never(self, waiting: Waiting) -> HeadraceError | None:
        """As in `Admission`, but None for a call that exceeds only the share: it waits for the store."""
        error = super().never(waiting)
        return None if self.by_share and isinstance(error, NeverFits) else error

    def heard(self, reservation: Reservation) -> None:
        """The store admitted the call, or the call is over."""
        self.places.pop(reservation.id, None)

    def put_back(self, reservation: Reservation) -> None:
        """The store refused the call: its tenant's virtual time goes back."""
        place = self.places.pop(reservation.id, None)
        if place is not None:
            place.group.line.refund(place)


class Turns:
    """Limits how many calls ask the store about one quota at once.

    If one is refused, those that wait behind it need not ask.
    """

    __slots__ = ("_asking", "_line")

    def __init__(self) -> None:
        self._asking = 0
        self._line: deque[_Waiting] = deque()

    def __len__(self) -> int:
        """The number of waiting calls."""
        return len(self._line)

    async def may_ask(self, most: int, clock: Clock, lock: Lock) -> bool:
        """Wait until fewer than `most` ask. False if asking has become pointless; after True, `asked` must be called."""
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
        """A question was answered. Callers hold the lock."""
        while in_vain and self._line:
            self._line.pop().waiter.wake()  # the last first, because each goes to the front of its queue
        self._next()

    def _next(self) -> None:
        if self._line:
            following = self._line.popleft()
            following.called = True
            following.waiter.wake()
        else:
            self._asking -= 1


class _Waiting(Struct, eq=False):
    """A call that waits to ask."""

    waiter: Waiter
    called: bool = False

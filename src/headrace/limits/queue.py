"""The line before a model group: higher classes first, within a class every tenant in turn by what it has been served."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from msgspec import Struct


class Priority(enum.IntEnum):
    """Classes of calls. A higher class is always served first; a share of every limit is kept for interactive calls."""

    INTERACTIVE = 0
    NORMAL = 1
    BATCH = 2


class Place(Struct, eq=False, gc=True):
    """What the line needs to know of one that waits in it."""

    tenant: str
    weight: float
    priority: int
    cost: float
    """In tokens: what serving it counts against its tenant's turn."""
    gone: bool = False
    bypassed: int = 0


P = TypeVar("P", bound=Place)


class FairQueue(Generic[P]):
    """Start-time fair queueing: whoever has been served least, for its weight, is next.

    A tenant that was away comes back at the present turn: nobody saves up turns. Leaving is marking: a place that is
    `gone` is skipped when its turn comes.
    """

    __slots__ = ("_classes", "_length", "_present", "_served")

    def __init__(self) -> None:
        self._classes: dict[int, dict[str, deque[P]]] = {}
        self._served: dict[str, float] = {}
        """Virtual time of each tenant: cost served so far over weight."""
        self._present = 0.0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, place: P) -> None:
        tenants = self._classes.setdefault(place.priority, {})
        line = tenants.get(place.tenant)
        if line is None:
            line = tenants[place.tenant] = deque()
            self._served[place.tenant] = max(self._served.get(place.tenant, 0.0), self._present)
        line.append(place)
        self._length += 1

    def leave(self, place: P) -> None:
        """Give a place up. Idempotent."""
        if not place.gone:
            place.gone = True
            self._length -= 1

    def serve(self, place: P) -> None:
        """A place is served: its tenant's turn moves on."""
        self.leave(place)
        turn = max(self._served.get(place.tenant, 0.0), self._present)
        self._served[place.tenant] = turn + place.cost / place.weight
        self._present = max(self._present, turn)

    def first(self, count: int) -> list[P]:
        """The next `count` places in the order in which they should be served."""
        found: list[P] = []
        for priority in sorted(self._classes):
            tenants = self._classes[priority]
            self._sweep(tenants)
            found.extend(self._in_turn(tenants, count - len(found)))
            if len(found) >= count:
                break
        return found

    def all(self) -> Iterator[P]:
        """Everybody who waits, in no particular order between tenants."""
        for tenants in self._classes.values():
            for line in tenants.values():
                yield from (place for place in line if not place.gone)

    def _sweep(self, tenants: dict[str, deque[P]]) -> None:
        """Drop the fronts of lines that have left, and tenants with no one left."""
        for tenant in list(tenants):
            line = tenants[tenant]
            while line and line[0].gone:
                line.popleft()
            if not line:
                del tenants[tenant]
                if self._served.get(tenant, 0.0) <= self._present and not any(tenant in other for other in self._classes.values()):
                    self._served.pop(tenant, None)

    def _in_turn(self, tenants: dict[str, deque[P]], count: int) -> Iterator[P]:
        """Merge the tenants' lines by virtual time."""
        if len(tenants) == 1:
            yield from _living(next(iter(tenants.values())), count)
            return
        turns = {tenant: self._served.get(tenant, 0.0) for tenant in tenants}
        lines = {tenant: _living(line, count) for tenant, line in tenants.items()}
        for _ in range(count):
            tenant = min(turns, key=turns.__getitem__, default=None)
            while tenant is not None and (place := next(lines[tenant], None)) is None:
                del turns[tenant]
                tenant = min(turns, key=turns.__getitem__, default=None)
            if tenant is None:
                return
            assert place is not None
            turns[tenant] += place.cost / place.weight
            yield place


def _living(line: deque[P], count: int) -> Iterator[P]:
    for place in line:
        if not place.gone:
            yield place
            count -= 1
            if count <= 0:
                return

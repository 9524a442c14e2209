"""The line before a model group: higher classes first, within a class every tenant in turn by what it has been served."""

from __future__ import annotations

import enum
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heapreplace
from itertools import islice
from typing import Generic, TypeVar

from msgspec import Struct


class Priority(enum.IntEnum):
    """Classes of calls. A higher class is always served first; a share of every limit is kept for interactive calls."""

    INTERACTIVE = 0
    NORMAL = 1
    BATCH = 2


class Place(Struct, eq=False):
    """What the line needs to know of one that waits in it."""

    tenant: str
    weight: float
    priority: int
    cost: float
    """In tokens: what serving it counts against its tenant's turn."""
    gone: bool = False
    bypassed: int = 0
    """Times that one behind it was served."""


P = TypeVar("P", bound=Place)


class Tenant(Generic[P]):
    """One tenant's own line within a class."""

    __slots__ = ("cost", "line", "turn")

    def __init__(self, turn: float) -> None:
        self.line: OrderedDict[P, None] = OrderedDict()
        self.turn = turn
        """Virtual time: cost served so far, over weight. Whoever has the least is next."""
        self.cost = 0.0
        """Of all who wait in it, over their weights."""


class FairQueue(Generic[P]):
    """Start-time fair queueing: whoever has been served least, for its weight, is next.

    A tenant that was away comes back at the present turn: nobody saves up turns. Joining, leaving and serving cost the same
    however many wait.
    """

    __slots__ = ("_away", "_classes", "_length", "_present")

    def __init__(self) -> None:
        self._classes: dict[int, _Class[P]] = {}
        self._away: OrderedDict[str, float] = OrderedDict()
        """Turns of tenants that wait for nothing now, but have been served ahead of the present turn."""
        self._present = 0.0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, place: P, *, first: bool = False) -> None:
        """Join the line: at the end of its tenant's, or at the front."""
        ranks = self._classes.get(place.priority)
        if ranks is None:
            ranks = self._classes[place.priority] = _Class()
            self._classes = dict(sorted(self._classes.items()))
        tenant = ranks.tenants.get(place.tenant)
        if tenant is None:
            tenant = Tenant(max(self._away.pop(place.tenant, 0.0), self._present))
            ranks.enter(place.tenant, tenant)
        tenant.line[place] = None
        if first:
            tenant.line.move_to_end(place, last=False)
        tenant.cost += place.cost / place.weight
        self._length += 1

    def leave(self, place: P) -> None:
        """Give a place up. Idempotent."""
        if place.gone:
            return
        place.gone = True
        self._length -= 1
        ranks = self._classes[place.priority]
        tenant = ranks.tenants[place.tenant]
        del tenant.line[place]
        tenant.cost -= place.cost / place.weight
        if not tenant.line:
            ranks.exit(place.tenant, tenant)
            self._remember(place.tenant, tenant.turn)

    def serve(self, place: P) -> None:
        """A place is served: its tenant's turn moves on."""
        ranks = self._classes[place.priority]
        tenant = ranks.tenants[place.tenant]
        self._present = max(self._present, tenant.turn)
        ranks.move(place.tenant, tenant, tenant.turn + place.cost / place.weight)
        self.leave(place)

    def _remember(self, name: str, turn: float) -> None:
        """An absent tenant's turn matters until the present has passed it."""
        if turn > self._present:
            self._away[name] = max(turn, self._away.get(name, 0.0))
        while self._away and next(iter(self._away.values())) <= self._present:
            self._away.popitem(last=False)

    def first(self, count: int) -> list[P]:
        """The next `count` places in the order in which they should be served."""
        found: list[P] = []
        for ranks in self._classes.values():
            found.extend(ranks.first(count - len(found)))
            if len(found) >= count:
                break
        return found

    def all(self) -> Iterator[P]:
        """Everybody who waits, in no particular order between tenants."""
        for ranks in self._classes.values():
            for tenant in ranks.tenants.values():
                yield from tenant.line

    def ahead_of(self, name: str, weight: float, priority: int, cost: float) -> tuple[float, float]:
        """How many are served before one who would join now, and what they cost."""
        count = total = 0.0
        for rank, ranks in self._classes.items():
            if rank < priority:
                count += sum(len(tenant.line) for tenant in ranks.tenants.values())
                total += sum(tenant.cost for tenant in ranks.tenants.values())
        ranks_here = self._classes.get(priority)
        if ranks_here is None or not ranks_here.tenants:
            return count, total
        own = ranks_here.tenants.get(name)
        turn = own.turn + own.cost if own is not None else max(self._away.get(name, 0.0), self._present)
        for tenant in ranks_here.tenants.values():
            part = 1.0 if tenant is own else min(1.0, max(0.0, turn - tenant.turn) / max(tenant.cost, 1e-9))
            count += part * len(tenant.line)
            total += part * tenant.cost
        return count, total


class _Class(Generic[P]):
    """The tenants of one class, those with someone waiting sorted by turn."""

    __slots__ = ("_order", "tenants")

    def __init__(self) -> None:
        self.tenants: dict[str, Tenant[P]] = {}
        self._order: list[tuple[float, str]] = []

    def enter(self, name: str, tenant: Tenant[P]) -> None:
        self.tenants[name] = tenant
        insort(self._order, (tenant.turn, name))

    def exit(self, name: str, tenant: Tenant[P]) -> None:
        del self.tenants[name]
        del self._order[bisect_left(self._order, (tenant.turn, name))]

    def move(self, name: str, tenant: Tenant[P], turn: float) -> None:
        del self._order[bisect_left(self._order, (tenant.turn, name))]
        tenant.turn = turn
        insort(self._order, (turn, name))

    def first(self, count: int) -> Iterable[P]:
        """Merge the tenants' lines by virtual time."""
        if not self._order:
            return ()
        if len(self._order) == 1:
            return islice(self.tenants[self._order[0][1]].line, count)
        return self._merge(count)

    def _merge(self, count: int) -> Iterator[P]:
        heap = [(turn, name, iter(self.tenants[name].line)) for turn, name in self._order[:count]]
        heapify(heap)
        while heap and count > 0:
            turn, name, line = heap[0]
            place = next(line, None)
            if place is None:
                heappop(heap)
                continue
            heapreplace(heap, (turn + place.cost / place.weight, name, line))
            count -= 1
            yield place

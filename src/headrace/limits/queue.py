"""The line before a model group: higher classes first, within a class every tenant in turn by what it has been served."""

from __future__ import annotations

import enum
import sys
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from heapq import heapify, heappop, heappush, heapreplace, merge
from itertools import islice
from operator import attrgetter
from typing import Final, Generic, TypeAlias, TypeVar

from msgspec import Struct


class Priority(enum.IntEnum):
    """Classes of calls. A higher class is always served first; a share of every limit is kept for interactive calls."""

    INTERACTIVE = 0
    NORMAL = 1
    BATCH = 2


NOBODY: Final = sys.maxsize
PATIENCE: Final = 8
"""Places of one lane that are found shut before the rest of the lane is passed over."""
BY_NUMBER: Final = attrgetter("number")


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
    lane: Hashable = None
    """What it waits for besides the deployments' limits: others of its lane wait for the same, and nobody else does for them."""
    number: int = 0
    """Its place in its tenant's line."""


P = TypeVar("P", bound=Place)
Shut: TypeAlias = Callable[[P], bool]
"""Whether somebody cannot be served now, whatever room the deployments have."""


class Tenant(Generic[P]):
    """One tenant's own line within a class."""

    __slots__ = ("cost", "count", "lanes", "turn")

    def __init__(self, turn: float) -> None:
        self.lanes: dict[Hashable, OrderedDict[P, None]] = {}
        self.count = 0
        self.turn = turn
        """Virtual time: cost served so far, over weight. Whoever has the least is next."""
        self.cost = 0.0
        """Of all who wait in it, over their weights."""

    def enter(self, place: P, first: bool) -> None:
        line = self.lanes.get(place.lane)
        if line is None:
            line = self.lanes[place.lane] = OrderedDict()
        line[place] = None
        if first:
            line.move_to_end(place, last=False)
        self.count += 1
        self.cost += place.cost / place.weight

    def exit(self, place: P) -> None:
        line = self.lanes[place.lane]
        del line[place]
        if not line:
            del self.lanes[place.lane]
        self.count -= 1
        self.cost -= place.cost / place.weight

    def places(self, shut: Shut[P] | None = None) -> Iterator[P]:
        """Who waits, in order, but for those who are shut out."""
        lanes = [iter(line) if shut is None or lane is None else _open(line, shut) for lane, line in self.lanes.items()]
        return lanes[0] if len(lanes) == 1 else merge(*lanes, key=BY_NUMBER)


def _open(line: Iterable[P], shut: Shut[P]) -> Iterator[P]:
    """The places of a lane that are not shut out; none any more once several in turn were."""
    found = 0
    for place in line:
        if not shut(place):
            found = 0
            yield place
        elif (found := found + 1) >= PATIENCE:
            return


class Crowd:
    """All who wait, in however many lines."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0


class FairQueue(Generic[P]):
    """Start-time fair queueing: whoever has been served least, for its weight, is next.

    A tenant that was away comes back at the present turn: nobody saves up turns. Joining, leaving and serving cost the same
    however many wait.
    """

    __slots__ = ("_back", "_classes", "_crowd", "_front", "first_class", "length")

    def __init__(self, crowd: Crowd | None = None) -> None:
        """crowd: that of several lines."""
        self._crowd = crowd or Crowd()
        self._classes: dict[int, _Class[P]] = {}
        self.length = self._front = self._back = 0
        self.first_class = NOBODY
        """The highest class in which somebody waits, by its number; a lower one than any when nobody does."""

    def __len__(self) -> int:
        return self.length

    def push(self, place: P, *, first: bool = False) -> None:
        """Join the line: at the end of its tenant's, or at the front."""
        ranks = self._classes.get(place.priority)
        if ranks is None:
            ranks = self._classes[place.priority] = _Class()
            self._classes = dict(sorted(self._classes.items()))
        tenant = ranks.tenants.get(place.tenant)
        if tenant is None:
            tenant = ranks.enter(place.tenant)
        if place.priority < self.first_class:
            self.first_class = place.priority
        if first:
            self._front -= 1
        else:
            self._back += 1
        place.number = self._front if first else self._back
        tenant.enter(place, first)
        self.length += 1
        self._crowd.size += 1

    def leave(self, place: P) -> None:
        """Give a place up. Idempotent."""
        if place.gone:
            return
        place.gone = True
        self.length -= 1
        self._crowd.size -= 1
        ranks = self._classes[place.priority]
        tenant = ranks.tenants[place.tenant]
        tenant.exit(place)
        if not tenant.count:
            ranks.exit(place.tenant, tenant)
            if not ranks.tenants:
                self.first_class = next((rank for rank, others in self._classes.items() if others.tenants), NOBODY)

    def serve(self, place: P) -> None:
        """A place is served: its tenant's turn moves on."""
        ranks = self._classes[place.priority]
        tenant = ranks.tenants[place.tenant]
        ranks.present = max(ranks.present, tenant.turn)
        ranks.move(place.tenant, tenant, tenant.turn + place.cost / place.weight)
        self.leave(place)

    def refund(self, place: P) -> None:
        """Somebody was served in vain: his tenant's turn goes back."""
        ranks = self._classes.get(place.priority)
        tenant = None if ranks is None else ranks.tenants.get(place.tenant)
        if ranks is not None and tenant is not None:
            ranks.move(place.tenant, tenant, tenant.turn - place.cost / place.weight)

    def first(self, count: int, shut: Shut[P] | None = None) -> list[P]:
        """The next `count` places in the order in which they should be served, but for those who are shut out."""
        found: list[P] = []
        for ranks in self._classes.values():
            found.extend(ranks.first(count - len(found), shut))
            if len(found) >= count:
                break
        return found

    def all(self) -> Iterator[P]:
        """Everybody who waits, in no particular order between tenants."""
        for ranks in self._classes.values():
            for tenant in ranks.tenants.values():
                for line in tenant.lanes.values():
                    yield from line

    def ahead_of(self, name: str, weight: float, priority: int, cost: float) -> tuple[float, float]:
        """How many are served before one who would join now, and what they cost."""
        count = total = 0.0
        for rank, ranks in self._classes.items():
            if rank < priority:
                count += sum(tenant.count for tenant in ranks.tenants.values())
                total += sum(tenant.cost for tenant in ranks.tenants.values())
        ranks_here = self._classes.get(priority)
        if ranks_here is None or not ranks_here.tenants:
            return count, total
        own = ranks_here.tenants.get(name)
        turn = own.turn + own.cost if own is not None else ranks_here.turn_of(name)
        for tenant in ranks_here.tenants.values():
            part = 1.0 if tenant is own else min(1.0, max(0.0, turn - tenant.turn) / max(tenant.cost, 1e-9))
            count += part * tenant.count
            total += part * tenant.cost
        return count, total


class _Class(Generic[P]):
    """The tenants of one class, those with someone waiting sorted by turn. Turns of one class say nothing of another."""

    __slots__ = ("_away", "_order", "present", "tenants")

    def __init__(self) -> None:
        self.tenants: dict[str, Tenant[P]] = {}
        self.present = 0.0
        self._order: list[tuple[float, str]] = []
        self._away: OrderedDict[str, float] = OrderedDict()
        """Turns of tenants that wait for nothing now, but have been served ahead of the present turn."""

    def turn_of(self, name: str) -> float:
        """Where a tenant who waits for nothing would come in."""
        return max(self._away.get(name, 0.0), self.present)

    def enter(self, name: str) -> Tenant[P]:
        tenant = self.tenants[name] = Tenant(self.turn_of(name))
        self._away.pop(name, None)
        insort(self._order, (tenant.turn, name))
        return tenant

    def exit(self, name: str, tenant: Tenant[P]) -> None:
        del self.tenants[name]
        del self._order[bisect_left(self._order, (tenant.turn, name))]
        self._remember(name, tenant.turn)

    def _remember(self, name: str, turn: float) -> None:
        """An absent tenant's turn matters until the present has passed it."""
        if turn > self.present:
            self._away[name] = turn
        while self._away and next(iter(self._away.values())) <= self.present:
            self._away.popitem(last=False)

    def move(self, name: str, tenant: Tenant[P], turn: float) -> None:
        del self._order[bisect_left(self._order, (tenant.turn, name))]
        tenant.turn = turn
        insort(self._order, (turn, name))

    def first(self, count: int, shut: Shut[P] | None) -> Iterable[P]:
        """Merge the tenants' lines by virtual time."""
        if not self._order:
            return ()
        if len(self._order) == 1:
            return islice(self.tenants[self._order[0][1]].places(shut), count)
        return self._merge(count, shut)

    def _merge(self, count: int, shut: Shut[P] | None) -> Iterator[P]:
        heap = [(turn, name, self.tenants[name].places(shut)) for turn, name in self._order[:count]]
        later = islice(self._order, count, None)
        heapify(heap)
        while heap and count > 0:
            turn, name, line = heap[0]
            place = next(line, None)
            if place is None:
                heappop(heap)
                follower = next(later, None) if shut is not None else None
                if follower is not None:
                    heappush(heap, (*follower, self.tenants[follower[1]].places(shut)))
                continue
            heapreplace(heap, (turn + place.cost / place.weight, name, line))
            count -= 1
            yield place

"""The fair queue of a model group: by priority class, and within a class by how much each tenant has been served."""

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
    """Priority classes. A higher class is always served first; a share of every limit is reserved for interactive calls."""

    INTERACTIVE = 0
    NORMAL = 1
    BATCH = 2


NOBODY: Final = sys.maxsize
PATIENCE: Final = 8
"""Consecutive blocked places of one lane after which the rest of the lane is skipped."""
BY_NUMBER: Final = attrgetter("number")


class Place(Struct, eq=False):
    """What the queue needs to know about a waiting call."""

    tenant: str
    weight: float
    priority: int
    cost: float
    """In tokens: what serving it adds to its tenant's virtual time."""
    gone: bool = False
    bypassed: int = 0
    """How often a call behind it was served first."""
    lane: Hashable = None
    """What it waits for besides the deployments' limits. All places of one lane wait for the same."""
    number: int = 0
    """Its order within its tenant's queue."""


P = TypeVar("P", bound=Place)
Shut: TypeAlias = Callable[[P], bool]
"""Whether a call cannot be served now, whatever room the deployments have."""


class Tenant(Generic[P]):
    """One tenant's queue within a class."""

    __slots__ = ("cost", "count", "lanes", "turn")

    def __init__(self, turn: float) -> None:
        self.lanes: dict[Hashable, OrderedDict[P, None]] = {}
        self.count = 0
        self.turn = turn
        """Virtual time: the cost served so far, over weight. The tenant with the least is next."""
        self.cost = 0.0
        """Of all its waiting calls, over their weights."""

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
        """Waiting calls in order, without blocked ones."""
        lanes = [iter(line) if shut is None or lane is None else _open(line, shut) for lane, line in self.lanes.items()]
        return lanes[0] if len(lanes) == 1 else merge(*lanes, key=BY_NUMBER)


def _open(line: Iterable[P], shut: Shut[P]) -> Iterator[P]:
    """The places of a lane that are not blocked; stops after several consecutive blocked ones."""
    found = 0
    for place in line:
        if not shut(place):
            found = 0
            yield place
        elif (found := found + 1) >= PATIENCE:
            return


class Crowd:
    """Counts the waiting calls of several queues."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0


class FairQueue(Generic[P]):
    """Start-time fair queueing: the tenant that has been served least for its weight is next.

    A tenant that was away returns at the current virtual time: turns cannot be saved up. The cost of joining, leaving
    and serving does not depend on how many wait.
    """

    __slots__ = ("_back", "_classes", "_crowd", "_front", "first_class", "length")

    def __init__(self, crowd: Crowd | None = None) -> None:
        """crowd: counts the waiting calls of several queues."""
        self._crowd = crowd or Crowd()
        self._classes: dict[int, _Class[P]] = {}
        self.length = self._front = self._back = 0
        self.first_class = NOBODY
        """The number of the highest class with waiting calls; `NOBODY` if there are none."""

    def __len__(self) -> int:
        return self.length

    def push(self, place: P, *, first: bool = False) -> None:
        """Join the queue: at the end of its tenant's, or at the front."""
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
        """Remove a place. Idempotent."""
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
        """Serve a place: its tenant's virtual time advances."""
        ranks = self._classes[place.priority]
        tenant = ranks.tenants[place.tenant]
        ranks.present = max(ranks.present, tenant.turn)
        ranks.move(place.tenant, tenant, tenant.turn + place.cost / place.weight)
        self.leave(place)

    def refund(self, place: P) -> None:
        """Undo the advance of virtual time for a call that was served in vain."""
        ranks = self._classes.get(place.priority)
        tenant = None if ranks is None else ranks.tenants.get(place.tenant)
        if ranks is not None and tenant is not None:
            ranks.move(place.tenant, tenant, tenant.turn - place.cost / place.weight)

    def first(self, count: int, shut: Shut[P] | None = None) -> list[P]:
        """The next `count` places in order, without blocked ones."""
        found: list[P] = []
        for ranks in self._classes.values():
            found.extend(ranks.first(count - len(found), shut))
            if len(found) >= count:
                break
        return found

    def all(self) -> Iterator[P]:
        """All waiting calls, in no particular order between tenants."""
        for ranks in self._classes.values():
            for tenant in ranks.tenants.values():
                for line in tenant.lanes.values():
                    yield from line

    def ahead_of(self, name: str, weight: float, priority: int, cost: float) -> tuple[float, float]:
        """How many waiting calls would be served before one that joins now, and their total cost."""
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
    """The tenants of one class; those with waiting calls are sorted by virtual time.

    Classes have independent virtual times.
    """

    __slots__ = ("_away", "_order", "present", "tenants")

    def __init__(self) -> None:
        self.tenants: dict[str, Tenant[P]] = {}
        self.present = 0.0
        self._order: list[tuple[float, str]] = []
        self._away: OrderedDict[str, float] = OrderedDict()
        """Virtual times of absent tenants that are ahead of the present."""

    def turn_of(self, name: str) -> float:
        """The virtual time at which an absent tenant would return."""
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
        """Remember an absent tenant's virtual time until the present has passed it."""
        if turn > self.present:
            self._away[name] = turn
        while self._away and next(iter(self._away.values())) <= self.present:
            self._away.popitem(last=False)

    def move(self, name: str, tenant: Tenant[P], turn: float) -> None:
        del self._order[bisect_left(self._order, (tenant.turn, name))]
        tenant.turn = turn
        insort(self._order, (turn, name))

    def first(self, count: int, shut: Shut[P] | None) -> Iterable[P]:
        """Merge the tenants' queues by virtual time."""
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

"""What this process saw of its calls in the last quarter of an hour: counted while they end, put together when somebody looks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.gateway.page.histogram import Histogram, total
from headrace.gateway.records import Ledger, Outcome, Record
from headrace.routing.events import Event

SPAN: Final = 10.0
"""Seconds of a slot."""
SLOTS: Final = 90
MOST_CALLS: Final = 200
"""Recent calls that are shown one by one."""
MOST_TENANTS: Final = 50
"""Of a group's queue, those with the most calls in it."""


class Slot(Struct, eq=False):
    """Calls of one group to one deployment that ended within `SPAN` seconds."""

    at: int
    calls: int = 0
    failed: int = 0
    left: int = 0
    tokens: int = 0
    cost: int = 0
    """Nano-dollars."""
    waited: Histogram = msgspec.field(default_factory=Histogram)
    first: Histogram = msgspec.field(default_factory=Histogram)
    """To a stream's first chunk, from when the call came in."""
    total: Histogram = msgspec.field(default_factory=Histogram)

    def count(self, record: Record) -> None:
        self.calls += 1
        if record.outcome is not Outcome.ANSWERED:
            self.failed += record.outcome is Outcome.FAILED
            self.left += record.outcome is Outcome.LEFT
        self.tokens += int(sum(record.usage.values()))
        self.cost += record.cost or 0
        self.waited.add(record.waited)
        self.total.add(record.ended - record.began)
        if record.first is not None:
            self.first.add(record.first - record.began)


class Seen(Struct, frozen=True, eq=False):
    """A call that has ended, and how it came about."""

    record: Record
    decision: Mapping[str, Any] | None


class Watch:
    """A ledger that remembers a little while, in front of the one that remembers for good.

    `hear` is for `headrace.subscribe`: from it the watch knows who waits in line, and why a call went where it did.
    """

    def __init__(self, ledger: Ledger, *, now: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._extend: Callable[[Sequence[Record]], None] | None = getattr(ledger, "extend", None)
        self._now = now
        self.began = now()
        self._slots: dict[tuple[str, str], deque[Slot]] = {}
        self._recent: deque[Seen] = deque(maxlen=MOST_CALLS)
        self.names: dict[str, str] = {}
        """What keys are called that have called."""
        self._lines: dict[str, dict[int, tuple[str, float]]] = {}
        """Group → call → (whose, since when by the Router's clock)."""

    def append(self, record: Record, decision: Mapping[str, Any] | None = None) -> None:
        self._ledger.append(record)
        self.see(Seen(record, decision))

    def keep(self, records: Sequence[Record]) -> None:
        """Several calls that ended in one moment, written down together where the ledger can. They are yet to be seen."""
        if self._extend is not None:
            self._extend(records)
            return
        for record in records:
            self._ledger.append(record)

    def see(self, seen: Seen) -> None:
        """A call that the ledger has."""
        record = seen.record
        self._recent.append(seen)
        if record.name:
            self.names[record.key] = record.name
        self._slot(record).count(record)

    def hear(self, event: Event) -> None:
        if event.kind == "queued":
            self._lines.setdefault(event.group, {})[event.call] = (event.tenant, event.at)
        elif line := self._lines.get(event.group):
            line.pop(event.call, None)

    def _slot(self, record: Record) -> Slot:
        at = int(record.ended / SPAN)
        slots = self._slots.setdefault((record.group, record.deployment), deque(maxlen=SLOTS))
        if not slots or slots[-1].at < at:
            slots.append(Slot(at))
        return slots[-1]

    # ---- looking -----------------------------------------------------------------------------------------------------

    def recent(self) -> Iterator[Seen]:
        """The latest calls, the last one first."""
        return reversed(list(self._recent))

    def line(self, group: str) -> list[dict[str, Any]]:
        """Who waits for a group: `{tenant, waiting, longest}`, the most of them first; longest: seconds by now."""
        waiting: dict[str, list[float]] = {}
        for tenant, since in list(self._lines.get(group, {}).values()):
            waiting.setdefault(tenant, []).append(since)
        now = time.monotonic()  # the clock of the real Router's world
        told = [
            {"tenant": self.names.get(tenant, tenant), "waiting": len(since), "longest": max(0.0, now - min(since))}
            for tenant, since in waiting.items()
        ]
        return sorted(told, key=lambda one: -int(one["waiting"]))[:MOST_TENANTS]  # type: ignore[call-overload]

    def series(self, group: str) -> dict[str, list[Any]]:
        """A group's quarter of an hour, by slots: the moments of their ends, and what was seen in each. None: nothing was."""
        last = int(self._now() / SPAN)
        found: dict[int, list[Slot]] = {}
        for slot in self._of(group):
            found.setdefault(slot.at, []).append(slot)
        every = range(last - SLOTS + 1, last + 1)
        return {
            "at": [(at + 1) * SPAN for at in every],
            "calls": [sum(slot.calls for slot in found.get(at, ())) for at in every],
            "failed": [sum(slot.failed for slot in found.get(at, ())) for at in every],
            "tokens": [sum(slot.tokens for slot in found.get(at, ())) for at in every],
            "waited": [total(slot.waited for slot in found.get(at, ())).quantile(0.95) for at in every],
            "first": [total(slot.first for slot in found.get(at, ())).quantile(0.5) for at in every],
            "total": [total(slot.total for slot in found.get(at, ())).quantile(0.5) for at in every],
        }

    def sums(self, group: str, deployment: str | None = None) -> dict[str, Any]:
        """What a group, or one of its deployments, did in the quarter of an hour. Seconds; cost in nano-dollars."""
        slots = list(self._of(group, deployment))
        return {
            "calls": sum(slot.calls for slot in slots),
            "failed": sum(slot.failed for slot in slots),
            "left": sum(slot.left for slot in slots),
            "tokens": sum(slot.tokens for slot in slots),
            "cost": sum(slot.cost for slot in slots),
            "waited": _spread(total(slot.waited for slot in slots)),
            "first": _spread(total(slot.first for slot in slots)),
            "total": _spread(total(slot.total for slot in slots)),
        }

    def _of(self, group: str, deployment: str | None = None) -> Iterator[Slot]:
        oldest = int(self._now() / SPAN) - SLOTS
        for (name, served), slots in list(self._slots.items()):
            if name == group and deployment in (None, served):
                yield from [slot for slot in slots if slot.at > oldest]


def _spread(seen: Histogram) -> dict[str, float | None]:
    return {"p50": seen.quantile(0.5), "p95": seen.quantile(0.95)}

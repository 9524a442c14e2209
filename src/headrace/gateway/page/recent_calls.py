"""What this process saw of its calls in the last 15 minutes: collected as they end, aggregated when the page is viewed."""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.errors import AuthenticationError
from headrace.gateway.page.histogram import Histogram, total
from headrace.gateway.records import Ledger, Outcome, Record
from headrace.routing.events import Event

log: Final = logging.getLogger("headrace.gateway")

SPAN: Final = 10.0
"""Seconds per slot."""
SLOTS: Final = 90
MOST_CALLS: Final = 200
"""Recent calls that are shown individually."""
MOST_NAMES: Final = 10_000
"""Names of keys that are remembered."""
MOST_UNCOUNTED: Final = 256
AGAIN: Final = 600.0
"""Seconds after which the warning about a refused key of a deployment is repeated."""
MOST_TENANTS: Final = 50
"""Tenants of a group's queue that are shown, those with the most calls first."""


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
    """From the arrival of a call to the first chunk of its stream."""
    total: Histogram = msgspec.field(default_factory=Histogram)

    def count(self, records: Sequence[Record]) -> None:
        """Add calls to the slot."""
        outcomes = [record.outcome for record in records]
        self.calls += len(records)
        self.failed += outcomes.count(Outcome.FAILED)
        self.left += outcomes.count(Outcome.LEFT)
        self.tokens += int(sum([sum(record.usage.values()) for record in records]))
        self.cost += sum([record.cost or 0 for record in records])
        self.waited.add([record.waited for record in records])
        self.total.add([record.ended - record.began for record in records])
        self.first.add([record.first - record.began for record in records if record.first is not None])


class Seen(Struct, frozen=True, eq=False):
    """A finished call, and the routing decision for it."""

    record: Record
    decision: Mapping[str, Any] | None


class RecentCalls:
    """A `Ledger` that remembers recent calls and forwards them all to the permanent one.

    `hear` is for `headrace.subscribe`: it provides the calls in the queues, and refusals of deployments' keys.
    """

    def __init__(self, ledger: Ledger, *, now: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._extend: Callable[[Sequence[Record]], None] | None = getattr(ledger, "extend", None)
        self._now = now
        self.began = now()
        self._slots: dict[tuple[str, str], deque[Slot]] = {}
        self._recent: deque[Seen] = deque(maxlen=MOST_CALLS)
        self._uncounted: list[Record] = []
        """Calls not yet added to their slots. They are added together, when the page is viewed or when there are many."""
        self._names: dict[str, str] = {}
        self._lines: dict[str, dict[int, tuple[str, float]]] = {}
        """Group → call → (tenant, time it was queued by the Router's clock)."""
        self._told: dict[str, float] = {}
        """Deployments whose key was refused, and when that was last logged."""

    def append(self, record: Record, decision: Mapping[str, Any] | None = None) -> None:
        """Write a call to the ledger, and take it in."""
        self._ledger.append(record)
        self.see((Seen(record, decision),))

    def keep(self, records: Sequence[Record]) -> None:
        """Write several calls to the ledger, in one write if it can. They still have to be passed to `see`."""
        if self._extend is not None:
            self._extend(records)
            return
        for record in records:
            self._ledger.append(record)

    def see(self, seen: Sequence[Seen]) -> None:
        """Take in calls that are in the ledger."""
        self._recent.extend(seen)
        self._uncounted += [one.record for one in seen]
        if len(self._uncounted) >= MOST_UNCOUNTED:
            self._count()

    def hear(self, event: Event) -> None:
        """Take an event of the Router: calls that are queued, and refused keys of deployments."""
        if event.kind == "queued":
            self._lines.setdefault(event.group, {})[event.call] = (event.tenant, event.at)
        elif line := self._lines.get(event.group):
            line.pop(event.call, None)
        if event.kind == "settled" and isinstance(event.error, AuthenticationError):
            self._tell_of_key(event)

    def _tell_of_key(self, event: Event) -> None:
        """Log it, as the caller cannot fix a deployment's key, and would take the refusal to be of its own key."""
        deployment = event.deployment or ""
        if self._now() - self._told.get(deployment, -AGAIN) >= AGAIN:
            self._told[deployment] = self._now()
            where = (event.provider, event.group, deployment, event.model)
            log.warning("%s refuses the key of %r (deployment %s, %s): correct its api_key", *where)

    def _count(self) -> None:
        alike: dict[tuple[str, str, int], list[Record]] = defaultdict(list)
        for record in self._uncounted:
            alike[record.group, record.deployment, int(record.ended / SPAN)].append(record)
            if record.name:
                self._names[record.key] = record.name
        self._uncounted.clear()
        if len(self._names) > MOST_NAMES:
            self._names.clear()  # keys in use are added again with their next calls
        for (group, deployment, at), records in alike.items():
            self._slot(group, deployment, at).count(records)

    def _slot(self, group: str, deployment: str, at: int) -> Slot:
        slots = self._slots.setdefault((group, deployment), deque(maxlen=SLOTS))
        if not slots or slots[-1].at < at:
            slots.append(Slot(at))
        return slots[-1]

    # ---- views -------------------------------------------------------------------------------------------------------

    @property
    def names(self) -> Mapping[str, str]:
        """The names of keys that have made calls, by id."""
        self._count()
        return self._names

    def recent(self) -> Iterator[Seen]:
        """The latest calls, newest first."""
        return reversed(list(self._recent))

    def line(self, group: str) -> list[dict[str, Any]]:
        """The queue of a group: `{tenant, waiting, longest}`, tenants with the most calls first.

        longest: seconds waited so far.
        """
        waiting: dict[str, list[float]] = {}
        for tenant, since in list(self._lines.get(group, {}).values()):
            waiting.setdefault(tenant, []).append(since)
        names, now = self.names, time.monotonic()  # the Router's clock
        told = [
            {"tenant": names.get(tenant, tenant), "waiting": len(since), "longest": max(0.0, now - min(since))}
            for tenant, since in waiting.items()
        ]
        return sorted(told, key=lambda one: -int(one["waiting"]))[:MOST_TENANTS]  # type: ignore[call-overload]

    def series(self, group: str) -> dict[str, list[Any]]:
        """The last 15 minutes of a group, by slot: the slots' end times, and the figures of each. None if there were no calls."""
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
        """Totals of a group, or of one of its deployments, for the last 15 minutes. Times in seconds, cost in nano-dollars."""
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
        self._count()
        oldest = int(self._now() / SPAN) - SLOTS
        for (name, served), slots in list(self._slots.items()):
            if name == group and deployment in (None, served):
                yield from [slot for slot in slots if slot.at > oldest]


def _spread(seen: Histogram) -> dict[str, float | None]:
    return {"p50": seen.quantile(0.5), "p95": seen.quantile(0.95)}

"""Statistics on the provider's side, independent of what a client reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from headrace.simulator.enforce import Enforcer


class Stats:
    """Counts of one provider since `since` on its clock."""

    def __init__(self, now: float) -> None:
        self.in_flight = 0
        self.reset(now)

    def reset(self, now: float) -> None:
        """Reset the counts; requests in flight stay in flight."""
        self.since = now
        self.requests = 0
        self.admitted = 0
        self.finished = 0
        self.left = 0
        self.max_in_flight = self.in_flight
        self.prompt_tokens = 0
        self.output_tokens = 0
        self.rejected: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()

    def enter(self, prompt_tokens: int) -> None:
        self.admitted += 1
        self.prompt_tokens += prompt_tokens
        self.in_flight += 1
        if self.in_flight > self.max_in_flight:
            self.max_in_flight = self.in_flight

    def leave(self, *, left: bool) -> None:
        self.in_flight -= 1
        if left:
            self.left += 1
        else:
            self.finished += 1

    def report(self, now: float, quotas: Sequence[tuple[str, Enforcer]]) -> dict[str, Any]:
        """All counts as JSON values. `quotas`: each enforcer with its name."""
        seconds = now - self.since
        return {
            "seconds": round(seconds, 6),
            "requests": self.requests,
            "admitted": self.admitted,
            "finished": self.finished,
            "left": self.left,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "rejected": dict(self.rejected),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "faults": dict(self.faults),
            "tokens": {"prompt": self.prompt_tokens, "output": self.output_tokens},
            "limits": [row for quota, enforcer in quotas for row in _limits(quota, enforcer, seconds, now)],
            "saturated": _saturated([enforcer for _, enforcer in quotas]),
        }


def _limits(quota: str, enforcer: Enforcer, seconds: float, now: float) -> list[dict[str, Any]]:
    """Every limit: `limit` and `peak` per window (of a bucket: its capacity), `charged` in total, `use` as a share of
    what was possible."""
    rows = []
    for gauge in enforcer.gauges:
        possible = gauge.per_minute * seconds / 60
        row = {"quota": quota, "name": gauge.rule.name, "shape": gauge.rule.shape, "limit": round(gauge.meter.limit, 3)}
        row |= {"peak": round(gauge.meter.peak, 3), "room": round(gauge.meter.room(now), 3), "charged": round(gauge.total, 3)}
        rows.append({**row, "use": round(gauge.total / possible, 4) if possible else 0.0})
    if enforcer.concurrency is not None:
        rows.append({"quota": quota, "name": "concurrency", "limit": enforcer.concurrency, "peak": enforcer.peak_in_flight})
    return rows


def _saturated(enforcers: Sequence[Enforcer]) -> dict[str, Any]:
    """Whole minutes in which a limit was binding (a refusal, or nine tenths used), and the mean use of the binding limit."""
    minutes, use, by = 0, 0.0, Counter[str]()
    for enforcer in enforcers:
        found = enforcer.saturation
        minutes += found.minutes
        use += found.use
        by.update(found.by)
    return {"minutes": minutes, "use": round(use / minutes, 4) if minutes else None, "by": dict(by)}

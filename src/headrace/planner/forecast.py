"""The results of a simulation in virtual time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct


class Waits(Struct, frozen=True):
    """How long calls waited for room, in seconds: from being requested to being sent."""

    mean: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    longest: float = 0.0


def waits_of(waited: Sequence[float], at_once: int) -> Waits:
    """Statistics from the waits of calls that waited, and the number of those that did not."""
    if not waited:
        return Waits()
    ranked = sorted(waited)
    count = at_once + len(ranked)

    def quantile(share: float) -> float:
        rank = max(0, -int(-share * count // 1) - 1) - at_once
        return ranked[rank] if rank >= 0 else 0.0

    return Waits(sum(ranked) / count, quantile(0.50), quantile(0.95), quantile(0.99), ranked[-1])


class LimitUse(Struct, frozen=True):
    """One limit of one account, over the whole run."""

    deployment: str
    """The deployment; several that share the account are joined by " + "."""
    limit: str
    amount: int
    window: float
    """Seconds; 0 for calls in flight."""
    use: float
    """Used share of what it allowed until the last call was sent, as its provider counts."""
    peak: float
    """The highest used share."""
    binding: float
    """Share of the time until the last call was sent during which calls waited because of this limit."""


class Series(Struct, frozen=True):
    """The run in slices of equal length."""

    width: float
    """Seconds of a slice."""
    waiting: tuple[float, ...]
    """Calls in the queue, averaged over each slice."""
    use: Mapping[str, tuple[float, ...]]
    """By deployment and limit: the used share of the limit in its window up to the end of each slice."""


class Forecast(Struct, frozen=True):
    """What would become of the jobs."""

    calls: int
    completed: int
    never_fit: int
    """Calls larger than a limit of every deployment that serves them: refused at once."""
    example: str
    """The error message of the first of those."""
    provider_429s: int
    finish: float
    """Seconds until the last response ended."""
    last_asked: float
    """Second at which the last call was requested."""
    waits: Waits
    tenants: Mapping[str, Waits]
    most_waiting: int
    reserved: float
    """Mean output limit of the calls, in tokens."""
    long_answer: int
    """The 99th percentile of response lengths, in tokens."""
    served: Mapping[str, int]
    """Calls by deployment."""
    limits: tuple[LimitUse, ...]
    series: Series

    @property
    def binding(self) -> tuple[LimitUse, ...]:
        """Limits that held calls back, the one that did so longest first."""
        return tuple(sorted((limit for limit in self.limits if limit.binding > 0), key=lambda limit: -limit.binding))

    def model_dump(self) -> dict[str, Any]:
        """The forecast as plain values for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

"""What a run in virtual time showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct


class Waits(Struct, frozen=True):
    """How long calls waited for room, in seconds: between being asked for and being sent."""

    mean: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    longest: float = 0.0


def waits_of(waited: Sequence[float], at_once: int) -> Waits:
    """From the waits of those who waited, and the number of those who did not."""
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
    """The deployment, several joined by " + " where they share the account."""
    limit: str
    amount: int
    window: float
    """Seconds; 0 for what is in flight."""
    use: float
    """Share of what it allowed until the last call was sent, as its provider counts."""
    peak: float
    """The fullest it was, as a share."""
    binding: float
    """Share of the time until the last call was sent in which calls waited and this limit was why this deployment took none."""


class Series(Struct, frozen=True):
    """The run in slices of equal length."""

    width: float
    """Seconds of a slice."""
    waiting: tuple[float, ...]
    """Calls in line, the mean of each slice."""
    use: Mapping[str, tuple[float, ...]]
    """By deployment and limit: what had been used of the limit in its window up to the end of the slice, as a share."""


class Forecast(Struct, frozen=True):
    """What would become of the jobs."""

    calls: int
    completed: int
    never_fit: int
    """Calls larger than a limit of every deployment that serves them: refused at once."""
    example: str
    """What was said to the first of those."""
    provider_429s: int
    finish: float
    """Seconds until the last answer was there."""
    last_asked: float
    """Second at which the last call was asked for."""
    waits: Waits
    tenants: Mapping[str, Waits]
    most_waiting: int
    reserved: float
    """Tokens of an answer that calls asked for at most, in the mean."""
    long_answer: int
    """Tokens than which 99 in 100 answers are no longer."""
    served: Mapping[str, int]
    """Calls by deployment."""
    limits: tuple[LimitUse, ...]
    series: Series

    @property
    def binding(self) -> tuple[LimitUse, ...]:
        """The limits that held calls back, the one that did so longest first."""
        return tuple(sorted((limit for limit in self.limits if limit.binding > 0), key=lambda limit: -limit.binding))

    def model_dump(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

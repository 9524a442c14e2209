"""Which deployment is better for a call: pure functions, each giving a deployment's cost for one call. Lower is better.

A strategy is asked among deployments that have room now; the limiter keeps the limits whatever the strategy prefers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from msgspec import Struct

Prefer: TypeAlias = Callable[[str], float]
"""Deployment id → cost."""


class Load(Struct, eq=False):
    """What the router has seen of one deployment."""

    weight: float = 1.0
    running: int = 0
    latency: float | None = None
    """Seconds, exponentially weighted: to the first chunk of a stream, else to the whole answer."""

    def observe(self, seconds: float, share: float = 0.3) -> None:
        self.latency = seconds if self.latency is None else (1 - share) * self.latency + share * seconds


class View(Struct, frozen=True):
    """What a strategy may look at."""

    loads: Mapping[str, Load]
    random: Callable[[], float]
    """Numbers from [0, 1)."""


def simple_shuffle(view: View) -> Prefer:
    """Random in proportion to weight: the smallest of exponential draws with rate `weight` wins with probability weight/sum."""

    def cost(deployment: str) -> float:
        weight = view.loads[deployment].weight
        return -math.log(1.0 - view.random()) / weight if weight > 0 else math.inf

    return cost


def least_busy(view: View) -> Prefer:
    """Fewest calls in flight for its weight; ties fall at random."""
    return lambda deployment: (view.loads[deployment].running + view.random()) / max(view.loads[deployment].weight, 1e-9)


def lowest_latency(view: View) -> Prefer:
    """Smoothed latency times the calls in flight (peak EWMA); an untried deployment is tried first."""

    def cost(deployment: str) -> float:
        load = view.loads[deployment]
        return (load.latency or 0.0) * (load.running + 1) + view.random() * 1e-6

    return cost


STRATEGIES: Final[Mapping[str, Callable[[View], Prefer] | None]] = {
    "headroom": None,  # the limiter's own choice: most room left, and the scarce unit to whoever has it to spare
    "usage-based-routing": None,
    "usage-based-routing-v2": None,
    "simple-shuffle": simple_shuffle,
    "least-busy": least_busy,
    "latency-based-routing": lowest_latency,
}
"""By name; litellm's spellings included. None leaves the choice to the limiter."""

"""Which deployment is better for a call: pure functions, each giving a deployment's cost for one call. Lower is better.

A strategy is asked among deployments that have room now; the limiter keeps the limits whatever the strategy prefers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from msgspec import Struct

from headrace.models.cost import Rates

Prefer: TypeAlias = Callable[[str], float]
"""Deployment id → cost."""


class Load(Struct, eq=False):
    """What the router has seen of one deployment."""

    weight: float = 1.0
    running: int = 0
    latency: float | None = None
    """Seconds to the whole answer, exponentially weighted."""
    first: float | None = None
    """Seconds to the first chunk of a stream, likewise."""
    rates: Rates | None = None
    """What it costs, where that is known."""

    def observe(self, seconds: float, stream: bool, share: float = 0.3) -> None:
        if stream:
            self.first = _smoothed(self.first, seconds, share)
        else:
            self.latency = _smoothed(self.latency, seconds, share)


def _smoothed(known: float | None, seconds: float, share: float) -> float:
    """Moves to a longer time at once and to a shorter one by `share`: a slow deployment is left on its first slow answer (peak EWMA)."""
    return seconds if known is None or seconds > known else (1 - share) * known + share * seconds


class View(Struct, frozen=True):
    """What a strategy may look at."""

    loads: Mapping[str, Load]
    random: Callable[[], float]
    """Numbers from [0, 1)."""
    stream: bool = False
    """Whether the call wants a stream: then the time to its first chunk is what counts."""
    input: int = 0
    """Tokens of its prompt, as estimated."""
    output: int = 0
    """Tokens its answer may have."""


Strategy: TypeAlias = Callable[[View], Prefer]
"""Called once for a call, then once for each deployment that has room."""


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
        seconds = load.first if view.stream and load.first is not None else load.latency
        return (seconds or 0.0) * (load.running + 1) + view.random() * 1e-6

    return cost


def lowest_cost(view: View) -> Prefer:
    """The cheapest for this call; one whose prices nobody knows comes last, ties fall at random."""

    def cost(deployment: str) -> float:
        rates = view.loads[deployment].rates
        return view.random() * 1e-9 + (rates.most(view.input, view.output) if rates is not None else 1e30)

    return cost


STRATEGIES: Final[Mapping[str, Strategy | None]] = {
    "headroom": None,  # the limiter's own choice: most room left, and the scarce unit to whoever has it to spare
    "usage-based-routing": None,
    "usage-based-routing-v2": None,
    "simple-shuffle": simple_shuffle,
    "least-busy": least_busy,
    "latency-based-routing": lowest_latency,
    "cost-based-routing": lowest_cost,
    "prefix-affinity": None,
    "session-affinity": None,
}
"""By name; litellm's spellings included. None leaves the choice to the limiter; those called affinity go first where a conversation was
served before."""

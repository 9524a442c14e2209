"""Load balancing strategies: pure functions that give each deployment's cost for one call. Lower is better.

A strategy chooses among deployments that have room now; the limiter enforces the limits whatever the strategy prefers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from headrace.models.cost import Rates

Prefer: TypeAlias = Callable[[str], float]
"""Deployment id → cost."""


SHARE: Final = 0.3


class Load(Struct, eq=False):
    """What the Router has observed of one deployment."""

    weight: float = 1.0
    running: int = 0
    latency: float | None = None
    """Seconds to the whole response, exponentially weighted."""
    first: float | None = None
    """Seconds to the first chunk of a stream, likewise."""
    rates: Rates | None = None
    """Its prices, if known and needed."""
    seen: float = 0.0
    """Clock seconds of the latest response."""
    share: float = SHARE
    """Weight of the newest response in the averages."""

    def observe(self, seconds: float, stream: bool, now: float = 0.0) -> None:
        """Update the averages: up to a longer time at once, down to a shorter one by `share` (peak EWMA).

        So one slow response is enough to avoid a deployment.
        """
        self.seen = now
        known = self.first if stream else self.latency
        if known is not None and seconds < known:
            seconds = (1 - self.share) * known + self.share * seconds
        if stream:
            self.first = seconds
        else:
            self.latency = seconds

    def at_least(self, seconds: float, stream: bool) -> None:
        """Record an attempt given up after that time: its response would have taken longer."""
        if stream:
            self.first = max(self.first or 0.0, seconds)
        else:
            self.latency = max(self.latency or 0.0, seconds)


class View(Struct, frozen=True):
    """What a strategy may look at."""

    loads: Mapping[str, Load]
    random: Callable[[], float]
    """Random numbers from [0, 1)."""
    stream: bool = False
    """Whether the call streams: then the time to the first chunk counts."""
    input: int = 0
    """Estimated tokens of the prompt."""
    output: int = 0
    """Tokens that the response may have."""
    group: Sequence[str] = ()
    """Deployments of the group."""
    now: float = 0.0
    """Clock seconds."""


Strategy: TypeAlias = Callable[[View], Prefer]
"""Called once for each call; the result is called for each deployment that has room."""


def simple_shuffle(view: View) -> Prefer:
    """Random in proportion to weight.

    The smallest of exponential draws with rate `weight` wins with probability weight/sum.
    """

    def cost(deployment: str) -> float:
        weight = view.loads[deployment].weight
        return -math.log(1.0 - view.random()) / weight if weight > 0 else math.inf

    return cost


def least_busy(view: View) -> Prefer:
    """Fewest calls in flight relative to weight; ties are broken at random."""
    return lambda deployment: (view.loads[deployment].running + view.random()) / max(view.loads[deployment].weight, 1e-9)


class Latency(Struct, frozen=True):
    """Smoothed latency times the calls in flight (peak EWMA); untried deployments come first.

    The fields are litellm's `routing_strategy_args`.
    """

    lowest_latency_buffer: float = 0.0
    """A deployment counts as equal to the fastest of its group if it is slower by at most this share."""
    ttl: float = 3600.0
    """Seconds after which observations of a deployment are forgotten."""
    max_latency_list_size: float = 0
    """Number of responses that the average covers, roughly; 0 means six."""

    def __call__(self, view: View) -> Prefer:
        equal = self._least(view) * (1 + self.lowest_latency_buffer) if self.lowest_latency_buffer else -1.0

        def cost(deployment: str) -> float:
            seconds = self._seconds(view, deployment)
            return view.random() * 1e-6 + (0.0 if seconds <= equal else seconds)

        return cost

    def _least(self, view: View) -> float:
        return min([self._seconds(view, deployment) for deployment in view.group], default=0.0)

    def _seconds(self, view: View, deployment: str) -> float:
        load = view.loads[deployment]
        if view.now - load.seen > self.ttl:
            return 0.0
        seconds = load.first if view.stream and load.first is not None else load.latency
        return (seconds or 0.0) * (load.running + 1)

    @property
    def share(self) -> float:
        """Weight of the newest response in the average."""
        return 2 / (self.max_latency_list_size + 1) if self.max_latency_list_size else SHARE


lowest_latency: Final = Latency()


def lowest_cost(view: View) -> Prefer:
    """The cheapest for this call. Deployments without a known price come last; ties are broken at random."""

    def cost(deployment: str) -> float:
        rates = view.loads[deployment].rates
        return view.random() * 1e-9 + (rates.most(view.input, view.output) if rates is not None else 1e30)

    return cost


STRATEGIES: Final[Mapping[str, Strategy | None]] = {
    "headroom": None,  # the limiter's own choice: most room left, while sparing scarce limits
    "usage-based-routing": None,
    "usage-based-routing-v2": None,
    "simple-shuffle": simple_shuffle,
    "least-busy": least_busy,
    "latency-based-routing": lowest_latency,
    "cost-based-routing": lowest_cost,
    "prefix-affinity": None,
    "session-affinity": None,
}
"""Strategies by name, including litellm's spellings. None leaves the choice to the limiter; the affinities first prefer
the deployment that served a conversation before."""

LATENCY: Final = frozenset({"latency-based-routing"})
"""Strategies that accept litellm's latency arguments."""

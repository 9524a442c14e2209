"""Which deployment a strategy prefers."""

from __future__ import annotations

import random
from collections import Counter

from headrace.routing.strategies import STRATEGIES, Load, View, least_busy, lowest_latency, simple_shuffle


def choices(strategy: object, loads: dict[str, Load], draws: int = 4000) -> Counter[str]:
    seeded = random.Random(7)
    view = View(loads, seeded.random)
    return Counter(min(loads, key=strategy(view)) for _ in range(draws))  # type: ignore[operator]


def test_a_shuffle_follows_the_weights() -> None:
    drawn = choices(simple_shuffle, {"a": Load(weight=6), "b": Load(weight=3), "c": Load(weight=1), "never": Load(weight=0)})
    assert drawn["never"] == 0
    assert abs(drawn["a"] / 4000 - 0.6) < 0.03
    assert abs(drawn["b"] / 4000 - 0.3) < 0.03


def test_the_least_busy_for_its_weight_is_taken_and_ties_are_shared() -> None:
    assert choices(least_busy, {"a": Load(running=3), "b": Load(running=1)})["a"] == 0
    assert choices(least_busy, {"small": Load(weight=1, running=2), "large": Load(weight=10, running=5)})["small"] == 0
    tied = choices(least_busy, {"a": Load(), "b": Load()})
    assert abs(tied["a"] - tied["b"]) < 400


def test_the_fastest_is_taken_until_it_is_crowded_and_the_untried_first() -> None:
    fast, slow = Load(latency=0.1), Load(latency=0.3)
    assert choices(lowest_latency, {"fast": fast, "slow": slow})["slow"] == 0
    assert choices(lowest_latency, {"fast": Load(latency=0.1, running=5), "slow": slow})["fast"] == 0
    assert choices(lowest_latency, {"fast": fast, "untried": Load()})["fast"] == 0


def test_latency_follows_what_is_seen() -> None:
    load = Load(share=0.5)
    for seconds in (2.0, 1.0):
        load.observe(seconds, stream=False)
    assert load.latency == 1.5
    load.observe(4.0, stream=False)
    assert load.latency == 4.0, "a slower answer counts at once"
    load.observe(0.1, stream=True)
    assert (load.latency, load.first) == (4.0, 0.1)


def test_litellms_names_are_known() -> None:
    assert {"simple-shuffle", "least-busy", "usage-based-routing", "usage-based-routing-v2", "latency-based-routing"} <= STRATEGIES.keys()

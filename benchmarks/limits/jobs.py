"""The mixed jobs of the headline benchmark, its deployments, and the minimum time in which anyone could serve them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, permutations
from typing import Any

from headrace.limits.meter_settings import MeterSettings
from headrace.simulator.model import count_tokens
from headrace.simulator.openai_api import MESSAGE_TOKENS

KINDS = ("bucket", "fixed", "sliding", "10s", "1s", "bucket5")
SHORT = {"10s": 10.0, "1s": 1.0}
"""Seconds of the additional window for requests."""
WORDS = ("water", "mill", "wheel", "race", "sluice", "weir", "stone", "grain", "flour", "river", "gate", "level", "stream", "flow")
SIZES = ((0.5, 40, 80), (0.35, 160, 240), (0.15, 700, 500))
"""Share of the jobs, words of the prompt, maximum output tokens."""


@dataclass(frozen=True)
class Place:
    """A deployment: requests and tokens per minute."""

    name: str
    rpm: float
    tpm: float


PLACES = (Place("north", 60, 60_000), Place("east", 200, 30_000), Place("west", 40, 45_000))
"""Unequal on purpose: east has requests to spare, west tokens."""


@dataclass(frozen=True)
class Job:
    prompt: str
    max_tokens: int
    tokens: int
    """Tokens reserved by a provider: prompt plus max_tokens."""


def mixed(count: int, seed: int = 1) -> list[Job]:
    """`count` jobs of unequal size, the same for every client."""
    rng, jobs = random.Random(seed), []
    for number in range(count):
        _, words, most = rng.choices(SIZES, [share for share, _, _ in SIZES])[0]
        prompt = f"Job {number}: " + " ".join(rng.choices(WORDS, k=round(words * rng.uniform(0.6, 1.4))))
        max_tokens = round(most * rng.uniform(0.8, 1.2))
        jobs.append(Job(prompt, max_tokens, tokens_of(prompt) + max_tokens))
    return jobs


def tokens_of(prompt: str) -> int:
    """The prompt's tokens as the simulator counts them: a quarter of its characters plus those per message."""
    return count_tokens(len(prompt)) + MESSAGE_TOKENS


def optimum(jobs: Sequence[Job], places: Sequence[Place] = PLACES, grain: int = 60) -> float:
    """Seconds in which all jobs fit under the limits' rates, with optimal assignment.

    In the optimum each deployment gets jobs of neighbouring sizes (the prices of a request and a token form a line over
    size for each deployment, and the lower envelope of lines has one stretch for each). So: sort by size, cut into as
    many stretches as there are deployments, in every order. Cuts are tried in `grain` steps and then one by one around
    the best.
    """
    sums = [0, *accumulate(sorted(job.tokens for job in jobs))]
    best = min((_best_cuts(sums, order, grain) for order in permutations(places)), key=lambda found: found[0])
    return best[0]


def sustained(kind: str, places: Sequence[Place] = PLACES, settings: MeterSettings | None = None) -> tuple[Place, ...]:
    """The rates that the deployments sustain without a refusal, whoever calls.

    Requests that arrive within a window of w seconds may have been sent within w plus the spread of travel times, which
    is not known beforehand (headrace's allowance is used): so at most w / (w + spread) of a limit is usable, in whole
    requests per window.
    """
    settings = settings or MeterSettings()
    share = 60 / (60 + settings.spread) if kind in ("fixed", "sliding", *SHORT) else 1.0
    return tuple([replace(place, rpm=min(place.rpm * share, _short(kind, place, settings)), tpm=place.tpm * share) for place in places])


def _short(kind: str, place: Place, settings: MeterSettings) -> float:
    """Requests per minute that a short window sustains."""
    if kind not in SHORT:
        return math.inf
    window = SHORT[kind]
    return 60 * max(1, math.floor(place.rpm * window / 60)) / (window + settings.short_spread)


def _best_cuts(sums: Sequence[int], order: Sequence[Place], grain: int) -> tuple[float, tuple[int, int]]:
    first, second, third = order
    count = len(sums) - 1

    def seconds(one: int, two: int) -> float:
        stretches = ((first, 0, one), (second, one, two), (third, two, count))
        return max(60 * max((end - begin) / place.rpm, (sums[end] - sums[begin]) / place.tpm) for place, begin, end in stretches)

    step = max(1, count // grain)
    coarse = min((seconds(one, two), (one, two)) for one in range(0, count + 1, step) for two in range(one, count + 1, step))
    near = [range(max(0, cut - step), min(count, cut + step) + 1) for cut in coarse[1]]
    return min((seconds(one, two), (one, two)) for one in near[0] for two in near[1] if one <= two)


def simulator(kind: str) -> dict[str, Any]:
    """The simulator's configuration for one kind of enforcement."""
    shape: dict[str, Any] = {
        "bucket": {"enforcer": "bucket", "burst": 60},
        "fixed": {"enforcer": "fixed"},
        "sliding": {"enforcer": "sliding"},
        "10s": {"enforcer": "sliding", "windows": [SHORT["10s"]]},
        "1s": {"enforcer": "sliding", "windows": [SHORT["1s"]]},
        "bucket5": {"enforcer": "bucket", "burst": 5},
    }[kind]
    common = {"ttft": {"median": 0.2, "sigma": 0.4}, "gap": {"median": 0.002, "sigma": 0.3}, "accounting": "reserve", **shape}
    return {"seed": 7, "port": 0, "providers": [{"name": place.name, "rpm": place.rpm, "tpm": place.tpm, **common} for place in PLACES]}


def profile(kind: str) -> dict[str, Any]:
    """The provider's profile for that kind of enforcement, as its users would know it."""
    known: dict[str, Any] = {"accounting": "reserve", "request_burst": 60.0, "token_burst": 60.0}
    own: dict[str, dict[str, Any]] = {
        "10s": {"request_burst": None, "windows": [SHORT["10s"]]},
        "1s": {"request_burst": None, "windows": [SHORT["1s"]]},
        "bucket5": {"request_burst": 5.0, "token_burst": 5.0},
    }
    return known | own.get(kind, {})

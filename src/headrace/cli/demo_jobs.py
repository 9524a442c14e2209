"""Runs many jobs at once through one Router and records their outcomes."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from headrace.api import Router
from headrace.errors import HeadraceError

WORDS: Final = ("water", "mill", "wheel", "race", "sluice", "weir", "stone", "grain", "flour", "river", "gate", "level", "stream", "flow")

SIZES: Final = ((0.3, 30, 40), (0.5, 120, 120), (0.2, 400, 320))
"""Share of the jobs, words of the prompt, and maximum output tokens: short, everyday and long questions."""


@dataclass(frozen=True, slots=True)
class Job:
    prompt: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one job.

    waited: seconds in the queue before the attempt that succeeded; seconds: from request to response; failed: kinds of
    the failures on the way; error: empty for a completed job.
    """

    waited: float
    seconds: float = 0.0
    deployment: str = ""
    failed: tuple[str, ...] = ()
    error: str = ""


@dataclass(slots=True)
class Tally:
    """The jobs so far, updated as they finish."""

    total: int
    began: float = field(default_factory=time.monotonic)
    outcomes: list[Outcome] = field(default_factory=list)
    done_by: Counter[str] = field(default_factory=Counter)
    ended: float | None = None

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.began

    @property
    def completed(self) -> int:
        return sum(1 for outcome in self.outcomes if not outcome.error)

    @property
    def failovers(self) -> int:
        """Failed attempts that another deployment made good; a 429 is a wait, not a failure."""
        return sum(1 for outcome in self.outcomes for kind in outcome.failed if kind != "rate_limit")

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if outcome.deployment:
            self.done_by[outcome.deployment] += 1


def make_jobs(count: int, seed: int = 7) -> list[Job]:
    """`count` jobs of mixed size, the same for the same seed."""
    rng = random.Random(seed)
    shares = [share for share, _, _ in SIZES]
    jobs = []
    for number in range(count):
        ((_, words, answer),) = rng.choices(SIZES, shares)
        length = round(words * rng.uniform(0.6, 1.4))
        jobs.append(Job(f"Job {number}: " + " ".join(rng.choices(WORDS, k=length)), round(answer * rng.uniform(0.8, 1.2))))
    return jobs


async def run_jobs(router: Router, group: str, jobs: Sequence[Job], tally: Tally) -> None:
    """Run all jobs at once; the Router decides when and where each goes. Fills `tally`; exceptions of jobs are recorded, not raised."""
    tally.began = time.monotonic()
    await asyncio.gather(*(_run(router, group, job, tally) for job in jobs))
    tally.ended = time.monotonic()


async def _run(router: Router, group: str, job: Job, tally: Tally) -> None:
    began = time.monotonic()
    try:
        answer = await router.acompletion(group, [{"role": "user", "content": job.prompt}], max_tokens=job.max_tokens)
    except HeadraceError as error:
        spent = time.monotonic() - began
        tally.add(Outcome(spent, spent, error=f"{type(error).__name__}: {error}"))
        return
    record = answer._hidden_params["headrace"]
    spent = time.monotonic() - began
    tally.add(Outcome(record["waited"], spent, record["deployment"], tuple(kind for kind, _ in record["failed"])))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all values do not exceed; 0 without any."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-round(share * 1000) * len(ordered) // 1000) - 1))]


# ---- the providers' view ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """The simulator's statistics at one moment, and how many jobs were waiting then."""

    at: float
    waiting: int
    stats: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Use:
    """The share of its binding limit that a deployment's provider admitted while jobs were waiting.

    At most 1: burst capacity saved up earlier does not count.
    """

    deployment: str
    limit: str
    share: float
    seconds: float


OPENING: Final = 5.0
"""Seconds at the start excluded from runs shorter than a minute: the initial burst would inflate the figure."""

MINUTE: Final = 60.0


def uses(samples: Sequence[Sample], per_minute: Mapping[str, Mapping[str, float]]) -> list[Use]:
    """Use of each deployment's binding limit while jobs waited, by its provider's own count.

    A run of at least a minute is judged by its first whole minute, including the burst and the lull after it, since the
    limits are per minute; a shorter one from OPENING to the end of the queue.
    """
    busy = [sample for sample in samples if sample.waiting]
    whole = [sample for sample in busy if sample.at >= busy[0].at + MINUTE]
    busy = [busy[0], whole[0]] if whole else [sample for sample in busy if sample.at >= OPENING]
    if len(busy) < 2:
        return []
    return [_use(name, limits, busy[0], busy[-1]) for name, limits in per_minute.items()]


def _use(name: str, limits: Mapping[str, float], first: Sample, last: Sample) -> Use:
    seconds = _provider(last, name)["seconds"] - _provider(first, name)["seconds"]
    shares = {
        limit: (_charged(last, name, limit) - _charged(first, name, limit)) / (amount * seconds / 60) for limit, amount in limits.items()
    }
    binding = max(shares, key=shares.__getitem__)
    return Use(name, binding, min(1.0, shares[binding]), seconds)


def _provider(sample: Sample, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = sample.stats[name]
    return found


def _charged(sample: Sample, name: str, limit: str) -> float:
    return math.fsum(row["charged"] for row in _provider(sample, name)["limits"] if row["name"].startswith(f"{limit}/"))


def refused(stats: Mapping[str, Any]) -> int:
    """Number of 429s, by the providers' own count."""
    return sum(int(provider["statuses"].get("429", 0)) for provider in stats.values())

"""What-if analysis: runs the same jobs on a fleet with more room where it was short."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from headrace.limits import LimiterSettings, Unit
from headrace.planner.config import Fleet, Place
from headrace.planner.forecast import Forecast, LimitUse, Waits
from headrace.planner.jobs import Job
from headrace.planner.simulation import Pace, forecast

LEAST_BINDING: Final = 0.01
"""Share of the time below which a limit is not worth raising."""

WORTHWHILE: Final = 0.8
"""Share of the mean output limit above which a smaller max_tokens is not worth a run."""
STEP: Final = 50
"""Tokens to a multiple of which a max_tokens is rounded up."""


class WhatIf(Struct, frozen=True):
    """A change, and its results."""

    change: str
    finish: float
    waits: Waits
    provider_429s: int
    binding: str | None
    """What would hold calls back longest then: deployment and limit."""


class Change(Struct, frozen=True, eq=False):
    """An alternative fleet, or calls with a smaller output limit."""

    what: str
    fleet: Fleet
    max_tokens: int | None = None

    def applied(self, jobs: Iterable[Job]) -> Iterable[Job]:
        most = self.max_tokens
        if most is None:
            return jobs
        replace = msgspec.structs.replace
        return (replace(job, max_output=min(job.max_output, most), output=min(job.output, most), stated=True) for job in jobs)


def what_if(
    fleet: Fleet,
    jobs: Callable[[], Iterable[Job]],
    found: Forecast,
    *,
    pace: Pace | None = None,
    seed: int = 1,
    settings: LimiterSettings | None = None,
    most: int = 4,
) -> list[WhatIf]:
    """The results of up to `most` changes where `found` lacked room, each from a complete run.

    Empty if no limit held calls back. jobs: returns the same jobs on each call.
    """
    return [
        _tried(change.what, forecast(change.fleet, change.applied(jobs()), pace=pace, seed=seed, settings=settings))
        for change in changes(fleet, found)[:most]
    ]


def changes(fleet: Fleet, found: Forecast) -> list[Change]:
    """Candidate changes to the fleet or to the calls.

    One more deployment like the one held back longest; a smaller max_tokens if unused output fills a limit; and each
    limit that held calls back doubled, first on the account held back longest and then on all.
    """
    short = [limit for limit in found.binding if limit.binding >= LEAST_BINDING]
    if not short:
        return []
    raised = []
    for label in dict.fromkeys(limit.limit for limit in short):
        held = [limit for limit in short if limit.limit == label]
        raised += [_doubled(fleet, held[:1])] if len(held) == 1 else [_doubled(fleet, held[:1]), _doubled(fleet, held)]
    return [_another(fleet, short[0]), *_asking_less(fleet, found, short), *raised]


def _another(fleet: Fleet, held: LimitUse) -> Change:
    like = next(place for place in fleet.places if place.name in held.deployment.split(" + "))
    name = _free_name(like.name, fleet.places)
    place = msgspec.structs.replace(like, name=name, account=f"{like.account} | {name}")
    return Change(f"one more deployment like {like.name}", fleet.with_places([*fleet.places, place]))


def _asking_less(fleet: Fleet, found: Forecast, short: Sequence[LimitUse]) -> list[Change]:
    """A smaller max_tokens, where a provider reserves output that calls do not write."""
    enough = max(STEP, -(-found.long_answer // STEP) * STEP)
    if enough > WORTHWHILE * found.reserved or not any(_reserves(place, held) for held in short for place in fleet.places):
        return []
    return [Change(f"max_tokens {enough} (99 in 100 responses are no longer)", fleet, enough)]


def _reserves(place: Place, held: LimitUse) -> bool:
    """Whether unused output counts against the limit that held this deployment back."""
    if place.name not in held.deployment.split(" + ") or place.profile.accounting == "post":
        return False
    units = {Unit.OUTPUT, Unit.TOKENS} if place.profile.output_counts else {Unit.OUTPUT}
    return any(limit.unit in units for limit in place.limits if limit.label == held.limit)


def _free_name(name: str, places: Sequence[Place]) -> str:
    taken = {place.name for place in places}
    return next(found for number in range(2, len(places) + 3) if (found := f"{name} +{number - 1}") not in taken)


def _doubled(fleet: Fleet, held: Sequence[LimitUse]) -> Change:
    limit, by = held[0].limit, {name: one for one in held for name in one.deployment.split(" + ")}
    places = [_raised(place, limit) if place.name in by else place for place in fleet.places]
    what = f"{held[0].deployment}: {limit} {held[0].amount:,} → {2 * held[0].amount:,}"
    return Change(what if len(held) == 1 else f"{limit} doubled on {len(held)} accounts", fleet.with_places(places))


def _raised(place: Place, label: str) -> Place:
    limits = [msgspec.structs.replace(limit, amount=2 * limit.amount) if limit.label == label else limit for limit in place.limits]
    return msgspec.structs.replace(place, limits=tuple(limits))


def _tried(change: str, found: Forecast) -> WhatIf:
    first = next(iter(found.binding), None)
    return WhatIf(change, found.finish, found.waits, found.provider_429s, f"{first.deployment} {first.limit}" if first else None)

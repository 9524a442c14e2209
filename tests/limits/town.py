"""A limiter at work: callers, a network with delays, and providers that enforce their limits, all in virtual time.

The model is that of the study the limiter was designed with: travel times between 0.02 and 0.30 s each way, prompts and
answers of log-normal sizes, `max_tokens` from 512 to 4096. Use is measured at the provider.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from headrace.errors import Failure, Kind
from headrace.limits import Ask, Charge, Limiter, LimiterSettings, Profile, QuotaView, Used, limits_of
from headrace.limits.meter_settings import MeterSettings
from headrace.runtime.virtual import World
from headrace.simulator.enforce import Admitted, Cost, Enforcer, Rule, Shape

NEAR, FAR = 0.02, 0.30
SPREAD = FAR - NEAR
UNEQUAL = ((600, 600_000), (300, 600_000), (120, 100_000))
"""Requests and tokens a minute of three deployments."""
LARGEST = 12_000 + 4096
UNITS: tuple[Literal["requests", "tokens"], ...] = ("requests", "tokens")


@dataclass(frozen=True)
class Job:
    prompt: int
    output: int
    max_tokens: int
    tenant: str = ""
    priority: int = 1


def mixed(chance: random.Random, **facts: object) -> Job:
    """A call of any size: tokens bind on most deployments."""
    most = chance.choice((512, 1024, 1024, 2048, 4096))
    return Job(_size(chance, 420, 1.15, 12_000, 20), _size(chance, 170, 1.0, most, 1), most, **facts)  # type: ignore[arg-type]


def small(chance: random.Random, **facts: object) -> Job:
    """A call as for classification: requests bind everywhere."""
    return Job(_size(chance, 150, 0.7, 2000, 20), _size(chance, 40, 0.8, 256, 1), 256, **facts)  # type: ignore[arg-type]


def _size(chance: random.Random, median: float, sigma: float, most: int, least: int) -> int:
    return int(min(most, max(least, chance.lognormvariate(math.log(median), sigma))))


@dataclass
class Provider:
    """One deployment's other end."""

    name: str
    rpm: int
    tpm: int
    enforcer: Enforcer
    log: list[tuple[float, int, float]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    others: list[tuple[float, float]] = field(default_factory=list)
    """What strangers were let in for: when, and their tokens."""

    def used(self, since: float, until: float, *, by_all: bool = False) -> float:
        """Share of the limit that binds, of what strangers left of it: 1.0 for all. by_all: of the whole limit, theirs included."""
        minutes = (until - since) / 60
        requests = sum(count for at, count, _ in self.log if since <= at <= until)
        tokens = sum(cost for at, _, cost in self.log if since <= at <= until)
        theirs = [cost for at, cost in self.others if since <= at <= until]
        if by_all:
            return max((requests + len(theirs)) / (self.rpm * minutes), (tokens + sum(theirs)) / (self.tpm * minutes))
        return max(requests / (self.rpm * minutes - len(theirs)), tokens / (self.tpm * minutes - sum(theirs)))


@dataclass(frozen=True)
class Rules:
    """How a kind of provider enforces requests and tokens a minute."""

    requests: tuple[Shape, float]
    """Shape, and the seconds of its window or of what its bucket holds."""
    tokens: tuple[Shape, float]
    accounting: str
    count_failed: bool = False

    def enforcer(self, rpm: int, tpm: int, chance: random.Random) -> Enforcer:
        rules = [_rule("requests", rpm, *self.requests, chance), _rule("tokens", tpm, *self.tokens, chance)]
        return Enforcer(rules, accounting=self.accounting, count_failed=self.count_failed)  # type: ignore[arg-type]


def _rule(unit: str, amount: float, shape: Shape, seconds: float, chance: random.Random) -> Rule:
    if shape == "bucket":
        seconds = max(seconds, LARGEST * 1.25 / amount * 60) if unit == "tokens" else max(seconds, 2 / amount * 60)
        return Rule(unit, amount, 60.0, "bucket", burst=seconds)  # type: ignore[arg-type]
    return Rule(unit, amount * seconds / 60, seconds, shape, phase=chance.random() * seconds)  # type: ignore[arg-type]


class Town:
    """Callers, network and providers around one limiter."""

    def __init__(
        self,
        rules: Rules,
        profile: Profile,
        *,
        deployments: Sequence[tuple[int, int]] = UNEQUAL,
        settings: LimiterSettings | None = None,
        told: Callable[[int, int], tuple[int | None, int | None]] = lambda rpm, tpm: (rpm, tpm),
        headers: bool = False,
        miscount: Callable[[random.Random], float] | None = None,
        kin: bool = True,
        seed: int = 1,
    ) -> None:
        """kin: whether the limiter knows that the deployments are all of one provider."""
        self.chance = random.Random(seed)
        self.world = World(seed=seed)
        self.settings = settings or LimiterSettings(meters=MeterSettings(spread=SPREAD, short_spread=SPREAD))
        self.limiter = Limiter(settings=self.settings, random=random.Random(seed))
        self.headers = headers
        self.miscount = miscount
        self.gradual = 1
        self.providers: dict[str, Provider] = {}
        self.waits: list[tuple[Job, float, float]] = []
        """Job, when it was asked for, seconds until it was served."""
        for number, (rpm, tpm) in enumerate(deployments):
            name = f"d{number}"
            self.providers[name] = Provider(name, rpm, tpm, rules.enforcer(rpm, tpm, self.chance))
            told_rpm, told_tpm = told(rpm, tpm)
            limits = limits_of(rpm=told_rpm, tpm=told_tpm)
            self.limiter.add(name, group="g", limits=limits, profile=profile, provider="town" if kin else "")

    # ---- callers

    def backlog(self, count: int, make: Callable[..., Job] = mixed, tenants: int = 4) -> None:
        """`count` jobs at once."""
        chance = random.Random(777)
        for number in range(count):
            self.world.spawn(self.serve(make(chance, tenant=str(number % tenants))))

    def stream(self, rate: float, until: float, make: Callable[[random.Random], Job], seed: int = 5) -> None:
        """Jobs at random moments, `rate` a second."""
        chance, at = random.Random(seed), 0.0
        while (at := at + chance.expovariate(rate)) < until:
            self.world.at(at, partial(self._arrive, make(chance)))

    def _arrive(self, job: Job) -> None:
        self.world.spawn(self.serve(job))

    async def serve(self, job: Job, limiter: Limiter | None = None) -> None:
        """Reserve, send, settle; a refusal is asked again."""
        limiter = limiter or self.limiter
        began = self.world.now()
        count = 1.0 if self.miscount is None else self.miscount(self.chance)
        cost = Cost(max(1, int(job.prompt * count)), job.max_tokens)
        ask = Ask("g", Charge(input=job.prompt, max_output=job.max_tokens), tenant=job.tenant, priority=job.priority)
        while True:
            held = await limiter.reserve(ask, self.world)
            provider = self.providers[held.deployment]
            await self._travel()
            now = self.world.now()
            admitted = provider.enforcer.admit(now, cost)
            if isinstance(admitted, Admitted):
                break
            provider.refused.append(now)
            await self._travel()
            scope = "tokens" if "tokens" in admitted.scope else "requests"
            failure = Failure(Kind.RATE_LIMIT, admitted.message, retry_after=admitted.retry_after, scope=scope)  # type: ignore[arg-type]
            limiter.settle(held, used=None, failure=failure, now=self.world.now())
        self.waits.append((job, began, now - began))
        views = tuple(self._views(provider, now)) if self.headers else ()
        provider.log.append((now, 1, cost.prompt + (0 if provider.enforcer.accounting == "post" else cost.output)))
        await self._answer(provider, admitted, job)
        await self._travel()
        limiter.settle(held, used=Used(input=cost.prompt, output=job.output), view=views, now=self.world.now())

    async def _answer(self, provider: Provider, admitted: Admitted, job: Job) -> None:
        await self.world.sleep(0.2 + 0.3 * self.chance.random() + job.prompt / 20_000)
        pace = self.chance.uniform(50, 110)
        parts = min(self.gradual, job.output)
        for part in range(parts):
            tokens = job.output // parts + (job.output % parts if part == 0 else 0)
            await self.world.sleep(tokens / pace)
            provider.enforcer.produce(self.world.now(), admitted, tokens)
            if provider.enforcer.accounting == "post":
                provider.log.append((self.world.now(), 0, tokens))
        if provider.enforcer.accounting == "settle":
            provider.log.append((self.world.now(), 0, job.output - job.max_tokens))
        provider.enforcer.end(self.world.now(), admitted)

    async def _travel(self) -> None:
        await self.world.sleep(self.chance.uniform(NEAR, FAR))

    def _views(self, provider: Provider, now: float) -> Iterable[QuotaView]:
        for unit in UNITS:
            view = provider.enforcer.view(now, unit)
            if view is not None:
                yield QuotaView(unit, view.limit, view.remaining, view.reset)

    def stranger(self, rate: float, until: float) -> None:
        """Somebody else on the same keys, who never heard of us."""
        chance = random.Random(99)

        async def come(job: Job, name: str) -> None:
            provider = self.providers[name]
            admitted = provider.enforcer.admit(self.world.now(), Cost(job.prompt, job.max_tokens))
            if isinstance(admitted, Admitted):
                output = job.output if provider.enforcer.accounting != "reserve" else job.max_tokens
                provider.others.append((self.world.now(), job.prompt + output))
                await self.world.sleep(0.4 + job.output / 70)
                provider.enforcer.produce(self.world.now(), admitted, job.output)
                provider.enforcer.end(self.world.now(), admitted)

        def arrive(job: Job, name: str) -> None:
            self.world.spawn(come(job, name))

        at, names = 0.5, list(self.providers)
        weights = [provider.rpm for provider in self.providers.values()]
        while (at := at + chance.expovariate(rate)) < until:
            job, name = mixed(chance), chance.choices(names, weights)[0]
            self.world.at(at, partial(arrive, job, name))

    # ---- results

    def refused(self) -> int:
        return sum(len(provider.refused) for provider in self.providers.values())

    def use(self, warm: float = 60.0, *, by_all: bool = False) -> float:
        """Use of each deployment's binding limit after the first minute, weighted by what it served."""
        end = max(at for provider in self.providers.values() for at, count, _ in provider.log if count)
        until = warm + 60 * max(1, math.floor((end * 0.97 - warm) / 60))
        served = {name: sum(count for _, count, _ in provider.log) for name, provider in self.providers.items()}
        return sum(provider.used(warm, until, by_all=by_all) * served[name] for name, provider in self.providers.items()) / sum(
            served.values()
        )


MINUTE: tuple[Shape, float] = ("sliding", 60.0)
KINDS: dict[str, Rules] = {
    "tb60/post": Rules(("bucket", 60), ("bucket", 60), "post"),
    "tb60/reserve": Rules(("bucket", 60), ("bucket", 60), "reserve", count_failed=True),
    "tb5/reserve": Rules(("bucket", 5), ("bucket", 15), "reserve", count_failed=True),
    "fix60/reserve": Rules(("fixed", 60), ("fixed", 60), "reserve"),
    "slide60/post": Rules(MINUTE, MINUTE, "post"),
    "slide60/settle": Rules(MINUTE, MINUTE, "settle"),
    "slide60/reserve": Rules(MINUTE, MINUTE, "reserve"),
    "tb1/reserve": Rules(("bucket", 1), MINUTE, "reserve", count_failed=True),
    "fix10/reserve": Rules(("fixed", 10), ("fixed", 60), "reserve"),
    "fix1/reserve": Rules(("fixed", 1), ("fixed", 60), "reserve"),
    "slide1/reserve": Rules(("sliding", 1), MINUTE, "reserve"),
}
"""The eleven enforcers of the study: requests' shape and seconds, then the accounting of tokens."""


def known(kind: str) -> Profile:
    """All there is to know about a kind of provider."""
    rules = KINDS[kind]
    shape, seconds = rules.requests
    _, token_seconds = rules.tokens
    return Profile(
        accounting=rules.accounting,  # type: ignore[arg-type]
        count_failed=rules.count_failed,
        windows=(seconds,) if shape != "bucket" and seconds < 60 else (),
        request_burst=seconds if shape == "bucket" else (60.0 if seconds == 60 else None),
        token_burst=token_seconds,
        confidence="documented",
    )


def told_nothing(kind: str) -> Profile:
    """Only how tokens are counted is known."""
    return Profile(accounting=KINDS[kind].accounting, confidence="unknown")  # type: ignore[arg-type]

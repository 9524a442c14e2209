"""Several processes around one store in virtual time: the town of `town.py`, each caller in one of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from headrace.limits import LimiterSettings, Profile, limits_of
from headrace.limits.memory import MemoryServer, MemoryStore
from headrace.limits.meter_settings import MeterSettings
from headrace.limits.shared import SharedLimiter
from headrace.limits.store import Message

from .town import SPREAD, UNEQUAL, Job, Rules, Town, mixed

BEAT = 1.0


class Listening(MemoryServer):
    """A server that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Message] = []

    def answer(self, messages: Sequence[Message], now: float) -> Sequence[list[str] | None]:
        self.heard += messages
        return super().answer(messages, now)


class Towns(Town):
    """One town of several processes, of which the first has `skew` of all the work."""

    def __init__(
        self,
        rules: Rules,
        profile: Profile,
        *,
        processes: int = 8,
        skew: float = 0.4,
        trip: float = 0.001,
        deployments: Sequence[tuple[int, int]] = UNEQUAL,
        seed: int = 1,
        parallel: int | None = None,
    ) -> None:
        super().__init__(rules, profile, deployments=deployments, seed=seed)
        self.settings = LimiterSettings(meters=MeterSettings(spread=SPREAD))
        self.server = Listening()
        self.stores = [MemoryStore(self.server, self.world, self.world.at, process=f"p{number}", trip=trip) for number in range(processes)]
        self.limiters = [self._process(number, profile, deployments, parallel) for number in range(processes)]
        rest = (1 - skew) / max(1, processes - 1)
        self.weights = [skew if processes > 1 else 1.0, *[rest] * (processes - 1)]
        self.until = 0.0

    def _process(self, number: int, profile: Profile, deployments: Sequence[tuple[int, int]], parallel: int | None) -> SharedLimiter:
        limiter = SharedLimiter(self.stores[number], settings=self.settings, random=random.Random(number))
        for at, (rpm, tpm) in enumerate(deployments):
            limiter.add(f"d{at}", group="g", limits=limits_of(rpm=rpm, tpm=tpm, max_parallel_requests=parallel), profile=profile)
        return limiter

    def beat(self, until: float) -> None:
        """Signs of life of all processes, each at moments of its own."""
        for number, limiter in enumerate(self.limiters):
            at = BEAT * number / len(self.limiters)
            while (at := at + BEAT) < until:
                self.world.at(at, partial(limiter.presence.beat, at))

    def backlog(self, count: int, make: Callable[..., Job] = mixed, tenants: int = 4) -> None:
        chance, where = random.Random(777), random.Random(778)
        for number in range(count):
            limiter = where.choices(self.limiters, self.weights)[0]
            self.world.spawn(self.served_by(limiter, make(chance, tenant=str(number % tenants))))

    def arrivals(self, rate: float, since: float, until: float, make: Callable[[random.Random], Job] = mixed) -> int:
        """Calls at random moments, `rate` a second, each in one of the processes. How many."""
        chance, where, at, count = random.Random(5), random.Random(6), since, 0
        while (at := at + chance.expovariate(rate)) < until:
            limiter = where.choices(self.limiters, self.weights)[0]
            self.world.at(at, partial(self._come, make(chance), limiter))
            count += 1
        return count

    def _come(self, job: Job, limiter: SharedLimiter) -> None:
        self.world.spawn(self.served_by(limiter, job))

    async def served_by(self, limiter: SharedLimiter, job: Job) -> None:
        await self.serve(job, limiter)

    def store_goes(self) -> None:
        self.server.away = True

    def store_returns(self, *, forgets: bool) -> None:
        self.server.away = False
        if forgets:
            self.server.forget()

    def admitted(self, since: float, until: float) -> int:
        """Calls that providers let in between two moments."""
        return sum(count for provider in self.providers.values() for at, count, _ in provider.log if since <= at < until)

    def asked(self) -> int:
        """Questions for room."""
        return sum(store.asked for store in self.stores)

    def reports(self) -> dict[str, int]:
        """Signs of life so far, by account."""
        return dict(Counter(message.account for message in self.server.heard if message.operation == "report"))

    def called(self) -> int:
        """Calls of the script: with endings and signs of life."""
        return sum(store.calls for store in self.stores)

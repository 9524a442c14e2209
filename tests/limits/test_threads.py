"""One limiter for threads and several event loops at once, with callers who leave at any moment: real clocks, real locks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from random import Random

from headrace.bridge import complete
from headrace.errors import QueueTimeout
from headrace.limits import Ask, Charge, Limit, Limiter, Profile, Unit, Used
from headrace.runtime.clocks import AsyncClock, BlockingClock

AT_ONCE, OF_TEAM = 4, 3
CALLS = 60
"""Of each thread or loop."""


class Crowd:
    """Callers of both colours, and the most of them that were ever under way together."""

    def __init__(self) -> None:
        self.limiter = Limiter()
        for name in ("a", "b"):
            self.limiter.add(name, group="g", limits=[Limit(Unit.IN_FLIGHT, AT_ONCE, 0.0)], profile=Profile())
        self.limiter.add_scope("team", [Limit(Unit.IN_FLIGHT, OF_TEAM, 0.0, "team")])
        self.lock = threading.Lock()
        self.under_way: dict[str, int] = {"a": 0, "b": 0, "team": 0}
        self.most = dict(self.under_way)
        self.served = self.refused = self.left = 0

    def ask(self, draw: Random) -> Ask:
        scopes = ("team",) if draw.random() < 0.5 else ()
        max_wait = 0.001 if draw.random() < 0.2 else None
        return Ask("g", Charge(input=10), tenant=draw.choice("xyz"), priority=draw.randrange(3), scopes=scopes, max_wait=max_wait)

    def count(self, names: tuple[str, ...], step: int) -> None:
        with self.lock:
            for name in names:
                self.under_way[name] += step
                self.most[name] = max(self.most[name], self.under_way[name])

    def in_threads(self, seed: int) -> None:
        draw, clock = Random(seed), BlockingClock()
        for _ in range(CALLS):
            ask = self.ask(draw)
            try:
                held = complete(self.limiter.reserve(ask, clock))
            except QueueTimeout:
                self.refused += 1
                continue
            names = (held.deployment, *ask.scopes)
            self.count(names, 1)
            complete(clock.sleep(draw.random() / 1000))
            self.count(names, -1)
            self.limiter.settle(held, used=Used(input=10), now=clock.now())
            self.served += 1

    def in_a_loop(self, seed: int) -> None:
        asyncio.run(self.many(seed))

    async def many(self, seed: int) -> None:
        draw, clock = Random(seed), AsyncClock()
        tasks = [asyncio.create_task(self.one(self.ask(draw), draw.random() / 1000, clock)) for _ in range(CALLS)]
        for task in draw.sample(tasks, CALLS // 4):
            await asyncio.sleep(draw.random() / 500)
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        self.left += sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]

    async def one(self, ask: Ask, seconds: float, clock: AsyncClock) -> None:
        try:
            held = await self.limiter.reserve(ask, clock)
        except QueueTimeout:
            self.refused += 1
            return
        names = (held.deployment, *ask.scopes)
        self.count(names, 1)
        try:
            await asyncio.sleep(seconds)
            self.served += 1
        finally:
            self.count(names, -1)
            self.limiter.settle(held, used=None, now=clock.now())


def test_threads_and_event_loops_share_one_limiter_and_whoever_leaves_takes_nothing_along() -> None:
    crowd = Crowd()
    colours: list[Callable[[int], None]] = [crowd.in_threads, crowd.in_a_loop] * 4
    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed, work in enumerate(colours)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(45)
    assert not any(thread.is_alive() for thread in threads), "somebody waits for ever"
    assert crowd.served > len(threads) * CALLS / 4
    assert crowd.left > 0
    assert max(crowd.most["a"], crowd.most["b"]) <= AT_ONCE
    assert crowd.most["team"] <= OF_TEAM
    shown = crowd.limiter.snapshot(BlockingClock().now())
    assert shown["queues"] == {"g": 0}
    assert [one["in_flight"] for one in (*shown["deployments"].values(), *shown["scopes"].values())] == [0, 0, 0]
    complete(crowd.limiter.reserve(Ask("g", Charge(), scopes=("team",), max_wait=0), BlockingClock()))

"""`python -m benchmarks.limits.cost`: the limiter's own cost, in CPU µs per call and bytes per waiting call.

Every figure is measured in a process of its own, in CPU time, as the median of the rounds. It is also given as a
multiple of the time to acquire and release an `asyncio.Semaphore`, measured before each round in that process: machines
differ, and a shared one varies from minute to minute. `--quick` makes fewer calls and judges nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import headrace
from benchmarks.common.measure import environment, table
from headrace.bridge import complete
from headrace.limits import Ask, Charge, Limiter, Used, limits_of
from headrace.limits.profile import Profile
from headrace.ports import Ports
from headrace.routing.router import Router
from headrace.routing.trail import Trail
from headrace.runtime.clocks import AsyncClock
from headrace.runtime.virtual import World
from headrace.simulator.config import ProviderConfig, SimulatorConfig
from headrace.simulator.virtual import VirtualProviders

ROUNDS = 7
PAIR_MOST, QUEUED_MOST, RECORD_MOST = 25.0, 60.0, 20.0
"""µs."""
WAITER_MOST = 2048.0
"""Bytes, beyond the task that waits."""
ASK = Ask("chat", Charge(input=800, max_output=200), tenant="anna")
USED = Used(input=800, output=150)


@dataclass
class Row:
    """One figure: µs, or bytes."""

    what: str
    figure: float
    unit: str
    most: float | None = None
    """The target, if there is one."""
    spread: float = 0.0
    """Half the interquartile range, relative to the figure."""
    semaphores: float = 0.0
    """The figure in units of a semaphore's acquire and release, measured at the same time; 0 if it is not a time."""

    @property
    def verdict(self) -> str:
        return "" if self.most is None else "met" if self.figure <= self.most else "missed"


def limiter(deployments: int, **limits: int) -> Limiter:
    """One group with `deployments` deployments that have these limits."""
    made = Limiter()
    for number in range(deployments):
        made.add(f"d{number}", group="chat", limits=limits_of(**limits), profile=Profile(accounting="settle"))
    return made


class Figure(NamedTuple):
    """The result of a scene."""

    middle: float
    """The median."""
    spread: float = 0.0
    """See `Row.spread`."""
    yard: float = 0.0
    """Median µs of a semaphore's acquire and release; 0 if not measured."""


def rounds(run: Callable[[int], float], calls: int, count: int) -> Figure:
    """µs per call: the median of `count` rounds after a warm-up. `run`: returns the CPU seconds of a number of calls."""
    run(calls)
    gc.collect()
    figures, yards = [], []
    for _ in range(count):
        yards.append(semaphore(calls) / calls * 1e6)
        figures.append(run(calls) / calls * 1e6)
    middle = statistics.median(figures)
    low, _, high = statistics.quantiles(figures, n=4, method="inclusive") if count > 1 else (middle, middle, middle)
    return Figure(middle, (high - low) / 2 / middle, statistics.median(yards))


def semaphore(calls: int) -> float:
    """CPU seconds of `calls` pairs of acquire and release on a semaphore that never blocks: the least a limiter could cost."""
    free = asyncio.Semaphore(2)

    async def run() -> float:
        began = time.process_time()
        for _ in range(calls):
            await free.acquire()
            free.release()
        return time.process_time() - began

    return complete(run())


# ---- without contention


def uncontended(deployments: int) -> Callable[[int], float]:
    """Reserve and settle, one call after another, under limits that never bind; 32 calls are in flight all the time."""
    books, clock = limiter(deployments, rpm=10**9, tpm=10**12), AsyncClock()
    under_way = [complete(books.reserve(ASK, clock)) for _ in range(32)]

    def run(calls: int) -> float:
        began = time.process_time()
        for number in range(calls):
            held = complete(books.reserve(ASK, clock))
            position = number & 31
            books.settle(under_way[position], used=USED, now=clock.now())
            under_way[position] = held
        return time.process_time() - began

    return run


def empty(calls: int) -> float:
    """The same loop around a coroutine that does nothing."""

    async def nothing() -> None: ...

    began = time.process_time()
    for _ in range(calls):
        complete(nothing())
    return time.process_time() - began


# ---- with a queue


def contended(deployments: int, waiting: int, tenants: int) -> Callable[[int], float]:
    """A queue of constant length `waiting`: whenever a call ends, another joins. In virtual time, so that the limits do bind.

    Measures the CPU time of queueing, matching, waking and settling, and of the world that runs the tasks.
    """
    world, books = World(), limiter(deployments, rpm=60_000, tpm=60_000_000, max_parallel_requests=50_000)
    asks = [Ask("chat", Charge(input=600 + 40 * (number % 17), max_output=200), tenant=f"t{number % tenants}") for number in range(997)]
    served = 0

    async def call(number: int) -> None:
        nonlocal served
        held = await books.reserve(asks[number % 997], world)
        served += 1
        world.spawn(call(number + waiting))
        await world.sleep(0.5)
        books.settle(held, used=USED, now=world.now())

    for number in range(waiting):
        world.spawn(call(number))
    world.run(until=1.0)

    def run(calls: int) -> float:
        goal, began = served + calls, time.process_time()
        while served < goal:
            world.run(until=world.now() + 0.05)
        return (time.process_time() - began) * calls / (calls + served - goal)

    return run


def tasks_alone(calls: int) -> float:
    """The world's share of that: the same tasks, which wait once for a wake-up and once for time to pass."""
    world = World()

    async def call() -> None:
        waiter = world.waiter()
        world.at(world.now(), waiter.wake)
        await waiter.wait(None)
        await world.sleep(0.5)

    began = time.process_time()
    for _ in range(calls):
        world.spawn(call())
    world.run()
    return time.process_time() - began


# ---- decision records


class Kept:
    """A method that records its last arguments."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method
        self.arguments: tuple[Any, ...] = ()

    def __call__(self, *arguments: Any) -> Any:
        self.arguments = arguments
        return self.method(*arguments)

    def again(self) -> None:
        self.method(*self.arguments)


def told(level: int, hooked: bool = False) -> Callable[[int], float]:
    """The decision record of a call on three deployments: created when the call is sent, completed and reported when it
    ends, to the log at `level` and to a hook if there is one. Makes one real call and repeats this part of it.
    """
    logger = logging.getLogger("headrace")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    logger.setLevel(level)
    if hooked:
        headrace.subscribe(lambda event: None)
    world, names = World(), ("a", "b", "c")
    providers = VirtualProviders(world, SimulatorConfig(providers=tuple(ProviderConfig(name=name) for name in names)))
    facts = {"model": "openai/gpt-sim", "api_key": "sk", "rpm": 10**6}
    entries = [{"model_name": "chat", "litellm_params": {**facts, "base_url": providers.url(name)}} for name in names]
    router = Router(model_list=entries, worlds=OneWorld(world.ports(providers)))
    engine = router._engine
    sent, over, made = Kept(engine.attempts._sent), Kept(engine.attempts._over), Kept(Trail.record)
    engine.attempts._sent, engine.attempts._over = sent, over  # type: ignore[method-assign]
    Trail.record = lambda *arguments: made(*arguments)  # type: ignore[method-assign]
    messages = [{"role": "user", "content": "Why is the sky blue?"}]
    world.complete(router.acompletion("chat", messages, max_tokens=5))

    def run(calls: int) -> float:
        began = time.process_time()
        for _ in range(calls):
            sent.again()
            made.again()
            over.again()
        return time.process_time() - began

    return run


@dataclass(frozen=True)
class OneWorld:
    """A `Worlds` that always returns the same ports."""

    ports: Ports

    def suspending(self) -> Ports:
        return self.ports

    blocking = suspending

    def random(self) -> float:
        return self.ports.random()


# ---- memory


def memory(begin: Callable[[], Coroutine[Any, Any, Any]], waiting: int) -> float:
    """Bytes of process growth per waiting task."""

    async def run() -> float:
        tasks = [asyncio.create_task(begin()) for _ in range(1000)]
        await asyncio.sleep(0)
        before = resident()
        tasks += [asyncio.create_task(begin()) for _ in range(waiting)]
        await asyncio.sleep(0)
        grown = resident() - before
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return grown / waiting

    gc.disable()  # collections during the measurement would distort it
    return asyncio.run(run())


def resident() -> int:
    """Resident memory of the process in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def full() -> Callable[[], Coroutine[Any, Any, Any]]:
    """A call that waits in the queue of a full limiter."""
    books, clock = limiter(3, rpm=60, tpm=60_000, max_parallel_requests=1), AsyncClock()
    for _ in range(3):
        complete(books.reserve(ASK, clock))
    return lambda: books.reserve(ASK, clock)


async def bare() -> None:
    """A task that only waits."""
    await asyncio.get_running_loop().create_future()


# ---- all of it

SCENES: dict[str, Callable[[bool], Figure]] = {
    "loop": lambda quick: rounds(empty, *_size(quick)),
    "pair-1": lambda quick: rounds(uncontended(1), *_size(quick)),
    "pair-3": lambda quick: rounds(uncontended(3), *_size(quick)),
    "tasks": lambda quick: rounds(tasks_alone, *_size(quick)),
    "queued-1": lambda quick: rounds(contended(1, 10_000, 1), *_size(quick)),
    "queued-3": lambda quick: rounds(contended(3, 10_000, 4), *_size(quick)),
    "record": lambda quick: rounds(told(logging.WARNING), *_size(quick)),
    "record-log": lambda quick: rounds(told(logging.DEBUG), *_size(quick)),
    "record-hook": lambda quick: rounds(told(logging.WARNING, hooked=True), *_size(quick)),
    "waiter": lambda quick: Figure(memory(full(), _many(quick))),
    "task": lambda quick: Figure(memory(bare, _many(quick))),
}


def _size(quick: bool) -> tuple[int, int]:
    """Calls per round, and rounds."""
    return (500, 3) if quick else (20_000, ROUNDS)


def _many(quick: bool) -> int:
    return 5_000 if quick else 100_000


def measured(quick: bool) -> list[Row]:
    found = {scene: _apart(scene, quick) for scene in SCENES}
    many, yard = f"{_many(quick):,}", statistics.median([figure.yard for figure in found.values() if figure.yard])

    def row(what: str, scene: str, most: float | None = None, *, without: str = "", unit: str = "µs") -> Row:
        figure, spread, here = found[scene]
        floor = found[without] if without else Figure(0.0, yard=1.0)
        pairs = figure / here - floor.middle / floor.yard if here else 0.0
        return Row(what, figure - floor.middle, unit, most, spread, pairs)

    return [
        Row("acquire and release a bare semaphore (the unit of comparison)", yard, "µs", semaphores=1.0),
        row("run an empty coroutine", "loop"),
        row("reserve and settle, 1 deployment, empty queue", "pair-1", PAIR_MOST),
        row("reserve and settle, 3 deployments, empty queue", "pair-3", PAIR_MOST),
        row("tasks in virtual time, without a limiter", "tasks"),
        row("reserve, wait and settle, 10,000 queued, 1 deployment, minus the tasks", "queued-1", QUEUED_MOST, without="tasks"),
        row("reserve, wait and settle, 10,000 queued, 3 deployments, minus the tasks", "queued-3", QUEUED_MOST, without="tasks"),
        row("decision record", "record", RECORD_MOST),
        row("decision record, logged at DEBUG", "record-log", RECORD_MOST),
        row("decision record, as events for a hook", "record-hook", RECORD_MOST),
        row(f"a waiting task, among {many}", "task", unit="bytes"),
        row(f"a queued call, among {many}, minus its task", "waiter", WAITER_MOST, without="task", unit="bytes"),
    ]


def _apart(scene: str, quick: bool) -> Figure:
    """Measure a scene in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.limits.cost", "--scene", scene, *(["--quick"] if quick else [])]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{scene}: {done.stderr.strip()}")
    return Figure(*json.loads(done.stdout))


def shown(rows: Sequence[Row], judged: bool) -> str:
    body = [
        (
            row.what,
            f"{row.figure:,.2f} {row.unit}" if row.figure < 100 else f"{row.figure:,.0f} {row.unit}",
            f"{row.spread:.0%}" if row.spread else "–",
            f"{row.semaphores:,.1f}" if row.semaphores else "–",
            f"{row.most:,.0f} {row.unit}" if row.most else "–",
            row.verdict if judged else "",
        )
        for row in rows
    ]
    return table([("overhead of the limiter", "measured", "±", "in semaphores", "at most", ""), *body])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits.cost", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer calls; targets are not checked")
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    parser.add_argument("--scene", choices=SCENES, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.scene:
        print(json.dumps(SCENES[given.scene](given.quick)))
        return 0
    rows = measured(given.quick)
    print(json.dumps([asdict(row) for row in rows]) if given.json else shown(rows, not given.quick))
    return 1 if not given.quick and any(row.verdict == "missed" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

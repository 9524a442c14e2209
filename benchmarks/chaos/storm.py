"""Many calls through one Router over real sockets, with resets, truncated and hanging responses and leaving callers;
counts leaked resources."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from headrace import Event, HeadraceError, Router, Timeouts
from headrace.runtime.http_async import async_transport
from headrace.runtime.http_settings import HttpSettings
from headrace.runtime.http_sync import sync_transport
from headrace.runtime.worlds import RealWorlds
from headrace.simulator.config import FaultConfig, ProviderConfig, SimulatorConfig
from headrace.simulator.server import Running, running

PROVIDERS: Final = ("a", "b", "c", "d", "e")
QUESTION: Final = [{"role": "user", "content": "Tell me of mills."}]
OWN: Final = HttpSettings(idle_expiry=30.5)
"""Settings used by nothing else, so that the storm has its own connections."""
PATIENCE: Final = 10.0
"""Seconds for requests at the providers to end once nobody waits for them."""


@dataclass(frozen=True)
class Weather:
    """Rates of faults per attempt, and of callers that leave."""

    resets: float = 0.05
    cuts: float = 0.05
    hangs: float = 0.05
    leavers: float = 0.10


@dataclass
class Damage:
    """Outcomes of the calls, and leaked resources, of which there should be none."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """By name: "answered", "streamed", "left", or the class of the error."""
    left: dict[str, int] = field(default_factory=dict)
    """Resources still held at the end, by name."""
    false_ends: int = 0
    """Truncated streams that looked complete."""
    faults: Counter[str] = field(default_factory=Counter)
    """Injected faults, as counted by the providers."""
    attempts: int = 0
    seconds: float = 0.0

    @property
    def calls(self) -> int:
        return self.outcomes.total()


class Storm:
    """One Router over five faulty providers, and the callers' random choices."""

    def __init__(self, base: Running, weather: Weather, seed: int) -> None:
        self.base = base
        self.weather = weather
        self.random = random.Random(seed)
        self.damage = Damage()
        self.told: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.router = Router(
            [self._deployment(name) for name in PROVIDERS],
            timeout=Timeouts(connect=5.0, first_byte=1.0, between_bytes=1.0, total=10.0),
            num_retries=3,
            cooldown_time=0.2,
            retry_budget=None,
            hedge=0.1,
            on_event=self._note,
            worlds=RealWorlds(OWN),
        )

    def _deployment(self, name: str) -> dict[str, Any]:
        params = {"model": "openai/gpt-sim", "api_key": f"sk-{name}", "base_url": f"{self.base}/{name}/v1", "tpm": 50_000_000}
        return {
            "model_name": "gpt",
            "litellm_params": {**params, "max_parallel_requests": 12},
            "model_info": {"id": name, "supports_assistant_prefill": True},
        }

    def _note(self, event: Event) -> None:
        with self._lock:
            self.told[event.kind] += 1

    def _count(self, outcome: str, *, whole: bool = True) -> None:
        with self._lock:
            self.damage.outcomes[outcome] += 1
            self.damage.false_ends += not whole

    # ---- async calls

    async def calls(self, count: int, at_once: int) -> None:
        places = asyncio.Semaphore(at_once)

        async def one(number: int) -> None:
            async with places:
                await self._leaving(number) if self.random.random() < self.weather.leavers else await self._staying(number)

        await asyncio.gather(*(one(number) for number in range(count)))

    async def _staying(self, number: int) -> None:
        try:
            if number % 2:
                await self.router.acompletion("gpt", QUESTION, max_tokens=30)
                self._count("answered")
            else:
                chunks = [chunk async for chunk in await self.router.acompletion("gpt", QUESTION, max_tokens=30, stream=True)]
                self._count("streamed", whole=finished(chunks))
        except HeadraceError as error:
            self._count(type(error).__name__)

    async def _leaving(self, number: int) -> None:
        """Half are cancelled at a random time; the others stop reading, and drop the stream or close it."""
        if number % 2:
            task = asyncio.ensure_future(self.router.acompletion("gpt", QUESTION, max_tokens=30, stream=number % 4 == 1))
            await asyncio.sleep(self.random.random() * 0.1)
            task.cancel()
            with suppress(asyncio.CancelledError, HeadraceError):
                await task
        else:
            with suppress(HeadraceError):
                stream = await self.router.acompletion("gpt", QUESTION, max_tokens=30, stream=True)
                await anext(stream, None)
                if number % 4:
                    await stream.aclose()
        self._count("left")

    # ---- calls in threads

    def threads(self, count: int, at_once: int) -> None:
        with ThreadPoolExecutor(at_once) as pool:
            for done in [pool.submit(self._in_thread, number, self.random.random()) for number in range(count)]:
                done.result()

    def _in_thread(self, number: int, dice: float) -> None:
        try:
            if dice < self.weather.leavers:
                next(self.router.completion("gpt", QUESTION, max_tokens=30, stream=True), None)
                self._count("left")
            elif number % 2:
                self.router.completion("gpt", QUESTION, max_tokens=30)
                self._count("answered")
            else:
                self._count("streamed", whole=finished(list(self.router.completion("gpt", QUESTION, max_tokens=30, stream=True))))
        except HeadraceError as error:
            self._count("left" if dice < self.weather.leavers else type(error).__name__)

    # ---- leaks

    def held(self) -> dict[str, int]:
        """Resources that the Router still holds, by name."""
        snapshot = self.router.snapshot()
        return {
            "reservations": sum(one["in_flight"] for one in snapshot["deployments"].values()),
            "queue entries": sum(snapshot["queues"].values()),
            "unfinished attempts": self.told["sent"] - self.told["settled"],
        }

    def at_providers(self) -> int:
        """Requests still in flight at the providers, after waiting for them to notice that the caller left."""
        until = time.monotonic() + PATIENCE
        while (there := sum(row["in_flight"] for row in self._rows().values())) and time.monotonic() < until:
            time.sleep(0.02)
        return there

    def _rows(self) -> dict[str, Any]:
        return self.base.stats()

    def finish(self) -> Damage:
        rows = self._rows().values()
        self.damage.attempts = sum(row["requests"] for row in rows)
        self.damage.faults = sum((Counter(row["faults"]) for row in rows), Counter())
        return self.damage


def finished(chunks: list[Any]) -> bool:
    """Whether a stream reported a finish reason."""
    return any(choice.finish_reason for chunk in chunks for choice in chunk.choices)


def providers(weather: Weather, seed: int) -> SimulatorConfig:
    faults = (
        FaultConfig(kind="reset", probability=weather.resets),
        FaultConfig(kind="cut", probability=weather.cuts),
        FaultConfig(kind="hang", probability=weather.hangs),
    )
    quick = {"ttft": 0.01, "gap": 0.0005, "output_tokens": 20.0, "faults": faults}
    return SimulatorConfig(port=0, seed=seed, providers=tuple(ProviderConfig(name=name, **quick) for name in PROVIDERS))


def storm(calls: int, *, at_once: int = 100, weather: Weather | None = None, seed: int = 1, threads: bool = False) -> Damage:
    """Run `calls` calls, `at_once` concurrently, on an event loop or in threads."""
    weather = weather or Weather()
    with running(providers(weather, seed)) as base:
        scene = Storm(base, weather, seed)
        sockets, running_threads, began = open_sockets(), threading.active_count(), time.monotonic()
        _in_threads(scene, calls, at_once) if threads else asyncio.run(_awaited(scene, calls, at_once))
        scene.damage.seconds = time.monotonic() - began
        left = scene.damage.left
        left |= {"requests at the providers": scene.at_providers()}
        left |= {
            "threads": _settled(lambda: threading.active_count() - running_threads),
            "sockets": _settled(lambda: open_sockets() - sockets),
        }
        return scene.finish()


async def _awaited(scene: Storm, calls: int, at_once: int) -> None:
    transport = async_transport(OWN)
    await scene.calls(calls, at_once)
    await asyncio.sleep(0)
    scene.damage.left = scene.held() | {
        "tasks": len(asyncio.all_tasks()) - 1,
        "connections in use": len(transport._open) - sum(map(len, transport._idle.values())),
        "connections being opened": transport._opening + len(transport._queue),
    }


def _in_threads(scene: Storm, calls: int, at_once: int) -> None:
    transport = sync_transport(OWN)
    scene.threads(calls, at_once)
    in_use = len(transport._open) - sum(map(len, transport._idle.values()))
    scene.damage.left = scene.held() | {"connections in use": in_use, "connections being opened": transport._opening + transport._waiting}
    transport.close()


def open_sockets() -> int:
    """Sockets of this process, counting both ends of each connection to a provider; 0 if the system does not tell."""
    try:
        names = [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if number.isdigit()]
    except OSError:
        return 0
    return sum(name.startswith("socket:") for name in names)


def _settled(count: Callable[[], int]) -> int:
    """The count after it had time to settle, since the other end of a connection closes a moment later; never negative."""
    until = time.monotonic() + PATIENCE
    while (found := count()) > 0 and time.monotonic() < until:
        time.sleep(0.02)
    return max(0, found)

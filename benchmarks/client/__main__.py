"""`python -m benchmarks.client`: CPU µs per call of headrace, its peers and a floor, in the same run."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.client.clients import CLIENTS, Client
from benchmarks.common import peers, upstream
from benchmarks.common.measure import QUICK, Budget, Reading, Worker, environment, interleave, table

PEERS = ("aiohttp", "httpx2", "openai", "litellm", "headrace")
FLOOR = {"async": "aiohttp", "sync": "httpx2"}


@dataclass(frozen=True)
class Scenario:
    """One table of the report."""

    name: str
    title: str
    mode: str
    kind: str
    concurrency: int
    path: str = ""


SCENARIOS = (
    Scenario("chat-1", "chat, async, 1 at a time", "async", "chat", 1),
    Scenario("chat-50", "chat, async, 50 at once", "async", "chat", 50),
    Scenario("chat-500", "chat, async, 500 at once", "async", "chat", 500),
    Scenario("stream-1", "stream of 500 chunks, async, 1 at a time", "async", "stream", 1),
    Scenario("stream-50", "stream of 500 chunks, async, 50 at once", "async", "stream", 50),
    Scenario("paced-50", "stream of 500 chunks, each arriving alone, async, 50 at once", "async", "stream", 50, "/paced"),
    Scenario("embedding-50", "embedding of 1,536 floats, async, 50 at once", "async", "embedding", 50),
    Scenario("sync-1", "chat, sync, 1 thread", "sync", "chat", 1),
    Scenario("sync-16", "chat, sync, 16 threads", "sync", "chat", 16),
    Scenario("sync-stream-1", "stream of 500 chunks, sync, 1 thread", "sync", "stream", 1),
    Scenario("sync-embedding-1", "embedding of 1,536 floats, sync, 1 thread", "sync", "embedding", 1),
)


@dataclass(frozen=True)
class Target:
    """At most `most` µs where the floor cost `floor` µs on the quiet reference machine; judged as their ratio."""

    scenario: str
    client: str
    most: float
    floor: float

    @property
    def ratio(self) -> float:
        return self.most / self.floor


TARGETS = (
    Target("chat-50", "headrace", 80, 82),
    Target("chat-50", "headrace-router", 130, 82),
    Target("stream-50", "headrace", 5_000, 3_200),
    Target("embedding-50", "headrace", 400, 380),
    Target("sync-1", "headrace", 100, 221),
    Target("sync-16", "headrace", 100, 221),
)
"""Set on 23 November 2026. httpx2.Client cost 209 to 233 µs there; 221 is the middle."""

Results = Mapping[str, Mapping[str, Reading]]


def measure(scenario: Scenario, wanted: Sequence[str], address: str, budget: Budget) -> dict[str, Reading]:
    """The readings of the wanted clients, by name."""
    clients: dict[str, Client] = {name: client for name, client in CLIENTS[scenario.mode].items() if client.peer in wanted}
    with ExitStack() as stack:
        workers = {}
        for name, client in clients.items():
            arguments = [scenario.mode, name, scenario.kind, str(scenario.concurrency), address + scenario.path]
            command = [peers.python_of(client.home), "-m", "benchmarks.client.worker", *arguments]
            workers[name] = stack.enter_context(Worker(command, environment()))
        interleave(workers.values(), scenario.concurrency, budget)
        return {name: worker.reading for name, worker in workers.items()}


def ratio(readings: Mapping[str, Reading], name: str, mode: str) -> float:
    """Ratio to the floor of the same run; NaN without one."""
    floor = readings.get(FLOOR[mode])
    return readings[name].median / floor.median if floor and floor.rounds else math.nan


def number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)


def report(scenario: Scenario, readings: Mapping[str, Reading]) -> str:
    rows = [[scenario.title, "CPU µs/call", f"× {FLOOR[scenario.mode]}", "± %", "calls"]]
    for name, reading in readings.items():
        label = CLIENTS[scenario.mode][name].label
        if reading.failure:
            rows.append([f"  {label}: failed: {reading.failure}", "–", "–", "–", "0"])
            continue
        times = number(ratio(readings, name, scenario.mode), ".2f")
        rows.append([f"  {label}", number(reading.median, ",.0f"), times, number(reading.spread * 100, ".0f"), f"{reading.calls:,}"])
    return table(rows)


def verdicts(results: Results) -> str:
    """The targets that this run can judge."""
    rows = [["target", "at most ×", "measured ×", "CPU µs/call", ""]]
    for target in TARGETS:
        readings = results.get(target.scenario, {})
        scenario = next(scenario for scenario in SCENARIOS if scenario.name == target.scenario)
        if target.client not in readings or math.isnan(measured := ratio(readings, target.client, scenario.mode)):
            continue
        label = f"{CLIENTS[scenario.mode][target.client].label}: {scenario.title}"
        cells = [f"{target.ratio:.2f}", f"{measured:.2f}", f"{readings[target.client].median:,.0f}"]
        rows.append([label, *cells, "met" if measured <= target.ratio else "missed"])
    return table(rows) if len(rows) > 1 else "targets are not checked: their floors were not measured"


def as_json(results: Results) -> dict[str, Any]:
    return {
        scenario.name: {
            name: {
                "cpu_us": reading.median,
                "ratio": ratio(readings, name, scenario.mode),
                "rounds": reading.rounds,
                "failure": reading.failure,
            }
            for name, reading in readings.items()
        }
        for scenario in SCENARIOS
        if (readings := results.get(scenario.name))
    }


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """An argparse type for a comma-separated choice."""

    def read(text: str) -> list[str]:
        chosen = [part.strip() for part in text.split(",") if part.strip()]
        if not chosen or (strange := [name for name in chosen if name not in known]):
            raise argparse.ArgumentTypeError(f"choose from {', '.join(known)}, got {', '.join(strange) if chosen else 'nothing'}")
        return chosen

    return read


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    scenarios = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.client", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--peers", type=names(PEERS), default=list(PEERS), help=f"comma-separated, of {', '.join(PEERS)}")
    parser.add_argument("--scenarios", type=names(scenarios), default=scenarios, help=f"comma-separated, of {', '.join(scenarios)}")
    parser.add_argument("--json", action="store_true", help="machine-readable, at the end")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options(arguments)
    budget = QUICK if chosen.quick else Budget()
    results: dict[str, dict[str, Reading]] = {}
    out = sys.stderr if chosen.json else sys.stdout
    try:
        for home in {client.home for clients in CLIENTS.values() for client in clients.values() if client.peer in chosen.peers}:
            peers.python_of(home)
    except peers.PeerError as error:
        print(error, file=sys.stderr)
        return 1
    with upstream.running() as address:
        for scenario in SCENARIOS:
            if scenario.name in chosen.scenarios:
                results[scenario.name] = measure(scenario, chosen.peers, address, budget)
                print(report(scenario, results[scenario.name]) + "\n", file=out, flush=True)
    print(verdicts(results), file=out)
    if chosen.json:
        print(json.dumps(as_json(results), indent=1))
    return 1 if any(reading.failure for readings in results.values() for reading in readings.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

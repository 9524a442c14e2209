"""`python -m benchmarks.gateway`: throughput, added latency and memory of the gateway on one core, compared with peers and a floor."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from benchmarks.common import upstream
from benchmarks.common.measure import table
from benchmarks.gateway import load
from benchmarks.gateway.contestants import CONTESTANTS, AbsentError, Contestant
from benchmarks.gateway.processes import cpu_seconds, resident_mb

CONNECTIONS = 16
PACED = 50
"""Concurrent paced streams."""
RATE = 50.0
"""Requests per second when measuring added latency."""


@dataclass
class Found:
    """One contestant's measurements."""

    idle: float
    """MB before any load."""
    cpu: dict[str, list[float]] = field(default_factory=dict)
    """CPU µs per request, or per chunk, by scenario; one per round."""
    seen: dict[str, list[float]] = field(default_factory=dict)
    """Requests or chunks per second observed on the machine, whatever its load."""
    took: dict[str, list[float]] = field(default_factory=dict)
    """Seconds per response at the steady rate, by scenario."""
    after: float = 0.0
    """MB after the load."""
    requests: int = 0
    failed: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Plan:
    """Measuring effort."""

    rounds: int
    seconds: float
    turns: int
    """Responses timed at the steady rate."""


PLANS = {False: Plan(5, 4, 500), True: Plan(1, 3, 20)}


def measure(running: Mapping[str, Contestant], direct: str, plan: Plan, folder: Path) -> dict[str, Found]:
    """All contestants' measurements: in each round every scenario, in each scenario every contestant."""
    found = {name: Found(resident_mb(one.pid)) for name, one in running.items()}
    for number in range(plan.rounds):
        for scenario, run in SCENARIOS.items():
            for name, one in running.items():
                if not number and scenario != "paced":
                    _in_round(Found(0.0), scenario, partial(run, one, plan, folder), one)  # warm-up
                _in_round(found[name], scenario, partial(run, one, plan, folder), one)
    for name, one in running.items():
        found[name].after = resident_mb(one.pid)
    for scenario in ("whole", "first"):
        _timed({name: one for name, one in running.items() if not found[name].problem}, direct, scenario, plan, found)
    return found


Run = Callable[[Contestant, Plan, Path], tuple[int, int, float]]
"""Runs a scenario once: (requests or chunks, failures, wall seconds)."""


def _in_round(found: Found, scenario: str, run: Callable[[], tuple[int, int, float]], one: Contestant) -> None:
    if found.problem:
        return
    before = cpu_seconds(one.pid)
    try:
        count, failed, seconds = run()
    except (OSError, RuntimeError) as error:
        found.problem = f"{scenario}: {error}"
        return
    used = cpu_seconds(one.pid) - before
    found.requests, found.failed = found.requests + count, found.failed + failed
    if failed:
        found.problem = f"{scenario}: {failed} answers were errors"
        return
    found.cpu.setdefault(scenario, []).append(used / count * 1e6)
    found.seen.setdefault(scenario, []).append(count / seconds)


def _flooded(text: str, *, stream: bool) -> Run:
    def run(one: Contestant, plan: Plan, folder: Path) -> tuple[int, int, float]:
        body = load.body_of(text, stream=stream)
        done = load.flood(folder, one.address, body, one.headers, connections=CONNECTIONS, seconds=plan.seconds)
        if not done.requests and not done.failed:  # a slow contestant gets more time
            done = load.flood(folder, one.address, body, one.headers, connections=CONNECTIONS, seconds=5 * plan.seconds)
        if not done.requests:
            raise RuntimeError(f"nothing was answered in {done.seconds:.0f} s")
        return done.requests * (upstream.CHUNKS if stream else 1), done.failed, done.seconds

    return run


def _paced(one: Contestant, plan: Plan, folder: Path) -> tuple[int, int, float]:
    request = load.request_of(one.address, load.body_of(load.SMALL, stream=True, paced=True), one.headers)
    began = time.perf_counter()
    events = asyncio.run(load.streams(one.address, request, PACED))
    short = max(0, PACED * (upstream.CHUNKS + 1) - events)
    return PACED * upstream.CHUNKS, short, time.perf_counter() - began


SCENARIOS: dict[str, Run] = {
    "small": _flooded(load.SMALL, stream=False),
    "100 KB": _flooded(load.LARGE, stream=False),
    "chunks": _flooded(load.SMALL, stream=True),
    "paced": _paced,
}


def _timed(running: Mapping[str, Contestant], direct: str, scenario: str, plan: Plan, found: Mapping[str, Found]) -> None:
    """Time responses at the steady rate, alternating between the contestants and the upstream itself."""
    body = load.body_of(load.SMALL, stream=scenario == "first", paced=scenario == "first")
    callers = {"": (load.Caller(direct), load.request_of(direct, body, {}))}
    callers |= {name: (load.Caller(one.address), load.request_of(one.address, body, one.headers)) for name, one in running.items()}
    load.in_turns(callers, times=5, rate=RATE, first=scenario == "first")  # warm-up
    took = load.in_turns(callers, times=plan.turns, rate=RATE, first=scenario == "first")
    for name in running:
        for share in (0.5, 0.99):
            found[name].took[f"{scenario} {share:g}"] = [load.quantile(took[name], share), load.quantile(took[""], share)]
    for caller, _ in callers.values():
        caller.close()


# ---- the report ----------------------------------------------------------------------------------------------------------------------


def report(running: Mapping[str, Contestant], found: Mapping[str, Found]) -> str:
    """Capacity of one core by CPU time, observed throughput, added latency, and memory."""
    scenarios = [("small", "small /s"), ("100 KB", "100 KB /s"), ("chunks", "chunks /s"), ("paced", "paced chunks /s")]
    heads = ["per CPU second of one core", *(title for _, title in scenarios), "µs per small", "observed small /s"]
    rows = [heads, *([running[name].label, *_rates(one, [name for name, _ in scenarios])] for name, one in found.items())]
    times = [["added latency, at 50 requests/s", "p50 ms", "p99 ms", "first chunk p50 ms", "p99 ms", "idle MB", "after MB", "calls"]]
    times += [
        [running[name].label, *_added(one), f"{one.idle:.0f}", f"{one.after:.0f}", f"{one.requests:,}"] for name, one in found.items()
    ]
    return f"{table(rows)}\n\n{table(times)}"


def _rates(one: Found, scenarios: Sequence[str]) -> list[str]:
    rates = [f"{1e6 / min(one.cpu[name]):,.0f}" if one.cpu.get(name) else "–" for name in scenarios]
    small = one.cpu.get("small")
    return [*rates, *([f"{min(small):.0f}", f"{max(one.seen['small']):,.0f}"] if small else ["–", "–"])]


def _added(one: Found) -> list[str]:
    pairs = [one.took.get(f"{scenario} {share}") for scenario in ("whole", "first") for share in ("0.5", "0.99")]
    return [f"{(pair[0] - pair[1]) * 1000:.2f}" if pair else "–" for pair in pairs]


TARGETS = (("small", 12_000, "small requests/s"), ("100 KB", 6_000, "requests/s with 100 KB prompts"), ("chunks", 145_000, "chunks/s"))


def verdicts(found: Mapping[str, Found]) -> str:
    """headrace against its targets, which were set on a quiet machine. CPU time is compared, since other load disturbs it less."""
    ours = found.get("headrace")
    if ours is None:
        return "targets are not checked: headrace is not among the peers"
    rows = [["target", "at least", "by CPU time", ""]]
    for scenario, least, title in TARGETS:
        if ours.cpu.get(scenario):
            reached = 1e6 / min(ours.cpu[scenario])
            rows.append([title, f"{least:,}", f"{reached:,.0f}", "met" if reached >= least else "missed"])
    rows.append(["MB after load", "≤ 60", f"{ours.after:.0f}", "met" if ours.after <= 60 else "missed"])
    for title, at in (("added p50, ms", "whole 0.5"), ("added to the first chunk, ms", "first 0.5")):
        if pair := ours.took.get(at):
            added = (pair[0] - pair[1]) * 1000
            rows.append([title, "≤ 0.5", f"{added:.2f} (wall)", "met" if added <= 0.5 else "missed"])
    return table(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--peers", default="headrace,nginx,litellm,portkey", help=f"comma-separated, of {', '.join(CONTESTANTS)}")
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="rounds for each peer, of which the best counts (default 5)")
    chosen = parser.parse_args(arguments)
    wanted = [name.strip() for name in chosen.peers.split(",") if name.strip()]
    if strange := [name for name in wanted if name not in CONTESTANTS]:
        parser.error(f"there is no {', '.join(strange)}; choose from {', '.join(CONTESTANTS)}")
    if shutil.which("wrk") is None:
        print("wrk, which generates the load, is not installed (package wrk of Debian and Homebrew)", file=sys.stderr)
        return 1
    plan = PLANS[chosen.quick] if not chosen.rounds else replace(PLANS[chosen.quick], rounds=chosen.rounds)
    running: dict[str, Contestant] = {}
    absent: list[str] = []
    with ExitStack() as stack, upstream.running() as address:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in wanted:
            folder = scratch / name
            folder.mkdir()
            try:
                running[name] = stack.enter_context(CONTESTANTS[name](address, folder))
            except AbsentError as error:
                absent.append(f"{name} is not in the table: {error}")
        found = measure(running, address, plan, scratch)
        stack.close()
    print(report(running, found), "", verdicts(found), sep="\n")
    problems = [f"{name} gave up: {one.problem}" for name, one in found.items() if one.problem]
    print("", *absent, *problems, sep="\n")
    return 1 if any(one.problem for name, one in found.items() if name == "headrace") else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.limits.planner`: time to plan a day with ten calls per second, with ample, little and too little capacity.

Each plan runs in a process of its own on one core. The target is 60 s of CPU for 24 simulated hours; it is judged with
ample and with little capacity, and printed for all. `--quick` plans an hour and judges nothing.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.common.measure import environment, table
from headrace.planner import Load, forecast, read_fleet

RATE, HOURS, QUICK_HOURS = 10.0, 24.0, 1.0
TARGET = 60.0
"""CPU seconds for `HOURS`."""
SHARES = {"room to spare": 0.70, "little room": 0.90, "overloaded": 1.05}
"""Requested calls relative to what the limits allow."""


@dataclass
class Row:
    """The result of one plan."""

    plan: str
    hours: float = 0.0
    """Simulated hours until the last response."""
    calls: int = 0
    refused: int = 0
    mean_wait: float = 0.0
    cpu: float = 0.0
    seconds: float = 0.0
    memory: float = 0.0
    """The process's peak memory in MB."""

    @property
    def per_call(self) -> float:
        return self.cpu / self.calls * 1e6


def plan(name: str, hours: float, deployments: int = 3) -> Row:
    """Run one plan in this process; its request limit binds, and its tokens come close."""
    rpm = round(RATE * 60 / SHARES[name] / deployments)
    entries = [
        {"model_name": "chat", "litellm_params": {"model": "openai/gpt-4o", "api_key": str(key), "rpm": rpm, "tpm": rpm * 1600}}
        for key in range(deployments)
    ]
    fleet, load = read_fleet(entries), Load("chat", rate=RATE, hours=hours)
    wall, cpu = time.perf_counter(), time.process_time()
    found = forecast(fleet, load)
    return Row(
        plan=name,
        hours=found.finish / 3600,
        calls=found.calls,
        refused=found.provider_429s,
        mean_wait=found.waits.mean,
        cpu=time.process_time() - cpu,
        seconds=time.perf_counter() - wall,
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def measure(name: str, hours: float) -> Row:
    """`plan` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.limits.planner", "--one", name, "--hours", str(hours)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    return Row(**json.loads(done.stdout))


def shown(rows: Sequence[Row]) -> str:
    head = ("plan", "simulated", "calls", "provider 429s", "mean wait", "CPU", "wall", "a call", "memory")
    body = [
        (
            row.plan,
            f"{row.hours:.2f} h",
            f"{row.calls:,}",
            str(row.refused),
            f"{row.mean_wait:.2f} s",
            f"{row.cpu:.1f} s",
            f"{row.seconds:.1f} s",
            f"{row.per_call:.0f} µs",
            f"{row.memory:.0f} MB",
        )
        for row in rows
    ]
    return table([head, *body])


def verdict(row: Row) -> str:
    said = "met" if row.cpu < TARGET else "missed"
    return f"target: 24 h of {RATE:.0f} calls a second in under {TARGET:.0f} s, {row.plan}: {row.cpu:.1f} s, {said}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits.planner", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="an hour instead of a day; the target is not checked")
    parser.add_argument("--hours", type=float, help="simulated hours")
    parser.add_argument("--plans", nargs="*", choices=[*SHARES], default=[*SHARES], help="which plans")
    parser.add_argument("--one", choices=[*SHARES], help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    given = parser.parse_args(arguments)
    hours = given.hours or (QUICK_HOURS if given.quick else HOURS)
    if given.one:
        print(json.dumps(asdict(plan(given.one, hours))))
        return 0
    rows = [measure(name, hours) for name in given.plans]
    print(json.dumps([asdict(row) for row in rows]) if given.json else shown(rows))
    judged = [row for row in rows if hours >= HOURS and SHARES[row.plan] < 1]
    for row in judged:
        print(verdict(row), file=sys.stderr if given.json else sys.stdout)
    return 1 if any(row.cpu >= TARGET for row in judged) else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.imports`: time and memory of importing headrace, its peers and a floor, in fresh processes that alternate."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.common import peers
from benchmarks.common.measure import environment, table

PROBE = """
import json, os, resource, sys, threading, time
def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
before, began, touched = memory(), time.perf_counter(), []
sys.addaudithook(lambda event, _: touched.append(event) if event in ("socket.connect", "socket.getaddrinfo") else None)
{statement}
seconds = time.perf_counter() - began
print(json.dumps({{"seconds": seconds, "bytes": memory() - before, "threads": threading.active_count() - 1,
                   "modules": len(sys.modules), "network": len(touched)}}))
"""
"""Runs in the measured interpreter, so it uses only the standard library."""


@dataclass(frozen=True)
class Import:
    """A statement and the environment it runs in."""

    label: str
    home: str
    statement: str


DEPLOYMENT = {"model_name": "chat", "litellm_params": {"model": "openai/gpt-4o-mini", "api_key": "sk-none", "rpm": 10}}
IMPORTS = (
    Import("nothing (floor)", "python", "pass"),
    Import("msgspec", "python", "import msgspec"),
    Import("httpx2", "http", "import httpx2"),
    Import("aiohttp", "http", "import aiohttp"),
    Import("openai SDK", "openai", "from openai import OpenAI, AsyncOpenAI"),
    Import("LiteLLM", "litellm", "from litellm import Router, completion"),
    Import("headrace", "core", "from headrace import Router, completion"),
    Import("headrace and a first Router", "core", f"from headrace import Router; Router(model_list=[{DEPLOYMENT}])"),
    Import("headrace, much installed", "headrace", "from headrace import Router, completion"),
)
"""`core` has only what headrace installs. With more packages, msgspec loads typing_extensions and thus `inspect`: measured too."""
MOST_SECONDS, MOST_BYTES = 0.050, 20e6
"""The targets for headrace, relative to a bare Python."""


@dataclass
class Cost:
    """Measurements of one import over all rounds."""

    seconds: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    threads: int = 0
    network: int = 0
    modules: int = 0

    def add(self, seen: dict[str, Any]) -> None:
        self.seconds.append(seen["seconds"])
        self.bytes.append(seen["bytes"])
        self.threads, self.modules = max(self.threads, seen["threads"]), seen["modules"]
        self.network = max(self.network, seen["network"])


def probe(measured: Import) -> dict[str, Any]:
    """One import in a process of its own. The first, uncounted round compiles the byte code."""
    given = {name: value for name, value in environment().items() if name != "PYTHONDONTWRITEBYTECODE"}
    given["PYTHONPATH"] = str(peers.ROOT / "src")
    command = [str(peers.python_of(measured.home)), "-c", PROBE.format(statement=measured.statement)]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise SystemExit(f"{measured.label}: {done.stderr.strip().splitlines()[-1]}")
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def measure(imports: Sequence[Import], rounds: int) -> dict[str, Cost]:
    costs = {measured.label: Cost() for measured in imports}
    for measured in imports:
        probe(measured)
    for _ in range(rounds):
        for measured in imports:
            costs[measured.label].add(probe(measured))
    return costs


def report(costs: dict[str, Cost]) -> str:
    floor = statistics.median(costs[IMPORTS[0].label].bytes)
    rows = [["import", "ms (median)", "ms (least)", "MB", "modules", "threads", "network calls"]]
    for label, cost in costs.items():
        megabytes = (statistics.median(cost.bytes) - floor) / 1e6
        figures = [f"{statistics.median(cost.seconds) * 1e3:,.1f}", f"{min(cost.seconds) * 1e3:,.1f}", f"{megabytes:,.1f}"]
        rows.append([label, *figures, str(cost.modules), str(cost.threads), str(cost.network)])
    return table(rows)


def verdict(costs: dict[str, Cost]) -> str:
    ours, floor = costs.get("headrace") or costs["headrace, much installed"], costs[IMPORTS[0].label]
    seconds = statistics.median(ours.seconds) - statistics.median(floor.seconds)
    size = statistics.median(ours.bytes) - statistics.median(floor.bytes)
    met = seconds <= MOST_SECONDS and size <= MOST_BYTES and not ours.threads and not ours.network
    return (
        f"headrace over a bare Python: {seconds * 1e3:.1f} ms (at most {MOST_SECONDS * 1e3:.0f}), {size / 1e6:.1f} MB (at most "
        f"{MOST_BYTES / 1e6:.0f}), {ours.threads} threads, {ours.network} network calls: {'met' if met else 'missed'}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imports", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds instead of fifteen")
    parser.add_argument("--own", action="store_true", help="only headrace, msgspec and the floor: no environments are created")
    chosen = parser.parse_args(arguments)
    try:
        imports = [measured for measured in IMPORTS if not chosen.own or measured.home in peers.HERE]
        costs = measure(imports, 3 if chosen.quick else 15)
    except peers.PeerError as error:
        print(error, file=sys.stderr)
        return 1
    print(report(costs))
    print(verdict(costs))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.gateway.leaving`: time until the provider sees that a caller has disconnected, by endpoint."""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.measure import table
from benchmarks.gateway.asking import EVERYWHERE, Request, Silent, models_over, request_of
from benchmarks.gateway.contestants import MASTER, serving

PATIENCE: float = 30.0
"""Seconds after which a disconnect counts as unnoticed."""


def left(provider: Silent, request: Request) -> float:
    """Seconds from a caller's disconnect to the end of its call at the provider. Raises RuntimeError if that is not seen."""
    with socket.create_connection((request.host, request.port)) as caller:
        caller.sendall(request.data)
        _until(provider, 1)
    gone = time.perf_counter()
    _until(provider, 0)
    return provider.left_at - gone


def _until(provider: Silent, count: int) -> None:
    late = time.perf_counter() + PATIENCE
    while provider.in_flight != count:
        if time.perf_counter() > late:
            raise RuntimeError(f"{provider.in_flight} calls are at the provider after {PATIENCE:.0f} s, where {count} were expected")
        time.sleep(0.0005)


def report(found: dict[str, list[float]]) -> str:
    rows = [["endpoint", "median ms", "longest ms"]]
    rows += [[name, f"{statistics.median(took) * 1e3:.1f}", f"{max(took) * 1e3:.1f}"] for name, took in found.items()]
    every = [one for took in found.values() for one in took]
    return table([*rows, [f"all {len(found)}", f"{statistics.median(every) * 1e3:.1f}", f"{max(every) * 1e3:.1f}"]])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway.leaving", description=__doc__)
    parser.add_argument("--times", type=int, default=10, metavar="N", help="callers that disconnect from each endpoint (default 10)")
    times = parser.parse_args(arguments).times
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch, Silent() as provider:
        config = {"model_list": models_over(provider.address), "general_settings": {"master_key": MASTER}}
        (Path(scratch) / "config.json").write_text(json.dumps({**config, "router_settings": {"num_retries": 0}}))
        with serving(Path(scratch)) as (_, address):
            for name, asking in EVERYWHERE.items():
                request = request_of(address, MASTER, asking)
                found[name] = [left(provider, request) for _ in range(times)]
    print(report(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

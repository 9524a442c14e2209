"""`python -m benchmarks.routing`: CPU µs per routing decision with 3, 100 and 1,000 deployments, compared with LiteLLM's Router.

headrace's Router reserves under every limit of the deployment and releases; LiteLLM's only chooses. The cost of a whole
call through the Router relative to aiohttp is measured by `python -m benchmarks.client --scenarios chat-50`, which
`--calls` runs as well.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.common import peers
from benchmarks.common.measure import environment, table
from benchmarks.routing.worker import ROUTERS

SIZES = (3, 100, 1_000)


def reading(router: str, count: int, calls: int) -> float:
    """CPU µs per decision. Raises RuntimeError with the router's output if it failed."""
    python = peers.python_of(router.split()[0].strip(","))
    command = [str(python), "-m", "benchmarks.routing.worker", router, str(count), str(calls)]
    done = subprocess.run(command, cwd=peers.ROOT, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{router}: {done.stderr.strip()[-500:]}")
    return float(done.stdout.split()[-1])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routing", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("--quick", action="store_true", help="fewer decisions, one round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds for each router, of which the best counts")
    parser.add_argument("--own", action="store_true", help="headrace alone")
    parser.add_argument("--calls", action="store_true", help="also compare a whole call through the Router with aiohttp")
    given = parser.parse_args(arguments)
    routers = [name for name in ROUTERS if name.startswith("headrace") or not given.own]
    best: dict[tuple[str, int], float] = {}
    for _ in range(1 if given.quick else given.rounds):  # routers alternate, so that a busy moment affects all of them
        for count in SIZES:
            for router in routers:
                calls = (30 if given.quick else 200) if count == max(SIZES) else (200 if given.quick else 1_000)
                best[router, count] = min(reading(router, count, calls), best.get((router, count), float("inf")))
    rows = [["CPU µs per decision", *(f"{count:,} deployments" for count in SIZES)]]
    rows += [[router, *(f"{best[router, count]:,.1f}" for count in SIZES)] for router in routers]
    print(table(rows))
    if given.calls:
        command = [sys.executable, "-m", "benchmarks.client", "--quick", "--scenarios", "chat-50", "--peers", "aiohttp,headrace"]
        return subprocess.run(command, cwd=peers.ROOT, check=False).returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())

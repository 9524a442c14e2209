"""`python -m benchmarks.chaos`: 10,000 calls over real sockets with resets, truncation, hangs and leaving callers; checks for leaks.

The exit status is 1 if any resource is still held at the end, a call is unaccounted for, or a truncated stream looked
complete.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.chaos.storm import Damage, Weather, storm
from benchmarks.common.measure import table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", action="store_true", help="blocking calls in threads instead of awaited ones")
    parser.add_argument("--quick", action="store_true", help="500 calls")
    parser.add_argument("--resets", type=float, default=0.05, help="share of attempts")
    parser.add_argument("--cuts", type=float, default=0.05, help="share of attempts")
    parser.add_argument("--hangs", type=float, default=0.05, help="share of attempts")
    parser.add_argument("--leavers", type=float, default=0.10, help="share of callers")
    given = parser.parse_args(arguments)
    weather = Weather(given.resets, given.cuts, given.hangs, given.leavers)
    calls = 500 if given.quick else given.calls
    damage = storm(calls, at_once=given.at_once, weather=weather, seed=given.seed, threads=given.threads)
    print(report(damage))
    return 0 if sound(damage, calls) else 1


def sound(damage: Damage, calls: int) -> bool:
    """Whether every call is accounted for and nothing leaked."""
    return damage.calls == calls and not any(damage.left.values()) and not damage.false_ends


def report(damage: Damage) -> str:
    outcomes = [["outcome of the call", "count", "share"]]
    outcomes += [[name, f"{count:,}", f"{count / damage.calls:.1%}"] for name, count in damage.outcomes.most_common()]
    faults = [["at the providers", "count", "share"], ["requests", f"{damage.attempts:,}", ""]]
    faults += [[name, f"{count:,}", f"{count / max(1, damage.attempts):.1%}"] for name, count in damage.faults.most_common()]
    left = [["leaked", "count"], *([name, f"{count:,}"] for name, count in damage.left.items())]
    left += [["streams cut off that looked complete", f"{damage.false_ends:,}"]]
    summary = f"{damage.calls:,} calls in {damage.seconds:.0f} s"
    return "\n\n".join([summary, *(table(rows) for rows in (outcomes, faults, left))])


if __name__ == "__main__":
    sys.exit(main())

"""headrace against recorded traffic, as a table by provider and endpoint: `make conformance`, or `python -m tests.conformance`.

The recordings are looked for in `$HEADRACE_WIRE`, else in `shared/wire` beside the repository.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs from anywhere; the tests find each other so as well

from conformance import checks, crossing, sdk_types, stranger_checks, table
from conformance.corpus import everything, folder
from conformance.tongues import TONGUES

PHASES = ("table", "crossing", "headers", "strangers")


def main() -> int:
    options = arguments()
    if folder() is None:
        print("no recorded traffic here: set HEADRACE_WIRE to its folder", file=sys.stderr)
        return 2
    begun = perf_counter()
    phases = options.only or [phase for phase in PHASES if phase != "crossing" or not options.plain]
    wrong = [problem for phase in phases for problem in run(phase, options)]
    print(f"{perf_counter() - begun:.1f} s")
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


def run(phase: str, options: argparse.Namespace) -> list[str]:
    """Print one phase's figures; what is wrong."""
    match phase:
        case "table":
            return tabled(options)
        case "crossing":
            return crossed(options.workers, options.part)
        case "strangers":
            return strangers()
    return headers()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--plain", action="store_true", help="only what was recorded, nothing made from it")
    parser.add_argument("--everything", action="store_true", help="cut each stream at every frame and at 200 bytes (minutes)")
    parser.add_argument("--only", action="append", choices=PHASES, help="this phase only (may be given several times)")
    parser.add_argument("--part", type=part, default=(1, 1), metavar="I/N", help="the I-th of N parts of the table and of the crossing")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")
    return parser.parse_args()


def part(text: str) -> tuple[int, int]:
    """`2/4` as numbers."""
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= SHARES):
        raise argparse.ArgumentTypeError(f"{text!r} is no part: 1/4 is the first of four, and there are {SHARES} at most")
    return int(number), int(of)


T, R = TypeVar("T"), TypeVar("R")


def spread(work: Callable[[T], R], over: Sequence[T], workers: int, name: str) -> list[R]:
    """`work` done by several processes; how far they are is told on the terminal."""
    begun, done = perf_counter(), []
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        for found in pool.map(work, over):
            done.append(found)
            if sys.stderr.isatty():
                print(f"\r{name}: {len(done)} of {len(over)}, {perf_counter() - begun:.0f} s ", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return done


# ---- the table ---------------------------------------------------------------------------------------------------------------------


def tabled(options: argparse.Namespace) -> list[str]:
    """Print how many exchanges of each provider and endpoint stood each test."""
    columns = table.COLUMNS if options.plain else (*table.COLUMNS, *table.MUTATIONS)
    if options.everything:
        columns = tuple(table.EVERY_CUT if column.name == "cuts" else column for column in columns)
    count = judged(columns, options.workers, options.part)
    table.plainly(count)
    table.beside(count)
    print("\n".join(table.lines(count, columns)))
    explain()
    return count.wrong


def judged(columns: tuple[table.Column, ...], workers: int, part: tuple[int, int] = (1, 1)) -> table.Count:
    """Each share is every so many-th exchange."""
    global _COLUMNS
    _COLUMNS = columns
    return table.merged(spread(partial(_share, of=SHARES), range(SHARES)[part[0] - 1 :: part[1]], workers, "exchanges"))


SHARES = 40


_COLUMNS: tuple[table.Column, ...] = ()
"""Inherited by the workers: functions without a name cannot be sent to them."""


def _share(number: int, of: int) -> table.Count:
    return table.judged(_COLUMNS, (number, of))


# ---- other dialects ----------------------------------------------------------------------------------------------------------------


def crossed(workers: int, part: tuple[int, int] = (1, 1)) -> list[str]:
    """Print what each dialect's recordings come to in each other dialect; what is wrong with them."""
    pairs = [(number, to) for number, tongue in enumerate(TONGUES) for to in sdk_types.REQUESTS if to != tongue.name]
    pairs = pairs[part[0] - 1 :: part[1]]
    found = spread(_pair, pairs, workers, "pairs of dialects")
    print(f"\n{'said in another dialect':<42}{'requests':>10}{'refused':>9}{'answers':>9}{'streams':>9}{'reported':>10}{'wrong':>7}")
    for (number, to), pair in zip(pairs, found, strict=True):
        kinds = pair.said["requests"], pair.refused, pair.said["answers"], pair.said["streams"], pair.reported.total(), len(pair.wrong)
        print(f"{TONGUES[number].name + ' to ' + to:<42}" + "".join(f"{n:>{w}}" for n, w in zip(kinds, (10, 9, 9, 9, 10, 7), strict=True)))
    print("refused: content no block can say, by its name; reported, with requests, answers and streams together:")
    why = sum((pair.reported for pair in found), Counter[str]())
    print("\n".join(f"{count:6} {reason}" for reason, count in why.most_common()))
    return [wrong for pair in found for wrong in pair.wrong]


def _pair(which: tuple[int, str]) -> crossing.Pair:
    number, to = which
    return crossing.crossed(TONGUES[number], to)


# ---- the rest ----------------------------------------------------------------------------------------------------------------------


def headers() -> list[str]:
    """Print how many replies' limits are understood; which are not."""
    limits = [it for it in everything() if any("ratelimit" in name for name in it.response_headers or {})]
    wrong = [f"{it}: limits: {problem}" for it in limits for problem in checks.headers(it)[:1]]
    print(f"\nrate-limit headers understood: {len(limits) - len(wrong)} of {len(limits)} replies")
    return wrong


def strangers() -> list[str]:
    """Print how much is read as well without the row of whoever sent it; what is not."""
    count = stranger_checks.counted()
    print("\n" + "\n".join(stranger_checks.lines(count)))
    return count.why


def explain() -> None:
    print("\nanswers that are written otherwise than they came, and why:")
    for name, rule, number, of in table.excepted():
        print(f"{number:6} of {of} ({number / of:.1%}) {name}: {rule}")
    missing, meant = table.uncovered()
    rows = Counter(f"{it.provider} {it.endpoint}" for it in missing)
    print(f"\nlooked at by nothing: {len(missing)}" + "".join(f", {row} {number}" for row, number in sorted(rows.items())))
    print(f"no endpoint of headrace's: {meant.total()}")
    print("\n".join(f"{number:6} {why}" for why, number in meant.most_common()))


if __name__ == "__main__":
    sys.exit(main())

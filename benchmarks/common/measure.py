"""CPU time per call of clients, each in a process of its own, in rounds that alternate between the clients."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

CLIENT_CORE = 0


@dataclass(frozen=True)
class Budget:
    """Measuring effort: `rounds` of about `seconds` CPU each; a client too slow for that gets fewer rounds, at least 3."""

    rounds: int = 9
    seconds: float = 0.25
    warm: int = 200
    """Calls before measuring, or as many as fit into `seconds`."""


QUICK = Budget(rounds=3, seconds=0.08, warm=50)
SLOW_ROUND = 1.5
"""CPU seconds per round above which a client gets only three rounds."""


@dataclass
class Reading:
    """A client's cost: CPU µs per call of each round, and its failure, if any."""

    rounds: list[float] = field(default_factory=list)
    calls: int = 0
    failure: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.rounds) if self.rounds else float("nan")

    @property
    def spread(self) -> float:
        """Half the interquartile range, relative to the median."""
        if len(self.rounds) < 3:
            return float("nan")
        low, _, high = statistics.quantiles(self.rounds, n=4, method="inclusive")
        return (high - low) / 2 / self.median


class Worker:
    """A client in a process of its own: receives a number of calls and returns the CPU seconds they took."""

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        self.reading = Reading()
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, calls: int) -> float:
        """CPU seconds of `calls` calls; NaN, with a failure in the reading, if the client failed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(f"{calls}\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.reading.failure = self._last_words()
            return float("nan")
        return float(json.loads(line)["cpu"])

    def _last_words(self) -> str:
        self.process.wait(timeout=30)
        assert self.process.stderr is not None
        lines = self.process.stderr.read().strip().splitlines() or [f"ended with {self.process.returncode}"]
        return lines[-1][:200]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate()


def environment() -> dict[str, str]:
    """Our environment variables without proxies and keys, so that clients only use loopback and fetch nothing at start."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith(("_proxy", "_api_key"))}
    return kept | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"}


def interleave(workers: Iterable[Worker], concurrency: int, budget: Budget) -> None:
    """Fill every worker's reading, round by round, with all clients in each round."""
    turns = {worker: plan for worker in workers if (plan := _warmed(worker, concurrency, budget))}
    for number in range(budget.rounds):
        for worker, (calls, rounds) in turns.items():
            if number < rounds and not worker.reading.failure:
                seconds = worker.run(calls)
                if seconds == seconds:  # not NaN
                    worker.reading.rounds.append(seconds / calls * 1e6)
                    worker.reading.calls += calls


def _warmed(worker: Worker, concurrency: int, budget: Budget) -> tuple[int, int] | None:
    """Calls per round and number of rounds, from the second of two warm-up runs: the first pays for connections and late imports."""
    first = worker.run(concurrency)
    per_call = first / concurrency
    enough = max(concurrency, min(budget.warm, int(budget.seconds / per_call) if per_call == per_call else 0))
    seconds = worker.run(enough) if not worker.reading.failure else float("nan")
    if worker.reading.failure:
        return None
    calls = max(concurrency, int(budget.seconds / seconds * enough))
    calls += -calls % concurrency
    slow = seconds / enough * calls > SLOW_ROUND
    return calls, min(budget.rounds, 3) if slow else budget.rounds


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table with aligned columns: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )

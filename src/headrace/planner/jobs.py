"""The calls to plan for: jobs from a file, or a load described by a few numbers."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, repeat
from statistics import NormalDist
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from headrace.errors import ConfigurationError
from headrace.limits import Priority
from headrace.models.tokens import estimate_encoded
from headrace.routing.asking import DEFAULT_MAX_OUTPUT

MOST_MISTAKES: Final = 5
"""Bad lines that are reported individually."""


T = TypeVar("T")

QUANTILES: Final = 4096
"""Quantiles of a distribution of sizes or times: the largest one is exceeded by one draw in eight thousand."""


class Job(Struct, frozen=True, gc=False):
    """One call."""

    at: float
    """Seconds from the beginning of the run until it is requested."""
    model: str
    input: int
    """Prompt tokens."""
    max_output: int
    """Output limit in tokens, which is reserved for it."""
    output: int
    """Tokens that it will write."""
    tenant: str = ""
    priority: int = Priority.NORMAL
    stated: bool = True
    """Whether the caller gave `max_output`. Otherwise it is the Router's default, and providers count what is written."""


class Burst(Struct, frozen=True):
    """`calls` further calls at once, at second `at`; repeated every `every` seconds unless that is 0."""

    calls: int
    at: float = 0.0
    every: float = 0.0

    def moments(self, until: float) -> Iterator[float]:
        moment = self.at
        while moment < until:
            yield moment
            if not self.every:
                return
            moment += self.every


class Load(Struct, frozen=True):
    """A load described by a few numbers. Iterating yields its jobs in order of time, the same ones every time."""

    model: str
    rate: float = 0.0
    """Calls per second, at random moments."""
    hours: float = 1.0
    input: int = 1000
    """Mean prompt tokens."""
    output: int = 300
    """Mean output tokens."""
    max_tokens: int | None = None
    """Output limit of each call; without one, a Router reserves its default."""
    sigma: float = 0.5
    """Standard deviation of the logarithm of sizes; 0 for equal sizes."""
    bursts: tuple[Burst, ...] = ()
    tenants: Mapping[str, float] = {}
    """Each tenant's part of the calls."""
    seed: int = 1

    def __post_init__(self) -> None:
        for name, least in (("rate", 0), ("sigma", 0), ("output", 0), ("input", 1)):
            if not least <= getattr(self, name) < math.inf:
                raise ConfigurationError(f"{name} must be a number of at least {least}, got {getattr(self, name)!r}")
        if not 0 < self.hours < math.inf:
            raise ConfigurationError(f"hours must be a positive number, got {self.hours!r}")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigurationError(f"max_tokens must be at least 1, got {self.max_tokens!r}")
        if not self.rate and not self.bursts:
            raise ConfigurationError("a load without a rate and without bursts has no calls: give rate, or bursts")
        if any(not part > 0 for part in self.tenants.values()):
            raise ConfigurationError("tenants: every part must be a positive number")

    def __iter__(self) -> Iterator[Job]:
        chance = random.Random(self.seed)
        names, parts = list(self.tenants), list(self.tenants.values())
        most = self.max_tokens or DEFAULT_MAX_OUTPUT
        inputs, outputs = self._sizes(chance, self.input), self._sizes(chance, self.output)
        bursts = [self._burst(burst) for burst in self.bursts]
        for at in heapq.merge(self._steady(), *bursts) if bursts else self._steady():
            output = next(outputs)
            yield Job(
                at,
                self.model,
                next(inputs) or 1,
                most if self.output else 0,
                min(output, most) if self.max_tokens else output,
                chance.choices(names, parts)[0] if names else "",
                stated=self.max_tokens is not None,
            )

    def _steady(self) -> Iterator[float]:
        """Random moments of a Poisson process, as from many independent callers."""
        chance, at, until = random.Random(self.seed + 1), 0.0, self.hours * 3600
        while self.rate and (at := at + chance.expovariate(self.rate)) < until:
            yield at

    def _burst(self, burst: Burst) -> Iterator[float]:
        for moment in burst.moments(self.hours * 3600):
            for _ in range(burst.calls):
                yield moment

    def _sizes(self, chance: random.Random, mean: int) -> Iterator[int]:
        """Log-normal around the mean."""
        middle = mean * math.exp(-self.sigma * self.sigma / 2)
        return _drawn(chance, [round(value) for value in _spread(middle, self.sigma)]) if self.sigma and mean else repeat(mean)


def log_normal(chance: random.Random, middle: float, sigma: float) -> Iterator[float]:
    """Endless log-normal values with that median."""
    return _drawn(chance, _spread(middle, sigma))


def _spread(middle: float, sigma: float) -> list[float]:
    return [middle * math.exp(sigma * quantile) for quantile in _quantiles()]


def _drawn(chance: random.Random, values: Sequence[T]) -> Iterator[T]:
    """Endless random choices from `values`, drawn in batches, which is faster than one by one."""
    return chain.from_iterable(chance.choices(values, k=QUANTILES) for _ in repeat(None))


@lru_cache(maxsize=1)
def _quantiles() -> list[float]:
    """Quantiles of the normal distribution."""
    inverse = NormalDist().inv_cdf
    return [inverse((number + 0.5) / QUANTILES) for number in range(QUANTILES)]


# ---- jobs.jsonl


def read_jobs(lines: Iterable[str | bytes], *, model: str | None = None, output: int = 300) -> list[Job]:
    """Jobs from JSON lines, in order of time.

    A line is OpenAI's batch form, a request body, or `{"model", "input_tokens", "output_tokens", "at"}`. model: for
    lines that name none. output: tokens of a response if the line does not say. Raises ConfigurationError that names
    the bad lines.
    """
    jobs: list[Job] = []
    mistakes: list[str] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                jobs.append(read_job(msgspec.json.decode(line), model, output))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                mistakes.append(f"line {number}: not JSON: {error}")
            except ConfigurationError as error:
                mistakes.append(f"line {number}: {error}")
    if mistakes:
        more = f"; and {len(mistakes) - MOST_MISTAKES} more" if len(mistakes) > MOST_MISTAKES else ""
        raise ConfigurationError("; ".join(mistakes[:MOST_MISTAKES]) + more)
    if not jobs:
        raise ConfigurationError("it contains no job: expected one JSON object per line")
    return sorted(jobs, key=lambda job: job.at)


def read_job(row: Any, model: str | None = None, output: int = 300) -> Job:
    """A job from one line. Raises ConfigurationError that names the field."""
    if not isinstance(row, Mapping):
        raise ConfigurationError("must be a JSON object")
    body = row.get("body", row)
    if not isinstance(body, Mapping):
        raise ConfigurationError("body must be an object: the request as it would be sent")
    name = body.get("model") or model
    if not isinstance(name, str):
        raise ConfigurationError("model is missing: name it in the line, or for all lines with --model")
    answers = not _embeds(row, body)
    most = _most(body) if answers else 0
    written = _count(row, "output_tokens")
    return Job(
        at=_seconds(row),
        model=name,
        input=_input(row, body),
        max_output=most or (DEFAULT_MAX_OUTPUT if answers else 0),
        output=0 if not answers else written if written is not None else min(output, most or output),
        tenant=str(row.get("tenant") or ""),
        priority=priority if (priority := _count(row, "priority")) is not None else Priority.NORMAL,
        stated=bool(most) or not answers,
    )


def _embeds(row: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    url = row.get("url")
    return url.endswith("/embeddings") if isinstance(url, str) else "input" in body and "max_output_tokens" not in body


def _most(body: Mapping[str, Any]) -> int | None:
    """The output limit of a request, over all choices; None if it gives none."""
    for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        if (most := _count(body, name)) is not None:
            return most * (_count(body, "n") or 1)
    return None


def _input(row: Mapping[str, Any], body: Mapping[str, Any]) -> int:
    """Prompt tokens: as stated, else as the client would estimate them."""
    stated = _count(row, "input_tokens")
    if stated is not None:
        return stated
    for name in ("messages", "prompt", "input"):
        if name in body:
            extra = [body[part] for part in ("tools", "functions", "instructions", "system") if part in body]
            return sum(estimate_encoded(msgspec.json.encode(part), part) for part in (body[name], *extra))
    raise ConfigurationError("has no size: give messages, prompt, input or input_tokens")


def _count(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != int(value):
        raise ConfigurationError(f"{name} must be a whole number of at least 0, got {value!r}")
    return int(value)


def _seconds(row: Mapping[str, Any]) -> float:
    value = row.get("at", 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ConfigurationError(f"at must be a number of seconds after the start, got {value!r}")
    return float(value)

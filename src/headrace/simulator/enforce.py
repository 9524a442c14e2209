"""How providers enforce limits: pure state machines; the time is passed in.

A `Meter` applies one rule to one quantity. An `Enforcer` checks a request against all meters that apply, all or nothing,
and charges tokens when its provider does.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol

from headrace.simulator.durations import go_duration

Unit = Literal["requests", "tokens", "input_tokens", "output_tokens"]
Shape = Literal["bucket", "fixed", "sliding"]
Accounting = Literal["reserve", "settle", "post"]
"""reserve: prompt + max_tokens at arrival, kept. settle: the same, but the unused part is returned at the end.
post: the prompt at arrival, output as it is generated.
"""

SLACK: Final = 1e-6
"""Requests or tokens by which a charge may exceed the room, to allow for rounding; never a whole one."""
TICK: Final = 1e-6
"""Seconds by which a window ends early, so that a caller who waits exactly as told is admitted in spite of rounding."""
TOO_LARGE: Final = "The input or output tokens must be reduced in order to run successfully."
SATURATED: Final = 0.9
"""Share of a limit from which a minute counts as saturated even without a refusal."""


class Meter(Protocol):
    """One quantity under one rule. `now` is in seconds and never decreases."""

    limit: float
    """Capacity of an empty window or a full bucket."""
    peak: float
    """The maximum ever in use."""

    def room(self, now: float) -> float:
        """What may be charged now; negative after charges that could not be refused."""
        ...

    def take(self, now: float, amount: float) -> Any:
        """Charge, whether or not there is room. Returns a mark for `give`."""
        ...

    def give(self, now: float, mark: Any, amount: float) -> None:
        """Return a charge, as far as it still counts."""
        ...

    def wait(self, now: float, amount: float) -> float:
        """Seconds until `amount` fits if nothing else arrives; inf if it never does."""
        ...

    def reset(self, now: float) -> float:
        """Seconds until the whole limit is free."""
        ...

    def pester(self, now: float) -> None:
        """Charge one refused request: it prolongs the refusal but leaves no debt."""
        ...

    def resize(self, rule: Rule) -> None:
        """Change the amount; what is in use stays in use."""
        ...


class TokenBucket:
    """`rate` per second refill continuously, up to `limit`; starts full."""

    __slots__ = ("_at", "_room", "limit", "peak", "rate")

    def __init__(self, rate: float, capacity: float) -> None:
        self.rate = rate
        self.limit = capacity
        self.peak = 0.0
        self._room = capacity
        self._at = -math.inf

    def room(self, now: float) -> float:
        if now > self._at:
            if self._room < self.limit:
                self._room = min(self.limit, self._room + (now - self._at) * self.rate)
            self._at = now
        return self._room

    def take(self, now: float, amount: float) -> None:
        self._room = self.room(now) - amount
        self.peak = max(self.peak, self.limit - self._room)

    def give(self, now: float, mark: Any, amount: float) -> None:
        self._room = min(self.limit, self.room(now) + amount)

    def wait(self, now: float, amount: float) -> float:
        if amount > self.limit + SLACK:
            return math.inf
        short = amount - self.room(now)
        return short / self.rate if short > SLACK else 0.0

    def reset(self, now: float) -> float:
        return (self.limit - self.room(now)) / self.rate

    def pester(self, now: float) -> None:
        self._room = min(self._room, max(0.0, self.room(now) - 1))

    def resize(self, rule: Rule) -> None:
        used = self.limit - self._room
        self.rate, self.limit = rule.flow()
        self._room = self.limit - used


class FixedWindow:
    """A counter reset every `window` seconds, at `phase` and its multiples."""

    __slots__ = ("_index", "_used", "limit", "peak", "phase", "window")

    def __init__(self, limit: float, window: float, phase: float = 0.0) -> None:
        self.limit = limit
        self.window = window
        self.phase = phase
        self.peak = 0.0
        self._index = -1
        self._used = 0.0

    def room(self, now: float) -> float:
        index = math.floor((now - self.phase + TICK) / self.window)
        if index != self._index:
            self._index, self._used = index, 0.0
        return self.limit - self._used

    def take(self, now: float, amount: float) -> int:
        self.room(now)
        self._used += amount
        self.peak = max(self.peak, self._used)
        return self._index

    def give(self, now: float, mark: Any, amount: float) -> None:
        self.room(now)
        if mark == self._index:
            self._used -= amount

    def wait(self, now: float, amount: float) -> float:
        if amount > self.limit + SLACK:
            return math.inf
        return 0.0 if amount <= self.room(now) + SLACK else self._left(now)

    def reset(self, now: float) -> float:
        return 0.0 if self.room(now) >= self.limit else self._left(now)

    def pester(self, now: float) -> None:
        self.room(now)
        self._used = min(self._used + 1, max(self._used, self.limit))

    def resize(self, rule: Rule) -> None:
        self.limit = rule.amount

    def _left(self, now: float) -> float:
        return (self._index + 1) * self.window + self.phase - now


class SlidingLog:
    """An exact log of the charges in the last `window` seconds."""

    __slots__ = ("_entries", "_used", "limit", "peak", "window")

    def __init__(self, limit: float, window: float) -> None:
        self.limit = limit
        self.window = window
        self.peak = 0.0
        self._used = 0.0
        self._entries: deque[list[float]] = deque()

    def room(self, now: float) -> float:
        entries, since = self._entries, now - self.window + TICK
        while entries and entries[0][0] <= since:
            self._used -= entries.popleft()[1]
        if not entries:
            self._used = 0.0  # discard rounding errors
        return self.limit - self._used

    def take(self, now: float, amount: float) -> list[float]:
        entries = self._entries
        if entries and entries[0][0] <= now - self.window + TICK:
            self.room(now)
        entry = [now, amount]
        entries.append(entry)
        used = self._used = self._used + amount
        if used > self.peak:
            self.peak = used
        return entry

    def give(self, now: float, mark: Any, amount: float) -> None:
        if mark[0] > now - self.window:
            mark[1] -= amount
            self._used -= amount

    def wait(self, now: float, amount: float) -> float:
        if amount > self.limit + SLACK:
            return math.inf
        short = amount - self.room(now)
        if short <= SLACK:
            return 0.0
        for when, charged in self._entries:
            short -= charged
            if short <= SLACK:
                return when + self.window - now
        return self.window

    def reset(self, now: float) -> float:
        self.room(now)
        return self._entries[-1][0] + self.window - now if self._entries else 0.0

    def pester(self, now: float) -> None:
        self._entries.append([now, 1.0])
        self._used += 1
        # Only the newest `limit` entries can affect a later request, so the log stays bounded.
        while self._used - self._entries[0][1] >= self.limit:
            self._used -= self._entries.popleft()[1]

    def resize(self, rule: Rule) -> None:
        self.limit = rule.amount


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit as its provider states it: `amount` of `unit` in `window` seconds, enforced in one shape."""

    unit: Unit
    amount: float
    window: float = 60.0
    shape: Shape = "sliding"
    burst: float = 60.0
    """Capacity of a bucket, in seconds of the limit."""
    phase: float = 0.0
    """Offset of fixed windows, in seconds."""

    @property
    def name(self) -> str:
        return f"{self.unit}/{self.window:g}s"

    def flow(self) -> tuple[float, float]:
        """Rate and capacity of a bucket. For requests, the capacity is at least one; a smaller bucket could never admit any."""
        rate = self.amount / self.window
        return rate, max(rate * self.burst, 1.0 if self.unit == "requests" else 0.0)

    def meter(self) -> Meter:
        if self.shape == "bucket":
            return TokenBucket(*self.flow())
        return FixedWindow(self.amount, self.window, self.phase) if self.shape == "fixed" else SlidingLog(self.amount, self.window)


class Cost(NamedTuple):
    """What a request may use, as its provider estimates on arrival."""

    prompt: int
    output: int
    """Upper bound: max_tokens over all choices."""
    cached: int = 0
    """Prompt tokens that do not count against an input limit."""


def _nothing(cost: Cost) -> float:
    return 0.0


def _prompt(cost: Cost) -> float:
    return cost.prompt


def _uncached(cost: Cost) -> float:
    return cost.prompt - cost.cached


def _output(cost: Cost) -> float:
    return cost.output


def _both(cost: Cost) -> float:
    return cost.prompt + cost.output


def _larger(cost: Cost) -> float:
    return max(cost.prompt, cost.output)


def _one(cost: Cost) -> float:
    return 1.0


ON_ARRIVAL: Final[Mapping[tuple[Unit, bool], Callable[[Cost], float]]] = {
    # unit, whether output is charged only as it is generated
    ("requests", False): _one,
    ("requests", True): _one,
    ("tokens", False): _both,
    ("tokens", True): _prompt,
    ("input_tokens", False): _uncached,
    ("input_tokens", True): _uncached,
    ("output_tokens", False): _output,
    ("output_tokens", True): _nothing,
}


class Gauge:
    """One active rule: its meter, and what it charges for a request."""

    __slots__ = ("charge", "counts_output", "meter", "minute", "per_minute", "rule", "total")

    def __init__(self, rule: Rule, accounting: Accounting, estimate: Literal["sum", "max"]) -> None:
        self.rule = rule
        self.meter = rule.meter()
        self.counts_output = rule.unit in ("tokens", "output_tokens")
        self.charge = ON_ARRIVAL[rule.unit, accounting == "post"]
        if self.charge is _both and estimate == "max":
            self.charge = _larger
        self.per_minute = rule.amount * 60 / rule.window
        self.minute = 0.0
        self.total = 0.0

    def take(self, now: float, amount: float) -> Any:
        self.minute += amount
        self.total += amount
        return self.meter.take(now, amount)

    def give(self, now: float, mark: Any, amount: float) -> None:
        self.minute -= amount
        self.total -= amount
        self.meter.give(now, mark, amount)

    def change(self, rule: Rule) -> None:
        if rule != self.rule:
            self.rule = rule
            self.per_minute = rule.amount * 60 / rule.window
            self.meter.resize(rule)


@dataclass(slots=True, eq=False)
class Admitted:
    """A request in progress, with its charges."""

    cost: Cost
    charges: list[tuple[Gauge, Any, float]]
    produced: int = 0
    over: bool = False


SHORT_NAMES: Final[Mapping[tuple[str, float], str]] = {
    ("requests", 60.0): "requests per min (RPM)",
    ("tokens", 60.0): "tokens per min (TPM)",
    ("input_tokens", 60.0): "input tokens per min (ITPM)",
    ("output_tokens", 60.0): "output tokens per min (OTPM)",
    ("requests", 86_400.0): "requests per day (RPD)",
    ("tokens", 86_400.0): "tokens per day (TPD)",
}


@dataclass(frozen=True, slots=True)
class Refused:
    """A refused request."""

    scope: str
    """The limit with the longest wait: "tokens/60s", "requests/1s", "concurrency"."""
    retry_after: float | None
    """Seconds; None if waiting cannot help or the time is unknown."""
    message: str
    unit: str


class View(NamedTuple):
    """One limit as headers report it. `reset`: seconds until all of it is free."""

    limit: int
    remaining: int
    reset: float


@dataclass(slots=True)
class Saturation:
    """The minutes in which some limit was nearly used up, and how much of it was used."""

    minutes: int = 0
    use: float = 0.0
    """Sum over those minutes of the share of the binding limit that was used."""
    by: dict[str, int] = field(default_factory=dict)
    """Minutes by the name of the binding limit."""


class Enforcer:
    """All the limits of one quota, checked all or nothing."""

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        accounting: Accounting = "reserve",
        estimate: Literal["sum", "max"] = "sum",
        concurrency: int | None = None,
        count_failed: bool = False,
    ) -> None:
        self.accounting = accounting
        self.estimate: Literal["sum", "max"] = estimate
        self.count_failed = count_failed
        self.in_flight = self.peak_in_flight = 0
        self.gauges: list[Gauge] = []
        self.change(rules, concurrency)
        self.saturation = Saturation()
        self._minute_end: float | None = None
        self._refused_this_minute = False

    def admit(self, now: float, cost: Cost) -> Admitted | Refused:
        if self._minute_end is None or now >= self._minute_end:
            self._turn_minute(now)
        if self.concurrency is not None and self.in_flight >= self.concurrency:
            return self._refuse_concurrency(now)
        amounts = [gauge.charge(cost) for gauge in self.gauges]
        for gauge, amount in zip(self.gauges, amounts, strict=True):
            if gauge.meter.room(now) + SLACK < amount:
                return self._refuse(now, amounts)
        self.in_flight += 1
        if self.in_flight > self.peak_in_flight:
            self.peak_in_flight = self.in_flight
        charges = []
        for gauge, amount in zip(self.gauges, amounts, strict=True):
            gauge.minute += amount
            gauge.total += amount
            charges.append((gauge, gauge.meter.take(now, amount), amount))
        return Admitted(cost, charges)

    def produce(self, now: float, admitted: Admitted, tokens: int) -> None:
        """Record `tokens` of generated output."""
        admitted.produced += tokens
        if self.accounting == "post" and tokens:
            self._turn_minute(now)
            for gauge in self.gauges:
                if gauge.counts_output:
                    gauge.take(now, tokens)

    def end(self, now: float, admitted: Admitted, *, failed: bool = False) -> None:
        """The request has ended, complete or not. Idempotent. A failed one is refunded unless failures count."""
        if admitted.over:
            return
        admitted.over = True
        self.in_flight -= 1
        if failed and not self.count_failed:
            for gauge, mark, amount in admitted.charges:
                gauge.give(now, mark, amount)
        elif self.accounting == "settle":
            used = Cost(admitted.cost.prompt, admitted.produced, admitted.cost.cached)
            for gauge, mark, amount in admitted.charges:
                if gauge.counts_output:
                    gauge.give(now, mark, amount - gauge.charge(used))

    def view(self, now: float, unit: Unit, window: float = 60.0) -> View | None:
        """The state of the limit on `unit` in `window` seconds; None if there is none."""
        gauge = self._shown.get((unit, window))
        if gauge is None:
            return None
        return View(int(gauge.rule.amount), max(0, int(gauge.meter.room(now) + SLACK)), gauge.meter.reset(now))

    def change(self, rules: Sequence[Rule], concurrency: int | None) -> None:
        """Change the limits. What was counted under a limit of the same kind still counts."""
        known = {(gauge.rule.name, gauge.rule.shape): gauge for gauge in self.gauges}
        self.gauges = []
        for rule in rules:
            gauge = known.get((rule.name, rule.shape)) or Gauge(rule, self.accounting, self.estimate)
            gauge.change(rule)
            self.gauges.append(gauge)
        self._shown = {(gauge.rule.unit, gauge.rule.window): gauge for gauge in reversed(self.gauges)}
        self.concurrency = concurrency

    def forget(self) -> None:
        """Reset the statistics; the meters keep their counts."""
        self.saturation = Saturation()
        self._minute_end = None
        self.peak_in_flight = self.in_flight
        for gauge in self.gauges:
            gauge.meter.peak = gauge.total = gauge.minute = 0.0

    def _refuse(self, now: float, amounts: Sequence[float]) -> Refused:
        self._refused_this_minute = True
        waits = [gauge.meter.wait(now, amount) for gauge, amount in zip(self.gauges, amounts, strict=True)]
        longest = max(range(len(waits)), key=waits.__getitem__)
        refused = _refusal(now, self.gauges[longest], amounts[longest], waits[longest])
        self._count_refusal(now)
        return refused

    def _refuse_concurrency(self, now: float) -> Refused:
        self._refused_this_minute = True
        self._count_refusal(now)
        message = f"on concurrent requests: Limit {self.concurrency}, Used {self.in_flight}, Requested 1. Please try again later."
        return Refused("concurrency", None, message, "requests")

    def _count_refusal(self, now: float) -> None:
        if self.count_failed:
            for gauge in self.gauges:
                if gauge.rule.unit == "requests":
                    gauge.meter.pester(now)

    def _turn_minute(self, now: float) -> None:
        """Close the accounting of minutes that have ended. The first minute starts with the first request."""
        if self._minute_end is None:
            self._minute_end = now + 60.0
        if now < self._minute_end:
            return
        self._minute_end += 60.0 * (1 + math.floor((now - self._minute_end) / 60.0))
        self._judge_minute()
        self._refused_this_minute = False
        for gauge in self.gauges:
            gauge.minute = 0.0

    def _judge_minute(self) -> None:
        minutes = [gauge for gauge in self.gauges if gauge.rule.window <= 60.0]
        if not minutes:
            return
        binding = max(minutes, key=lambda gauge: gauge.minute / gauge.per_minute)
        use = binding.minute / binding.per_minute
        if self._refused_this_minute or use >= SATURATED:
            found = self.saturation
            found.minutes += 1
            found.use += use
            found.by[binding.rule.name] = found.by.get(binding.rule.name, 0) + 1


def _refusal(now: float, gauge: Gauge, amount: float, wait: float) -> Refused:
    rule, meter = gauge.rule, gauge.meter
    name = SHORT_NAMES.get((rule.unit, rule.window), f"{rule.unit.replace('_', ' ')} per {rule.window:g} s")
    if math.isinf(wait):
        message = f"on {name}: Limit {meter.limit:.0f}, Requested {amount:.0f}. {TOO_LARGE}"
        return Refused(rule.name, None, message, rule.unit)
    used = max(0.0, meter.limit - meter.room(now))
    message = f"on {name}: Limit {meter.limit:.0f}, Used {used:.0f}, Requested {amount:.0f}. Please try again in {go_duration(wait)}."
    return Refused(rule.name, wait, message, rule.unit)

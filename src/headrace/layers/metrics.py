"""Prometheus metrics of all calls of a process, and of watched Routers. Needs the extra `metrics`."""

from __future__ import annotations

import os
import weakref
from bisect import bisect_left
from collections import Counter as Counted
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace.calls import Call
from headrace.layers import around
from headrace.layers.around import Handler
from headrace.layers.observing import Outcome, Plain, noted, observe, where_of
from headrace.models.cost import NANO, fields_of
from headrace.models.prices import Beside
from headrace.ports import Ports

T = TypeVar("T")

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of `Metrics.render`: Prometheus's text format."""

LATENCIES: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
"""Seconds: upper bounds of the buckets for whole calls."""
FIRST_TOKENS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0)
WAITS: Final = (0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

MOST_MODELS: Final = 1000
"""Model names that get series of their own; a bound against callers that make names up."""
OTHER: Final = "other"

MOST_NOTED: Final = 256
"""Calls that are buffered before they are counted."""

MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The name is prometheus_client's."""

_WHO: Final = ("operation", "model", "provider", "deployment")


class Snapshots(Protocol):
    """What a scrape reads from a Router."""

    def snapshot(self) -> dict[str, Any]: ...


Noted: TypeAlias = tuple[str, float, float | None, float | None, Mapping[str, Any] | None, float]
"""One call: outcome, seconds in total, to the first chunk and in the queue, usage, dollars. No content."""


class _Series(Struct, eq=False):
    """The metric children of one model at one deployment, looked up once."""

    who: tuple[str, ...]
    """operation, model, provider, deployment."""
    input: Any
    output: Any
    cached: Any
    reasoning: Any
    cost: Any
    seconds: Any
    first: Any
    waited: Any
    noted: deque[Noted] = msgspec.field(default_factory=deque)
    """Calls that are not counted yet."""
    plain: deque[Plain] = msgspec.field(default_factory=deque)
    """Plain responses that are not counted yet."""


class Metrics:
    """Counts every call after `install()`; `watch(router)` adds queues, headroom and cooldowns.

        metrics = Metrics()
        metrics.install()
        metrics.watch(router)
        text = metrics.render()                    # what Prometheus scrapes, of CONTENT_TYPE

    registry: where the metrics are registered; by default one of their own. Names begin with `prefix`. If
    PROMETHEUS_MULTIPROC_DIR is set, several worker processes are added up, as usual with prometheus_client.
    """

    def __init__(self, registry: CollectorRegistry | None = None, *, prefix: str = "headrace") -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._many = 0
        """Approximate number of buffered calls; threads may miss each other's increments."""
        # With several processes, another one reads what this one has counted, and cannot make it flush.
        self._most = 1 if MULTIPROCESS in os.environ else MOST_NOTED
        self.registry.register(_Flush(self.flush))
        self._series: dict[tuple[str | None, ...], _Series] = {}
        self._models: set[str] = set()
        made: dict[str, Any] = {"registry": self.registry, "namespace": prefix}
        self._calls = Counter("calls", "Calls by outcome: ok, cached, left, or the kind of failure.", (*_WHO, "outcome"), **made)
        self._tokens = Counter("tokens", "Tokens used; cached and reasoning tokens are part of input and output.", (*_WHO, "kind"), **made)
        self._cost = Counter("cost_dollars", "Cost of responses, where prices are known.", _WHO, **made)
        self._seconds = Histogram(
            "call_seconds", "Duration of whole calls, including queueing and retries.", _WHO, buckets=LATENCIES, **made
        )
        self._first = Histogram("first_token_seconds", "Time to a stream's first chunk.", _WHO, buckets=FIRST_TOKENS, **made)
        self._waited = Histogram("queue_wait_seconds", "Time in the queue for room under a limit.", _WHO, buckets=WAITS, **made)
        self._routers = _Routers(prefix)
        self.registry.register(self._routers)

    def install(self) -> None:
        """Count every call from now on, direct or by a Router. Installing it again changes nothing."""
        around.install(self._layer, self._count, together=self._note)

    def remove(self) -> None:
        """Stop counting."""
        around.remove(self._layer)

    def watch(self, router: Snapshots) -> None:
        """Report the router's queues, limits and cooldowns at each scrape, as long as it exists."""
        self._routers.add(router)

    def render(self) -> bytes:
        """All metrics in Prometheus's text format."""
        if MULTIPROCESS not in os.environ:
            return generate_latest(self.registry)
        from prometheus_client.multiprocess import MultiProcessCollector  # late: for servers with several workers

        all_workers = CollectorRegistry()
        MultiProcessCollector(all_workers)  # type: ignore[no-untyped-call]
        all_workers.register(self._routers)
        return generate_latest(all_workers)

    async def _layer(self, ports: Ports, call: Call, handler: Handler, routed: bool) -> Any:
        return await observe(ports, call, handler, self._count)

    def _count(self, outcome: Outcome) -> None:
        """Buffer a call. Buffered calls are counted together at a scrape, or when there are many."""
        hidden, began, usage = outcome.hidden, outcome.began, outcome.usage
        record, idle = noted(hidden, "headrace"), noted(hidden, "cache_hit")  # a cached response: no provider was used or paid
        series = self._series.get(outcome.where or where_of(outcome.call.operation.name, hidden)) or self._made(*self._who(outcome))
        word = ("cached" if idle else "ok") if outcome.error is None else outcome.word
        first = None if outcome.first is None else outcome.first - began
        waited = None if record is None else record["waited"]
        if usage is not None and type(usage) is not dict:
            usage = fields_of(usage)
        if idle:
            series.noted.append((word, outcome.ended - began, first, waited, None, 0.0))
        else:
            dollars = noted(hidden, "response_cost")
            series.noted.append((word, outcome.ended - began, first, waited, usage, _dollars(hidden) if dollars is None else dollars))
        self._many += 1
        if self._many >= self._most:
            self.flush()

    def _note(self, answers: Sequence[Plain]) -> None:
        """Buffer plain responses."""
        known = self._series
        for one in answers:
            (known.get(one[0]) or self._made(*[part or "" for part in one[0]])).plain.append(one)
        self._many += len(answers)
        if self._many >= self._most:
            self.flush()

    def flush(self) -> None:
        """Count the buffered calls."""
        self._many = 0
        for series in list(self._series.values()):
            if series.noted:
                self._count_together(series, _taken(series.noted))
            if series.plain:
                self._count_plain(series, _taken(series.plain))

    def _count_together(self, series: _Series, those: Sequence[Noted]) -> None:
        words, seconds, firsts, waits, usages, costs = zip(*those, strict=True)
        for word, count in Counted(words).items():
            self._calls.labels(*series.who, word).inc(count)
        _observe(series.seconds, seconds)
        _observe(series.first, [first for first in firsts if first is not None])
        _observe(series.waited, [waited for waited in waits if waited is not None])
        _count_tokens(series, [usage for usage in usages if usage is not None])
        series.cost.inc(sum(costs))

    def _count_plain(self, series: _Series, those: Sequence[Plain]) -> None:
        _, seconds, waits, inputs, outputs, costs = zip(*those, strict=True)
        self._calls.labels(*series.who, "ok").inc(len(those))
        _observe(series.seconds, seconds)
        _observe(series.waited, waits)
        series.input.inc(sum(inputs))
        series.output.inc(sum(outputs))
        series.cost.inc(sum([cost for cost in costs if cost]) / NANO)

    def _made(self, operation: str, model: str, provider: str, deployment: str) -> _Series:
        """The series of a call, created on first use."""
        if model not in self._models:
            if len(self._models) >= MOST_MODELS:
                model = OTHER
            else:
                self._models.add(model)
        who = operation, model, provider, deployment
        if (known := self._series.get(who)) is not None:
            return known
        input, output, cached, reasoning = [self._tokens.labels(*who, kind) for kind in ("input", "output", "cached_input", "reasoning")]
        seconds, first, waited = [metric.labels(*who) for metric in (self._seconds, self._first, self._waited)]
        made = self._series[who] = _Series(who, input, output, cached, reasoning, self._cost.labels(*who), seconds, first, waited)
        return made

    @staticmethod
    def _who(outcome: Outcome) -> tuple[str, str, str, str]:
        """operation, model, provider, deployment."""
        hidden = outcome.hidden
        model, provider = noted(hidden, "model_group") or outcome.call.model, noted(hidden, "custom_llm_provider")
        return outcome.call.operation.name, model, provider or _failed_at(outcome.error), noted(hidden, "model_id") or ""


def _taken(those: deque[T]) -> list[T]:
    """Remove and return all items; other threads may append meanwhile."""
    taken: list[T] = []
    while those:
        taken.append(those.popleft())
    return taken


def _failed_at(error: BaseException | None) -> str:
    """The provider of a failure."""
    return getattr(getattr(error, "failure", None), "provider", "") or ""


def _dollars(hidden: Mapping[str, Any]) -> float:
    """The cost of a call whose `response_cost` is not set, as far as known."""
    return (hidden.cost() or 0) / NANO if type(hidden) is Beside else 0.0


def _observe(histogram: Any, seconds: Sequence[float]) -> None:
    """Observe several values at once.

    prometheus_client takes one at a time, with two locks and ten calls each, so its internal counts are increased
    directly.
    """
    if not seconds:
        return
    for bucket, count in Counted(map(partial(bisect_left, histogram._upper_bounds), seconds)).items():
        histogram._buckets[bucket].inc(count)
    histogram._sum.inc(sum(seconds))


def _count_tokens(series: _Series, usages: Sequence[Mapping[str, Any]]) -> None:
    input = output = cached = reasoning = 0
    for usage in usages:
        input += usage.get("prompt_tokens") or usage.get("input_tokens") or 0
        output += usage.get("completion_tokens") or usage.get("output_tokens") or 0
        if details := usage.get("prompt_tokens_details"):
            cached += (details if type(details) is dict else fields_of(details)).get("cached_tokens") or 0
        if details := usage.get("completion_tokens_details"):
            reasoning += (details if type(details) is dict else fields_of(details)).get("reasoning_tokens") or 0
    for series_of, count in ((series.input, input), (series.output, output), (series.cached, cached), (series.reasoning, reasoning)):
        if count:
            series_of.inc(count)


class _Flush(Collector):
    """Has no metrics. Registered first, so that buffered calls are counted before the other metrics are read."""

    def __init__(self, flush: Callable[[], None]) -> None:
        self._flush = flush

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        self._flush()
        return iter(())


class _Routers(Collector):
    """Gauges read from Routers at a scrape."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._routers: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, router: Snapshots) -> None:
        self._routers.add(router)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return self._families().values()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families = self._families()
        _read(families, [router.snapshot() for router in list(self._routers)])
        yield from families.values()

    def _families(self) -> dict[str, GaugeMetricFamily]:
        def gauge(name: str, help: str, *labels: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"{self._prefix}_{name}", help, labels=labels)

        return {
            "depth": gauge("queue_depth", "Calls in the queue.", "model"),
            "flying": gauge("in_flight", "Calls in flight at a deployment.", "deployment"),
            "limit": gauge("limit", "Size of a limit.", "deployment", "limit"),
            "headroom": gauge("limit_headroom", "Unused part of a limit now, in its unit.", "deployment", "limit"),
            "cooldown": gauge("cooldown_seconds", "Remaining cooldown of a deployment; 0 while it serves.", "deployment"),
        }


def _read(families: Mapping[str, GaugeMetricFamily], snapshots: Sequence[Mapping[str, Any]]) -> None:
    """Merge snapshots: Routers may share names, and Prometheus accepts each only once."""
    waiting: dict[str, int] = {}
    uses: dict[str, Mapping[str, Any]] = {}
    for snapshot in snapshots:
        uses |= {**snapshot["deployments"], **snapshot["scopes"]}
        for group, depth in snapshot["queues"].items():
            waiting[group] = waiting.get(group, 0) + depth
    for group, depth in waiting.items():
        families["depth"].add_metric([group], depth)
    for id, use in uses.items():
        families["flying"].add_metric([id], use["in_flight"])
        families["cooldown"].add_metric([id], use.get("held", 0.0))
        for name, limit in use["limits"].items():
            families["limit"].add_metric([id, name], limit["limit"])
            families["headroom"].add_metric([id, name], max(0.0, limit["limit"] - limit["used"]))

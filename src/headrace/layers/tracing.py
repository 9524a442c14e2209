"""OpenTelemetry spans of calls, attempts and waits, by the GenAI semantic conventions. Needs the extra `tracing`.

The names are those of the package opentelemetry-semantic-conventions 0.66b2 (`gen_ai` attributes, read 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

import msgspec
from msgspec import Struct
from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider

from headrace.calls import Call
from headrace.errors import HeadraceError
from headrace.layers import around
from headrace.layers.around import Handler
from headrace.layers.observing import Outcome, observe
from headrace.layers.spoken import operation_name, provider_name, request_attributes, response_attributes, said
from headrace.ports import Ports, Transport
from headrace.routing.events import Event, subscribe
from headrace.wire import DEFAULT_MAX_BODY, HttpRequest, HttpResponse, Timeouts


class _Traced(Struct, eq=False):
    """A call in progress, with its attempts."""

    span: Span
    calls: set[int] = set()
    """Its numbers in the events of Routers."""
    chunks: list[Any] = []
    """Of a stream: all chunks if content is wanted, else the first and those with a finish reason."""


_current: ContextVar[_Traced | None] = ContextVar("headrace_traced", default=None)


class Tracing:
    """Creates a span around every call after `install()`, and below a Router's call one for each attempt and each wait.

        tracing = Tracing()                        # the program's own tracer provider, as OpenTelemetry has it set
        tracing.install()

    content: whether prompts and responses are in the spans; by default they are not. inject: whether the trace's
    context (W3C `traceparent`) is sent to providers. An attempt's span ends with an event `headrace.decision`: the
    decision record.
    """

    def __init__(self, provider: TracerProvider | None = None, *, content: bool = False, inject: bool = False) -> None:
        self._tracer: Tracer = trace.get_tracer("headrace", tracer_provider=provider)
        self._content, self._inject = content, inject
        self._calls: dict[int, _Traced] = {}
        self._open: dict[tuple[int, int, str], Span] = {}
        """Spans of attempts and waits, by call, attempt and name."""
        self._unsubscribe: Callable[[], None] | None = None

    def install(self) -> None:
        """Trace every call from now on. Installing it again changes nothing."""
        around.install(self._layer)
        if self._unsubscribe is None:
            self._unsubscribe = subscribe(self._hear)

    def remove(self) -> None:
        """Stop tracing."""
        around.remove(self._layer)
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    # ---- calls -------------------------------------------------------------------------------------------------------

    async def _layer(self, ports: Ports, call: Call, handler: Handler, routed: bool) -> Any:
        kind = SpanKind.INTERNAL if routed else SpanKind.CLIENT
        span = self._tracer.start_span(f"{operation_name(call)} {call.model}", kind=kind)
        if span.is_recording():
            span.set_attributes(request_attributes(call))
            if self._content:
                span.set_attributes(said("input", call.prompt))
            if self._content and call.raw:
                call = msgspec.structs.replace(call, raw=False)
        traced = _Traced(span)
        if self._inject:
            ports = msgspec.structs.replace(ports, transport=_Carrying(ports.transport, _context_of(span)))
        token = _current.set(traced)
        try:
            with trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
                return await observe(ports, call, handler, lambda outcome: self._ended(traced, outcome), self._look(traced))
        finally:
            _current.reset(token)

    def _look(self, traced: _Traced) -> Callable[[Iterable[Any]], None] | None:
        if not traced.span.is_recording():
            return None
        keep = traced.chunks
        if self._content:
            return keep.extend

        def telling(chunks: Iterable[Any]) -> None:
            keep.extend([chunk for chunk in chunks if not keep or _finishes(chunk)])

        return telling

    def _ended(self, traced: _Traced, outcome: Outcome) -> None:
        for number in traced.calls:
            self._calls.pop(number, None)
        span = traced.span
        if span.is_recording():
            span.set_attributes(response_attributes(outcome, traced.chunks))
            if self._content:
                span.set_attributes(said("output", outcome.answer, traced.chunks))
            _say_failure(span, outcome.error)
        span.end()

    # ---- attempts ----------------------------------------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        match event.kind:
            case "queued":
                self._begin(event, "queue")
            case "sent":
                self._finish(event, "queue")
                self._begin(event, "attempt")
            case "settled":
                self._finish(event, "attempt")
            case "refused":
                self._finish(event, "queue")

    def _begin(self, event: Event, name: str) -> None:
        traced = self._of(event)
        if traced is None or not traced.span.is_recording():
            return
        kind = SpanKind.CLIENT if name == "attempt" else SpanKind.INTERNAL
        what: dict[str, Any] = {
            "headrace.model_group": event.group, "headrace.attempt": event.attempt, "headrace.deployment": event.deployment,
            "gen_ai.request.model": event.model, "gen_ai.provider.name": provider_name(event.provider),
        }  # fmt: skip
        attributes = {name: value for name, value in what.items() if value}
        under = trace.set_span_in_context(traced.span)
        self._open[event.call, event.attempt, name] = self._tracer.start_span(name, under, kind=kind, attributes=attributes)

    def _of(self, event: Event) -> _Traced | None:
        """The call of an event. A continued stream emits events where it is read, outside its call's context."""
        traced = self._calls.get(event.call) or _current.get()
        if traced is not None and event.call not in self._calls:
            self._calls[event.call] = traced
            traced.calls.add(event.call)
        return traced

    def _finish(self, event: Event, name: str) -> None:
        span = self._open.pop((event.call, event.attempt, name), None)
        if span is None:
            return
        if name == "attempt":
            span.add_event("headrace.decision", decision(event))
        _say_failure(span, event.error)
        span.end()


def decision(event: Event) -> dict[str, Any]:
    """A decision record as attributes of an event: plain values that are not None."""
    record = event.record or {}
    settled = record.get("settled")
    known = {
        "deployment": event.deployment, "waited": event.waited, "binding": record.get("binding"), "continued": record.get("continued"),
        "scopes": list(record.get("scopes") or ()), "failed": [f"{kind} {model}" for kind, model in record.get("failed") or ()],
        "candidates": [str(candidate) for candidate in record.get("candidates") or ()],
        "settled.input": getattr(settled, "input", None), "settled.output": getattr(settled, "output", None),
    }  # fmt: skip
    return {f"headrace.{name}": value for name, value in known.items() if value not in (None, [])}


def _say_failure(span: Span, error: BaseException | None) -> None:
    """Records the kind only: a provider's error message may repeat the prompt."""
    if error is None:
        return
    kind = error.failure.kind.value if isinstance(error, HeadraceError) else type(error).__name__
    span.set_attribute("error.type", kind)
    if isinstance(error, Exception):  # a caller that leaves is not a failure
        span.set_status(Status(StatusCode.ERROR, kind))


def _finishes(chunk: Any) -> bool:
    return any(getattr(choice, "finish_reason", None) for choice in getattr(chunk, "choices", None) or ())


def _context_of(span: Span) -> tuple[tuple[str, str], ...]:
    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span))
    return tuple(carrier.items())


class _Carrying:
    """A transport that adds the trace's context to the headers."""

    def __init__(self, transport: Transport, headers: tuple[tuple[str, str], ...]) -> None:
        self._transport, self._headers = transport, headers

    async def fetch(self, request: HttpRequest, timeouts: Timeouts, *, max_body: int = DEFAULT_MAX_BODY) -> HttpResponse:
        return await self._transport.fetch(self._with(request), timeouts, max_body=max_body)

    async def open(self, request: HttpRequest, timeouts: Timeouts) -> Any:
        return await self._transport.open(self._with(request), timeouts)

    def _with(self, request: HttpRequest) -> HttpRequest:
        return msgspec.structs.replace(request, headers=(*request.headers, *self._headers))

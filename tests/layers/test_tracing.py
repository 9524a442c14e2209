"""Spans of calls and attempts by the GenAI conventions; answers are made here, the way they take is the real one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import headrace
from conftest import Colour
from headrace import handlers
from headrace.layers import around
from headrace.layers.tracing import Tracing
from headrace.routing import events

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A secret question"}]


class Traced:
    """A tracer provider of the test's own, and what it was given."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracings: list[Tracing] = []

    def install(self, **options: Any) -> Tracing:
        self.tracings.append(Tracing(self.provider, **options))
        self.tracings[-1].install()
        return self.tracings[-1]

    def spans(self, name: str = "") -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name.startswith(name)]

    def one(self, name: str = "") -> ReadableSpan:
        (span,) = self.spans(name)
        return span


@pytest.fixture
def traced() -> Iterator[Traced]:
    before, around._layers = around._layers, ()
    heard, events._everywhere = events._everywhere, ()  # a gateway of other tests may run as long as this process
    made = Traced()
    yield made
    for tracing in made.tracings:
        tracing.remove()
    around._layers = before
    left, events._everywhere = events._everywhere, heard
    assert not left


def call(colour: Colour, on: Any = headrace, model: str = "openai/gpt-4o", **options: Any) -> Any:
    async def whole() -> Any:
        answer = await on.acompletion(model, MESSAGES, **options)
        return [chunk async for chunk in answer] if options.get("stream") else answer

    if colour.is_async:
        return asyncio.run(whole())
    answer = on.completion(model, MESSAGES, **options)
    return list(answer) if options.get("stream") else answer


def deployment(id: str, **params: Any) -> dict[str, Any]:
    given = {"model": "openai/gpt-4o", "api_key": "sk-of-mine", "mock_response": "Hi there", **params}
    return {"model_name": "group", "litellm_params": given, "model_info": {"id": id}}


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_call_is_a_span_in_the_words_of_the_conventions(traced: Traced, colour: Colour) -> None:
    traced.install()
    answer = call(colour, mock_response="Hi there", temperature=0.5, max_tokens=9, stop="END", seed=4, n=1)
    span = traced.one()
    found = attributes(span)
    assert (span.name, span.kind) == ("chat openai/gpt-4o", SpanKind.CLIENT)
    assert found["gen_ai.operation.name"] == "chat"
    assert found["gen_ai.provider.name"] == "openai"
    assert found["gen_ai.request.max_tokens"] == 9
    assert found["gen_ai.request.stop_sequences"] == ("END",)
    assert found["gen_ai.response.id"] == answer.id
    assert found["gen_ai.response.finish_reasons"] == ("stop",)
    assert found["gen_ai.usage.input_tokens"] == answer.usage.prompt_tokens
    assert found["gen_ai.usage.output_tokens"] == answer.usage.completion_tokens
    assert found["server.address"] == "mock.invalid"


def test_a_stream_is_one_span_that_ends_with_it(traced: Traced, colour: Colour) -> None:
    traced.install()
    chunks = call(colour, mock_response="Hi there", stream=True, stream_options={"include_usage": True})
    assert len(chunks) > 2
    found = attributes(traced.one())
    assert found["gen_ai.request.stream"] is True
    assert found["gen_ai.response.time_to_first_chunk"] >= 0
    assert found["gen_ai.response.finish_reasons"] == ("stop",)
    assert found["gen_ai.usage.output_tokens"] == chunks[-1].usage.completion_tokens


def test_nothing_that_was_said_is_in_a_span_unless_asked_for(traced: Traced, colour: Colour) -> None:
    traced.install()
    call(colour, headrace.Router([deployment("d")]), "group", stream=True)
    call(colour, mock_response="Hi there")
    assert len(traced.spans()) == 3
    everything = "".join(span.to_json() for span in traced.spans())
    assert "question" not in everything
    assert "Hi there" not in everything
    assert "sk-of-mine" not in everything


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_said_is_there_when_asked_for(traced: Traced, colour: Colour, stream: bool) -> None:
    traced.install(content=True)
    call(colour, mock_response="Hi there", stream=stream)
    found = attributes(traced.one())
    asked, said = json.loads(found["gen_ai.input.messages"]), json.loads(found["gen_ai.output.messages"])
    assert asked[1] == {"role": "user", "parts": [{"type": "text", "content": "A secret question"}]}
    assert said == [{"role": "assistant", "parts": [{"type": "text", "content": "Hi there"}], "finish_reason": "stop"}]


def test_tool_calls_and_their_results_are_parts(traced: Traced) -> None:
    traced.install(content=True)
    asked = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    conversation = [*MESSAGES, {"role": "assistant", "tool_calls": [asked]}, {"role": "tool", "tool_call_id": "c1", "content": "seen"}]
    headrace.completion("openai/gpt-4o", conversation, mock_response="x")
    messages = json.loads(attributes(traced.one())["gen_ai.input.messages"])
    assert messages[2]["parts"] == [{"type": "tool_call", "id": "c1", "name": "look", "arguments": "{}"}]
    assert messages[3]["parts"] == [{"type": "tool_call_response", "id": "c1", "response": "seen"}]


def test_a_failure_is_told_by_its_kind(traced: Traced, colour: Colour) -> None:
    traced.install()
    with pytest.raises(headrace.AuthenticationError):
        call(colour, mock_response=headrace.AuthenticationError("A secret question", "openai", "gpt-4o"))
    span = traced.one()
    assert attributes(span)["error.type"] == "authentication"
    assert span.status.status_code is StatusCode.ERROR
    assert "secret" not in span.to_json()


def test_a_routers_attempts_stand_under_its_call_with_the_decision(traced: Traced, colour: Colour) -> None:
    traced.install()
    bad = deployment("bad", mock_response="litellm.InternalServerError")
    router = headrace.Router([bad, deployment("good")], num_retries=3, routing_strategy="simple-shuffle")
    for _ in range(20):
        call(colour, router, "group")
        if len(traced.spans("attempt")) > len(traced.spans("chat")):
            break
    whole, attempts = traced.spans("chat")[-1], traced.spans("attempt")[-2:]
    assert whole.kind is SpanKind.INTERNAL
    assert attributes(whole)["headrace.deployment"] == "good"
    assert [attributes(span)["headrace.deployment"] for span in attempts] == ["bad", "good"]
    assert [attributes(span)["headrace.attempt"] for span in attempts] == [1, 2]
    assert whole.context is not None
    assert all(span.parent is not None and span.parent.span_id == whole.context.span_id for span in attempts)
    assert attributes(attempts[0])["error.type"] == "server"
    (decision,) = attempts[1].events
    assert decision.name == "headrace.decision"
    assert dict(decision.attributes or {})["headrace.failed"] == ("server gpt-4o",)


class Gate:
    """Answers once it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def awhole(self, call: Any, model: str, timeouts: Any) -> dict[str, Any]:
        await self.open.wait()
        return {"id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}]}


async def somebody_waits(router: headrace.Router) -> None:
    for _ in range(1000):
        if router.snapshot()["queues"]["group"]:
            return
        await asyncio.sleep(0)
    raise AssertionError("nobody came to wait")


def test_waiting_in_line_is_a_span_of_the_call_that_waits(traced: Traced) -> None:
    traced.install()

    async def two_at_a_place_for_one() -> None:
        gate = Gate()
        handlers.register("gated", gate)  # type: ignore[arg-type]
        entry = {"model_name": "group", "litellm_params": {"model": "gated/m", "max_parallel_requests": 1}, "model_info": {"id": "d"}}
        router = headrace.Router([entry])
        calls = [asyncio.create_task(router.acompletion("group", MESSAGES)) for _ in range(2)]
        await somebody_waits(router)
        gate.open.set()
        await asyncio.gather(*calls)

    asyncio.run(two_at_a_place_for_one())
    queue = traced.one("queue")
    second = next(span for span in traced.spans("chat") if span.context and queue.parent and span.context.span_id == queue.parent.span_id)
    assert attributes(second)["headrace.waited"] > 0
    assert len(traced.spans("attempt")) == 2
    assert {span.parent.span_id for span in traced.spans("attempt") if span.parent} == {
        span.context.span_id for span in traced.spans("chat") if span.context
    }


def test_who_leaves_the_line_leaves_no_span_open(traced: Traced) -> None:
    tracing = traced.install()

    async def one_leaves() -> None:
        gate = Gate()
        handlers.register("gated", gate)  # type: ignore[arg-type]
        router = headrace.Router([{"model_name": "group", "litellm_params": {"model": "gated/m", "max_parallel_requests": 1}}])
        calls = [asyncio.create_task(router.acompletion("group", MESSAGES)) for _ in range(2)]
        await somebody_waits(router)
        for left in calls:
            left.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    asyncio.run(one_leaves())
    assert not tracing._open
    assert not tracing._calls
    assert len(traced.spans("queue")) == 1
    assert all(span.status.status_code is not StatusCode.ERROR for span in traced.spans("chat"))


def test_a_span_stands_under_the_programs_own(traced: Traced, colour: Colour) -> None:
    traced.install()
    with traced.provider.get_tracer("mine").start_as_current_span("mine") as mine:
        headrace.completion("openai/gpt-4o", MESSAGES, mock_response="x")
        assert trace.get_current_span() is mine
    span = traced.one("chat")
    assert span.parent is not None
    assert span.parent.span_id == mine.get_span_context().span_id


@pytest.mark.parametrize("inject", [False, True])
def test_the_trace_goes_to_the_provider_only_when_asked(traced: Traced, colour: Colour, inject: bool, upstream: Any) -> None:
    traced.install(inject=inject)
    options = {"base_url": upstream.url, "api_key": "k"}
    call(colour, **options)
    call(colour, headrace.Router([deployment("d", mock_response=None, **options)]), "group")
    sent = [seen.headers.get("traceparent", "").rpartition("-")[0] for seen in upstream.seen]
    if not inject:
        assert sent == ["", ""]
        return
    contexts = [span.context for span in traced.spans("chat")]
    assert sent == [f"00-{context.trace_id:032x}-{context.span_id:016x}" for context in contexts if context]


def test_nothing_is_traced_once_it_is_removed(traced: Traced) -> None:
    traced.install().remove()
    headrace.completion("openai/gpt-4o", MESSAGES, mock_response="x")
    assert traced.spans() == []


def test_embeddings_are_spans_too(traced: Traced) -> None:
    traced.install(content=True)
    headrace.embedding("openai/text-embedding-3-small", ["a"], mock_response=[0.1], dimensions=4)
    found = attributes(traced.one())
    assert found["gen_ai.operation.name"] == "embeddings"
    assert found["gen_ai.embeddings.dimension.count"] == 4
    assert "gen_ai.output.messages" not in found

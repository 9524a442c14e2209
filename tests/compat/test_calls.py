"""litellm's settings and callbacks around real calls: answers are made here (`mock_response`), the way they take is the real one."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream

import headrace
from conftest import Colour
from headrace.compat.litellm import accept, caching, callbacks, listening, stand_in
from headrace.layers import around

MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    module = stand_in.module("litellm")
    before, layers = dict(vars(module)), around._layers
    monkeypatch.setattr(callbacks, "executor", pool := ThreadPoolExecutor(1))
    yield module
    pool.shutdown()
    vars(module).clear()
    vars(module).update(before)
    around._layers = layers


def told() -> None:
    """Every callback so far has been called: they are in one thread here."""
    callbacks.executor.submit(int).result()


def call(colour: Colour, **options: Any) -> Any:
    function = headrace.acompletion if colour.is_async else headrace.completion

    async def whole() -> Any:
        answer = await headrace.acompletion("openai/gpt-4o", MESSAGES, **options)
        if options.get("stream"):
            answer = [chunk async for chunk in answer]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return answer

    if colour.is_async:
        answer = asyncio.run(whole())
    else:
        answer = function("openai/gpt-4o", MESSAGES, **options)
        answer = list(answer) if options.get("stream") else answer
    told()
    return answer


class Heard(listening.CustomLogger):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, Any, Any]] = []

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.events.append(("sync success", kwargs, response_obj))

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.events.append(("sync failure", kwargs, response_obj))

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.events.append(("async success", kwargs, response_obj))

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.events.append(("async failure", kwargs, response_obj))


@pytest.mark.parametrize("stream", [False, True])
def test_a_logger_hears_once_of_every_call_in_its_colour(colour: Colour, stream: bool) -> None:
    heard = Heard()
    accept("callbacks", [heard])
    accept("success_callback", [heard])
    call(colour, mock_response="Hi there", stream=stream, metadata={"trace": 1}, temperature=0.5)
    ((event, kwargs, answer),) = heard.events
    assert event == ("async success" if colour.is_async else "sync success")
    assert answer.choices[0].message.content == "Hi there"
    assert kwargs["model"] == "gpt-4o"
    assert kwargs["custom_llm_provider"] == "openai"
    assert kwargs["litellm_params"]["metadata"] == {"trace": 1}
    assert kwargs["optional_params"]["temperature"] == 0.5
    assert kwargs["standard_logging_object"]["status"] == "success"
    assert ("complete_streaming_response" in kwargs) == stream


def test_a_logger_hears_of_failures(colour: Colour) -> None:
    heard = Heard()
    accept("callbacks", [heard])
    with pytest.raises(headrace.AuthenticationError):
        call(colour, mock_response=headrace.AuthenticationError("no", "openai", "gpt-4o"))
    if not colour.is_async:  # the loop of the async call ended with it
        ((event, kwargs, _),) = heard.events
        assert event == "sync failure"
        assert isinstance(kwargs["exception"], headrace.AuthenticationError)


def test_functions_hear_of_a_call_before_and_after(colour: Colour) -> None:
    heard: list[Any] = []
    accept("input_callback", [lambda kwargs: heard.append(kwargs["messages"])])
    accept("success_callback", [lambda kwargs, answer, start, end: heard.append((answer.usage.total_tokens > 0, end >= start))])
    call(colour, mock_response="Hi")
    assert heard == [MESSAGES, (True, True)]


def test_a_callback_that_fails_disturbs_no_call(colour: Colour) -> None:
    accept("success_callback", [lambda *_: 1 / 0])
    assert call(colour, mock_response="Hi").choices[0].message.content == "Hi"


def test_a_stream_given_up_is_told_with_what_had_arrived() -> None:
    heard = Heard()
    accept("callbacks", [heard])
    stream = headrace.completion("openai/gpt-4o", MESSAGES, mock_response="one two three", stream=True)
    next(stream), next(stream)
    stream.close()
    told()
    ((_, _, answer),) = heard.events
    assert answer.choices[0].message.content == "one "


def test_an_integration_that_is_only_named_is_refused_clearly() -> None:
    accept("success_callback", ["langsmith"])
    with pytest.raises(headrace.ConfigurationError, match=r"success_callback names the integration 'langsmith'"):
        headrace.completion("openai/gpt-4o", MESSAGES, mock_response="Hi")


def test_a_router_s_call_is_told_as_well(colour: Colour) -> None:
    heard = Heard()
    accept("callbacks", [heard])
    params = {"model": "openai/gpt-4o", "api_key": "k", "mock_response": "from the deployment"}
    router = headrace.Router([{"model_name": "group", "litellm_params": params}])

    async def whole() -> Any:
        answer = await router.acompletion("group", MESSAGES)
        await asyncio.sleep(0)
        return answer

    answer = asyncio.run(whole()) if colour.is_async else router.completion("group", MESSAGES)
    assert answer.choices[0].message.content == "from the deployment"
    assert len(heard.events) == 1


def test_fallbacks_of_a_call_are_asked_in_turn() -> None:
    accept("drop_params", True)
    behind = [{"model": "openai/gpt-4o-mini", "mock_response": "the second"}]
    answer = headrace.completion("openai/gpt-4o", MESSAGES, mock_response="litellm.RateLimitError", fallbacks=behind, num_retries=0)
    assert answer.choices[0].message.content == "the second"


@pytest.mark.parametrize("kind", ["local", "disk"])
def test_a_cache_answers_what_was_asked_before(kind: str, tmp_path: Any) -> None:
    accept("cache", caching.Cache(type=kind, disk_cache_dir=str(tmp_path)))
    first = headrace.completion("openai/gpt-4o", MESSAGES, mock_response="one")
    second = headrace.completion("openai/gpt-4o", MESSAGES, mock_response="two")
    fresh = headrace.completion("openai/gpt-4o", MESSAGES, mock_response="three", cache={"no-cache": True})
    assert [a.choices[0].message.content for a in (first, second, fresh)] == ["one", "one", "three"]
    assert second._hidden_params["cache_hit"] is True
    assert second._hidden_params["response_cost"] == 0.0


def test_a_cache_that_is_not_here_is_refused_by_name() -> None:
    with pytest.raises(headrace.ConfigurationError, match="type must be one of local, disk, redis"):
        caching.Cache(type="s3")
    with pytest.raises(headrace.ConfigurationError, match=r"litellm\.Cache has no s3_bucket_name here"):
        caching.Cache(type="local", s3_bucket_name="b")


def test_a_stream_is_answered_again_as_well(colour: Colour) -> None:
    accept("cache", caching.Cache())
    first = call(colour, mock_response="one two", stream=True)
    again = call(colour, mock_response="three four", stream=True)
    assert [chunk.choices[0].delta.content for chunk in again] == [chunk.choices[0].delta.content for chunk in first]


def test_caches_are_turned_on_and_off_by_functions(settings: Any) -> None:
    caching.enable_cache(ttl=60)
    assert settings.cache.ttl == 60
    caching.enable_cache(ttl=30)
    assert settings.cache.ttl == 60, "it was on already"
    caching.update_cache(ttl=30)
    assert settings.cache.ttl == 30
    caching.disable_cache()
    assert settings.cache is None


@pytest.mark.parametrize("kind", ["redis-semantic", "qdrant-semantic"])
def test_a_cache_by_meaning_is_one_of_ours(kind: str) -> None:
    made = (
        caching.Cache(type=kind, host="localhost", port="6379", similarity_threshold=0.9)
        if kind.startswith("redis")
        else caching.Cache(type=kind, similarity_threshold=0.9, qdrant_semantic_cache_embedding_model="openai/text-embedding-3-small")
    )
    assert made._index is not None


def test_calls_ask_for_a_cache_that_is_off_by_default() -> None:
    accept("cache", caching.Cache(mode=caching.CacheMode.default_off))
    answers = [
        headrace.completion("openai/gpt-4o", MESSAGES, mock_response=said, **options)
        for said, options in [("one", {}), ("two", {"caching": True}), ("three", {"caching": True}), ("four", {})]
    ]
    assert [answer.choices[0].message.content for answer in answers] == ["one", "two", "two", "four"]


def test_a_slow_callback_holds_up_no_call(colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, heard = threading.Event(), threading.Event()

    def slow(*_: Any) -> None:
        assert go_on.wait(10)
        heard.set()

    accept("success_callback", [slow])

    async def whole() -> Any:
        return await headrace.acompletion("openai/gpt-4o", MESSAGES, mock_response="Hi")

    answer = asyncio.run(whole()) if colour.is_async else headrace.completion("openai/gpt-4o", MESSAGES, mock_response="Hi")
    assert answer.choices[0].message.content == "Hi"
    assert not heard.is_set()
    go_on.set()
    assert heard.wait(10)


def test_a_call_that_is_not_to_be_logged_is_told_to_nobody(colour: Colour) -> None:
    heard = Heard()
    accept("callbacks", [heard])
    call(colour, mock_response="Hi", **{"no-log": True})
    assert heard.events == []


def test_a_call_s_own_listener_hears_before_and_after() -> None:
    heard: list[str] = []
    headrace.completion("openai/gpt-4o", MESSAGES, mock_response="Hi")
    accept("callbacks", [])
    call(Colour("sync"), mock_response="Hi", logger_fn=lambda details: heard.append(details["log_event_type"]))
    assert heard == ["pre_api_call", "post_api_call"]


@pytest.mark.parametrize("stream", [False, True])
def test_every_hook_of_a_logger_is_called_in_its_order(colour: Colour, stream: bool) -> None:
    """Symptom: `log_post_api_call` was never called."""
    order: list[str] = []

    class All(Heard):
        def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
            order.append(f"pre {kwargs['additional_args']['complete_input_dict']['messages'] == MESSAGES}")

        def log_post_api_call(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            order.append(f"post {end_time >= start_time}")

    heard = All()
    accept("callbacks", [heard])
    call(colour, mock_response="Hi", stream=stream)
    with pytest.raises(headrace.RateLimitError):
        call(colour, mock_response="litellm.RateLimitError", num_retries=0)
    assert order == ["pre True", "post True"] * 2
    assert [event[0].split()[1] for event in heard.events] == ["success", "failure"]


def test_lists_that_come_with_a_call_are_told_of_it_alone(colour: Colour) -> None:
    """Symptom: `success_callback=[…]` of a call was sent to the provider."""
    heard, failed = Heard(), Heard()
    accept("callbacks", [])
    call(colour, mock_response="Hi", success_callback=[heard], failure_callback=[failed])
    call(colour, mock_response="Hi")
    assert [event[0] for event in heard.events] == [f"{'async' if colour.is_async else 'sync'} success"]
    assert failed.events == []
    assert "success_callback" not in heard.events[0][1]["optional_params"]


def test_what_is_logged_has_litellms_fields(colour: Colour) -> None:
    heard = Heard()
    accept("callbacks", [heard])
    router = headrace.Router(
        [
            {
                "model_name": "gpt",
                "litellm_params": {"model": "openai/gpt-4o", "api_key": "k", "mock_response": "Hi"},
                "model_info": {"id": "one"},
            }
        ]
    )
    options: dict[str, Any] = {"metadata": {"tags": ["t"]}, "user": "anna"}

    async def awaited() -> None:
        await router.acompletion("gpt", MESSAGES, **options)

    asyncio.run(awaited()) if colour.is_async else router.completion("gpt", MESSAGES, **options)
    told()
    kwargs = heard.events[0][1]
    assert kwargs["call_type"] == ("acompletion" if colour.is_async else "completion")
    assert kwargs["litellm_params"]["model_info"] == {"id": "one"}
    assert kwargs["litellm_params"]["metadata"]["model_group"] == "gpt"
    assert kwargs["litellm_params"]["metadata"]["deployment"] == "openai/gpt-4o"
    logged = kwargs["standard_logging_object"]
    wanted = {
        "model_group": "gpt",
        "model_id": "one",
        "end_user": "anna",
        "request_tags": ["t"],
        "model": "gpt-4o",
        "error_information": None,
    }
    assert {name: logged[name] for name in wanted} == wanted
    assert logged["response_cost"] > 0


def test_a_streams_tokens_are_counted_where_nobody_told_them(colour: Colour) -> None:
    """Symptom: `kwargs["response_cost"]` of a stream was None unless it had asked for its usage."""
    heard = Heard()
    accept("callbacks", [heard])
    call(colour, mock_response="Hi there", stream=True)
    kwargs, whole = heard.events[0][1:]
    assert whole.usage.completion_tokens == 2
    assert whole.usage.prompt_tokens > 1
    assert kwargs["response_cost"] > 0


def test_headers_of_an_answer_have_both_names(client: Client, upstream: Upstream) -> None:
    accept("callbacks", [])
    upstream.answer(Reply(CHAT, headers={"x-request-id": "r1"}))
    router = headrace.Router(
        [{"model_name": "gpt", "litellm_params": {"model": "openai/gpt-4o", "api_key": "k", "base_url": upstream.url}}]
    )
    told = client.chat(on=router, model="gpt")._hidden_params["additional_headers"]
    assert told["llm_provider-x-request-id"] == told["x-request-id"] == "r1"
    assert (told["x-litellm-model-group"], told["x-litellm-attempted-retries"]) == ("gpt", 0)


CLAUDE: dict[str, Any] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn", "stop_sequence": None,
    "content": [{"type": "thinking", "thinking": "hm", "signature": "sig"}, {"type": "text", "text": "Hi"}],
    "usage": {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 5},
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
def test_claudes_counts_of_a_cache_have_anthropics_names_as_well(client: Client, upstream: Upstream, stream: bool) -> None:
    """Symptom: `usage.cache_read_input_tokens` was missing."""
    accept("callbacks", [])
    over = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {**CLAUDE, "content": []}}, over, {"type": "message_stop"}]
    told = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
    upstream.answer(Reply(pieces=told) if stream else Reply(CLAUDE))
    answer = client.chat(model="anthropic/claude-x", max_tokens=9, stream=stream, stream_options={"include_usage": True})
    usage = answer[-1].usage if stream else answer.usage
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens, usage.prompt_tokens) == (4, 5, 12)
    assert (answer[-1] if stream else answer)._hidden_params["response_cost"] is None
    upstream.answer(Reply(CHAT))
    assert not hasattr(client.chat(model="openai/gpt-4o").usage, "cache_read_input_tokens")


def test_claudes_thoughts_are_thinking_blocks_and_go_back_as_they_came(client: Client, upstream: Upstream) -> None:
    """Symptom: `message.thinking_blocks` was missing."""
    accept("callbacks", [])
    upstream.answer(Reply(CLAUDE), Reply(CLAUDE))
    message = client.chat(model="anthropic/claude-x", max_tokens=9).choices[0].message
    assert message.thinking_blocks == [{"type": "thinking", "thinking": "hm", "signature": "sig"}]
    assert message.reasoning_content == "hm"
    client.call("completion", "anthropic/claude-x", [*MESSAGES, message, *MESSAGES], max_tokens=9)
    assert upstream.seen[-1].body["messages"][1]["content"] == CLAUDE["content"]


def test_a_streams_thinking_blocks_are_put_together(client: Client, upstream: Upstream) -> None:
    accept("callbacks", [])
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}
    pieces = [
        {"type": "thinking_delta", "thinking": "h"},
        {"type": "thinking_delta", "thinking": "m"},
        {"type": "signature_delta", "signature": "sig"},
    ]
    events = [
        {"type": "message_start", "message": {**CLAUDE, "content": []}},
        block,
        *({"type": "content_block_delta", "index": 0, "delta": piece} for piece in pieces),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]
    upstream.answer(Reply(pieces=[f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]))
    chunks = client.chat(model="anthropic/claude-x", max_tokens=9, stream=True)
    blocks = [block for chunk in chunks for block in getattr(chunk.choices[0].delta, "thinking_blocks", ())]
    assert "".join(block["thinking"] for block in blocks) == "hm"
    assert [block["signature"] for block in blocks if block["signature"]] == ["sig"]
    whole = stand_in.module("litellm").stream_chunk_builder(chunks).choices[0].message
    assert whole.thinking_blocks == [{"type": "thinking", "thinking": "hm", "signature": "sig"}]


def test_every_chunk_has_a_choice_as_litellm_s_have(colour: Colour) -> None:
    accept("callbacks", [])
    chunks = call(colour, mock_response="Hi", stream=True, stream_options={"include_usage": True})
    assert chunks[-1].usage.total_tokens > 0
    assert chunks[-1].choices[0].delta.content is None
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hi"


def test_metrics_and_spans_are_asked_for_by_name(colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    import prometheus_client
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from headrace.compat.litellm import integrations

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry := prometheus_client.CollectorRegistry())
    integrations.named.cache_clear()
    accept("callbacks", ["prometheus", "otel"])
    try:
        for said in ("one", "two", "three"):
            call(colour, mock_response=said)
        who = {"operation": "chat", "model": "openai/gpt-4o", "provider": "openai", "deployment": "", "outcome": "ok"}
        assert registry.get_sample_value("headrace_calls_total", who) == 3
        assert len(exporter.get_finished_spans()) == 3
    finally:
        tracing: Any = integrations.named("otel")
        tracing.tracing.remove()
        integrations.named.cache_clear()

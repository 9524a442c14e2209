"""Streams: chunks as they arrive, complete ends, and premature ones."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest
from tests.client.upstream import Client, Reply, Upstream, chunk, sse, wait_until

import headrace

MESSAGES = [{"role": "user", "content": "hi"}]
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def options(upstream: Upstream) -> dict[str, Any]:
    return {"base_url": upstream.url, "api_key": "sk-test", "num_retries": 0}


def text(chunks: list[Any]) -> str:
    return "".join(item.choices[0].delta.content or "" for item in chunks if item.choices)


def test_a_stream_adds_up(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=sse(chunk("hel"), chunk("lo"), chunk(finish="stop"), {**chunk(), "choices": [], "usage": USAGE})))
    chunks = client.chat(stream=True, stream_options={"include_usage": True})
    assert text(chunks) == "hello"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.total_tokens == 5
    assert upstream.seen[0].body["stream"] is True


def test_chunks_reach_the_caller_as_they_arrive(client: Client, upstream: Upstream) -> None:
    """The second chunk is written only after the caller has had the first."""
    had_first = threading.Event()
    upstream.answer(Reply(pieces=[*sse(chunk("a"), done=False), had_first, *sse(chunk("b", "stop"))]))

    async def alive() -> str:
        stream = await headrace.acompletion("openai/m", MESSAGES, stream=True, **options(upstream))
        first = await anext(stream)
        had_first.set()
        return text([first, *[item async for item in stream]])

    if client.name == "sync":
        stream = headrace.completion("openai/m", MESSAGES, stream=True, **options(upstream))
        first = next(stream)
        had_first.set()
        assert text([first, *stream]) == "ab"
    else:
        assert asyncio.run(alive()) == "ab"


def test_a_stream_cut_in_mid_word_is_an_error_after_what_arrived(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=[*sse(chunk("hel"), done=False), b'data: {"id": "c", "choi'], cut=True))
    collected: list[Any] = []

    def drain() -> None:
        for item in headrace.completion("openai/m", MESSAGES, stream=True, **options(upstream)):
            collected.append(item)

    async def adrain() -> None:
        async for item in await headrace.acompletion("openai/m", MESSAGES, stream=True, **options(upstream)):
            collected.append(item)

    with pytest.raises(headrace.TruncatedStream):
        drain() if client.name == "sync" else asyncio.run(adrain())
    assert text(collected) == "hel"
    assert all(item.choices[0].finish_reason is None for item in collected)


def test_a_stream_that_ends_without_saying_so_is_truncated(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=sse(chunk("hel"), done=False)))
    with pytest.raises(headrace.TruncatedStream):
        client.chat(stream=True)


def test_a_finished_stream_needs_no_done_mark(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=sse(chunk("hello"), chunk(finish="stop"), done=False)))
    assert text(client.chat(stream=True)) == "hello"


def test_an_error_inside_a_stream_is_raised(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=[*sse(chunk("hel"), {"error": {"message": "overloaded", "code": 503}}, done=False)]))
    with pytest.raises(headrace.HeadraceError, match="overloaded"):
        client.chat(stream=True)


def test_an_error_before_the_stream_has_its_class(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"error": {"message": "no such model", "code": "model_not_found"}}, status=404))
    with pytest.raises(headrace.NotFoundError, match="no such model"):
        client.chat(stream=True)


def test_a_failure_before_the_first_chunk_is_retried(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=[], cut=True), Reply(pieces=sse(chunk("hello", "stop"))))
    assert text(client.chat(stream=True, num_retries=1)) == "hello"
    assert len(upstream.seen) == 2


def endless() -> list[bytes | threading.Event]:
    return sse(*[chunk("word ") for _ in range(20_000)])


def test_closing_a_stream_closes_the_connection_at_once(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=endless(), pause=0.001))

    async def leave() -> None:
        stream = await headrace.acompletion("openai/m", MESSAGES, stream=True, **options(upstream))
        await anext(stream)
        await stream.aclose()
        assert await asyncio.to_thread(wait_until, upstream.left.is_set)

    if client.name == "sync":
        stream = headrace.completion("openai/m", MESSAGES, stream=True, **options(upstream))
        next(stream)
        stream.close()
        assert wait_until(upstream.left.is_set)
    else:
        asyncio.run(leave())


def test_an_abandoned_stream_closes_its_connection(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=endless(), pause=0.001))

    async def abandon() -> None:
        async for _ in await headrace.acompletion("openai/m", MESSAGES, stream=True, **options(upstream)):
            break
        gc.collect()
        assert await asyncio.to_thread(wait_until, upstream.left.is_set)

    if client.name == "sync":
        for _ in headrace.completion("openai/m", MESSAGES, stream=True, **options(upstream)):
            break
        gc.collect()
        assert wait_until(upstream.left.is_set)
    else:
        asyncio.run(abandon())


def test_a_cancelled_call_closes_its_connection(upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=endless(), pause=0.001))

    async def cancelled() -> None:
        async def read() -> None:
            async for _ in await headrace.acompletion("openai/m", MESSAGES, stream=True, **options(upstream)):
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(wait_until, upstream.left.is_set)

    asyncio.run(cancelled())


def test_iteration_can_stop_and_go_on(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=sse(chunk("a"), chunk("b"), chunk("c", "stop"))))

    async def ago() -> str:
        stream = await headrace.acompletion("openai/m", MESSAGES, stream=True, **options(upstream))
        first = await anext(aiter(stream))
        return text([first, *[item async for item in stream]])

    if client.name == "sync":
        stream = headrace.completion("openai/m", MESSAGES, stream=True, **options(upstream))
        first = next(iter(stream))
        assert text([first, *stream]) == "abc"
    else:
        assert asyncio.run(ago()) == "abc"


def test_tool_call_pieces_keep_index_and_order(client: Client, upstream: Upstream) -> None:
    def piece(index: int, **call: Any) -> dict[str, Any]:
        return {**chunk(), "choices": [{"index": 0, "delta": {"tool_calls": [{"index": index, **call}]}, "finish_reason": None}]}

    upstream.answer(
        Reply(
            pieces=sse(
                piece(0, id="call_a", type="function", function={"name": "f", "arguments": ""}),
                piece(0, function={"arguments": '{"x":'}),
                piece(0, function={"arguments": "1}"}),
                piece(1, id="call_b", type="function", function={"name": "g", "arguments": "{}"}),
                chunk(finish="tool_calls"),
            )
        )
    )
    calls = [call for item in client.chat(stream=True) for call in item.choices[0].delta.tool_calls or []]
    assert [(call.index, call.id) for call in calls] == [(0, "call_a"), (0, None), (0, None), (1, "call_b")]
    assert "".join(call.function.arguments for call in calls if call.index == 0) == '{"x":1}'

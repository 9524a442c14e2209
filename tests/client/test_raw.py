"""Responses as bytes: forwarded if the provider uses the caller's dialect, otherwise rewritten; usage is read either way."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.client.upstream import CHAT as ANSWER
from tests.client.upstream import Reply, Upstream, chunk, sse

import headrace
from headrace import HeadraceError, TruncatedStream
from headrace.calls import CHAT, EMBEDDINGS, Operation
from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.served import CONTENT, MESSAGES, RESPONSES, read_id
from headrace.types import ChatRequest, Finished, Started, TextDelta, Usage, UsageReported

ASK: list[Any] = [{"role": "user", "content": "hi"}]
PROMPTS: dict[str, Any] = {"generate_content": [{"role": "user", "parts": [{"text": "hi"}]}], "responses": "hi"}
AT = {"chat": "openai/m", "messages": "anthropic/m", "generate_content": "gemini/m", "responses": "openai/m"}
USED = {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19}
EVENTS = [
    Started(id="id_1", model="model", created=1),
    TextDelta(text="Hello [DONE] "),
    TextDelta(text='"usage"\n\ndata: error'),
    Finished(finish="stop"),
    UsageReported(usage=Usage(input=12, output=7, total=19)),
]


def written(dialect: str) -> bytes:
    """A stream with what no dialect knows in it."""
    writer = load(dialect).write_stream(ChatRequest(model="model", messages=(), stream=True, include_usage=True))
    data = b"".join([writer.feed(event) for event in EVENTS]) + writer.close()
    return b": a comment\n\n" + data.replace(b'{"', b'{ "new field": [1,  2],"', 1)


def router(upstream: Upstream, model: str = "openai/m", **options: Any) -> headrace.Router:
    base = upstream.url if model.startswith("openai") else upstream.url.removesuffix("/v1")
    entry = {"model_name": "group", "litellm_params": {"model": model, "api_base": base, "api_key": "sk-t"}}
    return headrace.Router([entry], num_retries=0, **options)


async def streamed(on: headrace.Router, operation: Operation, **options: Any) -> tuple[list[bytes], Any]:
    """The pieces, and the stream when it is over."""
    given = {"max_tokens": 9, **options} if operation is MESSAGES else options
    stream: Any = await on.araw(operation, "group", PROMPTS.get(operation.name, ASK), stream=True, options=given)
    return [piece async for piece in stream], stream


async def until_it_fails(on: headrace.Router, operation: Operation) -> tuple[bytes, HeadraceError]:
    pieces: list[bytes] = []
    options = {"max_tokens": 9} if operation is MESSAGES else {}
    stream: Any = await on.araw(operation, "group", PROMPTS.get(operation.name, ASK), stream=True, options=options)
    try:
        async for piece in stream:
            pieces.append(piece)
    except HeadraceError as error:
        return b"".join(pieces), error
    raise AssertionError("the stream came to a proper end")


@pytest.mark.parametrize("operation", [CHAT, MESSAGES, CONTENT], ids=lambda operation: operation.name)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_stream_of_the_callers_own_dialect_comes_byte_for_byte_with_its_usage(
    upstream: Upstream, operation: Operation, size: int
) -> None:
    data = written(operation.dialect)
    upstream.answer(Reply(pieces=[data[at : at + size] for at in range(0, len(data), size)]))
    pieces, stream = asyncio.run(streamed(router(upstream, AT[operation.name]), operation))
    assert b"".join(pieces) == data
    assert not [piece for piece in pieces if not piece.replace(b"\r", b"").endswith(b"\n\n")]
    assert {name: stream.usage[name] for name in USED} == USED
    assert stream._hidden_params["headrace"]["settled"].input == 12


def test_a_stream_of_responses_comes_as_it_is_but_for_the_ids_of_what_is_kept(upstream: Upstream) -> None:
    data = written("openai_responses")
    upstream.answer(Reply(pieces=[data]))
    pieces, stream = asyncio.run(streamed(router(upstream), RESPONSES))
    told, sent = events(b"".join(pieces)), events(data)
    assert len(told) == len(sent)
    for event, original in zip(told, sent, strict=True):
        if "response" in original:
            assert read_id(event["response"].pop("id")) is not None
            original["response"].pop("id")
        assert event == original
    assert stream.usage["completion_tokens"] == 7


def events(data: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in data.splitlines() if line.startswith(b"data: ") and not line.endswith(b"[DONE]")]


@pytest.mark.parametrize("operation", [CHAT, MESSAGES, CONTENT, RESPONSES], ids=lambda operation: operation.name)
def test_a_stream_that_is_cut_ends_in_an_error_behind_whole_events(upstream: Upstream, operation: Operation) -> None:
    data = written(operation.dialect)
    end = len(data) * 3 // 5
    upstream.answer(Reply(pieces=[data[:end]]))
    came, error = asyncio.run(until_it_fails(router(upstream, AT[operation.name], stream_failover=False), operation))
    assert isinstance(error, TruncatedStream)
    assert came.replace(b"\r", b"").endswith(b"\n\n")
    assert operation is RESPONSES or data.startswith(came)


def test_an_error_inside_a_stream_is_raised_behind_what_came_before_it(upstream: Upstream) -> None:
    broken = {"error": {"message": "no more", "type": "server_error"}}
    upstream.answer(Reply(pieces=[b"".join(sse(chunk("one"), chunk("two"), broken, chunk("three")))]))  # type: ignore[arg-type]
    came, error = asyncio.run(until_it_fails(router(upstream, stream_failover=False), CHAT))
    assert [event["choices"][0]["delta"]["content"] for event in events(came)] == ["one", "two"]
    assert "no more" in str(error)


@pytest.mark.parametrize("operation", [MESSAGES, CONTENT, RESPONSES], ids=lambda operation: operation.name)
def test_a_stream_of_another_dialect_is_written_in_the_callers(upstream: Upstream, operation: Operation) -> None:
    upstream.answer(Reply(pieces=[written("openai_chat")]))
    on = router(upstream, "cerebras/m")
    pieces, stream = asyncio.run(streamed(on, operation))
    dialect = load(operation.dialect)
    frames, reader = dialect.framing(), dialect.read_stream(ChatRequest(model="m", messages=()), Target("provider", "model"))
    read = [event for frame in frames.feed(b"".join(pieces)) for event in reader.feed(frame)] + reader.close()
    assert "".join(event.text for event in read if isinstance(event, TextDelta)) == 'Hello [DONE] "usage"\n\ndata: error'
    assert stream.usage["completion_tokens"] == 7


def test_a_chat_at_another_dialect_ends_as_openais_clients_expect(upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=[written("anthropic_messages")]))
    pieces, _ = asyncio.run(streamed(router(upstream, "anthropic/m"), CHAT))
    assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in events(b"".join(pieces)) if event["choices"]) == (
        'Hello [DONE] "usage"\n\ndata: error'
    )


def test_the_end_is_said_where_the_provider_leaves_it_out(upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=sse(chunk("one"), chunk(finish="stop"), done=False)))
    pieces, _ = asyncio.run(streamed(router(upstream), CHAT))
    assert b"".join(pieces) == b"".join(sse(chunk("one"), chunk(finish="stop")))  # type: ignore[arg-type]


def test_a_text_in_parts_is_one_text_for_openais_clients(upstream: Upstream) -> None:
    parts = chunk([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "one"}])  # type: ignore[arg-type]
    upstream.answer(Reply(pieces=sse(parts, chunk("two"), chunk(finish="stop"))))
    pieces, _ = asyncio.run(streamed(router(upstream), CHAT))
    deltas = [event["choices"][0]["delta"] for event in events(b"".join(pieces))]
    assert deltas == [{"content": "one", "reasoning_content": "hm"}, {"content": "two"}, {}]


def two_that_go_on(upstream: Upstream) -> headrace.Router:
    params = {"model": "openai/m", "api_base": upstream.url, "api_key": "sk-t"}
    return headrace.Router(
        [{"model_name": "group", "litellm_params": params, "model_info": {"id": id, "supports_assistant_prefill": True}} for id in "ab"],
        num_retries=1,
    )


def test_a_chat_that_broke_off_goes_on_in_bytes(upstream: Upstream) -> None:
    upstream.answer(
        Reply(pieces=sse(chunk("A water "), chunk("mill "), done=False), cut=True),
        Reply(pieces=sse(chunk("grinds", id="other"), chunk(finish="stop", id="other"))),
    )
    pieces, _ = asyncio.run(streamed(two_that_go_on(upstream), CHAT))
    told = events(b"".join(pieces))
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in told) == "A water mill grinds"
    assert {event["id"] for event in told} == {"c"}
    assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
    assert b"".join(pieces).count(b"[DONE]") == 1
    assert upstream.seen[-1].body["messages"][-1] == {"role": "assistant", "content": "A water mill"}


def test_what_is_more_than_text_is_noted_in_bytes_as_well(upstream: Upstream) -> None:
    """A call in the middle of an answer: nobody can go on from its text alone."""
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{"}}
    called = chunk("")
    called["choices"][0]["delta"] = {"tool_calls": [call]}
    upstream.answer(Reply(pieces=sse(chunk("one"), chunk("two"), called, chunk("three"), done=False), cut=True))
    came, error = asyncio.run(until_it_fails(two_that_go_on(upstream), CHAT))
    assert len(events(came)) == 4
    assert error.received == "onetwothree"
    assert len(upstream.seen) == 1


def test_a_kept_answer_comes_in_bytes_too(upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=sse(chunk("one"), chunk(finish="stop"))))
    on = router(upstream, cache_responses=True)

    async def twice() -> tuple[list[bytes], list[bytes]]:
        return (await streamed(on, CHAT))[0], (await streamed(on, CHAT))[0]

    first, again = asyncio.run(twice())
    assert len(upstream.seen) == 1
    assert b"".join(first) == b"".join(again)
    assert events(b"".join(again)) == [chunk("one"), chunk(finish="stop")]
    assert b"".join(again).endswith(b"data: [DONE]\n\n")


def whole(on: headrace.Router, operation: Operation, prompt: Any, **options: Any) -> Any:
    return asyncio.run(on.araw(operation, "group", prompt, stream=False, options=options))


def test_a_whole_answer_is_the_providers_body(upstream: Upstream) -> None:
    body = json.dumps({**ANSWER, "new field": 1.50}, indent=3).encode()
    upstream.answer(Reply(body))
    answer = whole(router(upstream), CHAT, ASK)
    assert answer.content == body
    assert answer._hidden_params["headrace"]["settled"].input == 3
    assert answer._hidden_params.usage["total_tokens"] == 4


def test_a_whole_response_says_where_it_is_kept(upstream: Upstream) -> None:
    body = {"id": "resp_1", "object": "response", "status": "completed", "output": [], "new field": 1}
    upstream.answer(Reply(body))
    told = json.loads(whole(router(upstream), RESPONSES, "hi").content)
    assert read_id(told.pop("id")) is not None
    assert told == {name: value for name, value in body.items() if name != "id"}


def test_a_whole_answer_of_another_dialect_is_written_in_the_callers(upstream: Upstream) -> None:
    upstream.answer(Reply(ANSWER))
    answer = whole(router(upstream, "cerebras/m"), MESSAGES, ASK, max_tokens=9)
    assert json.loads(answer.content)["content"] == [{"type": "text", "text": "hello"}]


def test_vectors_come_as_they_are(upstream: Upstream) -> None:
    body = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.50,-2]}],"usage":{"prompt_tokens":3,"total_tokens":3}}'
    upstream.answer(Reply(body))
    answer = whole(router(upstream), EMBEDDINGS, "hi")
    assert answer.content == body


def test_an_error_in_place_of_a_whole_answer_is_raised(upstream: Upstream) -> None:
    upstream.answer(Reply({"error": {"message": "no more", "type": "server_error"}}))
    with pytest.raises(HeadraceError, match="no more"):
        whole(router(upstream), CHAT, ASK)


def test_a_stream_that_is_left_closes_its_connection(upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=[*sse(chunk("one"), done=False), upstream.hold, *sse(*[chunk("x" * 60_000)] * 200)]))

    async def leave() -> None:
        stream: Any = await router(upstream).araw(CHAT, "group", ASK, stream=True, options={})
        await anext(stream)
        await stream.aclose()
        upstream.hold.set()
        await asyncio.to_thread(upstream.left.wait, 5)

    asyncio.run(leave())
    assert upstream.left.is_set()

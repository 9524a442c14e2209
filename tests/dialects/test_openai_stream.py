"""Answers of OpenAI's dialect that nobody translates: whole bodies, and streams chunk by chunk."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.dialects.openai_chat import ChunkReader, read_body
from headrace.errors import (
    APIResponseValidationError,
    BadGatewayError,
    BadRequestError,
    HeadraceError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
    TruncatedStream,
)
from headrace.framing import SseReader
from headrace.wire import Frame, Headers, HttpResponse


def chunk(content: str = "", *, index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": {"content": content} if content else {}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [choice], **fields}


def sse(*events: Any, done: bool = True) -> bytes:
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    return body + (b"data: [DONE]\n\n" if done else b"")


def read(data: bytes) -> tuple[list[dict[str, Any]], ChunkReader]:
    frames, reader = SseReader(), ChunkReader(provider="openai", model="m")
    chunks = [reader.feed(frame) for frame in frames.feed(data)]
    chunks += [reader.feed(frame, last=True) for frame in frames.close()]
    reader.close()
    return [each for each in chunks if each is not None], reader


def test_chunks_come_out_as_they_came() -> None:
    sent = [chunk("Hel"), chunk("lo"), chunk(finish="stop"), {"id": "c", "choices": [], "usage": {"total_tokens": 9}}]
    chunks, reader = read(sse(*sent))
    assert chunks == sent
    assert reader.done
    assert reader.usage == {"total_tokens": 9}


def test_a_count_that_comes_with_a_piece_of_text_is_the_count_until_a_later_one() -> None:
    """Perplexity, SiliconFlow and vLLM count in every chunk; a stream that is left is settled with the last of them."""
    counted = [chunk("a"), chunk("b", usage={"total_tokens": 7}), chunk("c", usage={"total_tokens": 8}), chunk("d")]
    for told in (ChunkReader.feed, lambda reader, frame: reader.glance(frame.data) or reader.feed(frame)):
        reader = ChunkReader(provider="openai", model="m")
        for frame in SseReader().feed(sse(*counted, done=False)):
            told(reader, frame)
        assert reader.usage == {"total_tokens": 8}


def test_an_error_beside_a_piece_of_text_is_an_error() -> None:
    with pytest.raises(HeadraceError, match="no more"):
        read(sse(chunk("a"), chunk("b", error={"message": "no more", "type": "server_error"}), chunk("c")))


def test_texts_in_parts_are_one_text_also_where_they_begin_in_mid_stream() -> None:
    parts: Any = [{"type": "text", "text": "b"}]
    reader = ChunkReader(provider="mistral", model="m")
    told = [made for frame in SseReader().feed(sse(chunk("a"), chunk(parts), chunk("c"))) for made in reader.chunks(frame)]
    assert [made["choices"][0]["delta"]["content"] for made in told] == ["a", "b", "c"]


def test_a_stream_without_done_is_whole_when_every_choice_has_finished() -> None:
    """Perplexity, Writer and part of Hugging Face's router send no [DONE]."""
    chunks, reader = read(sse(chunk("a"), chunk("b", index=1), chunk(finish="stop"), chunk(index=1, finish="length"), done=False))
    assert len(chunks) == 4
    assert not reader.done


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b": keep-alive\n\n",
        sse(chunk("half"), done=False),
        sse(chunk("a"), chunk("b", index=1), chunk(finish="stop"), done=False),
        sse(chunk("half"), done=False) + b'data: {"id": "c", "cho',
        sse(chunk("half"), done=False) + b"data: [DON",
    ],
)
def test_a_stream_that_ends_before_it_said_so_is_truncated(data: bytes) -> None:
    with pytest.raises(TruncatedStream, match="ended early"):
        read(data)


@pytest.mark.parametrize("noise", [b": OPENROUTER PROCESSING\n\n", b"data: \n\n", b"data:\n\n", b"event: ping\n\n", b"\n\n\n"])
def test_comments_pings_and_empty_frames_say_nothing(noise: bytes) -> None:
    chunks, _ = read(noise + sse(chunk("a", finish="stop")) + noise)
    assert len(chunks) == 1


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (Frame(b'{"error": {"message": "slow down", "code": 429}}'), RateLimitError),
        (Frame(b'{"error": {"message": "broke", "type": "server_error"}}', "error"), InternalServerError),
        (Frame(b'{"message": "broke"}', "error"), InternalServerError),
        (Frame(b'{"error": {"message": "no call", "type": "invalid_request_error", "code": "tool_use_failed"}}', "error"), BadRequestError),
        (Frame(b'{"error": {"code": 502, "message": "up"}, "choices": [{"delta": {}, "finish_reason": "error"}]}'), BadGatewayError),
        (
            Frame(b'{"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 502, "message": "x"}}]}'),
            BadGatewayError,
        ),
        (Frame(b'{"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}'), InternalServerError),
    ],
)
def test_an_error_inside_a_stream_is_raised_as_what_it_is(frame: Frame, error: type[HeadraceError]) -> None:
    reader = ChunkReader(provider="openrouter", model="m")
    reader.feed(Frame(json.dumps(chunk("half")).encode()))
    with pytest.raises(error, match="openrouter: "):
        reader.feed(frame)


@pytest.mark.parametrize("data", [b"<html>", b"[1]", b'"text"', b'{"choices": 7}', b'{"choices": ["x"]}', b'{"choices": [{"index": [1]}]}'])
def test_a_frame_that_is_no_chunk_is_a_bad_response(data: bytes) -> None:
    with pytest.raises(APIResponseValidationError, match=f"{len(data)} bytes"):
        ChunkReader(provider="openai", model="m").feed(Frame(data))


@pytest.mark.parametrize(
    ("chunks", "total"),
    [
        ([chunk("a"), chunk(finish="stop", x_groq={"usage": {"total_tokens": 5}})], 5),
        ([chunk("a", usage={"total_tokens": 3}), chunk(finish="stop", usage={"total_tokens": 5})], 5),
        (
            [
                chunk("a", usage=None),
                {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": {"total_tokens": 5}}]},
            ],
            5,
        ),
        ([chunk("a"), chunk(finish="stop"), chunk(finish="stop", usage={"total_tokens": 5})], 5),
    ],
    ids=["groq", "cumulative in every chunk", "moonshot", "openrouter, finished twice"],
)
def test_usage_is_found_wherever_it_stands(chunks: list[dict[str, Any]], total: int) -> None:
    _, reader = read(sse(*chunks))
    assert reader.usage == {"total_tokens": total}


def test_a_server_that_refuses_a_stream_with_a_plain_body_is_understood() -> None:
    for data in (
        b'{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}',
        b'data: {"code": "rate_limit_exceeded", "message": "slow"}\n\n',
    ):
        with pytest.raises(RateLimitError):
            read(data)


def test_a_server_that_does_not_stream_gives_one_chunk() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "whole", "tool_calls": [call]}
    whole = {"id": "c", "object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    (only,), _ = read(json.dumps(whole).encode())
    assert only["object"] == "chat.completion.chunk"
    assert only["choices"][0]["delta"] == {**message, "tool_calls": [{**call, "index": 0}]}


# ---- whole bodies ------------------------------------------------------------------------------------------------------------------


def body(data: bytes, kind: str = "application/json") -> dict[str, Any]:
    return read_body(HttpResponse(200, Headers.of({"content-type": kind}), data), provider="deepseek", model="m")


def test_blank_lines_before_the_body_are_waiting_and_nothing_else() -> None:
    assert body(b'\n\n\n\r\n {"choices": []}') == {"choices": []}


@pytest.mark.parametrize(
    ("data", "kind", "told"),
    [
        (b"<html><body>Sign in", "text/html", "HTML page"),
        (b"", "application/json", "0 bytes"),
        (b'{"choices": [', "application/json", "is not JSON"),
        (b"[]", "application/json", "is a list"),
        (b'"text"', "application/json", "is a str"),
        (b"null", "application/json", "is a NoneType"),
        (b"\xff\xfe", "application/json", "is not JSON"),
        (b"[" * 100_000, "application/json", "is not JSON"),
    ],
)
def test_what_is_no_answer_says_status_type_and_size(data: bytes, kind: str, told: str) -> None:
    with pytest.raises(APIResponseValidationError, match=told) as caught:
        body(data, kind)
    assert kind in str(caught.value)
    assert "status 200" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b'{"error": {"message": "x", "code": "model_not_found"}}', NotFoundError),
        (b'{"code": "rate_limit_exceeded", "message": "slow", "data_": null}', RateLimitError),
        (b'{"id": "g", "choices": [{"index": 0, "error": {"code": 502, "message": "up"}, "finish_reason": "error"}]}', BadGatewayError),
    ],
)
def test_an_error_under_status_200_is_raised(data: bytes, error: type[HeadraceError]) -> None:
    with pytest.raises(error):
        body(data)


def test_an_answer_beside_an_empty_error_is_an_answer() -> None:
    assert body(b'{"choices": [{"index": 0, "message": {}}], "error": null}')["error"] is None

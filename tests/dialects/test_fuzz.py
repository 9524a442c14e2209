"""Whatever comes, every reader of every dialect answers, or raises an error of headrace's; and it holds no more than it must."""

from __future__ import annotations

import importlib
import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from headrace.dialects import NAMES, load
from headrace.dialects.base import Dialect, Target
from headrace.dialects.forms import FORMS, Formed, form_of
from headrace.dialects.quota import read_quota
from headrace.errors import HeadraceError, TruncatedStream
from headrace.framing import MAX_FRAME, EventStreamReader
from headrace.types import ChatRequest, EmbeddingRequest
from headrace.wire import Frame, Headers, HttpResponse

TARGET = Target("provider", "theirs")
ASKED = ChatRequest(model="m", messages=(), stream=True, include_usage=True)
FEWER = settings(max_examples=settings().max_examples // 3)
"""Of each dialect: `tools/fuzz.py` goes on where these stop."""
DIALECTS = {name: load(name) for name in NAMES}
EVERY = pytest.mark.parametrize("dialect", [pytest.param(dialect, id=name) for name, dialect in DIALECTS.items()])

WORDS = st.sampled_from([
    "type", "role", "content", "parts", "text", "message", "messages", "choices", "delta", "index", "output", "input", "item", "response",
    "candidates", "functionCall", "args", "name", "id", "toolUse", "toolUseId", "contentBlockIndex", "start", "stop", "usage",
    "usageMetadata",
    "finish_reason", "finishReason", "stopReason", "stop_reason", "content_block", "error", "status", "details", "code", "logprobs",
    "tool_calls", "function", "arguments", "thinking", "signature", "citations", "annotations", "reasoning_details", "item_id",
    "output_index", "sequence_number", "done", "created_at", "tools", "tool_choice", "response_format", "generationConfig",
])  # fmt: skip
TEXTS = WORDS | st.sampled_from([
    "assistant", "user", "tool", "message_start", "content_block_start", "content_block_delta", "message_delta", "text_delta",
    "input_json_delta", "response.created", "response.output_item.added", "response.output_text.delta", "response.completed",
    "message-start", "content-delta", "function_call", "output_text", "STOP", "tool_use", "data:;base64,%", "{", "\\u0000", "9" * 5000,
])  # fmt: skip
NUMBERS = st.sampled_from([0, 1, -1, 10**9, 2**63, 10**400, 0.5, 1e308, -1e308])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)
BODIES = st.dictionaries(WORDS, VALUES, max_size=7)
HEADERS = st.dictionaries(
    st.sampled_from([
        "retry-after", "retry-after-ms", "x-ratelimit-limit-requests", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens",
        "anthropic-ratelimit-tokens-reset", "anthropic-ratelimit-requests-limit", "ratelimit", "ratelimit-policy", "x-should-retry",
    ]),
    st.sampled_from(["", "-1", "1e999", "nan", "6m0s", "∞".encode().decode("latin-1"), "2026-99-99T99:99:99Z", "9" * 400, "1;w=x", ","])
    | st.text(st.characters(max_codepoint=255), max_size=20),
    max_size=4,
)  # fmt: skip


DEEP = (b"[" * 200_000, b'{"a":' * 100_000, b'{"choices":' + b"[" * 5000 + b"]" * 5000 + b"}", b'"' + b"x" * 10**6)


def each() -> Iterator[Dialect]:
    """Every dialect, for one value made at random: making it takes longer than all of them take to read it."""
    for name, dialect in DIALECTS.items():
        note(name)
        yield dialect


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def tried(*attempts: Callable[[], Any]) -> None:
    for attempt in attempts:
        with suppress(HeadraceError):
            attempt()


@FEWER
@given(body=BODIES, headers=HEADERS, status=st.sampled_from([200, 400, 401, 404, 429, 500, 529]))
def test_no_body_raises_anything_but_an_error_of_ours(body: Any, headers: dict[str, str], status: int) -> None:
    response = HttpResponse(status, Headers.of(headers), encoded(body))
    tried(partial(read_quota, response.headers, now_wall=1.7e9))
    for dialect in each():
        tried(
            partial(dialect.read_response, response, ASKED, TARGET),
            partial(dialect.read_error, response, TARGET, now_wall=1.7e9),
            partial(dialect.read_request, body),
            partial(dialect.read_quota, response.headers, now_wall=1.7e9),
        )


@FEWER
@given(bodies=st.lists(st.tuples(BODIES, st.none() | TEXTS), max_size=6))
def test_no_stream_raises_anything_but_an_error_of_ours(bodies: list[tuple[Any, str | None]]) -> None:
    frames = [Frame(encoded(body), event) for body, event in bodies]

    def read(dialect: Dialect) -> None:
        reader = dialect.read_stream(ASKED, TARGET)
        for frame in frames:
            reader.feed(frame)
        reader.close()

    for dialect in each():
        tried(partial(read, dialect))


@FEWER
@given(data=st.binary(max_size=200), pieces=st.integers(1, 50))
def test_no_bytes_raise_anything_but_an_error_of_ours(data: bytes, pieces: int) -> None:
    def read(dialect: Dialect) -> None:
        frames, reader = dialect.framing(), dialect.read_stream(ASKED, TARGET)
        for at in range(0, len(data), pieces):
            for frame in frames.feed(data[at : at + pieces]):
                reader.feed(frame)
        for frame in frames.close():
            reader.feed(frame, last=True)
        reader.close()

    response = HttpResponse(200, Headers(), data)
    for dialect in each():
        tried(
            partial(read, dialect), partial(dialect.read_response, response, ASKED, TARGET), partial(dialect.read_error, response, TARGET)
        )


@EVERY
@pytest.mark.parametrize(
    "data",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        *(b'{"choices":' + b"[" * deep + b"]" * deep + b"}" for deep in (300, 480, 900, 5000)),
        *(b'{"error":' + b'{"message":' * deep + b"1" + b"}" * deep + b"}" for deep in (300, 480, 900, 5000)),
        b'"' + b"x" * 10**6,
    ],
    ids=lambda data: f"{data[:20].decode()}… {len(data)}",
)
def test_nesting_without_end_is_refused(dialect: Dialect, data: bytes) -> None:
    response = HttpResponse(200, Headers(), data)
    tried(
        lambda: dialect.read_response(response, ASKED, TARGET),
        lambda: dialect.read_error(response, TARGET),
        lambda: dialect.read_stream(ASKED, TARGET).feed(Frame(data)),
    )


@pytest.mark.parametrize("deep", [90, 400, 900])
def test_schemas_nested_without_end_are_the_providers_to_refuse(deep: int) -> None:
    """What decodes at all is handed on, and costs no more frames than Python has."""
    schema: Any = {"type": "STRING"}
    for _ in range(deep):
        schema = {"type": "ARRAY", "items": schema}
    body = {"contents": [], "tools": [{"functionDeclarations": [{"name": "f", "parameters": schema}]}]}
    for dialect in DIALECTS.values():
        tried(lambda dialect=dialect: dialect.write_request(DIALECTS["gemini"].read_request(body), TARGET))


def fed(frames: Any, piece: bytes, times: int) -> None:
    for _ in range(times):
        frames.feed(piece)


@EVERY
def test_a_frame_without_end_is_refused_before_it_fills_the_memory(dialect: Dialect) -> None:
    frames = dialect.framing()
    piece = b"data: " + b"x" * (1 << 20)
    if isinstance(frames, EventStreamReader):
        piece = b"\\xff" * 12
    with pytest.raises(HeadraceError):
        fed(frames, piece, MAX_FRAME // len(piece) + 2)


@EVERY
@pytest.mark.parametrize("place", [10**9, 2**62])
def test_a_place_far_away_takes_no_room_for_those_before_it(dialect: Dialect, place: int) -> None:
    call = {"index": place, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    frames: list[tuple[str | None, Any]] = [
        (None, {"choices": [{"index": place, "delta": {"tool_calls": [call]}}]}),
        ("content_block_start", {"type": "content_block_start", "index": place, "content_block": {"type": "text", "text": "a"}}),
        ("contentBlockDelta", {"contentBlockIndex": place, "delta": {"text": "a"}}),
        (None, {"candidates": [{"index": place, "content": {"parts": [{"text": "a"}]}}]}),
        (None, {"type": "response.output_text.delta", "output_index": place, "content_index": place, "delta": "a", "item_id": "i"}),
        (None, {"type": "content-start", "index": place, "delta": {"message": {"content": {"type": "text", "text": "a"}}}}),
    ]
    reader = dialect.read_stream(ASKED, TARGET)
    tracemalloc.start()
    try:
        for event, body in frames:
            tried(lambda event=event, body=body: reader.feed(Frame(msgspec.json.encode(body), event)))
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


PARTS = {
    (operation, name, part)
    for operation, names in FORMS.items()
    for name, module in names.items()
    for part, of in importlib.import_module(f"headrace.dialects.forms.{module}").FORMS
    if of == name
}
ANSWERS = st.dictionaries(WORDS | st.sampled_from(["results", "data", "models", "images", "scores", "text", "words", "artifacts"]), VALUES)


@given(answer=ANSWERS | VALUES)
def test_no_answer_in_a_form_raises_anything_but_an_error_of_ours(answer: Any) -> None:
    response = HttpResponse(200, Headers(), encoded(answer))
    asked = {"model": "m", "documents": ["a", "b"], "query": "q", "prompt": "p", "input": "i", "voice": "v"}
    for operation, name, part in sorted(PARTS):
        note(f"{operation} {name} {part}")
        formed = Formed(form_of(operation, name, part), Target("provider", "m", "https://e.com"), asked, operation)
        tried(partial(formed.read, response))


@FEWER
@given(body=BODIES)
def test_no_embeddings_raise_anything_but_an_error_of_ours(body: Any) -> None:
    response = HttpResponse(200, Headers(), encoded(body))
    asked = EmbeddingRequest(model="m", input=["a"])
    for dialect in each():
        read: Any = getattr(dialect, "read_embedding_response", None)
        if read is not None:
            tried(partial(read, response, asked, TARGET))


@pytest.mark.parametrize("name", [name for name in DIALECTS if name != "bedrock_converse"])  # whose messages have their length
@pytest.mark.parametrize("end", [b'{"id":"na\xc3', b'{"id":"\xf0\x9f\x98'], ids=["of two", "of four"])
def test_a_stream_cut_within_a_character_is_cut_and_not_broken(name: str, end: bytes) -> None:
    reader = DIALECTS[name].read_stream(ASKED, TARGET)
    assert not reader.feed(Frame(end), last=True)
    with pytest.raises(TruncatedStream):
        reader.close()

"""Invalid UTF-8 in JSON raises headrace's errors in every dialect."""

from __future__ import annotations

import pytest

from headrace.dialects import NAMES, load
from headrace.dialects.base import Target, passable
from headrace.dialects.bedrock_converse.eventstream import message
from headrace.dialects.openai_stream import ChunkReader, read_body
from headrace.errors import BadRequestError, HeadraceError, Kind
from headrace.types import ChatRequest, Message, Text, Tool
from headrace.wire import Frame, Headers, HttpResponse

TARGET = Target("provider", "model")
ASKED = ChatRequest(model="model", messages=(), stream=True, include_usage=True)
BROKEN = b'{"type": "x", "choices": [{"index": 0, "delta": {"content": "pl\xff\xfeain"}, "finish_reason": null}], "text": "pl\xff\xfeain"}'
"""It raised UnicodeDecodeError, which no reader took for the provider's mistake."""


@pytest.mark.parametrize("name", NAMES)
def test_a_response_with_invalid_utf8_is_a_provider_error(name: str) -> None:
    reply = HttpResponse(200, Headers(), BROKEN)
    with pytest.raises(HeadraceError) as caught:
        load(name).read_response(reply, ASKED, TARGET)
    assert caught.value.failure.kind is Kind.BAD_RESPONSE
    with pytest.raises(HeadraceError):
        read_body(reply, provider="provider", model="model")
    assert load(name).read_error(HttpResponse(500, Headers(), BROKEN), TARGET).kind is Kind.SERVER


@pytest.mark.parametrize("name", NAMES)
def test_an_event_with_invalid_utf8_is_a_provider_error(name: str) -> None:
    dialect = load(name)
    frame = Frame(BROKEN, "contentBlockDelta" if name == "bedrock_converse" else None)
    with pytest.raises(HeadraceError) as caught:
        dialect.read_stream(ASKED, TARGET).feed(frame)
    assert caught.value.failure.kind is Kind.BAD_RESPONSE
    if passable(dialect):
        watcher = dialect.watch_stream(TARGET)
        watcher.glance(BROKEN)  # it may pass over a text that it does not need
        with pytest.raises(HeadraceError):
            watcher.feed(frame)


HALF = {"type": "object", "properties": {"a": {"type": "string", "description": "half \ud83d an emoji"}}}
SAYING = {
    "text": ChatRequest(model="m", messages=(Message(role="user", content=(Text(text="half \ud83d"),)),)),
    "tool": ChatRequest(
        model="m", messages=(Message(role="user", content=(Text(text="hi"),)),), tools=(Tool(name="f", description="d", parameters=HALF),)
    ),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("said", SAYING)
def test_a_lone_surrogate_in_a_request_is_a_caller_error(name: str, said: str) -> None:
    """Symptom: in a tool's schema it raised UnicodeEncodeError, because UTF-8 cannot encode a surrogate."""
    with pytest.raises(BadRequestError):
        load(name).write_request(SAYING[said], TARGET)


def test_a_chunk_with_invalid_utf8_is_a_provider_error() -> None:
    reader = ChunkReader(provider="provider", model="model")
    assert not reader.glance(BROKEN)
    with pytest.raises(HeadraceError) as caught:
        reader.feed(Frame(BROKEN))
    assert caught.value.failure.kind is Kind.BAD_RESPONSE


def test_a_bedrock_exception_with_invalid_utf8_is_still_an_exception() -> None:
    dialect = load("bedrock_converse")
    [frame] = dialect.framing().feed(message({":exception-type": "throttlingException", ":message-type": "exception"}, BROKEN))
    with pytest.raises(HeadraceError) as caught:
        dialect.read_stream(ASKED, TARGET).feed(frame)
    assert caught.value.failure.kind is Kind.RATE_LIMIT

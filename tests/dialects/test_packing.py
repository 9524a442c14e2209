"""Streams in AWS's framing: whatever comes, nothing but our own errors, and nothing said twice."""

from __future__ import annotations

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.dialects.bedrock_converse.eventstream import event, exception, message
from headrace.dialects.packing import PACKINGS
from headrace.errors import HeadraceError, Kind
from headrace.framing import SseReader
from headrace.wire import Frame

NAMES = st.sampled_from(sorted(PACKINGS))


def chunk(body: object) -> bytes:
    return event("chunk", {"bytes": base64.b64encode(json.dumps(body).encode()).decode()})


@given(NAMES, st.binary(max_size=400), st.integers(1, 50))
def test_noise_raises_nothing_but_our_own(packing: str, noise: bytes, size: int) -> None:
    reader = PACKINGS[packing](SseReader(), "bedrock", "m")
    with suppress(HeadraceError):
        for at in range(0, len(noise), size):
            reader.feed(noise[at : at + size])
        reader.close()


@given(NAMES, st.sampled_from(["chunk", "PayloadPart", "other"]), st.binary(max_size=200) | st.text().map(str.encode))
def test_a_message_of_anything_raises_nothing_but_our_own(packing: str, name: str, payload: bytes) -> None:
    reader = PACKINGS[packing](SseReader(), "bedrock", "m")
    with suppress(HeadraceError):
        reader.feed(message({":event-type": name, ":message-type": "event"}, payload))
        reader.close()


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))
def test_a_chunk_of_any_json_raises_nothing_but_our_own(body: object) -> None:
    reader = PACKINGS["aws_chunks"](SseReader(), "bedrock", "m")
    with suppress(HeadraceError):
        reader.feed(chunk(body))


def test_what_came_before_an_exception_is_handed_out_first() -> None:
    reader = PACKINGS["aws_chunks"](SseReader(), "bedrock", "m")
    data = chunk({"type": "ping"}) + exception("modelStreamErrorException", {"message": "broken"}) + chunk({"type": "never"})
    assert reader.feed(data) == [Frame(b'{"type": "ping"}', "ping")]
    for after in (lambda: reader.feed(b""), reader.close):
        with pytest.raises(HeadraceError, match="broken") as caught:
            after()
        assert caught.value.failure.kind is Kind.SERVER

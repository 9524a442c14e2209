"""Bytes become frames, however they are cut."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import APIResponseValidationError
from headrace.framing import EventStreamReader, FrameTooLarge, JsonLinesReader, SseReader
from headrace.wire import Frame


def read(reader: Any, pieces: Iterable[bytes]) -> list[Frame]:
    frames = [frame for piece in pieces for frame in reader.feed(piece)]
    return frames + reader.close()


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` in pieces, empty ones included."""
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(marks)]


def sse_by_the_book(data: bytes) -> list[Frame]:
    """html.spec.whatwg.org 9.2.6, line by line; a named event without data is kept, and so is the one the end cut off.

    A stream without any event whose last block is JSON is that JSON.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    frames: list[Frame] = []
    lines: list[bytes] = []
    event: str | None = None
    for line in [*text.split(b"\n"), b""]:
        if not line:
            if lines or event is not None:
                frames.append(Frame(b"\n".join(lines), event))
            lines, event = [], None
            continue
        name, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if name == b"data":
            lines.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
    tail = text.rpartition(b"\n\n")[2]
    whole = frames if tail.strip(b"\n") == b"" else frames[:-1] if _ends_in_event(tail) else frames
    return [Frame(tail.strip())] if not whole and tail.lstrip()[:1] == b"{" else frames


def _ends_in_event(tail: bytes) -> bool:
    return any(line.partition(b":")[0] in (b"data", b"event") for line in tail.split(b"\n"))


PLACES = st.lists(st.integers(0, 10_000), max_size=12)
LINES = st.sampled_from([
    b"data: {}", b"data:{}", b"data", b"data: ", b"data:  two", b": comment", b":", b"event: error", b"event", b"id: 7", b"retry: 5", b"",
    b"",     b"nonsense", b'{"error": 1}', "data: ünï".encode(), b"data: \xff\xfe", b"\xef\xbb\xbfdata: x",
])  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.tuples(st.sampled_from([b"", b"\xef\xbb\xbf"]), st.lists(st.tuples(LINES, ENDS), max_size=25)).map(
    lambda made: made[0] + b"".join(line + end for line, end in made[1])
)


@given(STREAMS | st.binary(max_size=200), PLACES)
def test_server_sent_events_are_read_by_the_book_however_they_are_cut(data: bytes, places: list[int]) -> None:
    assert read(SseReader(), cut(data, places)) == sse_by_the_book(data)


@given(STREAMS)
def test_a_byte_at_a_time_gives_the_same_events(data: bytes) -> None:
    assert read(SseReader(), [data[i : i + 1] for i in range(len(data))]) == sse_by_the_book(data)


@pytest.mark.parametrize(
    ("data", "frames"),
    [
        (b'data: {"a":1}\n\ndata: [DONE]\n\n', [Frame(b'{"a":1}'), Frame(b"[DONE]")]),
        (b": OPENROUTER PROCESSING\n\ndata: x\n\n", [Frame(b"x")]),
        (b"event: error\ndata: {}\n\n", [Frame(b"{}", "error")]),
        (b"event: ping\n\n", [Frame(b"", "ping")]),
        (b"data: one\ndata: two\n\n", [Frame(b"one\ntwo")]),
        (b"data: x\r\n\r\ndata: y\r\r", [Frame(b"x"), Frame(b"y")]),
        (b"id: 1\nretry: 3\ndata: x\n\n", [Frame(b"x")]),
        (b"\n\n\n\n\ndata: x\n\n\n\n", [Frame(b"x")]),
        (b"\xef\xbb\xbfdata: x\n\n", [Frame(b"x")]),
        (b'{"error":\n  {"message": "no frame at all"}}\n', [Frame(b'{"error":\n  {"message": "no frame at all"}}')]),
        (b': keep-alive\n\n{"error": 1}', [Frame(b'{"error": 1}')]),
        (b'data: x\n\n{"error": 1}', [Frame(b"x")]),
    ],
)
def test_what_providers_send_as_events(data: bytes, frames: list[Frame]) -> None:
    assert read(SseReader(), [data]) == frames


def test_a_frame_is_out_as_soon_as_its_last_byte_is_in() -> None:
    """A carriage return that may yet get its line feed holds nothing back."""
    for end in (b"\n\n", b"\r\r", b"\r\n\r\n"):
        reader = SseReader()
        assert reader.feed(b"data: now") == []
        assert [frame for byte in end for frame in reader.feed(bytes([byte]))] == [Frame(b"now")]


@pytest.mark.parametrize(("tail", "left"), [(b"", False), (b"\n", False), (b"data: hal", True), (b": comment", True)])
def test_the_reader_knows_whether_text_was_left_over(tail: bytes, left: bool) -> None:
    reader = SseReader()
    reader.feed(b"data: whole\n\n" + tail)
    reader.close()
    assert reader.left_over is left


@pytest.mark.parametrize("reader", [SseReader, JsonLinesReader])
def test_a_frame_without_end_is_refused(reader: Callable[[int], Any]) -> None:
    with pytest.raises(FrameTooLarge):
        read(reader(1000), [b"data: xx"] * 200)


@pytest.mark.parametrize("reader", [SseReader, JsonLinesReader])
def test_a_large_frame_is_refused_in_one_piece_as_in_many(reader: Callable[[int], Any]) -> None:
    with pytest.raises(FrameTooLarge):
        reader(1000).feed(b"data: " + b"x" * 2000 + b"\n\n")


def test_many_small_frames_in_one_read_are_no_large_one() -> None:
    assert len(SseReader(100).feed(b"data: x\n\n" * 500)) == 500


@given(st.lists(st.sampled_from([b'{"a": 1}', b"", b"  ", b'{"text": "\\n"}', b"[1, 2]"]), max_size=12), st.booleans(), PLACES)
def test_json_lines_are_the_same_however_they_are_cut(lines: list[bytes], ended: bool, places: list[int]) -> None:
    data = b"\r\n".join(lines) + (b"\n" if ended and lines else b"")
    assert read(JsonLinesReader(), cut(data, places)) == [Frame(line) for line in lines if line.strip()]


# ---- AWS event stream --------------------------------------------------------------------------------------------------------------


def message(headers: dict[str, str], payload: bytes, extra_header: bytes = b"") -> bytes:
    """One message as the specification draws it."""
    named = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode() for name, value in headers.items()
    )
    named += extra_header
    prelude = struct.pack(">II", 16 + len(named) + len(payload), len(named))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + named + payload
    return body + struct.pack(">I", zlib.crc32(body))


KINDS = st.sampled_from([
    ({":message-type": "event", ":event-type": "contentBlockDelta", ":content-type": "application/json"}, "contentBlockDelta"),
    ({":message-type": "exception", ":exception-type": "throttlingException"}, "throttlingException"),
    ({":message-type": "error", ":error-code": "InternalError"}, "InternalError"),
    ({}, None),
])  # fmt: skip


@given(st.lists(st.tuples(KINDS, st.binary(max_size=40)), max_size=8), PLACES)
def test_event_stream_messages_are_the_same_however_they_are_cut(made: list[tuple[Any, bytes]], places: list[int]) -> None:
    data = b"".join(message(headers, payload) for (headers, _), payload in made)
    assert read(EventStreamReader(), cut(data, places)) == [Frame(payload, event) for (_, event), payload in made]


def test_headers_of_every_type_are_passed_over() -> None:
    sizes = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
    others = b"".join(b"\x01h" + bytes([kind]) + b"\x00" * size for kind, size in sizes.items()) + b"\x01b\x06\x00\x02ab"
    assert EventStreamReader().feed(message({":event-type": "x"}, b"{}", others)) == [Frame(b"{}", "x")]


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_never_passes(place: int, flip: int) -> None:
    data = bytearray(message({":event-type": "chunk"}, b'{"bytes":"e30="}'))
    data[place % len(data)] ^= flip
    with pytest.raises(APIResponseValidationError):
        EventStreamReader().feed(bytes(data))


def test_half_a_message_is_left_over() -> None:
    reader = EventStreamReader()
    assert reader.feed(message({":event-type": "x"}, b"{}")[:-1]) == []
    assert reader.close() == []
    assert reader.left_over


def test_a_message_beyond_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(FrameTooLarge):
        EventStreamReader(100).feed(message({":event-type": "x"}, b"x" * 200)[:16])

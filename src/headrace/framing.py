"""Incremental readers: bytes in as they arrive, frames out as they are complete. However the bytes are cut, the frames are the same."""

from __future__ import annotations

import struct
import zlib
from typing import Final

from headrace.errors import Failure, HeadraceError, Kind, error_of
from headrace.wire import Frame

MAX_FRAME: Final = 32 * 1024 * 1024
"""Bytes one frame may have: an image inlined as base64 fits, a stream that never ends a frame does not."""


def _too_large(limit: int) -> HeadraceError:
    return error_of(Failure(Kind.BAD_RESPONSE, f"one frame of the stream is larger than {limit} bytes"))


class SseReader:
    """Server-sent events (html.spec.whatwg.org, section 9.2): any line ending, comments, several data lines, a byte-order mark."""

    __slots__ = ("_begun", "_limit", "_tail")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._tail = b""
        self._begun = False
        self._limit = limit

    def feed(self, data: bytes) -> list[Frame]:
        """Frames completed by `data`. Raises APIResponseValidationError for a frame beyond the limit."""
        text = self._tail + data if self._tail else data
        if not self._begun and len(text) >= 3:
            self._begun = True
            text = text.removeprefix(b"\xef\xbb\xbf")
        if b"\r" in text:
            text, held = _one_line_ending(text)
        else:
            held = b""
        blocks = text.split(b"\n\n")
        self._tail = blocks.pop() + held
        if len(self._tail) > self._limit:
            raise _too_large(self._limit)
        frames: list[Frame] = []
        for block in blocks:
            if block[:6] == b"data: " and b"\n" not in block:  # what nearly every event looks like
                frames.append(Frame(block[6:]))
            elif (frame := _event(block)) is not None:
                frames.append(frame)
        return frames

    def close(self) -> list[Frame]:
        """The frame that was not ended by an empty line, if there is one: some servers leave the last one out."""
        tail, self._tail = self._tail.replace(b"\r", b"\n"), b""
        frame = _event(tail)
        return [] if frame is None else [frame]


def _one_line_ending(text: bytes) -> tuple[bytes, bytes]:
    """CRLF and CR as LF; a CR at the very end is held back, since its LF may still come."""
    held = b"\r" if text.endswith(b"\r") else b""
    body = text[:-1] if held else text
    return body.replace(b"\r\n", b"\n").replace(b"\r", b"\n"), held


def _event(block: bytes) -> Frame | None:
    """One event from its lines; None when no line holds data or a name."""
    data: list[bytes] = []
    event: str | None = None
    for line in block.split(b"\n"):
        name, colon, value = line.partition(b":")
        if not colon and not name:
            continue
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
    return None if not data and event is None else Frame(b"\n".join(data), event)


class JsonLinesReader:
    """One JSON value a line (Ollama's native streams)."""

    __slots__ = ("_limit", "_tail")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._tail = b""
        self._limit = limit

    def feed(self, data: bytes) -> list[Frame]:
        """Frames completed by `data`. Raises APIResponseValidationError for a line beyond the limit."""
        lines = (self._tail + data).split(b"\n")
        self._tail = lines.pop()
        if len(self._tail) > self._limit:
            raise _too_large(self._limit)
        return [Frame(stripped) for line in lines if (stripped := line.strip())]

    def close(self) -> list[Frame]:
        """The last line, if no line feed ended it."""
        line, self._tail = self._tail.strip(), b""
        return [Frame(line)] if line else []


_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")

_FIXED_SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type; types 6 and 7 say their length themselves."""


class EventStreamReader:
    """AWS event stream messages (smithy.io, application/vnd.amazon.eventstream). A frame's event is its `:event-type`,
    or `:exception-type` for an exception. Checksums are verified."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> list[Frame]:
        """Frames completed by `data`. Raises APIResponseValidationError for a broken or oversized message."""
        self._buffer += data
        frames: list[Frame] = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def close(self) -> list[Frame]:
        """Nothing: a message that is not whole is not a message."""
        return []

    def _next(self) -> Frame | None:
        buffer = self._buffer
        if len(buffer) < 12:
            return None
        total, headers, crc = _PRELUDE.unpack_from(buffer)
        if crc != zlib.crc32(buffer[:8]) or total < 16 + headers:
            raise _broken("its prelude's checksum is wrong")
        if total > self._limit:
            raise _too_large(self._limit)
        if len(buffer) < total:
            return None
        message = bytes(buffer[:total])
        del buffer[:total]
        if _CRC.unpack_from(message, total - 4)[0] != zlib.crc32(message[:-4]):
            raise _broken("its checksum is wrong")
        named = _headers(message[12 : 12 + headers])
        return Frame(message[12 + headers : -4], named.get(":event-type") or named.get(":exception-type"))


def _headers(data: bytes) -> dict[str, str]:
    """The message's headers that are texts."""
    named: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            size = data[at]
            name = data[at + 1 : at + 1 + size].decode()
            kind = data[at + 1 + size]
            at += 2 + size
            if kind in (6, 7):
                (length,) = struct.unpack_from(">H", data, at)
                if kind == 7:
                    named[name] = data[at + 2 : at + 2 + length].decode()
                at += 2 + length
            else:
                at += _FIXED_SIZES[kind]
    except (IndexError, KeyError, UnicodeDecodeError, struct.error):
        raise _broken("its headers cannot be read") from None
    return named


def _broken(why: str) -> HeadraceError:
    return error_of(Failure(Kind.BAD_RESPONSE, f"a message of the event stream is broken: {why}"))

"""Incremental stream readers: bytes in as they arrive, frames out as they complete. The frames do not depend on how the
bytes are split."""

from __future__ import annotations

import re
import struct
import zlib
from typing import Final

from headrace.errors import APIResponseValidationError, Failure, HeadraceError, Kind, error_of
from headrace.wire import Frame

MAX_FRAME: Final = 32 * 1024 * 1024
"""Maximum bytes of one frame: enough for an inlined base64 image, but bounds a stream that never completes a frame."""


class FrameTooLarge(APIResponseValidationError):
    """A frame larger than its reader accepts."""


def too_large(limit: int) -> HeadraceError:
    """The error for a frame of more than `limit` bytes."""
    return FrameTooLarge.of(Failure(Kind.BAD_RESPONSE, f"one frame of the stream is larger than {limit} bytes"))


_KEEPING: Final = (b":", b"\n", b"\r", b"event: ping", b"event: keepalive")
_KEEPS: Final = re.compile(rb"(?::[^\r\n]*+|[\r\n]|event: (?:ping|keepalive)\r?\n(?:data:[^\r\n]*+)?)*+\Z")


def keeps(data: bytes) -> bool:
    """Whether the bytes only keep the connection alive: SSE comments, blank lines, and the pings of Anthropic and OpenAI."""
    return data.startswith(_KEEPING) and _KEEPS.match(data) is not None


BOM: Final = b"\xef\xbb\xbf"


class SseReader:
    """Server-sent events (html.spec.whatwg.org, section 9.2): any line ending, comments, several data lines, a
    byte-order mark.

    `id` and `retry` are ignored, because no provider resumes a stream. Frames without data keep their name, so that no
    named event is lost.
    """

    __slots__ = ("_after_cr", "_begun", "_framed", "_limit", "_parts", "_size", "left_over")

    def __init__(self, limit: int = MAX_FRAME, *, framed: bool = False) -> None:
        """`framed`: whether another reader has already read frames of this stream."""
        self._parts: list[bytes] = []
        """Bytes of the incomplete frame with line endings unified. No empty line spans two neighbouring parts."""
        self._size = 0
        self._limit = limit
        self._begun = False
        self._framed = framed
        self._after_cr = False
        self.left_over = False
        """After `close`: whether text followed the last empty line. Rare in a complete stream, nearly certain in a truncated one."""

    def feed(self, data: bytes) -> list[Frame]:
        """Frames completed by `data`. Raises FrameTooLarge."""
        if not self._parts and not self._after_cr and len(data) <= self._limit and (frame := _one_event(data)) is not None:
            self._begun = self._framed = True
            return [frame]
        if not self._begun:
            data = self._first(data)
        if self._after_cr or b"\r" in data:
            data = self._one_line_ending(data)
        if not data:
            return []
        if self._parts:
            if b"\n\n" not in data and not (data[0] == 10 and self._parts[-1][-1] == 10):
                self._hold(data)
                return []
            self._parts.append(data)
            data = b"".join(self._parts)
        return self._split(data)

    def _split(self, text: bytes) -> list[Frame]:
        blocks = text.split(b"\n\n")
        tail = blocks.pop()
        self._parts = []
        self._size = 0
        if tail:
            self._hold(tail)
        if len(text) > self._limit and max(map(len, blocks), default=0) > self._limit:
            raise too_large(self._limit)
        frames: list[Frame] = []
        for block in blocks:
            if block[:6] == b"data: " and b"\n" not in block:  # what nearly every event looks like
                frames.append(Frame(block[6:]))
            elif (frame := event_of(block)) is not None:
                frames.append(frame)
        if frames:
            self._framed = True
        return frames

    def close(self) -> list[Frame]:
        """The last frame, if no empty line ended it: some servers omit it.

        A body that is one bare JSON object counts as such a frame: servers send it when they refuse a request or cannot
        stream.
        """
        if not self._parts:
            return []
        tail = b"".join(self._parts)
        self._parts = []
        self._size = 0
        self.left_over = bool(tail.strip(b"\n"))
        if not self._framed and tail.lstrip()[:1] == b"{":
            return [Frame(tail.strip())]
        frame = event_of(tail)
        return [] if frame is None else [frame]

    def _hold(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size > self._limit:
            raise too_large(self._limit)

    def _first(self, data: bytes) -> bytes:
        """The start of the stream without its byte-order mark; empty while the mark may still be incomplete."""
        text = b"".join(self._parts) + data
        self._parts = []
        self._size = 0
        if len(text) < 3 and BOM.startswith(text):
            if text:
                self._hold(text)
            return b""
        self._begun = True
        return text.removeprefix(BOM)

    def _one_line_ending(self, data: bytes) -> bytes:
        """CRLF and CR as LF. An LF after a CR that ended the previous bytes belongs to the same line end."""
        if not data:
            return data
        text = data[1:] if self._after_cr and data[0] == 10 else data
        self._after_cr = data[-1] == 13
        return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _one_event(data: bytes) -> Frame | None:
    """Fast path for data that is exactly one event, as nearly every read is: a data line, or a name and a data line. Else None."""
    start, name = 0, None
    if data[:7] == b"event: ":
        start = data.find(b"\n") + 1
        name = data[7 : start - 1]
    behind = len(data) - data.find(b"\n", start)
    if data[start : start + 6] != b"data: ":
        return None
    if behind == 2 and data[-1] == 10 and b"\r" not in data:
        return Frame(data[start + 6 : -2], None if name is None else name.decode("utf-8", "replace"))
    if behind == 3 and name is None and data[-4:] == b"\r\n\r\n" and data.find(b"\r") == len(data) - 4:
        return Frame(data[6:-4])
    return None


def event_of(block: bytes) -> Frame | None:
    """One event from its lines, which end in LF; None if no line holds data or a name."""
    first, _, second = block.partition(b"\n")
    if first[:7] == b"event: " and second[:6] == b"data: " and b"\n" not in second:  # what nearly every named event looks like
        return Frame(second[6:], first[7:].decode("utf-8", "replace"))
    data: list[bytes] = []
    event: str | None = None
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
    return None if not data and event is None else Frame(b"\n".join(data), event)


class JsonLinesReader:
    """One JSON value per line (Ollama's native streams)."""

    __slots__ = ("_limit", "_parts", "_size", "left_over")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._limit = limit
        self.left_over = False
        """After `close`: whether the last line had no line feed."""

    def feed(self, data: bytes) -> list[Frame]:
        """Frames completed by `data`. Raises FrameTooLarge."""
        if b"\n" not in data:
            self._hold(data)
            return []
        lines = b"".join((*self._parts, data)).split(b"\n")
        self._parts = []
        self._size = 0
        self._hold(lines.pop())
        if max(map(len, lines)) > self._limit:
            raise too_large(self._limit)
        return [Frame(stripped) for line in lines if (stripped := line.strip())]

    def close(self) -> list[Frame]:
        """The last line, if no line feed ended it."""
        line = b"".join(self._parts).strip()
        self._parts = []
        self._size = 0
        self.left_over = bool(line)
        return [Frame(line)] if line else []

    def _hold(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size > self._limit:
            raise too_large(self._limit)


_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")

_FIXED_SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Size in bytes of a header's value by its type; types 6 and 7 carry their own length."""


class EventStreamReader:
    """AWS event stream messages (smithy.io, application/vnd.amazon.eventstream). Checksums are verified.

    A frame's event is its `:event-type`, `:exception-type` or `:error-code`; the latter two report a failure of the
    service.
    """

    __slots__ = ("_buffer", "_limit", "left_over")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self.left_over = False
        """After `close`: whether a message was incomplete."""

    def feed(self, data: bytes) -> list[Frame]:
        """Frames completed by `data`. Raises FrameTooLarge, and APIResponseValidationError for a corrupt message."""
        self._buffer += data
        frames: list[Frame] = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def close(self) -> list[Frame]:
        """No frames: an incomplete message is discarded."""
        self.left_over = bool(self._buffer)
        return []

    def _next(self) -> Frame | None:
        buffer = self._buffer
        if len(buffer) < 12:
            return None
        total, headers, crc = _PRELUDE.unpack_from(buffer)
        if crc != zlib.crc32(buffer[:8]) or total < 16 + headers:
            raise _broken("its prelude's checksum is wrong")
        if total > self._limit:
            raise too_large(self._limit)
        if len(buffer) < total:
            return None
        message = bytes(buffer[:total])
        del buffer[:total]
        if _CRC.unpack_from(message, total - 4)[0] != zlib.crc32(message[:-4]):
            raise _broken("its checksum is wrong")
        named = _headers(message[12 : 12 + headers])
        event = named.get(":event-type") or named.get(":exception-type") or named.get(":error-code")
        return Frame(message[12 + headers : -4], event)


def _headers(data: bytes) -> dict[str, str]:
    """The message's string headers."""
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
    return error_of(Failure(Kind.BAD_RESPONSE, f"a message of the event stream is corrupt: {why}"))

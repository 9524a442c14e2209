"""Framing of Gemini's streams: server-sent events with `alt=sse`, otherwise one JSON array sent in pieces."""

from __future__ import annotations

import re
from typing import Final

from headrace.errors import Failure, Kind
from headrace.framing import MAX_FRAME, FrameTooLarge, SseReader
from headrace.wire import Frame

_MARK: Final = re.compile(rb'["{}\[\]\\]')


class GeminiReader:
    """Splits a stream in either format, told apart by the first non-space byte."""

    __slots__ = ("_ahead", "_inner", "left_over")

    def __init__(self) -> None:
        self._ahead = b""
        self._inner: SseReader | ArrayReader | None = None
        self.left_over = False
        """After `close`: whether the stream ended in the middle of a frame."""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames completed by `data`. Raises FrameTooLarge."""
        if self._inner is None:
            data = self._ahead + data
            first = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
            if not first:
                self._ahead = data[-16:]
                return []
            self._inner = ArrayReader() if first == b"[" else SseReader()
        return self._inner.feed(data)

    def close(self) -> list[Frame]:
        """The final unterminated frame, if there is one."""
        if self._inner is None:
            return []
        frames = self._inner.close()
        self.left_over = self._inner.left_over
        return frames


class ArrayReader:
    """Splits one JSON array into its objects, each a frame."""

    __slots__ = ("_buffer", "_depth", "_in_text", "_limit", "_skip", "left_over")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        """Data from the start of the open object, all of it scanned."""
        self._skip = 0
        """Escaped bytes still to come: 1 if the data ended with a backslash."""
        self._depth = 0
        self._in_text = False
        self._limit = limit
        self.left_over = False

    def feed(self, data: bytes) -> list[Frame]:
        """The frames completed by `data`. Raises FrameTooLarge."""
        at, start = len(self._buffer) + self._skip, 0
        self._buffer += data
        frames: list[Frame] = []
        while (found := _MARK.search(self._buffer, at)) is not None:
            mark, at = found[0], found.end()
            if mark == b"\\":
                at += 1
            elif mark == b'"':
                self._in_text = not self._in_text
            elif not self._in_text:
                self._depth += 1 if mark in b"{[" else -1
                if self._depth == 2 and mark in b"{[":
                    start = found.start()
                elif self._depth == 1 and mark in b"}]":
                    frames.append(Frame(bytes(self._buffer[start:at])))
        self._skip = max(0, at - len(self._buffer))
        self._keep(start)
        return frames

    def _keep(self, start: int) -> None:
        """Drops completed objects from the buffer; between objects, all of it. Raises FrameTooLarge."""
        del self._buffer[: start if self._depth > 1 else len(self._buffer)]
        if len(self._buffer) > self._limit:
            raise FrameTooLarge.of(Failure(Kind.BAD_RESPONSE, f"an object in the stream is larger than {self._limit} bytes"))

    def close(self) -> list[Frame]:
        """No frames: an incomplete object is not a frame."""
        self.left_over = self._depth > 0
        return []

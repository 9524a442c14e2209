"""Incremental decompression of gzip and deflate, for requests and responses."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

CODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})


class Inflate:
    """Decompressor of one body."""

    __slots__ = ("_begun", "_raw", "_zlib")

    def __init__(self, coding: str) -> None:
        self._zlib = zlib.decompressobj(16 + zlib.MAX_WBITS if coding in ("gzip", "x-gzip") else zlib.MAX_WBITS)
        self._raw = coding == "deflate"
        self._begun = False

    def feed(self, data: bytes, most: int) -> bytes:
        """The decompressed data, at most `most` + 1 bytes, so that a decompression bomb is detected early. Raises zlib.error."""
        try:
            out = self._zlib.decompress(data, most + 1)
        except zlib.error:
            if not self._raw or self._begun:
                raise
            self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)  # raw "deflate" without zlib's wrapper, as some servers send it
            out = self._zlib.decompress(data, most + 1)
        self._begun = self._begun or bool(data)
        return out

    def slices(self, data: bytes, most: int) -> Iterator[bytes]:
        """All of the decompressed data, in slices of about `most` bytes. Raises zlib.error."""
        while len(out := self.feed(data, most)) > most:
            yield out
            data = self._zlib.unconsumed_tail
        yield out

    @property
    def whole(self) -> bool:
        return self._zlib.eof or not self._begun

    @property
    def more(self) -> bool:
        """Whether data follows the end of the compressed stream."""
        return bool(self._zlib.unused_data)

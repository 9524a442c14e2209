"""Image dimensions from the first bytes of a file, for programs that estimate an image's cost."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Final

Size = tuple[int, int]

UNKNOWN: Final = (0, 0)
"""Dimensions of unknown formats and of plain URLs, since nothing is fetched."""


def get_image_dimensions(data: str) -> Size:
    """(width, height) in pixels of an image given as base64 or as a data: URL; (0, 0) if unknown."""
    try:
        head = base64.b64decode(data.rpartition(",")[2][: _READ * 4 // 3 // 4 * 4])
    except ValueError:
        return UNKNOWN
    reader = next((read for mark, read in _KINDS if head.startswith(mark)), None)
    try:
        return UNKNOWN if reader is None else reader(head)
    except (struct.error, IndexError):
        return UNKNOWN


_READ: Final = 256 * 1024
"""Bytes inspected: a JPEG's dimensions follow its embedded previews."""


def _png(head: bytes) -> Size:
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def _gif(head: bytes) -> Size:
    width, height = struct.unpack("<HH", head[6:10])
    return width, height


def _jpeg(head: bytes) -> Size:
    """Walks the segments up to the frame header (ITU T.81, B.2.2)."""
    at = 2
    while True:
        mark, length = head[at + 1], struct.unpack(">H", head[at + 2 : at + 4])[0]
        if 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return width, height
        at += 2 + length


def _webp(head: bytes) -> Size:
    """Extended, lossless or lossy format (RFC 9649)."""
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", head[26:30])
    return width & 0x3FFF, height & 0x3FFF


_KINDS: Final[tuple[tuple[bytes, Callable[[bytes], Size]], ...]] = (
    (b"\x89PNG", _png), (b"GIF8", _gif), (b"\xff\xd8", _jpeg), (b"RIFF", _webp),
)  # fmt: skip

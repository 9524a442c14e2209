"""A picture's size from its first bytes."""

from __future__ import annotations

import base64
import struct

import pytest

from headrace.compat.litellm.pictures import get_image_dimensions

JPEG = b"\xff\xd8\xff\xe0" + struct.pack(">H", 4) + b"\0\0" + b"\xff\xc0" + struct.pack(">HBHH", 11, 8, 20, 30) + b"\0" * 8


@pytest.mark.parametrize(
    "picture",
    [
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + struct.pack(">II", 30, 20),
        b"GIF89a" + struct.pack("<HH", 30, 20),
        JPEG,
        b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 10 + struct.pack("<HH", 30, 20),
        b"RIFF\0\0\0\0WEBPVP8X" + b"\0" * 8 + (29).to_bytes(3, "little") + (19).to_bytes(3, "little"),
        b"RIFF\0\0\0\0WEBPVP8L" + b"\0" * 5 + (29 | 19 << 14).to_bytes(4, "little"),
    ],
    ids=["png", "gif", "jpeg", "webp lossy", "webp extended", "webp lossless"],
)
@pytest.mark.parametrize("before", ["", "data:image/any;base64,"])
def test_a_picture_tells_its_size(picture: bytes, before: str) -> None:
    assert get_image_dimensions(before + base64.b64encode(picture + b"\0" * 100).decode()) == (30, 20)


@pytest.mark.parametrize("what", ["https://example.org/a.png", "", "data:image/png;base64,iVBORw==", "no picture at all"])
def test_what_tells_no_size_has_none(what: str) -> None:
    assert get_image_dimensions(what) == (0, 0)

"""Long texts in a JSON body are skipped: only what surrounds them is decoded, and they are forwarded as received.

A stretch without a quotation mark lies inside one string or between two of them. Cutting it out of a string leaves JSON
with the same names and values around it. Cut out between two strings, either a name loses its colon, which leaves
invalid JSON, or a list loses some items, which nothing here depends on. An error inside a stretch is the provider's to
find: a request that it refuses is then parsed in full and refused with the gateway's own message.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Final

from msgspec import Raw

LOOKS: Final = 32
"""Positions of a body that are probed: a text without quotation marks that spans two of the resulting intervals is found."""
LEAST: Final = 2048
"""Bytes from which a text is worth skipping."""
TAIL: Final = 64
"""Bytes at the end of a text that are searched for backslashes: a text that ends with more of them is decoded."""

_MARK: Final = secrets.token_hex(12).encode()
"""Placeholder for a text, random so that no client can forge it."""
_MARKED: Final = re.compile(_MARK + rb"(\d\d)")


def shortened(data: bytes, begin: int) -> tuple[bytes, Sequence[memoryview]]:
    """`data` from `begin` on with a placeholder for each long text, and the texts."""
    step = max(LEAST, (len(data) - begin) // LOOKS)
    whole, done, at = memoryview(data), begin, begin + step
    pieces: list[bytes | memoryview] = []
    texts: list[memoryview] = []
    while at < len(data):
        end = data.find(b'"', at)
        if end < 0:
            break
        since = max(done, data.rfind(b'"', begin, at) + 1)
        tail = data[max(since, end - TAIL) : end]
        clean = tail.rstrip(b"\\")  # a trailing backslash may escape the quotation mark: leave both in place
        until = end - len(tail) + len(clean)
        if clean and until - since >= LEAST:
            pieces += (whole[done:since], b"%b%02d" % (_MARK, len(texts)))
            texts.append(whole[since:until])
            done = until
        at = end + step
    return b"".join((*pieces, whole[done:])), texts


def marked(value: Raw | None) -> bool:
    """Whether a long text was cut out of the value."""
    return value is not None and _MARK in bytes(value)


def restored(value: Raw, texts: Sequence[memoryview]) -> list[bytes | memoryview]:
    """The original value, in pieces."""
    split: list[bytes] = _MARKED.split(bytes(value))
    return [texts[int(piece)] if number % 2 else piece for number, piece in enumerate(split)]

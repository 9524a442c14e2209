"""Long texts in a body of JSON, stepped over: what stands around them is read, they themselves go on as they came.

A stretch without a quotation mark lies inside one string or between two of them. Taken out it leaves JSON with the same names and values
around it in the first case. In the second a name loses its colon, so no JSON is left, or a list some of its items, of which nobody here
asks. What is broken inside a stretch is the provider's to find: what it refuses is read whole, and refused in our own words.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Final

from msgspec import Raw

LOOKS: Final = 32
"""Places of a body that are looked at: a text without a quotation mark that takes two parts in so many of it is found."""
LEAST: Final = 2048
"""Bytes that are worth stepping over."""
TAIL: Final = 64
"""Bytes of a text that are looked through for its last ones: what ends with more backslashes is read whole."""

_MARK: Final = secrets.token_hex(12).encode()
"""Stands for a text: nobody outside of this process knows it."""
_MARKED: Final = re.compile(_MARK + rb"(\d\d)")


def shortened(data: bytes, begin: int) -> tuple[bytes, Sequence[memoryview]]:
    """What of `data` is behind `begin`, with a mark in the place of each long text, and the texts."""
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
        clean = tail.rstrip(b"\\")  # what follows may escape the quotation mark: both are left
        until = end - len(tail) + len(clean)
        if clean and until - since >= LEAST:
            pieces += (whole[done:since], b"%b%02d" % (_MARK, len(texts)))
            texts.append(whole[since:until])
            done = until
        at = end + step
    return b"".join((*pieces, whole[done:])), texts


def marked(value: Raw | None) -> bool:
    """Whether a long text was taken out of it."""
    return value is not None and _MARK in bytes(value)


def restored(value: Raw, texts: Sequence[memoryview]) -> list[bytes | memoryview]:
    """A value as it came, in pieces."""
    split: list[bytes] = _MARKED.split(bytes(value))
    return [texts[int(piece)] if number % 2 else piece for number, piece in enumerate(split)]

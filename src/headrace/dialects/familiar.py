"""What makes the next event of a stream as good as one that was looked at, so that it can be handed on without another look.

Nearly every event is like the one before but for a few letters of text. What stands around these is compared, byte for byte; what stands
between is the provider's, as is all that is handed on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from msgspec import Struct


class Likeness(Struct, frozen=True, gc=False):
    """An event of one line of data that begins and ends so, with `within` somewhere behind the beginning, tells nothing but text."""

    begin: bytes
    within: bytes
    end: bytes


Learn: TypeAlias = Callable[[bytes, int], Likeness | None]
"""From an event that says a piece of the answer and nothing else, and where its JSON begins."""

LESSONS: Final = 8
"""Events of a stream that are learnt from at most: where each is like none before, to compare is of no use."""


def by_text(data: bytes, start: int) -> Likeness:
    """Chat Completions: an event's reason to end, its counts and its error stand before its text or behind it."""
    text = _before_text(data, start)
    at = len(data) - 3 if text is None else text.end()  # one without a text is known again by all of it
    behind = data.find(b'"finish_reason"', at)
    rest = data[behind if behind > 0 else _end_of_text(data, at) :]
    before, padded, _ = rest.partition(_PADDING)
    return Likeness(data[:at], before + padded, b'"}\n\n') if padded else Likeness(data[:at], b"", rest)


_before_text: Final = re.compile(rb'"(?:content|arguments|reasoning|reasoning_content)": ?"(?!")').search
_text: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"').match

_PADDING: Final = b'"obfuscation":"'
"""Random letters at an event's end, so that its length does not give away its text (platform.openai.com, read 2026-11)."""


def _end_of_text(data: bytes, begin: int) -> int:
    found = _text(data, begin)
    return begin if found is None else found.end() - 1


def by_type(data: bytes, start: int) -> Likeness | None:
    """Responses and Messages: what an event tells is its type, which stands before its text."""
    end = data.find(b",", start) + 1
    delta = data.startswith(b'{"type":"', start) and b"delta" in data[start:end]  # others hold ids, which may have to be changed
    return Likeness(data[:end], b"", b"}\n\n") if delta else None


LEARN: Final[Mapping[str, Learn]] = {
    "openai_chat": by_text, "openai_responses": by_type, "anthropic_messages": by_type,
}  # fmt: skip


# ---- Gemini, whose events say their counts anew each time ----------------------------------------------------------------------------

BEGIN: Final = (b'data: {"candidates": [{"content": {', b'data: {"candidates":[{"content":{')
BEGUN: Final = 32
"""Where an event's first answer has begun, however it is spaced."""
ENDED: Final = b'"finishReason"'
COUNTS: Final = b'"usageMetadata"'
PARTS: Final = b'{"candidates":[{"content":{"parts":['
"""What stands in an event before its parts, so that it can be read without them."""
NEXT_ANSWER: Final = b'"content"'
"""What a second candidate has. In a text there would be a backslash before each quote."""
DIGITS: Final = 8
"""How many more or fewer the counts of a later event may have."""
SPACED: Final = b" 0123456789"
LEADING: Final = frozenset({b"}]}}],", b'}],"role":"model"}}],', b'}]},"index":}],', b'}],"role":"model"},"index":}],'})
"""What leads from the end of the last part to the counts where nothing else stands between, `SPACED` left out."""

"""Recognizes stream events that differ from an earlier one only in their text, to forward them without parsing.

Nearly every event equals the previous one except for a few characters of text. Everything around that text is compared
byte for byte; the text itself comes from the provider and is forwarded as is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from msgspec import Struct


class Likeness(Struct, frozen=True, gc=False):
    """A pattern for single-line events: one that begins with `begin`, then contains `within`, and ends with `end` carries only text."""

    begin: bytes
    within: bytes
    end: bytes


Learn: TypeAlias = Callable[[bytes, int], Likeness | None]
"""Builds a pattern from an event that carries only text. Takes the event and the offset of its JSON."""

LESSONS: Final = 8
"""At most this many events of a stream are learned from: where no event resembles an earlier one, comparing is useless."""


def by_text(data: bytes, start: int) -> Likeness:
    """Chat Completions: an event's finish reason, usage and error come before or after its text."""
    text = _before_text(data, start)
    at = len(data) - 3 if text is None else text.end()  # an event without text only matches an identical one
    behind = data.find(b'"finish_reason"', at)
    rest = data[behind if behind > 0 else _end_of_text(data, at) :]
    before, padded, _ = rest.partition(_PADDING)
    return Likeness(data[:at], before + padded, b'"}\n\n') if padded else Likeness(data[:at], b"", rest)


_before_text: Final = re.compile(rb'"(?:content|arguments|reasoning|reasoning_content)": ?"(?!")').search
_text: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"').match

_PADDING: Final = b'"obfuscation":"'
"""Random padding at an event's end, so that its length does not reveal its text (platform.openai.com, read 2026-11)."""


def _end_of_text(data: bytes, begin: int) -> int:
    found = _text(data, begin)
    return begin if found is None else found.end() - 1


def by_type(data: bytes, start: int) -> Likeness | None:
    """Responses and Messages: an event's type says what it carries, and comes before its text."""
    end = data.find(b",", start) + 1
    delta = data.startswith(b'{"type":"', start) and b"delta" in data[start:end]  # other events hold ids, which may have to be rewritten
    return Likeness(data[:end], b"", b"}\n\n") if delta else None


LEARN: Final[Mapping[str, Learn]] = {
    "openai_chat": by_text, "openai_responses": by_type, "anthropic_messages": by_type,
}  # fmt: skip


# ---- Gemini, whose events repeat the token counts every time --------------------------------------------------------------------------

BEGIN: Final = (b'data: {"candidates": [{"content": {', b'data: {"candidates":[{"content":{')
BEGUN: Final = 32
"""By this offset an event's first candidate has begun, with any spacing."""
ENDED: Final = b'"finishReason"'
COUNTS: Final = b'"usageMetadata"'
PARTS: Final = b'{"candidates":[{"content":{"parts":['
"""The part of an event before its parts, prepended to parse the event without them."""
NEXT_ANSWER: Final = b'"content"'
"""Only present again if there is a second candidate. Within text, each quote would be preceded by a backslash."""
DIGITS: Final = 8
"""How many more or fewer digits the counts of a later event may have."""
SPACED: Final = b" 0123456789"
LEADING: Final = frozenset({b"}]}}],", b'}],"role":"model"}}],', b'}]},"index":}],', b'}],"role":"model"},"index":}],'})
"""The bytes between the last part and the token counts if nothing else comes between, with `SPACED` removed."""

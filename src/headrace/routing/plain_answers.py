"""Fast reader of ordinary responses: text with a usage of plain tokens only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.calls import CHAT, EMBEDDINGS, Operation


class _Details(Struct, frozen=True):
    """Tokens that are not plain text: cached, audio, image or reasoning."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_creation_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0
    reasoning_tokens: int = 0


_NONE: Final = _Details()


class Usage(Struct, frozen=True):
    """Usage in OpenAI's form. Any field after the first two would be billed differently."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details = _NONE
    completion_tokens_details: _Details = _NONE
    input_tokens_details: Any = None
    output_tokens_details: Any = None
    cache_read_input_tokens: Any = None
    cache_creation_input_tokens: Any = None
    cache_creation: Any = None
    prompt_cache_hit_tokens: Any = None
    cached_tokens: Any = None
    server_tool_use: Any = None
    num_search_queries: Any = None
    service_tier: Any = None
    speed: Any = None


class _Message(Struct):
    content: str | None = None


class Choice(Struct):
    """A choice with the text where clients expect it, and no error in its place."""

    message: _Message | None = None
    error: None = None


class _Answer(Struct):
    choices: list[Choice]
    usage: Usage
    service_tier: str | None = None


class _Vectors(Struct):
    data: list[msgspec.Raw]
    usage: Usage
    service_tier: str | None = None


READERS: Final[Mapping[Operation, Callable[[bytes], _Answer | _Vectors]]] = {
    CHAT: msgspec.json.Decoder(_Answer).decode,
    EMBEDDINGS: msgspec.json.Decoder(_Vectors).decode,
}
"""Decoder by operation. Raises ValueError for any other response."""


class Plain(Struct, frozen=True, gc=False):
    """Usage of a plain response."""

    input: int
    output: int
    cost: int | None
    """Nano-dollars; None if no price is known."""

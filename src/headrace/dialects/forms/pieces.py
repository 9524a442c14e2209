"""Streams of text completion models as OpenAI's text completion chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from headrace.dialects.base import Target
from headrace.dialects.failures import read_error_inside
from headrace.dialects.forms import Body
from headrace.dialects.openai_stream import Said
from headrace.errors import BadRequestError, Failure, Kind, error_of
from headrace.types import Json
from headrace.wire import Frame


class Made(Struct, frozen=True):
    """One of a response's texts, or a piece of it."""

    text: str
    finish: str | None = None
    """OpenAI's finish reason; None while the text continues."""
    index: int = 0
    extra: Mapping[str, Json] = {}

    @property
    def choice(self) -> dict[str, Json]:
        return {"index": self.index, "text": self.text, "logprobs": None, **self.extra, "finish_reason": self.finish}


class Told(Struct, frozen=True):
    """The contents of a response or stream event."""

    made: tuple[Made, ...]
    usage: dict[str, int] | None = None
    rest: Mapping[str, Json] = {}
    over: bool = False
    """Whether the stream is complete although no text has a finish reason."""

    def body(self, model: str) -> dict[str, Json]:
        """As a text completion in OpenAI's format."""
        counted = {"usage": self.usage} if self.usage else {}
        said = {"id": "", "object": "text_completion", "created": 0, "model": model}
        return {**said, **self.rest, "choices": [made.choice for made in self.made], **counted}


class Pieces:
    """Turns a stream's events into chunks.

    `read` returns an event's contents, and raises BadRequestError, LookupError, TypeError or ValueError for an invalid
    one.
    """

    def __init__(self, read: Callable[[Any], Told], body: Body, target: Target) -> None:
        self._read = read
        self._target = target
        self._counted = bool((body.get("stream_options") or {}).get("include_usage"))
        self._begun: set[int] = set()
        self._ended: set[int] = set()
        self._over = False
        self.usage: dict[str, Any] | None = None
        self.said: Said | None = None

    def chunks(self, frame: Frame, *, last: bool = False) -> Sequence[dict[str, Any]]:
        """last: the frame was not terminated, so unreadable data means truncation."""
        if frame.data == b"[DONE]":
            return ()
        event: Any = None
        try:
            event = msgspec.json.decode(frame.data)
            told = self._read(event)
        except (msgspec.DecodeError, RecursionError, BadRequestError, AttributeError, LookupError, TypeError, ValueError) as error:
            if last and event is None:
                return ()
            raise self._failed(event, error) from None
        return [self._noted(told)] if told.made or told.usage else ()

    def _failed(self, event: Any, error: Exception) -> Exception:
        provider, model = self._target.provider, self._target.model
        if isinstance(event, Mapping) and any(event.get(name) for name in ("error", "errors", "message")):
            return error_of(read_error_inside(event, provider=provider, model=model))
        text = f"{provider}: a stream event cannot be read: {error}"
        return error_of(Failure(Kind.BAD_RESPONSE, text, provider=provider, model=model))

    def _noted(self, told: Told) -> dict[str, Any]:
        self._begun |= {made.index for made in told.made}
        self._ended |= {made.index for made in told.made if made.finish}
        self._over = self._over or told.over
        self.usage = _most(self.usage, told.usage)
        chunk = told.body(self._target.model)
        chunk.pop("usage", None)
        if self._counted and self.usage and any(made.finish for made in told.made):
            chunk["usage"] = self.usage
        if self.said is not None:
            self.said.note(chunk)
        return chunk

    def rest(self) -> Sequence[dict[str, Any]]:
        """Raises TruncatedStream unless every text has ended."""
        if not self._over and not (self._begun and self._ended >= self._begun):
            text = f"{self._target.provider}: the stream ended early"
            raise error_of(Failure(Kind.TRUNCATED, text, provider=self._target.provider, model=self._target.model))
        return ()


def _most(one: dict[str, Any] | None, other: Mapping[str, int] | None) -> dict[str, Any] | None:
    """The latest counts: they may arrive one at a time or grow."""
    if one is None or other is None:
        return one if other is None else dict(other)
    counts = {name: max(one[name], other[name]) for name in ("prompt_tokens", "completion_tokens")}
    return {**counts, "total_tokens": sum(counts.values())}

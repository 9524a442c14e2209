"""Features of a request that the provider's dialect lacks: the request is changed to use what it has, and the response changed back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from headrace.dialects import json_mode
from headrace.dialects.allowed_tools import only_allowed
from headrace.dialects.base import Target
from headrace.dialects.local_calls import CalledBack, called_back
from headrace.dialects.local_tools import Form, as_functions, takes_bare
from headrace.types import ChatRequest, ChatResponse, StreamEvent


class Amends(Struct, frozen=True):
    """Changes to make to a response."""

    forms: Mapping[str, Form]
    """The caller's own tool types, by the names of the functions substituted for them."""
    json: bool
    """Whether to remove a code fence around JSON."""

    def whole(self, answer: ChatResponse) -> ChatResponse:
        answer = called_back(answer, self.forms) if self.forms else answer
        return replace(answer, choices=tuple(map(json_mode.unfenced, answer.choices))) if self.json else answer

    def streamed(self) -> Amending:
        return Amending(self)


class Amending:
    """The changes for a stream's events."""

    __slots__ = ("_calls", "_texts")

    def __init__(self, amends: Amends) -> None:
        self._calls = CalledBack(amends.forms) if amends.forms else None
        self._texts = json_mode.Unfenced() if amends.json else None

    def feed(self, event: StreamEvent) -> Sequence[StreamEvent]:
        told = (event,) if self._texts is None else self._texts.feed(event)
        return told if self._calls is None else [one for each in told for one in self._calls.feed(each)]


def amended(request: ChatRequest, source: str, dialect: str, target: Target) -> tuple[ChatRequest, Amends | None]:
    """`request` changed to fit the provider, and the changes its response needs; None for none. source: the caller's dialect."""
    request = json_mode.with_schema(only_allowed(request))
    request, forms = as_functions(request, source, bare=takes_bare(dialect, target.provider))
    json = json_mode.is_missing(request, dialect)
    request = json_mode.in_words(request) if json else request
    return request, Amends(forms, json) if forms or json else None

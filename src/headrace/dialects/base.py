"""The dialect protocols, and the laws every dialect obeys.

1. What is written can be read back as the same hub value.
2. A stream's events add up (`collect.collect`) to the response that would have come without streaming.
3. A stream cut at any byte ends in an error, never in an invented finish reason.
4. Unknown fields survive within the same dialect.
5. How the bytes are split on arrival makes no difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeGuard

from msgspec import Struct

from headrace.errors import Failure
from headrace.limits.view import QuotaView
from headrace.types import ChatRequest, ChatResponse, Json, StreamEvent, TextDelta, ThinkingDelta, ToolCallDelta
from headrace.wire import Frame, HeaderPairs, HttpRequest, HttpResponse


class Target(Struct, frozen=True):
    """Where a request goes: the provider's name for the model, the URL and the authentication headers."""

    provider: str
    model: str
    base_url: str = ""
    headers: HeaderPairs = ()
    source: str = ""
    """The dialect the request was read from, if it was another.

    Nested fields in `extra` are then written only where both dialects are known to share them.
    """
    place: str = ""
    """The model's name in the URL, where `model` only names the family."""
    drop_params: bool = False
    """For calls written to a batch file: whether to leave out parameters that the provider does not support."""
    moment: int = 0
    """When the call was made, in epoch seconds: the creation time of a response whose provider sends none."""

    def __repr__(self) -> str:
        return f"<Target {self.provider}/{self.model}>"


class FrameReader(Protocol):
    """Splits a stream's bytes into frames. Raises HeadraceError for a frame that is too large or malformed."""

    def feed(self, data: bytes) -> list[Frame]: ...
    def close(self) -> list[Frame]:
        """The final unterminated frame, if there is one."""
        ...


class StreamReader(Protocol):
    """Reads one stream. Raises HeadraceError for an error sent within the stream or an unreadable frame."""

    def feed(self, frame: Frame, *, last: bool = False) -> list[StreamEvent]:
        """The events of one frame. last: the frame was not terminated, so invalid data means that the stream was cut."""
        ...

    def close(self) -> list[StreamEvent]:
        """Events held back until the end. Raises TruncatedStream if the stream had not signalled its end."""
        ...


class StreamWatcher(Protocol):
    """Observes a stream that is forwarded unchanged. Agrees with the reader on errors, end and usage."""

    @property
    def usage(self) -> dict[str, Any] | None:
        """Usage so far, in OpenAI's format."""
        ...

    def feed(self, frame: Frame, *, last: bool = False) -> dict[str, Any] | None:
        """The event as received; None for a frame without one. Raises HeadraceError as the reader does."""
        ...

    def look(self, frame: Frame) -> None:
        """`feed` for callers that do not need the event."""
        ...

    def glance(self, data: bytes) -> bool:
        """Fast path: True if `data` is one valid event that can be forwarded as is; its end and usage are then recorded.

        Otherwise call `feed`.
        """
        ...

    def close(self) -> None:
        """Raises TruncatedStream if the stream had not signalled its end."""
        ...

    def chunks(self, frame: Frame, *, last: bool = False) -> Sequence[dict[str, Any]]:
        """`feed` for frames that may hold any number of events."""
        ...

    def rest(self) -> Sequence[dict[str, Any]]:
        """`close` for callers that take events; the result is empty because nothing is held back."""
        ...


class StreamWriter(Protocol):
    """Writes one stream as framed bytes, ready to send to the caller."""

    def feed(self, event: StreamEvent) -> bytes: ...

    def close(self) -> bytes:
        """The end-of-stream bytes."""
        ...

    def fail(self, failure: Failure) -> bytes:
        """An error event in the dialect's own format, without an end marker: the HTTP status was sent long ago."""
        ...


def only_says(event: StreamEvent) -> TypeGuard[TextDelta]:
    """Whether the event carries only text, as nearly every event does: each writer has a fast path for it."""
    return type(event) is TextDelta and event.text != "" and not event.extra and event.signature is None


def only_thinks(event: StreamEvent) -> TypeGuard[ThinkingDelta]:
    """The same for reasoning text."""
    return type(event) is ThinkingDelta and event.text != "" and not event.extra and event.signature is None and event.data is None


def only_calls(event: StreamEvent) -> TypeGuard[ToolCallDelta]:
    """The same for function arguments that follow the delta which opened the call."""
    if type(event) is not ToolCallDelta or event.kind != "function":
        return False
    return event.arguments != "" and not (event.id or event.name or event.extra or event.signature)


class Dialect(Protocol):
    # The half that calls a provider.
    def write_request(self, request: ChatRequest, target: Target) -> HttpRequest:
        """Omits what `unsaid` names. Raises BadRequestError for content that this dialect cannot express and that must not be dropped."""
        ...

    def unsaid(self, request: ChatRequest) -> tuple[str, ...]:
        """The request's parameters that this dialect cannot express, by OpenAI's names (`n`, `logprobs`, `seed`, …)."""
        ...

    def framing(self) -> FrameReader:
        """A new frame reader for this dialect's streams."""
        ...

    def read_response(self, response: HttpResponse, request: ChatRequest, target: Target) -> ChatResponse:
        """Raises APIResponseValidationError for an unreadable body, and the provider's error if one came with status 200."""
        ...

    def read_stream(self, request: ChatRequest, target: Target) -> StreamReader: ...
    def read_error(self, response: HttpResponse, target: Target, *, now_wall: float | None = None) -> Failure: ...
    def read_quota(self, headers: Mapping[str, str], *, family: str = "", now_wall: float | None = None) -> tuple[QuotaView, ...]: ...

    # The half that serves a caller.
    def read_request(self, body: Mapping[str, Json]) -> ChatRequest:
        """Raises BadRequestError that names the field, the expected shape of its value and the fix."""
        ...

    def write_response(self, response: ChatResponse) -> dict[str, Json]: ...
    def write_stream(self, request: ChatRequest) -> StreamWriter: ...
    def write_error(self, failure: Failure) -> HttpResponse: ...


class Passable(Protocol):
    """A dialect whose streams can be forwarded unchanged to callers who speak it."""

    def watch_stream(self, target: Target) -> StreamWatcher: ...


def passable(dialect: Dialect) -> TypeGuard[Passable]:
    """Whether the dialect is `Passable`. An `isinstance` check of a protocol costs as much as thirty events."""
    return hasattr(dialect, "watch_stream")

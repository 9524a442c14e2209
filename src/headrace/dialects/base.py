"""What a dialect is, and the laws it keeps.

1. What is written can be read back as the same hub value.
2. A stream's events add up (`collect.collect`) to the response that would have come without a stream.
3. A stream cut at any byte ends in an error, never in an invented finish.
4. Unknown fields survive in the same dialect.
5. How the bytes arrive changes nothing.
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
    """Where a request goes: the provider's own name for the model, an address and the headers that open it."""

    provider: str
    model: str
    base_url: str = ""
    headers: HeaderPairs = ()
    source: str = ""
    """The dialect the request was read from, where it was another: then what `extra` says below the top level is written only where
    both dialects are known to share the word."""
    place: str = ""
    """What stands in the address instead of the model's name, where that only tells the family."""
    drop_params: bool = False
    """Whether what the provider has no word for is left out of calls that stand in a file."""

    def __repr__(self) -> str:
        return f"<Target {self.provider}/{self.model}>"


class FrameReader(Protocol):
    """Cuts a stream's bytes into frames. Raises HeadraceError for one that is too large or broken."""

    def feed(self, data: bytes) -> list[Frame]: ...
    def close(self) -> list[Frame]:
        """The frame that was not ended, where there is one."""
        ...


class StreamReader(Protocol):
    """Reads one stream. Raises HeadraceError for an error sent inside it or a frame that cannot be read."""

    def feed(self, frame: Frame, *, last: bool = False) -> list[StreamEvent]:
        """The events of a frame. last: the frame was not ended properly, so broken data is the stream's cut."""
        ...

    def close(self) -> list[StreamEvent]:
        """What was held back for the end. Raises TruncatedStream when the stream had not said that it was done."""
        ...


class StreamWatcher(Protocol):
    """Looks at a stream that is handed on as it is, and agrees with the reader on its errors, its end and its usage."""

    @property
    def usage(self) -> dict[str, Any] | None:
        """In OpenAI's form."""
        ...

    def feed(self, frame: Frame, *, last: bool = False) -> dict[str, Any] | None:
        """The event as it came; None for what holds none. Raises HeadraceError as the reader does."""
        ...

    def look(self, frame: Frame) -> None:
        """`feed` where nobody needs the event."""
        ...

    def glance(self, data: bytes) -> bool:
        """Whether an event is a sound one that goes out as it came. It was seen then, end and usage too; any other is to be fed."""
        ...

    def close(self) -> None:
        """Raises TruncatedStream when the stream had not said that it was done."""
        ...

    def chunks(self, frame: Frame, *, last: bool = False) -> Sequence[dict[str, Any]]:
        """`feed`, as many as there are."""
        ...

    def rest(self) -> Sequence[dict[str, Any]]:
        """`close`; nothing is held back."""
        ...


class StreamWriter(Protocol):
    """Writes one stream, framed: the bytes go to the caller as they are."""

    def feed(self, event: StreamEvent) -> bytes: ...

    def close(self) -> bytes:
        """The proper end."""
        ...

    def fail(self, failure: Failure) -> bytes:
        """The error in the dialect's own form, and no end: the status went out long ago."""
        ...


def only_says(event: StreamEvent) -> TypeGuard[TextDelta]:
    """Whether an event says some text and nothing else, as nearly every one does: each writer has a short way for it."""
    return type(event) is TextDelta and event.text != "" and not event.extra and event.signature is None


def only_thinks(event: StreamEvent) -> TypeGuard[ThinkingDelta]:
    """The same of a thought."""
    return type(event) is ThinkingDelta and event.text != "" and not event.extra and event.signature is None and event.data is None


def only_calls(event: StreamEvent) -> TypeGuard[ToolCallDelta]:
    """The same of a function's arguments, behind the delta that began its call."""
    if type(event) is not ToolCallDelta or event.kind != "function":
        return False
    return event.arguments != "" and not (event.id or event.name or event.extra or event.signature)


class Dialect(Protocol):
    # the half that calls a provider
    def write_request(self, request: ChatRequest, target: Target) -> HttpRequest:
        """Leaves out what `unsaid` names. Raises BadRequestError for content that cannot be said and must not be lost."""
        ...

    def unsaid(self, request: ChatRequest) -> tuple[str, ...]:
        """The parameters in OpenAI's words (`n`, `logprobs`, `seed`, …) that the request gives and this dialect cannot say."""
        ...

    def framing(self) -> FrameReader:
        """A new cutter of this dialect's streams."""
        ...

    def read_response(self, response: HttpResponse, request: ChatRequest, target: Target) -> ChatResponse:
        """Raises APIResponseValidationError, and what an error under status 200 says."""
        ...

    def read_stream(self, request: ChatRequest, target: Target) -> StreamReader: ...
    def read_error(self, response: HttpResponse, target: Target, *, now_wall: float | None = None) -> Failure: ...
    def read_quota(self, headers: Mapping[str, str], *, family: str = "", now_wall: float | None = None) -> tuple[QuotaView, ...]: ...

    # the half that serves a caller
    def read_request(self, body: Mapping[str, Json]) -> ChatRequest:
        """Raises BadRequestError that names the field, the shape of its value and the fix."""
        ...

    def write_response(self, response: ChatResponse) -> dict[str, Json]: ...
    def write_stream(self, request: ChatRequest) -> StreamWriter: ...
    def write_error(self, failure: Failure) -> HttpResponse: ...


class Passable(Protocol):
    """A dialect whose streams callers ask for in its own words, so that they may be handed on."""

    def watch_stream(self, target: Target) -> StreamWatcher: ...


def passable(dialect: Dialect) -> TypeGuard[Passable]:
    """Whether it is one. To ask `isinstance` of a protocol takes as long as thirty events."""
    return hasattr(dialect, "watch_stream")

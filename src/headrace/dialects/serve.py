"""A call in the caller's dialect: forwarded as is if the provider speaks it too, otherwise translated through the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.calls import encode
from headrace.dialects import foreign, load
from headrace.dialects.amends import Amends, amended
from headrace.dialects.answers import InCommon, answer_in_common, dated
from headrace.dialects.base import Dialect, FrameReader, StreamReader, StreamWatcher, StreamWriter, Target, only_calls, only_says, passable
from headrace.dialects.openai_chat import foreign as openai_chat_foreign
from headrace.dialects.openai_chat.responses import write_usage
from headrace.dialects.own_tools import has
from headrace.errors import UnsupportedParamsError
from headrace.framing import EventStreamReader, JsonLinesReader, SseReader
from headrace.types import ChatRequest, Json, Message, Started, StreamEvent, Text, Tool, UsageReported
from headrace.wire import Frame, HttpRequest, HttpResponse

OPERATIONS: Final[Mapping[str, str]] = {"openai_chat": "chat", "openai_responses": "responses"}
"""Under what operation name a provider's paths have a dialect's endpoint."""

_NOT_SENT: Final[Mapping[str, frozenset[str]]] = {
    "anthropic_messages": frozenset({"betas"}),
    "gemini": frozenset({"model", "stream"}),
    "bedrock_converse": frozenset({"model", "stream"}),
}
"""Body fields that are sent in a header or the URL instead."""

_HARMLESS: Final[Mapping[str, frozenset[str]]] = {
    "openai_responses": frozenset({
        "store", "include", "stream_options", "metadata", "service_tier", "prompt_cache_key", "prompt_cache_retention",
        "prompt_cache_options", "safety_identifier", "client_metadata", "text", "reasoning",
    }),
    "anthropic_messages": frozenset({"betas", "metadata", "service_tier", "cache_control", "system", "thinking", "output_config"}),
    "gemini": frozenset({"safetySettings", "labels", "generationConfig", "store"}),
    "ollama": frozenset({"keep_alive", "options"}),
    "bedrock_converse": frozenset({
        "model", "stream", "requestMetadata", "performanceConfig", "serviceTier", "system", "inferenceConfig", "toolConfig", "outputConfig",
    }),
}  # fmt: skip
"""Fields that may be dropped without notice for another dialect: they control storage, caching, accounting and how reasoning is shown."""

_NOTHING: Final[Mapping[str, Json]] = {"truncation": "disabled", "background": False, "tools": []}
"""Values that ask for what every provider does by default."""


_FRAMES: Final[Mapping[str, Callable[[], FrameReader]]] = {"ollama": JsonLinesReader, "bedrock_converse": EventStreamReader}
"""How a caller's stream is framed where it is not server-sent events."""


def _event_of(caller: str, frame: Frame) -> dict[str, Any]:
    """An event as an object. Bedrock's are named outside the payload, so they are nested under that name, as in AWS's SDKs."""
    said: dict[str, Any] = msgspec.json.decode(frame.data)
    return {frame.event or "": said} if caller == "bedrock_converse" else said


class Served(Struct, eq=False, kw_only=True):
    """One request in the caller's dialect, kept to read its response."""

    name: str
    """The name of the caller's dialect."""
    caller: Dialect
    dialect: Dialect
    """The provider's dialect."""
    target: Target
    request: ChatRequest
    """If both dialects are the same, only what the URL and headers need."""
    body: Mapping[str, Json]
    operation: str
    same: bool
    """Whether caller and provider speak the same dialect: the request body and the response are then forwarded unchanged."""
    added: Mapping[str, Json]
    amends: Amends | None = None
    """Changes to make to the response, if the request was changed to fit the provider."""
    left_out: tuple[str, ...] | None = None
    """The request's fields that the provider's dialect cannot express. None if the request is forwarded unchanged."""
    finish: Callable[[dict[str, Json]], dict[str, Json]]
    """Adapts a Chat Completions body to the provider."""
    usage: dict[str, Any] | None = None
    """In OpenAI's format, once the response has been read."""

    def write(self) -> HttpRequest:
        written = self.dialect.write_request(self.request, self.target)
        if self.same:
            return msgspec.structs.replace(written, body=encode({**self.body, **self.added}))
        if not self.added and self.operation != "chat":
            return written
        body = msgspec.json.decode(written.body)
        body = {**(self.finish(body) if self.operation == "chat" else body), **self.added}
        return msgspec.structs.replace(written, body=msgspec.json.encode(body))

    def read(self, response: HttpResponse) -> dict[str, Json]:
        """The response's body in the caller's dialect. Raises HeadraceError for an unreadable response."""
        answer = self.dialect.read_response(response, self.request, self.target)
        self.usage = None if answer.usage is None else write_usage(answer.usage)
        if self.same:
            body: dict[str, Json] = msgspec.json.decode(response.body)
            return body
        told = answer_in_common(dated(answer, self.target.moment), self.target.source)
        told = told if self.amends is None else self.amends.whole(told)
        return self.caller.write_response(msgspec.structs.replace(told, model=told.model or self.target.model))

    def used(self, body: Mapping[str, Json]) -> Any:
        return self.usage

    def read_stream(self) -> StreamWatcher | HandedOn | Rewritten:
        if self.same and passable(self.dialect):
            return self.dialect.watch_stream(self.target)
        reader = self.dialect.read_stream(self.request, self.target)
        if self.same:
            return HandedOn(reader, self.name)
        return Rewritten(reader, self.caller.write_stream(self.request), self.name, self.target.moment, self.amends)


class HandedOn:
    """Forwards a stream of a dialect without a watcher: each event is read, and forwarded unchanged."""

    __slots__ = ("_caller", "_reader", "usage")

    def __init__(self, reader: StreamReader, caller: str) -> None:
        self._reader = reader
        self._caller = caller
        self.usage: dict[str, Any] | None = None
        """In OpenAI's format, once reported."""

    def chunks(self, frame: Frame, *, last: bool = False) -> Sequence[dict[str, Any]]:
        self._note(self._reader.feed(frame, last=last))
        return [] if frame.data[:6] == b"[DONE]" else [_event_of(self._caller, frame)]

    def rest(self) -> Sequence[dict[str, Any]]:
        self._note(self._reader.close())
        return ()

    def _note(self, events: Sequence[StreamEvent]) -> None:
        for event in events:
            if type(event) is UsageReported:
                self.usage = write_usage(event.usage)


class Rewritten:
    """Converts a stream from the provider's dialect to the caller's."""

    __slots__ = ("_amending", "_begun", "_caller", "_common", "_frames", "_moment", "_reader", "_writer", "usage")

    def __init__(self, reader: StreamReader, writer: StreamWriter, caller: str, moment: int = 0, amends: Amends | None = None) -> None:
        self._moment = moment
        self._common = InCommon(caller)
        self._amending = None if amends is None else amends.streamed()
        self._caller = caller
        self._reader = reader
        self._writer = writer
        self._frames: FrameReader = _FRAMES.get(caller, SseReader)()
        self._begun = False
        """Whether anything was sent: the first event describes the whole response."""
        self.usage: dict[str, Any] | None = None

    def pieces(self, frame: Frame, *, last: bool = False) -> Iterator[bytes | dict[str, Any]]:
        """The caller's events. Those with text or arguments only are bytes, because nothing in them has to be changed."""
        for event in self._reader.feed(frame, last=last):
            for told in self._for_caller(event):
                data = self._writer.feed(told)
                if self._begun and (only_says(told) or only_calls(told)):
                    yield data
                else:
                    self._begun = self._begun or bool(data)
                    yield from self._told(data)

    def chunks(self, frame: Frame, *, last: bool = False) -> Sequence[dict[str, Any]]:
        return self._told(b"".join(self._written(self._reader.feed(frame, last=last))))

    def rest(self) -> Sequence[dict[str, Any]]:
        data = b"".join(self._written(self._reader.close()))
        return self._told(data + self._writer.close())

    def _written(self, events: Sequence[StreamEvent]) -> Iterator[bytes]:
        for event in events:
            for told in self._for_caller(event):
                yield self._writer.feed(told)

    def _for_caller(self, event: StreamEvent) -> Sequence[StreamEvent]:
        """The caller's events for one of the provider's; records the usage."""
        if type(event) is UsageReported:
            self.usage = write_usage(event.usage)
        elif type(event) is Started:
            event = dated(event, self._moment)
        told = self._common.feed(event)
        return told if self._amending is None else [one for each in told for one in self._amending.feed(each)]

    def _told(self, data: bytes) -> list[dict[str, Any]]:
        return [_event_of(self._caller, frame) for frame in self._frames.feed(data) if frame.data[:6] != b"[DONE]"]


def serve(
    caller: str,
    provider: str,
    target: Target,
    body: dict[str, Json],
    control: Mapping[str, Any],
    *,
    stream: bool,
    finish: Callable[[dict[str, Json]], dict[str, Json]],
    most: int | None = None,
) -> Served:
    """The request in `body`, written in the dialect `caller`, for a provider that speaks `provider`.

    Parsed only if the two differ. most: the model's maximum output tokens, which a translated request is not to exceed.

    Raises BadRequestError for an invalid body, and UnsupportedParamsError for parameters that the provider's dialect
    cannot express, unless `drop_params` or `additional_drop_params` drops them.
    """
    speaks, dialect, same = load(caller), load(provider), caller == provider
    body = {name: value for name, value in body.items() if name not in (control.get("additional_drop_params") or ())}
    left_out: tuple[str, ...] | None = None
    amends: Amends | None = None
    if same:
        request = _unread(body, target.model, stream=stream)
    else:
        body = msgspec.json.decode(encode(body))
        request = msgspec.structs.replace(speaks.read_request(body), stream=stream, include_usage=stream)
        request, amends = amended(request, caller, provider, target)
        dropped = _unsayable(request, caller, provider, target, control)
        if most is not None and (request.max_tokens or 0) > most:
            request = msgspec.structs.replace(request, max_tokens=most)
            dropped.append("max_tokens")
        left_out = tuple(dict.fromkeys([*dropped, *foreign.left_out(request, caller, provider), *_unheard(request, provider, target)]))
        request = _sayable(request, caller, provider)
    return Served(
        name=caller,
        caller=speaks,
        dialect=dialect,
        target=target if same else msgspec.structs.replace(target, source=caller),
        request=request,
        body={name: value for name, value in body.items() if name not in _NOT_SENT.get(caller, ())},
        operation=OPERATIONS.get(provider, provider),
        same=same,
        added=control.get("extra_body") or {},
        amends=amends,
        left_out=left_out,
        finish=finish,
    )


def _unread(body: Mapping[str, Json], model: str, *, stream: bool) -> ChatRequest:
    """A stand-in for a request that is forwarded unchanged: it holds what the URL and headers need."""
    nobody = (Message(role="user", content=(Text(text="-"),)),)
    extra = {} if body.get("betas") is None else {"betas": body["betas"]}
    return ChatRequest(model=model, messages=nobody, stream=stream, extra=extra)


def _unsayable(request: ChatRequest, caller: str, provider: str, target: Target, control: Mapping[str, Any]) -> list[str]:
    """The parameters the provider cannot express, which `drop_params` drops. Raises UnsupportedParamsError without it."""
    allowed = control.get("allowed_openai_params") or ()
    unsaid = [name for name in (*load(provider).unsaid(request), *_own_words(request, caller, provider)) if name not in allowed]
    if unsaid and not control.get("drop_params"):
        raise UnsupportedParamsError(
            f"{target.provider} does not support {', '.join(unsaid)}: remove it, or pass drop_params=True to drop it",
            model=target.model,
            llm_provider=target.provider,
        )
    return unsaid


def _unheard(request: ChatRequest, provider: str, target: Target) -> Iterator[str]:
    return openai_chat_foreign.unheard(request, target.provider) if provider == "openai_chat" else iter(())


def _sayable(request: ChatRequest, caller: str, provider: str) -> ChatRequest:
    """`request` without the fields and tools that only the caller's dialect has."""
    own = _own_words(request, caller, provider)
    tools = tuple(tool for tool in request.tools if _is_known(tool, provider))
    extra = {name: value for name, value in request.extra.items() if name not in own}
    choice = request.tool_choice
    if not tools and choice is not None and choice.mode in ("none", "auto"):  # Chat Completions rejects tool_choice without tools
        choice = None
    return msgspec.structs.replace(request, tools=tools, tool_choice=choice, extra=extra)


def _is_known(tool: Tool, provider: str) -> bool:
    return tool.type in ("function", "custom") or has(provider, tool)


def _own_words(request: ChatRequest, caller: str, provider: str) -> list[str]:
    """What only the caller's dialect has: parameters that would be lost, and built-in tools."""
    harmless = _HARMLESS.get(caller, frozenset())
    named = [name for name, value in request.extra.items() if name not in harmless and value not in (None, _NOTHING.get(name, _UNSAID))]
    return named + [
        f"tool of type {kind!r}" for kind in dict.fromkeys(tool.type for tool in request.tools if not _is_known(tool, provider))
    ]


_UNSAID: Final = object()

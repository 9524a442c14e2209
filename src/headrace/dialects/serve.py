"""A call in a caller's own dialect: handed on as it is where the provider speaks that, through the hub where it speaks another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.calls import encode
from headrace.dialects import foreign, load
from headrace.dialects.answers import InCommon, answer_in_common
from headrace.dialects.base import Dialect, FrameReader, StreamReader, StreamWatcher, StreamWriter, Target, only_calls, only_says, passable
from headrace.dialects.local_calls import CalledBack, called_back
from headrace.dialects.local_tools import NO_FORMS, Form, as_functions, takes_bare
from headrace.dialects.openai_chat import foreign as openai_chat_foreign
from headrace.dialects.openai_chat.responses import write_usage
from headrace.dialects.own_tools import has
from headrace.errors import UnsupportedParamsError
from headrace.framing import EventStreamReader, JsonLinesReader, SseReader
from headrace.types import ChatRequest, Json, Message, StreamEvent, Text, Tool, UsageReported
from headrace.wire import Frame, HttpRequest, HttpResponse

OPERATIONS: Final[Mapping[str, str]] = {"openai_chat": "chat", "openai_responses": "responses"}
"""What the operation that answers in a dialect is called among a provider's paths."""

_NOT_SENT: Final[Mapping[str, frozenset[str]]] = {
    "anthropic_messages": frozenset({"betas"}),
    "gemini": frozenset({"model", "stream"}),
    "bedrock_converse": frozenset({"model", "stream"}),
}
"""Fields of a body that stand in a header or in the address."""

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
"""What a caller may say although the provider cannot: where an answer is kept, cached and accounted, how its reasoning is shown."""

_NOTHING: Final[Mapping[str, Json]] = {"truncation": "disabled", "background": False, "tools": []}
"""Values that ask for what everybody does."""


_FRAMES: Final[Mapping[str, Callable[[], FrameReader]]] = {"ollama": JsonLinesReader, "bedrock_converse": EventStreamReader}
"""How the events of a caller's streams are told apart, where they are not server-sent ones."""


def _event_of(caller: str, frame: Frame) -> dict[str, Any]:
    """An event as an object. Bedrock's have their name outside: they stand under it, as in AWS's SDKs."""
    said: dict[str, Any] = msgspec.json.decode(frame.data)
    return {frame.event or "": said} if caller == "bedrock_converse" else said


class Served(Struct, eq=False, kw_only=True):
    """One request of a caller's, kept to read its answer by."""

    name: str
    """What the caller's dialect is called."""
    caller: Dialect
    dialect: Dialect
    """The provider's."""
    target: Target
    request: ChatRequest
    """Where both speak the same, only what tells address and headers."""
    body: Mapping[str, Json]
    operation: str
    same: bool
    """Whether both speak the same: then the body goes out as it is, and the answer comes in as it is."""
    added: Mapping[str, Json]
    forms: Mapping[str, Form] = NO_FORMS
    """What functions of the request are to the caller, who has a form of his own for them."""
    left_out: tuple[str, ...] | None = None
    """What the provider is not told, by where it stands in the request: its dialect has no word for it. None: it is told all."""
    finish: Callable[[dict[str, Json]], dict[str, Json]]
    """What a provider of Chat Completions wants otherwise."""
    usage: dict[str, Any] | None = None
    """In OpenAI's form, once the answer was read."""

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
        """The answer's body in the caller's dialect. Raises HeadraceError for one that cannot be read."""
        answer = self.dialect.read_response(response, self.request, self.target)
        self.usage = None if answer.usage is None else write_usage(answer.usage)
        if self.same:
            body: dict[str, Json] = msgspec.json.decode(response.body)
            return body
        told = called_back(answer_in_common(answer, self.target.source), self.forms)
        return self.caller.write_response(msgspec.structs.replace(told, model=told.model or self.target.model))

    def used(self, body: Mapping[str, Json]) -> Any:
        return self.usage

    def read_stream(self) -> StreamWatcher | HandedOn | Rewritten:
        if self.same and passable(self.dialect):
            return self.dialect.watch_stream(self.target)
        reader = self.dialect.read_stream(self.request, self.target)
        if self.same:
            return HandedOn(reader, self.name)
        return Rewritten(reader, self.caller.write_stream(self.request), self.name, self.forms)


class HandedOn:
    """A stream in its caller's own dialect, of those that nobody watches in passing: each event is read, and goes out as it came."""

    __slots__ = ("_caller", "_reader", "usage")

    def __init__(self, reader: StreamReader, caller: str) -> None:
        self._reader = reader
        self._caller = caller
        self.usage: dict[str, Any] | None = None
        """In OpenAI's form, once it was told."""

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
    """A stream of one dialect's as the events of another's."""

    __slots__ = ("_begun", "_caller", "_calls", "_common", "_frames", "_reader", "_writer", "usage")

    def __init__(self, reader: StreamReader, writer: StreamWriter, caller: str, forms: Mapping[str, Form] = NO_FORMS) -> None:
        self._common = InCommon(caller)
        self._calls = CalledBack(forms) if forms else None
        self._caller = caller
        self._reader = reader
        self._writer = writer
        self._frames: FrameReader = _FRAMES.get(caller, SseReader)()
        self._begun = False
        """Whether anything was said: what tells of the whole answer goes first."""
        self.usage: dict[str, Any] | None = None

    def pieces(self, frame: Frame, *, last: bool = False) -> Iterator[bytes | dict[str, Any]]:
        """The events, as bytes those that say a text or arguments alone: nobody has anything to change in them."""
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
        """What the caller is told of an event; the usage is noted."""
        if type(event) is UsageReported:
            self.usage = write_usage(event.usage)
        told = self._common.feed(event)
        return told if self._calls is None else [one for each in told for one in self._calls.feed(each)]

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
) -> Served:
    """The request in `body`, which is in the dialect `caller`, for a provider that speaks `provider`: read only where that is another.

    Raises BadRequestError for a body that is none, UnsupportedParamsError for what the provider's dialect cannot say, unless
    `drop_params` or `additional_drop_params` leaves it out.
    """
    speaks, dialect, same = load(caller), load(provider), caller == provider
    body = {name: value for name, value in body.items() if name not in (control.get("additional_drop_params") or ())}
    left_out: tuple[str, ...] | None = None
    forms: Mapping[str, Form] = NO_FORMS
    if same:
        request = _unread(body, target.model, stream=stream)
    else:
        body = msgspec.json.decode(encode(body))
        request = msgspec.structs.replace(speaks.read_request(body), stream=stream, include_usage=stream)
        request, forms = as_functions(request, caller, bare=takes_bare(provider, target.provider))
        dropped = _unsayable(request, caller, provider, target, control)
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
        forms=forms,
        left_out=left_out,
        finish=finish,
    )


def _unread(body: Mapping[str, Json], model: str, *, stream: bool) -> ChatRequest:
    """What of a body that goes out as it is tells address and headers."""
    nobody = (Message(role="user", content=(Text(text="-"),)),)
    extra = {} if body.get("betas") is None else {"betas": body["betas"]}
    return ChatRequest(model=model, messages=nobody, stream=stream, extra=extra)


def _unsayable(request: ChatRequest, caller: str, provider: str, target: Target, control: Mapping[str, Any]) -> list[str]:
    """What the provider cannot say, where the caller lets it be left out; else a refusal that names it."""
    allowed = control.get("allowed_openai_params") or ()
    unsaid = [name for name in (*load(provider).unsaid(request), *_own_words(request, caller, provider)) if name not in allowed]
    if unsaid and not control.get("drop_params"):
        raise UnsupportedParamsError(
            f"{target.provider} has no {', '.join(unsaid)}: leave it out, or pass drop_params=True to have it left out",
            model=target.model,
            llm_provider=target.provider,
        )
    return unsaid


def _unheard(request: ChatRequest, provider: str, target: Target) -> Iterator[str]:
    return openai_chat_foreign.unheard(request, target.provider) if provider == "openai_chat" else iter(())


def _sayable(request: ChatRequest, caller: str, provider: str) -> ChatRequest:
    """`request` without the words and tools that only the caller's dialect has."""
    own = _own_words(request, caller, provider)
    tools = tuple(tool for tool in request.tools if _is_known(tool, provider))
    extra = {name: value for name, value in request.extra.items() if name not in own}
    choice = request.tool_choice
    if not tools and choice is not None and choice.mode in ("none", "auto"):  # Chat Completions refuses to hear of none
        choice = None
    return msgspec.structs.replace(request, tools=tools, tool_choice=choice, extra=extra)


def _is_known(tool: Tool, provider: str) -> bool:
    return tool.type in ("function", "custom") or has(provider, tool)


def _own_words(request: ChatRequest, caller: str, provider: str) -> list[str]:
    """What only the caller's dialect knows: parameters that would be lost, and tools that its own providers run."""
    harmless = _HARMLESS.get(caller, frozenset())
    named = [name for name, value in request.extra.items() if name not in harmless and value not in (None, _NOTHING.get(name, _UNSAID))]
    return named + [
        f"tool of type {kind!r}" for kind in dict.fromkeys(tool.type for tool in request.tools if not _is_known(tool, provider))
    ]


_UNSAID: Final = object()

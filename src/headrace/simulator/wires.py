"""The dialects of a simulated provider: OpenAI's own, and all others through the shared readers and writers.

A request in another dialect is converted to OpenAI's, validated and answered, and its response, stream or error is
converted back. So all dialects share the same model, limits and faults.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, Protocol
from urllib.parse import unquote

from msgspec import structs

from headrace.dialects import load
from headrace.dialects.base import Dialect, Target
from headrace.dialects.openai_chat import responses as chat_responses
from headrace.dialects.openai_chat.foreign import spoken_here
from headrace.dialects.openai_chat.requests import write_body
from headrace.errors import BadRequestError, Failure
from headrace.framing import SseReader
from headrace.simulator import openai_answers as answers
from headrace.simulator import openai_api as api
from headrace.simulator.asks import Answer, Ask, Chat, Rejected
from headrace.simulator.enforce import Enforcer
from headrace.types import ChatRequest, StreamEvent
from headrace.wire import Headers, HttpResponse

Event = tuple[bytes, int]
"""Bytes of a stream, and the output tokens they carry."""


class Stream(Protocol):
    """One streamed response."""

    def events(self) -> Iterator[Event]: ...
    def end(self) -> bytes:
        """What follows the last event; called once, after them."""
        ...


class Wire(Protocol):
    """Reads requests, and writes responses, streams, errors and limit headers."""

    def read(self, endpoint: str, path: str, body: bytes, extra_params: tuple[str, ...]) -> Ask: ...
    def write_answer(self, chat: Chat, answer: Answer, stamp: answers.Stamp, *, show_reasoning: bool) -> bytes: ...
    def stream(self, chat: Chat, answer: Answer, stamp: answers.Stamp, *, chunk_tokens: int, show_reasoning: bool) -> Stream: ...
    def write_error(self, error: Rejected) -> bytes: ...
    def write_error_event(self, error: Rejected) -> bytes: ...
    def limit_headers(self, enforcer: Enforcer, now: float, wall: float) -> list[tuple[str, str]]: ...


class _OpenAIStream:
    def __init__(self, chat: Chat, answer: Answer, stamp: answers.Stamp, chunk_tokens: int, show_reasoning: bool) -> None:
        self._what = (chat, answer, stamp)
        self._events = answers.write_stream(chat, answer, stamp, chunk_tokens=chunk_tokens, show_reasoning=show_reasoning)

    def events(self) -> Iterator[Event]:
        return self._events

    def end(self) -> bytes:
        return b"".join(answers.write_stream_end(*self._what))


class OpenAIWire:
    """Chat Completions, text completions, embeddings and models: `openai_api`."""

    def read(self, endpoint: str, path: str, body: bytes, extra_params: tuple[str, ...]) -> Ask:
        return api.read(endpoint, path, body, extra_params)

    def write_answer(self, chat: Chat, answer: Answer, stamp: answers.Stamp, *, show_reasoning: bool) -> bytes:
        return answers.write_answer(chat, answer, stamp, show_reasoning=show_reasoning)

    def stream(self, chat: Chat, answer: Answer, stamp: answers.Stamp, *, chunk_tokens: int, show_reasoning: bool) -> Stream:
        return _OpenAIStream(chat, answer, stamp, chunk_tokens, show_reasoning)

    def write_error(self, error: Rejected) -> bytes:
        return answers.write_error(error)

    def write_error_event(self, error: Rejected) -> bytes:
        return answers.write_error_event(error)

    def limit_headers(self, enforcer: Enforcer, now: float, wall: float) -> list[tuple[str, str]]:
        return answers.limit_headers(enforcer, now)


class _SpokenStream:
    """OpenAI's stream converted to another dialect."""

    def __init__(self, dialect: Dialect, inner: Stream, model: str) -> None:
        self._inner = inner
        self._frames = SseReader()
        self._reader = _CHAT.read_stream(ChatRequest(model=model, messages=()), _HERE)
        self._writer = dialect.write_stream(ChatRequest(model=model, messages=(), stream=True, include_usage=True))

    def events(self) -> Iterator[Event]:
        """The converted events. A dialect may hold back an event; its tokens are then counted with the next."""
        held = 0
        for data, tokens in self._inner.events():
            told = self._told(data) or (data if data.startswith(b":") else b"")
            held += tokens
            if told:
                yield told, held
                held = 0

    def end(self) -> bytes:
        last = self._told(self._inner.end())
        rest = b"".join([self._writer.feed(event) for event in self._reader.close()])
        return last + rest + self._writer.close()

    def _told(self, data: bytes) -> bytes:
        events: list[StreamEvent] = [event for frame in self._frames.feed(data) for event in self._reader.feed(frame)]
        return b"".join([self._writer.feed(event) for event in events])


class SpokenWire:
    """A dialect other than OpenAI's."""

    def __init__(self, name: str, id_prefix: str = "") -> None:
        self._name = name
        self.dialect = load(name)
        self._id_prefix = id_prefix

    def read(self, endpoint: str, path: str, body: bytes, extra_params: tuple[str, ...]) -> Ask:
        """Raises Rejected for an invalid request, and for what the simulated model cannot do."""
        try:
            told = {**addressed(path), **api.json_of(body)}
            hub = self.dialect.read_request(told)
            said = write_body(_simple(spoken_here(hub, "simulator", self._name)), hub.model or told.get("model", ""))
        except BadRequestError as error:
            raise Rejected(400, str(error)) from None
        known = {name: value for name, value in said.items() if name in api.CHAT_PARAMS}
        ask = api.read("chat", path, api.ENCODE(known), extra_params)
        return structs.replace(ask, include_usage=True) if isinstance(ask, Chat) else ask

    def write_answer(self, chat: Chat, answer: Answer, stamp: answers.Stamp, *, show_reasoning: bool) -> bytes:
        body = api.DECODE(answers.write_answer(chat, answer, self._stamp(stamp), show_reasoning=show_reasoning))
        return api.ENCODE(self.dialect.write_response(chat_responses.read_response(body)))

    def _stamp(self, stamp: answers.Stamp) -> answers.Stamp:
        return structs.replace(stamp, id=self._id_prefix + stamp.id.removeprefix("chatcmpl-"))

    def stream(self, chat: Chat, answer: Answer, stamp: answers.Stamp, *, chunk_tokens: int, show_reasoning: bool) -> Stream:
        inner = _OpenAIStream(chat, answer, self._stamp(stamp), chunk_tokens, show_reasoning)
        return _SpokenStream(self.dialect, inner, chat.model)

    def write_error(self, error: Rejected) -> bytes:
        return self.dialect.write_error(_failure(error)).body

    def write_error_event(self, error: Rejected) -> bytes:
        return self.dialect.write_stream(ChatRequest(model="", messages=())).fail(_failure(error))

    def limit_headers(self, enforcer: Enforcer, now: float, wall: float) -> list[tuple[str, str]]:
        return answers.limit_headers(enforcer, now)


class AnthropicWire(SpokenWire):
    def limit_headers(self, enforcer: Enforcer, now: float, wall: float) -> list[tuple[str, str]]:
        """docs.claude.com/en/api/rate-limits (read 2026-11): reset times are wall-clock times in RFC 3339."""
        headers: list[tuple[str, str]] = []
        for unit in ("requests", "tokens"):
            view = enforcer.view(now, unit)
            if view is not None:
                full = datetime.fromtimestamp(wall + view.reset, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
                said = {"limit": str(view.limit), "remaining": str(view.remaining), "reset": full}
                headers += [(f"anthropic-ratelimit-{unit}-{name}", value) for name, value in said.items()]
        return headers


class GeminiWire(SpokenWire):
    def limit_headers(self, enforcer: Enforcer, now: float, wall: float) -> list[tuple[str, str]]:
        """Gemini sends none."""
        return []


_CHAT: Final = load("openai_chat")
_HERE: Final = Target("simulator", "")
_CLOUDS: Final = re.compile(r"(?P<gemini>.*/batchPredictionJobs\b.*)|(?P<bedrock_converse>(?:/v1)?/model-invocation-jobs?\b.*|/s3/.*)")
_GEMINI_PATH: Final = re.compile(r"/v1(?:beta)?/models/(?P<model>[^/:]+):(?P<method>generateContent|streamGenerateContent)")
_WIRES: Final[Mapping[str, Callable[[], Wire]]] = {
    "openai_responses": lambda: SpokenWire("openai_responses", "resp_"),
    "anthropic_messages": lambda: AnthropicWire("anthropic_messages", "msg_"),
    "gemini": lambda: GeminiWire("gemini"),
    "bedrock_converse": lambda: SpokenWire("bedrock_converse"),
}
_PATHS: Final = {
    "/v1/responses": "openai_responses",
    "/v1/messages": "anthropic_messages",
    "/model/converse": "bedrock_converse",  # only calls within a batch: their model is in the body
}
OPENAI: Final = OpenAIWire()


def wire_of(path: str) -> tuple[Wire, str]:
    """The wire of a path, and its endpoint if the path is not one of OpenAI's own."""
    name = _PATHS.get(path) or ("gemini" if _GEMINI_PATH.fullmatch(path) else "")
    if name:
        return _made(name), "chat"
    cloud = _CLOUDS.fullmatch(path)
    return (OPENAI if cloud is None or cloud.lastgroup is None else _made(cloud.lastgroup)), ""


@cache
def _made(name: str) -> Wire:
    return _WIRES[name]()


def addressed(path: str) -> dict[str, Any]:
    """The request fields encoded in Gemini's path."""
    found = _GEMINI_PATH.fullmatch(path)
    return {} if found is None else {"model": unquote(found["model"]), "stream": found["method"].startswith("stream")}


def _simple(request: ChatRequest) -> ChatRequest:
    """The request with function tools only: a simulated provider has no built-in tools."""
    tools = tuple(tool for tool in request.tools if tool.type == "function")
    return structs.replace(request, tools=tools, tool_choice=request.tool_choice if tools else None)


def _failure(error: Rejected) -> Failure:
    return _CHAT.read_error(HttpResponse(error.status, Headers.of(dict(error.headers)), answers.write_error(error)), _HERE)

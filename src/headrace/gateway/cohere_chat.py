"""Cohere's older chat API, `/v1/chat`, which takes a message and its history.

Requests are converted to v2, responses and streams back to v1. docs.cohere.com/v1/reference/chat and cohere 7.3, whose
plain client still uses it; read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from functools import partial
from typing import Any, Final

import msgspec

from headrace.calls import shape
from headrace.errors import BadRequestError
from headrace.framing import SseReader
from headrace.gateway.client_apis import EVENTS
from headrace.gateway.context import ConvertedCall, Reply, RequestContext, wanted
from headrace.gateway.requests import IncomingRequest, Send
from headrace.served import COHERE_CHAT

PATH: Final = "/v1/chat"
_KIND: Final = b"application/stream+json"

_REFUSED: Final[Mapping[str, str]] = {
    "connectors": "the providers of this gateway have no connectors: pass search results as documents",
    "search_queries_only": "search queries are not generated separately: define a tool for them",
    "conversation_id": "the gateway stores no conversations: send all turns in chat_history",
    "raw_prompting": "other providers always apply the model's own template",
}
_OWN: Final = frozenset({
    "message", "preamble", "chat_history", "tools", "tool_results", "response_format", "documents", "citation_quality",
    "prompt_truncation", "max_input_tokens", "force_single_step", *_REFUSED,
})  # fmt: skip
"""Fields of v1 only; all others exist in v2.

v2 has no equivalent for how a long prompt is cut or in how many steps tools are used.
"""


def chat(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Reply:
    """Handler for `/v1/chat`. Raises BadRequestError naming an unsupported field."""
    for name, why in _REFUSED.items():
        if body.get(name):
            raise BadRequestError(f"{name} is not supported: {why}")
    call = wanted(COHERE_CHAT, in_v2(body))
    return call if call.stream else ConvertedCall(call, partial(_answer, history=_history(body)))


# ---- requests
# ----------------------------------------------------------------------------------------------------------------------


def in_v2(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body converted to v2. Raises BadRequestError naming the field."""
    told = {name: value for name, value in body.items() if name not in _OWN and value is not None}
    told["messages"] = list(_messages(body))
    if tools := _list(body, "tools"):
        told["tools"] = [_tool(tool, f"tools[{at}]") for at, tool in enumerate(tools)]
    if documents := _list(body, "documents"):
        told["documents"] = [_document(document) for document in documents]
    if isinstance(quality := body.get("citation_quality"), str):
        told["citation_options"] = {"mode": quality.upper()}
    if body.get("response_format"):
        told["response_format"] = body["response_format"]
    return told


def _list(body: Mapping[str, Any], name: str) -> list[Any]:
    value = body.get(name) or []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise BadRequestError(f"{name} must be a list of objects, got {shape(value)}")
    return value


_TYPES: Final[Mapping[str, str]] = {
    "str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object", "tuple": "array",
}  # fmt: skip
"""Python's type names, which v1 uses to describe parameters, as in JSON schema."""


def _tool(tool: Mapping[str, Any], at: str) -> dict[str, Any]:
    given = tool.get("parameter_definitions") or {}
    if not isinstance(given, dict) or not all(isinstance(one, dict) for one in given.values()):
        raise BadRequestError(f"{at}.parameter_definitions must be an object of objects, got {shape(given)}")
    properties = {name: _parameter(one) for name, one in given.items()}
    required = [name for name, one in given.items() if one.get("required")]
    schema = {"type": "object", "properties": properties, **({"required": required} if required else {})}
    function = {"name": tool.get("name"), "description": tool.get("description") or "", "parameters": schema}
    return {"type": "function", "function": function}


def _parameter(one: Mapping[str, Any]) -> dict[str, Any]:
    named = str(one.get("type") or "str")
    base = named.partition("[")[0].lower()
    about = {"description": one["description"]} if one.get("description") else {}
    return {"type": _TYPES.get(base, base), **about}


def _document(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document in v2: its id is kept; all other fields, except those it excludes, are data for the model."""
    hidden = ("id", "_excludes", *(document.get("_excludes") or ()))
    data = {name: value for name, value in document.items() if name not in hidden}
    return {"data": data, **({"id": document["id"]} if "id" in document else {})}


class _Calls:
    """Tool calls, which v1 identifies by name and parameters, and v2 by id."""

    def __init__(self) -> None:
        self._open: list[tuple[str, Mapping[str, Any]]] = []
        self._count = 0

    def made(self, calls: list[Any]) -> dict[str, Any]:
        """The assistant message that makes the calls."""
        told = []
        for call in calls:
            id = f"call_{self._count}"
            self._count += 1
            self._open.append((id, call))
            function = {"name": call.get("name"), "arguments": msgspec.json.encode(call.get("parameters") or {}).decode()}
            told.append({"id": id, "type": "function", "function": function})
        return {"role": "assistant", "tool_calls": told}

    def answered(self, results: list[Any]) -> Iterator[dict[str, Any]]:
        """The messages with the results, preceded by one that makes the calls that no message has made."""
        calls = [call if isinstance(call := one.get("call"), dict) else {} for one in results]
        known = [call for _, call in self._open]
        if unknown := [call for call in calls if not _taken(known, call)]:
            yield self.made(unknown)
        for call, one in zip(calls, results, strict=True):
            id, _ = self._open.pop([made for _, made in self._open].index(call))
            outputs = [{"type": "document", "document": {"data": output}} for output in one.get("outputs") or ()]
            yield {"role": "tool", "tool_call_id": id, "content": outputs}


def _taken(known: list[Mapping[str, Any]], call: Mapping[str, Any]) -> bool:
    """Remove a call from `known`; returns whether it was there. Two equal calls count as two."""
    if call not in known:
        return False
    known.remove(call)
    return True


_ROLES: Final[Mapping[Any, str]] = {"USER": "user", "CHATBOT": "assistant", "SYSTEM": "system"}


def _messages(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    message = body.get("message")
    if not isinstance(message, str):
        raise BadRequestError(f"message must be a string, got {shape(message)}")
    calls = _Calls()
    if preamble := body.get("preamble"):
        yield {"role": "system", "content": preamble}
    for at, turn in enumerate(_list(body, "chat_history")):
        yield from _turn(turn, f"chat_history[{at}]", calls)
    results = _list(body, "tool_results")
    if message:
        yield {"role": "user", "content": message}
    yield from calls.answered(results) if results else ()


def _turn(turn: Mapping[str, Any], at: str, calls: _Calls) -> Iterator[dict[str, Any]]:
    role = turn.get("role")
    if role == "TOOL":
        yield from calls.answered(_list(turn, "tool_results"))
        return
    if role not in _ROLES:
        raise BadRequestError(f"{at}.role must be one of USER, CHATBOT, SYSTEM, TOOL, got {shape(role)}")
    made = _list(turn, "tool_calls")
    said = turn.get("message") or ""
    if made:
        yield {**calls.made(made), **({"tool_plan": said} if said else {})}
    else:
        yield {"role": _ROLES[role], "content": said}


def _history(body: Mapping[str, Any]) -> list[Any]:
    """All turns before the response."""
    asked = [{"role": "USER", "message": body["message"]}] if body.get("message") else []
    results = [{"role": "TOOL", "tool_results": body["tool_results"]}] if body.get("tool_results") else []
    return [*(body.get("chat_history") or ()), *asked, *results]


# ---- responses
# ---------------------------------------------------------------------------------------------------------------------


def _answer(made: Any, history: list[Any]) -> dict[str, Any]:
    said = made.model_dump()
    message = said.get("message") or {}
    content = message.get("content") or []
    text = content if isinstance(content, str) else "".join([part.get("text") or "" for part in content])
    calls = [_call(call.get("function") or {}) for call in message.get("tool_calls") or ()]
    whole = _whole(said.get("id"), text or message.get("tool_plan") or "", calls, message.get("citations") or [], said)
    turn = {"role": "CHATBOT", "message": whole["text"], **({"tool_calls": calls} if calls else {})}
    return {**whole, "chat_history": [*history, turn]}


def _whole(id: Any, text: str, calls: list[Any], citations: list[Any], end: Mapping[str, Any]) -> dict[str, Any]:
    """A complete response. end: the finish reason and the usage."""
    finish = end.get("finish_reason")
    usage = end.get("usage") or {}
    meta = {"api_version": {"version": "1"}, **{name: usage[name] for name in ("billed_units", "tokens") if name in usage}}
    cited = {"citations": [_citation(one) for one in citations], "documents": _documents(citations)} if citations else {}
    told = {"response_id": id, "generation_id": id, "text": text, **({"tool_calls": calls} if calls else {}), **cited}
    return {**told, "finish_reason": "COMPLETE" if finish == "TOOL_CALL" else finish, "meta": meta}


def _call(function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments") or "{}"
    try:
        parameters = msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        parameters = {"arguments": arguments}
    return {"name": function.get("name"), "parameters": parameters}


def _citation(one: Mapping[str, Any]) -> dict[str, Any]:
    ids = [source.get("id") for source in one.get("sources") or () if source.get("id")]
    return {**{name: one.get(name) for name in ("start", "end", "text")}, "document_ids": ids}


def _documents(citations: list[Any]) -> list[Any]:
    """The cited documents, each once."""
    found: dict[Any, Any] = {}
    for source in [source for one in citations for source in one.get("sources") or ()]:
        content = source.get("document") or source.get("tool_output") or {}
        found.setdefault(source.get("id"), {"id": source.get("id"), **(content if isinstance(content, dict) else {})})
    return list(found.values())


# ---- streams -----------------------------------------------------------------------------------------------------------------------


class ChatSend:
    """An ASGI `send` that converts the events of v2's streams to v1's lines. Other responses pass through."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._streams = False
        self._lines = Lines()

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [self._header(*pair) for pair in message["headers"]]}
        elif self._streams:
            message = {**message, "body": self._said(message.get("body", b""))}
        await self._send(message)

    def _header(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        if name == b"content-type" and value == EVENTS.encode():
            self._streams = True
            return name, _KIND
        return name, value

    def _said(self, piece: bytes) -> bytes:
        """The lines of the events in a piece; an empty line, which v1's clients skip, for a keep-alive."""
        lines = self._lines.of(piece)
        if not lines and piece.startswith(b":"):
            return b"\n"
        return b"".join([msgspec.json.encode(line) + b"\n" for line in lines])


class Lines:
    """Converts v2's events to v1's, and collects the complete response, which v1 sends at the end."""

    def __init__(self) -> None:
        self._events = SseReader()
        self._id: Any = None
        self._text = ""
        self._calls: list[dict[str, Any]] = []
        self._citations: list[Any] = []

    def of(self, piece: bytes) -> list[dict[str, Any]]:
        """The v1 events for a piece of the stream."""
        frames = [frame for frame in self._events.feed(piece) if frame.data[:1] == b"{"]
        return [line for frame in frames for line in self._feed(msgspec.json.decode(frame.data))]

    def _feed(self, event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        delta = event.get("delta") or {}
        message = delta.get("message") or {}
        match event.get("type"):
            case "message-start":
                self._id = event.get("id")
                yield _line("stream-start", generation_id=self._id)
            case "content-delta" if text := (message.get("content") or {}).get("text"):
                self._text += text
                yield _line("text-generation", text=text)
            case "tool-plan-delta" if text := message.get("tool_plan"):
                self._text += text
                yield _line("tool-calls-chunk", tool_call_delta={"text": text}, text=text)
            case "tool-call-start":
                yield self._begun(message.get("tool_calls") or {})
            case "tool-call-delta" if self._calls:
                yield self._more(((message.get("tool_calls") or {}).get("function") or {}).get("arguments") or "")
            case "citation-start" if cited := message.get("citations"):
                self._citations.append(cited)
                yield _line("citation-generation", citations=[_citation(cited)])
            case "message-end":
                yield from self._end(delta)

    def _begun(self, call: Mapping[str, Any]) -> dict[str, Any]:
        function = call.get("function") or {}
        self._calls.append({"name": function.get("name"), "arguments": function.get("arguments") or ""})
        delta = {"name": function.get("name"), "index": len(self._calls) - 1, "parameters": function.get("arguments") or ""}
        return _line("tool-calls-chunk", tool_call_delta=delta)

    def _more(self, arguments: str) -> dict[str, Any]:
        self._calls[-1]["arguments"] += arguments
        return _line("tool-calls-chunk", tool_call_delta={"index": len(self._calls) - 1, "parameters": arguments})

    def _end(self, delta: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        calls = [_call(call) for call in self._calls]
        if calls:
            yield _line("tool-calls-generation", text=self._text, tool_calls=calls)
        whole = _whole(self._id, self._text, calls, self._citations, delta)
        failed = {"error": delta["error"]} if delta.get("error") else {}
        yield _line("stream-end", last=True, finish_reason=whole["finish_reason"], response=whole, **failed)


def _line(kind: str, *, last: bool = False, **fields: Any) -> dict[str, Any]:
    return {"is_finished": last, "event_type": kind, **fields}

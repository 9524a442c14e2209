"""Prepares a request for another dialect: fields that only its own dialect defines are dropped and reported.

Requests from `openai_chat` are not handled here. The other dialects know its fields one by one, and an unknown field in
such a request is meant for the provider: that is how its client libraries send provider-specific parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from headrace.dialects import own_tools
from headrace.dialects.carrying import carried, left_behind
from headrace.dialects.fields import OWN
from headrace.errors import BadRequestError
from headrace.types import Audio, ChatRequest, Extra, File, Image, Json, Message, Other, Part, Tool, ToolCall, ToolResult, Value

_KNOWN: Final[Mapping[str, frozenset[str]]] = {
    "bedrock_converse": frozenset({"anthropic_messages"}),  # also Claude's: accepts Anthropic's fields that it lacks itself
}
"""For a dialect, the others besides OpenAI's whose fields it reads itself."""

_OPENAIS: Final = frozenset({
    "metadata", "store", "service_tier", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "moderation", "user",
})  # fmt: skip
_SHARED: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("openai_responses", "openai_chat"): _OPENAIS,
    ("anthropic_messages", "gemini"): frozenset({"thinking"}),
}
"""Top-level request fields that both dialects have, or that callers of the second use as well."""

_MARKS: Final = frozenset({"cache_control"})
"""Nested fields that every dialect translates or drops itself."""


def is_foreign(source: str, own: str) -> bool:
    """Whether a request from `source` has fields that `own` does not know."""
    return source not in ("", "openai_chat", own) and source not in _KNOWN.get(own, ())


def in_common(request: ChatRequest, source: str, own: str) -> ChatRequest:
    """`request` without the fields that only `source` defines.

    Content blocks only `source` has are kept: no dialect drops those silently.

    Raises BadRequestError for a provider's built-in tool that `own` does not have.
    """
    if source in ("", own):
        return request
    request = _with_ids(msgspec.structs.replace(request, extra=_speaking(request.extra)))
    if source != "openai_chat":
        request = carried(request)
    if not is_foreign(source, own):
        return request
    shared = _SHARED.get((source, own), frozenset())
    return msgspec.structs.replace(
        request,
        messages=tuple([_message(message, own, f"messages[{index}]") for index, message in enumerate(request.messages)]),
        tools=tuple([_tool(tool, own, f"tools[{index}]") for index, tool in enumerate(request.tools)]),
        tool_choice=_bare(request.tool_choice),
        response_format=_bare(request.response_format),
        extra={name: value for name, value in request.extra.items() if name in shared},
    )


def left_out(request: ChatRequest, source: str, own: str) -> tuple[str, ...]:
    """The places in the request where `in_common` drops something: `generationConfig`, `messages[2].content[0].videoMetadata`."""
    if source in ("", "openai_chat", own):
        return ()
    behind = list(left_behind(request))
    if not is_foreign(source, own):
        return tuple(behind)
    shared = _SHARED.get((source, own), frozenset())
    return tuple(dict.fromkeys([*_names(request.extra, "", shared), *behind, *_below(request, own)]))


def _below(request: ChatRequest, own: str) -> Iterator[str]:
    for index, message in enumerate(request.messages):
        yield from _names(message.extra, f"messages[{index}].", _MARKS)
        for place, part in enumerate(message.content):
            if not isinstance(part, Other):
                yield from _names(part.extra, f"messages[{index}].content[{place}].", _MARKS)
    for index, tool in enumerate(request.tools):
        if tool.type == "function":
            yield from _names(tool.extra, f"tools[{index}].", _MARKS)
        else:
            yield from (f"tools[{index}].{name}" for name in own_tools.unsaid(own, tool))
    for name, value in (("tool_choice", request.tool_choice), ("response_format", request.response_format)):
        if value is not None:
            yield from _names(value.extra, f"{name}.", frozenset())


def _names(extra: Extra, at: str, kept: frozenset[str]) -> Iterator[str]:
    """Names of the fields that carry information; those that are unset or empty do not."""
    return (at + name for name, value in extra.items() if name not in kept and name != OWN and _says_something(value))


def _says_something(value: Json) -> bool:
    return value is not None and value is not UNSET and value not in ("", [], {})


def _message(message: Message, own: str, at: str) -> Message:
    content = tuple([_part(part, own, f"{at}.content[{index}]") for index, part in enumerate(message.content)])
    return msgspec.structs.replace(message, content=content, extra=_marks(message.extra))


def _part(part: Part, own: str, at: str) -> Part:
    if isinstance(part, Other):
        if own in _NAMED_ALIKE:
            raise BadRequestError(f"{at}: {_NAMED_ALIKE[own]} messages cannot contain {part.type} blocks of another dialect: remove them")
        return part
    if isinstance(part, ToolResult):
        return msgspec.structs.replace(part, content=tuple([_part(inner, own, at) for inner in part.content]), extra=_marks(part.extra))
    if isinstance(part, Image | File) and part.url.startswith("data:"):
        kind, comma, data = part.url.partition(",")
        part = msgspec.structs.replace(part, url=kind + comma + data.translate(_BASE64))
    elif isinstance(part, Audio):
        part = msgspec.structs.replace(part, data=part.data.translate(_BASE64))
    return msgspec.structs.replace(part, extra=_marks(part.extra)) if part.extra else part


_NAMED_ALIKE: Final[Mapping[str, str]] = {"anthropic_messages": "Anthropic's", "cohere": "Cohere's"}
"""Dialects whose own block types share a name with another dialect's but not the format."""

_BASE64: Final = str.maketrans("-_", "+/")
"""Google accepts, and its clients send, the URL-safe alphabet; no other dialect does."""


def _tool(tool: Tool, own: str, at: str) -> Tool:
    """The tool in the format of `own`: a function, a custom (free-form text) tool as Chat Completions nests it, or a built-in tool."""
    if tool.type == "function":
        return msgspec.structs.replace(tool, extra=_marks(tool.extra))
    if tool.type == "custom" and "custom" not in tool.extra:
        inner = {name: value for name, value in tool.extra.items() if name != "type"}
        return msgspec.structs.replace(tool, extra={"custom": inner})
    if tool.type == "custom":
        return tool
    said = own_tools.said_in(own, tool)
    if said is None:
        raise BadRequestError(f"{at}: {own} has no tool of type {tool.type}: remove it, or use a function")
    return said


def _with_ids(request: ChatRequest) -> ChatRequest:
    """OpenAI's legacy function calls have no ids: each gets one, as does the result that follows it."""
    if all(part.id for message in request.messages for part in message.tool_calls):
        return request
    count = 0
    messages: list[Message] = []
    for message in request.messages:
        parts: list[Part] = []
        for part in message.content:
            if isinstance(part, ToolCall) and not part.id:
                count += 1
                part = msgspec.structs.replace(part, id=f"call_{count}")
            elif isinstance(part, ToolResult) and not part.call_id:
                part = msgspec.structs.replace(part, call_id=f"call_{count}")
            parts.append(part)
        messages.append(msgspec.structs.replace(message, content=tuple(parts)))
    return msgspec.structs.replace(request, messages=tuple(messages))


def _speaking(extra: Extra) -> Extra:
    """`extra` without empty fields, which only the dialect they came from writes back."""
    return {name: value for name, value in extra.items() if value is not UNSET and value not in (None, "", [])}


def _marks(extra: Extra) -> dict[str, Json]:
    return {name: value for name, value in extra.items() if name in _MARKS and _says_something(value)}


def _bare(value: Any) -> Any:
    return msgspec.structs.replace(value, extra={}) if isinstance(value, Value) else value

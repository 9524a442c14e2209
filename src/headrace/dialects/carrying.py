"""Content that only one dialect has, prepared for another: expressed in common terms, dropped and reported, or refused.

Traces of a provider's built-in tools in the model's output cannot be expressed where there is no such tool: they are
dropped, and `left_behind` names them. Content without which a conversation would change its meaning is refused by name.
Blocks in the user's turns that have no common form stay as they are (`Other`): the other dialect accepts or refuses
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from headrace.dialects.fields import json_text
from headrace.dialects.own_tools import needless
from headrace.errors import BadRequestError
from headrace.types import ChatRequest, Extra, Image, Json, Message, Other, Part, Text, Tool, ToolResult

_SAID: Final = frozenset({"configuration_update", "additional_tools", "tool_search_output", "compaction"})
"""Blocks in assistant turns that are expressed in another way for other dialects, so nothing is lost."""

_REFUSED: Final = frozenset({"compaction", "item_reference"})
"""Blocks without which the conversation would change and that only their own provider can read."""


def carried(request: ChatRequest) -> ChatRequest:
    """`request` in terms common to all dialects, as far as possible.

    Raises BadRequestError for what must not be lost and has no such form.
    """
    if not any(isinstance(part, Other) or _holds_others(part) for message in request.messages for part in message.content):
        tools = tuple([tool for tool in request.tools if not needless(tool)])
        return request if len(tools) == len(request.tools) else msgspec.structs.replace(request, tools=tools)
    others = [part for message in request.messages for part in message.content if isinstance(part, Other)]
    messages: list[Message] = []
    for index, message in enumerate(request.messages):
        told, summary = _content(message, f"messages[{index}]")
        if summary is not None:  # it replaces everything before it
            messages = [one for one in messages if one.role in ("system", "developer")]
            messages.append(Message(role="user", content=(Text(text=summary),)))
        if told or not message.content:
            messages.append(msgspec.structs.replace(message, content=told))
    tools = (*(tool for tool in request.tools if not needless(tool)), *_added_tools(request.tools, others))
    return msgspec.structs.replace(request, messages=tuple(messages), tools=tools, effort=_effort(others) or request.effort)


def left_behind(request: ChatRequest) -> Iterator[str]:
    """The places in the request (`messages[0].content[1]`, `tools[2]`) where `carried` drops something."""
    for index, message in enumerate(request.messages):
        for place, part in enumerate(message.content):
            if isinstance(part, Other) and _is_left(part, message):
                yield f"messages[{index}].content[{place}]"
    yield from (f"tools[{index}]" for index, tool in enumerate(request.tools) if needless(tool))


def _holds_others(part: Part) -> bool:
    return isinstance(part, ToolResult) and any(isinstance(inner, Other) for inner in part.content)


def _is_left(part: Other, message: Message) -> bool:
    if part.type == "tool_addition":  # the tool is declared from the start for other dialects
        return True
    return message.role == "assistant" and part.type not in _SAID | _REFUSED and part.extra.get("content") != []


def _content(message: Message, at: str) -> tuple[tuple[Part, ...], str | None]:
    """The parts of a message that every dialect can express, and the summary that replaces everything before it."""
    told: list[Part] = []
    summary = None
    for place, part in enumerate(message.content):
        if not isinstance(part, Other):
            told.append(_result(part) if _holds_others(part) else part)
        elif part.type == "compaction" and isinstance(part.extra.get("content"), str):
            told, summary = [], part.extra["content"]
        elif part.type in _REFUSED:
            raise BadRequestError(
                f"{at}.content[{place}]: {part.type} is readable only by the provider that created it: send the messages it replaces"
            )
        elif message.role != "assistant" and part.type != "tool_addition":
            told += _blocks(part)
    return tuple(told), summary


def _result(part: Part) -> Part:
    """A tool result with its tool references replaced by their names."""
    assert isinstance(part, ToolResult)
    content = [told for inner in part.content for told in (_blocks(inner) if isinstance(inner, Other) else (inner,))]
    return msgspec.structs.replace(part, content=tuple(content))


def _blocks(part: Other) -> Sequence[Part]:
    """Common parts for Anthropic's text-based documents and search results and for Cohere's documents."""
    match part.extra:
        case {"type": "document", "document": {"data": data}}:
            return [Text(text=data if isinstance(data, str) else json_text(data))]
        case {"type": "tool_reference", "tool_name": str(name)}:
            return [Text(text=name)]
        case {"type": "document", "source": {"type": "content", "content": content}}:
            return [*_titled(part.extra.get("title")), *_texts(content)]
        case {"type": "search_result", "content": content}:
            return [*_titled(part.extra.get("title")), *_titled(part.extra.get("source")), *_texts(content)]
    return [part]


def _titled(title: Json) -> list[Part]:
    return [Text(text=title)] if isinstance(title, str) and title else []


def _texts(content: Json) -> Iterator[Part]:
    for block in [{"type": "text", "text": content}] if isinstance(content, str) else content if isinstance(content, list) else ():
        match block:
            case {"type": "text", "text": str(text)}:
                yield Text(text=text)
            case {"type": "image", "source": {"type": "base64", "media_type": str(media), "data": str(data)}}:
                yield Image(url=f"data:{media};base64,{data}")
            case {"type": "image", "source": {"type": "url", "url": str(url)}}:
                yield Image(url=url)
            case {"type": str(kind)}:
                yield Other(type=kind, extra=block)


def _added_tools(known: Sequence[Tool], others: Sequence[Other]) -> Iterator[Tool]:
    """Functions that a Responses conversation adds midway; other dialects declare them at the start."""
    names = {tool.name for tool in known}
    for other in others:
        told = other.extra.get("tools") if other.type in ("additional_tools", "tool_search_output") else None
        for source in told if isinstance(told, list) else ():
            match source:
                case {"type": "function", "name": str(name)} if name not in names:
                    names.add(name)
                    yield Tool(name=name, description=_text(source, "description"), parameters=source.get("parameters") or None)


def _text(source: Extra, name: str) -> str | None:
    value = source.get(name)
    return value if isinstance(value, str) and value else None


def _effort(others: Sequence[Other]) -> str | None:
    """The last effort set within a Responses conversation."""
    said = [other.extra.get("reasoning") for other in others if other.type == "configuration_update"]
    efforts = [effort for one in said if isinstance(one, Mapping) and (effort := _text(one, "effort"))]
    return efforts[-1] if efforts else None

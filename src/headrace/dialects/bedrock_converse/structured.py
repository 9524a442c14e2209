"""Structured output for models without `outputConfig`: the schema becomes a tool, and a call of it becomes the response."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from headrace.dialects.base import Target
from headrace.types import (
    ChatRequest,
    ChatResponse,
    Choice,
    Finished,
    StreamEvent,
    Text,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
)

NAME: Final = "json_tool_call"
"""The tool's name, as in LiteLLM."""

_WITHOUT_SCHEMAS: Final = re.compile(
    r"claude-(?:3|v2|instant|(?:sonnet|opus)-4-(?:2025|1-))|nova|titan|llama|command|jamba|mixtral|mistral-(?:7b|small-24|large-24)|deepseek\.r1"
)
"""Models not listed in docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html, read 2026-11."""

_ANY_CHOICE: Final = re.compile(r"claude|nova")
"""Models that can be forced to call a tool (API_runtime_SpecificToolChoice, read 2026-11)."""


def has_schemas(model: str) -> bool:
    return _WITHOUT_SCHEMAS.search(model.lower()) is None


def by_tool(request: ChatRequest, target: Target) -> bool:
    """Whether the response to `request` arrives as a tool call."""
    format_ = request.response_format
    return bool(target.source) and format_ is not None and format_.type == "json_schema" and not has_schemas(target.model)


def as_tool(request: ChatRequest, model: str, *, thinks: bool) -> ChatRequest:
    """`request` with its schema as a tool.

    The call is forced if the model supports it and does not think; with other tools, any call is.
    """
    format_ = request.response_format
    if format_ is None:
        return request
    tool = Tool(name=NAME, description=format_.description or "Return the answer in this format.", parameters=format_.schema)
    forced = not thinks and _ANY_CHOICE.search(model.lower()) is not None
    choice = ToolChoice(mode="required") if request.tools else ToolChoice(mode="tool", name=NAME)
    tools = (*request.tools, tool)
    return msgspec.structs.replace(request, tools=tools, tool_choice=choice if forced else None, response_format=None)


def as_answer(response: ChatResponse) -> ChatResponse:
    """`response` with the tool's call as its text. Other text is dropped, because the response must be JSON."""
    return msgspec.structs.replace(response, choices=tuple([_answered(choice) for choice in response.choices]))


def _answered(choice: Choice) -> Choice:
    message = choice.message
    answer = next((part for part in message.tool_calls if part.name == NAME), None)
    if answer is None:
        return choice
    rest = [part for part in message.content if not isinstance(part, Text | ToolCall) or (isinstance(part, ToolCall) and part.name != NAME)]
    message = msgspec.structs.replace(message, content=(*rest, Text(text=answer.arguments)))
    if message.tool_calls or choice.finish != "tool_calls":
        return msgspec.structs.replace(choice, message=message)
    return msgspec.structs.replace(choice, message=message, finish="stop", native_finish=None)


class Answers:
    """`as_answer` for a stream. Text is held back until it is certain that no call follows."""

    __slots__ = ("_called", "_held", "_others")

    def __init__(self) -> None:
        self._called: set[int] = set()
        self._others = 0
        self._held: list[StreamEvent] = []

    def of(self, events: Iterable[StreamEvent]) -> list[StreamEvent]:
        return [told for event in events for told in self._of(event)]

    def _of(self, event: StreamEvent) -> list[StreamEvent]:
        match event:
            case TextDelta():
                self._held.append(event)
                return []
            case ToolCallDelta() if event.name == NAME or event.index in self._called:
                self._called.add(event.index)
                return [TextDelta(text=event.arguments)] if event.arguments else []
            case ToolCallDelta():
                self._others += 1
            case Finished():
                return self._end(event)
        return [event]

    def _end(self, event: Finished) -> list[StreamEvent]:
        held, self._held = self._held, []
        if not self._called:
            return [*held, event]
        if self._others or event.finish != "tool_calls":
            return [event]
        return [msgspec.structs.replace(event, finish="stop", native_finish=None)]

"""Adapts a request from another dialect to providers of Chat Completions, many of which reject unknown fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import UNSET, structs

from headrace.dialects.foreign import in_common
from headrace.errors import BadRequestError
from headrace.types import ChatRequest, Extra, Json, Message, Other, Part, Text, Thinking, Tool, ToolCall, ToolResult

_TOP: Final = frozenset({
    "metadata", "service_tier", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "verbosity", "store", "stream_options",
})  # fmt: skip
"""Request fields with the same meaning here as in Responses."""

_OPENAIS: Final = frozenset({"openai", "azure", "openrouter", "litellm_proxy"})
"""Providers that accept these fields. Each can be dropped without changing the response."""

_MARKED: Final = frozenset({"openrouter"})
"""Providers that accept `cache_control` on parts, messages and tools."""

_STRICT: Final = frozenset({"openai", "azure"})
"""Providers that reject unknown parameters; most others accept `top_k`."""

_THINKING_BACK: Final = frozenset({"openrouter", "deepseek", "moonshot", "zai", "dashscope", "vllm", "hosted_vllm"})
"""Providers that accept the reasoning of earlier turns with tool calls."""


def spoken_here(request: ChatRequest, provider: str, source: str) -> ChatRequest:
    """`request` without what only its own dialect has.

    Raises BadRequestError for content that must not be lost and cannot be expressed.
    """
    if not request.messages:
        raise BadRequestError("messages: at least one is required: a prompt stored by another provider cannot be used")
    text = request.extra.get("text")
    request = in_common(request, source, "openai_chat")
    marks = frozenset({"cache_control"}) if provider in _MARKED else frozenset()
    messages = [_message(message, provider, marks, f"messages[{at}]") for at, message in enumerate(request.messages)]
    wordy = {"verbosity": text["verbosity"]} if isinstance(text, Mapping) and text.get("verbosity") else {}
    return structs.replace(
        request,
        messages=tuple(_with_media_behind(messages)),
        tools=tuple([_tool(tool, marks) for tool in request.tools]),
        top_k=None if provider in _STRICT else request.top_k,
        response_format=None if request.response_format is None else structs.replace(request.response_format, extra={}),
        extra={**_only(request.extra, _TOP), **wordy} if provider in _OPENAIS else {},
    )


def unheard(request: ChatRequest, provider: str) -> Iterator[str]:
    """The places where `spoken_here` drops something that other providers of Chat Completions are sent."""
    if provider not in _OPENAIS:
        yield from (name for name, value in request.extra.items() if name in _TOP and value not in (None, UNSET, "", [], {}))
    if provider in _STRICT and request.top_k is not None:
        yield "top_k"
    if provider not in _THINKING_BACK:
        for index, message in enumerate(request.messages):
            thoughts = [at for at, part in enumerate(message.content) if isinstance(part, Thinking)]
            yield from (f"messages[{index}].content[{at}]" for at in thoughts)


def _only(extra: Extra, names: frozenset[str]) -> Extra:
    return {name: value for name, value in extra.items() if name in names} if extra else extra


def _tool(tool: Tool, marks: frozenset[str]) -> Tool:
    if tool.type == "custom":  # flat in Responses, nested in Chat Completions
        return structs.replace(tool, extra={"custom": _without(tool.extra, "custom") | dict(tool.extra.get("custom") or {})})
    return structs.replace(tool, extra=_only(tool.extra, marks))


def _without(extra: Extra, name: str) -> dict[str, Json]:
    return {known: value for known, value in extra.items() if known != name}


def _message(message: Message, provider: str, marks: frozenset[str], at: str) -> Message:
    parts = [part for part in message.content if not isinstance(part, Thinking) or provider in _THINKING_BACK]
    extra = {"content": None} if message.role == "assistant" and not parts else {}
    return structs.replace(message, content=_parts(parts, provider, marks, at), extra={**_only(message.extra, marks), **extra})


def _parts(parts: Sequence[Part], provider: str, marks: frozenset[str], at: str) -> tuple[Part, ...]:
    return tuple([_part(part, provider, marks, f"{at}.content[{index}]") for index, part in enumerate(parts)])


def _part(part: Part, provider: str, marks: frozenset[str], at: str) -> Part:
    if isinstance(part, Other):
        raise BadRequestError(f"{at}: {provider} does not support parts of type {part.type!r}: remove it", "", provider)
    if isinstance(part, Thinking):
        return part if provider == "openrouter" else Thinking(text=part.text, extra={"field": "reasoning_content"})
    if isinstance(part, ToolResult):
        return structs.replace(part, content=_parts(part.content, provider, marks, at), name=None, extra={})
    if isinstance(part, Text | ToolCall):
        part = structs.replace(part, signature=None)
    return structs.replace(part, extra=_only(part.extra, marks))


def _with_media_behind(messages: Iterable[Message]) -> Iterator[Message]:
    """Tool results hold only text here: images and files follow them in a user message."""
    waiting: list[Part] = []
    for message in messages:
        if message.role == "tool":
            results = [part for part in message.content if isinstance(part, ToolResult)]
            waiting += [inner for result in results for inner in result.content if not isinstance(inner, Text)]
            yield structs.replace(message, content=tuple([_in_one_text(result) for result in results]))
            continue
        if waiting:
            yield Message(role="user", content=tuple(waiting))
            waiting = []
        yield message
    if waiting:
        yield Message(role="user", content=tuple(waiting))


def _in_one_text(result: ToolResult) -> ToolResult:
    said = "".join(inner.text for inner in result.content if isinstance(inner, Text))
    return structs.replace(result, content=(Text(text=said),))

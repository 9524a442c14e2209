"""A request of another dialect's in words that providers of Chat Completions take: many refuse a field they do not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import structs

from headrace.errors import BadRequestError
from headrace.types import ChatRequest, Extra, Json, Message, Other, Part, Text, Thinking, Tool, ToolResult

_TOP: Final = frozenset({
    "metadata", "service_tier", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "verbosity", "store", "stream_options",
})  # fmt: skip
"""Fields of a request that mean here what they mean in OpenAI's other dialect."""

_MARKED: Final = frozenset({"openrouter"})
"""Providers that take a mark for the cache on parts, messages and tools."""

_THINKING_BACK: Final = frozenset({"openrouter", "deepseek", "moonshot", "zai", "dashscope", "vllm", "hosted_vllm"})
"""Providers that take back the reasoning of a turn that called tools."""


def spoken_here(request: ChatRequest, provider: str) -> ChatRequest:
    """`request` without what only its own dialect says. Raises BadRequestError for content that cannot be said and must not be lost."""
    marks = frozenset({"cache_control"}) if provider in _MARKED else frozenset()
    messages = [_message(message, provider, marks, f"messages[{at}]") for at, message in enumerate(request.messages)]
    text = request.extra.get("text")
    wordy = {"verbosity": text["verbosity"]} if isinstance(text, Mapping) and text.get("verbosity") else {}
    return structs.replace(
        request,
        messages=tuple(messages),
        tools=tuple(_tool(tool, marks) for tool in request.tools),
        response_format=None if request.response_format is None else structs.replace(request.response_format, extra={}),
        extra={**_only(request.extra, _TOP), **wordy},
    )


def _only(extra: Extra, names: frozenset[str]) -> Extra:
    return {name: value for name, value in extra.items() if name in names} if extra else extra


def _tool(tool: Tool, marks: frozenset[str]) -> Tool:
    if tool.type == "custom":  # flat in the one, nested in the other
        return structs.replace(tool, extra={"custom": _without(tool.extra, "custom") | dict(tool.extra.get("custom") or {})})
    return structs.replace(tool, extra=_only(tool.extra, marks))


def _without(extra: Extra, name: str) -> dict[str, Json]:
    return {known: value for known, value in extra.items() if known != name}


def _message(message: Message, provider: str, marks: frozenset[str], at: str) -> Message:
    parts = [part for part in message.content if not isinstance(part, Thinking) or provider in _THINKING_BACK]
    if message.role == "assistant":  # what a provider's own tools did is no part of what was said
        parts = [part for part in parts if not isinstance(part, Other)]
    extra = {"content": None} if message.role == "assistant" and not parts else {}
    return structs.replace(message, content=_parts(parts, provider, marks, at), extra={**_only(message.extra, marks), **extra})


def _parts(parts: Sequence[Part], provider: str, marks: frozenset[str], at: str) -> tuple[Part, ...]:
    return tuple([_part(part, provider, marks, f"{at}.content[{index}]") for index, part in enumerate(parts)])


def _part(part: Part, provider: str, marks: frozenset[str], at: str) -> Part:
    if isinstance(part, Other):
        raise BadRequestError(f"{at}: {provider} has no part of type {part.type!r}: leave it out of the request", "", provider)
    if isinstance(part, Thinking):
        return part if provider == "openrouter" else Thinking(text=part.text, extra={"field": "reasoning_content"})
    if isinstance(part, ToolResult):
        content = _parts(part.content, provider, marks, at)
        said = "".join(inner.text for inner in content if isinstance(inner, Text))
        plain = all(isinstance(inner, Text) for inner in content)
        return structs.replace(part, content=(Text(text=said),) if plain else content, extra={})
    return structs.replace(part, extra=_only(part.extra, marks))

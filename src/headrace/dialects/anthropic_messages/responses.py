"""Responses and usage between Anthropic's Messages and the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from headrace.dialects.anthropic_messages.blocks import read_block, write_block
from headrace.dialects.fields import bad, count, items, merged, rest
from headrace.types import Audio, ChatResponse, Choice, Extra, FinishReason, Json, Message, Part, Usage

STOPS: Final[Mapping[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "compaction": "pause",
    "refusal": "content_filter",
}
"""Anthropic's stop reasons (platform.claude.com/docs/en/api/handling-stop-reasons, read 2026-11), and their meaning."""

_WORDS: Final[Mapping[FinishReason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "pause": "pause_turn",
    "error": "end_turn",
    "other": "end_turn",
}

ENDING: Final = frozenset({"stop_reason", "stop_sequence", "stop_details"})
"""Fields about how the message ended; the hub keeps them on the choice."""

_KNOWN: Final = frozenset({"id", "model", "content", "usage"})
_USUAL: Final[Mapping[str, Json]] = {
    "id": "",
    "type": "message",
    "role": "assistant",
    "model": "",
    "content": [],
    "usage": {"input_tokens": 0, "output_tokens": 0},
}
_END_USUAL: Final[Mapping[str, Json]] = {"stop_reason": None, "stop_sequence": None}

OPENAIS: Final = frozenset({
    "object", "system_fingerprint", "created", "annotations", "audio", "refusal", "function_call", "tool_calls", "reasoning",
    "reasoning_content", "reasoning_details", "provider_specific_fields", "field", "format", "finish_reason", "logprobs", "index",
    "prompt_tokens_details", "completion_tokens_details", "prompt_cache_hit_tokens", "prompt_cache_miss_tokens", "prompt_filter_results",
    "content_filter_results", "native_finish_reason", "provider", "function", "extra_content", "openai_responses", "item",
})  # fmt: skip
"""Extra fields of OpenAI's dialect, dropped when its response is written in this one."""


def ours(extra: Extra) -> Extra:
    return {name: value for name, value in extra.items() if name not in OPENAIS} if extra else extra


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_response(body: Mapping[str, Json]) -> ChatResponse:
    """Raises BadRequestError for a body that is not a message."""
    if "content" not in body:
        raise bad("content", "a list of blocks", None)
    content = tuple([read_block(block, f"content[{index}]") for index, block in enumerate(items(body["content"], "content"))])
    message = Message(role="assistant", content=content)
    usage = body.get("usage")
    finish, native, end = read_end({name: value for name, value in body.items() if name in ENDING}, called=bool(message.tool_calls))
    unending = {name: value for name, value in body.items() if name not in ENDING}
    return ChatResponse(
        id=text(body.get("id")),
        model=text(body.get("model")),
        choices=(Choice(index=0, message=message, finish=finish, native_finish=native, extra=end),),
        usage=read_usage(usage) if isinstance(usage, Mapping) and usage else None,
        extra=rest(unending, _KNOWN, _USUAL, exact=frozenset({"content"})),
    )


def text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def read_end(source: Mapping[str, Json], *, called: bool) -> tuple[FinishReason | None, str | None, dict[str, Json]]:
    """The finish reason, the native stop reason if it is not the usual one for it, and other fields about the end."""
    word = source.get("stop_reason")
    extra = rest(source, frozenset({"stop_reason"}), _END_USUAL)
    if not word:
        return ("tool_calls" if called else None), None, extra
    finish = STOPS.get(word, "other") if isinstance(word, str) else "other"
    if called and finish in ("stop", "other"):
        finish = "tool_calls"
    if not (isinstance(word, str) and word in STOPS):
        extra["stop_reason"] = word
    native = word if isinstance(word, str) and word != _WORDS[finish] else None
    return finish, native, extra


_USAGE: Final = frozenset({
    "input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens_details",
})  # fmt: skip
_USAGE_USUAL: Final[Mapping[str, Json]] = {
    "input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0,
}  # fmt: skip


def read_usage(source: Mapping[str, Json]) -> Usage:
    """Token counts by OpenAI's definition: Anthropic's `input_tokens` excludes tokens read from or written to the cache."""
    counted = source.get
    fresh, written = count(counted("input_tokens")), count(counted("output_tokens"))
    made, hit = count(counted("cache_creation_input_tokens")), count(counted("cache_read_input_tokens"))
    details = source.get("output_tokens_details")
    thought = count(details.get("thinking_tokens")) if isinstance(details, Mapping) else 0
    extra = rest(source, _USAGE, _USAGE_USUAL)
    if isinstance(details, Mapping) and (left := {name: n for name, n in details.items() if name != "thinking_tokens" or not thought}):
        extra["output_tokens_details"] = left
    given = fresh + made + hit
    return Usage(input=given, output=written, total=given + written, cached=hit, cache_write=made, reasoning=thought, extra=extra)


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_response(response: ChatResponse) -> dict[str, Json]:
    """One message, from the first choice: Anthropic has only one."""
    choice = response.choices[0] if response.choices else None
    said: dict[str, Json] = {
        "id": response.id or None,
        "model": response.model or None,
        "content": None if choice is None else _write_content(choice.message.content, response.id) or None,
        "usage": None if response.usage is None else write_usage(response.usage),
    }
    ending = {} if choice is None else write_end(choice.finish, choice.native_finish, choice.extra)
    return merged({**_USUAL, **ending}, ours(response.extra), said)


def _write_content(parts: tuple[Part, ...], id_: str) -> list[dict[str, Json]]:
    written = []
    for index, part in enumerate(part for part in parts if not isinstance(part, Audio) or part.transcript):
        block = write_block(msgspec.structs.replace(part, extra=ours(part.extra)), f"content[{index}]", foreign=False)
        if block.get("type") == "tool_use" and not block.get("id"):
            block["id"] = call_id(id_, index)
        written.append(block)
    return written


def call_id(response_id: str, index: int) -> str:
    """An id for a call whose provider sent none (Gemini): Anthropic's clients match results by id."""
    return f"toolu_{''.join(filter(str.isalnum, response_id)) or 'call'}_{index}"


def write_end(finish: FinishReason | None, native: str | None, extra: Extra) -> dict[str, Json]:
    """The fields about the end, with the native stop reason if Anthropic has it, otherwise Anthropic's own."""
    extra = {name: value for name, value in extra.items() if name in ENDING}
    if finish is None or (finish == "other" and "stop_reason" in extra) or extra.get("stop_reason", UNSET) not in (None, UNSET):
        return merged(_END_USUAL, extra, {})
    return merged(_END_USUAL, extra, {"stop_reason": native if native in STOPS else _WORDS[finish]})


def write_usage(usage: Usage) -> dict[str, Json]:
    """Counts by Anthropic's definition, with cached tokens counted separately."""
    said: dict[str, Any] = {
        "input_tokens": max(0, usage.input - usage.cached - usage.cache_write) or None,
        "cache_creation_input_tokens": usage.cache_write or None,
        "cache_read_input_tokens": usage.cached or None,
        "output_tokens": usage.output or None,
    }
    details = usage.extra.get("output_tokens_details")
    if usage.reasoning:
        said["output_tokens_details"] = {**(details if isinstance(details, Mapping) else {}), "thinking_tokens": usage.reasoning}
    return merged(_USAGE_USUAL, ours(usage.extra), said)

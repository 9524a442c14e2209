"""Responses and usage between Bedrock's Converse and the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace.dialects.bedrock_converse.blocks import BlockWriter, read_blocks
from headrace.dialects.fields import bad, count, merged, obj, rest
from headrace.types import ChatResponse, Choice, FinishReason, Json, Message, Other, Usage

FINISHES: Final[Mapping[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}
"""API_runtime_ConverseResponse, read 2026-11."""

_WORDS: Final[Mapping[FinishReason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
    "pause": "end_turn",
    "error": "malformed_model_output",
    "other": "end_turn",
}

_RESPONSE: Final = frozenset({"output", "stopReason", "usage"})
USUAL: Final[Mapping[str, Json]] = {
    "usage": {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0},
    "metrics": {"latencyMs": 0},
}
"""Fields of every response, which clients require."""


def read_response(body: Mapping[str, Json], *, model: str = "", request_id: str = "") -> ChatResponse:
    """Raises BadRequestError for a body that is not a Converse response."""
    output = obj(body.get("output"), "output")
    message = obj(output.get("message"), "output.message")
    if not isinstance(message.get("content"), list):
        raise bad("output.message.content", "a list", message.get("content"))
    extra = rest(body, _RESPONSE, USUAL)
    if others := rest(output, frozenset({"message"})):
        extra["output"] = others
    usage = body.get("usage")
    return ChatResponse(
        id=request_id,
        model=model,
        choices=(_read_choice(message, body.get("stopReason")),),
        usage=read_usage(usage) if isinstance(usage, Mapping) and usage else None,
        extra=extra,
    )


def _read_choice(source: Mapping[str, Json], word: Json) -> Choice:
    parts = read_blocks(source["content"], "output.message.content", answer=True)
    extra = rest(source, frozenset({"role", "content"}), {"role": "assistant"})
    if source.get("role", "assistant") != "assistant":
        extra["role"] = source["role"]
    message = Message(role="assistant", content=tuple(parts), extra=extra)
    finish = finish_of(word, called=bool(message.tool_calls))
    return Choice(
        index=0,
        message=message,
        finish=finish,
        native_finish=own_word(word, finish),
        extra={} if word is None or (isinstance(word, str) and word in FINISHES) else {"stopReason": word},
    )


def finish_of(word: Json, *, called: bool) -> FinishReason | None:
    """The meaning of a stop reason. Tool calls override `end_turn`, which some models send with them."""
    if not isinstance(word, str) or not word:
        return "tool_calls" if called else None
    finish = FINISHES.get(word, "other")
    return "tool_calls" if called and finish in ("stop", "other") else finish


def own_word(word: Json, finish: FinishReason | None) -> str | None:
    """The stop reason if it is not the one Converse usually has for `finish`."""
    return word if isinstance(word, str) and word and finish is not None and word != _WORDS[finish] else None


def finish_word(finish: FinishReason | None, native: str | None) -> str | None:
    if finish is None:
        return None
    return native if native in FINISHES else _WORDS[finish]


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_response(response: ChatResponse) -> dict[str, Json]:
    """The response, from the first choice: Converse has only one."""
    choice = response.choices[0] if response.choices else Choice(index=0, message=Message(role="assistant"))
    extra = dict(response.extra)
    others = extra.pop("output", None)
    word = choice.extra.get("stopReason") or finish_word(choice.finish, choice.native_finish)
    said = {
        "output": {**(others if isinstance(others, Mapping) else {}), "message": _write_message(choice.message)},
        "stopReason": word,
        "usage": None if response.usage is None else write_usage(response.usage),
    }
    return {name: value for name, value in merged(USUAL, extra, said).items() if value is not None or name in extra}


def _write_message(message: Message) -> dict[str, Json]:
    """The message without blocks of another dialect, which have a `type`."""
    own = tuple(part for part in message.content if not (isinstance(part, Other) and "type" in part.extra))
    return merged({"role": "assistant", "content": BlockWriter(foreign=False).blocks(own, "content")}, message.extra, {})


# ---- usage -------------------------------------------------------------------------------------------------------------------------

_COUNTED: Final = {"cached": "cacheReadInputTokens", "cache_write": "cacheWriteInputTokens"}
_USAGE_USUAL: Final[Mapping[str, Json]] = {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}


def read_usage(source: Mapping[str, Json]) -> Usage:
    """Token counts by OpenAI's definition: Converse's `inputTokens` excludes tokens read from or written to the cache."""
    counts = {name: count(source.get(word)) for name, word in _COUNTED.items()}
    given, written, total = (count(source.get(name)) for name in _USAGE_USUAL)
    whole = given + sum(counts.values())
    return Usage(input=whole, output=written, total=total or whole + written, extra=_usage_extra(source), **counts)


def _usage_extra(source: Mapping[str, Json]) -> dict[str, Json]:
    known = frozenset(name for name in (*_COUNTED.values(), *_USAGE_USUAL) if count(source.get(name)))
    return rest(source, known, _USAGE_USUAL)


def write_usage(usage: Usage) -> dict[str, Json]:
    """Counts by Converse's definition."""
    said: dict[str, Any] = {word: getattr(usage, name) or None for name, word in _COUNTED.items()}
    said["inputTokens"] = max(0, usage.input - usage.cached - usage.cache_write) or None
    said["outputTokens"] = usage.output or None
    if "totalTokens" not in usage.extra:
        said["totalTokens"] = usage.total or usage.input + usage.output or None
    return merged(_USAGE_USUAL, usage.extra, said)

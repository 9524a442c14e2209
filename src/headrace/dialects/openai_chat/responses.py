"""Responses and usage between OpenAI's Chat Completions and the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace.dialects.fields import count, listed, merged, obj, rest
from headrace.dialects.openai_chat.messages import read_assistant, write_assistant
from headrace.types import ChatResponse, Choice, FinishReason, Json, Message, Usage

FINISHES: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "eos": "stop",  # Together
    "length": "length",
    "model_length": "length",  # Mistral
    "model_context_window_exceeded": "length",  # Z.ai
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "sensitive": "content_filter",  # Z.ai
    "error": "error",
    "network_error": "error",  # Z.ai
    "insufficient_system_resource": "error",  # DeepSeek
}
"""Finish reasons used by providers of this dialect, and their meaning."""

_LET_THROUGH: Final[Mapping[str, FinishReason]] = {
    **FINISHES,
    **dict.fromkeys(("eos_token", "stop_sequence", "end_turn", "end", "complete", "done"), "stop"),
    **dict.fromkeys(("max_tokens", "max_output_tokens", "max_length"), "length"),
    **dict.fromkeys(("tool_use", "tool_call"), "tool_calls"),
    **dict.fromkeys(("safety", "recitation", "blocklist", "refusal", "guardrail_intervened", "content_filtered"), "content_filter"),
    "abort": "error",
}
"""Finish reasons, in lower case, of other dialects and of open-source model servers (TGI, vLLM, SGLang), which providers forward."""

_WORDS: Final[Mapping[FinishReason, str]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "pause": "stop",
    "error": "error",
    "other": "stop",
}

_RESPONSE: Final = frozenset({"id", "created", "model", "choices", "usage"})
_RESPONSE_USUAL: Final[Mapping[str, Json]] = {"id": "", "object": "chat.completion", "created": 0, "model": ""}
_CHOICE: Final = frozenset({"index", "message", "finish_reason", "logprobs"})


def read_response(body: Mapping[str, Json]) -> ChatResponse:
    """Raises BadRequestError for a body that is not a chat completion."""
    choices = [_read_choice(choice, f"choices[{index}]") for index, choice in enumerate(listed(body, "choices"))]
    usage = body.get("usage")
    created = body.get("created")
    extra = rest(body, _RESPONSE, _RESPONSE_USUAL)
    if not isinstance(created, int) and created:
        extra["created"] = created  # Writer: a string
    return ChatResponse(
        id=text(body.get("id")),
        model=text(body.get("model")),
        created=created if isinstance(created, int) else 0,
        choices=tuple(choices),
        usage=read_usage(usage) if isinstance(usage, Mapping) and usage else None,
        extra=extra,
    )


def text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _read_choice(value: Json, at: str) -> Choice:
    choice = obj(value, at)
    message = read_assistant(obj(choice.get("message"), f"{at}.message"), f"{at}.message")
    word = choice.get("finish_reason")
    extra = rest(choice, _CHOICE, {"finish_reason": None})
    called = bool(message.tool_calls)
    if called and not word:  # Snowflake gives no reason with tool calls
        word = "function_call" if message.tool_calls[0].kind == "legacy" else "tool_calls"
    finish = finish_of(word, called=called)
    if is_unknown(word):
        extra["finish_reason"] = word
    return Choice(
        index=choice.get("index") or 0,
        message=message,
        finish=finish,
        native_finish=own_word(word, finish),
        logprobs=choice.get("logprobs") or None,
        extra=extra,
    )


def finish_of(word: Json, *, called: bool) -> FinishReason | None:
    """The meaning of a finish reason. Tool calls override it: OpenAI sends `stop` for a forced tool, some providers always do."""
    if not word:
        return None
    finish = _LET_THROUGH.get(word.lower(), "other") if isinstance(word, str) else "other"
    return "tool_calls" if called and finish in ("stop", "other") else finish


def is_unknown(word: Json) -> bool:
    """Whether the finish reason is not one of this dialect's, so that `extra` keeps it."""
    return bool(word) and not (isinstance(word, str) and word in FINISHES)


def own_word(word: Json, finish: FinishReason | None) -> str | None:
    """The provider's finish reason where it differs from the one this dialect writes for `finish`."""
    return word if isinstance(word, str) and word and finish is not None and word != _WORDS[finish] else None


def finish_word(finish: FinishReason | None, native: str | None) -> str | None:
    """The provider's finish reason if this dialect has it, otherwise the dialect's own; None if there is none."""
    if finish is None:
        return None
    return native if native in FINISHES else _WORDS[finish]


def write_response(response: ChatResponse) -> dict[str, Json]:
    said = {
        "id": response.id or None,
        "model": response.model or None,
        "created": response.created or None,
        "choices": [_write_choice(choice) for choice in response.choices],
        "usage": None if response.usage is None else write_usage(response.usage),
    }
    return merged(_RESPONSE_USUAL, response.extra, said)


def _write_choice(choice: Choice) -> dict[str, Json]:
    message: Message = choice.message
    # The index is written even if a single-choice provider (Gemini) omits it: OpenAI's clients require it.
    said = {"index": choice.index, "message": write_assistant(message), "logprobs": choice.logprobs}
    if not is_unknown(choice.extra.get("finish_reason")):
        said["finish_reason"] = finish_word(choice.finish, choice.native_finish)
    return merged({"finish_reason": None}, choice.extra, said)


_USAGE: Final = frozenset({"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"})
_USAGE_USUAL: Final[Mapping[str, Json]] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
_INPUT_DETAILS: Final = {"cached": "cached_tokens", "cache_write": "cache_write_tokens", "audio_input": "audio_tokens"}
_OUTPUT_DETAILS: Final = {"reasoning": "reasoning_tokens", "audio_output": "audio_tokens"}


def read_usage(source: Mapping[str, Json]) -> Usage:
    """Token counts by OpenAI's definition, whichever provider sent them.

    xAI excludes reasoning from `completion_tokens`, as the total shows (47 of 47 recorded responses, 2025-2026).
    DeepSeek has its own field for cache hits, Moonshot has one outside the details. Counts that were sent differently
    are kept in `extra`, to be written back as they came.
    """
    before, after = _details(source, "prompt_tokens_details"), _details(source, "completion_tokens_details")
    given, written, total = (count(source.get(f"{name}_tokens")) for name in ("prompt", "completion", "total"))
    given, written = given or count(source.get("input_tokens")), written or count(source.get("output_tokens"))
    reasoning = count(after.get("reasoning_tokens")) or min(written, count(source.get("reasoning_tokens")))
    extra = _usage_extra(source, before, after)
    if reasoning and total == given + written + reasoning:
        extra["completion_tokens"] = written
        written += reasoning
    cached = count(before.get("cached_tokens")) or next(filter(None, (count(source.get(name)) for name in _HITS)), 0)
    if given and cached > given:  # Grok on Azure
        cached = given
        extra["prompt_tokens_details"] = dict(before)
    return Usage(
        input=given,
        output=written,
        total=total or given + written,
        cached=cached,
        cache_write=count(before.get("cache_write_tokens")) or count(source.get("cache_creation_input_tokens")),
        reasoning=reasoning,
        audio_input=count(before.get("audio_tokens")),
        audio_output=count(after.get("audio_tokens")),
        extra=extra,
    )


_HITS: Final = ("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")
"""Cache hits outside the details: DeepSeek's name, Moonshot's, and Anthropic's as other providers forward it."""


def _details(source: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    details = source.get(name)
    return details if isinstance(details, Mapping) else {}


def _usage_extra(source: Mapping[str, Json], before: Mapping[str, Json], after: Mapping[str, Json]) -> dict[str, Json]:
    extra: dict[str, Any] = dict(rest(source, _USAGE, _USAGE_USUAL))
    for name, details, fields in (
        ("prompt_tokens_details", before, _INPUT_DETAILS),
        ("completion_tokens_details", after, _OUTPUT_DETAILS),
    ):
        kept = {field: value for field, value in details.items() if field not in fields.values() or not count(value)}
        if kept:
            extra[name] = kept
    return extra


def write_usage(usage: Usage) -> dict[str, Json]:
    """Counts by OpenAI's definition, or as a provider of this dialect sent them; details only if there are any."""
    extra = usage.extra
    said: dict[str, Json] = {
        "prompt_tokens": usage.input or None,
        "completion_tokens": extra.get("completion_tokens") or usage.output or None,
    }
    if "total_tokens" not in extra:
        said["total_tokens"] = usage.total or usage.input + usage.output
    if usage.cached or usage.cache_write or usage.audio_input:
        said["prompt_tokens_details"] = _counted(usage, _INPUT_DETAILS, extra.get("prompt_tokens_details"))
    if usage.reasoning or usage.audio_output:
        said["completion_tokens_details"] = _counted(usage, _OUTPUT_DETAILS, extra.get("completion_tokens_details"))
    return merged(_USAGE_USUAL, extra, said)


def _counted(usage: Usage, fields: Mapping[str, str], kept: Json) -> dict[str, Json]:
    """The received details with the hub's counts; zero counts are not added."""
    kept = kept or {}
    return {**kept, **{field: kept.get(field) or count for unit, field in fields.items() if (count := getattr(usage, unit))}}

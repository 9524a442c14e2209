"""Responses, usage and citations between Cohere's v2 Chat and the hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.dialects.cohere.messages import ANNOTATIONS, read_assistant, read_content, write_assistant
from headrace.dialects.fields import count, merged, obj, rest
from headrace.types import ChatResponse, Choice, FinishReason, Json, Message, Text, Usage

FINISHES: Final[Mapping[str, FinishReason]] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "ERROR_LIMIT": "length",  # v1: context window exceeded
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",  # v1
    "ERROR": "error",
    "TIMEOUT": "error",
    "USER_CANCEL": "other",  # v1
}

_WORDS: Final[Mapping[FinishReason, str]] = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "tool_calls": "TOOL_CALL",
    "content_filter": "ERROR_TOXIC",
    "pause": "COMPLETE",
    "error": "ERROR",
    "other": "COMPLETE",
}

FAILED: Final = frozenset({"ERROR", "TIMEOUT"})
"""Finish reasons that mean an error, although the status is 200."""

_RESPONSE: Final = frozenset({"id", "finish_reason", "message", "usage", "logprobs"})


def read_response(body: Mapping[str, Json]) -> ChatResponse:
    """Raises BadRequestError for a body that is not a Cohere response."""
    source = obj(body.get("message"), "message")
    message = read_assistant(source, _texts(read_content(source.get("content"), "message.content")), "message")
    message = msgspec.structs.replace(message, extra={**message.extra, **annotated(message.extra.get("citations"))})
    word = body.get("finish_reason")
    finish = finish_of(word, called=bool(message.tool_calls))
    choice = Choice(
        index=0,
        message=message,
        finish=finish,
        native_finish=own_word(word, finish),
        logprobs=read_logprobs(body.get("logprobs")),
        extra={"finish_reason": word} if finish == "other" else {},
    )
    usage, id_ = body.get("usage"), body.get("id")
    return ChatResponse(
        id=id_ if isinstance(id_, str) else "",
        choices=(choice,),
        usage=read_usage(usage) if isinstance(usage, Mapping) and usage else None,
        extra=rest(body, _RESPONSE, exact=frozenset({"id"})),
    )


def _texts(content: Sequence[Any]) -> list[Any]:
    """Text parts without the marker for list content, since a response's content is always a list."""
    return [
        msgspec.structs.replace(part, extra={}) if isinstance(part, Text) and part.extra == {"type": "text"} else part for part in content
    ]


def finish_of(word: Json, *, called: bool) -> FinishReason | None:
    if called:
        return "length" if word == "MAX_TOKENS" else "tool_calls"
    return None if not word else FINISHES.get(word, "other") if isinstance(word, str) else "other"


def own_word(word: Json, finish: FinishReason | None) -> str | None:
    """Cohere's finish reason if it is not the usual one for `finish`."""
    return word if isinstance(word, str) and finish is not None and word != _WORDS[finish] else None


def finish_word(finish: FinishReason | None, native: str | None) -> str | None:
    return None if finish is None else native if native in FINISHES else _WORDS[finish]


def write_response(response: ChatResponse) -> dict[str, Json]:
    """The response, from the first choice: Cohere has only one."""
    choice = response.choices[0] if response.choices else Choice(index=0, message=Message(role="assistant"), finish="stop")
    said: dict[str, Json] = {
        "id": response.id,
        "finish_reason": choice.extra.get("finish_reason") or finish_word(choice.finish, choice.native_finish),
        "message": write_assistant(choice.message, "message", foreign=False, listed=True),
        "usage": None if response.usage is None else write_usage(response.usage),
        "logprobs": write_logprobs(choice.logprobs),
    }
    return merged({}, response.extra, said)


# ---- usage -------------------------------------------------------------------------------------------------------------------------


def read_usage(source: Mapping[str, Json]) -> Usage:
    """Tokens of the whole prompt including the template, as LiteLLM counts. Billed tokens are in `extra["billed_units"]`."""
    tokens = source.get("tokens")
    tokens = tokens if isinstance(tokens, Mapping) else {}
    given, written = count(tokens.get("input_tokens")), count(tokens.get("output_tokens"))
    cached = count(source.get("cached_tokens"))
    extra = rest(source, frozenset({"tokens", "cached_tokens"}))
    if kept := {name: value for name, value in tokens.items() if not (name in _TOKENS and count(value))}:
        extra["tokens"] = kept
    if "cached_tokens" in source and (not cached or cached > given):
        extra["cached_tokens"] = source["cached_tokens"]
    return Usage(
        input=given,
        output=written,
        total=given + written,
        cached=min(cached, given),
        reasoning=count(tokens.get("reasoning_tokens")),
        extra=extra,
    )


_TOKENS: Final = {"input_tokens": "input", "output_tokens": "output", "reasoning_tokens": "reasoning"}


def write_usage(usage: Usage) -> dict[str, Json]:
    counted = {name: getattr(usage, ours) or None for name, ours in _TOKENS.items()}
    usual = {} if "billed_units" in usage.extra else {"input_tokens": 0, "output_tokens": 0}
    kept = usage.extra.get("tokens")
    tokens = merged(usual, kept if isinstance(kept, Mapping) else {}, counted)
    cached = None if "cached_tokens" in usage.extra else usage.cached or None
    return merged({}, usage.extra, {"tokens": tokens or None, "cached_tokens": cached})


# ---- citations and log probabilities -----------------------------------------------------------------------------------------------


def annotated(citations: Json) -> dict[str, Json]:
    """Cohere's citations in OpenAI's format, one for each document. A document without a URL gets its id as the URL, as in LiteLLM."""
    made = [
        {
            "type": "url_citation",
            "url_citation": {
                "start_index": count(citation.get("start")),
                "end_index": count(citation.get("end")),
                "title": _word(document.get("title")),
                "url": _word(document.get("url")) or _word(source.get("url")) or f"source:{_word(source.get('id'))}",
            },
        }
        for citation in _objects(citations)
        for source in _objects(citation.get("sources"))
        if isinstance(document := source.get("document"), Mapping)
    ]
    return {ANNOTATIONS: made} if made else {}


def _objects(value: Json) -> list[Mapping[str, Json]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _word(value: Json) -> str:
    return value if isinstance(value, str) else ""


def read_logprobs(value: Json) -> Json:
    """OpenAI-format log probabilities; None if there are none.

    Cohere gives spans of several tokens: each span gets their sum, and keeps them.
    """
    content = [read_logprob(item) for item in _objects(value)]
    return {"content": content} if content else None


def read_logprob(item: Mapping[str, Json]) -> dict[str, Json]:
    text, parts = _word(item.get("text")), item.get("logprobs")
    numbers = [part for part in parts if isinstance(part, int | float)] if isinstance(parts, list) else []
    made = {"token": text, "logprob": sum(numbers), "bytes": list(text.encode("utf-8", "surrogatepass")), "top_logprobs": []}
    return {**item, **made}


def write_logprobs(value: Json) -> Json:
    """OpenAI's log probabilities in Cohere's format; None for any other value."""
    tokens = _objects(value.get("content")) if isinstance(value, Mapping) else []
    return [_write_logprob(token) for token in tokens] or None


def _write_logprob(token: Mapping[str, Json]) -> dict[str, Json]:
    kept = {name: item for name, item in token.items() if name not in ("token", "logprob", "bytes", "top_logprobs")}
    return {"text": token.get("token", ""), "token_ids": [], "logprobs": [token.get("logprob", 0)], **kept}

"""Responses and usage between Gemini and the hub."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from msgspec import UNSET

from headrace.dialects.call_ids import Turn
from headrace.dialects.citations import ANNOTATIONS
from headrace.dialects.fields import bad, count, items, merged, obj, rest, whole
from headrace.dialects.gemini.names import camel, ours
from headrace.dialects.gemini.notes import SOURCES, citations, grounded, images, read_logprobs, write_logprobs
from headrace.dialects.gemini.parts import ROLE, read_parts, write_part
from headrace.types import ChatResponse, Choice, Extra, FinishReason, Image, Json, Message, Other, Part, Usage

FINISHES: Final[Mapping[str, FinishReason]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "MALFORMED_FUNCTION_CALL": "error",
    "MALFORMED_RESPONSE": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
}
"""Google's finish reasons (ai.google.dev/api/generate-content, read 2026-11), and their meaning."""

_NUMBERS: Final = ("", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER")
"""Finish reasons by number, for Vertex AI with `enum-encoding=int`, as far as its numbers match the Gemini API's."""

_WORDS: Final[Mapping[FinishReason, str]] = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "pause": "STOP",
    "error": "OTHER",
    "other": "OTHER",
}

BLOCKED: Final[Extra] = {"candidates": UNSET}
"""Marks a choice without a candidate: the prompt was blocked."""

_KNOWN: Final = frozenset({"candidates", "responseId", "modelVersion", "usageMetadata"})
_USUAL: Final[Mapping[str, Json]] = {"candidates": []}
_CANDIDATE: Final = frozenset({"content", "finishReason", "index"})
_CANDIDATE_USUAL: Final[Mapping[str, Json]] = {"content": UNSET, "index": 0}
_CONTENT: Final = frozenset({"parts", "role"})

NOTES: Final = (ANNOTATIONS, "images")
"""Message fields that repeat Gemini's own data in OpenAI's format."""


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def is_answer(body: Mapping[str, Json]) -> bool:
    return isinstance(body.get("candidates"), list) or any(
        isinstance(body.get(name), Mapping) for name in ("promptFeedback", "usageMetadata")
    )


def read_response(body: Mapping[str, Json]) -> ChatResponse:
    """Raises BadRequestError for a body that is not a Gemini response."""
    body = camel(body)
    if not is_answer(body):
        raise bad("the body", "an object with candidates", body)
    id_, usage = text(body.get("responseId")), body.get("usageMetadata")
    candidates = items(body.get("candidates"), "candidates")
    choices = [_read_candidate(candidate, f"candidates[{place}]", id_, place) for place, candidate in enumerate(candidates)]
    return ChatResponse(
        id=id_,
        model=text(body.get("modelVersion")),
        created=created(body.get("createTime")),
        choices=tuple(choices) or _blocked(body),
        usage=read_usage(usage) if isinstance(usage, Mapping) and usage else None,
        extra=rest(body, _KNOWN, _USUAL),
    )


def text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def created(value: Json) -> int:
    """Epoch seconds of Vertex AI's `createTime`."""
    try:
        return int(datetime.fromisoformat(value).timestamp()) if isinstance(value, str) else 0
    except (ValueError, OverflowError):
        return 0


def _blocked(body: Mapping[str, Json]) -> tuple[Choice, ...]:
    """A choice for a blocked prompt, which has no candidates, so that the caller can see the reason."""
    reason = block_reason(body)
    if reason is None:
        return ()
    return (Choice(index=0, message=Message(role="assistant"), finish="content_filter", native_finish=reason, extra=BLOCKED),)


def block_reason(body: Mapping[str, Json]) -> str | None:
    feedback = body.get("promptFeedback")
    reason = camel(feedback).get("blockReason") if isinstance(feedback, Mapping) else None
    return str(reason) if reason else None


def _read_candidate(value: Json, at: str, id_: str, place: int) -> Choice:
    candidate = camel(obj(value, at))
    content = candidate.get("content")
    source: Mapping[str, Json] = obj(content, f"{at}.content") if content is not None else {}
    parts = tuple([as_answered(part) for part in read_parts(source.get("parts"), f"{at}.content.parts", Turn(id_))])
    message_extra = rest(source, _CONTENT, {"parts": []}, exact=_CONTENT) if source else {}
    if source and source.get("role") != "model":
        message_extra[ROLE] = source.get("role", UNSET)
    message_extra |= citations(candidate, parts) | images(parts)
    message = Message(role="assistant", content=parts, extra=message_extra)
    finish, native, end = read_finish(candidate.get("finishReason"), called=bool(message.tool_calls))
    index = whole(candidate.get("index"), f"{at}.index")
    return Choice(
        index=place if index is None else index,
        message=message,
        finish=finish,
        native_finish=native,
        logprobs=read_logprobs(candidate.get("logprobsResult")),
        extra={**rest(candidate, _CANDIDATE, _CANDIDATE_USUAL), **end},
    )


def as_answered(part: Part) -> Part:
    """Images generated by a model are kept as Gemini's parts, as in a stream; `images` has them in OpenAI's format."""
    return (
        Other(type=next(iter(wire), ""), extra=wire) if isinstance(part, Image) and (wire := write_part(part, "", foreign=False)) else part
    )


def read_finish(word: Json, *, called: bool) -> tuple[FinishReason | None, str | None, dict[str, Json]]:
    """The finish reason, the native one if it is not the usual one for it, and fields to keep an unknown one."""
    if word is None:
        return None, None, {}
    if not isinstance(word, str):
        known = _NUMBERS[word] if isinstance(word, int) and 0 < word < len(_NUMBERS) else ""
        finish, _, _ = read_finish(known or "OTHER", called=called)
        return finish, None, {"finishReason": word}
    finish = FINISHES.get(word, "other")
    if called and finish in ("stop", "other", "error"):
        finish = "tool_calls"
    extra: dict[str, Json] = {"finishReason": word} if word not in FINISHES and word != "OTHER" else {}
    return finish, word if word != _WORDS[finish] else None, extra


_USAGE: Final = frozenset({
    "promptTokenCount", "candidatesTokenCount", "totalTokenCount", "cachedContentTokenCount", "thoughtsTokenCount",
})  # fmt: skip
_USAGE_USUAL: Final[Mapping[str, Json]] = {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0}
_SOMETIMES: Final = ("cachedContentTokenCount", "thoughtsTokenCount")


def read_usage(source: Mapping[str, Json]) -> Usage:
    """Token counts by OpenAI's definition.

    Gemini counts thoughts separately from the output, and tool input separately from the prompt.
    """
    counted = source.get
    given, answered, total = count(counted("promptTokenCount")), count(counted("candidatesTokenCount")), count(counted("totalTokenCount"))
    cached, thought = count(counted("cachedContentTokenCount")), count(counted("thoughtsTokenCount"))
    fed = count(counted("toolUsePromptTokenCount"))
    extra = rest(source, _USAGE, _USAGE_USUAL)
    extra |= {name: 0 for name in _SOMETIMES if source.get(name) == 0}
    return Usage(
        input=given + fed,
        output=answered + thought,
        total=total or given + fed + answered + thought,
        cached=cached,
        reasoning=thought,
        audio_input=of_sound(source.get("promptTokensDetails")),
        audio_output=of_sound(source.get("candidatesTokensDetails")),
        extra=extra,
    )


def of_sound(details: Json) -> int:
    """Audio tokens in the details by modality."""
    heard = 0
    for detail in details if isinstance(details, list) else ():
        if type(detail) is dict and detail.get("modality") == "AUDIO":
            heard += count(detail.get("tokenCount"))
    return heard


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_response(response: ChatResponse) -> dict[str, Json]:
    candidates = [write_choice(choice) for choice in response.choices if choice.extra.get("candidates") is not UNSET]
    said: dict[str, Json] = {
        "candidates": candidates or None,
        "responseId": response.id or None,
        "modelVersion": response.model or None,
        "usageMetadata": None if response.usage is None else write_usage(response.usage),
    }
    return merged(_USUAL, ours(response.extra), said)


def write_choice(choice: Choice) -> dict[str, Json]:
    message_extra = {name: value for name, value in ours(choice.message.extra).items() if name not in NOTES}
    role = message_extra.pop(ROLE, "model")
    parts = [write_part(part, f"parts[{index}]", foreign=False) for index, part in enumerate(_ours(choice.message.content))]
    content = merged({"parts": [], "role": role}, message_extra, {"parts": parts or None})
    extra = ours(choice.extra)
    said: dict[str, Json] = {"content": content, "index": None if "index" in extra else choice.index}
    if not parts and not message_extra and role == "model" and "content" in extra:
        said["content"] = None  # there was no content, or it was empty
    if choice.logprobs and "logprobsResult" not in extra:
        said["logprobsResult"] = write_logprobs(choice.logprobs)
    if not extra.keys() & SOURCES:
        said["groundingMetadata"] = grounded(choice.message.extra.get(ANNOTATIONS), choice.message.text)
    return merged({"content": {}, **write_finish(choice.finish, choice.native_finish), "index": 0}, extra, said)


def _ours(parts: tuple[Part, ...]) -> list[Part]:
    """Parts without those only another provider can read: encrypted thinking, and that provider's own blocks."""
    return [part for part in parts if not _hidden(part) and (not isinstance(part, Other) or "type" not in part.extra)]


def _hidden(part: Part) -> bool:
    return getattr(part, "data", None) is not None and not getattr(part, "text", "x")


def write_finish(finish: FinishReason | None, native: str | None) -> dict[str, Json]:
    """The native finish reason if it is one of Google's, otherwise the equivalent one."""
    if finish is None:
        return {}
    return {"finishReason": native if native in FINISHES or native == "OTHER" else _WORDS[finish]}


def write_usage(usage: Usage) -> dict[str, Json]:
    """Counts by Gemini's definition."""
    extra = ours(usage.extra)
    fed = count(extra.get("toolUsePromptTokenCount"))
    said: dict[str, Any] = {
        "promptTokenCount": max(0, usage.input - fed) or None,
        "candidatesTokenCount": max(0, usage.output - usage.reasoning) or None,
        "cachedContentTokenCount": usage.cached or None,
        "thoughtsTokenCount": usage.reasoning or None,
    }
    if "totalTokenCount" not in extra:
        said["totalTokenCount"] = usage.total or usage.input + usage.output
    for name, heard in (("promptTokensDetails", usage.audio_input), ("candidatesTokensDetails", usage.audio_output)):
        if heard and name not in extra:
            said[name] = [{"modality": "AUDIO", "tokenCount": heard}]
    return merged(_USAGE_USUAL, extra, said)

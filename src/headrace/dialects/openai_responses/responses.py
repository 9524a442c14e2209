"""Answers between OpenAI's Responses and the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace.dialects.failures import read_error_inside
from headrace.dialects.fields import items, merged, obj, rest
from headrace.dialects.openai_responses.items import Items, read_item
from headrace.errors import error_of
from headrace.types import ChatResponse, Choice, FinishReason, Json, Message, Part, Text, ToolCall, Usage

_KNOWN: Final = frozenset({"id", "object", "created_at", "model", "output", "usage"})
USUAL: Final[Mapping[str, Json]] = {
    "object": "response", "error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "parallel_tool_calls": True,
    "temperature": None, "tool_choice": "auto", "tools": [], "top_p": None,
}  # fmt: skip
"""What every response says; the official clients insist on it."""

_USAGE: Final = frozenset({"input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "output_tokens_details"})
_INPUT: Final[Mapping[str, str]] = {"cached": "cached_tokens", "cache_write": "cache_write_tokens", "audio_input": "audio_tokens"}
_OUTPUT: Final[Mapping[str, str]] = {"reasoning": "reasoning_tokens", "audio_output": "audio_tokens"}

INCOMPLETE: Final[Mapping[str, FinishReason]] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_REASONS: Final[Mapping[str, str]] = {finish: reason for reason, finish in INCOMPLETE.items()}


def read_response(body: Mapping[str, Json], *, provider: str, model: str) -> ChatResponse:
    """Raises BadRequestError for what is none, and the error that a failed response tells."""
    body = obj(body, "the response")
    if body.get("status") == "failed" or (body.get("error") and not body.get("output")):
        raise error_of(read_error_inside({"error": body.get("error") or "the response failed"}, provider=provider, model=model))
    parts: list[Part] = []
    for index, item in enumerate(items(body.get("output"), "output")):
        parts += read_item(obj(item, f"output[{index}]"), f"output[{index}]")
    finish = read_finish(body, called=any(isinstance(part, ToolCall) for part in parts))
    usage = body.get("usage")
    choice = Choice(index=0, message=Message(role="assistant", content=tuple(parts)), finish=finish, logprobs=read_logprobs(parts))
    created = body.get("created_at")
    return ChatResponse(
        id=str(body.get("id") or ""),
        model=str(body.get("model") or ""),
        created=int(created) if isinstance(created, int | float) and not isinstance(created, bool) else 0,
        choices=(choice,),
        usage=read_usage(usage) if isinstance(usage, Mapping) else None,
        extra=kept(body),
    )


def kept(body: Mapping[str, Json]) -> dict[str, Json]:
    extra: dict[str, Json] = rest(body, _KNOWN, USUAL)
    if isinstance(body.get("created_at"), float):
        extra["created_at"] = body["created_at"]
    return extra


def read_finish(body: Mapping[str, Json], *, called: bool) -> FinishReason | None:
    """Why it ended, from its status; None while it is still in the making."""
    match body.get("status"):
        case "completed" | None:
            return "tool_calls" if called else "stop"
        case "incomplete":
            details = body.get("incomplete_details")
            reason = details.get("reason") if isinstance(details, Mapping) else None
            return INCOMPLETE.get(reason, "other") if isinstance(reason, str) else "other"
        case "cancelled" | "failed":
            return "error"
    return None


def read_logprobs(parts: list[Part]) -> Json:
    """Those of all texts, in the shape of Chat Completions."""
    found = [probability for part in parts if isinstance(part, Text) for probability in part.extra.get("logprobs") or ()]
    return {"content": found} if found else None


def read_usage(source: Mapping[str, Json]) -> Usage:
    before, after = _details(source, "input_tokens_details"), _details(source, "output_tokens_details")
    given, written, total = (_count(source.get(f"{name}_tokens")) for name in ("input", "output", "total"))
    extra: dict[str, Any] = dict(rest(source, _USAGE))
    for name, details, fields in (("input_tokens_details", before, _INPUT), ("output_tokens_details", after, _OUTPUT)):
        kept = {field: value for field, value in details.items() if field not in fields.values() or not _count(value)}
        if kept or (name in source and not details):
            extra[name] = kept if name in source and source[name] is not None else None
    return Usage(
        input=given,
        output=written,
        total=total or given + written,
        **{field: _count(before.get(name)) for field, name in _INPUT.items()},
        **{field: _count(after.get(name)) for field, name in _OUTPUT.items()},
        extra=extra,
    )


def _details(source: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    details = source.get(name)
    return details if isinstance(details, Mapping) else {}


def _count(value: Json) -> int:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 0


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_response(response: ChatResponse) -> dict[str, Json]:
    """The first choice: Responses has no other."""
    choice = response.choices[0] if response.choices else None
    extra = {name: value for name, value in response.extra.items() if name != "choices"}
    foreign = "status" not in extra and "parallel_tool_calls" not in extra and "output" not in extra
    writer = Items(answering=response.id.removeprefix("resp_") or "0")
    output = [] if choice is None else list(writer.of_model(choice.message.content, "output"))
    said: dict[str, Json] = {
        "id": response.id or None,
        "created_at": None if "created_at" in extra else response.created,
        "model": response.model or None,
        "usage": None if response.usage is None else write_usage(response.usage),
        **({} if "status" in extra else write_status(None if choice is None else choice.finish)),
    }
    usual = {"id": "", "created_at": 0, "model": "", **({"usage": None} if foreign else {}), **USUAL}
    return merged(usual, extra, said) | {"output": output}


def write_status(finish: FinishReason | None) -> dict[str, Json]:
    if finish is None:
        return {"status": "in_progress"}
    if finish in _REASONS:
        return {"status": "incomplete", "incomplete_details": {"reason": _REASONS[finish]}}
    return {"status": "completed"}


def write_usage(usage: Usage) -> dict[str, Json]:
    """Every count has a place here, also where it is zero."""
    said: dict[str, Json] = {"input_tokens": usage.input, "output_tokens": usage.output}
    said["total_tokens"] = usage.total or usage.input + usage.output
    own = "input_tokens_details" in usage.extra or "output_tokens_details" in usage.extra
    for name, fields, least in (("input_tokens_details", _INPUT, "cached_tokens"), ("output_tokens_details", _OUTPUT, "reasoning_tokens")):
        counted = {field: count for unit, field in fields.items() if (count := getattr(usage, unit))}
        kept = usage.extra.get(name)
        if counted or not own:
            said[name] = {**({} if own else {least: 0}), **(kept if isinstance(kept, Mapping) else {}), **counted}
    known = {name: value for name, value in usage.extra.items() if name in _USAGE or not name.startswith(("prompt_", "completion_"))}
    return merged({}, known, said)

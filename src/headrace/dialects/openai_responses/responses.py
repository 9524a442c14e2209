"""Responses and usage between OpenAI's Responses and the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import UNSET

from headrace.dialects.failures import read_error_inside
from headrace.dialects.fields import OWN, count, items, merged, obj, rest
from headrace.dialects.openai_responses.items import read_item
from headrace.dialects.openai_responses.names import is_item, own
from headrace.dialects.openai_responses.turns import Items
from headrace.errors import error_of
from headrace.types import ChatResponse, Choice, FinishReason, Json, Message, Other, Part, Text, ToolCall, Usage

_KNOWN: Final = frozenset({"id", "created_at", "model", "output", "usage"})
USUAL: Final[Mapping[str, Json]] = {
    "object": "response", "error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "parallel_tool_calls": True,
    "temperature": None, "tool_choice": "auto", "tools": [], "top_p": None,
}  # fmt: skip
"""Fields of every response; the official clients require them."""

_USAGE: Final = frozenset({"input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "output_tokens_details"})
_INPUT: Final[Mapping[str, str]] = {"cached": "cached_tokens", "cache_write": "cache_write_tokens", "audio_input": "audio_tokens"}
_LEAST_INPUT: Final = {"cached_tokens": 0, "cache_write_tokens": 0}
_LEAST_OUTPUT: Final = {"reasoning_tokens": 0}
_OUTPUT: Final[Mapping[str, str]] = {"reasoning": "reasoning_tokens", "audio_output": "audio_tokens"}

INCOMPLETE: Final[Mapping[str, FinishReason]] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_REASONS: Final[Mapping[str, str]] = {finish: reason for reason, finish in INCOMPLETE.items()}


def read_response(body: Mapping[str, Json], *, provider: str, model: str) -> ChatResponse:
    """Raises BadRequestError for a body that is not a response, and the error of a failed response."""
    body = obj(body, "the response")
    if body.get("status") == "failed" or (body.get("error") and not body.get("output")):
        raise error_of(read_error_inside({"error": body.get("error") or "the response failed"}, provider=provider, model=model))
    parts: list[Part] = []
    for index, item in enumerate(items(body.get("output"), "output")):
        parts += read_item(obj(item, f"output[{index}]"), f"output[{index}]")
    finish = read_finish(body, called=any(isinstance(part, ToolCall) for part in parts))
    usage = body.get("usage")
    choice = Choice(index=0, message=Message(role="assistant", content=tuple(parts)), finish=finish, logprobs=read_logprobs(parts))
    return ChatResponse(
        id=str(body.get("id") or ""),
        model=str(body.get("model") or ""),
        created=count(body.get("created_at")),
        choices=(choice,),
        usage=read_usage(usage) if isinstance(usage, Mapping) else None,
        extra=kept(body),
    )


def kept(body: Mapping[str, Json]) -> dict[str, Json]:
    """Other fields of a response, most of which echo the request. They are this dialect's own."""
    mine: dict[str, Json] = rest(body, _KNOWN, USUAL)
    if isinstance(body.get("created_at"), float):
        mine["created_at"] = body["created_at"]
    if "status" not in body:
        mine["status"] = UNSET
    return {OWN: mine, **({"service_tier": body["service_tier"]} if body.get("service_tier") else {})}


def read_finish(body: Mapping[str, Json], *, called: bool) -> FinishReason | None:
    """The finish reason, from the status; None while the response is incomplete."""
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
    """Log probabilities of all texts, in Chat Completions' format; None if there are none."""
    told = [own(part.extra).get("logprobs") for part in parts if isinstance(part, Text)]
    found = [probability for each in told if isinstance(each, list) for probability in each]
    return {"content": found} if found else None


def read_usage(source: Mapping[str, Json]) -> Usage:
    before, after = _details(source, "input_tokens_details"), _details(source, "output_tokens_details")
    given, written, total = count(source.get("input_tokens")), count(source.get("output_tokens")), count(source.get("total_tokens"))
    extra: dict[str, Any] = dict(rest(source, _USAGE))
    mine: dict[str, Json] = {}
    for name, details, fields in (("input_tokens_details", before, _INPUT), ("output_tokens_details", after, _OUTPUT)):
        if name in source:
            left = {field: value for field, value in details.items() if field not in fields.values() or not count(value)}
            mine[name] = None if source[name] is None else left
    extra[OWN] = mine
    return Usage(
        input=given,
        output=written,
        total=total or given + written,
        **{field: count(before.get(name)) for field, name in _INPUT.items()},
        **{field: count(after.get(name)) for field, name in _OUTPUT.items()},
        extra=extra,
    )


def _details(source: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    details = source.get(name)
    return details if isinstance(details, Mapping) else {}


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_response(response: ChatResponse) -> dict[str, Json]:
    """The response, from the first choice: Responses has only one."""
    choice = response.choices[0] if response.choices else None
    mine = own(response.extra)
    writer = Items(answering=response.id.removeprefix("resp_") or "0")
    output = [] if choice is None else list(writer.of_model(_sayable(choice.message, mine), "output"))
    return write_around(response, None if choice is None else choice.finish) | {"output": output}


def write_around(response: ChatResponse, finish: FinishReason | None) -> dict[str, Json]:
    """A response without its output."""
    mine = own(response.extra)
    said: dict[str, Json] = {
        "id": response.id or None,
        "created_at": None if "created_at" in mine else response.created,
        "model": response.model or None,
        "usage": None if response.usage is None else write_usage(response.usage),
        **({} if "status" in mine else write_status(finish)),
    }
    usual = {"id": "", "created_at": 0, "model": "", **({} if mine else {"usage": None}), **USUAL}
    tier = {"service_tier": response.extra["service_tier"]} if response.extra.get("service_tier") else {}
    return merged(usual, {**mine, **tier}, said)


def _sayable(message: Message, mine: Mapping[str, Json]) -> list[Part]:
    """The parts without blocks of other dialects, which are not items here. `mine` is only non-empty for this dialect's own responses."""
    return [part for part in message.content if mine or not isinstance(part, Other) or is_item(part.extra)]


def write_status(finish: FinishReason | None) -> dict[str, Json]:
    if finish is None:
        return {"status": "in_progress"}
    if finish in _REASONS:
        return {"status": "incomplete", "incomplete_details": {"reason": _REASONS[finish]}}
    return {"status": "completed"}


def write_usage(usage: Usage) -> dict[str, Json]:
    """Token counts. Counts of zero are written too."""
    said: dict[str, Json] = {"input_tokens": usage.input, "output_tokens": usage.output}
    said["total_tokens"] = usage.total or usage.input + usage.output
    for name, fields, least in (("input_tokens_details", _INPUT, _LEAST_INPUT), ("output_tokens_details", _OUTPUT, _LEAST_OUTPUT)):
        counted = {field: count for unit, field in fields.items() if (count := getattr(usage, unit))}
        said[name] = _details_of(usage, name, least, counted)
    known = {name: value for name, value in usage.extra.items() if not name.startswith(("prompt_", "completion_"))}
    return merged({}, known, {name: value for name, value in said.items() if value is not UNSET})


def _details_of(usage: Usage, name: str, least: Mapping[str, int], counted: Mapping[str, int]) -> Json:
    """Token details as received; for another dialect's usage, every count that has a field here."""
    if OWN not in usage.extra:
        return {**least, **counted}
    mine = usage.extra[OWN]
    if name not in mine:
        return dict(counted) or UNSET
    return mine[name] if mine[name] is None and not counted else {**(mine[name] or {}), **counted}

"""Requests between Cohere's v2 Chat and the hub (docs.cohere.com/v2/reference/chat, read 2026-11)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import UNSET

from headrace.dialects.base import Target
from headrace.dialects.cohere.messages import read_message, write_message
from headrace.dialects.fields import bad, flag, items, merged, number, obj, rest, sent, string, whole
from headrace.dialects.foreign import in_common
from headrace.dialects.openai_chat.requests import read_tool, write_tool
from headrace.errors import BadRequestError
from headrace.types import ChatRequest, Json, ResponseFormat, Tool, ToolChoice
from headrace.wire import HttpRequest

_PLAIN: Final = (
    ("max_tokens", "max_tokens", whole), ("temperature", "temperature", number), ("p", "top_p", number), ("k", "top_k", whole),
    ("seed", "seed", whole), ("presence_penalty", "presence_penalty", number), ("frequency_penalty", "frequency_penalty", number),
    ("logprobs", "logprobs", flag),
)  # fmt: skip
"""Cohere's name, the hub's name, and the type check."""

_KNOWN: Final = frozenset({
    "model", "messages", "tools", "tool_choice", "response_format", "stop_sequences", "stream", "thinking",
    *(name for name, _, _ in _PLAIN),
})  # fmt: skip

_CHOICES: Final[Mapping[str, ToolChoice]] = {"REQUIRED": ToolChoice(mode="required"), "NONE": ToolChoice(mode="none")}


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_request(body: Mapping[str, Json]) -> ChatRequest:
    """The caller's request. Raises BadRequestError that names the field and the shape of its value."""
    body = obj(body, "the body")
    messages = items(body.get("messages"), "messages")
    if not messages:
        raise bad("messages", "a non-empty list of messages", body.get("messages"))
    extra = rest(body, _KNOWN, exact=frozenset({"model"}))
    stream = flag(body.get("stream"), "stream") or False
    request: dict[str, Any] = {ours: check(body.get(name), name) for name, ours, check in _PLAIN}
    request |= {
        "model": string(body.get("model"), "model"),
        "messages": tuple([read_message(message, f"messages[{index}]") for index, message in enumerate(messages)]),
        "tools": tuple([read_tool(tool, f"tools[{index}]") for index, tool in enumerate(items(body.get("tools"), "tools"))]),
        "tool_choice": _read_choice(body.get("tool_choice"), extra),
        "response_format": _read_format(body.get("response_format"), extra),
        "stop": tuple([string(text, f"stop_sequences[{i}]") for i, text in enumerate(items(body.get("stop_sequences"), "stop_sequences"))]),
        "stream": stream,
        "include_usage": stream,
        **_read_thinking(body.get("thinking"), extra),
    }
    return ChatRequest(**request, extra=extra)


def _read_choice(choice: Json, extra: dict[str, Json]) -> ToolChoice | None:
    if choice is not None and (not isinstance(choice, str) or choice not in _CHOICES):
        extra["tool_choice"] = choice
        return None
    return None if choice is None else _CHOICES[choice]


def _read_format(value: Json, extra: dict[str, Json]) -> ResponseFormat | None:
    if value is None:
        return None
    format_ = obj(value, "response_format")
    kind, word = format_.get("type"), "schema" if "schema" in format_ else "json_schema"  # LangChain sends v1's `schema`
    if kind == "json_object" and (schema := format_.get(word)):
        kept = rest(format_, frozenset({"type", word})) | ({"schema": schema} if word == "schema" else {})
        return ResponseFormat(type="json_schema", name="output", schema=schema, extra=kept)
    if kind in ("text", "json_object"):
        return ResponseFormat(type=kind, extra=rest(format_, frozenset({"type"})))
    extra["response_format"] = value
    return None


def _read_thinking(value: Json, extra: dict[str, Json]) -> dict[str, Any]:
    """Thinking disabled or a budget; any other setting is kept in `extra`."""
    match value:
        case None:
            return {}
        case {"type": "disabled", **kept} if not kept:
            return {"effort": "none"}
        case {"type": "enabled", "token_budget": int(budget), **kept} if not kept and budget > 0:
            return {"thinking_budget": budget}
    extra["thinking"] = obj(value, "thinking")
    return {}


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_request(request: ChatRequest, target: Target) -> HttpRequest:
    """The request to `target`, whose model and headers replace the caller's."""
    body = write_body(in_common(request, target.source, "cohere"), target.model, foreign=bool(target.source))
    return posted(target, "chat", body)


def posted(target: Target, endpoint: str, body: Mapping[str, Json]) -> HttpRequest:
    headers = target.headers
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers = (("content-type", "application/json"), *headers)
    return HttpRequest("POST", f"{target.base_url.rstrip('/')}/{endpoint}", headers, sent(body))


def write_body(request: ChatRequest, model: str, *, foreign: bool) -> dict[str, Json]:
    """foreign: the request was read from another dialect, whose own fields are not sent."""
    extra = _foreign_extra(request) if foreign else dict(request.extra)
    choice = request.tool_choice
    tools = request.tools
    if choice is not None and choice.mode == "tool":  # Cohere cannot force a particular tool, so it is sent no other
        tools = tuple([tool for tool in tools if tool.name == choice.name])
    said: dict[str, Json] = {
        "model": model,
        "messages": [write_message(it, f"messages[{index}]", foreign=foreign) for index, it in enumerate(request.messages)],
        **{name: getattr(request, ours) for name, ours, _ in _PLAIN},
        "tools": [_write_tool(tool, f"tools[{index}]", foreign=foreign) for index, tool in enumerate(tools)] or None,
        "tool_choice": None if choice is None or choice.mode == "auto" else "NONE" if choice.mode == "none" else "REQUIRED",
        "response_format": None if request.response_format is None else _write_format(request.response_format, foreign=foreign),
        "stop_sequences": list(request.stop) or None,
        "thinking": _write_thinking(request),
        "stream": request.stream or None,
    }
    if foreign and not request.messages:
        raise BadRequestError("messages: Cohere requires at least one: a prompt stored by another provider cannot be used", model)
    if foreign and any(tool.strict for tool in tools):
        extra.setdefault("strict_tools", True)
    if foreign and not tools:
        said["tool_choice"] = None
    return merged({}, extra, said)


def _write_tool(tool: Tool, at: str, *, foreign: bool) -> dict[str, Json]:
    if not foreign:
        return write_tool(tool)
    if tool.type != "function":
        raise BadRequestError(f"{at}: Cohere has no tool of type {tool.type!r}: use a function")
    parameters = tool.parameters or {"type": "object", "properties": {}}
    return write_tool(Tool(name=tool.name, description=tool.description, parameters=parameters))


def _write_format(format_: ResponseFormat, *, foreign: bool) -> dict[str, Json]:
    extra = {} if foreign else format_.extra
    if format_.type != "json_schema":
        return {"type": format_.type, **extra}
    return {"type": "json_object", "json_schema": format_.schema or {}, **extra}


BUDGETS: Final[Mapping[str, int]] = {"minimal": 512, "low": 1024, "medium": 4096}
"""Thinking budget in tokens for each effort. Higher efforts have no budget, which is the model's default."""


def _write_thinking(request: ChatRequest) -> dict[str, Json] | None:
    budget = request.thinking_budget
    if budget is None and request.effort is not None and request.effort != "none":
        budget = BUDGETS.get(request.effort)
    if budget:
        return {"type": "enabled", "token_budget": budget}
    if request.effort is None and budget is None:
        return None
    return {"type": "disabled" if budget == 0 or request.effort == "none" else "enabled"}


# ---- parameters of other dialects --------------------------------------------------------------------------------------------------

_HINTS: Final = frozenset({
    "stream_options", "store", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "verbosity", "metadata", "service_tier",
    "reasoning", "max_completion_tokens",
})  # fmt: skip
"""OpenAI's parameters that do not affect the response's meaning; they are not sent."""

_UNSAID: Final = frozenset({
    "logit_bias", "prediction", "functions", "function_call", "modalities", "audio", "web_search_options", "suffix", "echo", "best_of",
    "min_p", "repetition_penalty", "response_format", "tool_choice",
})  # fmt: skip
"""OpenAI's parameters that would change the response."""


def unsaid(request: ChatRequest) -> tuple[str, ...]:
    """The given parameters, by OpenAI's names, that Cohere cannot express. Values that equal the default do not count."""
    asked = {
        "n": request.n not in (None, 1),
        "top_logprobs": bool(request.top_logprobs),
        "parallel_tool_calls": request.parallel_tool_calls is False and bool(request.tools),
        "user": request.user is not None,
        "store": request.extra.get("store") is True,
        "service_tier": request.extra.get("service_tier") not in (None, UNSET, "auto", "default", "standard"),
    }
    asked |= {name: True for name, value in request.extra.items() if name in _UNSAID and value not in (None, UNSET, {}, [])}
    return tuple(name for name, given in asked.items() if given)


def _foreign_extra(request: ChatRequest) -> dict[str, Json]:
    """Cohere's own fields in `extra` (`documents`, `safety_mode`, …), without what only OpenAI defines."""
    kept = {
        name: value
        for name, value in request.extra.items()
        if name not in _HINTS and name not in _UNSAID and value is not None and value is not UNSET
    }
    match kept.get("thinking"):
        case {"type": "enabled", "budget_tokens": int(budget)}:  # Anthropic's format, also LiteLLM's
            kept["thinking"] = {"type": "enabled", "token_budget": budget}
    return kept

"""Requests between OpenAI's Chat Completions and the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from msgspec import UNSET

from headrace.dialects.base import Target
from headrace.dialects.fields import bad, flag, items, merged, number, obj, optional, rest, sent, shape, string, whole
from headrace.dialects.openai_chat.foreign import spoken_here
from headrace.dialects.openai_chat.messages import read_message, write_message
from headrace.errors import BadRequestError
from headrace.types import ChatRequest, Json, ResponseFormat, Tool, ToolChoice
from headrace.wire import HttpRequest

_PLAIN: Final = (
    ("parallel_tool_calls", flag), ("temperature", number), ("top_p", number), ("top_k", whole), ("n", whole), ("seed", whole),
    ("presence_penalty", number), ("frequency_penalty", number), ("logprobs", flag), ("top_logprobs", whole), ("user", optional),
)  # fmt: skip
"""Fields with the same name and meaning in the hub."""

_KNOWN: Final = frozenset({
    "model", "messages", "tools", "tool_choice", "response_format", "max_tokens", "max_completion_tokens", "stop", "reasoning_effort",
    "stream", "stream_options", *(name for name, _ in _PLAIN),
})  # fmt: skip

_EXACT: Final = frozenset({"model", "user", "reasoning_effort"})


def read_request(body: Mapping[str, Json]) -> ChatRequest:
    """The caller's request. Raises BadRequestError that names the field and the shape of its value."""
    body = obj(body, "the body")
    messages = items(body.get("messages"), "messages")
    if not messages:
        raise bad("messages", "a non-empty list of messages", body.get("messages"))
    most = body.get("max_completion_tokens")
    choice, format_, options = body.get("tool_choice"), body.get("response_format"), body.get("stream_options")
    extra = rest(body, _KNOWN, exact=_EXACT)
    request: dict[str, Any] = {name: check(body.get(name), name) for name, check in _PLAIN}
    request |= {
        "model": string(body.get("model"), "model"),
        "messages": tuple([read_message(message, f"messages[{index}]") for index, message in enumerate(messages)]),
        "tools": tuple([read_tool(tool, f"tools[{index}]") for index, tool in enumerate(items(body.get("tools"), "tools"))]),
        "tool_choice": None if choice is None else _read_choice(choice, extra),
        "response_format": None if format_ is None else _read_format(format_, extra),
        "max_tokens": whole(body.get("max_tokens") if most is None else most, "max_tokens" if most is None else "max_completion_tokens"),
        "stop": _read_stop(body.get("stop")),
        "effort": optional(body.get("reasoning_effort"), "reasoning_effort"),
        "stream": flag(body.get("stream"), "stream") or False,
        "include_usage": options is not None and _read_options(options, extra),
    }
    return ChatRequest(**request, extra=extra)


def _read_stop(stop: Json) -> tuple[str, ...]:
    texts = [stop] if isinstance(stop, str) else items(stop, "stop")
    return tuple([string(text, f"stop[{index}]") for index, text in enumerate(texts)])


def _read_options(options: Json, extra: dict[str, Json]) -> bool:
    options = obj(options, "stream_options")
    wanted = options.get("include_usage") is True
    kept = {name: value for name, value in options.items() if name != "include_usage" or not wanted}
    if kept:
        extra["stream_options"] = kept
    return wanted


def read_tool(value: Json, at: str) -> Tool:
    """A function, or a provider's built-in tool. Google's are named by their only field."""
    tool = obj(value, at)
    function = tool.get("function")
    if len(tool) == 1 and function is None and isinstance(next(iter(tool.values())), Mapping):
        return Tool(type=next(iter(tool)), extra={**tool, "type": UNSET})
    if tool.get("type", "function") != "function" or not isinstance(function, Mapping):
        kind = tool.get("type")
        if not isinstance(kind, str) or kind == "function":
            raise bad(f"{at}.function", "an object", function)
        return Tool(type=kind, extra=rest(tool, frozenset({"type"})))
    known = frozenset({"name", "description", "parameters", "strict"})
    extra = rest(tool, frozenset({"type", "function"}), {"type": "function"})
    if inner := rest(function, known, exact=frozenset({"name"})):
        extra["function"] = inner
    return Tool(
        name=string(function.get("name"), f"{at}.function.name"),
        description=optional(function.get("description"), f"{at}.function.description") or None,
        parameters=function.get("parameters") or None,
        strict=flag(function.get("strict"), f"{at}.function.strict"),
        extra=extra,
    )


_MODES: Final[Mapping[str, str]] = {"auto": "auto", "none": "none", "required": "required", "any": "required"}


def _read_choice(choice: Json, extra: dict[str, Json]) -> ToolChoice | None:
    match choice:
        case str() if choice in _MODES:
            return ToolChoice(mode=cast("Any", _MODES[choice]))
        case {"function": {"name": str(name)} as function} if choice.get("type") in (None, "function", "tool"):
            kept = rest(choice, frozenset({"type", "function"}))
            inner = rest(function, frozenset({"name"}), exact=frozenset({"name"}))
            return ToolChoice(mode="tool", name=name, extra={**kept, "function": inner} if inner else kept)
        case {"type": str()}:  # allowed_tools, custom: only this dialect has them
            extra["tool_choice"] = choice
            return None
    raise BadRequestError(f"tool_choice must be auto, none, required or an object that names a function, got {shape(choice)}")


def _read_format(value: Json, extra: dict[str, Json]) -> ResponseFormat | None:
    format_ = obj(value, "response_format")
    kind = format_.get("type")
    if kind in ("text", "json_object"):
        return ResponseFormat(type=kind, extra=rest(format_, frozenset({"type"})))
    if kind != "json_schema":
        extra["response_format"] = value
        return None
    schema = obj(format_.get("json_schema"), "response_format.json_schema")
    kept = dict(rest(format_, frozenset({"type", "json_schema"})))
    if inner := rest(schema, frozenset({"name", "schema", "strict", "description"}), exact=frozenset({"name"})):
        kept["json_schema"] = inner
    return ResponseFormat(
        type="json_schema",
        name=optional(schema.get("name"), "response_format.json_schema.name") or "",
        schema=schema.get("schema") or None,
        strict=flag(schema.get("strict"), "response_format.json_schema.strict"),
        description=optional(schema.get("description"), "response_format.json_schema.description") or None,
        extra=kept,
    )


def write_request(request: ChatRequest, target: Target) -> HttpRequest:
    """The request to `target`, whose model and headers replace the caller's."""
    body = write_body(spoken_here(request, target.provider, target.source) if target.source else request, target.model)
    headers = target.headers
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers = (("content-type", "application/json"), *headers)
    return HttpRequest("POST", f"{target.base_url}/chat/completions", headers, sent(body))


def write_body(request: ChatRequest, model: str) -> dict[str, Json]:
    said: dict[str, Json] = {"model": model, "messages": [written for message in request.messages for written in write_message(message)]}
    said |= {name: getattr(request, name) for name, _ in _PLAIN}
    said |= {
        "tools": [write_tool(tool) for tool in request.tools] or None,
        "tool_choice": None if request.tool_choice is None else _write_choice(request.tool_choice),
        "response_format": None if request.response_format is None else _write_format(request.response_format),
        "max_tokens": request.max_tokens,
        "stop": list(request.stop) or None,
        "reasoning_effort": request.effort or _effort(request.thinking_budget),
        "stream": request.stream or None,
    }
    if request.include_usage:
        said["stream_options"] = {**(request.extra.get("stream_options") or {}), "include_usage": True}
    return merged({}, request.extra, said)


def _effort(budget: int | None) -> str | None:
    """The effort closest to a thinking budget in tokens: OpenAI has named efforts only."""
    if budget is None:
        return None
    return "none" if budget == 0 else "low" if 0 < budget <= 2048 else "medium" if 0 < budget <= 8192 else "high"


def write_tool(tool: Tool) -> dict[str, Json]:
    if tool.type != "function":
        return merged({}, tool.extra, {"type": None if tool.extra.get("type") is UNSET else tool.type})
    said = {"name": tool.name, "description": tool.description, "parameters": tool.parameters, "strict": tool.strict}
    return merged({"type": "function"}, tool.extra, {"function": merged({}, tool.extra.get("function") or {}, said)})


def _write_choice(choice: ToolChoice) -> Json:
    if choice.mode != "tool":
        return choice.mode
    return {"type": "function", **choice.extra, "function": {**choice.extra.get("function", {}), "name": choice.name}}


def _write_format(format_: ResponseFormat) -> dict[str, Json]:
    if format_.type != "json_schema":
        return {"type": format_.type, **format_.extra}
    said = {"name": format_.name, "schema": format_.schema, "strict": format_.strict, "description": format_.description}
    return {"type": "json_schema", **format_.extra, "json_schema": merged({}, format_.extra.get("json_schema") or {}, said)}

"""Requests between OpenAI's Responses and the hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from headrace.dialects.base import Target
from headrace.dialects.fields import OWN, bad, flag, items, merged, number, obj, optional, rest, sent, string, whole
from headrace.dialects.foreign import in_common
from headrace.dialects.openai_responses.items import read_input
from headrace.dialects.openai_responses.names import INSTRUCTIONS
from headrace.dialects.openai_responses.turns import Items
from headrace.types import ChatRequest, Extra, Json, Message, ResponseFormat, Text, Tool, ToolChoice
from headrace.wire import HttpRequest

_PLAIN: Final = (
    ("parallel_tool_calls", flag), ("temperature", number), ("top_p", number), ("top_logprobs", whole), ("user", optional),
)  # fmt: skip
"""Fields with the same name and meaning in the hub."""

_KNOWN: Final = frozenset({
    "model", "input", "instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens", "stream",
    *(name for name, _ in _PLAIN),
})  # fmt: skip
_FUNCTION: Final = frozenset({"type", "name", "description", "parameters", "strict"})
_ELSEWHERE: Final = frozenset({"prompt", "previous_response_id", "conversation"})
"""Fields that refer to content kept by the provider, if there is no input."""

LOGPROBS: Final = "message.output_text.logprobs"

UNSAID: Final = ("n", "stop", "seed", "presence_penalty", "frequency_penalty", "top_k")
"""The hub's parameters that Responses does not have."""

CHAT_ONLY: Final = frozenset({"logit_bias", "modalities", "audio", "prediction", "functions", "function_call"})
"""Parameters of OpenAI's Chat Completions that Responses does not have."""


def looks_like(body: Mapping[str, Json]) -> bool:
    """Whether a body sent to Chat Completions is a Responses request: some clients send those there."""
    return "input" in body and "messages" not in body


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_request(body: Mapping[str, Json]) -> ChatRequest:
    """The caller's request. Raises BadRequestError that names the field and the shape of its value."""
    body = obj(body, "the body")
    extra: dict[str, Json] = rest(body, _KNOWN, exact=frozenset({"model", "instructions", "user"}))
    stream = flag(body.get("stream"), "stream") or False
    choice = body.get("tool_choice")
    include = body.get("include")
    said: dict[str, Any] = {name: check(body.get(name), name) for name, check in _PLAIN}
    said_elsewhere = bool(_ELSEWHERE & body.keys()) and not body.get("input")
    if said_elsewhere and "input" in body:
        extra["input"] = body["input"]
    turns = () if said_elsewhere else read_input(body.get("input"))
    return ChatRequest(
        model=string(body.get("model"), "model") if "model" in body or "prompt" not in body else "",
        messages=(*_read_instructions(body.get("instructions")), *turns),
        tools=tuple([_read_tool(obj(tool, f"tools[{at}]"), f"tools[{at}]") for at, tool in enumerate(items(body.get("tools"), "tools"))]),
        tool_choice=None if choice is None else _read_choice(choice, extra),
        response_format=_read_text(body.get("text"), extra),
        max_tokens=whole(body.get("max_output_tokens"), "max_output_tokens"),
        logprobs=True if isinstance(include, list) and LOGPROBS in include else None,
        effort=_read_reasoning(body.get("reasoning"), extra),
        stream=stream,
        include_usage=stream,
        extra=extra,
        **said,
    )


def _read_instructions(value: Json) -> tuple[Message, ...]:
    """The instructions as a system message that precedes all others."""
    text = optional(value, INSTRUCTIONS)
    return () if text is None else (Message(role="system", content=(Text(text=text),), extra={OWN: INSTRUCTIONS}),)


def _read_tool(tool: Mapping[str, Json], at: str) -> Tool:
    kind = string(tool.get("type"), f"{at}.type")
    if kind != "function":
        return Tool(type=kind, extra=rest(tool, frozenset({"type"})))
    return Tool(
        name=string(tool.get("name"), f"{at}.name"),
        description=optional(tool.get("description"), f"{at}.description") or None,
        parameters=tool.get("parameters") or None,
        strict=flag(tool.get("strict"), f"{at}.strict"),
        extra=rest(tool, _FUNCTION, exact=frozenset({"name"})),
    )


def _read_choice(choice: Json, extra: dict[str, Json]) -> ToolChoice | None:
    match choice:
        case "auto" | "none" | "required":
            return ToolChoice(mode=cast("Any", choice))
        case {"type": "function", "name": str(name)}:
            return ToolChoice(mode="tool", name=name, extra=rest(choice, frozenset({"type", "name"})))
        case {"type": str()}:  # a built-in tool, or several to choose from: only this dialect has them
            extra["tool_choice"] = choice
            return None
    raise bad("tool_choice", "auto, none, required or an object that names a tool", choice)


def _read_text(value: Json, extra: dict[str, Json]) -> ResponseFormat | None:
    """The response format; verbosity and other fields are kept in `extra`."""
    if value is None:
        return None
    text = dict(obj(value, "text"))
    given = text.pop("format", None)
    format_ = None if given is None else _read_format(obj(given, "text.format"))
    if format_ is None and given is not None:
        text["format"] = given
    if text or format_ is None:
        extra["text"] = text
    return format_


def _read_format(given: Mapping[str, Json]) -> ResponseFormat | None:
    kind = given.get("type")
    if kind in ("text", "json_object"):
        return ResponseFormat(type=kind, extra=rest(given, frozenset({"type"})))
    if kind != "json_schema":
        return None
    return ResponseFormat(
        type="json_schema",
        name=optional(given.get("name"), "text.format.name") or "",
        schema=given.get("schema") or None,
        strict=flag(given.get("strict"), "text.format.strict"),
        description=optional(given.get("description"), "text.format.description") or None,
        extra=rest(given, frozenset({"type", "name", "schema", "strict", "description"}), exact=frozenset({"name"})),
    )


def _read_reasoning(value: Json, extra: dict[str, Json]) -> str | None:
    if value is None:
        return None
    reasoning = dict(obj(value, "reasoning"))
    effort = optional(reasoning.get("effort"), "reasoning.effort")
    if effort is not None:
        del reasoning["effort"]
    if reasoning or effort is None:
        extra["reasoning"] = reasoning
    return effort


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_request(request: ChatRequest, target: Target) -> HttpRequest:
    """The request to `target`, whose model and headers replace the caller's."""
    headers = target.headers
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers = (("content-type", "application/json"), *headers)
    body = write_body(in_common(request, target.source, "openai_responses"), target.model, foreign=bool(target.source))
    return HttpRequest("POST", f"{target.base_url}/responses", headers, sent(body))


def write_body(request: ChatRequest, model: str, *, foreign: bool = False) -> dict[str, Json]:
    extra = _own(request.extra) if foreign else request.extra
    instructions, turns = _instructions(request.messages)
    said: dict[str, Json] = {name: getattr(request, name) for name, _ in _PLAIN}
    said |= {
        "model": model or None,
        "input": Items(foreign=foreign).of_turns(turns) if turns else None,
        "instructions": instructions,
        "tools": [*(_write_tool(tool, foreign=foreign) for tool in request.tools), *_searching(request.extra, foreign=foreign)] or None,
        "tool_choice": None if request.tool_choice is None else _write_choice(request.tool_choice),
        "text": _write_text(request.response_format, extra),
        "reasoning": _write_reasoning(request, extra),
        "max_output_tokens": request.max_tokens,
        "include": _write_include(request, extra),
        "stream": request.stream or None,
    }
    return merged({}, extra, said)


def _own(extra: Extra) -> dict[str, Json]:
    """`extra` of a Chat Completions caller in this dialect's format, without stream options and what this dialect does not have."""
    kept = {name: value for name, value in extra.items() if name not in CHAT_ONLY | {"stream_options", "verbosity", "web_search_options"}}
    if isinstance(extra.get("verbosity"), str):
        text = kept.get("text")
        kept["text"] = {**(text if isinstance(text, Mapping) else {}), "verbosity": extra["verbosity"]}
    return kept


def unsaid(request: ChatRequest) -> tuple[str, ...]:
    """The given parameters that Responses does not have, by OpenAI's names."""
    found = [name for name in UNSAID if getattr(request, name) not in (None, ())]
    if request.n == 1:
        found.remove("n")
    modalities = request.extra.get("modalities")
    found += [name for name in sorted(CHAT_ONLY) if request.extra.get(name) and not (name == "modalities" and modalities == ["text"])]
    return tuple(found)


def _instructions(turns: Sequence[Message]) -> tuple[str | None, Sequence[Message]]:
    if turns and turns[0].extra.get(OWN) == INSTRUCTIONS:
        return turns[0].text, turns[1:]
    return None, turns


def _write_tool(tool: Tool, *, foreign: bool) -> dict[str, Json]:
    """A tool, with its defaults written explicitly if it is from another dialect: here a function is strict by default."""
    if tool.type != "function":
        inner = tool.extra.get("custom") if tool.type == "custom" else None  # nested in Chat Completions, flat here
        return merged({}, {"type": tool.type, **(inner if isinstance(inner, Mapping) else tool.extra)}, {})
    said = {"name": tool.name, "description": tool.description, "parameters": tool.parameters, "strict": tool.strict}
    if foreign:
        return merged({"type": "function", "parameters": {"type": "object", "properties": {}}, "strict": False}, {}, said)
    return merged({"type": "function"}, tool.extra, said)


def _searching(extra: Extra, *, foreign: bool) -> list[dict[str, Json]]:
    """Chat Completions' `web_search_options` as the web search tool."""
    options = extra.get("web_search_options") if foreign else None
    if not isinstance(options, Mapping):
        return []
    place = options.get("user_location")
    near = place.get("approximate") if isinstance(place, Mapping) else None
    location = {"type": "approximate", **near} if isinstance(near, Mapping) else place
    said = {"search_context_size": options.get("search_context_size"), "user_location": location}
    return [{"type": "web_search", **{name: value for name, value in said.items() if value}}]


def _write_choice(choice: ToolChoice) -> Json:
    return {"type": "function", **choice.extra, "name": choice.name} if choice.mode == "tool" else choice.mode


def _write_text(format_: ResponseFormat | None, extra: Extra) -> Json:
    kept = extra.get("text")
    text = dict(kept) if isinstance(kept, Mapping) else {}
    if format_ is None:
        return None
    said: dict[str, Json] = {}
    if format_.type == "json_schema":
        said = {"name": format_.name, "schema": format_.schema, "strict": format_.strict, "description": format_.description}
    own = {name: value for name, value in format_.extra.items() if name != "json_schema"}
    return {**text, "format": merged({"type": format_.type}, own, said)}


def _write_reasoning(request: ChatRequest, extra: Extra) -> Json:
    kept = extra.get("reasoning")
    effort = request.effort or _effort(request.thinking_budget)
    return None if effort is None else {**(kept if isinstance(kept, Mapping) else {}), "effort": effort}


def _effort(budget: int | None) -> str | None:
    """The effort closest to a thinking budget in tokens, by the thresholds used for Chat Completions."""
    if budget is None:
        return None
    return "none" if budget == 0 else "low" if 0 < budget <= 2048 else "medium" if 0 < budget <= 8192 else "high"


def _write_include(request: ChatRequest, extra: Extra) -> Json:
    kept = extra.get("include")
    include = list(kept) if isinstance(kept, list) else []
    if not request.logprobs or LOGPROBS in include:
        return None
    return [*include, LOGPROBS]

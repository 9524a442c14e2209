"""Requests between Anthropic's Messages and the hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from msgspec import UNSET

from headrace.dialects.anthropic_messages.blocks import kept
from headrace.dialects.anthropic_messages.messages import read_messages, write_messages
from headrace.dialects.base import Target
from headrace.dialects.fields import bad, flag, items, merged, number, obj, optional, rest, sent, string, whole
from headrace.dialects.foreign import in_common
from headrace.errors import BadRequestError
from headrace.types import ChatRequest, Extra, Json, ResponseFormat, Tool, ToolChoice
from headrace.wire import HeaderPairs, HttpRequest

VERSION: Final = "2023-06-01"
"""API version; still the latest (platform.claude.com/docs/en/api/versioning, read 2026-11)."""

MAX_TOKENS: Final = 4096
"""Default output limit in tokens, since Anthropic requires one. LiteLLM 1.106 sends the same."""

BUDGETS: Final[Mapping[str, int]] = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384}
"""Thinking budget in tokens for each effort; 1024 is Anthropic's minimum. The first four are LiteLLM 1.106's."""

_PLAIN: Final = (("max_tokens", whole), ("temperature", number), ("top_p", number), ("top_k", whole))
"""Fields with the same name and meaning in the hub."""

_KNOWN: Final = frozenset({
    "model", "messages", "system", "tools", "tool_choice", "stop_sequences", "stream", "metadata", "thinking", "output_config",
    "output_format", *(name for name, _ in _PLAIN),
})  # fmt: skip
_EXACT: Final = frozenset({"model", "system"})

_TOOL: Final = frozenset({"name", "description", "input_schema", "strict", "type"})
_SCHEMA: Final[Mapping[str, Json]] = {"type": "object", "properties": {}}
"""Schema for a function without parameters."""

_SPELT: Final = "output_format"
"""UNSET under this key in `extra` means that the schema came in the beta field `output_format`, and is written back there."""


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_request(body: Mapping[str, Json]) -> ChatRequest:
    """The caller's request. Raises BadRequestError that names the field and the shape of its value."""
    body = obj(body, "the body")
    extra = rest(body, _KNOWN, exact=_EXACT)
    request: dict[str, Any] = {name: check(body.get(name), name) for name, check in _PLAIN}
    stops = items(body.get("stop_sequences"), "stop_sequences")
    stream = flag(body.get("stream"), "stream") or False
    request |= {
        "model": string(body.get("model"), "model"),
        "messages": read_messages(body, extra),
        "tools": tuple([_read_tool(tool, f"tools[{index}]") for index, tool in enumerate(items(body.get("tools"), "tools"))]),
        "stop": tuple([string(text, f"stop_sequences[{index}]") for index, text in enumerate(stops)]),
        "user": _read_user(body.get("metadata"), extra),
        "thinking_budget": _read_thinking(body.get("thinking"), extra),
        "stream": stream,
        "include_usage": stream,
    }
    request |= _read_choice(body.get("tool_choice"), extra) | _read_output(body, extra)
    return ChatRequest(**request, extra=extra)


def _read_tool(value: Json, at: str) -> Tool:
    """A function, or one of Anthropic's tools, which have dated types."""
    tool = obj(value, at)
    kind = optional(tool.get("type"), f"{at}.type")
    if kind not in (None, "custom"):
        return Tool(type=kind, extra=rest(tool, frozenset({"type"})))
    return Tool(
        name=string(tool.get("name"), f"{at}.name"),
        description=optional(tool.get("description"), f"{at}.description"),
        parameters=tool.get("input_schema"),
        strict=flag(tool.get("strict"), f"{at}.strict"),
        extra=rest(tool, _TOOL, exact=_TOOL),
    )


_MODES: Final[Mapping[str, str]] = {"auto": "auto", "any": "required", "none": "none", "tool": "tool"}


def _read_choice(value: Json, extra: dict[str, Json]) -> dict[str, Any]:
    """`tool_choice`, and its setting for parallel calls."""
    if value is None:
        return {}
    choice = obj(value, "tool_choice")
    kind, name = choice.get("type"), choice.get("name")
    if not isinstance(kind, str) or kind not in _MODES or (kind == "tool") != isinstance(name, str):
        if not isinstance(kind, str) or kind == "tool":
            raise bad("tool_choice", "an object with a type of auto, any, none, or tool and the tool's name", value)
        extra["tool_choice"] = value
        return {}
    alone = flag(choice.get("disable_parallel_tool_use"), "tool_choice.disable_parallel_tool_use")
    kept = rest(choice, frozenset({"type", "name", "disable_parallel_tool_use"}), exact=frozenset({"name"}))
    made = ToolChoice(mode=cast("Any", _MODES[kind]), name=name or "", extra=kept)
    return {"tool_choice": made, "parallel_tool_calls": None if alone is None else not alone}


def _read_user(metadata: Json, extra: dict[str, Json]) -> str | None:
    if metadata is None:
        return None
    metadata = obj(metadata, "metadata")
    user = optional(metadata.get("user_id"), "metadata.user_id")
    left = {name: value for name, value in metadata.items() if name != "user_id" or user is None}
    if left:
        extra["metadata"] = left
    return user


def _read_thinking(value: Json, extra: dict[str, Json]) -> int | None:
    """The thinking budget, 0 if disabled. Adaptive thinking has no budget and is kept in `extra`."""
    if value is None:
        return None
    thinking = obj(value, "thinking")
    match thinking:
        case {"type": "enabled", "budget_tokens": int(budget), **more} if budget and not isinstance(budget, bool):
            pass
        case {"type": "disabled", **more}:
            budget = 0
        case _:
            extra["thinking"] = dict(thinking)
            return None
    if more:
        extra["thinking"] = more
    return budget


def _read_output(body: Mapping[str, Json], extra: dict[str, Json]) -> dict[str, Any]:
    """The response format and the effort."""
    config = dict(obj(body["output_config"], "output_config")) if body.get("output_config") is not None else {}
    found: dict[str, Any] = {}
    if isinstance(config.get("effort"), str):
        found["effort"] = config.pop("effort")
    format_ = _read_format(config.get("format"))
    if format_ is not None:
        del config["format"]
    old = _read_format(body.get(_SPELT))
    if format_ is None and old is not None:
        format_, extra[_SPELT] = old, UNSET
    elif body.get(_SPELT) is not None:
        extra[_SPELT] = body[_SPELT]
    if config:
        extra["output_config"] = config
    return found if format_ is None else {**found, "response_format": format_}


def _read_format(value: Json) -> ResponseFormat | None:
    """A response format. Anthropic's has no name, which OpenAI's requires."""
    match value:
        case {"type": "json_schema", "schema": schema, **more} if isinstance(schema, Mapping):
            return ResponseFormat(type="json_schema", name="output", schema=schema, extra={str(name): more[name] for name in more})
    return None


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_request(request: ChatRequest, target: Target) -> HttpRequest:
    """The request to `target`, whose model and headers replace the caller's. `betas` in the body become a header."""
    body = write_body(in_common(request, target.source, "anthropic_messages"), target.model, foreign=bool(target.source))
    betas = body.pop("betas", None)
    return HttpRequest("POST", url_of(target.base_url), _headers(target.headers, betas), sent(body))


def url_of(base_url: str) -> str:
    """The endpoint's URL, from a base URL with or without the version, or the full URL."""
    base_url = base_url.rstrip("/")
    if base_url.endswith("/v1/messages"):
        return base_url
    return f"{base_url}/messages" if base_url.endswith("/v1") else f"{base_url}/v1/messages"


def _headers(given: HeaderPairs, betas: Json) -> HeaderPairs:
    names = {name.lower() for name, _ in given}
    usual = [pair for pair in (("content-type", "application/json"), ("anthropic-version", VERSION)) if pair[0] not in names]
    wanted = [beta for beta in betas if isinstance(beta, str)] if isinstance(betas, list | tuple) else []
    if not wanted:
        return (*usual, *given)
    wanted = [value for name, value in given if name.lower() == "anthropic-beta"] + wanted
    others = [pair for pair in given if pair[0].lower() != "anthropic-beta"]
    return (*usual, *others, ("anthropic-beta", ",".join(dict.fromkeys(wanted))))


def write_body(request: ChatRequest, model: str, *, foreign: bool) -> dict[str, Json]:
    """foreign: the request was read from another dialect, whose own fields are not sent."""
    extra = _without_openais(request.extra) if foreign else request.extra
    system, messages = write_messages(request.messages, request.extra, foreign=foreign)
    thinking = _write_thinking(request, extra, model, foreign=foreign)
    if foreign and request.thinking_budget is None and "thinking" not in extra and not _may_think(request, messages, thinking):
        thinking = None
    stops = [text for text in request.stop if text.strip() or not foreign]
    said: dict[str, Json] = {
        "model": model,
        "messages": messages,
        "system": system,
        "max_tokens": _most(request.max_tokens, thinking),
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop_sequences": stops or None,
        "stream": request.stream or None,
        "tools": [_write_tool(tool, f"tools[{index}]", foreign=foreign) for index, tool in enumerate(request.tools)] or None,
        "tool_choice": _write_choice(request),
        "thinking": thinking,
        "metadata": _write_metadata(request, extra),
    }
    if foreign and not messages:
        raise BadRequestError("messages: Anthropic requires a user message besides the system prompt: add one")
    if foreign and isinstance(options := request.extra.get("web_search_options"), Mapping):
        said["tools"] = [*(said["tools"] or ()), _web_search(options)]
    said |= _write_output(request, extra, model, foreign=foreign)
    return merged({}, extra, said)


def _most(most: int | None, thinking: Json) -> int:
    """The output limit in tokens. A default limit leaves room for a response beyond the thinking budget."""
    if most is not None:
        return most
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    return MAX_TOKENS + (budget if isinstance(budget, int) else 0)


_VERSION_OF: Final = re.compile(r"claude-[a-z]+-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")


def adaptive(model: str) -> bool:
    """Whether the model decides how long to think, guided by an effort: Claude 4.6 and later, of which the newest reject a budget."""
    found = _VERSION_OF.search(model)
    return found is not None and (int(found[1]), int(found[2] or 0)) >= (4, 6)


def _write_thinking(request: ChatRequest, extra: Extra, model: str, *, foreign: bool) -> Json:
    """The thinking budget, or one derived from another dialect's effort and capped by the output limit."""
    given = extra.get("thinking")
    if request.thinking_budget is not None:
        left = given if isinstance(given, Mapping) else {}
        on = request.thinking_budget != 0
        return {"type": "enabled", "budget_tokens": request.thinking_budget, **left} if on else {"type": "disabled", **left}
    if given is not None or not foreign or request.effort in (None, "none"):
        return given
    if adaptive(model):
        return {"type": "adaptive"}
    budget = BUDGETS.get(request.effort or "", BUDGETS["medium"])
    if request.max_tokens is not None:
        budget = min(budget, request.max_tokens - 1)
    return {"type": "enabled", "budget_tokens": budget} if budget >= BUDGETS["minimal"] else None


def _may_think(request: ChatRequest, messages: list[dict[str, Json]], thinking: Json) -> bool:
    """Whether thinking that was requested only through an effort would be accepted.

    Anthropic rejects it with a forced tool. With a budget it also rejects tool results whose assistant turn does not
    begin with thinking, which clients of OpenAI's dialect rarely send back
    (platform.claude.com/docs/en/build-with-claude/extended-thinking, read 2026-11).
    """
    if request.tool_choice is not None and request.tool_choice.mode in ("required", "tool"):
        return False
    if not isinstance(thinking, Mapping) or thinking.get("type") != "enabled" or not _answers_calls(messages):
        return True
    said = next((turn["content"] for turn in reversed(messages) if turn["role"] == "assistant"), None)
    return isinstance(said, list) and said[0].get("type") in ("thinking", "redacted_thinking")


def _answers_calls(messages: list[dict[str, Json]]) -> bool:
    last = messages[-1]["content"] if messages else ""
    return isinstance(last, list) and any(block.get("type") == "tool_result" for block in last)


def _write_output(request: ChatRequest, extra: Extra, model: str, *, foreign: bool) -> dict[str, Json]:
    given = extra.get("output_config")
    config = dict(given) if isinstance(given, Mapping) else {}
    if request.effort is not None and (not foreign or (adaptive(model) and request.effort != "none")):
        config.setdefault("effort", "low" if foreign and request.effort == "minimal" else request.effort)
    format_ = request.response_format
    written: dict[str, Json] = {}
    if format_ is not None and format_.type == "json_schema":
        schema = format_.schema or {}
        made = {"type": "json_schema", "schema": _closed(schema)} if foreign else {"type": "json_schema", "schema": schema, **format_.extra}
        if extra.get(_SPELT) is UNSET:
            written[_SPELT] = made
        else:
            config.setdefault("format", made)
    return {**written, "output_config": config or None}


_NAMED: Final = frozenset({"properties", "patternProperties", "$defs", "definitions"})
"""Keywords whose keys are the caller's names and whose values are schemas."""

_VALUES: Final = frozenset({"enum", "const", "default", "examples", "required"})
"""Keywords that hold values, not schemas."""


def _closed(schema: Json) -> Json:
    """`schema` with `additionalProperties: false` on every object that leaves it open.

    Anthropic requires it, as does OpenAI's strict mode.
    """
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    made = {name: value if name in _VALUES else _closed_under(name, value) for name, value in schema.items()}
    kind = schema.get("type")
    is_object = kind == "object" or (isinstance(kind, list) and "object" in kind)
    return {**made, "additionalProperties": False} if is_object and "additionalProperties" not in schema else made


def _closed_under(name: str, value: Json) -> Json:
    return {key: _closed(inner) for key, inner in value.items()} if name in _NAMED and isinstance(value, Mapping) else _closed(value)


def _write_tool(tool: Tool, at: str, *, foreign: bool) -> dict[str, Json]:
    if foreign and "custom" in tool.extra:
        raise BadRequestError(f"{at}: Anthropic has no custom tools (free-form text): use a function with one string parameter")
    if tool.type != "function":
        return merged({}, tool.extra, {"type": tool.type})
    extra, parameters, strict = tool.extra, tool.parameters, tool.strict
    if foreign:
        inner = extra.get("function")
        extra = {**kept(extra), **(kept(inner) if isinstance(inner, Mapping) else {})}
        strict = strict or None
        if not isinstance(parameters, Mapping) or not parameters:
            parameters = None
        elif "type" not in parameters:
            parameters = {"type": "object", **parameters}
        parameters = _closed(parameters) if strict else parameters
    said = {"name": tool.name, "description": tool.description, "input_schema": parameters, "strict": strict}
    return merged({"input_schema": _SCHEMA}, extra, said)


_SEARCHES: Final[Mapping[str, int]] = {"low": 1, "medium": 5, "high": 10}
"""Maximum number of searches for each context size, from LiteLLM 1.106."""


def _web_search(options: Mapping[str, Json]) -> dict[str, Json]:
    """OpenAI's `web_search_options` as Anthropic's web search tool."""
    tool: dict[str, Json] = {"type": "web_search_20250305", "name": "web_search"}
    if (most := _SEARCHES.get(str(options.get("search_context_size")))) is not None:
        tool["max_uses"] = most
    match options.get("user_location"):
        case {"approximate": {**place}}:
            tool["user_location"] = {"type": "approximate", **place}
    return tool


_KINDS: Final = {"auto": "auto", "required": "any", "none": "none", "tool": "tool"}


def _write_choice(request: ChatRequest) -> Json:
    """`tool_choice`. Parallel calls are disabled within it, so it is added if needed."""
    choice, parallel = request.tool_choice, request.parallel_tool_calls
    if choice is None:
        if parallel is not False or not request.tools:
            return None
        choice = ToolChoice(mode="auto")
    said: dict[str, Json] = {"type": _KINDS[choice.mode], "name": choice.name or None}
    if parallel is not None and choice.mode != "none":
        said["disable_parallel_tool_use"] = not parallel
    return merged({}, choice.extra, said)


def _write_metadata(request: ChatRequest, extra: Extra) -> Json:
    given = extra.get("metadata")
    if request.user is None:
        return given
    return {**(given if isinstance(given, Mapping) else {}), "user_id": request.user}


# ---- what Anthropic cannot express -------------------------------------------------------------------------------------------------

_HINTS: Final = frozenset(
    {"stream_options", "store", "web_search_options", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "verbosity"}
)
"""OpenAI's parameters that do not affect the response's meaning here or are translated; they are not sent unchanged."""

_UNSAID: Final = frozenset({
    "logit_bias", "modalities", "audio", "prediction", "functions", "function_call", "response_format", "suffix",
    "echo", "best_of", "min_p", "repetition_penalty",
})  # fmt: skip
"""OpenAI's parameters that would change the response."""

_EMPTY: Final = frozenset({
    "stop", "n", "seed", "user", "max_completion_tokens", "reasoning_effort", "presence_penalty", "frequency_penalty", "logprobs",
    "top_logprobs", "parallel_tool_calls",
})  # fmt: skip
"""OpenAI's parameters that get into `extra` only when empty."""

_TIERS: Final[Mapping[str, str]] = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}


def unsaid(request: ChatRequest) -> tuple[str, ...]:
    """The given parameters, by OpenAI's names, that Anthropic cannot express. Values that equal the default do not count."""
    asked = {
        "n": (request.n or 1) > 1,
        "seed": request.seed is not None,
        "presence_penalty": bool(request.presence_penalty),
        "frequency_penalty": bool(request.frequency_penalty),
        "logprobs": bool(request.logprobs),
        "top_logprobs": bool(request.top_logprobs),
        "response_format": request.response_format is not None and request.response_format.type == "json_object",
        "tool_choice": _is_strange(request.extra.get("tool_choice")),
        "store": request.extra.get("store") is True,
        "service_tier": request.extra.get("service_tier", "auto") not in (*_TIERS, None),
    }
    asked |= {name: True for name, value in request.extra.items() if name in _UNSAID and not _usual(name, value)}
    return tuple(name for name, given in asked.items() if given)


def _usual(name: str, value: Json) -> bool:
    """Whether a value equals the default."""
    return value is None or value is UNSET or value == {} or (name == "modalities" and value == ["text"])


def _is_strange(choice: Json) -> bool:
    """Whether a tool choice is one only OpenAI has (several tools, a custom tool), not one in Anthropic's format."""
    return isinstance(choice, Mapping) and choice.get("type") not in _MODES


def _without_openais(extra: Extra) -> dict[str, Json]:
    """`extra` without what only OpenAI defines. Of `metadata`, which OpenAI stores, only a user id is kept."""
    kept = {name: value for name, value in extra.items() if name not in _HINTS | _UNSAID | _EMPTY}
    if _is_strange(kept.get("tool_choice")):
        del kept["tool_choice"]
    if "service_tier" in kept:
        tier = kept.pop("service_tier")
        if tier in _TIERS:
            kept["service_tier"] = _TIERS[tier]
    metadata = kept.pop("metadata", None)
    if isinstance(metadata, Mapping) and isinstance(metadata.get("user_id"), str):
        kept["metadata"] = {"user_id": metadata["user_id"]}
    return {name: value for name, value in kept.items() if value not in (None, [])}

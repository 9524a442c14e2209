"""Requests between Ollama's own API and the hub (github.com/ollama/ollama, docs/api.md, read 2026-11)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import UNSET

from headrace.dialects.base import Target
from headrace.dialects.fields import bad, flag, items, merged, number, obj, rest, sent, string, whole
from headrace.dialects.foreign import in_common
from headrace.dialects.ollama.messages import read_messages, write_messages
from headrace.dialects.openai_chat.requests import read_tool, write_tool
from headrace.errors import BadRequestError
from headrace.types import ChatRequest, Json, ResponseFormat, Tool
from headrace.wire import HttpRequest

_OPTIONS: Final = (
    ("num_predict", "max_tokens", whole), ("temperature", "temperature", number), ("top_p", "top_p", number), ("top_k", "top_k", whole),
    ("seed", "seed", whole), ("presence_penalty", "presence_penalty", number), ("frequency_penalty", "frequency_penalty", number),
)  # fmt: skip
"""Ollama's name inside `options`, the hub's name, and the type check."""

_KNOWN: Final = frozenset({"model", "messages", "tools", "format", "options", "think", "stream", "logprobs", "top_logprobs"})

OPTIONS: Final = frozenset({
    "num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "min_p", "typical_p", "repeat_last_n", "repeat_penalty",
    "mirostat", "mirostat_eta", "mirostat_tau", "tfs_z", "penalize_newline", "use_mmap", "use_mlock", "numa", "low_vram", "vocab_only",
    "draft_num_predict",
})  # fmt: skip
"""Ollama options that a caller of another dialect may set among its own parameters; they go into `options`."""


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_request(body: Mapping[str, Json]) -> ChatRequest:
    """The caller's request, streamed by default. Raises BadRequestError that names the field and the shape of its value."""
    body = obj(body, "the body")
    extra = rest(body, _KNOWN, exact=frozenset({"model"}))
    stream = flag(body.get("stream"), "stream")
    request: dict[str, Any] = {
        "model": string(body.get("model"), "model"),
        "messages": read_messages(body.get("messages")),
        "tools": tuple([read_tool(tool, f"tools[{index}]") for index, tool in enumerate(items(body.get("tools"), "tools"))]),
        "response_format": _read_format(body.get("format"), extra),
        "logprobs": flag(body.get("logprobs"), "logprobs"),
        "top_logprobs": whole(body.get("top_logprobs"), "top_logprobs"),
        "stream": stream is not False,
        "include_usage": stream is not False,
        **_read_think(body.get("think"), extra),
        **_read_options(body.get("options"), extra),
    }
    return ChatRequest(**request, extra=extra)


def _read_options(value: Json, extra: dict[str, Json]) -> dict[str, Any]:
    if value is None:
        return {}
    options = obj(value, "options")
    found: dict[str, Any] = {ours: check(options.get(name), f"options.{name}") for name, ours, check in _OPTIONS}
    stops = options.get("stop")
    one = isinstance(stops, str)
    found["stop"] = tuple([string(text, f"options.stop[{i}]") for i, text in enumerate([stops] if one else items(stops, "options.stop"))])
    kept = rest(options, frozenset({"stop", *(name for name, _, _ in _OPTIONS)}))
    if kept or not options:
        extra["options"] = kept
    return found


def _read_format(value: Json, extra: dict[str, Json]) -> ResponseFormat | None:
    match value:
        case "json":
            return ResponseFormat(type="json_object")
        case {**schema} if schema:
            return ResponseFormat(type="json_schema", name="output", schema=value)
        case None | "" | {}:
            return None
    extra["format"] = value
    return None


LEVELS: Final = ("low", "medium", "high", "max")


def _read_think(value: Json, extra: dict[str, Json]) -> dict[str, Any]:
    """Thinking disabled or a level; `true` has no equivalent in the hub and is kept in `extra`."""
    if value is False:
        return {"effort": "none"}
    if isinstance(value, str) and value in LEVELS:
        return {"effort": value}
    if value is not None:
        extra["think"] = value
    return {}


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_request(request: ChatRequest, target: Target) -> HttpRequest:
    """The request to `target`, whose model and headers replace the caller's."""
    body = write_body(in_common(request, target.source, "ollama"), target.model, foreign=bool(target.source))
    return posted(target, "/api/chat", body)


def posted(target: Target, path: str, body: Mapping[str, Json]) -> HttpRequest:
    headers = target.headers
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers = (("content-type", "application/json"), *headers)
    return HttpRequest("POST", f"{target.base_url.rstrip('/')}{path}", headers, sent(body))


def write_body(request: ChatRequest, model: str, *, foreign: bool) -> dict[str, Json]:
    """foreign: the request was read from another dialect, whose own fields are not sent."""
    extra = foreign_extra(request.extra) if foreign else dict(request.extra)
    tools = () if foreign and request.tool_choice is not None and request.tool_choice.mode == "none" else request.tools
    said: dict[str, Json] = {
        "model": model,
        "messages": write_messages(request.messages, foreign=foreign),
        "tools": [_write_tool(tool, f"tools[{index}]", foreign=foreign) for index, tool in enumerate(tools)] or None,
        "format": None if request.response_format is None else _write_format(request.response_format),
        "options": _write_options(request, extra.get("options")) or None,
        "think": _write_think(request, levels=not foreign or "gpt-oss" in model),
        "logprobs": request.logprobs,
        "top_logprobs": request.top_logprobs,
        "stream": request.stream,
    }
    return merged({}, extra, said)


def _write_options(request: ChatRequest, kept: Json) -> dict[str, Json]:
    said = {name: getattr(request, ours) for name, ours, _ in _OPTIONS}
    return merged({}, kept if isinstance(kept, Mapping) else {}, {**said, "stop": list(request.stop) or None})


def _write_tool(tool: Tool, at: str, *, foreign: bool) -> dict[str, Json]:
    if not foreign:
        return write_tool(tool)
    if tool.type != "function":
        raise BadRequestError(f"{at}: Ollama has no tool of type {tool.type!r}: use a function")
    parameters = tool.parameters or {"type": "object", "properties": {}}
    return write_tool(Tool(name=tool.name, description=tool.description, parameters=parameters))


def _write_format(format_: ResponseFormat) -> Json:
    if format_.type == "json_schema":
        return format_.schema or "json"
    return "json" if format_.type == "json_object" else None


_NEAREST: Final[Mapping[str, str]] = {"minimal": "low", "xhigh": "high"}


def _write_think(request: ChatRequest, *, levels: bool) -> Json:
    """levels: whether the model has thinking levels, as gpt-oss does; for other models thinking is on or off."""
    if request.effort is None:
        return None if request.thinking_budget is None else request.thinking_budget > 0
    if request.effort == "none":
        return False
    return _NEAREST.get(request.effort, request.effort) if levels else True


# ---- parameters of other dialects --------------------------------------------------------------------------------------------------

_HINTS: Final = frozenset({
    "stream_options", "store", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "verbosity", "metadata", "service_tier",
    "reasoning", "max_completion_tokens", "thinking",
})  # fmt: skip
"""OpenAI's parameters that do not affect the response's meaning here or are translated; they are not sent unchanged."""

_UNSAID: Final = frozenset({
    "logit_bias", "prediction", "functions", "function_call", "modalities", "audio", "web_search_options", "suffix", "echo", "best_of",
    "response_format", "tool_choice",
})  # fmt: skip
"""OpenAI's parameters that would change the response."""


def unsaid(request: ChatRequest) -> tuple[str, ...]:
    """The given parameters, by OpenAI's names, that Ollama cannot express. Values that equal the default do not count."""
    asked = {
        "n": request.n not in (None, 1),
        "tool_choice": request.tool_choice is not None and request.tool_choice.mode in ("required", "tool"),
        "parallel_tool_calls": request.parallel_tool_calls is False and bool(request.tools),
        "user": request.user is not None,
        "store": request.extra.get("store") is True,
        "service_tier": request.extra.get("service_tier") not in (None, UNSET, "auto", "default", "standard"),
    }
    asked |= {name: True for name, value in request.extra.items() if name in _UNSAID and value not in (None, UNSET, {}, [])}
    return tuple(name for name, given in asked.items() if given)


def foreign_extra(given: Mapping[str, Json]) -> dict[str, Json]:
    """`extra` with Ollama's own fields moved to where they belong and without what only OpenAI defines."""
    said = {
        name: value
        for name, value in given.items()
        if name not in _HINTS and name not in _UNSAID and value is not None and value is not UNSET
    }
    options = {name: said.pop(name) for name in OPTIONS & said.keys()}
    if "repetition_penalty" in said:
        options["repeat_penalty"] = said.pop("repetition_penalty")
    if options:
        kept = said.get("options")
        said["options"] = {**(kept if isinstance(kept, Mapping) else {}), **options}
    match given.get("thinking"):
        case {"type": "enabled" | "disabled" as way}:  # Anthropic's format, also LiteLLM's
            said.setdefault("think", way == "enabled")
    return said


def checked_texts(value: Json) -> Json:
    """`value` unchanged. Raises BadRequestError for token ids, which Ollama does not accept."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
        raise bad("input", "a string or a list of strings: Ollama does not accept token ids", value)
    return value

"""Requests between Gemini's generateContent and the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import UNSET

from headrace.dialects.base import Target
from headrace.dialects.fields import flag, merged, obj, optional, rest, sent
from headrace.dialects.foreign import in_common
from headrace.dialects.gemini import models
from headrace.dialects.gemini.config import OWN, read_config, thinks, write_config
from headrace.dialects.gemini.contents import read_messages, write_messages
from headrace.dialects.gemini.names import camel
from headrace.dialects.gemini.tools import read_choice, read_tools, write_choice, write_tools
from headrace.types import ChatRequest, Extra, Json
from headrace.wire import HttpRequest

_KNOWN: Final = frozenset({"model", "contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "stream"})
_EXACT: Final = frozenset({"model"})


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_request(body: Mapping[str, Json]) -> ChatRequest:
    """The caller's request. Raises BadRequestError that names the field and the shape of its value.

    Model and stream normally come from the URL, but are read from the body if present.
    """
    body = camel(obj(body, "the body"))
    extra = rest(body, _KNOWN, exact=_EXACT)
    stream = flag(body.get("stream"), "stream") or False
    request: dict[str, Any] = {
        "model": (optional(body.get("model"), "model") or "").removeprefix("models/"),
        "messages": read_messages(body),
        "tools": read_tools(body.get("tools")),
        "tool_choice": read_choice(body.get("toolConfig"), extra),
        "stream": stream,
        "include_usage": stream,
    }
    request |= read_config(body.get("generationConfig"), extra)
    return ChatRequest(**request, extra=extra)


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_request(request: ChatRequest, target: Target) -> HttpRequest:
    """The request to `target`, whose model and headers replace the caller's."""
    body = write_body(in_common(request, target.source, "gemini"), target.model, foreign=bool(target.source))
    headers = target.headers
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers = (("content-type", "application/json"), *headers)
    url = url_of(target.base_url, target.model, "streamGenerateContent?alt=sse" if request.stream else "generateContent")
    return HttpRequest("POST", url, headers, sent(body))


def url_of(base_url: str, model: str, method: str) -> str:
    """The URL of a method of the model. The suffix of Google's OpenAI-compatible endpoint is removed from the base URL."""
    base_url = base_url.rstrip("/").removesuffix("/openai")
    return f"{base_url}/{models.path(model)}:{method}"


def write_body(request: ChatRequest, model: str, *, foreign: bool) -> dict[str, Json]:
    """foreign: the request was read from another dialect, whose own fields are not sent."""
    extra = _foreign_extra(request, model) if foreign else request.extra
    system, contents = write_messages(request.messages, model, foreign=foreign)
    tools = write_tools(request.tools, model, foreign=foreign)
    if foreign and request.extra.get("web_search_options") is not None:
        tools.append({"googleSearch": {}})
    said: dict[str, Json] = {
        "contents": contents,
        "systemInstruction": system,
        "tools": tools or None,
        "toolConfig": write_choice(request.tool_choice, extra.get("toolConfig"), foreign=foreign),
        "generationConfig": write_config(request, extra, model, foreign=foreign),
    }
    return merged({}, extra, said)


# ---- parameters of other dialects --------------------------------------------------------------------------------------------------

_HINTS: Final = frozenset({
    "stream_options", "store", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "verbosity", "metadata",
    "web_search_options", "modalities", "audio", "thinking", "reasoning", "service_tier",
})  # fmt: skip
"""OpenAI's parameters that do not affect the response's meaning here or are translated; they are not sent unchanged."""

_UNSAID: Final = frozenset({
    "logit_bias", "prediction", "functions", "function_call", "response_format", "tool_choice", "suffix", "echo", "best_of", "min_p",
    "repetition_penalty",
})  # fmt: skip
"""OpenAI's parameters that would change the response."""


def unsaid(request: ChatRequest) -> tuple[str, ...]:
    """The given parameters, by OpenAI's names, that Gemini cannot express. Values that equal the default do not count."""
    asked = {
        "parallel_tool_calls": request.parallel_tool_calls is False and bool(request.tools),
        "user": request.user is not None,
        "reasoning_effort": request.effort not in (None, "none") and not thinks(request.model or "gemini"),
        "store": request.extra.get("store") is True,
        "service_tier": request.extra.get("service_tier") not in (None, UNSET, "auto", "default", "standard"),
    }
    asked |= {name: True for name, value in request.extra.items() if name in _UNSAID and value not in (None, UNSET, {})}
    return tuple(name for name, given in asked.items() if given)


def _foreign_extra(request: ChatRequest, model: str) -> dict[str, Json]:
    """`extra` with Gemini's own fields moved to where they belong and without what only OpenAI defines."""
    said = {name: value for name, value in request.extra.items() if name not in _HINTS and name not in _UNSAID}
    given = camel({name: value for name, value in said.items() if value is not None and value is not UNSET})
    kept = {name: value for name, value in given.items() if name not in OWN}
    config = {name: value for name, value in given.items() if name in OWN} | _spoken(request.extra)
    thinking = _thinking(request.extra)
    if thinking and thinks(model):
        config.setdefault("thinkingConfig", thinking)
    if config:
        left = kept.get("generationConfig")
        kept["generationConfig"] = {**config, **(camel(left) if isinstance(left, Mapping) else {})}
    return kept


def _spoken(extra: Extra) -> dict[str, Json]:
    """The config for OpenAI's `modalities` and `audio`."""
    modalities, audio = extra.get("modalities"), extra.get("audio")
    config: dict[str, Json] = {}
    if isinstance(modalities, list) and modalities != ["text"]:
        config["responseModalities"] = [str(kind).upper() for kind in modalities]
    if isinstance(audio, Mapping) and isinstance(audio.get("voice"), str):
        config["speechConfig"] = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": audio["voice"]}}}
    return config


def _thinking(extra: Extra) -> dict[str, Json]:
    """The thinking config for Anthropic's `thinking`, which LiteLLM's callers use with every provider."""
    match extra.get("thinking"):
        case {"type": "enabled", "budget_tokens": int(budget)}:
            return {"thinkingBudget": budget, "includeThoughts": budget != 0}
        case {"type": "enabled" | "adaptive"}:
            return {"includeThoughts": True}
        case {"type": "disabled"}:
            return {"thinkingBudget": 0, "includeThoughts": False}
    return {}

"""Tools run by providers: maps a tool of one provider to its equivalent in another dialect."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from headrace.types import Json, Tool

_DATE: Final = re.compile(r"_(20\d{6}|20\d\d_\d\d_\d\d)$")
_KINDS: Final[Mapping[str, str]] = {
    "web_search": "web_search",
    "web_search_preview": "web_search",
    "googleSearch": "web_search",
    "google_search": "web_search",
    "googleSearchRetrieval": "web_search",
    "web_fetch": "web_fetch",
    "urlContext": "web_fetch",
    "url_context": "web_fetch",
    "code_execution": "code",
    "code_interpreter": "code",
    "codeExecution": "code",
    "tool_search": "tool_search",
    "tool_search_tool_regex": "tool_search",
    "tool_search_tool_bm25": "tool_search",
}
"""What each tool type does. Anthropic's types end with a version date."""

# From the types of the official clients (openai, anthropic, google-genai), read 2026-11. Anthropic's other built-in tools need a beta
# header, which the caller has not sent.
_TARGETS: Final[Mapping[str, Mapping[str, Mapping[str, Json]]]] = {
    "anthropic_messages": {"web_search": {"type": "web_search_20250305", "name": "web_search"}},
    "openai_responses": {"web_search": {"type": "web_search"}, "code": {"type": "code_interpreter", "container": {"type": "auto"}}},
    "gemini": {
        "web_search": {"type": "googleSearch", "googleSearch": {}},
        "web_fetch": {"type": "urlContext", "urlContext": {}},
        "code": {"type": "codeExecution", "codeExecution": {}},
    },
}


def kind_of(tool: Tool) -> str:
    """What a provider's built-in tool does; "" for one without an equivalent elsewhere."""
    return _KINDS.get(undated(tool.type), "")


def undated(kind: str) -> str:
    """One of Anthropic's tool types without its version date."""
    return _DATE.sub("", kind)


def needless(tool: Tool) -> bool:
    """Whether it only searches for tools, all of which other dialects declare at once."""
    return kind_of(tool) == "tool_search"


def has(dialect: str, tool: Tool) -> bool:
    """Whether `dialect` can express the tool or does not need it."""
    return needless(tool) or kind_of(tool) in _TARGETS.get(dialect, {})


def said_in(dialect: str, tool: Tool) -> Tool | None:
    """The tool in the format of `dialect`; None if it has no equivalent."""
    usual = _TARGETS.get(dialect, {}).get(kind_of(tool))
    if usual is None:
        return None
    words = {"type": usual["type"], **{name: value for name, value in usual.items() if name != "type"}, **_settings(dialect, tool)}
    return Tool(type=words.pop("type"), extra=words)


def unsaid(dialect: str, tool: Tool) -> Iterator[str]:
    """Settings of a tool which `dialect` has but cannot express."""
    if tool.type in tool.extra or kind_of(tool) not in _TARGETS.get(dialect, {}):
        return  # Gemini's tools nest their settings under their name
    said = _settings(dialect, tool)
    known = {"type", "name", "cache_control", *said, *(("allowed_domains",) if "filters" in said else ())}
    yield from (name for name, value in tool.extra.items() if name not in known and value not in (None, [], {}, "", {"type": "auto"}))


def _settings(dialect: str, tool: Tool) -> dict[str, Json]:
    """The web search settings: domains to search, and the user's location."""
    if kind_of(tool) != "web_search" or dialect == "gemini":
        return {}
    filters = tool.extra.get("filters")
    allowed = tool.extra.get("allowed_domains") or (filters.get("allowed_domains") if isinstance(filters, Mapping) else None)
    said: dict[str, Json] = {"user_location": tool.extra.get("user_location")}
    if dialect == "openai_responses":
        said |= {"filters": {"allowed_domains": allowed} if allowed else None}
    else:
        said |= {name: tool.extra.get(name) for name in ("blocked_domains", "max_uses")} | {"allowed_domains": allowed}
    return {name: value for name, value in said.items() if value}

"""OpenAI's choice among some of the tools (`allowed_tools`) for other dialects: only those tools are sent."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from headrace.types import ChatRequest, Json, Tool, ToolChoice


def only_allowed(request: ChatRequest) -> ChatRequest:
    """`request` with the tools that its `tool_choice` allows, and the choice's mode."""
    choice = request.extra.get("tool_choice")
    if not isinstance(choice, Mapping) or choice.get("type") != "allowed_tools":
        return request
    inner = choice.get("allowed_tools")  # Chat Completions nests what is flat in Responses
    said: Mapping[str, Json] = inner if isinstance(inner, Mapping) else choice
    listed = said.get("tools")
    names = {_name(one) for one in listed if isinstance(one, Mapping)} if isinstance(listed, list) else set()
    return replace(
        request,
        tools=tuple([tool for tool in request.tools if _tool_name(tool) in names]),
        tool_choice=ToolChoice(mode="required" if said.get("mode") == "required" else "auto"),
        extra={field: value for field, value in request.extra.items() if field != "tool_choice"},
    )


def _name(entry: Mapping[str, Json]) -> Json:
    """The name of a tool, or the type of one without."""
    inner = entry.get(str(entry.get("type")))
    return (inner if isinstance(inner, Mapping) else entry).get("name") or entry.get("type")


def _tool_name(tool: Tool) -> Json:
    return tool.name or _name({"type": tool.type, **tool.extra})

"""Converts tools and messages between OpenAI's format and those of the Model Context Protocol and Anthropic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headrace.calls import CHAT, prepare
from headrace.compat.litellm.theirs import theirs
from headrace.destinations import destination
from headrace.writing import translation_of, write


def transform_mcp_tool_to_openai_tool(mcp_tool: Any) -> dict[str, Any]:
    """A tool of an MCP session (`mcp` 1 or 2) as an OpenAI tool."""
    schema = getattr(mcp_tool, "input_schema", None) or getattr(mcp_tool, "inputSchema", None) or {}
    parameters = {"type": "object", "properties": {}, "additionalProperties": False, **schema}
    function = {"name": mcp_tool.name, "description": mcp_tool.description or "", "parameters": parameters, "strict": False}
    return {"type": "function", "function": function}


def transform_openai_tool_call_request_to_mcp_tool_call_request(openai_tool: Any) -> Any:
    """A tool call as `CallToolRequestParams` of the program's own `mcp`. Arguments that are not a JSON object become empty."""
    function = openai_tool["function"]
    return theirs("mcp.types").CallToolRequestParams(name=function["name"], arguments=_arguments(function["arguments"]))


def _arguments(given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    try:
        return msgspec.json.decode(given or "{}", type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


async def load_mcp_tools(session: Any, format: str = "mcp") -> list[Any]:
    """The tools of an MCP session, as MCP tools or (`format="openai"`) as OpenAI tools."""
    tools = list((await session.list_tools()).tools)
    return [transform_mcp_tool_to_openai_tool(tool) for tool in tools] if format == "openai" else tools


async def call_openai_tool(session: Any, openai_tool: Any) -> Any:
    """Execute a model's tool call in an MCP session."""
    asked = transform_openai_tool_call_request_to_mcp_tool_call_request(openai_tool)
    return await session.call_tool(name=asked.name, arguments=asked.arguments)


def anthropic_messages_pt(messages: Sequence[Any], model: str, llm_provider: str = "anthropic") -> list[dict[str, Any]]:
    """Messages in Anthropic's format, without the system message, which is a separate parameter there."""
    call = prepare(CHAT, f"anthropic/{model.rpartition('/')[2]}", messages, False, {"max_tokens": 1})
    to = destination(call.model, {"api_key": "none is sent"})
    body: dict[str, Any] = msgspec.json.decode(write(call, to, translation_of(call, to)).body)
    written: list[dict[str, Any]] = body["messages"]
    return written

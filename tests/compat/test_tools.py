"""Tools of the Model Context Protocol and Anthropic's messages under litellm's names."""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from headrace.compat.litellm import tools
from headrace.compat.litellm.guards import add_guardrail_to_applied_guardrails_header
from headrace.errors import ConfigurationError

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CALL = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}


@pytest.fixture
def mcp(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the program's own `mcp`: its one type that is made here."""
    types = ModuleType("mcp.types")
    types.CallToolRequestParams = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mcp", ModuleType("mcp"))
    monkeypatch.setitem(sys.modules, "mcp.types", types)


@pytest.mark.parametrize("field", ["input_schema", "inputSchema"], ids=["mcp 2", "mcp 1"])
def test_a_tool_of_a_session_is_told_in_openais_words(field: str) -> None:
    told = tools.transform_mcp_tool_to_openai_tool(SimpleNamespace(name="weather", description=None, **{field: SCHEMA}))
    parameters = {**SCHEMA, "additionalProperties": False}
    assert told == {"type": "function", "function": {"name": "weather", "description": "", "parameters": parameters, "strict": False}}


def test_a_tool_without_a_schema_takes_nothing() -> None:
    told = tools.transform_mcp_tool_to_openai_tool(SimpleNamespace(name="now", description="the time", input_schema=None))
    assert told["function"]["parameters"] == {"type": "object", "properties": {}, "additionalProperties": False}


@pytest.mark.usefixtures("mcp")
@pytest.mark.parametrize(("given", "taken"), [('{"city": "Ulm"}', {"city": "Ulm"}), ("", {}), ("no json", {}), ({"a": 1}, {"a": 1})])
def test_arguments_of_a_call_are_read(given: Any, taken: dict[str, Any]) -> None:
    asked = tools.transform_openai_tool_call_request_to_mcp_tool_call_request({"function": {"name": "weather", "arguments": given}})
    assert (asked.name, asked.arguments) == ("weather", taken)


@pytest.mark.usefixtures("mcp")
def test_a_session_does_what_a_model_asks_for() -> None:
    class Session:
        async def list_tools(self) -> Any:
            return SimpleNamespace(tools=[SimpleNamespace(name="weather", description="", input_schema=SCHEMA)])

        async def call_tool(self, name: str, arguments: dict[str, Any]) -> str:
            return f"{name} of {arguments['city']}"

    async def ask() -> tuple[Any, Any]:
        return await tools.load_mcp_tools(Session(), format="openai"), await tools.call_openai_tool(Session(), CALL)

    told, answer = asyncio.run(ask())
    assert [tool["function"]["name"] for tool in told] == ["weather"]
    assert answer == "weather of Ulm"


def test_without_the_package_the_program_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp.types", None)
    with pytest.raises(ConfigurationError, match=r"this needs the package mcp.types"):
        tools.transform_openai_tool_call_request_to_mcp_tool_call_request(CALL)


def test_messages_in_anthropics_words() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather in Ulm?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "rain"},
    ]
    written = tools.anthropic_messages_pt(messages, model="claude-sonnet-4-5", llm_provider="anthropic")
    assert [message["role"] for message in written] == ["user", "assistant", "user"]
    assert written[1]["content"] == [{"type": "tool_use", "id": "c", "name": "weather", "input": {"city": "Ulm"}}]
    assert written[2]["content"][0]["type"] == "tool_result"


def test_a_guardrail_is_noted_once() -> None:
    data: dict[str, Any] = {}
    for name in ("pii", None, "pii", "secrets"):
        add_guardrail_to_applied_guardrails_header(data, name)
    assert data == {"metadata": {"applied_guardrails": ["pii", "secrets"]}}

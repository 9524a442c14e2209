"""Tools that callers run themselves in a form only their dialect has: functions for every provider, and the caller's own form again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from openai.types.responses import Response

from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.local_tools import flat
from headrace.dialects.serve import Served, serve
from headrace.dialects.translate import translate
from headrace.wire import Headers, HttpResponse

HI = [{"role": "user", "content": "hi"}]
WEATHER: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
PATCH = "*** Begin Patch\n*** Delete File: {a}.txt\n*** End Patch\n"
CUSTOM = {
    "type": "custom",
    "name": "patch",
    "description": "Edits.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: X"},
}
SPACE = {"type": "namespace", "name": "mcp__sky", "tools": [{"type": "function", "name": "weather", "parameters": WEATHER}]}
SEARCH = {"type": "tool_search", "execution": "client", "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}}


def asked(*tools: Mapping[str, Any], input: Any = "hi", provider: str = "siliconflow", to: str = "openai_chat", **more: Any) -> Served:
    body = {"model": "m", "input": input, "tools": list(tools), **more}
    return serve("openai_responses", to, Target(provider, "m"), body, {"drop_params": True}, stream=False, finish=dict)


def sent(served: Served) -> Any:
    return json.loads(served.write().body)


def chat(name: str, arguments: str) -> HttpResponse:
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": None, "tool_calls": [call]}}
    return HttpResponse(200, Headers(), json.dumps({"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]}).encode())


def pieces(name: str, arguments: Sequence[str]) -> Iterable[Mapping[str, Any]]:
    yield {
        "role": "assistant",
        "tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}],
    }
    yield from ({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in arguments)


def streamed(served: Any, name: str, arguments: Sequence[str], finish: str = "tool_calls") -> list[Any]:
    """The events, in whose last the whole answer stands."""
    deltas = [{"index": 0, "delta": delta, "finish_reason": None} for delta in pieces(name, arguments)]
    chunks = [{"id": "c", "model": "m", "choices": [one]} for one in (*deltas, {"index": 0, "delta": {}, "finish_reason": finish})]
    data = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    stream = served.read_stream()
    told = [event for frame in load("openai_chat").framing().feed(data) for event in stream.chunks(frame)]
    return [*told, *stream.rest()]


def answered(served: Served, name: str, arguments: str) -> Any:
    """The one item of the answer, the same whole and in a stream."""
    body = served.read(chat(name, arguments))
    Response.model_validate(body)
    (item,) = body["output"]
    (last,) = streamed(served, name, [arguments[:5], arguments[5:9], arguments[9:]])[-1]["response"]["output"]
    same = {field: value for field, value in item.items() if field != "id"}
    assert {field: value for field, value in last.items() if field != "id"} == same
    return item


@pytest.mark.parametrize(("provider", "to"), [("siliconflow", "openai_chat"), ("anthropic", "anthropic_messages"), ("gemini", "gemini")])
def test_a_tool_that_takes_bare_text_was_refused_by_every_other_provider(provider: str, to: str) -> None:
    body = json.dumps(sent(asked(CUSTOM, provider=provider, to=to)))
    assert '"patch"' in body
    assert '"custom"' not in body
    assert "start: X" in body


def test_a_call_of_a_tool_that_takes_bare_text_is_bare() -> None:
    item = answered(asked(CUSTOM), "patch", json.dumps({"input": PATCH}))
    assert (item["type"], item["name"], item["input"], item["call_id"]) == ("custom_tool_call", "patch", PATCH, "call_1")


def test_openai_is_told_of_bare_text_itself() -> None:
    (tool,) = sent(asked(CUSTOM, provider="openai"))["tools"]
    assert tool["type"] == "custom"


def test_past_calls_of_bare_text_are_calls_of_its_function() -> None:
    call = {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": PATCH}
    done = {"type": "custom_tool_call_output", "call_id": "c", "output": "done"}
    messages = sent(asked(CUSTOM, input=[*HI, call, done]))["messages"]
    assert messages[1]["tool_calls"][0]["function"] == {"name": "patch", "arguments": json.dumps({"input": PATCH}, separators=(",", ":"))}
    assert messages[2] == {"role": "tool", "tool_call_id": "c", "content": "done"}


def test_bare_text_that_was_cut_short_is_told_as_far_as_it_came() -> None:
    last = streamed(asked(CUSTOM), "patch", ['{"input": "*** Beg'], "length")[-1]["response"]
    assert [item["input"] for item in last["output"]] == ['{"input": "*** Beg']


def test_a_chats_tool_of_bare_text_reaches_a_provider_that_has_none() -> None:
    tool = {"type": "custom", "custom": {"name": "patch", "description": "Edits."}}
    body = {"model": "m", "messages": HI, "tools": [tool], "tool_choice": {"type": "custom", "custom": {"name": "patch"}}}
    made = translate("anthropic_messages", Target("anthropic", "m", source="openai_chat"), "chat", body, {})
    said = json.loads(made.write().body)
    assert [tool["name"] for tool in said["tools"]] == ["patch"]
    assert said["tool_choice"] == {"type": "tool", "name": "patch"}
    block = {"type": "tool_use", "id": "t", "name": "patch", "input": {"input": "x"}}
    answer = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [block], "stop_reason": "tool_use", "usage": {}}
    (call,) = made.read(HttpResponse(200, Headers(), json.dumps(answer).encode()))["choices"][0]["message"]["tool_calls"]
    assert call == {"id": "t", "type": "custom", "custom": {"name": "patch", "input": "x"}}


def test_functions_in_a_namespace_were_lost_on_their_way_to_another_dialect() -> None:
    served = asked(SPACE)
    (tool,) = sent(served)["tools"]
    assert tool["function"] == {"name": "mcp__sky__weather", "parameters": WEATHER}
    item = answered(served, "mcp__sky__weather", '{"city": "Oslo"}')
    assert (item["type"], item["name"], item["namespace"], item["arguments"]) == (
        "function_call", "weather", "mcp__sky", '{"city": "Oslo"}',
    )  # fmt: skip
    back = [*HI, item, {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}]
    assert sent(asked(SPACE, input=back))["messages"][1]["tool_calls"][0]["function"]["name"] == "mcp__sky__weather"


def test_a_function_of_a_namespace_has_no_longer_name_than_providers_take() -> None:
    long, other = flat("mcp__" + "a" * 60, "weather"), flat("mcp__" + "a" * 60, "tides")
    assert len(long) == len(other) == 64
    assert long != other


def test_a_search_for_tools_that_the_caller_makes_is_a_function_and_what_it_found_can_be_called() -> None:
    item = answered(asked(SEARCH), "tool_search", '{"query": "weather"}')
    assert (item["type"], item["execution"], item["arguments"]) == ("tool_search_call", "client", {"query": "weather"})
    found = {"type": "tool_search_output", "call_id": "call_1", "execution": "client", "status": "completed", "tools": [SPACE]}
    body = sent(asked(SEARCH, input=[*HI, item, found]))
    assert [tool["function"]["name"] for tool in body["tools"]] == ["tool_search", "mcp__sky__weather"]
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool"]
    assert body["messages"][1]["tool_calls"][0]["function"] == {"name": "tool_search", "arguments": '{"query":"weather"}'}
    assert "mcp__sky__weather" in body["messages"][2]["content"]


@pytest.mark.parametrize(
    ("kind", "arguments", "field", "said"),
    [
        ("shell", {"commands": ["ls"]}, "action", {"commands": ["ls"], "timeout_ms": None, "max_output_length": None}),
        ("local_shell", {"command": ["ls"]}, "action", {"type": "exec", "env": {}, "command": ["ls"]}),
        ("apply_patch", {"type": "delete_file", "path": "a"}, "operation", {"type": "delete_file", "path": "a"}),
    ],
)
def test_tools_that_the_caller_runs_were_left_out(kind: str, arguments: Any, field: str, said: Any) -> None:
    item = answered(asked({"type": kind}), kind, json.dumps(arguments))
    assert (item["type"], item["call_id"], item["status"], item[field]) == (f"{kind}_call", "call_1", "completed", said)
    done = {"type": f"{kind}_call_output", "call_id": "call_1", "output": [{"stdout": "a"}], "status": "completed"}
    messages = sent(asked({"type": kind}, input=[*HI, item, done]))["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert messages[2]["content"] == '[{"stdout":"a"}]'


def test_a_shell_that_openai_runs_is_no_function() -> None:
    served = asked({"type": "shell", "environment": {"type": "container_auto"}})
    assert "tools" not in sent(served)
    assert served.left_out == ("tool of type 'shell'",)


def test_a_tool_that_must_be_called_is_one_as_a_function() -> None:
    assert sent(asked(CUSTOM, tool_choice={"type": "custom", "name": "patch"}))["tool_choice"]["function"] == {"name": "patch"}
    assert sent(asked({"type": "shell"}, tool_choice={"type": "shell"}))["tool_choice"]["function"] == {"name": "shell"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("bash_20250124", "bash"),
        ("text_editor_20250728", "str_replace_based_edit_tool"),
        ("memory_20250818", "memory"),
        ("computer_20251124", "computer"),
    ],
)
def test_tools_whose_schema_claude_knows_were_left_out_for_others(kind: str, name: str) -> None:
    tool = {"type": kind, "name": name, "display_width_px": 800, "display_height_px": 600}
    body = {"model": "m", "max_tokens": 9, "messages": HI, "tools": [tool]}
    served = serve("anthropic_messages", "openai_chat", Target("openai", "m"), body, {}, stream=False, finish=dict)
    (function,) = [tool["function"] for tool in sent(served)["tools"]]
    assert function["name"] == name
    assert function["parameters"]["properties"]
    (block,) = served.read(chat(name, '{"command": "ls"}'))["content"]
    assert (block["type"], block["name"], block["input"]) == ("tool_use", name, {"command": "ls"})


def test_claude_is_told_of_its_tools_in_its_own_words() -> None:
    body = {"model": "m", "messages": HI, "tools": [{"type": "bash_20250124", "name": "bash"}]}
    made = translate("anthropic_messages", Target("anthropic", "m", source="openai_chat"), "chat", body, {})
    assert json.loads(made.write().body)["tools"] == [{"type": "bash_20250124", "name": "bash"}]


def test_tools_that_may_not_be_called_were_offered_to_another_dialects_model() -> None:
    """OpenAI's `allowed_tools` leaves the list as it is, for the cache's sake; others have no such choice."""
    flat = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "a"}, {"type": "custom", "name": "patch"}]}
    functions = [{"type": "function", "name": name, "parameters": WEATHER} for name in "ab"]
    body = sent(asked(*functions, CUSTOM, tool_choice=flat))
    assert [tool["function"]["name"] for tool in body["tools"]] == ["a", "patch"]
    assert body["tool_choice"] == "required"
    nested = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "b"}}]}}
    tools = [{"type": "function", "function": {"name": name, "parameters": WEATHER}} for name in "ab"]
    target = Target("anthropic", "m", source="openai_chat")
    made = translate("anthropic_messages", target, "chat", {"model": "m", "messages": HI, "tools": tools, "tool_choice": nested}, {})
    assert [tool["name"] for tool in json.loads(made.write().body)["tools"]] == ["b"]

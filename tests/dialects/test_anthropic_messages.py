"""Anthropic's Messages: what every field means, in both halves, and what must hold of any value."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from headrace import types as hub
from headrace.dialects import load
from headrace.dialects.anthropic_messages import requests, responses
from headrace.dialects.anthropic_messages.blocks import BROKEN
from headrace.dialects.base import Target
from headrace.errors import APIResponseValidationError, BadRequestError, Failure, HeadraceError, Kind
from headrace.types import ChatRequest, Message, Text
from headrace.wire import Frame, Headers, HttpResponse

DIALECT = load("anthropic_messages")
OPENAI = load("openai_chat")
OWN = Target("anthropic", "claude-sonnet-4-5", "https://api.anthropic.com", (("x-api-key", "secret"),))
FOREIGN = Target("anthropic", "claude-sonnet-4-5", "https://api.anthropic.com", (("x-api-key", "secret"),), "openai_chat")
ASKED = ChatRequest(model="m", messages=(), stream=True, include_usage=True)

HI = {"role": "user", "content": "hi"}
BASE = {"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": [HI]}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
EPHEMERAL = {"type": "ephemeral", "ttl": "1h"}


def body_of(request: ChatRequest, target: Target = OWN) -> Any:
    return json.loads(DIALECT.write_request(request, target).body)


def from_openai(**body: Any) -> Any:
    """What is sent for a request in OpenAI's words."""
    return body_of(OPENAI.read_request({"model": "m", "messages": [HI], **body}), FOREIGN)


def turns_from_openai(*messages: dict[str, Any]) -> Any:
    return from_openai(messages=list(messages))["messages"]


def reply(body: Any) -> HttpResponse:
    return HttpResponse(200, Headers(), json.dumps(body).encode())


# ---- requests, there and back ------------------------------------------------------------------------------------------------------

REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "system as a string": {"system": "Be brief."},
    "system as blocks": {"system": [{"type": "text", "text": "Be brief.", "cache_control": EPHEMERAL}, {"type": "text", "text": "Yes."}]},
    "system as one plain block": {"system": [{"type": "text", "text": "Be brief."}]},
    "an empty system": {"system": []},
    "a system message among the turns": {"messages": [HI, {"role": "system", "content": "Now be long."}, HI]},
    "a system message as the first turn": {"messages": [{"role": "system", "content": "Be brief."}, HI]},
    "system twice": {"system": "Be brief.", "messages": [{"role": "system", "content": "And kind."}, HI]},
    "one block": {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
    "an empty turn": {"messages": [{"role": "user", "content": ""}, {"role": "user", "content": []}]},
    "a prefill": {"messages": [HI, {"role": "assistant", "content": "The answer is"}]},
    "unknown fields of a turn": {"messages": [{**HI, "new": {"a": [1]}}]},
    "images": {
        "messages": [
            {
                "role": "user",
                "content": [
                    PNG,
                    {**PNG, "cache_control": EPHEMERAL},
                    {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}},
                    {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
                    {"type": "image", "source": {"type": "new", "place": 1}},
                ],
            }
        ]
    },
    "documents": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}, "title": "a"},
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "grüße"}, "title": None},
                    {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}, "citations": {"enabled": True}},
                    {"type": "document", "source": {"type": "file", "file_id": "file_1"}, "context": "a letter"},
                    {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
                    {"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": "eA=="}},
                ],
            }
        ]
    },
    "calls and results": {
        "messages": [
            HI,
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                    {"type": "redacted_thinking", "data": "b3BhcXVl"},
                    {"type": "thinking", "thinking": "", "signature": "b25seSBzaWduZWQ="},
                    {"type": "text", "text": "Let me look."},
                    {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"b": 1, "a": [None, 2.5]}},
                    {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}, "caller": {"type": "direct"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "3", "is_error": False},
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_2",
                        "content": [{"type": "text", "text": "noon"}, PNG, {"type": "tool_reference", "tool_name": "x"}],
                        "is_error": True,
                        "cache_control": EPHEMERAL,
                    },
                    {"type": "text", "text": "and?"},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "Noon."}]},
            HI,
        ]
    },
    "a result without content": {"messages": [HI, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}]},
    "a text before its result": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "so"}, {"type": "tool_result", "tool_use_id": "t", "content": ""}]},
        ]
    },
    "server tools": {
        "messages": [
            HI,
            {
                "role": "assistant",
                "content": [
                    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
                    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result", "url": "u"}]},
                    {"type": "text", "text": "x", "citations": [{"type": "web_search_result_location", "cited_text": "x"}]},
                    {"type": "invented_tomorrow", "a": {"b": 1}},
                ],
            },
            {"role": "user", "content": [{"type": "container_upload", "file_id": "file_1"}]},
        ],
        "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2, "cache_control": EPHEMERAL}],
        "container": "container_1",
        "mcp_servers": [{"type": "url", "url": "https://example.com", "name": "m"}],
    },
    "tools": {
        "tools": [
            {"name": "add", "description": "adds", "input_schema": {"type": "object", "properties": {}}, "strict": True},
            {"name": "", "input_schema": {}, "defer_loading": True, "cache_control": EPHEMERAL},
            {"type": "bash_20250124", "name": "bash"},
        ],
        "tool_choice": {"type": "tool", "name": "add", "disable_parallel_tool_use": False},
    },
    "no tool": {"tool_choice": {"type": "none"}},
    "any tool, one at a time": {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
    "a choice of tomorrow": {"tool_choice": {"type": "some", "names": ["a"]}},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 2048, "display": "omitted"}},
    "no thinking": {"thinking": {"type": "disabled"}},
    "adaptive thinking": {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "max"}},
    "a schema": {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}, "effort": "low", "new": 1}},
    "a schema in the beta's words": {"output_format": {"type": "json_schema", "schema": {}}, "output_config": {"effort": "low"}},
    "a format of tomorrow": {"output_config": {"format": {"type": "grammar", "rules": "x"}}},
    "sampling": {"temperature": 0.5, "top_p": 1, "top_k": 3, "stop_sequences": ["a", " "], "stream": True},
    "an empty list of stops": {"stop_sequences": []},
    "a user": {"metadata": {"user_id": "u", "more": 1}, "service_tier": "standard_only"},
    "a user that is null": {"metadata": {"user_id": None}},
    "nulls": {"system": None, "temperature": None, "tools": None, "thinking": None, "output_config": None, "metadata": None},
    "betas and versions in the body": {"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["x"], "cache_control": EPHEMERAL},
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_written_as_it_was_read(name: str) -> None:
    given_ = {**BASE, **REQUESTS[name]}
    assert body_of(DIALECT.read_request(given_)) == given_


def test_what_a_request_says_is_said_in_the_hub() -> None:
    read = DIALECT.read_request({
        **BASE, "system": "Be brief.", "metadata": {"user_id": "u"}, "stop_sequences": ["x"], "top_k": 3, "stream": True,
        "thinking": {"type": "enabled", "budget_tokens": 2048}, "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    })  # fmt: skip
    assert [message.role for message in read.messages] == ["system", "user"]
    assert (read.max_tokens, read.user, read.stop, read.top_k, read.thinking_budget, read.effort) == (10, "u", ("x",), 3, 2048, "high")
    assert read.tool_choice == hub.ToolChoice(mode="required")
    assert read.parallel_tool_calls is False
    assert read.response_format == hub.ResponseFormat(type="json_schema", name="output", schema={"type": "object"})
    assert (read.stream, read.include_usage) == (True, True)
    assert read.extra == {}


def test_results_become_messages_of_their_own() -> None:
    read = DIALECT.read_request({**BASE, **REQUESTS["calls and results"]})
    assert [message.role for message in read.messages] == ["user", "assistant", "tool", "tool", "user", "assistant", "user"]
    results = [part for message in read.messages for part in message.content if isinstance(part, hub.ToolResult)]
    assert [(result.call_id, result.is_error) for result in results] == [("toolu_1", False), ("toolu_2", True)]
    assert results[1].content[1] == hub.Image(url="data:image/png;base64,iVBORw0KGgo=")
    calls = read.messages[1].tool_calls
    assert json.loads(calls[0].arguments) == {"b": 1, "a": [None, 2.5]}
    assert calls[1].arguments == "{}"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        ({"messages": [HI, {"role": "user", "content": ["x"]}]}, "messages[1].content[0]"),
        ({"model": 3}, "model"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"stop_sequences": [1]}, "stop_sequences[0]"),
        ({"tools": [{"description": "no name"}]}, "tools[0].name"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice"),
        ({"metadata": "u"}, "metadata"),
        ({"thinking": True}, "thinking"),
        ({"output_config": []}, "output_config"),
        ({"stream": "yes"}, "stream"),
        ({"system": 5}, "system"),
    ],
)
def test_a_bad_request_is_told_by_its_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        DIALECT.read_request({**BASE, **change})
    assert str(caught.value).startswith(field)


# ---- requests from OpenAI ----------------------------------------------------------------------------------------------------------


def test_system_messages_are_gathered_wherever_they_stand() -> None:
    body = from_openai(messages=[{"role": "system", "content": "a"}, HI, {"role": "developer", "content": "b"}])
    assert body["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert body["messages"] == [HI]


def test_results_of_a_turn_stand_together_before_what_the_user_says() -> None:
    calls = [{"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": ""}} for n in (1, 2)]
    turns = turns_from_openai(
        HI,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": ""},
        HI,
    )
    assert turns[1] == {"role": "assistant", "content": [{"type": "tool_use", "id": f"c{n}", "name": "f", "input": {}} for n in (1, 2)]}
    assert turns[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c1", "content": "one"},
        {"type": "tool_result", "tool_use_id": "c2"},
        {"type": "text", "text": "hi"},
    ]
    assert len(turns) == 3


def test_ids_are_made_to_fit_in_calls_and_results_alike() -> None:
    call = {"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = turns_from_openai(
        HI, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "functions.f:0", "content": "x"}
    )
    assert turns[1]["content"][0]["id"] == turns[2]["content"][0]["tool_use_id"] == "functions_f_0"


def test_calls_without_ids_get_one_that_their_results_share() -> None:
    said = {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}
    turns = turns_from_openai(
        HI, said, {"role": "function", "name": "f", "content": "x"}, said, {"role": "function", "name": "f", "content": "y"}
    )
    ids = [turns[index]["content"][0]["id"] for index in (1, 3)]
    assert ids == [turns[index]["content"][0]["tool_use_id"] for index in (2, 4)]
    assert len(set(ids)) == 2


@pytest.mark.parametrize(
    ("arguments", "sent"), [("", {}), ("{}", {}), ('{"a": 1}', {"a": 1}), ("{broken", {BROKEN: "{broken"}), ("[1]", {BROKEN: "[1]"})]
)
def test_arguments_are_always_an_object(arguments: str, sent: Any) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    [_, turn] = turns_from_openai(HI, {"role": "assistant", "tool_calls": [call]})
    assert turn["content"][0]["input"] == sent


def image(**source: str) -> dict[str, Any]:
    return {"type": "image", "source": source}


def document(*, title: str = "", **source: str) -> dict[str, Any]:
    return {"type": "document", "source": source, **({"title": title} if title else {})}


def image_url(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def file(**inner: str) -> dict[str, Any]:
    return {"type": "file", "file": inner}


PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}
CSV = {"type": "text", "media_type": "text/plain", "data": "a,b"}


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (image_url("https://e.com/a.png"), image(type="url", url="https://e.com/a.png")),
        (image_url("data:image/jpg;base64,/9g="), image(type="base64", media_type="image/jpeg", data="/9g=")),
        (image_url("data:application/pdf;base64,JVBERg=="), document(**PDF)),
        (file(file_data="data:application/pdf;base64,JVBERg==", filename="a.pdf"), document(title="a.pdf", **PDF)),
        (file(file_data="data:text/csv;base64,YSxi"), document(**CSV)),
        (file(file_data="data:,a%2Cb"), document(**CSV)),
        (file(file_id="file_1"), document(type="file", file_id="file_1")),
        ({"type": "text", "text": "x", "cache_control": EPHEMERAL, "new": 1}, {"type": "text", "text": "x", "cache_control": EPHEMERAL}),
        (document(type="content", content="x"), document(type="content", content="x")),
    ],
)
def test_content_is_said_in_blocks(part: dict[str, Any], block: dict[str, Any]) -> None:
    [turn] = turns_from_openai({"role": "user", "content": [part, {"type": "text", "text": "?"}]})
    assert turn["content"] == [block, {"type": "text", "text": "?"}]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "https://example.com"}},
        {"type": "image_url", "image_url": {"url": "data:no comma"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,/9j/"}},
    ],
)
def test_content_that_cannot_be_said_is_not_lost_in_silence(part: dict[str, Any]) -> None:
    with pytest.raises(BadRequestError, match=r"messages\[1\]\.content\[1\]"):
        turns_from_openai(HI, {"role": "user", "content": [{"type": "text", "text": "?"}, part]})


def test_what_openai_leaves_on_a_message_is_not_sent() -> None:
    answer = {
        "role": "assistant",
        "content": "x",
        "annotations": [],
        "audio": None,
        "refusal": None,
        "provider_specific_fields": {"a": 1},
        "index": 0,
    }
    assert turns_from_openai(HI, answer, HI)[1] == {"role": "assistant", "content": "x"}


def test_signed_thinking_goes_back_first_and_unsigned_stays_away() -> None:
    signed = {"type": "reasoning.text", "text": "hm", "signature": "c2ln", "format": "anthropic-claude-v1"}
    hidden = {"type": "reasoning.encrypted", "data": "b3BhcXVl"}
    others = {"type": "reasoning.encrypted", "data": "Z3B0", "format": "openai-responses-v1"}
    said = {
        "role": "assistant",
        "content": "x",
        "reasoning_details": [signed, hidden, others, {"type": "reasoning.text", "text": "unsigned"}],
    }
    assert turns_from_openai(HI, said, HI)[1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "b3BhcXVl"},
        {"type": "text", "text": "x"},
    ]
    assert turns_from_openai(HI, {"role": "assistant", "content": "x", "reasoning_content": "hm"}, HI)[1]["content"] == "x"


def test_thinking_blocks_of_programs_written_for_litellm_go_back_as_they_are() -> None:
    block = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    said = {"role": "assistant", "content": "x", "reasoning_content": "hm", "thinking_blocks": [block]}
    assert turns_from_openai(HI, said, HI)[1]["content"] == [block, {"type": "text", "text": "x"}]


def test_empty_texts_and_turns_are_left_out_and_a_prefill_ends_in_its_last_word() -> None:
    parts = [{"type": "text", "text": " "}, {"type": "text", "text": "x"}]
    turns = turns_from_openai(
        {"role": "user", "content": parts}, {"role": "assistant", "content": ""}, HI, {"role": "assistant", "content": "so \n"}
    )
    assert turns == [{"role": "user", "content": "x"}, HI, {"role": "assistant", "content": "so"}]


def test_a_mark_for_the_cache_on_a_message_moves_to_its_last_block() -> None:
    body = from_openai(messages=[{"role": "system", "content": "a", "cache_control": EPHEMERAL}, {**HI, "cache_control": EPHEMERAL}])
    assert body["system"] == [{"type": "text", "text": "a", "cache_control": EPHEMERAL}]
    assert body["messages"][0]["content"] == [{"type": "text", "text": "hi", "cache_control": EPHEMERAL}]


@pytest.mark.parametrize(
    ("model", "effort", "most", "thinking", "config", "tokens"),
    [
        ("claude-sonnet-4-5", "low", None, {"type": "enabled", "budget_tokens": 1024}, None, 5120),
        ("claude-sonnet-4-5", "high", None, {"type": "enabled", "budget_tokens": 4096}, None, 8192),
        ("claude-sonnet-4-5", "medium", 1500, {"type": "enabled", "budget_tokens": 1499}, None, 1500),
        ("claude-sonnet-4-5", "high", 1024, None, None, 1024),
        ("claude-sonnet-4-5", "none", None, None, None, 4096),
        ("claude-3-7-sonnet-20250219", "minimal", None, {"type": "enabled", "budget_tokens": 1024}, None, 5120),
        ("claude-sonnet-4-20250514", "low", None, {"type": "enabled", "budget_tokens": 1024}, None, 5120),
        ("claude-opus-4-6", "high", None, {"type": "adaptive"}, {"effort": "high"}, 4096),
        ("claude-opus-4-6", "minimal", 100, {"type": "adaptive"}, {"effort": "low"}, 100),
        ("us.anthropic.claude-opus-4-7-v1:0", "max", None, {"type": "adaptive"}, {"effort": "max"}, 4096),
        ("claude-fable-5", "low", None, {"type": "adaptive"}, {"effort": "low"}, 4096),
    ],
)
def test_an_effort_becomes_what_the_model_takes(model: str, effort: str, most: int | None, thinking: Any, config: Any, tokens: int) -> None:
    asked = OPENAI.read_request({"model": "m", "messages": [HI], "reasoning_effort": effort, "max_tokens": most})
    body = body_of(asked, to_model(model))
    assert (body.get("thinking"), body.get("output_config"), body["max_tokens"]) == (thinking, config, tokens)


def test_an_effort_gives_way_to_what_anthropic_would_refuse_beside_it() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert "thinking" not in from_openai(reasoning_effort="low", tools=tools, tool_choice="required")
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said, result = {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "x"}
    assert "thinking" not in from_openai(reasoning_effort="low", tools=tools, messages=[HI, said, result])
    signed = {**said, "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "c2ln"}]}
    assert from_openai(reasoning_effort="low", tools=tools, messages=[HI, signed, result])["thinking"]["budget_tokens"] == 1024
    assert "thinking" not in from_openai(reasoning_effort="low", tools=tools, messages=[HI, said, result, HI])
    done = {"role": "assistant", "content": "done"}
    assert "thinking" in from_openai(reasoning_effort="low", tools=tools, messages=[HI, said, result, done, HI])
    asked = {"type": "enabled", "budget_tokens": 2000}
    assert from_openai(thinking=asked, tools=tools, tool_choice="required")["thinking"] == asked


def to_model(model: str) -> Target:
    return Target("anthropic", model, "https://api.anthropic.com", (), "openai_chat")


def test_a_schema_is_closed_as_anthropic_demands() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "object", "properties": {"enum": {"enum": [{"type": "object"}]}}}}}
    body = from_openai(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}})
    assert body["output_config"] == {
        "format": {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {
                    "a": {"type": "object", "properties": {"enum": {"enum": [{"type": "object"}]}}, "additionalProperties": False},
                },
                "additionalProperties": False,
            },
        }
    }
    assert "output_config" not in from_openai(response_format={"type": "text"})
    function = {"name": "f", "parameters": {"type": ["object", "null"], "properties": {"default": {"type": "object"}}}, "strict": True}
    [tool] = from_openai(tools=[{"type": "function", "function": function}])["tools"]
    inner = {"default": {"type": "object", "additionalProperties": False}}
    assert tool["input_schema"] == {"type": ["object", "null"], "properties": inner, "additionalProperties": False}


def test_tools_without_parameters_have_an_empty_schema() -> None:
    functions = [{"name": "a"}, {"name": "b", "parameters": {"properties": {"x": {}}}, "strict": False}]
    body = from_openai(tools=[{"type": "function", "function": function, "cache_control": EPHEMERAL} for function in functions])
    assert body["tools"] == [
        {"name": "a", "input_schema": {"type": "object", "properties": {}}, "cache_control": EPHEMERAL},
        {"name": "b", "input_schema": {"type": "object", "properties": {"x": {}}}, "cache_control": EPHEMERAL},
    ]


def test_the_web_is_searched_with_anthropics_tool() -> None:
    place = {"type": "approximate", "approximate": {"city": "Uppsala", "country": "SE"}}
    body = from_openai(web_search_options={"search_context_size": "medium", "user_location": place})
    where = {"type": "approximate", "city": "Uppsala", "country": "SE"}
    assert body["tools"] == [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5, "user_location": where}]
    assert "web_search_options" not in body
    assert from_openai(web_search_options={})["tools"] == [{"type": "web_search_20250305", "name": "web_search"}]


def test_tools_of_anthropics_own_pass_and_those_of_openais_own_are_named() -> None:
    own = {"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 2}
    assert from_openai(tools=[own])["tools"] == [own]
    with pytest.raises(BadRequestError, match=r"tools\[1\]"):
        from_openai(tools=[own, {"type": "custom", "custom": {"name": "shell"}}])


def test_one_call_at_a_time_needs_a_choice_to_say_it_in() -> None:
    tools = [{"type": "function", "function": {"name": "a"}}]
    assert from_openai(tools=tools, parallel_tool_calls=False)["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert "tool_choice" not in from_openai(tools=tools, parallel_tool_calls=True)
    assert "tool_choice" not in from_openai(parallel_tool_calls=False)
    named = {"type": "function", "function": {"name": "a"}}
    assert from_openai(tools=tools, tool_choice=named)["tool_choice"] == {"type": "tool", "name": "a"}
    assert from_openai(tools=tools, tool_choice="none", parallel_tool_calls=False)["tool_choice"] == {"type": "none"}


def test_openais_words_are_said_left_out_or_named() -> None:
    said = {
        "n": 2, "seed": 0, "presence_penalty": 0.5, "frequency_penalty": 1, "logprobs": True, "top_logprobs": 2, "logit_bias": {"1": 2},
        "response_format": {"type": "json_object"}, "store": True, "service_tier": "flex", "modalities": ["text", "audio"],
        "prediction": {"type": "content"},
    }  # fmt: skip
    request = OPENAI.read_request({"model": "m", "messages": [HI], **said})
    assert set(DIALECT.unsaid(request)) == set(said)
    assert set(body_of(request, FOREIGN)) == {"model", "messages", "max_tokens"}


def test_blank_stops_which_anthropic_refuses_are_left_out() -> None:
    assert from_openai(stop=["\n", "END"])["stop_sequences"] == ["END"]
    assert "stop_sequences" not in from_openai(stop=" ")


def test_a_custom_tools_text_is_said_inside_an_object() -> None:
    call = {"id": "c", "type": "custom", "custom": {"name": "shell", "input": "ls"}}
    [_, turn] = turns_from_openai(HI, {"role": "assistant", "tool_calls": [call]})
    assert turn["content"] == [{"type": "tool_use", "id": "c", "name": "shell", "input": {"input": "ls"}}]


def test_what_is_empty_is_not_sent() -> None:
    empty = {"stop": [], "tools": [], "user": None, "seed": None, "max_completion_tokens": None, "reasoning_effort": None, "n": None}
    assert from_openai(**empty) == {"model": "claude-sonnet-4-5", "messages": [HI], "max_tokens": 4096}


def test_a_choice_in_anthropics_words_passes_and_one_that_only_openai_offers_is_named() -> None:
    assert from_openai(tool_choice={"type": "any"})["tool_choice"] == {"type": "any"}
    several = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}
    request = OPENAI.read_request({"model": "m", "messages": [HI], "tool_choice": several})
    assert DIALECT.unsaid(request) == ("tool_choice",)
    assert "tool_choice" not in body_of(request, FOREIGN)


def test_hints_that_change_nothing_are_left_out_in_silence() -> None:
    hints = {
        "n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logprobs": False, "store": False,
        "stream_options": {"include_usage": True}, "service_tier": "default", "modalities": ["text"],
        "metadata": {"a": "b", "user_id": "u"}, "response_format": {"type": "text"},
        "prompt_cache_key": "k", "logit_bias": {},
    }  # fmt: skip
    request = OPENAI.read_request({"model": "m", "messages": [HI], **hints})
    assert DIALECT.unsaid(request) == ()
    body = body_of(request, FOREIGN)
    assert body == {
        "model": "claude-sonnet-4-5",
        "messages": [HI],
        "max_tokens": 4096,
        "service_tier": "standard_only",
        "metadata": {"user_id": "u"},
    }


@pytest.mark.parametrize("base", ["https://x.example", "https://x.example/v1", "https://x.example/v1/messages", "https://x.example/"])
def test_an_address_may_be_given_with_or_without_its_path(base: str) -> None:
    assert requests.url_of(base) == "https://x.example/v1/messages"


def test_headers_are_added_unless_given() -> None:
    request = ChatRequest(model="m", messages=(Message(role="user", content=(Text(text="hi"),)),))
    given_ = (("Anthropic-Version", "2030-01-01"), ("x-api-key", "secret"), ("anthropic-beta", "a"))
    sent = DIALECT.write_request(
        msgspec.structs.replace(request, extra={"betas": ["b", "a"]}), Target("a", "m", "https://x.example", given_)
    )
    names = [name.lower() for name, _ in sent.headers]
    assert sorted(names) == ["anthropic-beta", "anthropic-version", "content-type", "x-api-key"]
    assert ("anthropic-beta", "a,b") in sent.headers
    assert ("Anthropic-Version", "2030-01-01") in sent.headers
    assert "secret" not in repr(sent)


# ---- answers -----------------------------------------------------------------------------------------------------------------------

USAGE = {"input_tokens": 3, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 2}
ANSWER = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn", "stop_sequence": None, "usage": USAGE,
}  # fmt: skip
ANSWERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "nothing said": {"content": [], "stop_reason": "refusal", "stop_details": {"type": "refusal", "category": "x"}},
    "a stop text": {"stop_reason": "stop_sequence", "stop_sequence": "END"},
    "a stop of tomorrow": {"stop_reason": "invented"},
    "no stop": {"stop_reason": None},
    "blocks": {
        "content": [
            {"type": "thinking", "thinking": "", "signature": "c2ln"},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
            {"type": "text", "text": "a", "citations": None},
            {"type": "text", "text": "b", "citations": [{"type": "char_location"}]},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}},
        ],
        "stop_reason": "tool_use",
    },
    "no usage": {"usage": None},
    "no content": {"content": None},
    "old usage": {"usage": {"input_tokens": 1, "output_tokens": 0}},
    "rich usage": {
        "usage": {
            **USAGE, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 5, "cache_creation": {"ephemeral_5m_input_tokens": 5},
            "output_tokens_details": {"thinking_tokens": 1, "new": 2},
            "server_tool_use": {"web_search_requests": 1}, "service_tier": "batch",
        }
    },
    "null usage": {"usage": {"input_tokens": 1, "output_tokens": 1, "cache_read_input_tokens": None, "server_tool_use": None}},
    "unknown fields": {"container": {"id": "c"}, "context_management": None},
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_written_as_it_was_read(name: str) -> None:
    body = {**ANSWER, **ANSWERS[name]}
    hub_ = DIALECT.read_response(reply(body), ASKED, OWN)
    assert json.loads(msgspec.json.encode(DIALECT.write_response(hub_))) == body


@pytest.mark.parametrize(
    ("word", "calls", "finish", "native"),
    [
        ("end_turn", False, "stop", None),
        ("stop_sequence", False, "stop", "stop_sequence"),
        ("max_tokens", False, "length", None),
        ("max_tokens", True, "length", None),
        ("model_context_window_exceeded", False, "length", "model_context_window_exceeded"),
        ("tool_use", True, "tool_calls", None),
        ("end_turn", True, "tool_calls", "end_turn"),
        ("pause_turn", False, "pause", None),
        ("refusal", False, "content_filter", None),
        ("compaction", False, "pause", "compaction"),
        ("invented", False, "other", "invented"),
        (None, False, None, None),
    ],
)
def test_why_it_ended(word: str | None, calls: bool, finish: str | None, native: str | None) -> None:
    content = [{"type": "tool_use", "id": "t", "name": "f", "input": {}}] if calls else []
    hub_ = responses.read_response({**ANSWER, "stop_reason": word, "content": content})
    assert (hub_.choices[0].finish, hub_.choices[0].native_finish) == (finish, native)


def test_input_counts_what_the_caches_held_and_the_wire_does_not() -> None:
    usage = responses.read_usage(ANSWERS["rich usage"]["usage"])
    assert (usage.input, usage.cached, usage.cache_write, usage.output, usage.total, usage.reasoning) == (15, 7, 5, 2, 17, 1)
    written = responses.write_usage(hub.Usage(input=15, output=2, total=17, cached=7, cache_write=5))
    assert written == {"input_tokens": 3, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 2}


def test_an_answer_of_openai_is_said_in_blocks() -> None:
    message = {
        "role": "assistant", "content": "hello", "refusal": None, "annotations": [], "reasoning_content": "hm",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}, "index": 0}],
    }  # fmt: skip
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    details = {"prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 1}}
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, **details}
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt",
        "choices": [choice],
        "usage": usage,
        "system_fingerprint": "f",
    }
    written = DIALECT.write_response(OPENAI.read_response(reply(body), ASKED, OWN))
    assert written == {
        "id": "x", "type": "message", "role": "assistant", "model": "gpt",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "hello"},
            {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
        ],
        "stop_reason": "tool_use", "stop_sequence": None,
        "usage": {
            "input_tokens": 6, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 2,
            "output_tokens_details": {"thinking_tokens": 1},
        },
    }  # fmt: skip


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"id": "x"}', b'{"content": {}}', b'{"content": [1]}', b""])
def test_what_is_no_message_is_a_bad_response(body: bytes) -> None:
    with pytest.raises(APIResponseValidationError, match="anthropic"):
        DIALECT.read_response(HttpResponse(200, Headers(), body), ASKED, OWN)


# ---- errors ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "message", "expected"),
    [
        (400, "invalid_request_error", "prompt is too long: 3 tokens > 2 maximum", Kind.CONTEXT_WINDOW),
        (400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 2 + 2 > 3", Kind.CONTEXT_WINDOW),
        (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API.", Kind.PAYMENT),
        (400, "invalid_request_error", "You have reached your specified API usage limits.", Kind.QUOTA_EXHAUSTED),
        (400, "invalid_request_error", "Output blocked by content filtering policy", Kind.CONTENT_POLICY),
        (400, "invalid_request_error", "messages: at least one message is required", Kind.BAD_REQUEST),
        (401, "authentication_error", "invalid x-api-key", Kind.AUTHENTICATION),
        (402, "billing_error", "no money", Kind.PAYMENT),
        (403, "permission_error", "no", Kind.PERMISSION),
        (404, "not_found_error", "model: x", Kind.NOT_FOUND),
        (413, "request_too_large", "Request exceeds the maximum size", Kind.BAD_REQUEST),
        (429, "rate_limit_error", "Number of request tokens has exceeded your per-minute rate limit", Kind.RATE_LIMIT),
        (500, "api_error", "Internal server error", Kind.SERVER),
        (504, "timeout_error", "too slow", Kind.TIMEOUT),
        (529, "overloaded_error", "Overloaded", Kind.OVERLOADED),
    ],
)
def test_an_error_is_the_same_kind_under_a_status_and_inside_a_stream(status: int, kind: str, message: str, expected: Kind) -> None:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}).encode()
    failure = DIALECT.read_error(HttpResponse(status, Headers(), body), OWN)
    assert (failure.kind, failure.code) == (expected, kind)
    with pytest.raises(HeadraceError) as caught:
        DIALECT.read_stream(ASKED, OWN).feed(Frame(body, "error"))
    assert caught.value.failure.kind is expected
    with pytest.raises(HeadraceError) as caught:
        DIALECT.read_response(HttpResponse(200, Headers(), body), ASKED, OWN)
    assert caught.value.failure.kind is expected


def test_the_cause_that_clients_act_upon_was_lost_with_an_errors_details() -> None:
    said = {"type": "invalid_request_error", "message": "x", "details": {"error_code": "thread_fingerprint_mismatch", "new": 1}}
    failure = DIALECT.read_error(HttpResponse(400, Headers(), json.dumps({"type": "error", "error": said}).encode()), OWN)
    assert json.loads(DIALECT.write_error(failure).body)["error"]["details"] == said["details"]


def test_a_failure_is_told_as_anthropic_tells_it() -> None:
    told = DIALECT.write_error(Failure(Kind.OVERLOADED, "busy", status=529, retry_after=1.2, headers={"request-id": "req_1"}))
    assert json.loads(told.body) == {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}, "request_id": "req_1"}
    assert (told.status, told.headers["retry-after"]) == (529, "2")
    failed = DIALECT.write_stream(ASKED).fail(Failure(Kind.SERVER, "broke"))
    assert failed == b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"broke"}}\n\n'

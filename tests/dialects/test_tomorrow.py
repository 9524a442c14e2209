"""What a provider may send tomorrow is read, and comes back in its own dialect: words for the end, kinds of calls, numbers in texts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.fields import count
from headrace.types import ChatRequest, ChatResponse, Json
from headrace.wire import Headers, HttpResponse

ASKED = ChatRequest(model="m", messages=())

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CHAT: Json = {
    "id": "a", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"}],
}  # fmt: skip
ANTHROPIC: Json = {
    "id": "a", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use", "stop_sequence": None,
    "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}], "usage": {"input_tokens": 3, "output_tokens": 4},
}  # fmt: skip
BEDROCK: Json = {
    "output": {"message": {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c", "name": "f", "input": {}}}]}},
    "stopReason": "tool_use", "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}, "metrics": {"latencyMs": 1},
}  # fmt: skip


def read(dialect: str, body: Any) -> ChatResponse:
    return load(dialect).read_response(HttpResponse(200, Headers(), json.dumps(body).encode()), ASKED, Target("p", "m"))


@pytest.mark.parametrize(("dialect", "body", "way"), [
    ("openai_chat", CHAT, ("choices", 0, "finish_reason")),
    ("anthropic_messages", ANTHROPIC, ("stop_reason",)),
    ("bedrock_converse", BEDROCK, ("stopReason",)),
])  # fmt: skip
def test_a_new_word_for_the_end_comes_back_also_beside_calls(dialect: str, body: Json, way: tuple[Any, ...]) -> None:
    body = json.loads(json.dumps(body))
    at = body
    for step in way[:-1]:
        at = at[step]
    at[way[-1]] = "from_tomorrow"
    hub = read(dialect, body)
    assert hub.choices[0].finish == "tool_calls"
    assert load(dialect).write_response(hub) == body


def test_a_call_of_a_new_kind_keeps_its_kind() -> None:
    body = json.loads(json.dumps(CHAT))
    body["choices"][0]["message"]["tool_calls"][0]["type"] = "from_tomorrow"
    body["choices"][0]["message"]["tool_calls"][0] |= {"function": {"name": "f", "arguments": "{}"}}
    assert load("openai_chat").write_response(read("openai_chat", body)) == body


def test_an_item_without_a_type_is_no_message() -> None:
    item = {"id": "x", "said": 1}
    body = load("openai_responses").write_response(read("openai_responses", {"id": "r", "status": "completed", "output": [item]}))
    assert body["output"] == [item]


@pytest.mark.parametrize(("dialect", "usage"), [
    ("openai_chat", {"prompt_tokens": "3", "completion_tokens": "4", "total_tokens": "7"}),
    ("openai_responses", {"input_tokens": "3", "output_tokens": "4", "total_tokens": "7"}),
    ("anthropic_messages", {"input_tokens": "3", "output_tokens": "4"}),
])  # fmt: skip
def test_tokens_counted_in_texts_are_counted(dialect: str, usage: Json) -> None:
    body = {"openai_chat": CHAT, "openai_responses": {"status": "completed", "output": []}, "anthropic_messages": ANTHROPIC}[dialect]
    told = read(dialect, {**body, "usage": usage}).usage
    assert told is not None
    assert (told.input, told.output, told.total) == (3, 4, 7)


@pytest.mark.parametrize(("value", "counted"), [
    (3, 3), (3.9, 3), ("3", 3), (-1, 0), (True, 0), (None, 0), ("x", 0), ("-3", 0), ("1e3", 0), ("9" * 5000, 0), (2**63, 0), (1e300, 0),
    (float("nan"), 0), ("\u0663", 0), ([3], 0),
])  # fmt: skip
def test_only_numbers_count(value: Json, counted: int) -> None:
    assert count(value) == counted

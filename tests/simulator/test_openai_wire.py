"""The OpenAI dialect over a real socket: what is accepted, what is refused and in which words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simulator.conftest import KEY, Wire, events

USER = {"role": "user", "content": "hello"}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
ASSISTANT = {
    "role": "assistant",
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
}


def test_a_chat_has_the_shape_of_openai(wire: Wire) -> None:
    reply = wire.chat(max_tokens=5).reply()
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    body = reply.json
    assert set(body) == {"id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint"}
    assert (body["object"], body["model"]) == ("chat.completion", "gpt-sim")
    [choice] = body["choices"]
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "length", None)
    assert choice["message"]["role"] == "assistant"
    assert body["usage"] == {
        "prompt_tokens": 6, "completion_tokens": 5, "total_tokens": 11,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"n": 3},
        {"logprobs": True, "top_logprobs": 2},
        {"tools": [TOOL], "tool_choice": "required"},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}}}}},
        {"max_tokens": 3},
        {"stop": ["the"]},
    ],
    ids=lambda more: "+".join(more) or "plain",
)
def test_a_stream_adds_up_to_the_whole_reply(wire: Wire, more: dict[str, Any]) -> None:
    whole = wire.chat(seed=5, **more).reply().json
    stream = events(wire.chat(seed=5, stream=True, stream_options={"include_usage": True}, **more).reply().body)
    assert stream[-1] == "[DONE]"
    assert stream[-2]["choices"] == []
    assert stream[-2]["usage"] == whole["usage"]
    for choice in whole["choices"]:
        parts = [part for chunk in stream[:-2] for part in chunk["choices"] if part["index"] == choice["index"]]
        deltas = [part["delta"] for part in parts]
        message = choice["message"]
        assert deltas[0]["role"] == "assistant"
        assert "".join(delta.get("content") or "" for delta in deltas) == (message["content"] or "")
        assert [part["finish_reason"] for part in parts if part["finish_reason"]] == [choice["finish_reason"]]
        calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
        arguments = "".join(call["function"].get("arguments", "") for call in calls)
        assert arguments == "".join(call["function"]["arguments"] for call in message.get("tool_calls", ()))
        logprobs = [entry for part in parts if part["logprobs"] for entry in part["logprobs"]["content"]]
        assert logprobs == (choice["logprobs"] or {"content": []})["content"]


def test_usage_is_in_a_stream_only_when_asked_for(wire: Wire) -> None:
    plain = events(wire.chat(stream=True).reply().body)
    assert all("usage" not in event for event in plain[:-1])
    asked = events(wire.chat(stream=True, stream_options={"include_usage": True}).reply().body)
    assert all(event["usage"] is None for event in asked[:-2])


def test_a_stream_is_one_token_an_event(wire: Wire) -> None:
    stream = events(wire.chat(stream=True, simulate="tokens=12").reply().body)
    assert len(stream) == 1 + 12 + 1 + 1


@pytest.mark.parametrize("stream", [False, True])
def test_text_completions_have_their_own_shape(wire: Wire, stream: bool) -> None:
    body = {"model": "gpt-sim", "prompt": "Once", "max_tokens": 6, "seed": 1, "stream": stream, "echo": True, "logprobs": 1}
    reply = wire.send("POST", "/a/v1/completions", body).reply()
    chunks = events(reply.body)[:-1] if stream else [reply.json]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    text = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
    assert text.startswith("Once")
    tokens = [token for chunk in chunks for choice in chunk["choices"] if choice["logprobs"] for token in choice["logprobs"]["tokens"]]
    assert "Once" + "".join(tokens) == text
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("given", "count", "tokens"),
    [("one", 1, 1), (["one", "two words"], 2, 4), ([1, 2, 3], 1, 3), ([[1, 2], [3]], 2, 3)],
)
def test_embeddings_take_texts_and_tokens(wire: Wire, given: Any, count: int, tokens: int) -> None:
    body = wire.send("POST", "/a/v1/embeddings", {"model": "embed-sim", "input": given, "dimensions": 12}).reply().json
    assert [row["index"] for row in body["data"]] == list(range(count))
    assert {len(row["embedding"]) for row in body["data"]} == {12}
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_models_are_listed_and_found(wire: Wire) -> None:
    listed = wire.send("GET", "/a/v1/models").reply().json
    assert [model["id"] for model in listed["data"]] == ["gpt-sim", "embed-sim"]
    assert wire.send("GET", "/a/v1/models/gpt-sim").reply().json == listed["data"][0]
    assert wire.send("GET", "/a/v1/models/gone").reply().status == 404


@pytest.mark.parametrize(
    ("more", "param", "code", "told"),
    [
        ({"messages": None}, "messages", "missing_required_parameter", "Missing required parameter: 'messages'."),
        ({"messages": []}, "messages", "empty_array", "Invalid 'messages': empty array. Expected an array with minimum length 1"),
        ({"messages": "hello"}, "messages", "invalid_type", "expected an array, but got a string instead"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter", "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "invalid_value", "Supported values are: 'system'"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", None, "expected a string, got null"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content", "invalid_type", "one of a string or array"),
        ({"messages": [{"role": "user", "content": [{"type": "sound"}]}]}, "messages[0].content[0].type", "invalid_value", "'sound'"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "y"}]}, "messages[0].role", None, "must be a response to"),
        ({"temperature": "hot"}, "temperature", "invalid_type", "expected a decimal, but got a string instead"),
        ({"temperature": 3}, "temperature", "decimal_above_max_value", "Expected a value <= 2, but got 3 instead"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value", "Expected a value >= 1, but got 0 instead"),
        ({"max_tokens": True}, "max_tokens", "invalid_type", "but got a boolean instead"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens", "invalid_parameter_combination", "at the same time"),
        ({"max_tokens": 99_999}, "max_tokens", "invalid_value", "max_tokens is too large: 99999. This model supports at most 16384"),
        ({"n": 0}, "n", "integer_below_min_value", "'n'"),
        ({"stop": list("abcde")}, "stop", "array_above_max_length", "'stop'"),
        ({"stop": [1]}, "stop", "invalid_type", "'stop'"),
        ({"stream_options": {}}, "stream_options", None, "only allowed when 'stream' is enabled"),
        ({"top_logprobs": 2}, "top_logprobs", None, "only allowed when 'logprobs'"),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "invalid_value", "'huge'"),
        ({"tool_choice": "auto"}, "tool_choice", None, "only allowed when 'tools' are specified"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter", "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "invalid_value", "pattern"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice", None, "'x' not found"),
        ({"response_format": {"type": "json_object"}}, "messages", None, "must contain the word 'json'"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value", "'xml'"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter", "json_schema"),
        ({"colour": "red"}, "colour", "unknown_parameter", "Unknown parameter: 'colour'."),
    ],
)  # fmt: skip
def test_a_bad_request_is_refused_in_openais_words(wire: Wire, more: dict[str, Any], param: str, code: str | None, told: str) -> None:
    reply = wire.chat(**more).reply()
    error = reply.json["error"]
    assert (reply.status, error["type"], error["param"], error["code"]) == (400, "invalid_request_error", param, code)
    assert told in error["message"]


def test_a_schema_that_leads_nowhere_is_refused_and_frees_its_slot(wire: Wire, base: Any) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/gone"}}}
    assert wire.chat(response_format=schema).reply().json["error"]["code"] == "invalid_schema"
    assert base.stats()["a"]["in_flight"] == 0


def test_a_prompt_beyond_the_context_window_is_refused(wire: Wire) -> None:
    reply = wire.chat(messages=[{"role": "user", "content": "x" * 600_000}]).reply()
    assert (reply.status, reply.json["error"]["code"]) == (400, "context_length_exceeded")


def test_a_tool_result_is_answered_in_text(wire: Wire) -> None:
    messages = [{"role": "user", "content": "weather?"}, ASSISTANT, {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]
    choice = wire.chat(messages=messages, tools=[TOOL]).reply().json["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("POST", "/a/v1/chat/completions", b"{", 400, "could not parse the JSON body"),
        ("POST", "/a/v1/chat/completions", b"[1]", 400, "could not parse the JSON body"),
        ("POST", "/a/v1/chat/completions", b"\xff", 400, "could not parse the JSON body"),
        ("GET", "/a/v1/chat/completions", None, 405, "Not allowed to GET"),
        ("POST", "/a/v1/audio", {}, 404, "Invalid URL (POST /v1/audio)"),
        ("POST", "/a/v1/chat/completions", {"model": "gpt-9", "messages": [USER]}, 404, "The model `gpt-9` does not exist"),
        ("POST", "/a/v1/embeddings", {"model": "embed-sim", "input": []}, 400, "'$.input' is invalid"),
        ("POST", "/a/v1/embeddings", {"model": "embed-sim", "input": ["a", 1]}, 400, "'$.input' is invalid"),
        ("POST", "/a/v1/embeddings", {"model": "embed-sim", "input": ["a"] * 2049}, 400, "array too long"),
        ("POST", "/a/v1/embeddings", {"model": "embed-sim", "input": "a", "dimensions": 9999}, 400, "'dimensions'"),
        ("POST", "/a/v1/embeddings", {"model": "embed-sim", "input": "a", "encoding_format": "hex"}, 400, "'hex'"),
        ("POST", "/a/v1/completions", {"model": "gpt-sim", "prompt": ["a", "b"]}, 400, "exactly one prompt"),
        ("POST", "/nobody/v1/chat/completions", {}, 404, "no provider 'nobody'"),
    ],
)
def test_everything_else_that_is_wrong_is_told(wire: Wire, method: str, path: str, body: Any, status: int, told: str) -> None:
    reply = wire.send(method, path, body).reply()
    assert reply.status == status
    assert told in json.dumps(reply.json, ensure_ascii=False)


@pytest.mark.parametrize(
    ("header", "code", "told"),
    [
        ("", None, "You didn't provide an API key"),
        ("Basic abc", None, "You didn't provide an API key"),
        ("Bearer sk-wrong-key-9999", "invalid_api_key", "Incorrect API key provided: sk-***9999."),
        ("Bearer short", "invalid_api_key", "Incorrect API key provided: ***."),
    ],
)
def test_a_wrong_key_is_refused_and_not_repeated(wire: Wire, header: str, code: str | None, told: str) -> None:
    reply = wire.send("POST", "/locked/v1/chat/completions", {}, authorization=header).reply()
    assert (reply.status, reply.json["error"]["code"]) == (401, code)
    assert told in reply.json["error"]["message"]


def test_the_right_key_is_let_in(wire: Wire) -> None:
    assert wire.chat("/locked/v1/chat/completions").reply().status == 200
    assert wire.send("GET", "/locked/v1/models", authorization=f"Bearer {KEY}").reply().status == 200


def test_a_long_prompt_seen_before_is_partly_cached(wire: Wire) -> None:
    start = "shared beginning " * 600
    first, second = (
        wire.chat(messages=[{"role": "user", "content": start + end}]).reply().json["usage"]["prompt_tokens_details"]["cached_tokens"]
        for end in ("one", "two")
    )
    assert (first, second) == (0, 2048)


def test_a_temperature_of_nought_is_as_good_as_a_seed(wire: Wire) -> None:
    texts = [wire.chat(temperature=0).reply().json["choices"][0]["message"]["content"] for _ in range(2)]
    assert texts[0] == texts[1]

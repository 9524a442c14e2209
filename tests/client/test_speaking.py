"""Calls in the formats of Responses, Messages and generateContent: forwarded if the provider supports the format, else translated."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from openai.types.responses import Response
from tests.client.upstream import CHAT, Client, Reply, Upstream, chunk, sse

import headrace

ANSWER: dict[str, Any] = {
    "id": "resp_1", "object": "response", "created_at": 7, "model": "gpt-5-2026", "status": "completed", "error": None, "tomorrow": 1,
    "incomplete_details": None, "instructions": None, "metadata": {}, "parallel_tool_calls": True, "temperature": 1.0,
    "tool_choice": "auto", "tools": [], "top_p": 1.0,
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
         "content": [{"type": "output_text", "text": "hello", "annotations": []}]},
    ],
    "usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 5,
              "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 14},
}  # fmt: skip
CLAUDE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 2},
}  # fmt: skip
GEMINI = {
    "candidates": [{"content": {"parts": [{"text": "hello"}], "role": "model"}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
    "modelVersion": "gemini",
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def events(*events: dict[str, Any]) -> list[Any]:
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


STREAM = (
    {"type": "response.created", "sequence_number": 0, "response": {**ANSWER, "status": "in_progress", "output": [], "usage": None}},
    {"type": "response.output_text.delta", "sequence_number": 1, "output_index": 1, "content_index": 0, "delta": "hello", "new": 1},
    {"type": "response.tomorrow", "sequence_number": 2, "x": 1},
    {"type": "response.completed", "sequence_number": 3, "response": ANSWER},
)


# ---- Responses ---------------------------------------------------------------------------------------------------------------------


def test_responses_go_through_where_the_provider_speaks_them(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(ANSWER))
    said = [{"role": "user", "content": "hi"}]
    answer = client.call(
        "responses", said, "openai/gpt-5", tools=[{"type": "web_search"}], previous_response_id="resp_0", metadata={"a": "b"}, tomorrow=[1]
    )
    assert isinstance(answer, headrace.ResponsesAPIResponse)
    assert answer.output_text == "hello"
    assert answer.output[1].content[0].text == answer["output"][1]["content"][0]["text"] == "hello"
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens_details.reasoning_tokens) == (9, 2)
    assert answer.model_dump() == ANSWER
    [seen] = upstream.seen
    assert seen.path == "/v1/responses"
    assert seen.body == {
        "model": "gpt-5", "input": said, "tools": [{"type": "web_search"}], "previous_response_id": "resp_0", "metadata": {"a": "b"},
        "tomorrow": [1],
    }  # fmt: skip


def test_a_stream_of_responses_is_the_providers_own_events(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=events(*STREAM)))
    told = client.call("responses", "hi", "openai/gpt-5", stream=True)
    assert [event.model_dump() for event in told] == list(STREAM)
    assert isinstance(told[0], headrace.ResponsesAPIStreamingResponse)
    assert told[-1].response.output_text == "hello"
    assert upstream.seen[0].body["stream"] is True


@pytest.mark.parametrize("pieces", [events(*STREAM[:3]), [*events(*STREAM[:2]), b'event: response.completed\ndata: {"type": "resp']])
def test_a_stream_of_responses_that_is_cut_is_an_error(client: Client, upstream: Upstream, pieces: list[Any]) -> None:
    upstream.answer(Reply(pieces=pieces))
    with pytest.raises(headrace.TruncatedStream):
        client.call("responses", "hi", "openai/gpt-5", stream=True)


def test_a_response_that_failed_is_an_error(client: Client, upstream: Upstream) -> None:
    error = {"code": "rate_limit_exceeded", "message": "Too many."}
    upstream.answer(Reply({**ANSWER, "status": "failed", "error": error}))
    with pytest.raises(headrace.RateLimitError, match="Too many"):
        client.call("responses", "hi", "openai/gpt-5")
    upstream.answer(
        Reply(pieces=events(STREAM[0], {"type": "response.failed", "response": {**ANSWER, "status": "failed", "error": error}}))
    )
    with pytest.raises(headrace.RateLimitError, match="Too many"):
        client.call("responses", "hi", "openai/gpt-5", stream=True)


def test_responses_are_asked_of_a_chat_where_the_provider_has_none(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(CHAT))
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"},
        {"type": "function_call_output", "call_id": "c", "output": "sunny"},
    ]
    answer = client.call(
        "responses", items, "groq/llama", instructions="Be brief.", max_output_tokens=9, store=False, truncation="disabled",
        include=["reasoning.encrypted_content"], tools=[{"type": "function", "name": "f", "parameters": SCHEMA}],
        text={"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}, "verbosity": "low"},
    )  # fmt: skip
    assert answer.output_text == "hello"
    assert answer.status == "completed"
    assert Response.model_validate(answer.model_dump()).output_text == "hello"
    [seen] = upstream.seen
    assert seen.path == "/v1/chat/completions"
    assert seen.body == {
        "model": "llama",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "sunny"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
        "max_tokens": 9,
    }


def test_a_chats_stream_becomes_the_events_of_responses(client: Client, upstream: Upstream) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    upstream.answer(Reply(pieces=sse(chunk("hel"), chunk("lo", "stop"), {**chunk(), "choices": [], "usage": usage})))
    told = client.call("responses", "hi", "groq/llama", stream=True)
    assert [event.type for event in told] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        "response.output_text.delta", "response.output_text.delta", "response.output_text.done", "response.content_part.done",
        "response.output_item.done", "response.completed",
    ]  # fmt: skip
    assert told[-1].response.output_text == "hello"
    assert told[-1].response.usage.input_tokens == 3
    assert upstream.seen[0].body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"previous_response_id": "resp_0"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"tools": [{"type": "web_search"}]}, "tool of type 'web_search'"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
    ],
)
def test_what_a_chat_cannot_say_is_named_or_left_out(client: Client, upstream: Upstream, said: dict[str, Any], named: str) -> None:
    upstream.answer(Reply(CHAT))
    with pytest.raises(headrace.UnsupportedParamsError, match=f"groq does not support {named}"):
        client.call("responses", "hi", "groq/llama", **said)
    assert upstream.seen == []
    client.call("responses", "hi", "groq/llama", drop_params=True, **said)
    assert upstream.seen[0].body == {"model": "llama", "messages": [{"role": "user", "content": "hi"}]}


def test_responses_reach_anthropic_and_gemini(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(CLAUDE))
    answer = client.call("responses", "hi", "anthropic/claude", max_output_tokens=9)
    assert (answer.output_text, answer.usage.input_tokens) == ("hello", 3)
    assert upstream.seen[0].path == "/v1/messages"
    upstream.answer(Reply(GEMINI))
    assert client.call("responses", "hi", "gemini/gemini-2").output_text == "hello"
    assert upstream.seen[1].path == "/v1/models/gemini-2:generateContent"


def test_a_prompt_that_openai_keeps_was_refused_for_want_of_an_input(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(ANSWER))
    prompt = {"id": "pmpt_1", "variables": {"city": "Uppsala"}}
    assert client.call("responses", None, "openai/gpt-5", prompt=prompt).output_text == "hello"
    assert upstream.seen[-1].body == {"model": "gpt-5", "prompt": prompt}
    with pytest.raises(headrace.BadRequestError, match="input must not be empty"):
        client.call("responses", None, "openai/gpt-5")
    with pytest.raises(headrace.BadRequestError, match="a prompt stored by another provider"):
        client.call("responses", None, "groq/llama", prompt=prompt, drop_params=True)


def test_a_translated_answer_was_dated_1970(client: Client, upstream: Upstream) -> None:
    """Anthropic says nothing of when an answer was made; OpenAI's clients show it."""
    upstream.answer(Reply(CLAUDE))
    began = int(time.time())
    assert client.chat("hi", model="anthropic/claude-sonnet-4-5").created >= began
    assert client.call("responses", "hi", "anthropic/claude-sonnet-4-5").created_at >= began
    told = (
        {"type": "message_start", "message": {**CLAUDE, "content": [], "stop_reason": None}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    )
    upstream.answer(Reply(pieces=events(*told)))
    assert client.chat("hi", model="anthropic/claude-sonnet-4-5", stream=True)[0].created >= began
    upstream.answer(Reply(pieces=events(*told)))
    assert client.call("responses", "hi", "anthropic/claude-sonnet-4-5", stream=True)[-1].response.created_at >= began


def test_a_pydantic_class_is_the_form_of_the_text(client: Client, upstream: Upstream) -> None:
    from pydantic import BaseModel

    class City(BaseModel):
        name: str

    upstream.answer(Reply(ANSWER))
    client.call("responses", "hi", "openai/gpt-5", text_format=City, text={"verbosity": "low"})
    text = upstream.seen[0].body["text"]
    assert (text["verbosity"], text["format"]["type"], text["format"]["name"], text["format"]["strict"]) == (
        "low",
        "json_schema",
        "City",
        True,
    )


def test_kept_responses_are_got_listed_cancelled_and_deleted(client: Client, upstream: Upstream) -> None:
    failed = {**ANSWER, "status": "failed", "error": {"code": "server_error", "message": "It broke."}}
    upstream.answer(Reply(failed), Reply({"object": "list", "data": [{"type": "message", "id": "m"}], "has_more": False}))
    assert client.call("get_responses", "resp_1", include=["x"]).error.code == "server_error"
    assert client.call("list_input_items", "resp_1", limit=5).data[0].id == "m"
    upstream.answer(Reply(ANSWER), Reply({"id": "resp_1", "object": "response", "deleted": True}))
    assert client.call("cancel_responses", "resp_1").status == "completed"
    assert client.call("delete_responses", "resp_1").deleted is True
    assert [(seen.method, seen.path.partition("?")[0]) for seen in upstream.seen] == [
        ("GET", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp_1/input_items"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("DELETE", "/v1/responses/resp_1"),
    ]
    with pytest.raises(headrace.BadRequestError, match="groq stores no responses"):
        client.call("get_responses", "resp_1", custom_llm_provider="groq")


def test_a_conversation_is_made_short_where_it_is_kept(client: Client, upstream: Upstream) -> None:
    sealed = {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"}
    router = router_of(upstream, *["openai/gpt-5"] * 2)
    upstream.answer(Reply(ANSWER), Reply({"id": "resp_2", "object": "response.compaction", "output": [sealed], "usage": ANSWER["usage"]}))
    before = client.call("responses", "hi", "gpt", on=router)
    short = client.call("compact_responses", "go on", "gpt", on=router, previous_response_id=before.id)
    assert (short.output[0].encrypted_content, short.usage.input_tokens) == ("x", 9)
    assert (upstream.seen[-1].path, upstream.seen[-1].body["previous_response_id"]) == ("/v1/responses/compact", "resp_1")
    assert upstream.seen[-1].headers["authorization"] == upstream.seen[0].headers["authorization"]


@pytest.mark.parametrize("value", ["", [], None])
def test_an_empty_input_is_refused(client: Client, value: Any) -> None:
    with pytest.raises(headrace.BadRequestError, match="input must not be empty"):
        client.call("responses", value, "openai/gpt-5")


# ---- a chat that is held by Responses ------------------------------------------------------------------------------------------------


def test_a_chat_can_be_held_by_responses(client: Client, upstream: Upstream) -> None:
    call = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"}
    upstream.answer(Reply({**ANSWER, "output": [ANSWER["output"][0], call]}), Reply(ANSWER))
    messages: list[Any] = [{"role": "user", "content": "hi"}]
    tools = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
    first = client.call("completion", "openai/responses/gpt-5-pro", messages, tools=tools, max_tokens=9, reasoning_effort="high")
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls[0].function.name == "f"
    assert (first.usage.prompt_tokens, first.usage.prompt_tokens_details.cached_tokens) == (9, 4)
    assert upstream.seen[0].path == "/v1/responses"
    assert upstream.seen[0].body == {
        "model": "gpt-5-pro", "input": [{"role": "user", "content": "hi"}], "max_output_tokens": 9, "reasoning": {"effort": "high"},
        "tools": [{"type": "function", "name": "f", "parameters": SCHEMA, "strict": False}],
    }  # fmt: skip
    messages += [message, {"role": "tool", "tool_call_id": "c", "content": "sunny"}]
    second = client.call("completion", "openai/responses/gpt-5-pro", messages, tools=tools)
    assert second.choices[0].message.content == "hello"
    assert upstream.seen[1].body["input"][1:] == [
        ANSWER["output"][0],
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "sunny"},
    ]


def test_a_chat_streams_from_responses(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=events(*STREAM)))
    chunks = client.chat("hi", model="openai/responses/gpt-5", stream=True, stream_options={"include_usage": True})
    assert "".join(item.choices[0].delta.content or "" for item in chunks if item.choices) == "hello"
    assert [item.choices[0].finish_reason for item in chunks if item.choices][-1] == "stop"
    assert chunks[-1].usage.total_tokens == 14
    assert "openai_responses" not in json.dumps([item.model_dump() for item in chunks])


# ---- Messages and generateContent ----------------------------------------------------------------------------------------------------


def test_messages_go_through_to_anthropic(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({**CLAUDE, "tomorrow": 1}))
    answer = client.call(
        "anthropic_messages", 9, [{"role": "user", "content": "hi"}], "anthropic/claude", system="Be brief.", betas=["b-1"],
        metadata={"user_id": "u"}, tools=[{"type": "web_search_20250305", "name": "web_search"}],
    )  # fmt: skip
    assert answer.content[0].text == answer["content"][0]["text"] == "hello"
    assert answer.model_dump() == {**CLAUDE, "tomorrow": 1}
    [seen] = upstream.seen
    assert (seen.path, seen.headers["anthropic-beta"]) == ("/v1/messages", "b-1")
    assert seen.body == {
        "model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "system": "Be brief.",
        "metadata": {"user_id": "u"}, "tools": [{"type": "web_search_20250305", "name": "web_search"}],
    }  # fmt: skip


def test_messages_are_asked_of_a_chat(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(CHAT))
    answer = client.call(
        "anthropic_messages", 9, [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}],
        "openai/gpt-5", system="Be brief.", stop_sequences=["x"],
    )  # fmt: skip
    assert (answer.type, answer.content[0].text, answer.stop_reason, answer.usage.output_tokens) == ("message", "hello", "end_turn", 1)
    assert upstream.seen[0].body == {
        "model": "gpt-5", "max_completion_tokens": 9, "stop": ["x"],
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
    }  # fmt: skip
    upstream.answer(Reply(pieces=sse(chunk("hel"), chunk("lo", "stop"))))
    told = client.call("anthropic_messages", 9, [{"role": "user", "content": "hi"}], "openai/gpt-5", stream=True)
    assert (told[0].type, told[-1].type) == ("message_start", "message_stop")
    assert "".join(event.delta.text for event in told if event.type == "content_block_delta") == "hello"


def test_more_output_than_a_model_can_write_was_asked_of_it(client: Client, upstream: Upstream) -> None:
    """Messages wants a maximum, so Anthropic's clients ask for Claude's, and OpenAI refused the call."""
    upstream.answer(Reply(CHAT))
    answer = client.call("anthropic_messages", 64_000, [{"role": "user", "content": "hi"}], "openai/gpt-4o")
    assert upstream.seen[-1].body["max_tokens"] == 16_384
    assert answer._hidden_params["left_out"] == ["max_tokens"]
    client.call("anthropic_messages", 64_000, [{"role": "user", "content": "hi"}], "openai/nobody-knows-it")
    assert upstream.seen[-1].body["max_tokens"] == 64_000
    for info, most in (({"max_output_tokens": 2_000}, 2_000), ({"base_model": "gpt-4o"}, 16_384)):
        params = {"model": "openai/nobody-knows-it", "api_key": "sk-test", "base_url": upstream.url}
        router = headrace.Router([{"model_name": "gpt", "litellm_params": params, "model_info": info}])
        client.call("anthropic_messages", 64_000, [{"role": "user", "content": "hi"}], "gpt", on=router)
        assert upstream.seen[-1].body["max_tokens"] == most


def test_generate_content_goes_through_to_gemini(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(GEMINI))
    config = {"temperature": 0, "max_output_tokens": 9, "system_instruction": "Be brief."}
    answer = client.call("generate_content", "gemini/gemini-2", "hi", config, safety_settings=[{"category": "x"}])
    assert answer.text == "hello"
    assert answer.model_dump() == GEMINI
    [seen] = upstream.seen
    assert seen.path == "/v1/models/gemini-2:generateContent"
    assert seen.body == {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {"temperature": 0, "maxOutputTokens": 9},
        "systemInstruction": {"parts": [{"text": "Be brief."}]}, "safetySettings": [{"category": "x"}],
    }  # fmt: skip


def test_generate_content_streams_and_is_asked_of_a_chat(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=[f"data: {json.dumps(GEMINI)}\r\n\r\n".encode()]))
    told = client.call("generate_content", "gemini/gemini-2", "hi", stream=True)
    assert [piece.model_dump() for piece in told] == [GEMINI]
    assert upstream.seen[0].path == "/v1/models/gemini-2:streamGenerateContent?alt=sse"
    assert "stream" not in upstream.seen[0].body
    upstream.answer(Reply(pieces=sse(chunk("hel"), chunk("lo", "stop"))))
    told = client.call("generate_content", "openai/gpt-5", "hi", stream=True)
    assert "".join(piece.text for piece in told) == "hello"
    assert upstream.seen[1].body["messages"] == [{"role": "user", "content": "hi"}]
    upstream.answer(Reply(ANSWER))
    assert client.call("generate_content", "openai/responses/gpt-5", "hi").text == "hello"


# ---- through a Router ----------------------------------------------------------------------------------------------------------------


def router_of(upstream: Upstream, *models: str, **params: Any) -> headrace.Router:
    entries = [
        {"model_name": "gpt", "litellm_params": {"model": model, "api_key": f"sk-test-{at}", "base_url": upstream.url, **params}}
        for at, model in enumerate(models)
    ]
    return headrace.Router(entries, num_retries=0)


def test_a_router_knows_again_which_deployment_keeps_a_response(client: Client, upstream: Upstream) -> None:
    router = router_of(upstream, *["openai/gpt-5"] * 4, rpm=60_000, tpm=6_000_000)
    upstream.answer(Reply(ANSWER))
    answer = client.call("responses", "hi", "gpt", on=router)
    key = upstream.seen[-1].headers["authorization"]
    assert answer.id != "resp_1"
    assert answer.output_text == "hello"
    assert answer._hidden_params["headrace"]["settled"].input == 9
    for _ in range(6):
        client.call("responses", "and then?", "gpt", on=router, previous_response_id=answer.id)
    assert {seen.headers["authorization"] for seen in upstream.seen} == {key}
    assert upstream.seen[-1].body["previous_response_id"] == "resp_1"
    again = client.call("get_responses", answer.id, on=router)
    assert again.id == answer.id
    assert client.call("get_responses", answer.id, custom_llm_provider="openai").id == "resp_1", (
        "without the Router, its ids lead there too"
    )
    client.call("list_input_items", answer.id, on=router)
    client.call("cancel_responses", answer.id, on=router)
    client.call("delete_responses", answer.id, on=router)
    assert {seen.path for seen in upstream.seen[-3:]} == {f"/v1/responses/resp_1{end}" for end in ("/input_items", "/cancel", "")}
    assert {seen.headers["authorization"] for seen in upstream.seen[-3:]} == {key}


def test_streamed_responses_of_a_router_have_ids_that_lead_back(client: Client, upstream: Upstream) -> None:
    router = router_of(upstream, *["openai/gpt-5"] * 3)
    upstream.answer(Reply(pieces=events(*STREAM)))
    told = client.call("responses", "hi", "gpt", on=router, stream=True)
    key = upstream.seen[0].headers["authorization"]
    assert told[0].response.id == told[-1].response.id != "resp_1"
    assert told[1].delta == "hello"
    upstream.answer(Reply(ANSWER))
    client.call("get_responses", told[0].response.id, on=router)
    assert upstream.seen[-1].headers["authorization"] == key


def test_ids_that_lead_nowhere_are_refused_by_name(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(ANSWER))
    router = router_of(upstream, "openai/gpt-5")
    with pytest.raises(headrace.BadRequestError, match="response_id does not name the deployment"):
        client.call("get_responses", "resp_1", on=router)
    assert client.call("get_responses", "resp_1", model="gpt", on=router).output_text == "hello"
    gone = client.call("responses", "hi", "gpt", on=router_of(upstream, "openai/other")).id
    with pytest.raises(headrace.BadRequestError, match="no longer has"):
        client.call("get_responses", gone, on=router)


def test_a_router_falls_back_across_dialects(client: Client, upstream: Upstream) -> None:
    entries = [
        {"model_name": name, "litellm_params": {"model": model, "api_key": "sk-test", "base_url": upstream.url}}
        for name, model in (("first", "openai/gpt-5"), ("second", "anthropic/claude"), ("third", "groq/llama"))
    ]
    router = headrace.Router(entries, num_retries=0, fallbacks=[{"first": ["second", "third"]}])
    broken = Reply({"error": {"message": "It broke."}}, status=500)
    upstream.answer(broken, broken, Reply(CHAT))
    assert client.call("responses", "hi", "first", on=router).output_text == "hello"
    assert [seen.path for seen in upstream.seen] == ["/v1/responses", "/v1/messages", "/v1/chat/completions"]
    upstream.answer(broken, Reply(CLAUDE))
    assert client.call("anthropic_messages", 9, [{"role": "user", "content": "hi"}], "first", on=router).content[0].text == "hello"
    upstream.answer(broken, broken, Reply(CHAT))
    assert client.call("generate_content", "first", "hi", on=router).text == "hello"


def test_a_deployments_parameters_are_said_in_the_callers_words(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(ANSWER))
    router = router_of(upstream, "openai/gpt-5", max_tokens=7, temperature=0)
    client.call("responses", "hi", "gpt", on=router)
    assert upstream.seen[0].body == {"model": "gpt-5", "max_output_tokens": 7, "temperature": 0, "input": "hi"}


def test_a_registered_provider_that_speaks_responses_is_not_translated(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(ANSWER))
    headrace.register_provider("speaks-both", base_url=upstream.url, speaks=["openai_responses"])
    client.call("responses", "hi", "speaks-both/m")
    assert upstream.seen[0].path == "/v1/responses"
    with pytest.raises(headrace.ConfigurationError, match="'klingon'"):
        headrace.register_provider("speaks-klingon", base_url=upstream.url, speaks=["klingon"])


# ---- what could not be said --------------------------------------------------------------------------------------------------------


SEARCHED: tuple[dict[str, Any], ...] = (
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "text", "text": "yes"},
    ]},
    {"role": "user", "content": "and then?"},
)  # fmt: skip


def test_an_answer_says_what_the_provider_was_not_told(client: Client, upstream: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "headrace")
    upstream.answer(Reply(CHAT))
    answer = client.call("anthropic_messages", 9, [*SEARCHED], "groq/llama", service_tier="auto")
    assert answer._hidden_params["left_out"] == ["service_tier", "messages[1].content[1]", "messages[1].content[0]"]
    assert [record.getMessage() for record in caplog.records if "was not sent" in record.getMessage()] == [
        "groq/llama was not sent service_tier, messages[1].content[1], messages[1].content[0]: its dialect cannot express it"
    ]


def test_a_stream_says_what_the_provider_was_not_told(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=sse(chunk("hi"), chunk(finish="stop"))))
    told = client.call("responses", "hi", "groq/llama", store=True, stream=True)
    assert [event._hidden_params["left_out"] for event in told] == [["store"]] * len(told)


def test_nothing_is_left_out_where_the_provider_speaks_the_callers_words(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(CLAUDE))
    assert "left_out" not in client.call("anthropic_messages", 9, [*SEARCHED], "anthropic/claude", metadata={"user_id": "u"})._hidden_params
    upstream.answer(Reply(CHAT))
    assert client.call("anthropic_messages", 9, [*SEARCHED[:1]], "openai/gpt-5")._hidden_params["left_out"] == []


def test_a_chats_dropped_parameters_are_named_on_its_answer(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(CLAUDE))
    said = [{"role": "user", "content": "hi"}]
    answer = client.call("completion", "anthropic/claude", said, seed=3, drop_params=True)
    assert answer._hidden_params["left_out"] == ["seed"]
    answer = client.call("completion", "gpt", said, seed=3, drop_params=True, on=router_of(upstream, "anthropic/claude"))
    assert answer._hidden_params["left_out"] == ["seed"]

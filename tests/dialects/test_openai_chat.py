"""OpenAI's Chat Completions and the hub: what each field means, and what survives."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from headrace.dialects.base import Target
from headrace.dialects.collect import collect
from headrace.dialects.openai_chat import dialect, messages, others, requests, responses
from headrace.errors import APIResponseValidationError, BadRequestError, Failure, Kind
from headrace.framing import SseReader
from headrace.types import (
    ChatRequest,
    ChatResponse,
    Choice,
    Finished,
    Message,
    Noted,
    Started,
    StreamEvent,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
    UsageReported,
)
from headrace.wire import Headers, HttpResponse

TARGET = Target("openai", "m")
ASKED = ChatRequest(model="m", messages=(), stream=True, include_usage=True)


def answered(message: dict[str, Any], **fields: Any) -> ChatResponse:
    body = {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}], **fields}
    return responses.read_response(body)


def streamed(*deltas: dict[str, Any], **last: Any) -> list[StreamEvent]:
    chunks = [{"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], **last})
    data = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    frames, reader = SseReader(), dialect.read_stream(ASKED, TARGET)
    return [event for frame in frames.feed(data) for event in reader.feed(frame)] + reader.close()


FULL: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s", "odd": 1},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "t", "odd": 2},
                {"type": "image_url", "image_url": {"url": "https://x/y.png", "odd": 3}, "odd": 4},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "odd": 5,
            "tool_calls": [{"id": "a", "type": "function", "odd": 6, "function": {"name": "f", "arguments": "{}", "odd": 7}}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "r", "odd": 8},
    ],
    "tools": [{"type": "function", "odd": 9, "function": {"name": "f", "odd": 10}}],
    "response_format": {"type": "json_schema", "odd": 11, "json_schema": {"name": "n", "schema": {"type": "object"}, "odd": 12}},
    "stream": True,
    "stream_options": {"include_usage": True, "odd": 13},
    "odd": 14,
}


def test_unknown_fields_of_a_request_survive_on_every_level() -> None:
    assert requests.write_body(requests.read_request(FULL), "m") == FULL


def test_unknown_fields_of_an_answer_survive_on_every_level() -> None:
    body = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "odd": 1,
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "odd": 2,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "odd": 3,
                    "tool_calls": [{"id": "a", "type": "function", "odd": 4, "function": {"name": "f", "arguments": "{}", "odd": 5}}],
                },
            }
        ],
        "usage": {
            "prompt_tokens": 1,
            "completion_tokens": 2,
            "total_tokens": 3,
            "odd": 6,
            "prompt_tokens_details": {"odd": 7, "cached_tokens": 1},
        },
    }
    assert responses.write_response(responses.read_response(body)) == body


def test_reading_changes_nothing_it_is_given() -> None:
    body = copy.deepcopy(FULL)
    requests.write_body(requests.read_request(body), "other")
    assert body == FULL


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"messages": []}, "messages must be a non-empty list"),
        ({"messages": "hi"}, "messages must be a list, got a string of 2 characters"),
        ({"messages": ["hi"]}, r"messages\[0\] must be an object"),
        ({"messages": [{"role": "robot"}]}, r"messages\[0\].role must be one of system, developer, user, assistant, tool"),
        ({"messages": [{"role": "user", "content": 5}]}, r"messages\[0\].content must be a list, got a number"),
        ({"messages": [{"role": "user", "content": [{"text": 5, "type": None}]}]}, r"messages\[0\].content\[0\].type must be a string"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}, r"messages\[0\].tool_calls\[0\].function must be an object"),
        ({"temperature": "hot"}, "temperature must be a number, got a string of 3 characters"),
        ({"n": 1.5}, "n must be a whole number"),
        ({"stream": "yes"}, "stream must be true or false"),
        ({"max_completion_tokens": True}, "max_completion_tokens must be a whole number, got a boolean"),
        ({"tools": [{"type": "function"}]}, r"tools\[0\].function must be an object, got null"),
        ({"tools": [{"function": {}}]}, r"tools\[0\].function.name must be a string"),
        ({"tool_choice": "perhaps"}, "tool_choice must be auto, none, required"),
        ({"response_format": "json"}, "response_format must be an object"),
        ({"stop": [1]}, r"stop\[0\] must be a string"),
        ({"model": None}, "model must be a string, got null"),
    ],
)
def test_a_bad_request_names_the_field_and_the_shape(change: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequestError, match=told):
        dialect.read_request({"model": "m", "messages": [{"role": "user", "content": "hi"}], **change})


@pytest.mark.parametrize(
    "message",
    [
        Message(role="tool", content=(Text(text="a text is no result"),)),
        Message(role="user", content=(ToolCall(id="a", name="f"),)),
        Message(role="assistant", content=(ToolResult(call_id="a"),)),
    ],
)
def test_a_part_where_it_cannot_stand_is_refused_and_not_lost(message: Message) -> None:
    with pytest.raises(BadRequestError, match=r"Text|ToolCall|ToolResult"):
        dialect.write_request(ChatRequest(model="m", messages=(message,)), TARGET)


def test_a_bad_value_is_not_repeated() -> None:
    with pytest.raises(BadRequestError) as caught:
        dialect.read_request({"model": "m", "messages": [{"role": "user", "content": "hi"}], "user": {"key": "sk-secret"}})
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, (10, 5, 0, 0)),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "completion_tokens_details": {"reasoning_tokens": 4}},
            (10, 5, 0, 4),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 6, "total_tokens": 616, "completion_tokens_details": {"reasoning_tokens": 600}},
            (10, 606, 0, 600),
        ),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_cache_hit_tokens": 8}, (10, 5, 8, 0)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cached_tokens": 8}, (10, 5, 8, 0)),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 157}},
            (10, 5, 10, 0),
        ),
        ({"prompt_tokens": 10, "completion_tokens": None, "total_tokens": None}, (10, 0, 0, 0)),
    ],
    ids=["plain", "openai", "xai leaves reasoning out", "deepseek", "moonshot", "grok on azure", "databricks before the end"],
)
def test_usage_has_one_meaning(usage: dict[str, Any], expected: tuple[int, int, int, int]) -> None:
    read = responses.read_usage(usage)
    assert (read.input, read.output, read.cached, read.reasoning) == expected
    assert read.total == read.input + read.output


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 10, "completion_tokens": 6, "total_tokens": 616, "completion_tokens_details": {"reasoning_tokens": 600}},
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 157}},
    ],
    ids=["xai leaves reasoning out", "grok on azure"],
)
def test_usage_counted_otherwise_is_told_as_it_came(usage: dict[str, Any]) -> None:
    assert responses.write_usage(responses.read_usage(usage)) == usage


def test_a_tool_call_of_an_unknown_kind_is_no_mistake_and_is_handed_on() -> None:
    strange = {"id": "b", "type": "from_tomorrow", "query": "x"}
    known = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "hi", "tool_calls": [known, strange]}
    read = messages.read_assistant(message, "message")
    assert [call.id for call in read.tool_calls] == ["a"]
    assert messages.write_assistant(read) == message
    alone = {**message, "tool_calls": [strange]}
    assert messages.write_assistant(messages.read_assistant(alone, "message")) == alone


def test_unknown_fields_of_a_tool_choice_are_sent_on() -> None:
    body = {**FULL, "tool_choice": {"type": "function", "odd": 1, "function": {"name": "f", "odd": 2}}}
    assert requests.write_body(requests.read_request(body), body["model"])["tool_choice"] == body["tool_choice"]


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"content": "a", "reasoning_content": "t"}, (Thinking(text="t", extra={"field": "reasoning_content"}), Text(text="a"))),
        ({"content": "a", "reasoning": "t"}, (Thinking(text="t", extra={"field": "reasoning"}), Text(text="a"))),
        (
            {
                "content": "a",
                "reasoning": "t",
                "reasoning_details": [{"type": "reasoning.text", "text": "t", "signature": "s", "index": 0}],
            },
            (Thinking(text="t", signature="s"), Text(text="a")),
        ),
        (
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "a"}]},
            (Thinking(text="t", extra={"type": "thinking"}), Text(text="a")),
        ),
    ],
    ids=["deepseek", "groq", "openrouter", "mistral"],
)
def test_thinking_is_found_wherever_it_stands_and_goes_back_there(message: dict[str, Any], parts: tuple[Any, ...]) -> None:
    read = answered(message)
    assert read.choices[0].message.content == parts
    written = responses.write_response(read)["choices"][0]["message"]
    assert {name: written[name] for name in message} == message
    assert requests.read_request({"model": "m", "messages": [written]}).messages[0].content == parts


def test_calls_decide_over_the_word_for_the_end() -> None:
    """OpenAI says `stop` when the tool was forced, Gemini always does, Snowflake says nothing."""
    for word in ("stop", "tool_calls", "", None):
        body = {
            "id": "c",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": word,
                    "message": {"tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                }
            ],
        }
        assert responses.read_response(body).choices[0].finish == "tool_calls"


def test_an_older_function_call_without_a_reason_gets_its_own_word() -> None:
    message = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    read = responses.read_response({"id": "c", "choices": [{"index": 0, "finish_reason": "", "message": message}]})
    assert read.choices[0].finish == "tool_calls"
    assert responses.write_response(read)["choices"][0]["finish_reason"] == "function_call"


@pytest.mark.parametrize(
    ("word", "meaning"), [("eos", "stop"), ("model_length", "length"), ("sensitive", "content_filter"), ("new", "other")]
)
def test_other_words_for_the_end_are_understood_and_kept(word: str, meaning: str) -> None:
    body = {"id": "c", "choices": [{"index": 0, "finish_reason": word, "message": {"role": "assistant", "content": "x"}}]}
    read = responses.read_response(body)
    assert read.choices[0].finish == meaning
    assert responses.write_response(read)["choices"][0]["finish_reason"] == word


@pytest.mark.parametrize(("native", "word"), [("end_turn", "stop"), ("STOP", "stop"), (None, "stop"), ("eos", "eos")])
def test_words_of_other_dialects_become_openais(native: str | None, word: str) -> None:
    choice = Choice(index=0, message=Message(role="assistant", content=(Text(text="x"),)), finish="stop", native_finish=native)
    assert responses.write_response(ChatResponse(choices=(choice,)))["choices"][0]["finish_reason"] == word


@pytest.mark.parametrize("body", [b'{"object": "list"}', b'{"choices": {}}', b'{"choices": ["x"]}', b'{"choices": [{"message": "x"}]}'])
def test_a_body_that_is_no_chat_completion_is_a_bad_response(body: bytes) -> None:
    with pytest.raises(APIResponseValidationError, match="openai: the response"):
        dialect.read_response(HttpResponse(200, Headers(), body), ASKED, TARGET)


# ---- streams -----------------------------------------------------------------------------------------------------------------------


def test_tool_call_pieces_keep_index_id_and_order() -> None:
    events = streamed(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}],
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]},
        {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
    )
    assert [(event.index, event.id, event.name, event.arguments) for event in events if isinstance(event, ToolCallDelta)] == [
        (0, "a", "f", ""),
        (0, "", "", '{"x"'),
        (1, "b", "g", ""),
        (0, "", "", ":1}"),
    ]
    calls = collect(events).choices[0].message.tool_calls
    assert [(call.id, call.arguments) for call in calls] == [("a", '{"x":1}'), ("b", "")]


def test_calls_without_an_index_and_with_empty_later_ids() -> None:
    """Mistral leaves the index out; DashScope says `id: ""` in later pieces."""
    events = streamed(
        {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}]},
        {"tool_calls": [{"id": "", "function": {"arguments": "}"}}]},
    )
    (call,) = collect(events).choices[0].message.tool_calls
    assert (call.id, call.name, call.arguments) == ("a", "f", "{}")


def test_signed_thinking_that_comes_in_pieces_is_one_part() -> None:
    """OpenRouter: pieces of one index, the signature in a piece of its own."""
    detail = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0}
    events = streamed(
        {"reasoning": "one ", "reasoning_details": [{**detail, "text": "one "}]},
        {"reasoning": "two", "reasoning_details": [{**detail, "text": "two"}]},
        {"reasoning_details": [{**detail, "signature": "s"}]},
        {"content": "answer"},
    )
    thought, text = collect(events).choices[0].message.content
    assert thought == Thinking(text="one two", signature="s", extra={"format": "anthropic-claude-v1"})
    assert text == Text(text="answer")


def test_usage_is_reported_once_and_last() -> None:
    events = streamed({"content": "a"}, usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    assert isinstance(events[-1], UsageReported)
    assert sum(isinstance(event, UsageReported) for event in events) == 1
    assert events[-1].usage == Usage(input=1, output=2, total=3)


def test_a_finish_that_is_repeated_is_said_once() -> None:
    events = streamed({"content": "a"}, usage={"prompt_tokens": 1})
    repeated = streamed({"content": "a"}, {}, x=1)
    assert [sum(isinstance(event, Finished) for event in each) for each in (events, repeated)] == [1, 1]


def test_padding_is_dropped_and_other_fields_are_noted() -> None:
    events = streamed({"content": "a"}, obfuscation="xyz", p="abc", citations=["https://x"])
    assert [event.extra for event in events if isinstance(event, Noted)] == [{"citations": ["https://x"]}]


def test_azures_first_chunk_without_choices_starts_nothing() -> None:
    first = {"id": "", "model": "", "object": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
    data = (
        b"data: "
        + json.dumps(first).encode()
        + b'\n\ndata: {"id":"c","model":"gpt","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'
    )
    frames, reader = SseReader(), dialect.read_stream(ASKED, TARGET)
    events = [event for frame in frames.feed(data) for event in reader.feed(frame)] + reader.close()
    assert events[0] == Started(id="c", model="gpt", extra={"prompt_filter_results": [{"prompt_index": 0}]})


def test_a_written_stream_begins_each_choice_with_its_role_and_ends_with_done() -> None:
    writer = dialect.write_stream(ASKED)
    events: list[StreamEvent] = [
        Started(id="c", model="m"),
        ThinkingDelta(text="t", signature="s"),
        TextDelta(text="a"),
        TextDelta(text="b", choice=1),
    ]
    data = b"".join([writer.feed(event) for event in events]) + writer.close()
    chunks = [json.loads(frame.data) for frame in SseReader().feed(data)[:-1]]
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks] == ["assistant", None, "assistant"]
    assert chunks[0]["choices"][0]["delta"]["reasoning_content"] == "t"
    assert all(chunk["object"] == "chat.completion.chunk" and chunk["id"] == "c" for chunk in chunks)
    assert data.endswith(b"data: [DONE]\n\n")


def test_usage_is_written_only_for_those_who_asked() -> None:
    reported = UsageReported(usage=Usage(input=1, output=2))
    assert b'"choices":[]' in dialect.write_stream(ASKED).feed(reported)
    assert dialect.write_stream(ChatRequest(model="m", messages=())).feed(reported) == b""


def test_a_failure_in_mid_stream_is_told_without_an_end() -> None:
    writer = dialect.write_stream(ASKED)
    data = writer.feed(TextDelta(text="half")) + writer.fail(Failure(Kind.OVERLOADED, "the provider gave up"))
    last = json.loads(SseReader().feed(data)[-1].data)
    assert last["error"] == {"message": "the provider gave up", "type": "overloaded_error", "param": None, "code": None}
    assert b"[DONE]" not in data


# ---- embeddings --------------------------------------------------------------------------------------------------------------------


def test_embeddings_keep_the_encoding_they_came_in() -> None:
    encoded = "AACAPwAAAEA="
    body = {
        "object": "list",
        "model": "e",
        "data": [{"object": "embedding", "index": 0, "embedding": encoded}],
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }
    read = others.read_embedding_response(body)
    assert others.write_embedding_response(read) == body
    assert others.floats(read.data[0].values) == (1.0, 2.0)
    assert others.floats((1.0, 2.0)) == (1.0, 2.0)


@pytest.mark.parametrize("values", ["AAA", "AACA", "!"])
def test_broken_base64_is_named(values: str) -> None:
    with pytest.raises(BadRequestError, match="embedding must be base64"):
        others.floats(values)

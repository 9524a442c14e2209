"""OpenAI's Responses: what the hub makes of it, and what it makes of the hub."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from dialects import hubs
from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.collect import collect
from headrace.dialects.openai_responses import requests, responses
from headrace.errors import (
    APIResponseValidationError,
    BadRequestError,
    ContextWindowExceededError,
    Failure,
    HeadraceError,
    InternalServerError,
    Kind,
    RateLimitError,
)
from headrace.framing import SseReader
from headrace.types import (
    Audio,
    ChatRequest,
    ChatResponse,
    Choice,
    File,
    Finished,
    Image,
    Message,
    Other,
    Refusal,
    ResponseFormat,
    Started,
    StreamEvent,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolResult,
    Usage,
    UsageReported,
)
from headrace.wire import Headers, HttpResponse

DIALECT = load("openai_responses")
TARGET = Target("openai", "gpt-5", "https://api.example.com/v1", (("authorization", "Bearer secret"),))
FROM_CHAT = Target("openai", "gpt-5", "https://api.example.com/v1", (), "openai_chat")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def reply(body: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(status, Headers.of({"content-type": "application/json"}), json.dumps(body).encode())


def answer(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1", "object": "response", "created_at": 7, "model": "gpt-5", "status": "completed", "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {}, "parallel_tool_calls": True, "temperature": 1.0,
        "tool_choice": "auto", "tools": [], "top_p": 1.0, "output": list(output),
        "usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 5,
                  "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 14},
        **more,
    }  # fmt: skip


def message(*content: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": list(content), **more}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": said, "annotations": [], **more}


REASONING = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"}
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "get_weather",
    "arguments": '{"city":"Uppsala"}',
    "status": "completed",
}
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}}
CITED = {"type": "url_citation", "start_index": 0, "end_index": 2, "url": "https://example.com", "title": "Example"}


def read(body: dict[str, Any]) -> ChatResponse:
    return DIALECT.read_response(reply(body), ChatRequest(model="m", messages=()), TARGET)


def parts_of(body: dict[str, Any]) -> Sequence[Any]:
    return read(body).choices[0].message.content


def sent(request: ChatRequest, target: Target = TARGET) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(DIALECT.write_request(request, target).body)
    return body


def again(body: dict[str, Any]) -> dict[str, Any]:
    """A request read and written once more."""
    written: dict[str, Any] = json.loads(json.dumps(requests.write_body(DIALECT.read_request(body), body.get("model", ""))))
    return written


# ---- requests read -----------------------------------------------------------------------------------------------------------------


def test_a_text_as_input_is_what_the_user_says() -> None:
    hub = DIALECT.read_request({"model": "m", "input": "hi", "instructions": "Be brief."})
    assert [(turn.role, turn.text) for turn in hub.messages] == [("system", "Be brief."), ("user", "hi")]
    assert again({"model": "m", "input": "hi", "instructions": "Be brief."}) == {"model": "m", "input": "hi", "instructions": "Be brief."}


def test_items_of_a_turn_become_one_message() -> None:
    said = {"role": "assistant", "content": [{"type": "output_text", "text": "Let me look."}]}
    result = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
    items = [
        {"role": "user", "content": "hi"},
        REASONING,
        said,
        CALL,
        result,
        {"role": "user", "content": [{"type": "input_text", "text": "?"}]},
    ]
    user, turn, tool, asked = DIALECT.read_request({"model": "m", "input": items}).messages
    assert (user.role, user.text, asked.text) == ("user", "hi", "?")
    thought, words, call = turn.content
    assert isinstance(thought, Thinking)
    assert (thought.text, thought.data) == ("hm", "gAAA")
    assert isinstance(words, Text)
    assert words.text == "Let me look."
    assert call == ToolCall(id="call_1", name="get_weather", arguments='{"city":"Uppsala"}', extra=call.extra)
    [outcome] = tool.content
    assert isinstance(outcome, ToolResult)
    assert (outcome.call_id, outcome.content) == ("call_1", (Text(text="sunny"),))
    assert again({"model": "m", "input": items}) == {"model": "m", "input": items}


@pytest.mark.parametrize(
    "item",
    [
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image", "image_url": "https://example.com/a.png"}]},
        {"type": "function_call_output", "call_id": "c", "output": ""},
        {"type": "function_call_output", "id": "fco_1", "call_id": "c", "output": "x", "status": "completed"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "x"},
        {"type": "custom_tool_call", "call_id": "c", "name": "run", "input": "ls -l"},
        {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot", "file_id": "file-1"}},
        {"type": "local_shell_call", "id": "l", "call_id": "c", "action": {"type": "exec", "command": ["ls"]}, "status": "completed"},
        {"type": "local_shell_call_output", "id": "l", "output": "x"},
        {"type": "apply_patch_call_output", "call_id": "c", "status": "completed"},
        {"type": "mcp_approval_response", "approval_request_id": "a", "approve": True},
        {"type": "item_reference", "id": "msg_1"},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "hm"}],
            "encrypted_content": None,
        },
        {"role": "user", "content": [{"type": "input_file", "file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf"}]},
        {"role": "user", "content": [{"type": "input_file", "file_url": "https://example.com/a.pdf"}]},
        {"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]},
        {"role": "user", "content": [{"type": "input_image", "file_id": "file-1", "detail": "low"}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}]},
        {"role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "assistant", "content": "as a text"},
        {"type": "message", "role": "assistant", "content": []},
        {"type": "something_new", "id": "n", "more": {"a": [1]}},
    ],
)
def test_every_item_goes_out_as_it_came(item: dict[str, Any]) -> None:
    body = {"model": "m", "input": [{"role": "user", "content": "hi"}, item]}
    assert again(body) == body


@pytest.mark.parametrize(
    "more",
    [
        {"previous_response_id": "resp_0"},
        {"store": False, "include": ["reasoning.encrypted_content"]},
        {"include": ["message.output_text.logprobs"], "top_logprobs": 3},
        {"text": {"verbosity": "low"}},
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}, "verbosity": "low"}},
        {"text": {"format": {"type": "grammar", "x": 1}}},
        {"reasoning": {"effort": "low", "summary": "auto"}},
        {"reasoning": {"summary": None}},
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "name": "f"}},
        {"tool_choice": {"type": "custom", "name": "f"}},
        {"tool_choice": {"type": "mcp", "server_label": "s", "name": "n"}},
        {"tool_choice": {"type": "web_search_preview"}},
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}},
        {"tools": [{"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": False}]},
        {"tools": [{"type": "custom", "name": "run", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}}]},
        {"tools": [{"type": "web_search", "filters": {"allowed_domains": ["a"]}}, {"type": "mcp", "server_label": "s", "server_url": "u"}]},
        {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}, {"type": "image_generation"}, {"type": "local_shell"}]},
        {"parallel_tool_calls": False, "max_tool_calls": 2, "truncation": "auto", "background": True, "metadata": {"a": "b"}},
        {"user": "u", "temperature": 0, "top_p": 0.5, "max_output_tokens": 9, "service_tier": "flex", "prompt_cache_key": "k"},
        {"stream": True, "stream_options": {"include_obfuscation": False}},
        {"conversation": {"id": "conv_1"}, "prompt": {"id": "pmpt_1"}, "something_new": {"a": 1}},
    ],
)  # fmt: skip
def test_every_parameter_goes_out_as_it_came(more: dict[str, Any]) -> None:
    body = {"model": "m", "input": "hi", **more}
    assert again(body) == body


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ([], "the body must be an object, got a list"),
        ({"input": "hi"}, "model must be a string, got null"),
        ({"model": "m"}, "input must be a string or a non-empty list of items"),
        ({"model": "m", "input": 7}, "input must be a list, got a number"),
        ({"model": "m", "input": [7]}, r"input\[0\] must be an object, got a number"),
        (
            {"model": "m", "input": [{"role": "robot", "content": "hi"}]},
            r"input\[0\].role must be one of user, assistant, system, developer",
        ),
        ({"model": "m", "input": [{"role": "user", "content": 7}]}, r"input\[0\].content must be a list"),
        ({"model": "m", "input": [{"role": "user", "content": [{"text": "x"}]}]}, r"input\[0\].content\[0\].type must be a string"),
        ({"model": "m", "input": [{"type": "function_call_output", "output": "x"}]}, r"input\[0\].call_id must be a string"),
        ({"model": "m", "input": [{"type": 7}]}, r"input\[0\].type must be a string"),
        ({"model": "m", "input": "hi", "tools": [{"type": "function"}]}, r"tools\[0\].name must be a string"),
        ({"model": "m", "input": "hi", "tool_choice": 7}, "tool_choice must be auto, none, required or an object"),
        ({"model": "m", "input": "hi", "text": "json"}, "text must be an object, got a string of 4 characters"),
        ({"model": "m", "input": "hi", "reasoning": {"effort": 7}}, "reasoning.effort must be a string"),
        ({"model": "m", "input": "hi", "max_output_tokens": "many"}, "max_output_tokens must be a whole number"),
    ],
)
def test_a_bad_request_is_refused_by_the_name_of_its_field(body: Any, named: str) -> None:
    with pytest.raises(BadRequestError, match=named):
        DIALECT.read_request(body)


# ---- requests written for callers of Chat Completions --------------------------------------------------------------------------------


def test_a_chat_is_said_in_items() -> None:
    request = ChatRequest(
        model="m",
        messages=(
            Message(role="system", content=(Text(text="Be brief."),), extra={"cache_control": {"type": "ephemeral"}}),
            Message(role="user", content=(Text(text="hi"), Image(url="https://example.com/a.png", detail="low"), File(id="file-1"))),
            Message(role="assistant", content=(Thinking(text="hm"), Text(text="Let me look."), ToolCall(id="c", name="f", arguments="{}"))),
            Message(role="tool", content=(ToolResult(call_id="c", content=(Text(text="sunny"),)),)),
        ),
        tools=(Tool(name="f", parameters=SCHEMA), Tool(type="custom", extra={"custom": {"name": "run"}})),
        tool_choice=ToolChoice(mode="tool", name="f"),
        response_format=ResponseFormat(type="json_schema", name="n", schema=SCHEMA, strict=True),
        max_tokens=9,
        effort="low",
        logprobs=True,
        extra={"verbosity": "low", "stream_options": {"include_usage": True}},
    )
    assert sent(request, FROM_CHAT) == {
        "model": "gpt-5",
        "input": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "hi"},
                    {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
                    {"type": "input_file", "file_id": "file-1"},
                ],
            },
            {"type": "message", "role": "assistant", "content": "Let me look."},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "sunny"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": SCHEMA, "strict": False}, {"type": "custom", "name": "run"}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}},
        "max_output_tokens": 9,
        "reasoning": {"effort": "low"},
        "include": ["message.output_text.logprobs"],
    }


def test_what_responses_has_not_is_named() -> None:
    request = ChatRequest(model="m", messages=(), n=2, stop=("x",), seed=1, extra={"logit_bias": {"1": 1}, "modalities": ["text"]})
    assert DIALECT.unsaid(request) == ("n", "stop", "seed", "logit_bias")
    assert DIALECT.unsaid(ChatRequest(model="m", messages=(), n=1)) == ()


def test_only_openais_own_reasoning_goes_back() -> None:
    [_, call] = parts_of(answer(REASONING, CALL))
    theirs = Thinking(text="hm", data="b3BhcXVl", signature="c2ln")
    ours = Thinking(text="hm", data="gAAA", extra={"format": "openai-responses-v1", "id": "rs_1"})
    turn = Message(role="assistant", content=(theirs, ours, call))
    assert sent(ChatRequest(model="m", messages=(turn,)), FROM_CHAT)["input"][0] == REASONING


def test_a_part_that_cannot_be_said_is_refused_by_its_name() -> None:
    video = Message(role="user", content=(Other(type="video_url", extra={"type": "video_url", "video_url": {"url": "x"}}),))
    with pytest.raises(BadRequestError, match="'video_url'"):
        sent(ChatRequest(model="m", messages=(video,)), FROM_CHAT)


# ---- answers -----------------------------------------------------------------------------------------------------------------------


def test_an_answer_is_read() -> None:
    hub = read(answer(REASONING, message(text("He", annotations=[CITED]), text("llo")), CALL, SEARCH))
    [choice] = hub.choices
    assert (hub.id, hub.model, hub.created) == ("resp_1", "gpt-5", 7)
    assert [type(part).__name__ for part in choice.message.content] == ["Thinking", "Text", "Text", "ToolCall", "Other"]
    assert choice.message.text == "Hello"
    assert choice.finish == "tool_calls"
    assert hub.usage is not None
    assert (hub.usage.input, hub.usage.cached, hub.usage.output, hub.usage.reasoning, hub.usage.total) == (9, 4, 5, 2, 14)
    cited = {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 2, "url": "https://example.com", "title": "Example"}}
    assert choice.message.content[1].extra["annotations"] == [cited]


@pytest.mark.parametrize(
    ("more", "finish"),
    [
        ({}, "stop"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ({"status": "incomplete", "incomplete_details": None}, "other"),
        ({"status": "cancelled"}, "error"),
        ({"status": "queued"}, None),
        ({"status": "in_progress"}, None),
    ],
)
def test_the_status_tells_why_it_ended(more: dict[str, Any], finish: str | None) -> None:
    hub = read(answer(message(text("x")), **more))
    assert hub.choices[0].finish == finish
    assert json.loads(json.dumps(DIALECT.write_response(hub))) == answer(message(text("x")), **more)


def test_refusals_and_logprobs_are_read() -> None:
    refused = read(answer(message({"type": "refusal", "refusal": "No."})))
    assert refused.choices[0].message.content[0] == Refusal(text="No.", extra=refused.choices[0].message.content[0].extra)
    probable = [{"token": "x", "logprob": -0.5, "bytes": [1], "top_logprobs": []}]
    assert read(answer(message(text("x", logprobs=probable)))).choices[0].logprobs == {"content": probable}


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        ({"code": "server_error", "message": "It broke."}, InternalServerError),
        ({"code": "rate_limit_exceeded", "message": "Too many."}, RateLimitError),
        ({"code": "context_length_exceeded", "message": "Too long."}, ContextWindowExceededError),
    ],
)
def test_a_failed_response_under_a_good_status_is_an_error(error: dict[str, Any], raised: type[HeadraceError]) -> None:
    with pytest.raises(raised, match=error["message"]):
        read(answer(status="failed", error=error))


def test_what_is_no_response_is_told() -> None:
    with pytest.raises(APIResponseValidationError, match="output must be a list"):
        read({"id": "resp_1", "output": "x"})


@given(response=hubs.answers())
def test_any_answer_is_one_that_the_official_client_reads(response: ChatResponse) -> None:
    body = json.loads(json.dumps(DIALECT.write_response(response)))
    made = Response.model_validate(body)
    said = "".join(part.text if isinstance(part, Text) else "" for part in response.choices[0].message.content)
    spoken = "".join(part.transcript for part in response.choices[0].message.content if isinstance(part, Audio))
    assert made.output_text == said + spoken
    assert [item.name for item in made.output if item.type in ("function_call", "custom_tool_call")] == [
        call.name for call in response.choices[0].message.tool_calls
    ]
    ids = [item.id for item in made.output]
    assert len(set(ids)) == len(ids)


def test_the_end_of_an_answer_from_elsewhere_is_its_status() -> None:
    cut = Choice(index=0, message=Message(role="assistant", content=(Text(text="x"),)), finish="length")
    body = DIALECT.write_response(ChatResponse(choices=(cut,), usage=Usage(input=3, output=1)))
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert body["usage"] == {
        "input_tokens": 3,
        "output_tokens": 1,
        "total_tokens": 4,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }


# ---- streams -----------------------------------------------------------------------------------------------------------------------


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join([f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events])


def events_of(data: bytes) -> list[StreamEvent]:
    frames, reader = SseReader(), DIALECT.read_stream(ChatRequest(model="m", messages=()), TARGET)
    events = [event for frame in [*frames.feed(data), *frames.close()] for event in reader.feed(frame)]
    return events + reader.close()


def added(at: int, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": at, "item": item}


def done(at: int, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": at, "item": item}


def delta(kind: str, said: str, at: int, **where: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "output_index": at, "delta": said, "item_id": "x", **where}


WHOLE = answer(REASONING, SEARCH, message(text("Hello", annotations=[CITED])), CALL)
STREAM = (
    {"type": "response.created", "response": answer(status="in_progress", usage=None)},
    {"type": "response.in_progress", "response": answer(status="in_progress", usage=None)},
    added(0, {"type": "reasoning", "id": "rs_1", "summary": []}),
    delta("reasoning_summary_text", "h", 0, summary_index=0),
    {"type": "keepalive"},
    delta("reasoning_summary_text", "m", 0, summary_index=0),
    done(0, REASONING),
    added(1, {**SEARCH, "status": "in_progress"}),
    {"type": "response.web_search_call.searching", "output_index": 1, "item_id": "ws_1"},
    done(1, SEARCH),
    added(2, message(status="in_progress")),
    {"type": "response.content_part.added", "output_index": 2, "content_index": 0, "item_id": "msg_1", "part": text("")},
    delta("output_text", "Hel", 2, content_index=0),
    delta("output_text", "lo", 2, content_index=0),
    done(2, message(text("Hello", annotations=[CITED]))),
    added(3, {**CALL, "arguments": "", "status": "in_progress"}),
    delta("function_call_arguments", '{"city":', 3),
    delta("function_call_arguments", '"Uppsala"}', 3),
    done(3, CALL),
    {"type": "response.completed", "response": WHOLE},
)


def test_a_stream_adds_up_to_the_answer_it_would_have_been() -> None:
    events = events_of(sse(*STREAM))
    assert json.loads(json.dumps(DIALECT.write_response(collect(events)))) == WHOLE
    assert next(event for event in events if isinstance(event, ToolCallDelta)).name == "get_weather"
    assert isinstance(events[0], Started)
    assert isinstance(events[-2], Finished)
    assert isinstance(events[-1], UsageReported)


def test_a_call_that_comes_whole_is_told_whole() -> None:
    events = events_of(sse(done(0, CALL), {"type": "response.completed", "response": answer(CALL)}))
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    assert "".join(call.arguments for call in calls) == CALL["arguments"]
    assert collect(events).choices[0].message.tool_calls[0].id == "call_1"


def test_items_of_which_only_the_end_tells_are_told_then() -> None:
    events = events_of(sse({"type": "response.completed", "response": WHOLE}))
    assert collect(events).choices[0].message.text == "Hello"
    assert json.loads(json.dumps(DIALECT.write_response(collect(events)))) == WHOLE


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "rate_limit_exceeded", "message": "Too many.", "param": None},
        {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "Too many."}},
        {"type": "response.failed", "response": answer(status="failed", error={"code": "rate_limit_exceeded", "message": "Too many."})},
    ],
)
def test_an_error_in_mid_stream_is_raised(event: dict[str, Any]) -> None:
    with pytest.raises(RateLimitError, match="Too many"):
        events_of(sse(*STREAM[:8], event))


@cache
def clients_events() -> TypeAdapter[ResponseStreamEvent]:
    """What the official client takes for an event of a stream. Made once: it takes as long as reading a hundred streams."""
    return TypeAdapter(ResponseStreamEvent)


@given(events=hubs.streams())
def test_any_stream_is_one_that_the_official_client_reads(events: list[StreamEvent]) -> None:
    told = told_of(events)
    for number, event in enumerate(told):
        assert clients_events().validate_python(event).type == event["type"]
        assert event["sequence_number"] == number
    ours = [event for event in events if not getattr(event, "choice", 0)]
    whole = collect(ours).choices[0].message
    last = Response.model_validate(told[-1]["response"])
    assert last.output_text == whole.text
    assert "".join(event["delta"] for event in told if event["type"] == "response.output_text.delta") == whole.text
    finished = {event["output_index"]: event["item"] for event in told if event["type"] == "response.output_item.done"}
    assert [finished[at] for at in sorted(finished)] == told[-1]["response"]["output"]
    calls = [(item["call_id"], item["arguments"]) for item in finished.values() if item["type"] == "function_call"]
    assert sorted(calls) == sorted((call.id, call.arguments) for call in whole.tool_calls)


def told_of(events: Iterable[StreamEvent]) -> list[dict[str, Any]]:
    writer = DIALECT.write_stream(ChatRequest(model="m", messages=(), stream=True))
    data = b"".join([writer.feed(event) for event in events]) + writer.close()
    return [json.loads(frame.data) for frame in SseReader().feed(data)]


def test_reasoning_is_told_once_although_its_end_comes_late() -> None:
    told = told_of(
        [ThinkingDelta(text="hm"), TextDelta(text="hi"), ThinkingDelta(extra={"openai_responses": {"id": "rs_1"}}), Finished(finish="stop")]
    )
    assert [item["type"] for item in told[-1]["response"]["output"]] == ["reasoning", "message"]


SUMMARY = {"summary": [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}]}
CONTENT = {"summary": [], "content": [{"type": "reasoning_text", "text": "one"}, {"type": "reasoning_text", "text": "two"}]}


@pytest.mark.parametrize(("kind", "place", "parts"), [
    ("reasoning_summary_text", "summary_index", SUMMARY), ("reasoning_text", "content_index", CONTENT),
])  # fmt: skip
def test_reasoning_of_several_parts_is_told_in_several_parts(kind: str, place: str, parts: dict[str, Any]) -> None:
    item = {"id": "rs_1", "type": "reasoning", **parts}
    pieces = [("o", 0), ("ne", 0), ("t", 1), ("wo", 1)]
    stream = [
        added(0, {"id": "rs_1", "type": "reasoning", "summary": []}),
        *(delta(kind, said, 0, **{place: at}) for said, at in pieces),
        done(0, item),
        {"type": "response.completed", "response": answer(item)},
    ]
    events = events_of(sse(*stream))
    assert collect(events).choices[0].message.thinking == "one\n\ntwo" == parts_of(answer(item))[0].text
    told = told_of(events)
    for event in told[:-1]:
        clients_events().validate_python(event)
    assert [(event["delta"], event[place]) for event in told if event["type"] == f"response.{kind}.delta"] == pieces
    assert [(event["text"], event[place]) for event in told if event["type"] == f"response.{kind}.done"] == [("one", 0), ("two", 1)]
    begun, over = ([event[place] for event in told if event["type"].endswith(f"part.{end}")] for end in ("added", "done"))
    assert begun == over == [0, 1]
    assert told[-1]["response"]["output"] == [item]


def test_a_failure_in_mid_stream_is_told_as_an_error_without_an_end() -> None:
    writer = DIALECT.write_stream(ChatRequest(model="m", messages=()))
    writer.feed(TextDelta(text="hi"))
    [frame] = SseReader().feed(writer.fail(Failure(Kind.RATE_LIMIT, "Too many.")))
    assert frame.event == "error"
    assert json.loads(frame.data) | {"sequence_number": 0} == {
        "type": "error", "code": "rate_limit_exceeded", "message": "Too many.", "param": None, "sequence_number": 0,
    }  # fmt: skip


def test_items_and_parts_from_tomorrow_are_written_again() -> None:
    message = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant"}
    strange = {"type": "from_tomorrow", "said": 1}
    text = {"type": "output_text", "text": "hi", "annotations": []}
    output = [{**message, "content": [strange, text, strange]}, strange, {**message, "id": "msg_2", "content": [text]}]
    body = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": output}
    assert responses.write_response(responses.read_response(body, provider="openai", model="m"))["output"] == output


def test_unknown_fields_of_a_choice_of_tool_are_sent_on() -> None:
    body = {"model": "m", "input": "hi", "tool_choice": {"type": "function", "name": "f", "odd": 1}}
    assert requests.write_body(requests.read_request(body), "m")["tool_choice"] == body["tool_choice"]


@pytest.mark.parametrize(
    "event",
    [
        ["no object"],
        {"type": ["x"]},
        {"type": "response.output_item.added", "output_index": 0, "item": "none"},
        {"type": "response.completed", "response": {"output": 5, "usage": "x"}},
        {"type": "response.completed", "response": {"output": [5]}},
    ],
)
def test_an_event_of_another_shape_is_an_error(event: Any) -> None:
    dialect = load("openai_responses")
    reader = dialect.read_stream(ChatRequest(model="m", messages=(), stream=True), TARGET)
    (frame,) = dialect.framing().feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    with pytest.raises(APIResponseValidationError, match="not valid in the dialect"):
        reader.feed(frame)

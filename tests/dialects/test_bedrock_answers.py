"""Answers, streams and refusals of Converse, and the laws of its two halves."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects import hubs
from dialects.converse import (
    ASKED,
    CLAUDE,
    CONVERSE,
    FROM_OPENAI,
    HERE,
    START,
    STOP,
    answered,
    assistant,
    called,
    delta,
    events_of,
    read,
    result,
    user,
)
from headrace import types as hub
from headrace.dialects.bedrock_converse import responses
from headrace.dialects.bedrock_converse.eventstream import event, exception, message
from headrace.dialects.collect import collect
from headrace.errors import (
    APIResponseValidationError,
    BadRequestError,
    Failure,
    HeadraceError,
    Kind,
    NotFoundError,
    TruncatedStream,
)
from headrace.wire import Frame, Headers, HttpResponse

# ---- answers ---------------------------------------------------------------------------------------------------------------------------

ANSWERS: dict[str, dict[str, Any]] = {
    "text": answered({"text": "hi"}),
    "nothing": answered(),
    "calls": answered({"text": "hm"}, called(type="tool_use"), called("2"), stop="tool_use"),
    "a call between texts": answered({"text": "a"}, called(), {"text": "b"}, stop="tool_use"),
    "a call without input": answered({"toolUse": {"toolUseId": "t", "name": "f"}}, stop="tool_use"),
    "thinking": answered({"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}}, {"text": "well"}),
    "unsigned thinking": answered({"reasoningContent": {"reasoningText": {"text": "[REDACTED]."}}}, {"text": "345"}),
    "grounded": answered(
        called(type="server_tool_use"),
        result({"text": "[HIDDEN]"}, status="success", type="nova_grounding_result"),
        {"text": "4.0.6"},
        {"citationsContent": {"citations": [{"location": {"web": {"url": "https://a", "domain": "a"}}}]}},
    ),
    "cited": answered({"citationsContent": {"content": [{"text": "20 days"}], "citations": [{"title": "t"}]}}, {"text": "."}),
    "typed": answered({"type": "text", "text": "hi"}),
    "guarded": answered({"text": "{ADDRESS}"}, stop="guardrail_intervened", trace={"guardrail": {"modelOutput": ["x"]}}),
    "a reason of tomorrow": answered({"text": "hi"}, stop="bored"),
    "calls without the word": answered(called(), stop="end_turn"),
    "stopped": answered({"text": "hi"}, stop="stop_sequence", additionalModelResponseFields={"stop_sequence": "x"}),
    "extras": answered({"text": "hi"}, performanceConfig={"latency": "standard"}, serviceTier={"type": "flex"}, tomorrow=None),
    "no usage": {"output": {"message": assistant({"text": "hi"})}, "stopReason": "end_turn"},
    "no reason": {"output": {"message": assistant({"text": "hi"})}},
    "no reason, null": {"output": {"message": assistant({"text": "hi"})}, "stopReason": None, "usage": None},
    "cache": answered({"text": "hi"}) | {
        "usage": {
            "inputTokens": 3, "outputTokens": 2, "totalTokens": 115, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 10,
            "cacheReadInputTokenCount": 100, "cacheWriteInputTokenCount": 10, "serverToolUsage": {},
            "cacheDetails": [{"inputTokens": 10, "ttl": "5m"}],
        }
    },
    "empty cache": answered({"text": "hi"}) | {
        "usage": {"inputTokens": 3, "outputTokens": 0, "totalTokens": 3, "cacheReadInputTokens": 0, "cacheWriteInputTokens": 0}
    },
}  # fmt: skip


@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_is_written_again_as_it_was_read(body: dict[str, Any]) -> None:
    assert CONVERSE.write_response(read(body)) == body


def test_usage_counts_the_cache_in() -> None:
    usage = read(ANSWERS["cache"]).usage
    assert usage is not None
    assert (usage.input, usage.cached, usage.cache_write, usage.output, usage.total) == (113, 100, 10, 2, 115)


@pytest.mark.parametrize(
    ("blocks", "word", "finish", "native"),
    [
        ([{"text": "x"}], "end_turn", "stop", None),
        ([{"text": "x"}], "stop_sequence", "stop", "stop_sequence"),
        ([{"text": "x"}], "max_tokens", "length", None),
        ([{"text": "x"}], "model_context_window_exceeded", "length", "model_context_window_exceeded"),
        ([{"text": "x"}], "guardrail_intervened", "content_filter", "guardrail_intervened"),
        ([{"text": "x"}], "content_filtered", "content_filter", None),
        ([{"text": "x"}], "malformed_model_output", "error", None),
        ([called()], "malformed_tool_use", "error", "malformed_tool_use"),
        ([called()], "tool_use", "tool_calls", None),
        ([called()], "end_turn", "tool_calls", "end_turn"),
        ([called()], "max_tokens", "length", None),
        ([called(type="server_tool_use")], "end_turn", "stop", None),
        ([{"text": "x"}], "bored", "other", "bored"),
        ([called()], None, "tool_calls", None),
        ([{"text": "x"}], None, None, None),
    ],
)
def test_stop_reasons_are_meant_so(blocks: list[Any], word: str | None, finish: str | None, native: str | None) -> None:
    (choice,) = read({**answered(*blocks), "stopReason": word}).choices
    assert (choice.finish, choice.native_finish) == (finish, native)


def test_the_answers_id_is_the_requests() -> None:
    answer = read(ANSWERS["text"])
    assert (answer.id, answer.model) == ("r-1", CLAUDE)


@pytest.mark.parametrize("body", [None, [], {}, {"output": {}}, {"output": {"message": {}}}, {"output": {"message": {"content": [3]}}}])
def test_what_is_no_answer_is_told_so(body: Any) -> None:
    with pytest.raises(APIResponseValidationError, match="is not a Converse response"):
        read(body)


def test_a_page_instead_of_an_answer_is_told_so() -> None:
    with pytest.raises(APIResponseValidationError, match="is not a Converse response"):
        CONVERSE.read_response(HttpResponse(200, Headers(), b"<html>\xff"), ASKED, HERE)


def test_an_error_under_200_is_raised() -> None:
    with pytest.raises(NotFoundError, match="UnknownOperationException"):
        read({"Output": {"__type": "com.amazon.coral.service#UnknownOperationException"}, "Version": "1.0"})


# ---- streams ---------------------------------------------------------------------------------------------------------------------------


def test_a_stream_is_read() -> None:
    data = b"".join([
        START,
        delta(0, reasoningContent={"text": "h"}), delta(0, reasoningContent={"text": "m"}),
        delta(0, reasoningContent={"signature": "c2ln"}),
        event("contentBlockStop", {"contentBlockIndex": 0}),
        delta(1, text="let "), delta(1, text="me"), event("contentBlockStop", {"contentBlockIndex": 1}),
        event("contentBlockStart", {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t", "name": "weather"}}}),
        delta(2, toolUse={"input": ""}), delta(2, toolUse={"input": '{"a"'}), delta(2, toolUse={"input": ":1}"}),
        event("contentBlockStop", {"contentBlockIndex": 2}),
        event("messageStop", {"stopReason": "tool_use", "additionalModelResponseFields": {"stop_sequence": None}}),
        event("metadata", {"usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}, "metrics": {"latencyMs": 9}, "p": "ab"}),
    ])  # fmt: skip
    assert events_of(data) == [
        hub.Started(model=CLAUDE),
        hub.ThinkingDelta(text="h"), hub.ThinkingDelta(text="m"), hub.ThinkingDelta(signature="c2ln"),
        hub.TextDelta(text="let "), hub.TextDelta(text="me"),
        hub.ToolCallDelta(index=0, id="t", name="weather"),
        hub.ToolCallDelta(index=0), hub.ToolCallDelta(index=0, arguments='{"a"'), hub.ToolCallDelta(index=0, arguments=":1}"),
        hub.Noted(extra={"additionalModelResponseFields": {"stop_sequence": None}}),
        hub.Finished(finish="tool_calls"),
        hub.Noted(extra={"metrics": {"latencyMs": 9}}),
        hub.UsageReported(usage=hub.Usage(input=3, output=2, total=5)),
    ]  # fmt: skip


def test_usage_comes_after_the_finish_whatever_came_first() -> None:
    metadata = event("metadata", {"usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}})
    kinds = [type(it) for it in events_of(START + metadata + STOP)]
    assert kinds == [hub.Started, hub.Finished, hub.UsageReported]
    assert [type(it) for it in events_of(START + STOP)] == [hub.Started, hub.Finished]


def test_hidden_reasoning_comes_whole() -> None:
    whole = base64.b64encode(b"EtkECkgI").decode()
    data = START + b"".join(delta(0, reasoningContent={"redactedContent": piece}) for piece in (whole[:5], whole[5:]))
    events = events_of(data + event("contentBlockStop", {"contentBlockIndex": 0}) + STOP)
    assert events[1] == hub.ThinkingDelta(data="EtkECkgI")


def test_a_providers_own_tools_are_kept_as_blocks() -> None:
    data = b"".join([
        START,
        event("contentBlockStart", {
            "contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t", "name": "nova_grounding", "type": "server_tool_use"}},
        }),
        delta(0, toolUse={"input": '{"query"'}), delta(0, toolUse={"input": ':"x"}'}), event("contentBlockStop", {"contentBlockIndex": 0}),
        event("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolResult": {"toolUseId": "t", "type": "nova_grounding_result"}}}),
        delta(1, toolResult=[{"text": "a"}]), delta(1, toolResult=[{"text": "b"}]), event("contentBlockStop", {"contentBlockIndex": 1}),
        delta(2, text="4.0.6"), delta(2, citation={"title": "t"}),
        delta(3, hologram={"depth": 3}),
        STOP,
    ])  # fmt: skip
    (choice,) = collect(events_of(data)).choices
    assert choice.finish == "stop"
    assert responses.write_response(collect(events_of(data)))["output"]["message"]["content"] == [
        {"toolUse": {"toolUseId": "t", "name": "nova_grounding", "type": "server_tool_use", "input": {"query": "x"}}},
        {"toolResult": {"toolUseId": "t", "type": "nova_grounding_result", "content": [{"text": "a"}, {"text": "b"}]}},
        {"citationsContent": {"content": [{"text": "4.0.6"}], "citations": [{"title": "t"}]}},
        {"hologram": {"depth": 3}},
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("throttlingException", Kind.RATE_LIMIT),
        ("modelStreamErrorException", Kind.SERVER),
        ("internalServerException", Kind.SERVER),
        ("serviceUnavailableException", Kind.OVERLOADED),
        ("validationException", Kind.BAD_REQUEST),
        ("modelTimeoutException", Kind.TIMEOUT),
        ("accessDeniedException", Kind.PERMISSION),
        ("somethingNewException", Kind.SERVER),
    ],
)
def test_an_exception_in_mid_stream_is_raised_as_its_kind(name: str, kind: Kind) -> None:
    with pytest.raises(HeadraceError, match="went wrong") as caught:
        events_of(START + delta(0, text="hi") + exception(name, {"message": "it went wrong"}))
    assert caught.value.failure.kind is kind
    assert caught.value.failure.code == name


def test_an_error_message_without_a_payload_is_raised() -> None:
    headers = {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "An internal server error occurred"}
    with pytest.raises(HeadraceError, match="InternalFailure") as caught:
        events_of(START + message(headers, b""))
    assert caught.value.failure.kind is Kind.SERVER


def test_an_event_of_tomorrow_says_nothing_today() -> None:
    assert events_of(START + event("heartbeat", {"n": 1}) + STOP) == events_of(START + STOP)


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("contentBlockDelta", {"contentBlockIndex": 0}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": 3}}),
        ("contentBlockDelta", {"contentBlockIndex": 7, "delta": {"toolUse": {"input": "x"}}}),
        ("contentBlockDelta", {"contentBlockIndex": [], "delta": {"text": "x"}}),
        ("contentBlockStart", {"contentBlockIndex": 0, "start": 3}),
        ("messageStop", []),
    ],
)
def test_an_event_that_cannot_be_read_is_told_so(name: str, payload: Any) -> None:
    with pytest.raises(APIResponseValidationError, match=f"a {name} event of the stream is not valid"):
        events_of(START + event(name, payload))


def test_a_stream_without_its_stop_is_cut() -> None:
    for data in (b"", START, START + delta(0, text="hi"), (START + STOP)[:-1]):
        with pytest.raises(TruncatedStream, match="before messageStop"):
            events_of(data)


def test_a_failure_in_mid_stream_is_told_by_an_exception_clients_know() -> None:
    for kind, name in ((Kind.RATE_LIMIT, "throttlingException"), (Kind.NOT_FOUND, "modelStreamErrorException")):
        told = CONVERSE.write_stream(ASKED).fail(Failure(kind, "it went wrong"))
        (frame,) = CONVERSE.framing().feed(told)
        assert (frame.event, json.loads(frame.data)) == (name, {"message": "it went wrong"})


def test_blocks_are_written_one_after_the_other() -> None:
    writer = CONVERSE.write_stream(ASKED)
    events: list[hub.StreamEvent] = [
        hub.Started(),
        hub.TextDelta(text="a"),
        hub.ToolCallDelta(index=0, id="1", name="f"), hub.ToolCallDelta(index=1, id="2", name="g"),
        hub.ToolCallDelta(index=0, arguments="{"), hub.ToolCallDelta(index=1, arguments="{}"), hub.ToolCallDelta(index=0, arguments="}"),
        hub.TextDelta(text="b"),
        hub.Finished(finish="tool_calls"),
    ]  # fmt: skip
    frames = CONVERSE.framing().feed(b"".join(writer.feed(told) for told in events) + writer.close())
    steps = [(frame.event, json.loads(frame.data).get("contentBlockIndex")) for frame in frames]
    start, step, stop = "contentBlockStart", "contentBlockDelta", "contentBlockStop"
    assert steps == [
        ("messageStart", None), (step, 0), (stop, 0), (start, 1), (start, 2), (step, 1), (step, 2), (step, 1), (stop, 1), (stop, 2),
        (step, 3), (stop, 3), ("messageStop", None),
    ]  # fmt: skip


# ---- errors ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "name", "text", "kind", "scope"),
    [
        (400, "ValidationException", "bad field", Kind.BAD_REQUEST, None),
        (
            400,
            "ValidationException",
            "The model returned the following errors: Input Tokens Exceeded: Number of",
            Kind.CONTEXT_WINDOW,
            None,
        ),
        (400, "ValidationException", "Input is too long for requested model.", Kind.CONTEXT_WINDOW, None),
        (400, "ValidationException", "prompt is too long: 3 tokens > 2 maximum", Kind.CONTEXT_WINDOW, None),
        (400, "", "The provided model identifier is invalid.", Kind.NOT_FOUND, None),
        (400, "ServiceQuotaExceededException", "too much", Kind.QUOTA_EXHAUSTED, "requests"),
        (403, "AccessDeniedException", "You don't have access to the model", Kind.PERMISSION, None),
        (403, "ExpiredTokenException", "The security token included in the request is expired", Kind.AUTHENTICATION, None),
        (403, "UnrecognizedClientException", "The security token is invalid", Kind.AUTHENTICATION, None),
        (403, "InvalidSignatureException", "The request signature we calculated does not match", Kind.AUTHENTICATION, None),
        (403, "", "The security token included in the request is invalid.", Kind.AUTHENTICATION, None),
        (403, "", "User: x is not authorized to perform: bedrock:InvokeModel", Kind.PERMISSION, None),
        (404, "ResourceNotFoundException", "no", Kind.NOT_FOUND, None),
        (408, "ModelTimeoutException", "slow", Kind.TIMEOUT, None),
        (424, "ModelErrorException", "odd", Kind.SERVER, None),
        (429, "ThrottlingException", "Too many requests, please wait before trying again.", Kind.RATE_LIMIT, "requests"),
        (429, "ThrottlingException", "Too many tokens, please wait before trying again.", Kind.RATE_LIMIT, "tokens"),
        (429, "ThrottlingException", "Too many tokens per day, please wait before trying again.", Kind.QUOTA_EXHAUSTED, "day"),
        (429, "ModelNotReadyException", "warming up", Kind.OVERLOADED, "capacity"),
        (429, "", "Too many requests", Kind.RATE_LIMIT, "requests"),
        (500, "InternalServerException", "oh", Kind.SERVER, None),
        (503, "ServiceUnavailableException", "busy", Kind.OVERLOADED, "capacity"),
        (418, "TeapotException", "short and stout", Kind.BAD_REQUEST, None),
    ],
)
def test_refusals_are_told_by_their_names(status: int, name: str, text: str, kind: Kind, scope: str | None) -> None:
    header = {"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"} if name else {}
    told = HttpResponse(status, Headers.of(header), json.dumps({"message": text}).encode())
    failure = CONVERSE.read_error(told, HERE)
    assert (failure.kind, failure.scope, failure.message, failure.status) == (kind, scope, f"bedrock: {text}", status)
    assert failure.code == (name or None)
    inside = json.dumps({"__type": f"com.amazon.coral.service#{name}", "Message": text}).encode()
    assert CONVERSE.read_error(HttpResponse(status, Headers(), inside), HERE).kind is kind


def test_a_refused_signature_does_not_tell_the_session() -> None:
    text = "The request signature we calculated does not match.\n\nThe Canonical String for this request should have been"
    text += "\n'POST\nx-amz-security-token:SECRETTOKEN'"
    told = HttpResponse(403, Headers.of({"x-amzn-errortype": "InvalidSignatureException"}), json.dumps({"message": text}).encode())
    failure = CONVERSE.read_error(told, HERE)
    assert failure.kind is Kind.AUTHENTICATION
    assert "does not match" in failure.message
    assert "SECRETTOKEN" not in f"{failure.message} {failure.body}"


def test_a_gateways_page_is_an_error_too() -> None:
    failure = CONVERSE.read_error(HttpResponse(503, Headers(), b"<html><title>503</title></html>"), HERE)
    assert (failure.kind, failure.message) == (Kind.OVERLOADED, "bedrock: status 503 with an HTML page: 503")


def test_aws_names_what_we_refuse() -> None:
    told = CONVERSE.write_error(Failure(Kind.RATE_LIMIT, "slowly", retry_after=2.5))
    assert (told.status, told.headers["x-amzn-errortype"], told.headers["retry-after"]) == (429, "ThrottlingException", "3")
    assert json.loads(told.body) == {"message": "slowly"}


# ---- laws ------------------------------------------------------------------------------------------------------------------------------

BLOCK_NAMES = [
    "text", "image", "document", "audio", "video", "toolUse", "toolResult", "reasoningContent", "cachePoint", "guardContent",
    "citationsContent", "json", "content", "source", "bytes", "format", "name", "toolUseId", "input", "s3Location", "uri", "citations",
    "reasoningText", "redactedContent", "signature", "messages", "role", "system", "toolConfig", "tools", "toolSpec", "toolChoice",
    "inferenceConfig", "outputConfig", "textFormat", "output", "message", "stopReason", "usage", "inputTokens", "start", "delta",
    "contentBlockIndex", "__type", "additionalModelRequestFields", "thinking", "type", "citation",
]  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "x", "user", "assistant", "png"])
)
ANY = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(BLOCK_NAMES), inner, max_size=4),
    max_leaves=25,
)
EVENTS = st.sampled_from(
    ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata", "x", None]
)


@given(body=ANY)
def test_whatever_comes_only_headraces_errors_come_out(body: Any) -> None:
    with suppress(HeadraceError):
        CONVERSE.read_request(body)
    with suppress(HeadraceError):
        read(body)
    CONVERSE.read_error(HttpResponse(400, Headers(), json.dumps(body).encode()), HERE)


@given(frames=st.lists(st.tuples(EVENTS, ANY), max_size=6))
def test_whatever_a_stream_holds_only_headraces_errors_come_out(frames: list[tuple[str | None, Any]]) -> None:
    reader = CONVERSE.read_stream(ASKED, HERE)
    with suppress(HeadraceError):
        events = [told for name, payload in frames for told in reader.feed(Frame(json.dumps(payload).encode(), name))]
        writer = CONVERSE.write_stream(ASKED)
        for told in [*events, *reader.close()]:
            writer.feed(told)


@given(content=st.lists(st.dictionaries(st.sampled_from(BLOCK_NAMES), ANY, min_size=1, max_size=1), max_size=4))
def test_what_can_be_read_is_written_again_and_means_the_same(content: list[Any]) -> None:
    """Whatever stands in a block: unknown forms are kept whole."""
    with suppress(BadRequestError):
        once = CONVERSE.read_request({"messages": [user(*content)]})
        again = json.loads(CONVERSE.write_request(once, HERE).body)
        assert CONVERSE.read_request(again) == once


def said_by(request: hub.ChatRequest) -> dict[str, Any]:
    parts = [part for message in request.messages for part in message.content]
    results = [part for part in parts if isinstance(part, hub.ToolResult)]
    return {
        "texts": [part.text for part in parts if isinstance(part, hub.Text | hub.Refusal) and part.text.strip()],
        "results": ["".join(it.text for it in part.content if isinstance(it, hub.Text) and it.text.strip()) for part in results],
        "calls": [(call.id, call.name) for message in request.messages for call in message.tool_calls],
        "for": [part.call_id for part in results],
    }


@given(request=hubs.REQUESTS)
def test_a_chat_of_openais_keeps_its_words_and_settles(request: hub.ChatRequest) -> None:
    with suppress(BadRequestError):  # it has parts that Converse refuses
        once = CONVERSE.read_request(json.loads(CONVERSE.write_request(request, FROM_OPENAI).body))
        before, after = said_by(request), said_by(once)
        assert sorted(after["texts"]) == sorted(before["texts"])
        assert {name: after[name] for name in ("results", "calls", "for")} == {name: before[name] for name in ("results", "calls", "for")}
        again = json.loads(CONVERSE.write_request(once, HERE).body)
        assert CONVERSE.read_request(again) == once


@given(response=hubs.answers())
def test_an_answer_of_openais_settles(response: hub.ChatResponse) -> None:
    with suppress(BadRequestError):
        once = responses.read_response(json.loads(json.dumps(CONVERSE.write_response(response))))
        assert responses.read_response(json.loads(json.dumps(CONVERSE.write_response(once)))) == once
        calls = [(call.id, call.name) for call in response.choices[0].message.tool_calls]
        assert [(call.id, call.name) for call in once.choices[0].message.tool_calls] == calls


@given(events=hubs.streams())
def test_a_stream_of_openais_keeps_its_first_choice(events: list[hub.StreamEvent]) -> None:
    writer = CONVERSE.write_stream(ASKED)
    once = events_of(b"".join([writer.feed(told) for told in events]) + writer.close())
    before, after = collect(events).choices[0], collect(once).choices[0]
    said = [part.text for part in before.message.content if isinstance(part, hub.Text | hub.Refusal)]
    assert after.message.text == "".join(said)
    assert [(call.id, call.name, call.arguments) for call in after.message.tool_calls] == [
        (call.id, call.name, call.arguments) for call in before.message.tool_calls
    ]
    assert after.finish == before.finish
    again = CONVERSE.write_stream(ASKED)
    assert events_of(b"".join([again.feed(told) for told in once]) + again.close()) == once


def test_nothing_secret_is_in_a_repr() -> None:
    assert "secret" not in repr(CONVERSE.write_request(ASKED, HERE))

"""Gemini's answers, streams, errors and embeddings, and what must hold of any value."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects import hubs
from dialects.test_gemini import ASKED, CALL, DIALECT, OPENAI, OWN, PNG, body_of, call, reply
from headrace import types as hub
from headrace.dialects.base import Target
from headrace.dialects.call_ids import made_up
from headrace.dialects.collect import collect
from headrace.dialects.gemini import requests, responses
from headrace.dialects.gemini.framing import ArrayReader
from headrace.errors import APIResponseValidationError, BadRequestError, Failure, HeadraceError, Kind, TruncatedStream
from headrace.framing import FrameTooLarge
from headrace.types import ChatRequest, EmbeddingRequest, Text
from headrace.wire import Frame, Headers, HttpResponse

# ---- answers -----------------------------------------------------------------------------------------------------------------------


def answer(*parts: dict[str, Any], **candidate: Any) -> dict[str, Any]:
    made = {"content": {"parts": list(parts), "role": "model"}, "finishReason": "STOP", "index": 0, **candidate}
    return {"candidates": [made], "responseId": "r", "modelVersion": "v"}


ANSWERS: dict[str, dict[str, Any]] = {
    "plain": answer({"text": "hi"}),
    "parts of every kind": answer({"text": "hm", "thought": True}, {"text": "x"}, CALL, PNG, {"executableCode": {"code": "1"}}, {"new": 1}),
    "a sound": answer({"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": "AAAA"}}),
    "an empty content": answer(content={}),
    "a content without parts": answer(content={"role": "model"}),
    "a content without a role": answer(content={"parts": [{"text": "x"}]}),
    "null for a content": answer(content=None),
    "no index": {"candidates": [{"content": {"parts": [{"text": "x"}], "role": "model"}}]},
    "no content": {"candidates": [{"finishReason": "MODEL_ARMOR", "finishMessage": "no"}]},
    "several": {"candidates": [answer({"text": "a"})["candidates"][0], answer({"text": "b"}, index=1)["candidates"][0]]},
    "beside the text": answer({"text": "x"}, avgLogprobs=-1.5, safetyRatings=[], citationMetadata={"citationSources": []}, newField={}),
    "an unknown end": answer({"text": "x"}, finishReason="GOT_BORED"),
    "an end in numbers": answer({"text": "x"}, finishReason=1),
    "null for an end": answer({"text": "x"}, finishReason=None),
    "blocked": {"promptFeedback": {"blockReason": "SAFETY", "safetyRatings": []}, "usageMetadata": {"promptTokenCount": 1}},
    "nothing but counts": {"usageMetadata": {"totalTokenCount": 3}, "modelVersion": "v"},
    "no candidates": {"candidates": [], "promptFeedback": {}},
    "all counts": {
        "candidates": [],
        "usageMetadata": {
            "promptTokenCount": 10, "candidatesTokenCount": 0, "totalTokenCount": 30, "cachedContentTokenCount": 4, "thoughtsTokenCount": 0,
            "toolUsePromptTokenCount": 5, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 3}], "trafficType": "ON_DEMAND",
        },
    },
    "created": {**answer({"text": "x"}), "createTime": "2026-05-27T16:53:45.443719Z"},
}  # fmt: skip


@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_is_written_again_as_it_was_read(body: dict[str, Any]) -> None:
    read = DIALECT.read_response(reply(body), ASKED, OWN)
    assert json.loads(json.dumps(DIALECT.write_response(read))) == body


@pytest.mark.parametrize(
    ("word", "called", "finish", "native"),
    [
        ("STOP", False, "stop", None),
        ("STOP", True, "tool_calls", None),
        ("UNEXPECTED_TOOL_CALL", True, "tool_calls", "UNEXPECTED_TOOL_CALL"),
        ("MALFORMED_FUNCTION_CALL", False, "error", "MALFORMED_FUNCTION_CALL"),
        ("MAX_TOKENS", False, "length", None),
        ("MAX_TOKENS", True, "length", None),
        ("SAFETY", False, "content_filter", None),
        ("PROHIBITED_CONTENT", False, "content_filter", "PROHIBITED_CONTENT"),
        ("IMAGE_SAFETY", False, "content_filter", "IMAGE_SAFETY"),
        ("OTHER", False, "other", None),
        ("GOT_BORED", False, "other", "GOT_BORED"),
        (2, False, "length", None),
        (99, False, "other", None),
        (None, True, None, None),
    ],
)
def test_why_it_ended(word: Any, called: bool, finish: str | None, native: str | None) -> None:
    parts = [{"text": "x"}, *([CALL] if called else [])]
    [choice] = DIALECT.read_response(reply(answer(*parts, finishReason=word)), ASKED, OWN).choices
    assert (choice.finish, choice.native_finish) == (finish, native)


def test_counts_are_in_openais_meaning() -> None:
    usage = responses.read_usage(ANSWERS["all counts"]["usageMetadata"] | {"candidatesTokenCount": 7, "thoughtsTokenCount": 8})
    assert (usage.input, usage.output, usage.total) == (15, 15, 30)
    assert (usage.cached, usage.reasoning, usage.audio_input) == (4, 8, 3)
    foreign = hub.Usage(input=9, output=7, total=16, cached=3, reasoning=2, audio_input=1, extra={"prompt_tokens_details": {}})
    assert responses.write_usage(foreign) == {
        "promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 16, "cachedContentTokenCount": 3, "thoughtsTokenCount": 2,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 1}],
    }  # fmt: skip


def test_calls_without_ids_get_stable_ones_that_are_not_sent_back() -> None:
    body = {**answer(CALL, CALL), "responseId": "a/b_c-1"}
    first, again = (DIALECT.read_response(reply(body), ASKED, OWN).choices[0].message.tool_calls for _ in range(2))
    assert [one.id for one in first] == [one.id for one in again] == ["headrace_ab_c-1_0", "headrace_ab_c-1_1"]
    nameless = {"candidates": body["candidates"]}
    assert made_up(DIALECT.read_response(reply(nameless), ASKED, OWN).choices[0].message.tool_calls[0].id)
    own = {"functionCall": {"id": "theirs", "name": "f", "args": {}}}
    read = DIALECT.read_response(reply(answer(own)), ASKED, OWN)
    assert read.choices[0].message.tool_calls[0].id == "theirs"


def test_log_probabilities_in_both_shapes() -> None:
    chosen = {"token": "ü", "tokenId": 5, "logProbability": -0.5}
    result = {"chosenCandidates": [chosen], "topCandidates": [{"candidates": [chosen]}]}
    read = DIALECT.read_response(reply(answer({"text": "ü"}, logprobsResult=result)), ASKED, OWN)
    token = {"token": "ü", "logprob": -0.5, "bytes": [195, 188]}
    assert read.choices[0].logprobs == {"content": [{**token, "top_logprobs": [token]}]}
    assert DIALECT.write_response(read)["candidates"][0]["logprobsResult"] == result
    foreign = hub.ChatResponse(choices=(msgspec.structs.replace(read.choices[0], extra={}),))
    told = {"token": "ü", "logProbability": -0.5}
    assert DIALECT.write_response(foreign)["candidates"][0]["logprobsResult"] == {
        "chosenCandidates": [told],
        "topCandidates": [{"candidates": [told]}],
    }


def test_an_answer_of_another_dialect_is_told_in_geminis_words() -> None:
    message = {
        "role": "assistant", "content": "hi", "refusal": None, "annotations": [], "tool_calls": [call("c1", '{"a": 1}')], "audio": None,
        "provider_specific_fields": {"x": 1},
    }  # fmt: skip
    body = {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-x", "system_fingerprint": "fp",
        "service_tier": "default",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": None, "content_filter_results": {}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1}},
    }  # fmt: skip
    read = OPENAI.read_response(reply(body), ASKED, Target("openai", "gpt-x"))
    parts = [{"text": "hi"}, {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}}]
    assert DIALECT.write_response(read) == {
        "candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": 0}],
        "responseId": "chatcmpl-1",
        "modelVersion": "gpt-x",
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5, "cachedContentTokenCount": 1},
    }


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b'{"choices": []}', b'{"candidates": [5]}', b'{"candidates": {}}'])
def test_what_is_no_answer_is_a_bad_response(body: bytes) -> None:
    with pytest.raises(APIResponseValidationError):
        DIALECT.read_response(HttpResponse(200, Headers(), body), ASKED, OWN)


def test_an_error_under_status_200_is_raised() -> None:
    with pytest.raises(HeadraceError) as caught:
        DIALECT.read_response(reply({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}), ASKED, OWN)
    assert caught.value.failure.kind is Kind.OVERLOADED


# ---- streams -----------------------------------------------------------------------------------------------------------------------


def sse(*chunks: Any) -> bytes:
    return b"".join([b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks])


def events_of(data: bytes, size: int = 1 << 20) -> list[hub.StreamEvent]:
    frames, reader = DIALECT.framing(), DIALECT.read_stream(ASKED, OWN)
    events: list[hub.StreamEvent] = []
    for at in range(0, len(data), size):
        for frame in frames.feed(data[at : at + size]):
            events += reader.feed(frame)
    for frame in frames.close():
        events += reader.feed(frame, last=True)
    return events + list(reader.close())


def piece(*parts: dict[str, Any], **candidate: Any) -> dict[str, Any]:
    chunk = answer(*parts)
    del chunk["candidates"][0]["finishReason"]
    chunk["candidates"][0] |= candidate
    return chunk


WHOLE = [
    piece({"text": "hm", "thought": True}),
    piece({"text": "He"}),
    piece({"text": "llo"}, safetyRatings=[{"category": "X"}]),
    piece({"text": "", "thoughtSignature": "c2ln"}),
    piece({**CALL, "thoughtSignature": "c2ln"}, CALL),
    piece({"executableCode": {"code": 'é\\"]}'}}),
    {
        **piece({"text": "Bye"}, finishReason="STOP"),
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7},
    },
]


def test_a_stream_adds_up_to_the_answer_it_would_have_been() -> None:
    whole = collect(events_of(sse(*WHOLE)))
    [choice] = whole.choices
    assert [type(part).__name__ for part in choice.message.content] == ["Thinking", "Text", "Text", "Other", "Text", "ToolCall", "ToolCall"]
    assert [(part.text, part.signature) for part in choice.message.content if isinstance(part, Text)] == [
        ("Hello", None),
        ("", "c2ln"),
        ("Bye", None),
    ]
    assert (choice.finish, choice.extra) == ("tool_calls", {"safetyRatings": [{"category": "X"}]})
    assert whole.usage == hub.Usage(input=3, output=4, total=7)


def test_an_array_is_read_like_events_however_it_comes() -> None:
    expected = events_of(sse(*WHOLE))
    for text in (json.dumps(WHOLE), json.dumps(WHOLE, indent=2, ensure_ascii=False), "\n [" + ",\r\n".join(map(json.dumps, WHOLE)) + "]\n"):
        for size in (1, 3, 1000):
            assert events_of(text.encode(), size) == expected


def test_an_object_of_an_array_may_not_grow_without_end() -> None:
    reader = ArrayReader(limit=10)
    assert reader.feed(b"[" + b" " * 100 + b"{}") == [Frame(b"{}")]
    with pytest.raises(FrameTooLarge):
        reader.feed(b',{"a": "01234567890"')


def test_a_stream_without_an_end_is_cut() -> None:
    for data in (b"", b"[", b"data: ", sse(*WHOLE[:-1]), json.dumps(WHOLE[:-1]).encode(), sse({"usageMetadata": {}})):
        with pytest.raises(TruncatedStream):
            events_of(data)


def test_every_candidate_must_end() -> None:
    two = {"candidates": [{"index": 0, "finishReason": "STOP"}, {"index": 1, "content": {"parts": [{"text": "x"}]}}]}
    with pytest.raises(TruncatedStream):
        events_of(sse(two))
    done = events_of(sse(two, {"candidates": [{"index": 1, "finishReason": "MAX_TOKENS"}]}))
    assert [(event.choice, event.finish) for event in done if isinstance(event, hub.Finished)] == [(0, "stop"), (1, "length")]


@pytest.mark.parametrize(
    "data",
    [
        b'{"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}',
        b'[{"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}]',
        sse(WHOLE[0], {"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}),
    ],
)
def test_an_error_in_a_stream_is_raised_in_every_form(data: bytes) -> None:
    with pytest.raises(BadRequestError, match="no"):
        events_of(data)


@pytest.mark.parametrize("chunk", [5, [], {"candidates": 5}, {"candidates": [5]}, {"candidates": [{"content": {"parts": [5]}}]}])
def test_what_is_no_chunk_is_a_bad_response(chunk: Any) -> None:
    with pytest.raises(APIResponseValidationError):
        events_of(sse(chunk))


def test_arguments_in_pieces_are_put_together() -> None:
    def part(*pieces: dict[str, Any], more: bool = True, **call: Any) -> dict[str, Any]:
        said = {"partialArgs": list(pieces)} if pieces else {}
        return piece({"functionCall": {**call, **said, **({"willContinue": True} if more else {})}})

    data = sse(
        part(name="f", id="c1"),
        part({"jsonPath": "$.a[1].b", "stringValue": "x", "willContinue": True}, {"jsonPath": "$['c d']", "numberValue": 1.5}),
        part({"jsonPath": "$.a[1].b", "stringValue": "y"}, {"jsonPath": "$.n", "nullValue": None}, {"jsonPath": "$.t", "boolValue": True}),
        piece({"functionCall": {}}),
        part(name="g", more=False),
        piece(finishReason="STOP"),
    )
    calls = [event for event in events_of(data) if isinstance(event, hub.ToolCallDelta)]
    assert [(event.index, event.id, event.name, json.loads(event.arguments)) for event in calls] == [
        (0, "c1", "f", {"a": [None, {"b": "xy"}], "c d": 1.5, "n": None, "t": True}),
        (1, "headrace_r_1", "g", {}),
    ]
    for path in ("$", "$.a.b.c", 5):
        with pytest.raises(APIResponseValidationError):
            events_of(sse(part({"jsonPath": "$.a", "numberValue": 1}, name="f"), part({"jsonPath": path, "numberValue": 1})))


def test_sound_in_pieces_is_put_together() -> None:
    def sound(data: str) -> dict[str, Any]:
        return piece({"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": data}})

    events = events_of(sse(sound("AAE="), sound("AgMEBQ=="), sound("BgcI"), piece(finishReason="STOP")))
    [part] = collect(events).choices[0].message.content
    assert isinstance(part, hub.Audio)
    assert base64.b64decode(part.data, validate=True) == bytes(range(9))
    assert part.format == "L16;codec=pcm;rate=24000"
    odd = collect(events_of(sse(sound("AAE="), piece(finishReason="STOP")))).choices[0].message.content[0]
    assert isinstance(odd, hub.Audio)
    assert odd.data == "AAE="
    with pytest.raises(APIResponseValidationError):
        events_of(sse(sound("not base64")))


def test_a_stream_is_written_as_google_frames_it() -> None:
    writer = DIALECT.write_stream(ASKED)
    events: list[hub.StreamEvent] = [
        hub.Started(id="r", model="gpt-x", extra={"system_fingerprint": "fp"}),
        hub.TextDelta(text="hi"),
        hub.ToolCallDelta(index=0, id="c1", name="f"),
        hub.ToolCallDelta(index=1, id="c2", name="g", arguments="{}"),
        hub.ToolCallDelta(index=0, arguments='{"a":'),
        hub.ToolCallDelta(index=0, arguments=" 1}"),
        hub.Finished(finish="tool_calls"),
        hub.UsageReported(usage=hub.Usage(input=1, output=2, total=3)),
    ]
    data = b"".join([writer.feed(event) for event in events]) + writer.close()
    chunks = [json.loads(line[6:]) for line in data.decode().split("\r\n\r\n") if line]
    assert all(chunk["responseId"] == "r" and chunk["modelVersion"] == "gpt-x" for chunk in chunks)
    assert [chunk["candidates"][0]["content"]["parts"] for chunk in chunks] == [
        [{"text": "hi"}],
        [{"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}}, {"functionCall": {"id": "c2", "name": "g", "args": {}}}],
        [{"text": ""}],
    ]
    assert [chunk["candidates"][0].get("finishReason") for chunk in chunks] == [None, None, "STOP"]
    assert chunks[2]["usageMetadata"] == {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3}
    failed = DIALECT.write_stream(ASKED).fail(Failure(Kind.OVERLOADED, "busy"))
    assert failed == b'data: {"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}\r\n\r\n'


# ---- errors ------------------------------------------------------------------------------------------------------------------------


EXHAUSTED = "RESOURCE_EXHAUSTED"


def violation(quota: str, delay: str | None = None) -> dict[str, Any]:
    details: list[dict[str, Any]] = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]}]
    if delay:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    return {"code": 429, "message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED", "details": details}


@pytest.mark.parametrize(
    ("status", "error", "kind", "scope", "retry_after", "code"),
    [
        (429, violation("GenerateRequestsPerMinutePerProjectPerModel", "31s"), Kind.RATE_LIMIT, "requests", 31, EXHAUSTED),
        (
            429, violation("GenerateContentPaidTierInputTokensPerModelPerMinute", "48.9s"), Kind.RATE_LIMIT, "tokens", 48.9,
            "RESOURCE_EXHAUSTED",
        ),
        (429, violation("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "31s"), Kind.QUOTA_EXHAUSTED, "day", None, EXHAUSTED),
        (429, {"code": 429, "message": "Resource exhausted.", "status": EXHAUSTED}, Kind.RATE_LIMIT, None, None, EXHAUSTED),
        (
            400, {"code": 400, "message": "User location is not supported for the API use.", "status": "FAILED_PRECONDITION"},
            Kind.PERMISSION, None, None, "FAILED_PRECONDITION",
        ),
        (
            403, {"code": 403, "message": "x", "status": "PERMISSION_DENIED", "details": [{"reason": "BILLING_DISABLED"}]},
            Kind.PAYMENT, "spend", None, "BILLING_DISABLED",
        ),
        (401, {"code": 401, "message": "x", "status": "UNAUTHENTICATED"}, Kind.AUTHENTICATION, None, None, "UNAUTHENTICATED"),
        (404, {"code": 404, "message": "models/x is not found", "status": "NOT_FOUND"}, Kind.NOT_FOUND, None, None, "NOT_FOUND"),
        (503, {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}, Kind.OVERLOADED, "capacity", None, "UNAVAILABLE"),
        (504, {"code": 504, "message": "Deadline expired.", "status": "DEADLINE_EXCEEDED"}, Kind.TIMEOUT, None, None, "DEADLINE_EXCEEDED"),
        (500, {"code": 500, "message": "Internal", "status": "INTERNAL"}, Kind.SERVER, None, None, "INTERNAL"),
        (499, {"code": 499, "message": "x", "status": "CANCELLED"}, Kind.SERVER, None, None, "CANCELLED"),
        (418, {"code": 418, "message": "x", "status": "TEAPOT"}, Kind.BAD_REQUEST, None, None, "TEAPOT"),
        (400, "a text", Kind.BAD_REQUEST, None, None, None),
    ],
)  # fmt: skip
def test_an_error_is_the_right_kind(status: int, error: Any, kind: Kind, scope: Any, retry_after: float | None, code: str | None) -> None:
    for body in ({"error": error}, [{"error": error}]):
        failure = DIALECT.read_error(HttpResponse(status, Headers(), json.dumps(body).encode()), OWN)
        assert (failure.kind, failure.scope, failure.retry_after, failure.code) == (kind, scope, retry_after, code)


def test_an_error_is_told_as_google_tells_it() -> None:
    told = DIALECT.write_error(Failure(Kind.RATE_LIMIT, "slow down", retry_after=2.5))
    assert told.status == 429
    assert json.loads(told.body) == {
        "error": {
            "code": 429,
            "message": "slow down",
            "status": "RESOURCE_EXHAUSTED",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.5s"}],
        }
    }


# ---- embeddings --------------------------------------------------------------------------------------------------------------------


def test_embeddings_are_packed_where_base64_was_asked_for() -> None:
    asked = EmbeddingRequest(model="m", input=["a"], encoding_format="base64")
    body = {"embeddings": [{"values": [1.0, -0.5]}], "usageMetadata": {"promptTokenCount": 4}}
    read = DIALECT.read_embedding_response(reply(body), asked, OWN)
    assert (read.model, read.data[0].values, read.usage.input) == ("gemini-2.5-flash", "AACAPwAAAL8=", 4)
    for bad in ({}, {"embeddings": []}, {"embeddings": [5]}, {"embedding": {"values": "x"}}, {"embedding": {"values": ["x"]}}):
        with pytest.raises(APIResponseValidationError):
            DIALECT.read_embedding_response(reply(bad), asked, OWN)


@pytest.mark.parametrize("given_input", [[], [1, 2], [[1]], 5, ["a", 1]])
def test_only_texts_are_embedded(given_input: Any) -> None:
    with pytest.raises(BadRequestError, match="input must be a string"):
        DIALECT.write_embedding_request(EmbeddingRequest(model="m", input=given_input), OWN)


# ---- of any value ------------------------------------------------------------------------------------------------------------------

WIRE = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["", "x", "STOP", "user", "model", "image/png", "ANY", "data:,x", "gs://x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([
                "contents", "parts", "role", "text", "thought", "thoughtSignature", "inlineData", "inline_data", "mimeType", "data",
                "fileData",
                "fileUri", "functionCall", "functionResponse", "name", "args", "response", "id", "partialArgs", "jsonPath", "willContinue",
                "executableCode", "systemInstruction", "tools", "functionDeclarations", "parameters", "parametersJsonSchema", "toolConfig",
                "functionCallingConfig", "mode", "allowedFunctionNames", "generationConfig", "thinkingConfig", "thinkingLevel",
                "thinkingBudget", "responseMimeType", "responseSchema", "stopSequences", "candidates", "content", "finishReason", "index",
                "groundingMetadata", "groundingChunks", "groundingSupports", "segment", "startIndex", "groundingChunkIndices", "web", "uri",
                "citationMetadata", "citations", "logprobsResult", "chosenCandidates", "topCandidates", "token", "usageMetadata",
                "promptTokenCount", "promptTokensDetails", "promptFeedback", "blockReason", "error", "details", "embeddings", "values",
                "createTime", "responseId",
            ]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)  # fmt: skip

SHAPED = st.fixed_dictionaries(
    {},
    optional={
        "contents": st.lists(st.fixed_dictionaries({"parts": st.lists(WIRE, max_size=3) | WIRE}, optional={"role": WIRE}), max_size=3),
        "candidates": st.lists(
            st.fixed_dictionaries(
                {"content": st.fixed_dictionaries({"parts": st.lists(WIRE, max_size=3)})}, optional={"finishReason": WIRE}
            ),
            max_size=2,
        ),
        "tools": st.lists(WIRE, max_size=2),
        "generationConfig": WIRE,
        "usageMetadata": WIRE,
        "promptFeedback": WIRE,
    },
)


@given(body=WIRE | SHAPED)
def test_whatever_comes_only_headraces_errors_come_out(body: Any) -> None:
    for attempt in (
        lambda: body_of(DIALECT.read_request(body)),
        lambda: json.dumps(DIALECT.write_response(DIALECT.read_response(reply(body), ASKED, OWN))),
        lambda: events_of(sse(body)),
        lambda: DIALECT.read_error(HttpResponse(429, Headers(), json.dumps(body).encode()), OWN),
        lambda: DIALECT.read_embedding_response(reply(body), EmbeddingRequest(model="m", input="x"), OWN),
    ):
        with suppress(HeadraceError):
            attempt()


@given(body=SHAPED)
def test_what_was_read_and_written_reads_the_same(body: Any) -> None:
    try:
        request = DIALECT.read_request(body)
    except HeadraceError:
        return
    assert DIALECT.read_request(body_of(request)) == request


@given(body=SHAPED)
def test_an_answer_read_and_written_reads_the_same(body: Any) -> None:
    try:
        read = responses.read_response(body)
    except HeadraceError:
        return
    once = responses.read_response(json.loads(json.dumps(responses.write_response(read))))
    assert once.choices == read.choices
    assert responses.read_response(json.loads(json.dumps(responses.write_response(once)))) == once


@given(request=hubs.REQUESTS)
def test_from_any_dialect_writing_and_reading_come_to_rest(request: ChatRequest) -> None:
    try:
        once = requests.read_request(json.loads(json.dumps(requests.write_body(request, "gemini-3-flash", foreign=True))))
    except BadRequestError:
        return  # a part of the other dialect's that must not be lost, which tests above hold by name
    again = requests.read_request(json.loads(json.dumps(requests.write_body(once, "gemini-3-flash", foreign=False))))
    assert again == once
    calls, kept = (
        [(one.name, one.signature) for message in them.messages for one in message.tool_calls] for them in (request, once)
    )  # fmt: skip
    assert [name for name, _ in kept] == [name for name, _ in calls]
    said = "".join(
        part.text for message in request.messages if message.role == "user" for part in message.content if isinstance(part, Text)
    )
    heard = "".join(part.text for message in once.messages if message.role == "user" for part in message.content if isinstance(part, Text))
    assert said.strip() == heard.strip() or said in heard


@given(events=hubs.streams())
def test_a_stream_of_any_dialect_can_be_told(events: list[hub.StreamEvent]) -> None:
    writer = DIALECT.write_stream(ASKED)
    data = b"".join([writer.feed(event) for event in events]) + writer.close()
    whole, told = collect(events), collect(events_of(data))
    assert [choice.message.text for choice in told.choices] == [
        "".join(getattr(part, "text", "") for part in choice.message.content if isinstance(part, Text | hub.Refusal))
        + "".join(part.transcript for part in choice.message.content if isinstance(part, hub.Audio) and not part.data)
        for choice in whole.choices
    ]
    for one, other in zip(whole.choices, told.choices, strict=True):
        assert [call.name for call in one.message.tool_calls] == [call.name for call in other.message.tool_calls]


@given(places=st.lists(st.integers(0, 10_000), max_size=6), array=st.booleans())
def test_how_the_bytes_arrive_changes_nothing(places: list[int], array: bool) -> None:
    data = json.dumps(WHOLE).encode() if array else sse(*WHOLE)
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    frames = DIALECT.framing()
    cut = [frame for start, end in pairwise(marks) for frame in frames.feed(data[start:end])] + frames.close()
    once = DIALECT.framing()
    assert cut == [*once.feed(data), *once.close()]


@given(place=st.integers(0, 10_000), array=st.booleans())
def test_a_stream_cut_anywhere_fails_and_invents_nothing(place: int, array: bool) -> None:
    data = json.dumps(WHOLE).encode() if array else sse(*WHOLE)
    with pytest.raises(TruncatedStream):
        events_of(data[: place % data.rindex(b"finishReason")])

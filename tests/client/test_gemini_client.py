"""Calls to Gemini through the public functions, which take and return OpenAI's format; sync and async."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream

import headrace

MODEL = "gemini/gemini-2.5-flash"
USAGE = {"promptTokenCount": 10, "candidatesTokenCount": 2, "totalTokenCount": 17, "thoughtsTokenCount": 5, "cachedContentTokenCount": 7}


def candidate(*parts: dict[str, Any], finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    end = {} if finish is None else {"finishReason": finish}
    return {"content": {"parts": list(parts), "role": "model"}, **end, "index": 0, **more}


def answer(*parts: dict[str, Any], finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    return {
        "candidates": [candidate(*parts, finish=finish, **more)],
        "usageMetadata": USAGE,
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r-1_x",
    }  # fmt: skip


HELLO = answer({"text": "hello"})
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "$defs": {}, "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": CITY, "strict": True}}]


@pytest.fixture(autouse=True)
def gemini(upstream: Upstream) -> None:
    upstream.answer(Reply(HELLO))


def events(*chunks: dict[str, Any]) -> list[Any]:
    return [f"data: {json.dumps(chunk)}\r\n\r\n".encode() for chunk in chunks]


def test_a_chat_is_asked_and_answered(client: Client, upstream: Upstream) -> None:
    got = client.chat("hi", model=MODEL)
    assert isinstance(got, headrace.ModelResponse)
    assert got.choices[0].message.content == "hello"
    assert got.choices[0].finish_reason == "stop"
    assert (got.id, got.model) == ("r-1_x", "gemini-2.5-flash")
    assert got.usage is not None
    assert (got.usage.prompt_tokens, got.usage.completion_tokens, got.usage.total_tokens) == (10, 7, 17)
    assert got.usage.prompt_tokens_details.cached_tokens == 7
    assert got.usage.completion_tokens_details.reasoning_tokens == 5
    [seen] = upstream.seen
    assert seen.path.endswith("/models/gemini-2.5-flash:generateContent")
    assert seen.headers["x-goog-api-key"] == "sk-test-1234567890"
    assert "authorization" not in seen.headers
    assert seen.body == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def test_the_address_is_googles_and_the_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace.destinations import destination

    monkeypatch.setenv("GOOGLE_API_KEY", "from-the-environment")
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    to = destination(MODEL, {})
    assert to.base_url == "https://generativelanguage.googleapis.com/v1beta"
    assert ("x-goog-api-key", "from-the-environment") in to.headers


def test_parameters_are_said_in_geminis_words(client: Client, upstream: Upstream) -> None:
    client.call(
        "completion",
        MODEL,
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
        max_tokens=900, temperature=0.5, top_p=0.9, top_k=5, n=2, stop="END", seed=7, presence_penalty=0.1, frequency_penalty=0.2,
        logprobs=True, top_logprobs=3, tools=TOOLS, tool_choice={"type": "function", "function": {"name": "get_weather"}},
        reasoning_effort="high", stream_options={"include_usage": True}, parallel_tool_calls=True,
    )  # fmt: skip
    body = upstream.seen[0].body
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert body["contents"] == [{"role": "user", "parts": [{"text": "hi"}]}]
    assert body["generationConfig"] == {
        "maxOutputTokens": 900, "temperature": 0.5, "topP": 0.9, "topK": 5, "candidateCount": 2, "stopSequences": ["END"], "seed": 7,
        "presencePenalty": 0.1, "frequencyPenalty": 0.2, "responseLogprobs": True, "logprobs": 3,
        "thinkingConfig": {"thinkingBudget": 450, "includeThoughts": True},
    }  # fmt: skip
    assert body["tools"] == [{"functionDeclarations": [{"name": "get_weather", "parametersJsonSchema": CITY}]}]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["get_weather"]}}
    assert set(body) == {"systemInstruction", "contents", "generationConfig", "tools", "toolConfig"}


def test_geminis_own_parameters_pass(client: Client, upstream: Upstream) -> None:
    safety = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    client.chat(
        "hi", model=MODEL, safety_settings=safety, cachedContent="cachedContents/1", labels={"team": "a"},
        responseModalities=["TEXT", "IMAGE"], thinking={"type": "enabled", "budget_tokens": 300}, web_search_options={},
        tools=[{"codeExecution": {}}], extra_body={"x": 1},
    )  # fmt: skip
    body = upstream.seen[0].body
    assert body["safetySettings"] == safety
    assert (body["cachedContent"], body["labels"], body["x"]) == ("cachedContents/1", {"team": "a"}, 1)
    assert body["generationConfig"] == {
        "responseModalities": ["TEXT", "IMAGE"],
        "thinkingConfig": {"thinkingBudget": 300, "includeThoughts": True},
    }
    assert body["tools"] == [{"codeExecution": {}}, {"googleSearch": {}}]


def test_what_gemini_cannot_say_is_named_or_left_out(client: Client, upstream: Upstream) -> None:
    with pytest.raises(headrace.UnsupportedParamsError, match="logit_bias"):
        client.chat("hi", model=MODEL, logit_bias={"1": 1})
    assert upstream.seen == []
    client.chat("hi", model=MODEL, logit_bias={"1": 1}, user="u", drop_params=True)
    assert set(upstream.seen[0].body) == {"contents"}


def test_an_answer_in_a_schema_is_asked_for(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(answer({"text": '{"city":"Oslo"}'})))
    format_ = {"type": "json_schema", "json_schema": {"name": "place", "schema": CITY, "strict": True}}
    got = client.chat("where?", model=MODEL, response_format=format_)
    assert json.loads(got.choices[0].message.content) == {"city": "Oslo"}
    assert upstream.seen[0].body["generationConfig"] == {"responseMimeType": "application/json", "responseJsonSchema": CITY}
    client.chat("where?", model=MODEL, response_format={"type": "json_object"})
    assert upstream.seen[1].body["generationConfig"] == {"responseMimeType": "application/json"}


CALLED = (
    {"text": "weather…", "thought": True},
    {"text": "Let me look."},
    {"functionCall": {"name": "get_weather", "args": {"city": "Uppsala"}}, "thoughtSignature": "c2ln"},
    {"functionCall": {"name": "get_weather", "args": {}}},
)


def test_calls_come_and_their_results_go_back_without_made_up_ids(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(answer(*CALLED)), Reply(HELLO))
    asked: list[Any] = [{"role": "user", "content": "How is the weather?"}]
    got = client.call("completion", MODEL, asked, tools=TOOLS)
    message = got.choices[0].message
    assert got.choices[0].finish_reason == "tool_calls"
    assert message.content == "Let me look."
    assert message.reasoning_content == "weather…"
    assert [(call.function.name, call.function.arguments) for call in message.tool_calls] == [
        ("get_weather", '{"city":"Uppsala"}'),
        ("get_weather", "{}"),
    ]
    ids = [call.id for call in message.tool_calls]
    assert len(set(ids)) == 2
    results = [{"role": "tool", "tool_call_id": id_, "content": text} for id_, text in zip(ids, ("rain", '{"sun": 1}'), strict=True)]
    client.call("completion", MODEL, [*asked, message.model_dump(exclude_none=True), *results], tools=TOOLS)
    turns = upstream.seen[1].body["contents"]
    assert turns[1] == {"role": "model", "parts": list(CALLED[1:])}
    assert turns[2] == {
        "role": "user",
        "parts": [
            {"functionResponse": {"name": "get_weather", "response": {"output": "rain"}}},
            {"functionResponse": {"name": "get_weather", "response": {"sun": 1}}},
        ],
    }
    assert len(turns) == 3


def test_a_call_of_another_provider_is_marked_as_such_for_gemini_3(client: Client, upstream: Upstream) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    turns = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    client.call("completion", "gemini/gemini-3-pro-preview", turns)
    sent = upstream.seen[0].body["contents"]
    assert sent[1]["parts"] == [
        {
            "functionCall": {"id": "call_1", "name": "get_weather", "args": {}},
            "thoughtSignature": "skip_thought_signature_validator",
        }
    ]
    assert sent[2]["parts"] == [{"functionResponse": {"id": "call_1", "name": "get_weather", "response": {"output": "rain"}}}]


def test_a_result_without_its_call_is_named_by_its_place(client: Client, upstream: Upstream) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "tool", "tool_call_id": "nobody", "content": "rain"}]
    with pytest.raises(headrace.BadRequestError, match=r"messages\[1\]\.content\[0\].*name"):
        client.call("completion", MODEL, turns)
    assert upstream.seen == []


def test_a_stream_arrives_piece_by_piece(client: Client, upstream: Upstream) -> None:
    last = {**answer({"text": "lo"}, finish="MAX_TOKENS"), "usageMetadata": {**USAGE, "candidatesTokenCount": 5}}
    upstream.answer(Reply(pieces=events(answer({"text": "hel"}, finish=None), last)))
    chunks = client.chat("hi", model=MODEL, stream=True, stream_options={"include_usage": True})
    assert upstream.seen[0].path.endswith(":streamGenerateContent?alt=sse")
    assert "stream" not in upstream.seen[0].body
    said = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert [piece for piece in said if piece] == ["hel", "lo"]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    assert {chunk.id for chunk in chunks} == {"r-1_x"}
    usage = [chunk.usage for chunk in chunks if chunk.usage]
    assert [(used.prompt_tokens, used.completion_tokens) for used in usage] == [(10, 10)]


def test_a_streams_calls_are_whole_and_a_reason_to_end(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=events(answer(*CALLED, finish=None), answer({"text": ""}))))
    chunks = client.chat("hi", model=MODEL, stream=True, tools=TOOLS)
    deltas = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or []]
    assert [(call.index, call.function.name, call.function.arguments) for call in deltas] == [
        (0, "get_weather", '{"city":"Uppsala"}'),
        (1, "get_weather", "{}"),
    ]
    assert len({call.id for call in deltas}) == 2
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "tool_calls"
    thought = "".join(chunk.choices[0].delta.get("reasoning_content") or "" for chunk in chunks if chunk.choices)
    assert thought == "weather…"


def test_a_stream_that_is_cut_says_so(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=events(answer({"text": "hel"}, finish=None))))
    with pytest.raises(headrace.TruncatedStream):
        client.chat("hi", model=MODEL, stream=True)


def test_an_error_in_mid_stream_is_raised_as_what_it_is(client: Client, upstream: Upstream) -> None:
    broken = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    upstream.answer(Reply(pieces=events(answer({"text": "hel"}, finish=None), broken)))
    with pytest.raises(headrace.ServiceUnavailableError, match="overloaded"):
        client.chat("hi", model=MODEL, stream=True)


def refusal(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


INVALID = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
LATER = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}


@pytest.mark.parametrize(
    ("code", "status", "message", "details", "raised"),
    [
        (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [INVALID], headrace.AuthenticationError),
        (
            400, "INVALID_ARGUMENT", "The input token count (1250074) exceeds the maximum number of tokens allowed (1048576).", [],
            headrace.ContextWindowExceededError,
        ),
        (400, "INVALID_ARGUMENT", "Please use a valid role: user, model.", [], headrace.BadRequestError),
        (403, "PERMISSION_DENIED", "Permission denied on resource project.", [], headrace.PermissionDeniedError),
        (404, "NOT_FOUND", "models/x is not found for API version v1beta", [], headrace.NotFoundError),
        (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota", [LATER], headrace.RateLimitError),
        (503, "UNAVAILABLE", "The model is overloaded.", [], headrace.ServiceUnavailableError),
    ],
)  # fmt: skip
def test_a_refusal_is_raised_as_what_it_is(
    client: Client, upstream: Upstream, code: int, status: str, message: str, details: list[Any], raised: type[Exception]
) -> None:
    upstream.answer(Reply(refusal(code, status, message, *details), code))
    with pytest.raises(raised) as caught:
        client.chat("hi", model=MODEL)
    assert type(caught.value) is raised
    assert message[:20] in str(caught.value)
    assert caught.value.llm_provider == "gemini"  # type: ignore[attr-defined]
    assert "sk-test" not in repr(caught.value)
    if code == 429:
        assert caught.value.retry_after == 7  # type: ignore[attr-defined]


def test_a_refused_prompt_is_an_answer_that_was_filtered(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 3}}))
    got = client.chat("hi", model=MODEL)
    assert got.choices[0].finish_reason == "content_filter"
    assert got.choices[0].message.content is None
    assert got.promptFeedback == {"blockReason": "PROHIBITED_CONTENT"}
    upstream.answer(Reply(pieces=events({"promptFeedback": {"blockReason": "SAFETY"}})))
    chunks = client.chat("hi", model=MODEL, stream=True)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "content_filter"


GROUNDED = {
    "groundingChunks": [{"web": {"uri": "https://e.com/å", "title": "e.com"}}],
    "groundingSupports": [{"segment": {"startIndex": 6, "endIndex": 11}, "groundingChunkIndices": [0]}],
    "webSearchQueries": ["weather"],
}


def test_sources_are_annotations_at_their_place_in_characters(client: Client, upstream: Upstream) -> None:
    said = "Blå: regn."
    upstream.answer(Reply(answer({"text": said}, groundingMetadata=GROUNDED)))
    got = client.chat("weather?", model=MODEL)
    [note] = got.choices[0].message.annotations
    cited = note["url_citation"]
    assert (cited["url"], cited["title"], said[cited["start_index"] : cited["end_index"]]) == ("https://e.com/å", "e.com", "regn.")
    assert got.choices[0].groundingMetadata == GROUNDED
    upstream.answer(Reply(pieces=events(answer({"text": said}, finish=None), answer({"text": ""}, groundingMetadata=GROUNDED))))
    chunks = client.chat("weather?", model=MODEL, stream=True)
    assert [found for chunk in chunks if chunk.choices for found in chunk.choices[0].delta.get("annotations") or []] == [note]


def test_an_image_a_model_made_is_shown_and_can_be_sent_back(client: Client, upstream: Upstream) -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}, "thoughtSignature": "c2ln"}
    upstream.answer(Reply(answer({"text": "Here."}, picture)))
    got = client.chat("draw", model=MODEL, modalities=["text", "image"])
    message = got.choices[0].message
    assert upstream.seen[0].body["generationConfig"] == {"responseModalities": ["TEXT", "IMAGE"]}
    assert message.content == "Here."
    assert [shown["image_url"]["url"] for shown in message.images] == ["data:image/png;base64,iVBORw0KGgo="]
    client.call("completion", MODEL, [{"role": "user", "content": "draw"}, message.model_dump(), {"role": "user", "content": "bigger"}])
    assert picture in upstream.seen[1].body["contents"][1]["parts"]


def test_media_go_inline_or_by_address(client: Client, upstream: Upstream) -> None:
    content = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://e.com/cat.webp"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "https://www.youtube.com/watch?v=1", "format": "video/mp4"}},
        {"type": "video_url", "video_url": {"url": "gs://b/c.mov"}},
    ]
    client.chat(content, model=MODEL)
    assert upstream.seen[0].body["contents"][0]["parts"][1:] == [
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://e.com/cat.webp"}},
        {"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://www.youtube.com/watch?v=1"}},
        {"fileData": {"mimeType": "video/mov", "fileUri": "gs://b/c.mov"}},
    ]
    with pytest.raises(headrace.BadRequestError, match=r"messages\[0\]\.content\[0\]"):
        client.chat([{"type": "file", "file": {"file_id": "file-abc"}}], model=MODEL)


def test_texts_are_embedded_one_or_many(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"embedding": {"values": [0.5, -1.0]}}), Reply({"embeddings": [{"values": [1]}, {"values": [2]}]}))
    one = client.call("embedding", "gemini/gemini-embedding-001", "hi", dimensions=2, task_type="CLUSTERING")
    assert one.data[0]["embedding"] == [0.5, -1.0]
    assert one.model == "gemini-embedding-001"
    assert upstream.seen[0].path.endswith("/models/gemini-embedding-001:embedContent")
    assert upstream.seen[0].body == {"content": {"parts": [{"text": "hi"}]}, "taskType": "CLUSTERING", "outputDimensionality": 2}
    many = client.call("embedding", "gemini/gemini-embedding-001", ["a", "b"])
    assert [item["embedding"] for item in many.data] == [[1], [2]]
    assert upstream.seen[1].path.endswith(":batchEmbedContents")
    assert upstream.seen[1].body["requests"][1] == {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "b"}]}}


def test_token_ids_cannot_be_embedded(client: Client, upstream: Upstream) -> None:
    with pytest.raises(headrace.BadRequestError, match=r"input.*token ids"):
        client.call("embedding", "gemini/gemini-embedding-001", [1, 2, 3])
    assert upstream.seen == []


def test_a_router_moves_from_gemini_to_another_dialect_with_its_history(client: Client, upstream: Upstream) -> None:
    """What Gemini called goes to OpenAI's dialect under the same ids."""
    upstream.answer(Reply(answer(*CALLED)), Reply(refusal(503, "UNAVAILABLE", "The model is overloaded."), 503), Reply(CHAT))
    options = {"api_key": "sk-test-1234567890", "base_url": upstream.url}
    models = [
        {"model_name": "m", "litellm_params": {"model": MODEL, "order": 1, **options}},
        {"model_name": "m", "litellm_params": {"model": "openai/gpt-x", "order": 2, **options}},
    ]
    router = headrace.Router(model_list=models, num_retries=2)
    asked: list[Any] = [{"role": "user", "content": "weather?"}]
    message = client.call("completion", "m", asked, on=router, tools=TOOLS).choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in message.tool_calls]
    got = client.call("completion", "m", [*asked, message.model_dump(exclude_none=True), *results], on=router, tools=TOOLS)
    assert got.choices[0].message.content == "hello"
    first, second = (seen.path for seen in upstream.seen[1:])
    assert (first.endswith(":generateContent"), second.endswith("/chat/completions")) == (True, True)
    turns = upstream.seen[2].body["messages"]
    assert [turn["tool_call_id"] for turn in turns[2:]] == [call["id"] for call in turns[1]["tool_calls"]]

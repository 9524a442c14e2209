"""Calls to Cohere v2 through the public functions, which take and return OpenAI's format; sync and async."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.client.upstream import Client, Reply, Upstream

import headrace

MODEL = "cohere/command-a-03-2025"
USAGE = {
    "billed_units": {"input_tokens": 5, "output_tokens": 2},
    "tokens": {"input_tokens": 496, "output_tokens": 9, "reasoning_tokens": 7},
    "cached_tokens": 448,
}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": CITY, "strict": True}}]
CALL = {"id": "get_weather_3p2j", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}


def answer(finish: str = "COMPLETE", **message: Any) -> dict[str, Any]:
    return {"id": "c-1", "finish_reason": finish, "message": {"role": "assistant", **message}, "usage": USAGE}


HELLO = answer(content=[{"type": "text", "text": "hello"}])


@pytest.fixture(autouse=True)
def cohere(upstream: Upstream) -> None:
    upstream.answer(Reply(HELLO))


def event(kind: str, *, index: int | None = None, **delta: Any) -> bytes:
    place = {} if index is None else {"index": index}
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **place, 'delta': delta})}\n\n".encode()


def said(**message: Any) -> dict[str, Any]:
    return {"message": message}


STREAM = [
    event("message-start", **said(role="assistant", content=[])),
    event("content-start", index=0, **said(content={"type": "thinking", "thinking": ""})),
    event("content-delta", index=0, **said(content={"thinking": "Hm."})),
    event("content-end", index=0),
    event("content-start", index=1, **said(content={"type": "text", "text": ""})),
    event("content-delta", index=1, **said(content={"text": "hel"})),
    event("content-delta", index=1, **said(content={"text": "lo"})),
    event("content-end", index=1),
    event("message-end", finish_reason="MAX_TOKENS", usage=USAGE),
    b"data: [DONE]\n\n",
]


@pytest.mark.parametrize("model", [MODEL, "cohere_chat/command-a-03-2025"])
def test_a_chat_is_asked_and_answered(client: Client, upstream: Upstream, model: str) -> None:
    got = client.chat("hi", model=model)
    assert isinstance(got, headrace.ModelResponse)
    assert got.choices[0].message.content == "hello"
    assert got.choices[0].finish_reason == "stop"
    assert (got.id, got.model) == ("c-1", "command-a-03-2025")
    assert got.usage is not None
    assert (got.usage.prompt_tokens, got.usage.completion_tokens, got.usage.total_tokens) == (496, 9, 505)
    assert got.usage.prompt_tokens_details.cached_tokens == 448
    assert got.usage.completion_tokens_details.reasoning_tokens == 7
    assert got.usage["billed_units"] == {"input_tokens": 5, "output_tokens": 2}
    [seen] = upstream.seen
    assert seen.path == "/v1/chat"
    assert seen.headers["authorization"] == "Bearer sk-test-1234567890"
    assert seen.body == {"model": "command-a-03-2025", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("tail", ["", "/v2", "/v2/chat"])
def test_an_address_may_name_the_host_the_version_or_the_endpoint_as_litellms_does(upstream: Upstream, tail: str) -> None:
    base = upstream.url.removesuffix("/v1") + tail
    headrace.completion(MODEL, [{"role": "user", "content": "hi"}], api_base=base, api_key="k")
    assert upstream.seen[0].path == "/v2/chat"


def test_parameters_are_said_in_coheres_words(client: Client, upstream: Upstream) -> None:
    client.call(
        "completion", MODEL, [{"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Now."}],
        max_completion_tokens=90, temperature=0.5, top_p=0.9, top_k=5, stop="END", seed=7, presence_penalty=0.1, frequency_penalty=0.2,
        logprobs=True, tools=TOOLS, tool_choice="required", reasoning_effort="low", n=1, stream_options={"include_usage": True},
        documents=[{"data": {"text": "x"}}], safety_mode="STRICT", citation_options={"mode": "FAST"},
    )  # fmt: skip
    body = upstream.seen[0].body
    function = {"name": "get_weather", "parameters": CITY}
    assert body == {
        "model": "command-a-03-2025",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "system", "content": "Now."}],
        "max_tokens": 90, "temperature": 0.5, "p": 0.9, "k": 5, "stop_sequences": ["END"], "seed": 7, "presence_penalty": 0.1,
        "frequency_penalty": 0.2, "logprobs": True, "tools": [{"type": "function", "function": function}], "tool_choice": "REQUIRED",
        "strict_tools": True, "thinking": {"type": "enabled", "token_budget": 1024},
        "documents": [{"data": {"text": "x"}}], "safety_mode": "STRICT", "citation_options": {"mode": "FAST"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"reasoning_effort": "none"}, {"type": "disabled"}),
        ({"reasoning_effort": "high"}, {"type": "enabled"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 99}}, {"type": "enabled", "token_budget": 99}),
        ({"thinking": {"type": "disabled"}}, {"type": "disabled"}),
    ],
)
def test_thinking_is_asked_for_or_not(client: Client, upstream: Upstream, given: dict[str, Any], sent: dict[str, Any]) -> None:
    client.chat("hi", model=MODEL, **given)
    assert upstream.seen[0].body["thinking"] == sent


def test_the_one_tool_that_must_be_called_is_the_only_one_sent(client: Client, upstream: Upstream) -> None:
    other = {"type": "function", "function": {"name": "add"}}
    client.chat("hi", model=MODEL, tools=[*TOOLS, other], tool_choice={"type": "function", "function": {"name": "add"}})
    body = upstream.seen[0].body
    assert [tool["function"]["name"] for tool in body["tools"]] == ["add"]
    assert body["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert body["tool_choice"] == "REQUIRED"


def test_what_cohere_cannot_say_is_named_or_left_out(client: Client, upstream: Upstream) -> None:
    with pytest.raises(headrace.UnsupportedParamsError, match=r"n, user, logit_bias"):
        client.chat("hi", model=MODEL, logit_bias={"1": 1}, user="u", n=2)
    assert upstream.seen == []
    client.chat("hi", model=MODEL, logit_bias={"1": 1}, user="u", n=2, drop_params=True)
    assert set(upstream.seen[0].body) == {"model", "messages"}


def test_an_answer_in_a_schema_is_asked_for(client: Client, upstream: Upstream) -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "place", "schema": CITY, "strict": True}}
    client.chat("where?", model=MODEL, response_format=format_)
    assert upstream.seen[0].body["response_format"] == {"type": "json_object", "json_schema": CITY}
    client.chat("where?", model=MODEL, response_format={"type": "json_object"})
    assert upstream.seen[1].body["response_format"] == {"type": "json_object"}


def test_a_plan_and_calls_come_and_go_back_as_they_were(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(answer("TOOL_CALL", tool_plan="I will look.", tool_calls=[CALL])), Reply(HELLO))
    asked: list[Any] = [{"role": "user", "content": "weather?"}]
    got = client.call("completion", MODEL, asked, tools=TOOLS)
    message = got.choices[0].message
    assert got.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    assert message.reasoning_content == "I will look."
    assert message.tool_calls[0].function.arguments == '{"city":"Paris"}'
    result = {"role": "tool", "tool_call_id": CALL["id"], "content": [{"type": "text", "text": "rain"}]}
    client.call("completion", MODEL, [*asked, message.model_dump(exclude_none=True), result], tools=TOOLS)
    assert upstream.seen[1].body["messages"][1:] == [
        {"role": "assistant", "tool_plan": "I will look.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": CALL["id"], "content": "rain"},
    ]


def test_thinking_comes_and_goes_back(client: Client, upstream: Upstream) -> None:
    content = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "hello"}]
    upstream.answer(Reply(answer(content=content)))
    message = client.chat("hi", model=MODEL).choices[0].message
    assert (message.reasoning_content, message.content) == ("Hm.", "hello")
    client.call("completion", MODEL, [{"role": "user", "content": "hi"}, message.model_dump(), {"role": "user", "content": "and?"}])
    assert upstream.seen[1].body["messages"][1] == {"role": "assistant", "content": content}


def test_citations_are_annotations_too(client: Client, upstream: Upstream) -> None:
    sources = [{"type": "document", "id": "doc:0", "document": {"id": "doc:0", "title": "facts.txt", "text": "…"}}]
    citation = {"start": 0, "end": 5, "text": "hello", "sources": sources, "type": "TEXT_CONTENT"}
    upstream.answer(Reply(answer(content=[{"type": "text", "text": "hello"}], citations=[citation])))
    message = client.chat("hi", model=MODEL).choices[0].message
    assert message.citations == [citation]
    cited = {"start_index": 0, "end_index": 5, "title": "facts.txt", "url": "source:doc:0"}
    assert message.annotations == [{"type": "url_citation", "url_citation": cited}]
    start = event("citation-start", index=0, **said(citations=citation))
    upstream.answer(Reply(pieces=[*STREAM[:-2], start, *STREAM[-2:]]))
    chunks = client.chat("hi", model=MODEL, stream=True)
    told = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert [delta.annotations for delta in told if delta.get("annotations")] == [message.annotations]


def test_a_stream_arrives_piece_by_piece(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=list(STREAM)))
    chunks = client.chat("hi", model=MODEL, stream=True, stream_options={"include_usage": True})
    assert upstream.seen[0].body["stream"] is True
    deltas = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert [choice.delta.content for choice in deltas if choice.delta.content] == ["hel", "lo"]
    assert "".join(choice.delta.get("reasoning_content") or "" for choice in deltas) == "Hm."
    assert deltas[-1].finish_reason == "length"
    assert [chunk.usage.prompt_tokens for chunk in chunks if chunk.usage] == [496]


def test_a_streamed_call_without_arguments_has_an_empty_object(client: Client, upstream: Upstream) -> None:
    call = {"id": "now_1", "type": "function", "function": {"name": "now", "arguments": ""}}
    pieces = [
        STREAM[0],
        event("tool-plan-delta", **said(tool_plan="I will look.")),
        event("tool-call-start", index=0, **said(tool_calls=call)),
        event("tool-call-end", index=0),
        event("tool-call-start", index=1, **said(tool_calls={**CALL, "function": {"name": "get_weather", "arguments": ""}})),
        event("tool-call-delta", index=1, **said(tool_calls={"function": {"arguments": '{"city":"Paris"}'}})),
        event("tool-call-end", index=1),
        event("message-end", finish_reason="TOOL_CALL", usage=USAGE),
    ]
    upstream.answer(Reply(pieces=list(pieces)))
    whole = headrace.stream_chunk_builder(client.chat("hi", model=MODEL, stream=True, tools=TOOLS))
    assert whole is not None
    calls = whole.choices[0].message.tool_calls
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [
        ("now_1", "now", "{}"),
        (CALL["id"], "get_weather", '{"city":"Paris"}'),
    ]
    assert whole.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("at", range(1, len(STREAM) - 1))
def test_a_stream_that_is_cut_says_so(client: Client, upstream: Upstream, at: int) -> None:
    upstream.answer(Reply(pieces=list(STREAM[:at])))
    with pytest.raises(headrace.TruncatedStream):
        client.chat("hi", model=MODEL, stream=True)


def test_an_error_that_ends_a_stream_or_an_answer_is_raised(client: Client, upstream: Upstream) -> None:
    end = event("message-end", finish_reason="ERROR", error="the model crashed")
    upstream.answer(Reply(pieces=[*STREAM[:-2], end]))
    with pytest.raises(headrace.InternalServerError, match="the model crashed"):
        client.chat("hi", model=MODEL, stream=True)
    upstream.answer(Reply(answer("TIMEOUT")))
    with pytest.raises(headrace.InternalServerError, match="TIMEOUT"):
        client.chat("hi", model=MODEL)


@pytest.mark.parametrize(
    ("status", "body", "raised"),
    [
        (400, {"id": "1", "message": "too many tokens", "error_type": "TOO_MANY_TOKENS"}, headrace.ContextWindowExceededError),
        (401, {"id": "1", "message": "no api key supplied"}, headrace.AuthenticationError),
        (404, {"id": "1", "message": "model 'x' not found"}, headrace.NotFoundError),
        (422, {"message": "invalid role"}, headrace.UnprocessableEntityError),
        (429, {"message": "You are using a Trial key, which is limited to 20 API calls / minute."}, headrace.RateLimitError),
        (503, {"message": "overloaded"}, headrace.ServiceUnavailableError),
    ],
)
def test_a_refusal_is_raised_as_what_it_is(client: Client, upstream: Upstream, status: int, body: Any, raised: type[Exception]) -> None:
    upstream.answer(Reply(body, status))
    with pytest.raises(raised) as caught:
        client.chat("hi", model=MODEL)
    assert type(caught.value) is raised
    assert body["message"] in str(caught.value)


def test_images_go_by_address_and_what_cohere_cannot_read_is_named(client: Client, upstream: Upstream) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
    client.chat([{"type": "text", "text": "look"}, image], model=MODEL)
    assert upstream.seen[0].body["messages"][0]["content"] == [{"type": "text", "text": "look"}, image]
    with pytest.raises(headrace.BadRequestError, match=r"messages\[0\]\.content\[0\].*File.*documents="):
        client.chat([{"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}], model=MODEL)


def test_log_probabilities_come_in_openais_shape(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({**HELLO, "logprobs": [{"text": "hello", "token_ids": [1, 2], "logprobs": [-0.5, -0.25]}]}))
    [token] = client.chat("hi", model=MODEL, logprobs=True).choices[0].logprobs["content"]
    assert (token["token"], token["logprob"], token["token_ids"]) == ("hello", -0.75, [1, 2])


EMBEDDED = {
    "id": "e-1",
    "texts": ["a", "b"],
    "embeddings": {"float": [[0.5, -1.0], [1, 2]]},
    "meta": {"billed_units": {"input_tokens": 4}},
}  # fmt: skip


def test_texts_are_embedded_for_the_use_the_caller_names(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(EMBEDDED))
    got = client.call("embedding", "cohere/embed-v4.0", ["a", "b"], dimensions=2)
    assert [item["embedding"] for item in got.data] == [[0.5, -1.0], [1, 2]]
    assert (got.model, got.usage.prompt_tokens) == ("embed-v4.0", 4)
    assert upstream.seen[0].path == "/v1/embed"
    assert upstream.seen[0].body == {
        "model": "embed-v4.0", "texts": ["a", "b"], "input_type": "search_document", "output_dimension": 2, "embedding_types": ["float"],
    }  # fmt: skip
    client.call("embedding", "cohere/embed-v4.0", "a", input_type="search_query", truncate="END", encoding_format="float")
    assert upstream.seen[1].body["input_type"] == "search_query"
    assert upstream.seen[1].body["truncate"] == "END"
    assert "encoding_format" not in upstream.seen[1].body


def test_vectors_come_packed_or_in_the_type_asked_for(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({**EMBEDDED, "embeddings": {"base64": ["AAAAPwAAgL8="]}}))
    got = client.call("embedding", "cohere/embed-v4.0", "a", encoding_format="base64")
    assert got.data[0]["embedding"] == "AAAAPwAAgL8="
    assert upstream.seen[0].body["embedding_types"] == ["base64"]
    upstream.answer(Reply({**EMBEDDED, "embeddings": {"int8": [[1]], "float": [[0.5]]}}))
    got = client.call("embedding", "cohere/embed-v4.0", "a", embedding_types=["int8", "float"])
    assert got.data[0]["embedding"] == [1]
    assert got.embeddings == {"float": [[0.5]]}


def test_images_are_embedded_alone_or_beside_texts(client: Client, upstream: Upstream) -> None:
    picture = "data:image/png;base64,AAAA"
    upstream.answer(Reply(EMBEDDED))
    client.call("embedding", "cohere/embed-v4.0", [picture])
    assert (upstream.seen[0].body["images"], upstream.seen[0].body["input_type"]) == ([picture], "image")
    client.call("embedding", "cohere/embed-v4.0", ["a", picture])
    assert upstream.seen[1].body["inputs"] == [
        {"content": [{"type": "text", "text": "a"}]},
        {"content": [{"type": "image_url", "image_url": {"url": picture}}]},
    ]
    with pytest.raises(headrace.BadRequestError, match=r"input.*token ids"):
        client.call("embedding", "cohere/embed-v4.0", [[1, 2]])

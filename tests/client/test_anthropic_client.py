"""Calls to Anthropic through the public functions, which take and return OpenAI's format; sync and async."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream

import headrace

MODEL = "anthropic/claude-sonnet-4-5"
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 7, "output_tokens": 2},
}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": CITY}}]
CALLED = {
    **ANSWER,
    "content": [
        {"type": "thinking", "thinking": "weather…", "signature": "c2ln"},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Uppsala"}},
        {"type": "tool_use", "id": "toolu_2", "name": "get_weather", "input": {}},
    ],
    "stop_reason": "tool_use",
}


@pytest.fixture(autouse=True)
def anthropic(upstream: Upstream) -> None:
    upstream.answer(Reply(ANSWER))


def events(*events: dict[str, Any]) -> list[Any]:
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


def start() -> dict[str, Any]:
    return {"type": "message_start", "message": {**ANSWER, "content": [], "stop_reason": None}}


def block(index: int, head: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    pieces = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    opened = {"type": "content_block_start", "index": index, "content_block": head}
    return [opened, *pieces, {"type": "content_block_stop", "index": index}]


def text(index: int, *pieces: str) -> list[dict[str, Any]]:
    return block(index, {"type": "text", "text": ""}, *[{"type": "text_delta", "text": piece} for piece in pieces])


def stop(reason: str) -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5}}, {"type": "message_stop"}]


def test_a_chat_is_asked_and_answered(client: Client, upstream: Upstream) -> None:
    answer = client.chat("hi", model=MODEL)
    assert isinstance(answer, headrace.ModelResponse)
    assert answer.choices[0].message.content == "hello"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "claude-sonnet-4-5-20250929"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (10, 2, 12)
    assert answer.usage.prompt_tokens_details.cached_tokens == 7
    [seen] = upstream.seen
    assert seen.path == "/v1/messages"
    assert seen.headers["x-api-key"] == "sk-test-1234567890"
    assert seen.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in seen.headers
    assert seen.body == {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4096}


def test_parameters_are_said_in_anthropics_words(client: Client, upstream: Upstream) -> None:
    client.call(
        "completion",
        MODEL,
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
        max_tokens=9, temperature=0.5, top_p=0.9, stop="END", user="u1", tools=TOOLS, tool_choice="required", parallel_tool_calls=False,
        top_k=5, n=1, stream_options={"include_usage": True}, reasoning_effort=None,
    )  # fmt: skip
    body = upstream.seen[0].body
    assert body["system"] == "Be brief."
    assert (body["max_tokens"], body["temperature"], body["top_p"], body["top_k"], body["stop_sequences"]) == (9, 0.5, 0.9, 5, ["END"])
    assert body["metadata"] == {"user_id": "u1"}
    assert body["tools"] == [{"name": "get_weather", "input_schema": CITY}]
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert not {"n", "stream_options", "stop", "user"} & set(body)


def test_anthropics_own_parameters_pass(client: Client, upstream: Upstream) -> None:
    thinking = {"type": "enabled", "budget_tokens": 2000}
    client.chat("hi", model=MODEL, thinking=thinking, betas=["a-1", "b-2"], extra_headers={"anthropic-beta": "c-3"}, extra_body={"x": 1})
    [seen] = upstream.seen
    assert seen.body["thinking"] == thinking
    assert seen.body["max_tokens"] == 6096
    assert seen.body["x"] == 1
    assert seen.headers["anthropic-beta"] == "c-3,a-1,b-2"
    assert "betas" not in seen.body


def test_what_anthropic_cannot_say_is_named_or_left_out(client: Client, upstream: Upstream) -> None:
    with pytest.raises(headrace.UnsupportedParamsError, match="seed"):
        client.chat("hi", model=MODEL, seed=7, n=2)
    assert upstream.seen == []
    client.chat("hi", model=MODEL, seed=7, n=2, logit_bias={"1": 1}, drop_params=True)
    assert set(upstream.seen[0].body) == {"model", "messages", "max_tokens"}


def test_calls_come_and_their_results_go_back(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(CALLED), Reply(ANSWER))
    asked: list[Any] = [{"role": "user", "content": "How is the weather?"}]
    answer = client.call("completion", MODEL, asked, tools=TOOLS)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.content == "Let me look."
    assert message.reasoning_content == "weather…"
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls] == [
        ("toolu_1", "get_weather", '{"city":"Uppsala"}'),
        ("toolu_2", "get_weather", "{}"),
    ]
    results = [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in message.tool_calls]
    client.call("completion", MODEL, [*asked, message.model_dump(exclude_none=True), *results], tools=TOOLS)
    turns = upstream.seen[1].body["messages"]
    assert turns[1] == {"role": "assistant", "content": CALLED["content"]}
    assert turns[2] == {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": "rain"} for number in (1, 2)],
    }
    assert len(turns) == 3


def test_a_stream_arrives_piece_by_piece(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=events(start(), {"type": "ping"}, *text(0, "hel", "lo"), *stop("max_tokens"))))
    chunks = client.chat("hi", model=MODEL, stream=True, stream_options={"include_usage": True})
    assert upstream.seen[0].body["stream"] is True
    said = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert [piece for piece in said if piece] == ["hel", "lo"]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    usage = [chunk.usage for chunk in chunks if chunk.usage]
    assert [(used.prompt_tokens, used.completion_tokens) for used in usage] == [(10, 5)]


def test_a_streams_calls_have_their_names_first_and_arguments_in_pieces(client: Client, upstream: Upstream) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
    pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", '{"city": ', '"Oslo"}')]
    other = {**call, "id": "toolu_2"}
    sent = events(start(), *text(0, "Look:"), *block(1, call, *pieces), *block(2, other), *stop("tool_use"))
    upstream.answer(Reply(pieces=sent))
    chunks = client.chat("hi", model=MODEL, stream=True, tools=TOOLS)
    deltas = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or []]
    assert [(call.index, call.id, call.function.name) for call in deltas if call.id] == [
        (0, "toolu_1", "get_weather"),
        (1, "toolu_2", "get_weather"),
    ]
    assert "".join(call.function.arguments for call in deltas if call.index == 0) == '{"city": "Oslo"}'
    assert "".join(call.function.arguments for call in deltas if call.index == 1) == "{}"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "tool_calls"


def test_a_stream_that_is_cut_says_so(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=events(start(), *text(0, "hel"))))
    with pytest.raises(headrace.TruncatedStream):
        client.chat("hi", model=MODEL, stream=True)


def test_an_error_in_mid_stream_is_raised_as_what_it_is(client: Client, upstream: Upstream) -> None:
    broken = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    upstream.answer(Reply(pieces=events(start(), *text(0, "hel"), broken)))
    with pytest.raises(headrace.ServiceUnavailableError, match="Overloaded"):
        client.chat("hi", model=MODEL, stream=True)


@pytest.mark.parametrize(
    ("status", "kind", "message", "raised"),
    [
        (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", headrace.ContextWindowExceededError),
        (400, "invalid_request_error", "max_tokens: Field required", headrace.BadRequestError),
        (401, "authentication_error", "invalid x-api-key", headrace.AuthenticationError),
        (404, "not_found_error", "model: claude-1", headrace.NotFoundError),
        (429, "rate_limit_error", "This request would exceed your organization's rate limit", headrace.RateLimitError),
        (529, "overloaded_error", "Overloaded", headrace.ServiceUnavailableError),
    ],
)
def test_a_refusal_is_raised_as_what_it_is(
    client: Client, upstream: Upstream, status: int, kind: str, message: str, raised: type[Exception]
) -> None:
    upstream.answer(Reply({"type": "error", "error": {"type": kind, "message": message}}, status, {"retry-after": "7"}))
    with pytest.raises(raised, match=message[:20]) as caught:
        client.chat("hi", model=MODEL)
    assert type(caught.value) is raised
    assert caught.value.llm_provider == "anthropic"  # type: ignore[attr-defined]
    assert "sk-test" not in repr(caught.value)
    if status == 429:
        assert caught.value.retry_after == 7  # type: ignore[attr-defined]


def test_content_that_cannot_be_said_is_named_by_its_place(client: Client, upstream: Upstream) -> None:
    heard = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    with pytest.raises(headrace.BadRequestError, match=r"messages\[0\]\.content\[1\].*audio"):
        client.chat([{"type": "text", "text": "listen"}, heard], model=MODEL)
    assert upstream.seen == []


def test_a_text_is_completed_by_a_chat(client: Client, upstream: Upstream) -> None:
    answer = client.call("text_completion", MODEL, "Say hello", max_tokens=5)
    assert answer.choices[0].text == "hello"
    assert upstream.seen[0].body["messages"] == [{"role": "user", "content": "Say hello"}]


def test_embeddings_are_refused_before_they_are_sent(client: Client, upstream: Upstream) -> None:
    with pytest.raises(headrace.BadRequestError, match="does not support embeddings"):
        client.call("embedding", MODEL, "hi")
    assert upstream.seen == []


SEARCHED = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "weather"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result", "url": "https://e.com"}]},
]
CITED = {"type": "web_search_result_location", "url": "https://e.com", "cited_text": "rain"}


def test_an_answer_from_the_web_is_one_text_with_its_sources_beside_it(client: Client, upstream: Upstream) -> None:
    said = [{"type": "text", "text": "It will "}, {"type": "text", "text": "rain", "citations": [CITED]}, {"type": "text", "text": "."}]
    upstream.answer(Reply({**ANSWER, "content": [*SEARCHED, *said]}))
    answer = client.chat("weather?", model=MODEL, web_search_options={})
    message = answer.choices[0].message
    assert message.content == "It will rain."
    assert message.citations == [CITED]
    assert message.content_blocks == SEARCHED
    assert upstream.seen[0].body["tools"] == [{"type": "web_search_20250305", "name": "web_search"}]
    client.call("completion", MODEL, [{"role": "user", "content": "weather?"}, message.model_dump(), {"role": "user", "content": "sure?"}])
    assert upstream.seen[1].body["messages"][1]["content"] == [*SEARCHED, {"type": "text", "text": "It will rain."}]


def test_a_stream_from_the_web_says_the_same(client: Client, upstream: Upstream) -> None:
    called = block(0, {**SEARCHED[0], "input": {}}, {"type": "input_json_delta", "partial_json": '{"query":"weather"}'})
    cited = block(
        2,
        {"type": "text", "text": "", "citations": []},
        {"type": "text_delta", "text": "rain"},
        {"type": "citations_delta", "citation": CITED},
    )
    upstream.answer(Reply(pieces=events(start(), *called, *block(1, SEARCHED[1]), *cited, *text(3, "."), *stop("end_turn"))))
    chunks = client.chat("weather?", model=MODEL, stream=True)
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.get("content") or "" for delta in deltas) == "rain."
    assert [found for delta in deltas for found in delta.get("citations") or []] == [CITED]
    assert [found for delta in deltas for found in delta.get("content_blocks") or []] == SEARCHED


def test_a_router_moves_from_anthropic_to_another_dialect_and_back(client: Client, upstream: Upstream) -> None:
    """The same request is said to each in its own words."""
    busy = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    upstream.answer(Reply(busy, 529), Reply(CHAT))
    options = {"api_key": "sk-test-1234567890", "base_url": upstream.url}
    models = [
        {"model_name": "m", "litellm_params": {"model": MODEL, "order": 1, **options}},
        {"model_name": "m", "litellm_params": {"model": "openai/gpt-x", "order": 2, **options}},
    ]
    router = headrace.Router(model_list=models, num_retries=2)
    answer = client.call("completion", "m", [{"role": "user", "content": "hi"}], on=router)
    assert answer.choices[0].message.content == "hello"
    assert [seen.path for seen in upstream.seen] == ["/v1/messages", "/v1/chat/completions"]


@pytest.mark.parametrize(
    ("given", "name"),
    [({"suffix": "."}, "suffix"), ({"echo": True}, "echo"), ({"best_of": 3}, "best_of"), ({"best_of": 3, "n": 1}, "best_of")],
)
def test_what_only_a_text_completion_can_be_asked_for_is_refused_by_name(client: Client, upstream: Upstream, given: Any, name: str) -> None:
    with pytest.raises(headrace.UnsupportedParamsError, match=f"anthropic does not support {name}"):
        client.call("text_completion", MODEL, "Say hello", **given)
    assert not upstream.seen
    told = client.call("text_completion", MODEL, "Say hello", drop_params=True, **given)
    assert told.choices[0].text == "hello"
    assert name not in upstream.seen[0].body


def test_a_text_completion_that_asks_for_nothing_unusual_is_a_chat(client: Client, upstream: Upstream) -> None:
    client.call("text_completion", MODEL, "Say hello", suffix="", echo=False, best_of=1)
    assert set(upstream.seen[0].body) == {"model", "max_tokens", "messages"}
    client.call("text_completion", MODEL, "Say hello", suffix=".", allowed_openai_params=["suffix"])
    assert upstream.seen[1].body["suffix"] == "."

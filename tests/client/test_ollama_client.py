"""Calls to Ollama's own API through the public functions, which take and return OpenAI's format; JSON lines on the wire; sync and async."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream

import headrace

MODEL = "ollama/qwen3:8b"
STAMP = "2026-08-07T06:08:35.745444123Z"
DONE = {"done": True, "done_reason": "stop", "total_duration": 5, "prompt_eval_count": 10, "eval_count": 4}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS, "strict": True}}]


def line(*, done: dict[str, Any] | None = None, **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": "", **message}
    return {"model": "qwen3:8b", "created_at": STAMP, "message": said, "done": False, **(done or {})}


HELLO = line(content="hello", done=DONE)


@pytest.fixture(autouse=True)
def ollama(upstream: Upstream) -> None:
    upstream.answer(Reply(HELLO))


def lines(*them: Any) -> Reply:
    pieces: list[Any] = [json.dumps(one).encode() + b"\n" for one in them]
    return Reply(pieces=pieces, headers={"content-type": "application/x-ndjson"})


@pytest.mark.parametrize("model", [MODEL, "ollama_chat/qwen3:8b"])
def test_a_chat_is_asked_and_answered(client: Client, upstream: Upstream, model: str) -> None:
    got = client.chat("hi", model=model)
    assert isinstance(got, headrace.ModelResponse)
    assert got.choices[0].message.content == "hello"
    assert got.choices[0].finish_reason == "stop"
    assert (got.id, got.model, got.created) == (f"ollama-{STAMP}", "qwen3:8b", 1786082915)
    assert got.usage is not None
    assert (got.usage.prompt_tokens, got.usage.completion_tokens, got.usage.total_tokens) == (10, 4, 14)
    assert got.total_duration == 5
    [seen] = upstream.seen
    assert seen.path == "/api/chat"
    assert seen.body == {"model": "qwen3:8b", "messages": [{"role": "user", "content": "hi"}], "stream": False}


def test_no_key_is_needed(monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> None:
    monkeypatch.setenv("OLLAMA_API_BASE", upstream.url.removesuffix("/v1") + "/api/chat")
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)
    headrace.completion(MODEL, [{"role": "user", "content": "hi"}])
    assert upstream.seen[0].path == "/api/chat"
    assert "authorization" not in upstream.seen[0].headers


def test_parameters_are_said_in_ollamas_words(client: Client, upstream: Upstream) -> None:
    client.call(
        "completion", MODEL, [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi"}],
        max_tokens=90, temperature=0.5, top_p=0.9, top_k=5, stop=["END"], seed=7, presence_penalty=0.1, frequency_penalty=0.2,
        logprobs=True, top_logprobs=2, tools=TOOLS, tool_choice="auto", num_ctx=8192, min_p=0.1, keep_alive="5m",
        options={"mirostat": 1}, n=1, stream_options={"include_usage": True},
    )  # fmt: skip
    assert upstream.seen[0].body == {
        "model": "qwen3:8b",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}],
        "options": {
            "num_predict": 90, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop": ["END"], "seed": 7, "presence_penalty": 0.1,
            "frequency_penalty": 0.2, "num_ctx": 8192, "min_p": 0.1, "mirostat": 1,
        },
        "logprobs": True, "top_logprobs": 2, "keep_alive": "5m", "stream": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "given", "sent"),
    [
        (MODEL, {"reasoning_effort": "none"}, False),
        (MODEL, {"reasoning_effort": "low"}, True),
        ("ollama/gpt-oss:20b", {"reasoning_effort": "minimal"}, "low"),
        ("ollama/gpt-oss:20b", {"reasoning_effort": "high"}, "high"),
        (MODEL, {"thinking": {"type": "enabled", "budget_tokens": 99}}, True),
        (MODEL, {"think": False}, False),
    ],
)
def test_thinking_is_asked_for_or_not(client: Client, upstream: Upstream, model: str, given: dict[str, Any], sent: Any) -> None:
    client.chat("hi", model=model, **given)
    assert upstream.seen[0].body["think"] == sent


def test_an_answer_in_a_schema_is_asked_for(client: Client, upstream: Upstream) -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "place", "schema": PARAMETERS, "strict": True}}
    client.chat("where?", model=MODEL, response_format=format_)
    assert upstream.seen[0].body["format"] == PARAMETERS
    client.chat("where?", model=MODEL, response_format={"type": "json_object"})
    assert upstream.seen[1].body["format"] == "json"


def test_what_ollama_cannot_say_is_named_or_left_out(client: Client, upstream: Upstream) -> None:
    with pytest.raises(headrace.UnsupportedParamsError, match=r"n, tool_choice, user, logit_bias"):
        client.chat("hi", model=MODEL, logit_bias={"1": 1}, user="u", n=2, tools=TOOLS, tool_choice="required")
    assert upstream.seen == []
    client.chat("hi", model=MODEL, logit_bias={"1": 1}, user="u", n=2, drop_params=True)
    assert set(upstream.seen[0].body) == {"model", "messages", "stream"}


CALLS = [{"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}, {"function": {"name": "get_weather", "arguments": {}}}]


def test_calls_get_ids_and_their_results_go_back_by_name(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(line(thinking="Hm.", tool_calls=CALLS, done=DONE)), Reply(HELLO))
    asked: list[Any] = [{"role": "user", "content": "weather?"}]
    got = client.call("completion", MODEL, asked, tools=TOOLS)
    message = got.choices[0].message
    assert got.choices[0].finish_reason == "tool_calls"
    assert message.reasoning_content == "Hm."
    assert [call.function.arguments for call in message.tool_calls] == ['{"city":"Paris"}', "{}"]
    ids = [call.id for call in message.tool_calls]
    assert len(set(ids)) == 2
    results = [{"role": "tool", "tool_call_id": id_, "content": text} for id_, text in zip(ids, ("rain", "sun"), strict=True)]
    client.call("completion", MODEL, [*asked, message.model_dump(exclude_none=True), *results], tools=TOOLS)
    assert upstream.seen[1].body["messages"][1:] == [
        {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": CALLS},
        {"role": "tool", "content": "rain", "tool_name": "get_weather"},
        {"role": "tool", "content": "sun", "tool_name": "get_weather"},
    ]


def test_an_id_of_ollamas_own_stays(client: Client, upstream: Upstream) -> None:
    call = {"id": "call_9x", "function": {"index": 0, "name": "get_weather", "arguments": {}}}
    upstream.answer(Reply(line(tool_calls=[call], done=DONE)), Reply(HELLO))
    message = client.chat("hi", model=MODEL, tools=TOOLS).choices[0].message
    assert message.tool_calls[0].id == "call_9x"
    client.call("completion", MODEL, [message.model_dump(), {"role": "tool", "tool_call_id": "call_9x", "content": "rain"}])
    sent = upstream.seen[1].body["messages"]
    assert sent[0]["tool_calls"][0]["id"] == "call_9x"
    assert sent[1] == {"role": "tool", "content": "rain", "tool_name": "get_weather", "tool_call_id": "call_9x"}


def test_pictures_go_as_bare_base64_and_others_are_named(client: Client, upstream: Upstream) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    client.chat([{"type": "text", "text": "look"}, image, {"type": "text", "text": "well"}], model=MODEL)
    assert upstream.seen[0].body["messages"][0] == {"role": "user", "content": "look\nwell", "images": ["AAAA"]}
    with pytest.raises(headrace.BadRequestError, match=r"messages\[0\]\.content\[0\].*fetch_media=True"):
        client.chat([{"type": "image_url", "image_url": {"url": "https://e.com/a.png"}}], model=MODEL)
    with pytest.raises(headrace.BadRequestError, match=r"messages\[0\]\.content\[0\].*File"):
        client.chat([{"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}], model=MODEL)


STREAM = [line(thinking="Hm."), line(content="hel"), line(content="lo"), line(done={**DONE, "done_reason": "length"})]


def test_a_stream_arrives_piece_by_piece(client: Client, upstream: Upstream) -> None:
    upstream.answer(lines(*STREAM))
    chunks = client.chat("hi", model=MODEL, stream=True, stream_options={"include_usage": True})
    assert upstream.seen[0].body["stream"] is True
    deltas = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert [choice.delta.content for choice in deltas if choice.delta.content] == ["hel", "lo"]
    assert "".join(choice.delta.get("reasoning_content") or "" for choice in deltas) == "Hm."
    assert deltas[-1].finish_reason == "length"
    assert [(chunk.usage.prompt_tokens, chunk.usage.completion_tokens) for chunk in chunks if chunk.usage] == [(10, 4)]
    assert {chunk.id for chunk in chunks} == {f"ollama-{STAMP}"}


def test_a_streams_calls_are_whole(client: Client, upstream: Upstream) -> None:
    upstream.answer(lines(line(tool_calls=CALLS[:1]), line(tool_calls=CALLS[1:]), line(done=DONE)))
    whole = headrace.stream_chunk_builder(client.chat("hi", model=MODEL, stream=True, tools=TOOLS))
    assert whole is not None
    calls = whole.choices[0].message.tool_calls
    assert [call.function.arguments for call in calls] == ['{"city":"Paris"}', "{}"]
    assert len({call.id for call in calls}) == 2
    assert whole.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("at", range(len(STREAM)))
def test_a_stream_that_is_cut_says_so(client: Client, upstream: Upstream, at: int) -> None:
    cut = [json.dumps(STREAM[at]).encode()[:-1]]
    upstream.answer(Reply(pieces=[*[json.dumps(one).encode() + b"\n" for one in STREAM[:at]], *cut]))
    with pytest.raises(headrace.TruncatedStream):
        client.chat("hi", model=MODEL, stream=True)


def test_an_error_in_mid_stream_is_raised(client: Client, upstream: Upstream) -> None:
    upstream.answer(lines(STREAM[0], {"error": "an error was encountered while running the model"}))
    with pytest.raises(headrace.InternalServerError, match="while running the model"):
        client.chat("hi", model=MODEL, stream=True)


@pytest.mark.parametrize(
    ("status", "error", "raised"),
    [
        (404, "model 'x' not found", headrace.NotFoundError),
        (400, '"gemma" does not support tools', headrace.BadRequestError),
        (500, "model requires more system memory", headrace.InternalServerError),
        (503, "server busy, please try again. maximum pending requests exceeded", headrace.ServiceUnavailableError),
        (401, "unauthorized", headrace.AuthenticationError),
    ],
)
def test_a_refusal_is_raised_as_what_it_is(client: Client, upstream: Upstream, status: int, error: str, raised: type[Exception]) -> None:
    upstream.answer(Reply({"error": error}, status))
    with pytest.raises(raised) as caught:
        client.chat("hi", model=MODEL)
    assert type(caught.value) is raised
    assert error in str(caught.value)


def test_texts_are_embedded(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"model": "m", "embeddings": [[0.5, -1.0], [1, 2]], "prompt_eval_count": 3, "total_duration": 9}))
    got = client.call("embedding", "ollama/all-minilm", ["a", "b"], dimensions=2, keep_alive="1m", num_ctx=99)
    assert [item["embedding"] for item in got.data] == [[0.5, -1.0], [1, 2]]
    assert (got.model, got.usage.prompt_tokens) == ("all-minilm", 3)
    assert upstream.seen[0].path == "/api/embed"
    assert upstream.seen[0].body == {
        "model": "all-minilm", "input": ["a", "b"], "dimensions": 2, "keep_alive": "1m", "options": {"num_ctx": 99},
    }  # fmt: skip
    packed = client.call("embedding", "ollama/all-minilm", "a", encoding_format="base64")
    assert packed.data[0]["embedding"] == "AAAAPwAAgL8="
    with pytest.raises(headrace.BadRequestError, match=r"input.*token ids"):
        client.call("embedding", "ollama/all-minilm", [1, 2])


def test_a_router_moves_from_ollama_to_another_dialect_with_its_history(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(line(tool_calls=CALLS, done=DONE)), Reply({"error": "busy"}, 503), Reply(CHAT))
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
    turns = upstream.seen[2].body["messages"]
    assert [turn["tool_call_id"] for turn in turns[2:]] == [call["id"] for call in turns[1]["tool_calls"]]

"""Chat, embeddings and text completions: requests and responses; sync and async."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream, chunk, sse

import headrace


def test_a_chat_is_asked_and_answered(client: Client, upstream: Upstream) -> None:
    answer = client.chat("hi", temperature=0.5, max_tokens=9)
    assert isinstance(answer, headrace.ModelResponse)
    assert answer.choices[0].message.content == "hello"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 4
    [seen] = upstream.seen
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == "Bearer sk-test-1234567890"
    assert seen.body == {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5, "max_tokens": 9}


def test_the_model_keeps_every_slash_after_the_first(client: Client, upstream: Upstream) -> None:
    client.chat(model="openai/deepseek-ai/DeepSeek-V3.2-Exp")
    assert upstream.seen[0].body["model"] == "deepseek-ai/DeepSeek-V3.2-Exp"


def test_custom_llm_provider_leaves_the_model_alone(client: Client, upstream: Upstream) -> None:
    client.chat(model="Qwen/Qwen3-8B", custom_llm_provider="openai")
    assert upstream.seen[0].body["model"] == "Qwen/Qwen3-8B"


def test_api_base_is_another_word_for_base_url(client: Client, upstream: Upstream) -> None:
    client.chat(base_url=None, api_base=upstream.url)
    assert len(upstream.seen) == 1


def test_parameters_pass_on_known_and_unknown(client: Client, upstream: Upstream) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    client.chat(
        tools=tools, tool_choice="auto", parallel_tool_calls=True, seed=7, n=2, logprobs=True, top_logprobs=3, stop=["x"],
        invented_tomorrow={"a": 1}, user=None,
    )  # fmt: skip
    body = upstream.seen[0].body
    assert body["tools"] == tools
    assert body["invented_tomorrow"] == {"a": 1}
    assert (body["seed"], body["n"], body["logprobs"], body["top_logprobs"], body["stop"]) == (7, 2, True, 3, ["x"])
    assert "user" not in body


def test_extra_body_headers_and_query_reach_the_wire(client: Client, upstream: Upstream) -> None:
    client.chat(extra_body={"top_k": 5}, extra_headers={"X-Mine": "1"}, headers={"User-Agent": "mine"}, extra_query={"v": "a b"})
    [seen] = upstream.seen
    assert seen.body["top_k"] == 5
    assert seen.headers["x-mine"] == "1"
    assert seen.headers["user-agent"] == "mine"
    assert seen.path == "/v1/chat/completions?v=a+b"


def test_what_is_litellms_own_business_is_not_sent(client: Client, upstream: Upstream) -> None:
    client.chat(metadata={"trace": 1}, cache={"no-cache": True}, litellm_call_id="x", model_list=None, drop_params=True)
    assert upstream.seen[0].body.keys() == {"model", "messages"}


class Address(pydantic.BaseModel):
    street: str
    number: int | None = None


class Person(pydantic.BaseModel):
    name: str
    homes: list[Address]


def test_a_pydantic_class_becomes_a_strict_schema(client: Client, upstream: Upstream) -> None:
    client.chat(response_format=Person)
    wanted = upstream.seen[0].body["response_format"]
    assert wanted["type"] == "json_schema"
    assert wanted["json_schema"]["name"] == "Person"
    assert wanted["json_schema"]["strict"] is True
    schema = wanted["json_schema"]["schema"]
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["name", "homes"]
    assert schema["$defs"]["Address"]["required"] == ["street", "number"]
    assert "default" not in schema["$defs"]["Address"]["properties"]["number"]


def test_messages_may_be_objects_of_an_earlier_answer(client: Client, upstream: Upstream) -> None:
    answer = client.chat()
    client.call("completion", "openai/m", [{"role": "user", "content": "hi"}, answer.choices[0].message])
    assert upstream.seen[1].body["messages"][1] == {"role": "assistant", "content": "hello"}


def test_parallel_tool_calls_come_back_whole(client: Client, upstream: Upstream) -> None:
    calls = [{"id": f"call_{n}", "type": "function", "function": {"name": "f", "arguments": f'{{"n":{n}}}'}} for n in range(3)]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    upstream.answer(Reply({**CHAT, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}))
    answer = client.chat()
    assert [call.function.arguments for call in answer.choices[0].message.tool_calls] == ['{"n":0}', '{"n":1}', '{"n":2}']


def test_embeddings(client: Client, upstream: Upstream) -> None:
    data = [{"object": "embedding", "index": n, "embedding": [0.1, 0.2, 0.3]} for n in range(2)]
    upstream.answer(Reply({"object": "list", "data": data, "model": "e", "usage": {"prompt_tokens": 2, "total_tokens": 2}}))
    answer = client.call("embedding", "openai/e", ["a", "b"], dimensions=3)
    assert isinstance(answer, headrace.EmbeddingResponse)
    assert [item.embedding for item in answer.data] == [[0.1, 0.2, 0.3]] * 2
    assert answer.data[1]["embedding"][2] == 0.3
    [seen] = upstream.seen
    assert seen.path == "/v1/embeddings"
    assert seen.body == {"model": "e", "input": ["a", "b"], "dimensions": 3}


@pytest.mark.parametrize("stream", [False, True])
def test_a_text_is_completed_by_a_chat_where_openai_has_nothing_else(client: Client, upstream: Upstream, stream: bool) -> None:
    """Symptom: `text_completion("gpt-4o-mini", …)` went to the legacy endpoint, which knows none of today's models."""
    upstream.answer(Reply(pieces=sse(chunk("Hi"), chunk(finish="stop"))) if stream else Reply(CHAT))
    answer = client.call("text_completion", "openai/gpt-4o-mini", "Say", stream=stream)
    assert upstream.seen[-1].path.endswith("/chat/completions")
    assert upstream.seen[-1].body["messages"] == [{"role": "user", "content": "Say"}]
    said = "".join(piece.choices[0].text for piece in answer if piece.choices) if stream else answer.choices[0].text
    assert said == ("Hi" if stream else CHAT["choices"][0]["message"]["content"])


def test_text_completions(client: Client, upstream: Upstream) -> None:
    choice = {"index": 0, "text": " world", "finish_reason": "stop", "logprobs": None}
    upstream.answer(Reply({"id": "cmpl", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}))
    answer = client.call("text_completion", "openai/m", "hello", max_tokens=2)
    assert answer.choices[0].text == " world"
    assert upstream.seen[0].path == "/v1/completions"


def test_hidden_parameters_say_where_the_answer_came_from(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(CHAT, headers={"X-Request-Id": "req_1"}))
    answer = client.chat()
    assert answer._hidden_params["custom_llm_provider"] == "openai"
    assert answer._hidden_params["api_base"] == upstream.url
    assert answer._hidden_params["additional_headers"]["x-request-id"] == "req_1"


def test_failures_are_retried_and_the_answer_is_whole(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"error": {"message": "boom"}}, status=500), Reply(CHAT))
    assert client.chat(num_retries=1).choices[0].message.content == "hello"
    assert len(upstream.seen) == 2


def test_max_retries_is_another_word_for_num_retries(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"error": {"message": "boom"}}, status=500))
    with pytest.raises(headrace.InternalServerError, match="boom"):
        client.chat(num_retries=None, max_retries=1)
    assert len(upstream.seen) == 2


def test_retry_after_is_waited_out(client: Client, upstream: Upstream) -> None:
    busy: dict[str, Any] = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
    upstream.answer(Reply(busy, status=429, headers={"retry-after": "0.2"}), Reply(CHAT))
    assert client.chat(num_retries=1).choices[0].message.content == "hello"

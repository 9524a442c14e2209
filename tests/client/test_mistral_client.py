"""Calls to Mistral, whose dialect differs from OpenAI's: thinking within the content, its own ids, no unknown fields."""

from __future__ import annotations

from typing import Any

import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream, sse

import headrace

MODEL = "mistral/magistral-medium-latest"
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
REFERENCE = {"type": "reference", "reference_ids": [1]}
CONTENT = [THOUGHT, {"type": "text", "text": "hel"}, REFERENCE, {"type": "text", "text": "lo"}]


def answer(message: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    return {**CHAT, "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}]}


def test_thinking_stands_beside_the_text_and_goes_back_into_the_content(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(answer({"content": CONTENT})))
    message = client.chat("hi", model=MODEL).choices[0].message
    assert (message.content, message.reasoning_content, message.content_blocks) == ("hello", "Hm.", [REFERENCE])
    client.call("completion", MODEL, [{"role": "user", "content": "hi"}, message.model_dump(), {"role": "user", "content": "and?"}])
    assert upstream.seen[1].body["messages"][1] == {"role": "assistant", "content": [THOUGHT, {"type": "text", "text": "hello"}]}


def test_thinking_is_streamed_beside_the_text(client: Client, upstream: Upstream) -> None:
    deltas: list[Any] = [{"role": "assistant", "content": ""}, {"content": [THOUGHT]}, {"content": [THOUGHT]}, {"content": "hello"}]
    chunks = [
        {**CHAT, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    chunks[-1]["choices"][0]["finish_reason"] = "stop"
    upstream.answer(Reply(pieces=sse(*chunks)))
    got = [chunk.choices[0].delta for chunk in client.chat("hi", model=MODEL, stream=True)]
    assert all(delta.content is None or isinstance(delta.content, str) for delta in got)
    assert "".join(delta.content or "" for delta in got) == "hello"
    assert "".join(delta.get("reasoning_content") or "" for delta in got) == "Hm.Hm."


def test_mistrals_words_go_out(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(CHAT))
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Well,", "prefix": True}]
    options = {"seed": 7, "max_completion_tokens": 9, "safe_prompt": True, "tool_choice": "any", "stream_options": {"include_usage": True}}
    client.call("completion", MODEL, turns, **options)
    body = upstream.seen[0].body
    assert body["messages"] == turns
    assert (body["random_seed"], body["max_tokens"], body["safe_prompt"], body["tool_choice"]) == (7, 9, True, "any")
    assert "stream_options" not in body
    with pytest.raises(headrace.UnsupportedParamsError, match="logit_bias"):
        client.chat("hi", model=MODEL, logit_bias={"1": 1})


def test_a_call_of_another_provider_gets_an_id_that_mistral_takes(client: Client, upstream: Upstream) -> None:
    call = {"id": "toolu_01ABCdef", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "toolu_01ABCdef", "content": "rain"},
    ]
    upstream.answer(Reply(CHAT))
    client.call("completion", MODEL, turns)
    sent = upstream.seen[0].body["messages"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"]
    assert len(sent[2]["tool_call_id"]) == 9


def test_texts_are_embedded_in_the_dimension_asked_for(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "model": "m"}))
    client.call("embedding", "mistral/codestral-embed", ["a"], dimensions=1)
    assert upstream.seen[0].body == {"model": "codestral-embed", "input": ["a"], "output_dimension": 1}

"""Token counts of a prompt, by the provider's own counter if it has one."""

from __future__ import annotations

from typing import Any

import pytest
from tests.client.upstream import Client, Reply, Upstream

import headrace

HI = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


def count(client: Client, upstream: Upstream, model: str, answer: dict[str, Any], **options: Any) -> Any:
    upstream.answer(Reply(answer))
    return client.call("count_tokens", model, HI, **options)


def test_anthropic_counts_itself(client: Client, upstream: Upstream) -> None:
    found = count(client, upstream, "anthropic/claude-x", {"input_tokens": 19}, tools=TOOLS)
    assert (found.total_tokens, found.tokenizer_type, found.model_used) == (19, "anthropic_api", "claude-x")
    assert found.original_response == {"input_tokens": 19}
    [sent] = upstream.seen
    assert sent.path == "/v1/messages/count_tokens"
    assert set(sent.body) == {"model", "messages", "system", "tools"}, "what only an answer needs is refused there"


def test_gemini_counts_itself(client: Client, upstream: Upstream) -> None:
    found = count(client, upstream, "gemini/gemini-x", {"totalTokens": 7})
    assert (found.total_tokens, found.tokenizer_type) == (7, "gemini_api")
    assert upstream.seen[0].path.endswith("models/gemini-x:countTokens")
    whole = upstream.seen[0].body["generateContentRequest"]
    assert set(whole) == {"model", "contents", "systemInstruction"}
    assert whole["model"] == "models/gemini-x"


def test_bedrock_counts_itself(client: Client, upstream: Upstream) -> None:
    found = count(client, upstream, "bedrock/anthropic.claude-x-v1:0", {"inputTokens": 11})
    assert (found.total_tokens, found.tokenizer_type) == (11, "bedrock_api")
    assert upstream.seen[0].path.endswith("/count-tokens")
    assert set(upstream.seen[0].body["input"]["converse"]) == {"messages", "system"}


def test_elsewhere_we_count_and_nothing_is_sent(client: Client, upstream: Upstream) -> None:
    found = client.call("count_tokens", "openai/gpt-4o", HI)
    assert found.total_tokens == headrace.token_counter("gpt-4o", messages=HI)
    assert found.tokenizer_type == "local_tokenizer"
    assert found.request_model == "openai/gpt-4o"
    assert upstream.seen == []


def test_a_system_prompt_may_stand_beside_the_messages(client: Client) -> None:
    beside = client.call("count_tokens", "openai/gpt-4o", HI[1:], system="Be brief.")
    assert beside.total_tokens == client.call("count_tokens", "openai/gpt-4o", HI).total_tokens


def test_an_answer_without_a_number_is_an_error(client: Client, upstream: Upstream) -> None:
    with pytest.raises(headrace.APIResponseValidationError, match="has no input_tokens"):
        count(client, upstream, "anthropic/claude-x", {"count": 3})


def test_an_error_is_the_providers(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"type": "error", "error": {"type": "not_found_error", "message": "model: claude-x"}}, status=404))
    with pytest.raises(headrace.NotFoundError):
        client.call("count_tokens", "anthropic/claude-x", HI)


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_that_speaks_a_dialect_and_does_not_count_failed_every_agent_that_asked(
    client: Client, upstream: Upstream, status: int
) -> None:
    upstream.answer(Reply({"detail": "Not Found"}, status=status))
    found = client.call("count_tokens", "anthropic/claude-x", HI)
    assert (found.total_tokens, found.tokenizer_type) == (headrace.token_counter("claude-x", messages=HI), "local_tokenizer")

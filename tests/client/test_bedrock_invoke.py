"""Claude and embeddings by Bedrock's InvokeModel: the model's own format in AWS's framing; sync and async."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tests.client.test_bedrock_client import bedrock, no_aws_here  # noqa: F401
from tests.client.test_vertex_client import CLAUDE, claude_stream
from tests.client.upstream import Client, Reply, Upstream

import headrace
from headrace.dialects.bedrock_converse.eventstream import event, exception

MODEL = "bedrock/invoke/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
PATH = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0"


def packed(*events: Any) -> list[bytes]:
    return [event("chunk", {"bytes": base64.b64encode(json.dumps(it).encode()).decode(), "p": "abcd"}) for it in events]


def stream(*pieces: bytes, **more: Any) -> Reply:
    return Reply(pieces=list(pieces), headers={"content-type": "application/vnd.amazon.eventstream"}, **more)


def test_claude_is_invoked_in_its_own_dialect(client: Client, bedrock: Upstream) -> None:  # noqa: F811
    bedrock.answer(Reply(CLAUDE))
    told = client.chat("hi", model=MODEL, max_tokens=9, extra_headers={"anthropic-beta": "context-1m-2025-08-07, interleaved-thinking"})
    assert (told.choices[0].message.content, told.choices[0].finish_reason) == ("hello", "stop")
    [seen] = bedrock.seen
    assert seen.path == f"{PATH}/invoke"
    assert seen.headers["authorization"] == "Bearer sk-test-1234567890"
    assert "anthropic-beta" not in seen.headers
    assert seen.body == {
        "anthropic_version": "bedrock-2023-05-31",
        "anthropic_beta": ["context-1m-2025-08-07", "interleaved-thinking"],
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 9,
    }


def test_a_signed_call_is_signed_after_it_was_put_in_its_envelope(client: Client, bedrock: Upstream) -> None:  # noqa: F811
    bedrock.answer(Reply(CLAUDE))
    keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "a-secret-of-forty", "aws_region_name": "eu-central-1"}
    client.chat("hi", model=MODEL, api_key=None, **keys)
    assert "/eu-central-1/bedrock/aws4_request" in bedrock.seen[0].headers["authorization"]


def test_a_stream_is_unpacked_as_it_comes(client: Client, bedrock: Upstream) -> None:  # noqa: F811
    said = claude_stream()
    said[-1]["amazon-bedrock-invocationMetrics"] = {"inputTokenCount": 3}
    whole = b"".join(packed(*said))
    bedrock.answer(stream(*[whole[at : at + 37] for at in range(0, len(whole), 37)]))
    chunks = client.chat(model=MODEL, stream=True, stream_options={"include_usage": True})
    assert "".join(it.choices[0].delta.content or "" for it in chunks if it.choices) == "hello"
    assert [it.choices[0].finish_reason for it in chunks if it.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens == 1
    assert bedrock.seen[0].path == f"{PATH}/invoke-with-response-stream"
    assert "stream" not in bedrock.seen[0].body


def test_an_exception_among_the_chunks_is_raised_after_what_came_before(client: Client, bedrock: Upstream) -> None:  # noqa: F811
    bedrock.answer(stream(b"".join([*packed(*claude_stream()[:3]), exception("throttlingException", {"message": "Too many tokens"})])))
    with pytest.raises(headrace.RateLimitError, match="Too many tokens") as caught:
        client.chat(model=MODEL, stream=True)
    assert caught.value.llm_provider == "bedrock"


def test_a_stream_cut_between_chunks_is_no_answer(client: Client, bedrock: Upstream) -> None:  # noqa: F811
    bedrock.answer(stream(*packed(*claude_stream()[:4])))
    with pytest.raises(headrace.TruncatedStream):
        client.chat(model=MODEL, stream=True)


@pytest.mark.parametrize("payload", [b'{"bytes":"!"}', b'{"nothing":1}', b"{", b'{"bytes":"AAAA"}'])
def test_a_chunk_that_cannot_be_read_is_our_own_error(client: Client, bedrock: Upstream, payload: bytes) -> None:  # noqa: F811
    from headrace.dialects.bedrock_converse.eventstream import message

    bedrock.answer(stream(message({":event-type": "chunk", ":message-type": "event"}, payload)))
    with pytest.raises(headrace.APIResponseValidationError, match="chunk"):
        client.chat(model=MODEL, stream=True)


@pytest.mark.parametrize(
    ("status", "name", "text", "kind"),
    [
        (429, "ThrottlingException", "Too many tokens, please wait", headrace.RateLimitError),
        (400, "ValidationException", "Input is too long for requested model.", headrace.ContextWindowExceededError),
        (403, "ExpiredTokenException", "The security token included in the request is expired", headrace.AuthenticationError),
    ],
)
def test_a_refusal_is_aws_own(client: Client, bedrock: Upstream, status: int, name: str, text: str, kind: Any) -> None:  # noqa: F811
    bedrock.answer(Reply({"message": text}, status=status, headers={"x-amzn-errortype": f"{name}:http://internal/"}))
    with pytest.raises(kind, match=text[:20]) as caught:
        client.chat(model=MODEL)
    assert (caught.value.llm_provider, caught.value.code) == ("bedrock", name)


@pytest.mark.parametrize(
    "model",
    ["invoke/meta.llama3-70b-instruct-v1:0", "us-east-1/invoke/meta.llama3-70b-instruct-v1:0", "us-east-1/meta.llama3-70b-instruct-v1:0"],
)
def test_the_other_models_are_asked_by_converse(client: Client, bedrock: Upstream, model: str) -> None:  # noqa: F811
    message = {"role": "assistant", "content": [{"text": "hello"}]}
    bedrock.answer(Reply({"output": {"message": message}, "stopReason": "end_turn", "usage": {"inputTokens": 1, "outputTokens": 1}}))
    assert client.chat(model=f"bedrock/{model}").choices[0].message.content == "hello"
    assert bedrock.seen[0].path == "/model/meta.llama3-70b-instruct-v1%3A0/converse"


def test_titan_embeds_one_text_at_a_time(client: Client, bedrock: Upstream) -> None:  # noqa: F811
    bedrock.answer(Reply({"embedding": [0.5], "inputTextTokenCount": 2}), Reply({"embedding": [1], "inputTextTokenCount": 3}))
    told = client.call("embedding", "bedrock/amazon.titan-embed-text-v2:0", ["a", "b"], dimensions=256, normalize=True)
    assert [(item.index, item.embedding) for item in told.data] == [(0, [0.5]), (1, [1])]
    assert told.usage.prompt_tokens == 5
    assert [seen.body for seen in bedrock.seen] == [{"inputText": text, "normalize": True, "dimensions": 256} for text in ("a", "b")]
    assert {seen.path for seen in bedrock.seen} == {"/model/amazon.titan-embed-text-v2%3A0/invoke"}


def test_novas_tokens_are_counted_by_a_header(client: Client, bedrock: Upstream) -> None:  # noqa: F811
    bedrock.answer(
        Reply({"embeddings": [{"embedding": [0.5], "embeddingType": "TEXT"}]}, headers={"x-amzn-bedrock-input-token-count": "7"})
    )
    told = client.call("embedding", "bedrock/amazon.nova-2-multimodal-embeddings-v1:0", "a", dimensions=256)
    assert (told.data[0].embedding, told.usage.prompt_tokens) == ([0.5], 7)
    params = {"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": 256, "text": {"truncationMode": "END", "value": "a"}}
    assert bedrock.seen[0].body == {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params}


def test_cohere_embeds_a_list_at_once(client: Client, bedrock: Upstream) -> None:  # noqa: F811
    bedrock.answer(Reply({"id": "1", "response_type": "embeddings_by_type", "embeddings": {"float": [[0.5], [1.0]]}, "texts": ["a", "b"]}))
    told = client.call("embedding", "bedrock/us.cohere.embed-v4:0", ["a", "b"], dimensions=512, input_type="search_query")
    assert [item.embedding for item in told.data] == [[0.5], [1.0]]
    [seen] = bedrock.seen
    assert seen.path == "/model/us.cohere.embed-v4%3A0/invoke"
    assert "model" not in seen.body
    assert (seen.body["texts"], seen.body["output_dimension"], seen.body["input_type"]) == (["a", "b"], 512, "search_query")


def test_a_caller_of_anthropics_dialect_is_handed_on_as_he_is(client: Client, bedrock: Upstream) -> None:  # noqa: F811
    bedrock.answer(Reply(CLAUDE))
    asked = {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "tomorrow": {"a": 1}}
    told = client.call("anthropic_messages", model=MODEL, **asked)
    assert told.model_dump()["content"] == CLAUDE["content"]
    assert bedrock.seen[0].path == f"{PATH}/invoke"
    assert bedrock.seen[0].body == {"anthropic_version": "bedrock-2023-05-31", **asked}


def test_a_caller_of_responses_gets_claudes_answer(client: Client, bedrock: Upstream) -> None:  # noqa: F811
    bedrock.answer(Reply(CLAUDE))
    told = client.call("responses", "hi", MODEL)
    assert told.output_text == "hello"
    assert bedrock.seen[0].path == f"{PATH}/invoke"

"""Text completions of models on Bedrock that complete text, by InvokeModel; sync and async."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tests.client.test_bedrock_client import no_aws_here  # noqa: F401
from tests.client.upstream import Client, Reply, Upstream

import headrace
from headrace.dialects.bedrock_converse.eventstream import message

COUNTED = {"x-amzn-bedrock-input-token-count": "8", "x-amzn-bedrock-output-token-count": "3"}
METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 8, "outputTokenCount": 3, "invocationLatency": 9}}


@pytest.fixture
def bedrock(upstream: Upstream) -> Upstream:
    upstream.url = upstream.url.removesuffix("/v1")
    return upstream


def stream(*events: dict[str, Any]) -> Reply:
    packed = [json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}).encode() for event in events]
    headers = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    return Reply(pieces=[message(headers, one) for one in packed], headers={"content-type": "application/vnd.amazon.eventstream"})


TITAN = {"inputTextTokenCount": 8, "results": [{"tokenCount": 3, "outputText": " ho", "completionReason": "LENGTH"}]}
LLAMA = {"generation": " ho", "prompt_token_count": 8, "generation_token_count": 3, "stop_reason": "length"}
MISTRAL = {"outputs": [{"text": " ho", "stop_reason": "length"}]}
COMMAND = {"id": "1", "generations": [{"id": "2", "text": " ho", "finish_reason": "MAX_TOKENS"}], "prompt": "hi"}
JURASSIC = {"id": 1, "prompt": {"text": "hi"}, "completions": [{"data": {"text": " ho"}, "finishReason": {"reason": "length"}}]}
CLAUDE = {"completion": " ho", "stop_reason": "max_tokens", "stop": None}

MAKERS = {
    "amazon.titan-text-express-v1": (
        {"inputText": "hi", "textGenerationConfig": {"maxTokenCount": 3, "topP": 0.5, "stopSequences": ["|"]}}, TITAN,
    ),
    "mistral.mistral-7b-instruct-v0:2": ({"prompt": "hi", "max_tokens": 3, "top_p": 0.5, "stop": ["|"]}, MISTRAL),
    "cohere.command-text-v14": ({"prompt": "hi", "max_tokens": 3, "p": 0.5, "stop_sequences": ["|"]}, COMMAND),
    "ai21.j2-mid-v1": ({"prompt": "hi", "maxTokens": 3, "topP": 0.5, "stopSequences": ["|"]}, JURASSIC),
    "anthropic.claude-instant-v1": (
        {"prompt": "\n\nHuman: hi\n\nAssistant:", "max_tokens_to_sample": 3, "top_p": 0.5, "stop_sequences": ["|"]}, CLAUDE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", MAKERS)
def test_a_text_is_completed_in_its_makers_words(client: Client, bedrock: Upstream, model: str) -> None:
    written, reply = MAKERS[model]
    bedrock.answer(Reply(reply, headers=COUNTED))
    answer = client.call("text_completion", f"bedrock/{model}", "hi", max_tokens=3, top_p=0.5, stop="|", n=1)
    assert (bedrock.seen[0].path, bedrock.seen[0].body) == (f"/model/{model.replace(':', '%3A')}/invoke", written)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == (" ho", "length")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (8, 3, 11)


def test_llama_is_asked_by_invoke_for_a_text_and_by_converse_in_a_chat(client: Client, bedrock: Upstream) -> None:
    said = {"output": {"message": {"role": "assistant", "content": [{"text": "ho"}]}}, "stopReason": "end_turn", "usage": {}}
    bedrock.answer(Reply(LLAMA), Reply(said))
    text = client.call("text_completion", "bedrock/us.meta.llama3-3-70b-instruct-v1:0", "hi", max_tokens=3)
    chat = client.chat(model="bedrock/us.meta.llama3-3-70b-instruct-v1:0")
    assert (text.choices[0].text, chat.choices[0].message.content) == (" ho", "ho")
    assert bedrock.seen[0].body == {"prompt": "hi", "max_gen_len": 3}
    assert [seen.path.rpartition("/")[2] for seen in bedrock.seen] == ["invoke", "converse"]


def test_nothing_that_stands_beside_a_text_is_lost(client: Client, bedrock: Upstream) -> None:
    bedrock.answer(Reply({**COMMAND, "generations": [{**COMMAND["generations"][0], "likelihood": -1.5}]}, headers=COUNTED))
    answer = client.call("text_completion", "bedrock/cohere.command-text-v14", "hi", return_likelihoods="GENERATION")
    assert bedrock.seen[0].body["return_likelihoods"] == "GENERATION"
    assert (answer.id, answer["prompt"]) == ("1", "hi")
    assert (answer.choices[0]["likelihood"], answer.choices[0]["native_finish_reason"]) == (-1.5, "MAX_TOKENS")


def test_several_texts_come_one_by_one(client: Client, bedrock: Upstream) -> None:
    bedrock.answer(
        Reply({**COMMAND, "generations": [{"text": "a", "finish_reason": "COMPLETE"}, {"text": "b", "finish_reason": "ERROR_TOXIC"}]})
    )
    answer = client.call("text_completion", "bedrock/cohere.command-text-v14", "hi", n=2)
    assert bedrock.seen[0].body["num_generations"] == 2
    assert [(it.index, it.text, it.finish_reason) for it in answer.choices] == [(0, "a", "stop"), (1, "b", "content_filter")]


def test_what_a_maker_has_no_word_for_is_refused_by_name(client: Client, bedrock: Upstream) -> None:
    bedrock.answer(Reply(LLAMA))
    with pytest.raises(headrace.UnsupportedParamsError, match="does not support stop, suffix"):
        client.call("text_completion", "bedrock/meta.llama3-8b-instruct-v1:0", "hi", stop="|", suffix="x")
    assert bedrock.seen == []
    client.call("text_completion", "bedrock/meta.llama3-8b-instruct-v1:0", "hi", stop="|", suffix="x", drop_params=True)
    assert bedrock.seen[0].body == {"prompt": "hi"}


STREAMS = {
    "amazon.titan-text-express-v1": (
        {"outputText": " h", "index": 0, "completionReason": None},
        {"outputText": "o", "index": 0, "completionReason": "FINISH", "totalOutputTextTokenCount": 3, "inputTextTokenCount": 8, **METRICS},
    ),
    "meta.llama3-8b-instruct-v1:0": (
        {"generation": " h", "prompt_token_count": 8, "generation_token_count": 1, "stop_reason": None},
        {"generation": "o", "prompt_token_count": None, "generation_token_count": 3, "stop_reason": "stop", **METRICS},
    ),
    "mistral.mistral-7b-instruct-v0:2": (
        {"outputs": [{"text": " h", "stop_reason": None}]}, {"outputs": [{"text": "o", "stop_reason": "stop"}], **METRICS},
    ),
    "cohere.command-text-v14": (
        {"index": 0, "text": " h", "is_finished": False}, {"index": 0, "text": "o", "is_finished": False},
        {"finish_reason": "COMPLETE", "is_finished": True, **METRICS},
    ),
    "anthropic.claude-v2": (
        {"completion": " h", "stop_reason": None}, {"completion": "o", "stop_reason": "stop_sequence", **METRICS},
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", STREAMS)
def test_a_texts_stream_is_openais(client: Client, bedrock: Upstream, model: str) -> None:
    bedrock.answer(stream(*STREAMS[model]))
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = client.call("text_completion", f"bedrock/{model}", "hi", **options)
    assert bedrock.seen[0].path.endswith("/invoke-with-response-stream")
    assert bedrock.seen[0].body.get("stream", False) is model.startswith("cohere")
    assert "".join(chunk.choices[0].text for chunk in chunks) == " ho"
    assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == [None, "stop"]
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (8, 3)


@pytest.mark.parametrize("model", STREAMS)
def test_a_texts_stream_that_breaks_off_is_an_error(client: Client, bedrock: Upstream, model: str) -> None:
    bedrock.answer(stream(*STREAMS[model][:-1]))
    with pytest.raises(headrace.TruncatedStream, match="ended early"):
        client.call("text_completion", f"bedrock/{model}", "hi", stream=True)


def test_a_guardrails_answer_in_place_of_a_texts_stream_is_whole(client: Client, bedrock: Upstream) -> None:
    """Exchange a428cc83acc1fa72: it says neither why it ended nor what it used beyond its tokens."""
    blocked = {"outputText": "Input blocked", "index": 0.0, "totalOutputTextTokenCount": 3.0, "inputTextTokenCount": 6.0}
    bedrock.answer(stream({**blocked, "amazon-bedrock-guardrailAction": "INTERVENED", "amazon-bedrock-trace": {"guardrail": {}}}))
    [only] = client.call("text_completion", "bedrock/amazon.titan-text-express-v1", "hi", stream=True)
    assert (only.choices[0].text, only["amazon-bedrock-guardrailAction"]) == ("Input blocked", "INTERVENED")


def test_an_answer_without_a_text_says_what_it_is(client: Client, bedrock: Upstream) -> None:
    bedrock.answer(Reply({"hello": 1}))
    with pytest.raises(headrace.APIResponseValidationError, match="is not valid for completions"):
        client.call("text_completion", "bedrock/meta.llama3-8b-instruct-v1:0", "hi")


def test_jurassic_has_no_streams(client: Client, bedrock: Upstream) -> None:
    with pytest.raises(headrace.UnsupportedParamsError, match="remove stream"):
        client.call("text_completion", "bedrock/ai21.j2-mid-v1", "hi", stream=True)
    assert bedrock.seen == []


def test_a_refusal_of_invokes_has_its_own_kind(client: Client, bedrock: Upstream) -> None:
    bedrock.answer(Reply({"message": "Too many requests"}, status=429, headers={"x-amzn-errortype": "ThrottlingException"}))
    with pytest.raises(headrace.RateLimitError, match="Too many requests"):
        client.call("text_completion", "bedrock/meta.llama3-8b-instruct-v1:0", "hi")


def test_watsonx_streams_texts(client: Client, bedrock: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events as in exchange e2edf050194816d8: what was read is counted once, what was written grows."""
    monkeypatch.setenv("WATSONX_TOKEN", "a-token")

    def event(text: str, written: int, read: int, why: str) -> bytes:
        made = {"generated_text": text, "generated_token_count": written, "input_token_count": read, "stop_reason": why}
        return b"id: 1\nevent: message\ndata: " + json.dumps({"model_id": "m", "results": [made]}).encode() + b"\n\n"

    pieces = [event("", 0, 8, "not_finished"), event(" h", 1, 0, "not_finished"), event("o", 2, 0, "token_limit")]
    bedrock.answer(Reply(pieces=list(pieces)), Reply(pieces=pieces[:2]))
    ask = {"api_key": None, "project_id": "p", "stream": True}
    chunks = client.call("text_completion", "watsonx/m", "hi", max_tokens=2, **ask)
    assert bedrock.seen[0].path == "/ml/v1/text/generation_stream?version=2024-03-13"
    assert bedrock.seen[0].body == {"model_id": "m", "project_id": "p", "input": "hi", "parameters": {"max_new_tokens": 2}}
    assert [(it.choices[0].text, it.choices[0].finish_reason) for it in chunks] == [("", None), (" h", None), ("o", "length")]
    with pytest.raises(headrace.TruncatedStream):
        client.call("text_completion", "watsonx/m", "hi", **ask)

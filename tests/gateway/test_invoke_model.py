"""AWS's own client invokes models in their makers' formats, with providers of several dialects behind the gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, EventStreamError
from tests.client.upstream import Reply, Upstream, chunk, sse, standing
from tests.gateway.conftest import KEY, serving
from tests.gateway.test_bedrock_clients import client_of

from headrace import Router
from headrace.dialects.bedrock_converse.eventstream import event
from headrace.dialects.forms.invoke import MAKERS, Maker
from headrace.gateway.config import Settings
from headrace.gateway.invoke_model import turns_of

LLAMA3 = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    "Name a river.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
)
MISTRAL = "<s>[INST] Hello. [/INST] Hello, you.</s>[INST] Name a river. [/INST]"
LLAMA2 = "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nName a river. [/INST]"


@pytest.fixture
def client(base: str) -> Iterator[Any]:
    made = client_of(base)
    yield made
    made.close()


def invoked(client: Any, body: Any, model: str = "gpt") -> Any:
    return json.loads(client.invoke_model(modelId=model, body=json.dumps(body))["body"].read())


def streamed(client: Any, body: Any, model: str = "gpt") -> list[Any]:
    events = client.invoke_model_with_response_stream(modelId=model, body=json.dumps(body))["body"]
    return [json.loads(one["chunk"]["bytes"]) for one in events]


NOVA = {
    "schemaVersion": "messages-v1", "system": [{"text": "Be brief."}], "inferenceConfig": {"maxTokens": 20},
    "messages": [{"role": "user", "content": [{"text": "Name a river."}]}],
}  # fmt: skip


def test_novas_words(client: Any) -> None:
    whole = invoked(client, NOVA)
    assert whole["output"]["message"]["content"][0]["text"]
    assert whole["usage"]["outputTokens"] > 0
    events = streamed(client, NOVA)
    kinds = [kind for one in events for kind in one]
    assert (kinds[0], kinds[-2:]) == ("messageStart", ["messageStop", "metadata"])
    assert "".join(one["contentBlockDelta"]["delta"]["text"] for one in events if "contentBlockDelta" in one)


def test_llamas_words(client: Any) -> None:
    whole = invoked(client, {"prompt": LLAMA3, "max_gen_len": 20, "temperature": 0.5})
    assert whole["generation"]
    assert whole["stop_reason"] in ("stop", "length")
    assert whole["generation_token_count"] > 0
    *pieces, last = streamed(client, {"prompt": LLAMA3, "max_gen_len": 200})
    assert "".join(one["generation"] for one in pieces)
    assert [one["stop_reason"] for one in (*pieces, last)] == [*[None] * len(pieces), "stop"]
    assert last["amazon-bedrock-invocationMetrics"]["outputTokenCount"] == last["generation_token_count"] > 0


def test_what_was_used_stands_in_headers(client: Any) -> None:
    """LangChain reads it there."""
    for body in ({"prompt": MISTRAL, "max_tokens": 20}, NOVA):
        told = client.invoke_model(modelId="gpt", body=json.dumps(body))["ResponseMetadata"]["HTTPHeaders"]
        assert int(told["x-amzn-bedrock-input-token-count"]) > 0
        assert int(told["x-amzn-bedrock-output-token-count"]) > 0


def test_mistrals_words(client: Any) -> None:
    whole = invoked(client, {"prompt": MISTRAL, "max_tokens": 20})
    assert whole["outputs"][0]["text"]
    assert whole["outputs"][0]["stop_reason"] in ("stop", "length")
    *pieces, last = streamed(client, {"prompt": MISTRAL, "max_tokens": 200})
    assert "".join(one["outputs"][0]["text"] for one in pieces)
    assert last["outputs"][0]["stop_reason"] == "stop"


def test_titans_words(client: Any) -> None:
    asked = {"inputText": "Name a river.", "textGenerationConfig": {"maxTokenCount": 20}}
    whole = invoked(client, asked)
    assert whole["results"][0]["outputText"]
    assert whole["results"][0]["completionReason"] in ("FINISH", "LENGTH")
    assert whole["inputTextTokenCount"] > 0
    *pieces, last = streamed(client, asked)
    assert "".join(one["outputText"] for one in pieces)
    assert (last["completionReason"] in ("FINISH", "LENGTH"), last["totalOutputTextTokenCount"] > 0) == (True, True)


def test_titans_vectors(client: Any) -> None:
    made = invoked(client, {"inputText": "a river", "dimensions": 8}, "vectors")
    assert len(made["embedding"]) == 8
    assert made["embeddingsByType"]["float"] == made["embedding"]
    assert made["inputTextTokenCount"] > 0
    with pytest.raises(ClientError, match="embeddingTypes"):
        invoked(client, {"inputText": "a river", "embeddingTypes": ["binary"]}, "vectors")


def test_novas_vectors(client: Any) -> None:
    said = {"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": 8, "text": {"truncationMode": "END", "value": "a river"}}
    asked = {"schemaVersion": "nova-multimodal-embed-v1", "taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": said}
    (made,) = invoked(client, asked, "vectors")["embeddings"]
    assert (made["embeddingType"], len(made["embedding"])) == ("TEXT", 8)
    with pytest.raises(ClientError, match="only texts"):
        invoked(client, {**asked, "singleEmbeddingParams": {"image": {}}}, "vectors")


def test_coheres_older_words(client: Any) -> None:
    asked = {"prompt": "Name a river.", "max_tokens": 200, "num_generations": 1, "return_likelihoods": "NONE"}
    with pytest.raises(ClientError, match="return_likelihoods"):  # OpenAI's model has no such word: it passes, and is refused there
        invoked(client, asked)
    asked.pop("return_likelihoods")
    (made,) = invoked(client, asked)["generations"]
    assert (bool(made["text"]), made["finish_reason"]) == (True, "COMPLETE")
    *pieces, last = streamed(client, asked)
    assert "".join(one["text"] for one in pieces)
    assert [one["is_finished"] for one in (*pieces, last)] == [*[False] * len(pieces), True]


def test_coheres_words(client: Any) -> None:
    assert len(invoked(client, {"texts": ["a river", "a mill"], "input_type": "search_query"}, "vectors")["embeddings"]) == 2
    asked = {"message": "Name a river.", "chat_history": [{"role": "USER", "message": "Hello."}], "max_tokens": 200}
    assert invoked(client, asked)["text"]
    events = streamed(client, asked)
    assert [one["event_type"] for one in events][:: len(events) - 1] == ["stream-start", "stream-end"]
    assert events[-1]["response"]["text"] == "".join(one["text"] for one in events if one["event_type"] == "text-generation")


def test_words_of_chat_completions(client: Any) -> None:
    asked = {"messages": [{"role": "user", "content": "Name a river."}], "max_tokens": 200}
    assert invoked(client, asked)["choices"][0]["message"]["content"]
    events = streamed(client, asked)
    assert {one["object"] for one in events} == {"chat.completion.chunk"}
    assert events[-1]["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize(
    "body",
    [
        NOVA,
        {"prompt": LLAMA3, "max_gen_len": 20},
        {"inputText": "hi"},
        {"message": "hi"},
        {"messages": [{"role": "user", "content": "hi"}]},
    ],
)
def test_tokens_are_counted_in_these_words(client: Any, body: Any) -> None:
    assert client.count_tokens(modelId="gpt", input={"invokeModel": {"body": json.dumps(body)}})["inputTokens"] > 0


def test_what_is_nobodys_words_is_refused(client: Any) -> None:
    for body in ({"words": 1}, {"prompt": 7, "max_gen_len": 20}):
        with pytest.raises(ClientError) as caught:
            invoked(client, body)
        assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_what_fails_in_a_stream_is_awss(client: Any) -> None:
    client.meta.events.register("before-sign.bedrock-runtime", lambda request, **_: request.headers.add_header("x-headrace-timeout", "1"))
    for body in ({"prompt": LLAMA3, "max_gen_len": 20}, NOVA, {"message": "hi"}):
        with pytest.raises(EventStreamError, match="odelStreamErrorException"):
            streamed(client, body, "late")


# ---- what goes out -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def provider() -> Iterator[Upstream]:
    with standing() as made:
        yield made


@pytest.fixture
def over(provider: Upstream) -> Iterator[Any]:
    """A client over a provider of OpenAI's words and over Bedrock's."""

    def entry(name: str, model: str, base: str) -> dict[str, Any]:
        return {"model_name": name, "litellm_params": {"model": model, "api_key": "key-of-bedrock", "base_url": base}}

    host = provider.url.removesuffix("/v1")
    router = Router(
        [
            entry("gpt", "openai/own", provider.url),
            entry("nova", "bedrock/amazon.nova-pro-v1:0", host),
            entry("llama", "bedrock/meta.llama3-8b-instruct-v1:0", host),
        ],
        num_retries=0,
    )
    with serving(router, Settings(key=KEY)) as base:
        made = client_of(base)
        yield made
        made.close()


def test_a_prompt_in_a_template_goes_out_as_turns(over: Any, provider: Upstream) -> None:
    invoked(over, {"prompt": LLAMA3, "max_gen_len": 20, "top_p": 0.5})
    sent = provider.seen[-1].body
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a river."}]
    assert (sent["max_tokens"], sent["top_p"], "prompt" in sent) == (20, 0.5, False)


def test_a_prompt_without_one_is_completed(over: Any, provider: Upstream) -> None:
    provider.answer(Reply({"object": "text_completion", "choices": [{"index": 0, "text": " Avon", "finish_reason": "length"}]}))
    assert invoked(over, {"prompt": "The river", "max_gen_len": 2})["generation"] == " Avon"
    assert (provider.seen[-1].path, provider.seen[-1].body["prompt"]) == ("/v1/completions", "The river")


def test_llama_of_bedrock_is_sent_its_own_template(over: Any, provider: Upstream) -> None:
    provider.answer(Reply({"generation": "Avon", "prompt_token_count": 9, "generation_token_count": 2, "stop_reason": "stop"}))
    assert invoked(over, {"prompt": LLAMA3, "max_gen_len": 20}, "llama") == {
        "generation": "Avon", "prompt_token_count": 9, "generation_token_count": 2, "stop_reason": "stop",
    }  # fmt: skip
    assert provider.seen[-1].path == "/model/meta.llama3-8b-instruct-v1%3A0/invoke"
    assert provider.seen[-1].body == {"prompt": LLAMA3, "max_gen_len": 20}


def test_novas_words_are_converses_but_for_a_few(over: Any, provider: Upstream) -> None:
    answer = {
        "output": {"message": {"role": "assistant", "content": [{"text": "Avon"}]}}, "stopReason": "end_turn",
        "usage": {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4},
    }  # fmt: skip
    provider.answer(Reply(answer))
    asked = {**NOVA, "inferenceConfig": {"max_new_tokens": 20, "topK": 5}}
    assert invoked(over, asked, "nova") == answer
    sent = provider.seen[-1].body
    assert sent["inferenceConfig"] == {"maxTokens": 20}
    assert sent["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 5}}
    assert "schemaVersion" not in sent
    events = [event("messageStart", {"role": "assistant"}), event("messageStop", {"stopReason": "end_turn"})]
    provider.answer(Reply(pieces=events, headers={"content-type": "application/vnd.amazon.eventstream"}))
    assert streamed(over, NOVA, "nova") == [{"messageStart": {"role": "assistant"}}, {"messageStop": {"stopReason": "end_turn"}}]


def test_a_stream_without_counts_still_says_why_it_ended(over: Any, provider: Upstream) -> None:
    provider.answer(Reply(pieces=sse(chunk("Avon"), chunk(finish="length"))))
    assert [(one["generation"], one["stop_reason"]) for one in streamed(over, {"prompt": LLAMA3, "max_gen_len": 1})] == [
        ("Avon", None), ("", "length"),
    ]  # fmt: skip


# ---- the words themselves ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("maker", [maker for maker in MAKERS if maker.serves], ids=lambda maker: maker.models)
@pytest.mark.parametrize("finish", ["stop", "length"])
def test_what_is_written_to_a_caller_reads_back(maker: Maker, finish: str) -> None:
    for piece in (False, True):
        told = maker.told(maker.write("Avon", finish, (9, 2), piece=piece))
        assert [(made.text, made.finish) for made in told.made] == [("Avon", finish)]
        if maker.counts[0] or piece:
            assert told.usage == {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


@pytest.mark.parametrize(
    ("prompt", "turns"),
    [
        (LLAMA3, [("system", "Be brief."), ("user", "Name a river.")]),
        (MISTRAL, [("user", "Hello."), ("assistant", "Hello, you."), ("user", "Name a river.")]),
        (LLAMA2, [("system", "Be brief."), ("user", "Name a river.")]),
        ("<|header_start|>user<|header_end|>\n\nHi<|eot|><|header_start|>assistant<|header_end|>\n\n", [("user", "Hi")]),
        (
            "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Name\n\none.\n\nAssistant:",
            [("user", "Hi"), ("assistant", "Hello"), ("user", "Name\n\none.")],
        ),
        ("[INST] Hi [/INST]", [("user", "Hi")]),
        ("<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜><think>\n", [("user", "Hi")]),
    ],
)
def test_templates_are_told_apart(prompt: str, turns: list[tuple[str, str]]) -> None:
    assert [(turn["role"], turn["content"]) for turn in turns_of(prompt) or ()] == turns


def test_a_text_is_no_template() -> None:
    assert turns_of("The river [is] long. Human: no.") is None

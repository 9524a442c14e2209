"""Mistral's official client, for what OpenAI's API does not have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mistralai.client
import pytest
from mistralai.client.errors import SDKError
from tests.client.upstream import Reply, Upstream, sse, standing
from tests.gateway.conftest import KEY, serving

from headrace import Router
from headrace.gateway.config import Settings


@pytest.fixture
def provider() -> Iterator[Upstream]:
    with standing() as made:
        yield made


@pytest.fixture
def client(provider: Upstream) -> Iterator[mistralai.client.Mistral]:
    def entry(name: str, model: str) -> dict[str, Any]:
        return {"model_name": name, "litellm_params": {"model": model, "api_key": "sk-upstream", "base_url": provider.url}}

    router = Router([entry("code", "mistral/codestral"), entry("gpt", "openai/gpt-3.5-turbo-instruct")], num_retries=0)
    with serving(router, Settings(key=KEY)) as base, mistralai.client.Mistral(api_key=KEY, server_url=base) as made:
        yield made


CHAT = {
    "id": "c", "object": "chat.completion", "model": "codestral", "created": 1,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "a + b"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
}  # fmt: skip
TEXT = {
    "id": "t", "object": "text_completion", "model": "gpt", "created": 1,
    "choices": [{"index": 0, "text": "a + b", "finish_reason": "stop", "logprobs": None}], "usage": CHAT["usage"],
}  # fmt: skip


@pytest.mark.parametrize(("model", "answer", "path"), [("code", CHAT, "/v1/fim/completions"), ("gpt", TEXT, "/v1/completions")])
def test_what_stands_between_two_texts_is_completed(
    client: mistralai.client.Mistral, provider: Upstream, model: str, answer: Any, path: str
) -> None:
    provider.answer(Reply(answer))
    made = client.fim.complete(model=model, prompt="def add(a, b): return ", suffix="\n", max_tokens=9)
    assert made.choices[0].message.content == "a + b"
    assert made.usage.completion_tokens == 3
    sent = provider.seen[-1]
    assert (sent.path, sent.body["suffix"], sent.body["max_tokens"]) == (path, "\n", 9)


@pytest.mark.parametrize(("model", "field"), [("code", "delta"), ("gpt", "text")])
def test_it_is_streamed(client: mistralai.client.Mistral, provider: Upstream, model: str, field: str) -> None:
    def piece(text: str, finish: str | None = None) -> dict[str, Any]:
        said: Any = {"content": text} if field == "delta" else text
        return {"id": "c", "object": "o", "created": 1, "model": "m", "choices": [{"index": 0, field: said, "finish_reason": finish}]}

    provider.answer(Reply(pieces=sse(piece("a + "), piece("b"), piece("", "stop"))))
    events = list(client.fim.stream(model=model, prompt="def add(a, b): return "))
    assert "".join(event.data.choices[0].delta.content for event in events) == "a + b"
    assert events[-1].data.choices[0].finish_reason == "stop"


def test_a_document_is_read(client: mistralai.client.Mistral, provider: Upstream) -> None:
    page = {"index": 0, "markdown": "# Mill", "images": [], "dimensions": None}
    provider.answer(Reply({"pages": [page], "model": "mistral-ocr", "usage_info": {"pages_processed": 1}}))
    made = client.ocr.process(model="code", document={"type": "document_url", "document_url": "https://example.org/mill.pdf"})
    assert made.pages[0].markdown == "# Mill"
    assert (provider.seen[-1].path, provider.seen[-1].body["model"]) == ("/v1/ocr", "codestral")


def test_a_model_that_is_not_here_is_not_found(client: mistralai.client.Mistral) -> None:
    with pytest.raises(SDKError) as caught:
        client.fim.complete(model="nobody", prompt="x")
    assert caught.value.status_code == 404

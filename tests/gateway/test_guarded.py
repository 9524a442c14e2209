"""Guardrails on the gateway's calls: refusals are in the caller's dialect, and responses that would be forwarded as bytes are checked."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import openai
import pytest

from gateway.conftest import KEY
from headrace.layers import around
from headrace.layers.guardrails import Guardrails
from headrace.layers.pii import PII
from headrace.layers.secrets import Secrets

MAIL = "anna@example.org"


@pytest.fixture(autouse=True)
def guarded() -> Iterator[None]:
    before = around._layers
    Guardrails([PII(), Secrets(action="block")]).install()
    yield
    around._layers = before


def test_a_refusal_is_openai_s(base: str) -> None:
    client = openai.OpenAI(api_key=KEY, base_url=f"{base}/v1", max_retries=0)
    with pytest.raises(openai.BadRequestError, match="'secrets' refuses the input: ANTHROPIC_KEY") as caught:
        client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": f"sk-ant-api03-{'Ab1' * 20}"}])
    assert "Ab1Ab1" not in str(caught.value)


def test_a_refusal_is_anthropic_s(base: str) -> None:
    client = anthropic.Anthropic(api_key=KEY, base_url=base, max_retries=0)
    with pytest.raises(anthropic.BadRequestError, match="'secrets' refuses the input: ANTHROPIC_KEY"):
        client.messages.create(model="gpt", max_tokens=20, messages=[{"role": "user", "content": f"sk-ant-api03-{'Ab1' * 20}"}])


@pytest.mark.parametrize("stream", [False, True])
def test_a_masked_call_is_answered_whole_and_streamed(base: str, stream: bool) -> None:
    client = openai.OpenAI(api_key=KEY, base_url=f"{base}/v1", max_retries=0)
    asked = [{"role": "user", "content": f"Write to {MAIL}"}]
    answer = client.chat.completions.create(model="gpt", messages=asked, stream=stream)  # type: ignore[call-overload]
    said = (
        "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices) if stream else answer.choices[0].message.content
    )
    assert said

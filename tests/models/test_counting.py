"""Counting tokens."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

import pytest

import headrace
from headrace.models.counting import encoding_of
from headrace.models.tokens import IMAGE_TOKENS

HELLO = [{"role": "user", "content": "Hello, world!"}]


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("openai/gpt-4o-mini", "o200k_base"), ("gpt-5.4", "o200k_base"), ("o3-mini", "o200k_base"), ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"), ("gpt-4.1", "o200k_base"), ("text-embedding-3-small", "cl100k_base"),
        ("groq/openai/gpt-oss-20b", "o200k_harmony"), ("ft:gpt-4o:org", "o200k_base"), ("dashscope/qwen3-max", "qwen3.5"),
        ("anthropic/claude-x", "o200k_base"),
    ],
)  # fmt: skip
def test_each_family_has_its_encoding(model: str, encoding: str) -> None:
    assert encoding_of(model) == encoding


def test_a_text_is_counted_as_the_model_does() -> None:
    assert headrace.token_counter("gpt-4o", text="hello world") == 2
    assert headrace.token_counter("gpt-4", text=["hello world", "how many tokens?"]) == 6


def test_a_chat_has_its_marks_too() -> None:
    assert headrace.token_counter("gpt-4o", messages=HELLO) == 4 + 1 + 3 + 3  # the text, the role, around the message, before the answer


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "text", "text": "Hello, world!"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "Hello, world!", "arguments": ""}}]},
        {"role": "assistant", "function_call": {"name": "Hello, world!", "arguments": ""}},
    ],
)
def test_texts_are_found_wherever_they_stand(message: Mapping[str, Any]) -> None:
    assert headrace.token_counter("gpt-4o", messages=[message]) == 11


def test_pictures_and_tools_count() -> None:
    seen = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}}]}]
    assert IMAGE_TOKENS < headrace.token_counter("gpt-4o", messages=seen) < IMAGE_TOKENS + 20
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    assert headrace.token_counter("gpt-4o", messages=HELLO, tools=tools) > headrace.token_counter("gpt-4o", messages=HELLO) + 5


def test_a_tokenizer_of_the_callers_own_is_used() -> None:
    class Words:
        def encode(self, text: str) -> list[str]:
            return text.split()

    assert headrace.token_counter("m", custom_tokenizer=Words(), text="one two three") == 3
    assert headrace.token_counter("m", custom_tokenizer={"type": "huggingface_tokenizer", "tokenizer": Words()}, text="one two") == 2


def test_without_a_vocabulary_tokens_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name == "toktok":
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    assert headrace.token_counter("gpt-4o", text="x" * 400) == 101


def test_nothing_to_count_is_an_error() -> None:
    with pytest.raises(headrace.BadRequestError, match="text= or messages="):
        headrace.token_counter("gpt-4o")

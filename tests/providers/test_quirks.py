"""A request's parameters as one provider takes them."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from headrace.errors import UnsupportedParamsError
from headrace.providers.catalog import resolve
from headrace.providers.quirks import apply
from headrace.providers.rows import Evidence, Provider, Quirk


def provider(**quirk: Any) -> Provider:
    return Provider(name="p", quirks=(Quirk("a test", **quirk),), evidence=Evidence("a test", "2026-11-23", "unchecked"))


@pytest.mark.parametrize(
    ("quirk", "body", "sent"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"rename": {"a": "b"}}, {"a": 1, "c": 2}, {"b": 1, "c": 2}),
        ({"rename": {"a": "b"}}, {"c": 2}, {"c": 2}),
        ({"rename": {"a": "b"}}, {"a": 1, "b": 2}, {"b": 2}),
        ({"drop": ("a",)}, {"a": 1, "c": 2}, {"c": 2}),
        ({"default": {"a": 1}}, {"c": 2}, {"a": 1, "c": 2}),
        ({"default": {"a": 1}}, {"a": 5}, {"a": 5}),
        ({"default": {"a": 1}}, {"a": None}, {"a": None}),
        ({"drop": ("a",), "operation": "embeddings"}, {"a": 1}, {"a": 1}),
        ({"drop": ("a",), "models": "gpt"}, {"model": "gpt-4o", "a": 1}, {"model": "gpt-4o"}),
        ({"drop": ("a",), "models": "gpt"}, {"model": "my-gpt", "a": 1}, {"model": "my-gpt", "a": 1}),
    ],
)
def test_a_body_is_written_as_the_provider_takes_it(quirk: dict[str, Any], body: dict[str, Any], sent: dict[str, Any]) -> None:
    given = dict(body)
    assert apply(provider(**quirk), body, operation="chat") == sent
    assert body == given, "the caller's own body is left alone"


def test_where_nothing_is_special_the_body_is_passed_on_as_it_is() -> None:
    body = {"model": "m", "messages": []}
    assert apply(resolve("siliconflow/m").provider, body, operation="chat") is body


def test_a_refused_parameter_is_named() -> None:
    with pytest.raises(UnsupportedParamsError, match=r"p rejects a, b \(a test\).*drop_params=True") as caught:
        apply(provider(refuse=("a", "b", "c")), {"model": "m", "b": 1, "a": 2}, operation="chat")
    assert (caught.value.llm_provider, caught.value.model) == ("p", "m")


def test_a_refused_parameter_is_left_out_on_request() -> None:
    assert apply(provider(refuse=("a",)), {"a": 1, "b": 2}, operation="chat", drop_params=True) == {"b": 2}


@pytest.mark.parametrize(
    ("model", "operation", "body", "sent"),
    [
        ("openai/o3-mini", "chat", {"max_tokens": 5}, {"max_completion_tokens": 5}),
        ("openai/gpt-5", "chat", {"max_tokens": 5}, {"max_completion_tokens": 5}),
        ("openai/gpt-4o", "chat", {"max_tokens": 5}, {"max_tokens": 5}),
        ("openai/gpt-5", "completions", {"max_tokens": 5}, {"max_tokens": 5}),
        ("mistral/m", "chat", {"seed": 1, "stream_options": {}}, {"random_seed": 1}),
        ("deepseek/deepseek-chat", "chat", {"max_completion_tokens": 5}, {"max_tokens": 5}),
        ("voyage/voyage-3", "embeddings", {"dimensions": 256}, {"output_dimension": 256}),
    ],
)
def test_what_providers_are_known_for(model: str, operation: str, body: dict[str, Any], sent: dict[str, Any]) -> None:
    to = resolve(model)
    assert apply(to.provider, {"model": to.model, **body}, operation=operation) == {"model": to.model, **sent}


@pytest.mark.parametrize(("model", "refused"), [("groq/m", "logit_bias"), ("mistral/m", "user")])
def test_what_providers_are_known_to_refuse(model: str, refused: str) -> None:
    to = resolve(model)
    with pytest.raises(UnsupportedParamsError, match=refused):
        apply(to.provider, {"model": to.model, refused: "x"}, operation="chat")


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TURNS = [
    {"role": "user", "content": "call_1"},
    {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "g6fVbXS8K"}]},
    {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    {"role": "tool", "tool_call_id": "g6fVbXS8K", "content": "sun"},
]


@pytest.mark.parametrize("encoded", [True, False])
def test_ids_of_calls_that_mistral_would_refuse_are_replaced_in_calls_and_results(encoded: bool) -> None:
    messages: Any = msgspec.Raw(msgspec.json.encode(TURNS)) if encoded else TURNS
    body = {"model": "mistral-large", "messages": messages}
    sent = msgspec.json.decode(msgspec.json.encode(apply(resolve("mistral/m").provider, body, operation="chat")))["messages"]
    first, second = (call["id"] for call in sent[1]["tool_calls"])
    assert re.fullmatch("[a-zA-Z0-9]{9}", first)
    assert second == "g6fVbXS8K"
    assert [turn["tool_call_id"] for turn in sent[2:]] == [first, second]
    assert sent[0] == TURNS[0]
    assert TURNS[1]["tool_calls"][0]["id"] == "call_1", "the caller's own messages are left alone"


def test_messages_whose_ids_are_taken_are_not_encoded_anew() -> None:
    for turns in (TURNS[:1], [TURNS[3]], "assistant", [1, {"tool_calls": 3}, {"role": "assistant", "content": None, "tool_calls": [None]}]):
        messages = msgspec.Raw(msgspec.json.encode(turns))
        assert apply(resolve("mistral/m").provider, {"model": "m", "messages": messages}, operation="chat")["messages"] is messages


def test_fields_that_mistral_refuses_are_left_out_and_thoughts_stand_before_what_was_said() -> None:
    said = {"role": "assistant", "content": "x", "reasoning_content": "Hm.", "refusal": None, "annotations": [], "prefix": True}
    turns = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi", "name": "ada"}, said]
    sent = apply(resolve("mistral/m").provider, {"model": "m", "messages": turns}, operation="chat")["messages"]
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    assert sent == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [thought, {"type": "text", "text": "x"}], "prefix": True},
    ]


def test_files_and_sound_reach_mistral_in_parts_of_its_own() -> None:
    parts = [
        {"type": "text", "text": "hi"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "f1"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    messages: Any = msgspec.Raw(msgspec.json.encode([{"role": "user", "content": parts}]))
    sent = apply(resolve("mistral/m").provider, {"model": "m", "messages": messages}, operation="chat")["messages"]
    assert msgspec.json.decode(sent)[0]["content"] == [
        parts[0],
        {"type": "document_url", "document_url": "data:application/pdf;base64,AAAA", "document_name": "a.pdf"},
        {"type": "file", "file_id": "f1"},
        {"type": "input_audio", "input_audio": "AAAA"},
    ]

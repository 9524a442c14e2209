"""Requests on their way from one dialect into another: nothing of the first one's own words may reach a provider that speaks the second."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.foreign import in_common, left_out
from headrace.dialects.serve import serve
from headrace.errors import BadRequestError

ANTHROPIC: dict[str, Any] = {
    "model": "claude",
    "max_tokens": 9,
    "context_management": {"edits": []},
    "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}, {"type": "text", "text": "yes"}]},
        {"role": "user", "content": "and then?"},
    ],
}
GEMINI: dict[str, Any] = {
    "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
    "generationConfig": {"temperature": 0.5, "mediaResolution": "MEDIA_RESOLUTION_LOW"},
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
}


def sent(body: dict[str, Any], source: str, to: str, provider: str) -> Any:
    request = load(source).read_request(body)
    return json.loads(load(to).write_request(request, Target(provider, "m", "https://api.example.com", (), source)).body)


HI = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("caller", "body"),
    [
        ("openai_responses", {"input": "hi"}),
        ("anthropic_messages", {"messages": HI, "max_tokens": 5}),
        ("gemini", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
        ("cohere", {"messages": HI}),
        ("ollama", {"messages": HI}),
    ],
)
def test_an_empty_list_of_tools_was_refused_as_a_word_that_others_have_not(caller: str, body: dict[str, Any]) -> None:
    """OpenAI's agents send one where an agent has none."""
    served = serve(caller, "openai_chat", Target("p", "m"), {"model": "m", **body, "tools": []}, {}, stream=False, finish=dict)
    assert "tools" not in json.loads(served.write().body)


def test_openai_gets_nothing_of_anthropics_it_does_not_know() -> None:
    body = sent(ANTHROPIC, "anthropic_messages", "openai_chat", "openai")
    assert body == {
        "model": "m",
        "max_tokens": 9,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "yes"},
            {"role": "user", "content": "and then?"},
        ],
    }


def test_a_provider_that_knows_marks_of_caches_gets_them() -> None:
    body = sent(ANTHROPIC, "anthropic_messages", "openai_chat", "openrouter")
    assert body["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert "context_management" not in body


@pytest.mark.parametrize(
    ("to", "provider"),
    [
        ("openai_chat", "openai"), ("anthropic_messages", "anthropic"), ("bedrock_converse", "bedrock"), ("cohere", "cohere"),
        ("ollama", "ollama"),
    ],
)  # fmt: skip
def test_geminis_settings_stay_with_gemini(to: str, provider: str) -> None:
    body = sent(GEMINI, "gemini", to, provider)
    assert "0.5" in json.dumps(body)
    assert "safetySettings" not in body
    assert "generationConfig" not in body


def test_cohere_gets_no_document_of_anthropics_form_nor_a_conversation_kept_elsewhere() -> None:
    upload = {"type": "container_upload", "file_id": "file_1"}
    with pytest.raises(
        BadRequestError, match=r"messages\[0\]\.content\[0\]: Cohere's messages cannot contain container_upload blocks of another"
    ):
        sent({**ANTHROPIC, "messages": [{"role": "user", "content": [upload]}]}, "anthropic_messages", "cohere", "cohere")
    with pytest.raises(BadRequestError, match="messages: Cohere requires at least one"):
        sent({"model": "m", "prompt": {"id": "pmpt_1"}}, "openai_responses", "cohere", "cohere")


def test_what_is_left_out_is_named() -> None:
    request = load("gemini").read_request(GEMINI)
    assert left_out(request, "gemini", "anthropic_messages") == ("safetySettings", "generationConfig")
    assert left_out(request, "gemini", "gemini") == ()
    assert left_out(load("anthropic_messages").read_request(ANTHROPIC), "anthropic_messages", "gemini") == ("context_management",)


def test_a_request_stays_as_it_is_in_its_own_dialect_and_from_openais() -> None:
    request = load("gemini").read_request(GEMINI)
    assert in_common(request, "gemini", "gemini") is request
    assert in_common(request, "", "gemini") is request
    assert in_common(request, "openai_chat", "gemini") == request


def test_tools_only_another_dialect_has_are_refused_by_name() -> None:
    with pytest.raises(BadRequestError, match=r"tools\[0\]: openai_chat has no tool of type googleSearch"):
        sent({**GEMINI, "tools": [{"googleSearch": {}}]}, "gemini", "openai_chat", "openai")


def test_what_a_providers_own_tool_did_is_left_out_of_a_chat_and_named() -> None:
    searched = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    answer = {"role": "assistant", "content": [searched, {"type": "text", "text": "yes"}]}
    body = {**ANTHROPIC, "messages": [*ANTHROPIC["messages"][:1], answer]}
    assert sent(body, "anthropic_messages", "openai_chat", "openai")["messages"][1] == {"role": "assistant", "content": "yes"}
    request = load("anthropic_messages").read_request(body)
    assert left_out(request, "anthropic_messages", "openai_chat") == ("context_management", "messages[1].content[0]")


def test_pictures_a_tool_gave_back_follow_its_result_as_the_users() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "done"}, picture]}
    turns = [{"role": "user", "content": "go"}, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    body = sent({**ANTHROPIC, "messages": turns}, "anthropic_messages", "openai_chat", "openai")
    assert body["messages"][2:] == [
        {"role": "tool", "tool_call_id": "t", "content": "done"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]},
    ]


def test_pictures_in_googles_base64_are_sent_in_everybodys() -> None:
    parts = [{"inlineData": {"mimeType": "image/png", "data": "_-8="}}, {"text": "what is it?"}]
    asked = {**GEMINI, "contents": [{"role": "user", "parts": parts}]}
    assert sent(asked, "gemini", "bedrock_converse", "bedrock")["messages"][0]["content"][0]["image"]["source"] == {"bytes": "/+8="}
    document = [{"inlineData": {"mimeType": "application/vnd.ms-excel", "data": "_-8="}}, {"text": "what is it?"}]
    read = in_common(load("gemini").read_request({"contents": [{"role": "user", "parts": document}]}), "gemini", "openai_chat")
    assert getattr(read.messages[0].content[0], "url", "") == "data:application/vnd.ms-excel;base64,/+8="
    assert sent(asked, "gemini", "gemini", "gemini")["contents"][0]["parts"][0]["inlineData"]["data"] == "_-8="


def test_what_says_nothing_in_a_chat_does_not_reach_another_dialect() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stop": [], "tools": None, "logit_bias": None}
    assert set(sent(body, "openai_chat", "gemini", "gemini")) == {"contents"}
    assert set(sent(body, "openai_chat", "openai_responses", "openai")) == {"model", "input"}


def test_calls_without_ids_get_some_where_the_other_dialect_wants_them() -> None:
    call = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    result = {"role": "function", "name": "f", "content": "done"}
    body = {"model": "m", "messages": [{"role": "user", "content": "go"}, call, result]}
    turns = sent(body, "openai_chat", "anthropic_messages", "anthropic")["messages"]
    assert turns[1]["content"][0]["id"] == turns[2]["content"][0]["tool_use_id"] == "call_1"


def test_files_anthropic_cannot_take_are_refused_by_name() -> None:
    film = {"fileData": {"fileUri": "gs://bucket/film.mp4", "mimeType": "video/mp4"}}
    with pytest.raises(BadRequestError, match=r"messages\[0\]\.content\[0\]: Anthropic's messages accept files from the web, not gs"):
        sent({"contents": [{"role": "user", "parts": [film]}]}, "gemini", "anthropic_messages", "anthropic")
    inline = {"inlineData": {"data": "AAAA", "mimeType": "video/mp4"}}
    with pytest.raises(BadRequestError, match=r"accept PDF, text and images, not video/mp4"):
        sent({"contents": [{"role": "user", "parts": [inline]}]}, "gemini", "anthropic_messages", "anthropic")


@pytest.mark.parametrize(("to", "provider"), [("anthropic_messages", "anthropic"), ("bedrock_converse", "bedrock")])
def test_a_conversation_of_a_system_alone_is_refused_before_it_is_sent(to: str, provider: str) -> None:
    with pytest.raises(BadRequestError, match="requires a user message"):
        sent({"model": "m", "messages": [{"role": "system", "content": "hi"}]}, "openai_chat", to, provider)

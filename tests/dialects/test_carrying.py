"""Content and tools of one dialect on their way into another: said where there are words, left out and named, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.foreign import left_out
from headrace.dialects.serve import serve
from headrace.errors import BadRequestError, UnsupportedParamsError

PROVIDERS = {
    "openai_chat": "openai", "openai_responses": "openai", "anthropic_messages": "anthropic", "gemini": "gemini",
    "bedrock_converse": "bedrock", "cohere": "cohere",
}  # fmt: skip


def sent(body: dict[str, Any], source: str, to: str) -> Any:
    request = load(source).read_request(body)
    target = Target(PROVIDERS[to], "m", "https://api.example.com", (), source)
    return json.loads(load(to).write_request(request, target).body)


def anthropic(*messages: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": [{"role": role, "content": content} for role, content in messages], **more}


def responses(*items: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "input": list(items), **more}


HI = {"role": "user", "content": "hi"}

# ---- content -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", [name for name in PROVIDERS if name != "openai_responses"])
def test_tools_told_of_in_the_midst_are_told_of_at_the_beginning(to: str) -> None:
    schema = {"type": "object", "properties": {}}
    late = {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "late", "parameters": schema}]}
    found = {"type": "tool_search_output", "tools": [{"type": "function", "name": "found", "parameters": schema}]}
    body = sent(responses(HI, late, found, HI, tools=[{"type": "function", "name": "known", "parameters": schema}]), "openai_responses", to)
    assert all(name in json.dumps(body) for name in ("known", "late", "found"))


def test_an_effort_changed_in_the_midst_is_the_one_that_holds() -> None:
    update = {"type": "configuration_update", "reasoning": {"effort": "high"}}
    body = sent(responses(HI, update, HI, reasoning={"effort": "low"}), "openai_responses", "openai_chat")
    assert body["reasoning_effort"] == "high"
    request = load("openai_responses").read_request(responses(HI, update, HI))
    assert left_out(request, "openai_responses", "openai_chat") == ()


@pytest.mark.parametrize("item", [{"type": "compaction", "encrypted_content": "x"}, {"type": "item_reference", "id": "msg_1"}])
@pytest.mark.parametrize("to", [name for name in PROVIDERS if name != "openai_responses"])
def test_what_only_openai_can_read_of_a_conversation_is_not_lost_in_silence(item: dict[str, Any], to: str) -> None:
    with pytest.raises(BadRequestError, match=rf"messages\[1\]\.content\[0\]: {item['type']} is readable only by"):
        sent(responses(HI, item, HI), "openai_responses", to)


@pytest.mark.parametrize("to", [name for name in PROVIDERS if name != "anthropic_messages"])
def test_a_summary_stands_for_all_that_it_sums_up(to: str) -> None:
    summed = [{"type": "compaction", "content": "They greeted each other."}, {"type": "text", "text": "And now?"}]
    body = sent(anthropic(("user", "secret start"), ("assistant", summed), ("user", "go on"), system="be kind"), "anthropic_messages", to)
    said = json.dumps(body)
    assert "They greeted each other." in said
    assert "secret start" not in said
    assert all(kept in said for kept in ("be kind", "And now?", "go on"))


@pytest.mark.parametrize("to", [name for name in PROVIDERS if name != "anthropic_messages"])
def test_documents_and_findings_that_are_texts_are_said_as_texts(to: str) -> None:
    document = {"type": "document", "title": "Rules", "source": {"type": "content", "content": [{"type": "text", "text": "Be short."}]}}
    found = {"type": "search_result", "source": "https://e.com", "title": "Hit", "content": [{"type": "text", "text": "Mills turn."}]}
    said = json.dumps(sent(anthropic(("user", [document, found, {"type": "text", "text": "So?"}])), "anthropic_messages", to))
    assert all(text in said for text in ("Rules", "Be short.", "Hit", "https://e.com", "Mills turn.", "So?"))


@pytest.mark.parametrize("to", [name for name in PROVIDERS if name != "anthropic_messages"])
def test_a_result_that_refers_to_tools_names_them(to: str) -> None:
    call = {"type": "tool_use", "id": "t", "name": "search", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "tool_reference", "tool_name": "rates"}]}
    tool = {"name": "search", "input_schema": {"type": "object"}}
    body = anthropic(("user", "go"), ("assistant", [call]), ("user", [result]), tools=[tool])
    assert "rates" in json.dumps(sent(body, "anthropic_messages", to)).replace("search", "")


OWN_WORK = {
    "anthropic_messages": anthropic(
        ("user", "hi"),
        ("assistant", [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, {"type": "text", "text": "yes"}]),
        ("user", "and?"),
    ),
    "openai_responses": responses(
        HI,
        {"type": "web_search_call", "id": "ws", "status": "completed"},
        {"type": "message", "role": "assistant", "content": "yes"},
        {"role": "user", "content": "and?"},
    ),
    "gemini": {
        "contents": [
            {"role": "user", "parts": [{"text": "hi"}]},
            {"role": "model", "parts": [{"executableCode": {"language": "PYTHON", "code": "1"}}, {"text": "yes"}]},
            {"role": "user", "parts": [{"text": "and?"}]},
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize("source", OWN_WORK)
def test_what_a_providers_own_tools_did_is_left_out_everywhere_and_named(source: str) -> None:
    request = load(source).read_request(OWN_WORK[source])
    for to in PROVIDERS:
        if to != source:
            said = json.dumps(sent(OWN_WORK[source], source, to))
            assert all(text in said for text in ("hi", "yes", "and?"))
            assert not any(word in said for word in ("server_tool_use", "web_search_call", "executableCode"))
            assert left_out(request, source, to) == ("messages[1].content[0]",), to


# ---- tools -------------------------------------------------------------------------------------------------------------------------

NEAR = {"type": "approximate", "city": "Graz", "country": "AT"}
SEARCH = {
    "anthropic_messages": {"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["e.com"], "user_location": NEAR},
    "openai_responses": {"type": "web_search", "filters": {"allowed_domains": ["e.com"]}, "user_location": NEAR},
    "gemini": {"googleSearch": {}},
}
ASKING: dict[str, dict[str, Any]] = {
    "anthropic_messages": anthropic(("user", "hi")),
    "openai_responses": responses(HI),
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}


@pytest.mark.parametrize("source", SEARCH)
@pytest.mark.parametrize("to", SEARCH)
def test_searching_the_web_is_a_tool_of_three_houses(source: str, to: str) -> None:
    if source != to:
        [tool] = sent({**ASKING[source], "tools": [SEARCH[source]]}, source, to)["tools"]
        bare = {name: value for name, value in SEARCH[to].items() if name not in ("allowed_domains", "filters", "user_location")}
        assert tool == (bare if source == "gemini" else SEARCH[to])


def test_settings_of_a_tool_that_the_other_house_has_not_are_named() -> None:
    request = load("anthropic_messages").read_request(anthropic(("user", "hi"), tools=[SEARCH["anthropic_messages"]]))
    assert left_out(request, "anthropic_messages", "gemini") == ("tools[0].allowed_domains", "tools[0].user_location")
    assert left_out(request, "anthropic_messages", "openai_responses") == ()


def test_a_chats_options_for_searching_are_a_tool_of_responses() -> None:
    options = {"search_context_size": "low", "user_location": {"type": "approximate", "approximate": {"city": "Graz", "country": "AT"}}}
    body = sent({"model": "m", "messages": [HI], "web_search_options": options}, "openai_chat", "openai_responses")
    assert body["tools"] == [{"type": "web_search", "search_context_size": "low", "user_location": NEAR}]


@pytest.mark.parametrize("to", PROVIDERS)
def test_a_tool_that_finds_tools_is_needless_where_all_are_known(to: str) -> None:
    tools = [{"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}, {"name": "f", "input_schema": {"type": "object"}}]
    if to != "anthropic_messages":
        body = anthropic(("user", "hi"), tools=tools)
        assert "bm25" not in json.dumps(sent(body, "anthropic_messages", to))
        assert left_out(load("anthropic_messages").read_request(body), "anthropic_messages", to) == ("tools[0]",)


def served(source: str, provider: str, tool: dict[str, Any]) -> Any:
    target = Target(PROVIDERS[provider], "m", "https://api.example.com")
    return serve(source, provider, target, {**ASKING[source], "model": "m", "tools": [tool]}, {}, stream=False, finish=dict)


def test_a_call_is_refused_for_those_tools_only_that_its_provider_has_not() -> None:
    assert json.loads(served("anthropic_messages", "gemini", SEARCH["anthropic_messages"]).write().body)["tools"] == [{"googleSearch": {}}]
    with pytest.raises(UnsupportedParamsError, match="bedrock does not support tool of type 'web_search_20250305'"):
        served("anthropic_messages", "bedrock_converse", SEARCH["anthropic_messages"])

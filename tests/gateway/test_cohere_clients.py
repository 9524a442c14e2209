"""Cohere's official clients, v1 and v2, with a provider of OpenAI's dialect and one of Cohere's behind the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cohere
import pytest
from tests.client.upstream import Reply, Upstream, standing
from tests.gateway.conftest import KEY, serving
from tests.gateway.test_other_fronts import in_events

from headrace import Router
from headrace.gateway.config import Settings
from headrace.simulator.server import Running

LOOK: Any = {
    "name": "look", "description": "Looks.",
    "parameter_definitions": {"where": {"description": "At what.", "type": "str", "required": True}, "often": {"type": "int"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def base(upstream: Running) -> Iterator[str]:
    sim = {"api_key": "sk-upstream", "base_url": f"{upstream}/sim/v1"}
    slow = {**sim, "base_url": f"{upstream}/late/v1"}
    router = Router(
        [
            {"model_name": "gpt", "litellm_params": {"model": "openai/gpt-sim", **sim}},
            {"model_name": "late", "litellm_params": {"model": "openai/gpt-sim", **slow}},
        ],
        num_retries=0,
    )
    with serving(router, Settings(key=KEY, keep_alive=0.05)) as address:
        yield address


@pytest.fixture
def older(base: str) -> Iterator[cohere.Client]:
    with cohere.Client(api_key=KEY, base_url=base) as client:
        yield client


@pytest.fixture
def newer(base: str) -> Iterator[cohere.ClientV2]:
    with cohere.ClientV2(api_key=KEY, base_url=base) as client:
        yield client


@pytest.fixture
def provider() -> Iterator[Upstream]:
    with standing() as made:
        yield made


@pytest.fixture
def over(provider: Upstream) -> Iterator[str]:
    """A gateway over a provider of Cohere's words and one of OpenAI's, whose requests can be looked at."""
    host = provider.url.removesuffix("/v1")
    own = {"model": "cohere/own", "api_key": "sk-upstream", "base_url": f"{host}/v2"}
    other = {"model": "openai/own", "api_key": "sk-upstream", "base_url": provider.url}
    router = Router([{"model_name": "command", "litellm_params": own}, {"model_name": "gpt", "litellm_params": other}], num_retries=0)
    with serving(router, Settings(key=KEY)) as address:
        yield address


def test_v1_chats(older: cohere.Client) -> None:
    history: Any = [{"role": "USER", "message": "Hello."}, {"role": "CHATBOT", "message": "Hello, you."}]
    answer = older.chat(model="gpt", message="Name a river.", preamble="Be brief.", chat_history=history, max_tokens=20)
    assert answer.text
    assert answer.finish_reason in ("COMPLETE", "MAX_TOKENS")
    assert answer.meta.tokens.output_tokens > 0
    assert [turn.message for turn in answer.chat_history][:3] == ["Hello.", "Hello, you.", "Name a river."]
    assert answer.chat_history[-1].message == answer.text


def test_v1_streams(older: cohere.Client) -> None:
    events = list(older.chat_stream(model="gpt", message="Name a river."))
    assert [event.event_type for event in events][:: len(events) - 1] == ["stream-start", "stream-end"]
    told = "".join(event.text for event in events if event.event_type == "text-generation")
    assert told
    assert events[-1].response.text == told
    assert events[-1].finish_reason == "COMPLETE"
    assert events[-1].response.meta.tokens.output_tokens > 0


def test_v1_tools_are_called_whole_and_streamed(older: cohere.Client) -> None:
    must: Any = {"additional_body_parameters": {"tool_choice": "REQUIRED"}}  # the simulated model calls one where it must alone
    answer = older.chat(model="gpt", message="Look.", tools=[LOOK], request_options=must)
    assert [call.name for call in answer.tool_calls] == ["look"]
    end = list(older.chat_stream(model="gpt", message="Look.", tools=[LOOK], request_options=must))[-1]
    assert [call.name for call in end.response.tool_calls] == ["look"]
    assert set(end.response.tool_calls[0].parameters) <= {"where", "often"}


def test_v1_tools_go_out_as_schemas_and_their_results_with_their_calls(over: str, provider: Upstream) -> None:
    call: Any = {"name": "look", "parameters": {"where": "mill"}}
    result: Any = [{"call": call, "outputs": [{"seen": "a wheel"}]}, {"call": call, "outputs": [{"seen": "water"}]}]
    with cohere.Client(api_key=KEY, base_url=over) as client:
        client.chat(model="gpt", message="Look.", tools=[LOOK], tool_results=result, force_single_step=True)
    sent = provider.seen[-1].body
    (tool,) = sent["tools"]
    where = {"type": "string", "description": "At what."}
    assert tool["function"]["parameters"] == {
        "type": "object", "properties": {"where": where, "often": {"type": "integer"}}, "required": ["where"],
    }  # fmt: skip
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant", "tool", "tool"]
    ids = [made["id"] for made in sent["messages"][1]["tool_calls"]]
    assert [turn["tool_call_id"] for turn in sent["messages"][2:]] == ids
    assert "a wheel" in str(sent["messages"][2]["content"])
    assert "water" in str(sent["messages"][3]["content"])


def test_v1_results_answer_the_calls_of_the_history(over: str, provider: Upstream) -> None:
    call: Any = {"name": "look", "parameters": {"where": "mill"}}
    history: Any = [{"role": "USER", "message": "Look."}, {"role": "CHATBOT", "message": "I look.", "tool_calls": [call]}]
    provider.answer(Reply({"id": "c", "finish_reason": "COMPLETE", "message": {"role": "assistant", "content": []}}))
    with cohere.Client(api_key=KEY, base_url=over) as client:
        client.chat(model="command", message="", chat_history=history, tools=[LOOK], tool_results=[{"call": call, "outputs": [{"a": 1}]}])
    sent = provider.seen[-1]
    assert sent.path == "/v2/chat"
    assert [turn["role"] for turn in sent.body["messages"]] == ["user", "assistant", "tool"]
    _, made, told = sent.body["messages"]
    assert (made["tool_plan"], made["tool_calls"][0]["id"]) == ("I look.", told["tool_call_id"])
    assert told["content"] == [{"type": "document", "document": {"data": {"a": 1}}}]


CITED = {
    "start": 0, "end": 5, "text": "water",
    "sources": [{"type": "document", "id": "doc_0", "document": {"id": "doc_0", "snippet": "Water turns the wheel."}}],
}  # fmt: skip


def test_v1_documents_are_cited(over: str, provider: Upstream) -> None:
    said = {"role": "assistant", "content": [{"type": "text", "text": "water"}], "citations": [CITED]}
    provider.answer(Reply({"id": "c", "finish_reason": "COMPLETE", "message": said, "usage": {"billed_units": {"input_tokens": 3}}}))
    documents: Any = [{"id": "doc_0", "snippet": "Water turns the wheel.", "page": "7", "_excludes": ["page"]}]
    with cohere.Client(api_key=KEY, base_url=over) as client:
        answer = client.chat(model="command", message="What turns it?", documents=documents, citation_quality="fast")
    sent = provider.seen[-1].body
    assert sent["documents"] == [{"id": "doc_0", "data": {"snippet": "Water turns the wheel."}}]
    assert sent["citation_options"] == {"mode": "FAST"}
    assert [(one.start, one.end, one.text, one.document_ids) for one in answer.citations] == [(0, 5, "water", ["doc_0"])]
    assert answer.documents[0]["snippet"] == "Water turns the wheel."
    assert answer.meta.billed_units.input_tokens == 3


def test_v1_streams_calls_and_citations_of_coheres_own(over: str, provider: Upstream) -> None:
    begun = {"id": "t", "type": "function", "function": {"name": "look", "arguments": ""}}
    events: list[dict[str, Any]] = [
        {"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant"}}},
        {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I look."}}},
        {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": begun}}},
        {"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": '{"where":'}}}}},
        {"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": '"mill"}'}}}}},
        {"type": "tool-call-end", "index": 0},
        {"type": "citation-start", "index": 0, "delta": {"message": {"citations": CITED}}},
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": {"tokens": {"input_tokens": 3, "output_tokens": 9}}}},
    ]
    provider.answer(Reply(pieces=list(in_events(events))))
    with cohere.Client(api_key=KEY, base_url=over) as client:
        told = list(client.chat_stream(model="command", message="Look.", tools=[LOOK]))
    assert "citation-generation" in [event.event_type for event in told]
    (made,) = [event for event in told if event.event_type == "tool-calls-generation"]
    assert (made.text, made.tool_calls[0].name, made.tool_calls[0].parameters) == ("I look.", "look", {"where": "mill"})
    chunks = [event.tool_call_delta.parameters for event in told if event.event_type == "tool-calls-chunk"]
    assert "".join(filter(None, chunks)) == '{"where":"mill"}'
    assert told[-1].response.finish_reason == "COMPLETE"


def test_v1_errors_are_coheres(older: cohere.Client) -> None:
    with pytest.raises(cohere.NotFoundError, match="nobody"):
        older.chat(model="nobody", message="hi")
    with pytest.raises(cohere.BadRequestError, match="conversation_id"):
        older.chat(model="gpt", message="hi", conversation_id="c")
    with pytest.raises(cohere.NotFoundError, match="nobody"):
        list(older.chat_stream(model="nobody", message="hi"))


def test_v1_waits_in_empty_lines_and_tells_what_failed_at_the_end(older: cohere.Client) -> None:
    events = list(older.chat_stream(model="late", message="hi", request_options={"additional_body_parameters": {"timeout": 1}}))
    assert [event.event_type for event in events] == ["stream-end"]
    assert events[-1].finish_reason == "ERROR"


def test_v2_chats_and_streams(newer: cohere.ClientV2) -> None:
    messages: Any = [{"role": "user", "content": "Name a river."}]
    answer = newer.chat(model="gpt", messages=messages)
    assert answer.message.content[0].text
    assert answer.usage.tokens.output_tokens > 0
    events = list(newer.chat_stream(model="gpt", messages=messages))
    assert [event.type for event in events][:: len(events) - 1] == ["message-start", "message-end"]
    assert "".join(event.delta.message.content.text for event in events if event.type == "content-delta")


def test_v2_tools_are_called_and_answered(newer: cohere.ClientV2) -> None:
    schema = {"type": "object", "properties": {"where": {"type": "string"}}}
    tools: Any = [{"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": schema}}]
    messages: Any = [{"role": "user", "content": "Look."}]
    answer = newer.chat(model="gpt", messages=messages, tools=tools, tool_choice="REQUIRED")
    (call,) = answer.message.tool_calls
    assert (call.function.name, answer.finish_reason) == ("look", "TOOL_CALL")
    told: Any = [*messages, answer.message, {"role": "tool", "tool_call_id": call.id, "content": "a wheel"}]
    assert newer.chat(model="gpt", messages=told, tools=tools).message.content[0].text


def test_v2_errors_are_coheres(newer: cohere.ClientV2) -> None:
    with pytest.raises(cohere.NotFoundError, match="nobody"):
        newer.chat(model="nobody", messages=[{"role": "user", "content": "hi"}])  # type: ignore[list-item]

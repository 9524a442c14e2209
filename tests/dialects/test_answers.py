"""Answers on their way to a caller who speaks another dialect: nothing of the provider's own words in them."""

from __future__ import annotations

import json

from headrace.dialects import load
from headrace.dialects.answers import InCommon, answer_in_common
from headrace.dialects.base import Target
from headrace.types import (
    ChatRequest,
    ChatResponse,
    Choice,
    Message,
    Noted,
    Other,
    Started,
    Text,
    TextDelta,
    Thinking,
    ToolCall,
    Usage,
    UsageReported,
)  # fmt: skip
from headrace.wire import Headers, HttpResponse

ANSWER = ChatResponse(
    id="a",
    model="m",
    choices=(
        Choice(
            index=0,
            message=Message(
                role="assistant",
                content=(
                    Thinking(text="hm", extra={"field": "reasoning"}),
                    Text(text="hi", extra={"odd": 1}),
                    Other(type="from_tomorrow", extra={"type": "from_tomorrow"}),
                    ToolCall(id="", name="f", arguments="{}"),
                ),
                extra={"odd": 2},
            ),
            finish="tool_calls",
            extra={"odd": 3},
        ),
    ),
    usage=Usage(input=1, output=2, total=3, extra={"odd": 4}),
    extra={"odd": 5},
)


def test_a_caller_of_another_dialect_hears_no_word_he_does_not_know() -> None:
    for own in ("anthropic_messages", "gemini", "bedrock_converse", "openai_responses"):
        written = json.dumps(load(own).write_response(answer_in_common(ANSWER, own)))
        assert "odd" not in written
        assert "from_tomorrow" not in written
        assert "hi" in written


def test_calls_without_ids_get_some_and_unsigned_thinking_an_empty_signature() -> None:
    written = load("anthropic_messages").write_response(answer_in_common(ANSWER, "anthropic_messages"))
    assert [block["type"] for block in written["content"]] == ["thinking", "text", "tool_use"]
    assert written["content"][0] == {"type": "thinking", "thinking": "hm", "signature": ""}
    assert written["content"][2]["id"]


def test_callers_of_openais_dialect_get_all_there_is() -> None:
    assert answer_in_common(ANSWER, "openai_chat") is ANSWER


def test_events_lose_the_same_and_those_that_say_nothing_else_go() -> None:
    gemini = InCommon("gemini")
    assert list(gemini.feed(TextDelta(text="a", extra={"odd": 1}))) == [TextDelta(text="a")]
    assert list(gemini.feed(Started(id="a", extra={"odd": 1}))) == [Started(id="a")]
    assert list(gemini.feed(UsageReported(usage=Usage(input=1, extra={"odd": 1})))) == [UsageReported(usage=Usage(input=1))]
    assert list(gemini.feed(Noted(extra={"odd": 1}))) == []
    noted = Noted(extra={"odd": 1})
    assert list(InCommon("openai_chat").feed(noted)) == [noted]


def test_a_candidate_without_an_index_is_still_the_first_choice() -> None:
    """Gemini leaves out the index of the first candidate: OpenAI's clients insist on it."""
    body = {"candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "finishReason": "STOP"}]}
    response = HttpResponse(200, Headers(), json.dumps(body).encode())
    hub = load("gemini").read_response(response, ChatRequest(model="m", messages=()), Target("gemini", "m"))
    assert [choice["index"] for choice in load("openai_chat").write_response(hub)["choices"]] == [0]

"""What providers do and few expect, each as it was seen or documented: the facts whose recordings are not at hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.collect import collect
from headrace.errors import HeadraceError, Kind
from headrace.types import ChatRequest, ChatResponse, ToolCall
from headrace.wire import Frame, Headers, HttpResponse

ASKED = ChatRequest(model="m", messages=(), stream=True, include_usage=True)


def answer(dialect: str, body: Any, provider: str = "provider") -> ChatResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return load(dialect).read_response(HttpResponse(200, Headers(), data), ASKED, Target(provider, "m"))


def stream(dialect: str, *events: tuple[str | None, Any]) -> ChatResponse:
    reader = load(dialect).read_stream(ASKED, Target("provider", "m"))
    frames = [Frame(event if isinstance(event, bytes) else json.dumps(event).encode(), name) for name, event in events]
    told = [event for frame in frames for event in reader.feed(frame)]
    return collect([*told, *reader.close()])


def google(status: int, message: str, word: str, **detail: str) -> Any:
    return {"error": {"code": status, "message": message, "status": word, "details": [{"@type": "type.googleapis.com/x", **detail}]}}


@pytest.mark.parametrize(("dialect", "provider", "status", "body", "kind"), [
    ("openai_responses", "openai", 400, {"error": {"message": "no such model", "code": "model_not_found"}}, Kind.NOT_FOUND),
    ("gemini", "gemini", 400, google(400, "API key not valid.", "INVALID_ARGUMENT", reason="API_KEY_INVALID"), Kind.AUTHENTICATION),
    ("gemini", "gemini", 400, google(400, "Please use a valid role: user, model.", "INVALID_ARGUMENT"), Kind.BAD_REQUEST),
    ("gemini", "vertex_ai", 400, google(400, "Cannot fetch content.", "INVALID_ARGUMENT", reason="URL_ROBOTED"), Kind.BAD_REQUEST),
    ("openai_chat", "xai", 400, {"code": "invalid-argument", "error": "Incorrect API key provided: x."}, Kind.AUTHENTICATION),
    ("openai_chat", "siliconflow", 429, {"code": 50603, "message": "System is too busy", "data": None}, Kind.RATE_LIMIT),
    ("openai_chat", "siliconflow", 401, "Invalid token", Kind.AUTHENTICATION),
    ("openai_chat", "zai", 429, {"error": {"code": "1113", "message": "Insufficient balance"}}, Kind.PAYMENT),
    ("openai_chat", "zai", 429, {"error": {"code": "1302", "message": "concurrency"}}, Kind.RATE_LIMIT),
])  # fmt: skip
def test_a_refusal_is_what_the_provider_means_by_it(dialect: str, provider: str, status: int, body: Any, kind: Kind) -> None:
    """Status alone misleads: a bad key and an unknown model are 400 here, arrears 429 there."""
    failure = load(dialect).read_error(HttpResponse(status, Headers(), json.dumps(body).encode()), Target(provider, "m"))
    assert failure.kind is kind


def test_a_wait_of_no_milliseconds_is_none() -> None:
    """Azure says retry-after: 1 and retry-after-ms: 0: a hot loop for whoever takes the second."""
    headers = Headers.of({"retry-after": "1", "retry-after-ms": "0"})
    body = json.dumps({"error": {"code": "RateLimitReached", "message": "x"}}).encode()
    assert load("openai_chat").read_error(HttpResponse(429, headers, body), Target("azure", "m")).retry_after == 1.0


def test_gemini_says_in_a_list_how_long_to_wait() -> None:
    body = [google(429, "Resource exhausted", "RESOURCE_EXHAUSTED", retryDelay="48s")]
    body[0]["error"]["details"][0]["@type"] = "type.googleapis.com/google.rpc.RetryInfo"
    failure = load("gemini").read_error(HttpResponse(429, Headers(), json.dumps(body).encode()), Target("gemini", "m"))
    assert (failure.kind, failure.retry_after) == (Kind.RATE_LIMIT, 48.0)


@pytest.mark.parametrize(("body", "finish"), [
    ({"promptFeedback": {"blockReason": "SAFETY"}}, "content_filter"),
    ({"candidates": [{"finishReason": "STOP", "index": 0}]}, "stop"),
    ({"candidates": [{"content": {"role": "model", "parts": None}, "finishReason": "MAX_TOKENS", "index": 0}]}, "length"),
    ({"candidates": [{"content": {"role": "model"}, "finishReason": 1, "index": 0}]}, "stop"),
    ({"candidates": [{"content": {"role": "model"}, "finishReason": 2, "index": 0}]}, "length"),
])  # fmt: skip
def test_gemini_leaves_out_what_it_has_nothing_to_say_in(body: Any, finish: str) -> None:
    """A blocked prompt has no candidates, a candidate no content, and enums are numbers where a caller asked for them."""
    hub = answer("gemini", body)
    assert [(choice.finish, choice.message.content) for choice in hub.choices] == [(finish, ())]
    assert load("gemini").write_response(hub) == body


def test_an_error_in_a_stream_of_groqs_ends_it() -> None:
    """Under status 200, and without [DONE]."""
    begun = {"id": "c", "choices": [{"index": 0, "delta": {"content": "a"}}]}
    broken = {"error": {"message": "Failed to call a function.", "code": "tool_use_failed", "failed_generation": "x"}}
    with pytest.raises(HeadraceError, match="Failed to call a function") as caught:
        stream("openai_chat", (None, begun), (None, broken))
    assert caught.value.failure.kind is not Kind.TRUNCATED


def test_an_error_beside_a_choice_of_openrouters_ends_it() -> None:
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
    with pytest.raises(HeadraceError, match="Provider disconnected"):
        stream("openai_chat", (None, {"id": "c", "choices": [choice], "error": {"code": 502, "message": "Provider disconnected"}}))


def test_keep_alives_of_responses_say_nothing() -> None:
    response = {"id": "r", "status": "completed", "output": []}
    events = (
        {"type": "response.created", "response": response},
        {"type": "keepalive"},
        {"type": "response.completed", "response": response},
    )
    assert stream("openai_responses", *[(event["type"], event) for event in events]).choices[0].finish == "stop"  # type: ignore[misc]


def test_a_call_of_geminis_in_openais_words_has_no_id_and_a_signature() -> None:
    call = {
        "index": 0, "id": "", "type": "function", "function": {"name": "f", "arguments": "{}"},
        "extra_content": {"google": {"thought_signature": "signed"}},
    }  # fmt: skip
    whole = stream("openai_chat", (None, {"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}), (None, b"[DONE]"))
    assert whole.choices[0].message.content == (ToolCall(id="", name="f", arguments="{}", signature="signed"),)


@pytest.mark.parametrize(("usage", "total"), [
    ({"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 100}, 100),
    ({"prompt_tokens": 9, "completion_tokens": 248, "total_tokens": 632, "prompt_audio_seconds": 4}, 632),
])  # fmt: skip
def test_a_total_above_its_parts_stays(usage: Any, total: int) -> None:
    """Gemini's thinking in OpenAI's words, and Mistral's sound, are in neither part."""
    body = {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}], "usage": usage}
    hub = answer("openai_chat", body)
    assert hub.usage is not None
    assert hub.usage.total == total
    assert load("openai_chat").write_response(hub) == body


def test_blank_lines_before_an_answer_are_deepseeks_keep_alives() -> None:
    body = {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]}
    assert answer("openai_chat", b"\n\n\n" + json.dumps(body).encode()).choices[0].message.text == "x"

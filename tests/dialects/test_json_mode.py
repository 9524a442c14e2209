"""JSON mode over providers that have none: programs that read the answer with `json.loads` got prose, or JSON in a code fence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.serve import serve
from headrace.dialects.translate import Translation, translate
from headrace.wire import Headers, HttpResponse

HI = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A city, as JSON."}]
JSON = '{"name": "Oslo",\n "in": "```Norway```"}'
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
ANYTHING = {"type": "json_object"}
TOLD = "one JSON object and nothing else"


def asked(wanted: Any = ANYTHING, to: str = "anthropic_messages") -> Translation:
    target = Target("anthropic", "claude-sonnet-4-5", source="openai_chat")
    return translate(to, target, "chat", {"model": "m", "messages": HI, "response_format": wanted}, {})


def sent(made: Any) -> Any:
    return json.loads(made.write().body)


def message(text: str) -> dict[str, Any]:
    return {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip


def whole(text: str) -> Any:
    body = asked().read(HttpResponse(200, Headers(), json.dumps(message(text)).encode()))
    return body["choices"][0]["message"]["content"]


def streamed(text: str, size: int) -> str:
    """As the pieces of a stream, so many characters each."""
    told: list[dict[str, Any]] = [{"type": "message_start", "message": {**message(""), "content": []}}]
    told.append({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    told += [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}} for piece in pieces]
    told.append({"type": "content_block_stop", "index": 0})
    told.append({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}})
    told.append({"type": "message_stop"})
    data = b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in told)
    stream = asked().read_stream()
    chunks = [chunk for frame in load("anthropic_messages").framing().feed(data) for chunk in stream.chunks(frame)]
    chunks += stream.rest()
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


@pytest.mark.parametrize("to", ["anthropic_messages", "bedrock_converse"])
def test_json_mode_was_lost_on_its_way_to_claude(to: str) -> None:
    body = sent(asked(to=to))
    assert TOLD in json.dumps(body["system"])
    assert "Be brief." in json.dumps(body["system"])


def test_gemini_and_ollama_have_it_themselves() -> None:
    assert TOLD not in json.dumps(sent(asked(to="gemini")))
    assert sent(asked(to="ollama"))["format"] == "json"


def test_a_caller_of_google_gets_it_too() -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "a city"}]}], "generationConfig": {"responseMimeType": "application/json"}}
    served = serve("gemini", "anthropic_messages", Target("anthropic", "claude-sonnet-4-5"), body, {}, stream=False, finish=dict)
    assert TOLD in json.dumps(sent(served)["system"])
    answer = served.read(HttpResponse(200, Headers(), json.dumps(message(f"```json\n{JSON}\n```")).encode()))
    assert answer["candidates"][0]["content"]["parts"] == [{"text": JSON}]


FENCED = [f"```json\n{JSON}\n```", f"```\n{JSON}\n```\n", f"\n ```JSON \n{JSON}```", f"```json\n{JSON}\n\n```  \n"]


@pytest.mark.parametrize("text", FENCED)
def test_json_comes_without_a_fence(text: str) -> None:
    assert whole(text) == JSON
    for size in (1, 2, 3, 7, 100):
        assert json.loads(streamed(text, size)) == json.loads(JSON)


UNFENCED = [JSON, "Here it is:\n```json\n{}\n```", "`a` is no fence", "``", ""]


@pytest.mark.parametrize("text", [*UNFENCED, "``` {} ```", "```json\n{}\n``` It is Oslo."])
def test_what_is_not_one_fence_stays_as_it_is(text: str) -> None:
    assert (whole(text) or "") == text


@pytest.mark.parametrize("text", UNFENCED)
def test_in_a_stream_it_stays_too(text: str) -> None:
    for size in (1, 2, 3, 7, 100):
        assert streamed(text, size) == text


def test_json_that_was_cut_within_its_fence_is_told_as_far_as_it_came() -> None:
    assert streamed('```json\n{"name": "Os', 4) == '{"name": "Os'


@pytest.mark.parametrize("field", ["schema", "value"])
def test_a_schema_beside_json_mode_was_lost(field: str) -> None:
    """As Together's and Fireworks' callers give it, and Hugging Face's."""
    body = sent(asked({"type": "json_object", field: SCHEMA}))
    assert body["output_config"]["format"]["schema"]["properties"] == SCHEMA["properties"]

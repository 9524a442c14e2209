"""Bodies and frames of Converse, for its tests."""

from __future__ import annotations

import base64
import json
from typing import Any

from headrace import types as hub
from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.bedrock_converse.eventstream import event
from headrace.wire import Headers, HttpResponse

CONVERSE = load("bedrock_converse")
OPENAI = load("openai_chat")
CLAUDE, NOVA = "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "us.amazon.nova-lite-v1:0"
HERE = Target("bedrock", CLAUDE, "https://bedrock-runtime.us-east-1.amazonaws.com", (("authorization", "Bearer secret"),))
FROM_OPENAI = Target(HERE.provider, HERE.model, HERE.base_url, HERE.headers, "openai_chat")
ASKED = hub.ChatRequest(model="m", messages=(), stream=True)
PNG = base64.b64encode(b"\x89PNG").decode()
WEATHER = {"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object", "properties": {}}}}}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def called(number: str = "1", **more: Any) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": f"tooluse_{number}", "name": "weather", "input": {"city": "Ulm"}, **more}}


def result(*content: Any, number: str = "1", **more: Any) -> dict[str, Any]:
    return {"toolResult": {"toolUseId": f"tooluse_{number}", "content": list(content), **more}}


def written(body: dict[str, Any], target: Target = HERE) -> dict[str, Any]:
    body_: dict[str, Any] = json.loads(CONVERSE.write_request(CONVERSE.read_request(body), target).body)
    return body_


def asked(body: dict[str, Any], model: str = CLAUDE) -> dict[str, Any]:
    """What a chat in OpenAI's words becomes."""
    request = OPENAI.read_request({"model": model, "messages": [{"role": "user", "content": "hi"}], **body})
    target = Target("bedrock", model, "https://example.com", (), "openai_chat")
    sent: dict[str, Any] = json.loads(CONVERSE.write_request(request, target).body)
    return sent


def answered(*blocks: Any, stop: str = "end_turn", **more: Any) -> dict[str, Any]:
    usage = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}
    return {"output": {"message": assistant(*blocks)}, "stopReason": stop, "usage": usage, "metrics": {"latencyMs": 9}, **more}


def read(body: Any, request: hub.ChatRequest = ASKED, target: Target = HERE) -> hub.ChatResponse:
    return CONVERSE.read_response(HttpResponse(200, Headers.of({"x-amzn-requestid": "r-1"}), json.dumps(body).encode()), request, target)


def events_of(data: bytes, request: hub.ChatRequest = ASKED, target: Target = HERE) -> list[hub.StreamEvent]:
    frames, reader = CONVERSE.framing(), CONVERSE.read_stream(request, target)
    events = [told for frame in frames.feed(data) for told in reader.feed(frame)]
    for frame in frames.close():
        events += reader.feed(frame, last=True)
    return events + reader.close()


def delta(index: int, **said: Any) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": said, "p": "abc"})


START, STOP = event("messageStart", {"role": "assistant"}), event("messageStop", {"stopReason": "end_turn"})

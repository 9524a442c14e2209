"""What must hold of one recorded exchange in Anthropic's dialect. Each check returns what is wrong, nothing when all is well."""

from __future__ import annotations

import base64
import copy
import json
import random
import re
from collections.abc import Iterator
from typing import Any

from conformance.checks import differences
from conformance.corpus import Exchange, everything
from headrace.dialects import load
from headrace.dialects.anthropic_messages import requests, responses
from headrace.dialects.base import Target
from headrace.dialects.collect import collect
from headrace.dialects.translate import translate
from headrace.errors import HeadraceError, Kind, TruncatedStream
from headrace.framing import EventStreamReader, SseReader
from headrace.types import (
    ChatRequest,
    ChatResponse,
    Finished,
    Other,
    StreamEvent,
    Text,
    Thinking,
    ThinkingDelta,
    ToolCallDelta,
    ToolResult,
    Usage,
    UsageReported,
)
from headrace.wire import Frame, Headers, HttpResponse

MESSAGES = load("anthropic_messages")
OPENAI = load("openai_chat")

ENDPOINTS = ("messages", "invoke", "invoke-stream", "rawPredict")
ASKED = ChatRequest(model="model", messages=(), stream=True, include_usage=True)


def exchanges() -> list[Exchange]:
    """Those whose bodies are Anthropic's: its own, and Claude's on Bedrock and Vertex."""
    return [it for it in everything() if it.family == "anthropic" and it.endpoint in ENDPOINTS]


def is_error(exchange: Exchange) -> bool:
    body = exchange.response_json
    return exchange.status >= 400 or (isinstance(body, dict) and "content" not in body and "error" in body)


def target(exchange: Exchange) -> Target:
    return Target(exchange.provider, "model")


def as_sent(value: Any) -> Any:
    """A written body as it stands on the wire."""
    return json.loads(json.dumps(value))


# ---- answers -----------------------------------------------------------------------------------------------------------------------


def answer(exchange: Exchange) -> list[str]:
    """A message is read and written again equal, and once more the same hub value."""
    hub = responses.read_response(exchange.response_json)
    written = as_sent(responses.write_response(hub))
    wrong = list(differences(exchange.response_json, written))
    return wrong + ([] if responses.read_response(written) == hub else ["what was written reads differently"])


def told(exchange: Exchange) -> list[str]:
    """The hub says what Anthropic said, read here by hand."""
    return list(differences(by_hand(exchange.response_json), said(responses.read_response(exchange.response_json))))


def by_hand(body: dict[str, Any]) -> dict[str, Any]:
    """A message as texts, thoughts, calls and counts, without any of headrace's code."""
    blocks, usage = body.get("content") or [], body.get("usage") or {}
    caches = [usage.get(f"cache_{name}_input_tokens") or 0 for name in ("read", "creation")]
    known = ("text", "thinking", "redacted_thinking", "tool_use")
    return {
        "id": body.get("id") or "",
        "text": "".join(block["text"] for block in blocks if block["type"] == "text"),
        "citations": [cited for block in blocks if block["type"] == "text" for cited in block.get("citations") or []],
        "thinking": [[block["thinking"], block.get("signature") or ""] for block in blocks if block["type"] == "thinking"],
        "hidden": [block["data"] for block in blocks if block["type"] == "redacted_thinking"],
        "calls": [[block["id"], block["name"], block["input"]] for block in blocks if block["type"] == "tool_use"],
        "others": [block for block in blocks if block["type"] not in known],
        "stop": body.get("stop_reason"),
        "usage": [(usage.get("input_tokens") or 0) + sum(caches), *caches, usage.get("output_tokens") or 0],
    }


def said(hub: ChatResponse) -> dict[str, Any]:
    """The same of a hub value."""
    [choice] = hub.choices
    parts = choice.message.content
    thoughts = [part for part in parts if isinstance(part, Thinking)]
    usage = hub.usage or Usage()
    return {
        "id": hub.id,
        "text": choice.message.text,
        "citations": [cited for part in parts if isinstance(part, Text) for cited in part.extra.get("citations") or []],
        "thinking": [[part.text, part.signature or ""] for part in thoughts if part.data is None],
        "hidden": [part.data for part in thoughts if part.data is not None],
        "calls": [[call.id, call.name, json.loads(call.arguments)] for call in choice.message.tool_calls],
        "others": [dict(part.extra) for part in parts if isinstance(part, Other)],
        "stop": responses.write_end(choice.finish, choice.native_finish, choice.extra)["stop_reason"],
        "usage": [usage.input, usage.cached, usage.cache_write, usage.output],
    }


def replayed(exchange: Exchange) -> list[str]:
    """Given out in OpenAI's words and sent back as the turn before, an answer keeps its text, thinking, calls and server tools."""
    asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    to = Target("anthropic", "m", "https://api.example.com", (), "openai_chat")
    reply = HttpResponse(200, Headers(), json.dumps(exchange.response_json).encode())
    answered = translate("anthropic_messages", to, "chat", asked, {}).read(reply)
    message = answered["choices"][0]["message"]
    wrong = [] if message["content"] is None or isinstance(message["content"], str) else ["the content is no string"]
    if not exchange.response_json["content"]:
        return wrong
    asked["messages"] += [message, {"role": "user", "content": "and then?"}]
    sent = json.loads(translate("anthropic_messages", to, "chat", asked, {}).write().body)
    before, after = by_hand(exchange.response_json), by_hand({**exchange.response_json, "content": blocks_of(sent["messages"][1])})
    return wrong + list(differences({**before, "citations": []}, after))


def blocks_of(turn: dict[str, Any]) -> list[dict[str, Any]]:
    content = turn["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


# ---- requests ----------------------------------------------------------------------------------------------------------------------


def request(exchange: Exchange) -> list[str]:
    """A request is read and written again with the same meaning; other words for one meaning are named in `same_words`."""
    body = named(exchange)
    hub = requests.read_request(body)
    written = as_sent(requests.write_body(hub, body["model"], foreign=False))
    wrong = list(differences(same_words(body), same_words(written)))
    return wrong + ([] if requests.read_request(written) == hub else ["what was written reads differently"])


def named(exchange: Exchange) -> dict[str, Any]:
    """Bedrock and Vertex name the model in the path."""
    return {"model": "named in the path", **exchange.request_json}


def same_words(body: dict[str, Any]) -> dict[str, Any]:
    """One of several ways to say the same: `stream: false` or nothing; a tool's type `custom` or none; a number of tokens or none."""
    body = copy.deepcopy(body)
    if body.get("stream") is False:
        del body["stream"]
    body.setdefault("max_tokens", requests.MAX_TOKENS)
    for tool in body.get("tools") or []:
        if tool.get("type") == "custom":
            del tool["type"]
    return body


def translated(exchange: Exchange) -> list[str]:
    """Said in OpenAI's words and back, a request keeps its texts, calls, results and thinking."""
    hub = requests.read_request(named(exchange))
    sent = OPENAI.write_request(hub, Target("openai", "m"))
    again = OPENAI.read_request(json.loads(sent.body))
    back = requests.read_request(as_sent(requests.write_body(again, "m", foreign=True)))
    return list(differences(meaning(hub), meaning(back)))


def meaning(hub: ChatRequest) -> dict[str, Any]:
    """What must survive another dialect. Blank texts may go: Anthropic refuses them."""
    calls = [part for message in hub.messages for part in message.tool_calls]
    return {
        "system": "".join(message.text for message in hub.messages if message.role in ("system", "developer")),
        "texts": [part.text for message in hub.messages if message.role == "user" for part in message.content if isinstance(part, Text)],
        "calls": [[call.id, call.name, json.loads(call.arguments)] for call in calls],
        "results": [
            [part.call_id, "".join(inner.text for inner in part.content if isinstance(inner, Text))]
            for message in hub.messages
            for part in message.content
            if isinstance(part, ToolResult)
        ],
        "signed": [part.signature or part.data for message in hub.messages for part in message.content if isinstance(part, Thinking)],
        "tools": [tool.name for tool in hub.tools if tool.type == "function"],
    }


# ---- streams -----------------------------------------------------------------------------------------------------------------------


def data_of(exchange: Exchange) -> bytes:
    """The stream as server-sent events; Bedrock's event stream holds the same events in base64.

    Some fixtures hold the replies to several requests, one behind the other: the first is taken.
    """
    if exchange.eventstream_b64 is None:
        text = exchange.sse_text or ""
        stop = re.search(r'"message_stop".*\s*', text)
        return (text if stop is None else text[: stop.end()]).encode()
    frames = EventStreamReader().feed(base64.b64decode(exchange.eventstream_b64))
    events = [json.loads(base64.b64decode(json.loads(frame.data)["bytes"])) for frame in frames]
    return b"".join([f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events])


def events_of(data: bytes, exchange: Exchange) -> list[StreamEvent]:
    """The events of a stream's bytes. Raises HeadraceError."""
    return list(each_event(data, exchange))


def each_event(data: bytes, exchange: Exchange) -> Iterator[StreamEvent]:
    frames, reader = SseReader(), MESSAGES.read_stream(ASKED, target(exchange))
    for frame in frames.feed(data):
        yield from reader.feed(frame)
    for frame in frames.close():
        yield from reader.feed(frame, last=True)
    yield from reader.close()


def stream(exchange: Exchange) -> list[str]:
    """The stream adds up to what a reader by hand finds, and again after being written anew."""
    data = data_of(exchange)
    events = events_of(data, exchange)
    whole = collect(events)
    wrong = list(differences(by_hand(added_up(data)), said(whole)))
    wrong += in_order(events)
    writer = MESSAGES.write_stream(ASKED)
    again = events_of(b"".join([writer.feed(event) for event in events]) + writer.close(), exchange)
    wrong += [] if again == events else [f"what was written anew reads differently: {unlike(events, again)}"]
    body = as_sent(responses.write_response(whole))
    return wrong + list(differences(by_hand(added_up(data)), by_hand(body)))


def in_chunks(exchange: Exchange) -> list[str]:
    """Handed on in OpenAI's chunks, the stream says the same."""
    data, words = data_of(exchange), {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    stream_ = translate("anthropic_messages", Target("anthropic", "m", "", (), "openai_chat"), "chat", words, {}).read_stream()
    chunks = [chunk for frame in SseReader().feed(data) for chunk in stream_.chunks(frame)] + list(stream_.rest())
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    calls: dict[int, list[str]] = {}
    for call in [call for delta in deltas for call in delta.get("tool_calls") or []]:
        known = calls.setdefault(call["index"], [call.get("id", ""), call["function"].get("name", ""), ""])
        known[2] += call["function"]["arguments"]
    expected, usage = by_hand(added_up(data)), stream_.usage or {}
    told_ = {
        "text": "".join(delta.get("content") or "" for delta in deltas),
        "citations": [cited for delta in deltas for cited in delta.get("citations") or []],
        "thinking": "".join(delta.get("reasoning_content") or "" for delta in deltas),
        "calls": [[*known[:2], json.loads(known[2])] for known in calls.values()],
        "others": [block for delta in deltas for block in delta.get("content_blocks") or []],
        "usage": [usage["prompt_tokens"], usage["completion_tokens"]],
    }
    expected["thinking"] = "".join(thought for thought, _ in expected["thinking"])
    expected["usage"] = [expected["usage"][0], expected["usage"][-1]]
    wrong = list(differences({name: expected[name] for name in told_}, told_))
    finishes = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
    return wrong + ([] if len(finishes) == 1 else [f"it finished {finishes}"])


def broken(exchange: Exchange) -> list[str]:
    """Broken by an error event after any frame, the stream raises that error, and tells nothing else than before."""
    data = data_of(exchange)
    whole = events_of(data, exchange)
    frames = data.split(b"\n\n")
    place = random.Random(exchange.id).randrange(1, max(2, data.count(b"\ndata:") - 1))
    failure = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    got: list[StreamEvent] = []
    try:
        for event in each_event(b"\n\n".join(frames[:place]) + b"\n\n" + failure, exchange):
            got.append(event)
    except HeadraceError as raised:
        wrong = [] if raised.failure.kind is Kind.OVERLOADED else [f"it raised {raised!r}"]
        return wrong + ([] if got == whole[: len(got)] else ["it told something else"])
    return ["it did not fail"]


def unlike(events: list[StreamEvent], again: list[StreamEvent]) -> str:
    return next((f"{one} {other}"[:300] for one, other in zip(events, again, strict=False) if one != other), "one is longer")


def in_order(events: list[StreamEvent]) -> list[str]:
    """Usage once and last, one finish, a call's id and name in its first delta only, a signature once for each block."""
    reported = [index for index, event in enumerate(events) if isinstance(event, UsageReported)]
    finished = [index for index, event in enumerate(events) if isinstance(event, Finished)]
    wrong = [] if reported == [len(events) - 1] else ["usage is not told once, at the end"]
    wrong += [] if finished == [len(events) - 2] else ["it does not finish once, before its usage"]
    named: set[int] = set()
    signed: set[int] = set()
    for event in events:
        if isinstance(event, ToolCallDelta):
            wrong += [] if bool(event.name) == bool(event.id) == (event.index not in named) else ["a call is not named once, first"]
            named.add(event.index)
        elif isinstance(event, ThinkingDelta) and event.signature:
            wrong += ["a block is signed twice"] if event.block in signed else []
            signed.add(event.block)
    return wrong


def added_up(data: bytes) -> dict[str, Any]:
    """A stream as the message it would have been, put together without any of headrace's code."""
    body: dict[str, Any] = {}
    pieces: dict[int, str] = {}
    for event in sent(data):
        match event["type"]:
            case "message_start":
                body = {**event["message"], "content": []}
                assert not event["message"].get("content"), "content before the first block"
            case "content_block_start":
                body["content"].append(dict(event["content_block"]))
            case "content_block_delta":
                add(body["content"][event["index"]], event["delta"], event["index"], pieces)
            case "message_delta":
                body |= {name: value for name, value in (event.get("delta") or {}).items() if value is not None}
                counts = (event.get("usage") or {}).items()
                body["usage"] = {**(body.get("usage") or {}), **{name: value for name, value in counts if value is not None}}
    for index, piece in pieces.items():
        if piece:
            body["content"][index]["input"] = json.loads(piece)
    return body


def sent(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.decode().splitlines():
        if line.startswith("data:"):
            yield json.loads(line[5:])


def add(block: dict[str, Any], delta: dict[str, Any], index: int, pieces: dict[int, str]) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        case "input_json_delta":
            pieces[index] = pieces.get(index, "") + delta["partial_json"]
        case "compaction_delta":
            block["content"] = (block.get("content") or "") + (delta.get("content") or "")
        case other:
            raise AssertionError(f"no one has added up a {other}")


def cuts(exchange: Exchange, count: int = 6) -> list[str]:
    """Cut anywhere before the end, the stream fails as cut off; no finish is invented, and no event differs from the whole's."""
    data = data_of(exchange)
    whole = events_of(data, exchange)
    end = data.rindex(b'message_stop"')  # what follows is only the last frame's end
    places = random.Random(exchange.id)  # the same cuts in every run
    return [wrong for _ in range(count) if (wrong := cut(exchange, data[: places.randrange(end)], whole))]


def cut(exchange: Exchange, data: bytes, whole: list[StreamEvent]) -> str:
    got: list[StreamEvent] = []
    try:
        for event in each_event(data, exchange):
            got.append(event)
    except TruncatedStream:
        if any(isinstance(event, Finished) for event in got):
            return f"cut at {len(data)} it finished"
        return "" if got == whole[: len(got)] else f"cut at {len(data)} it told something else"
    return f"cut at {len(data)} it looks whole"


# ---- errors ------------------------------------------------------------------------------------------------------------------------

KINDS = {
    400: Kind.BAD_REQUEST,
    401: Kind.AUTHENTICATION,
    403: Kind.PERMISSION,
    404: Kind.NOT_FOUND,
    413: Kind.BAD_REQUEST,
    429: Kind.RATE_LIMIT,
}


def error(exchange: Exchange) -> list[str]:
    """The kind of a refusal, from its status and what is known of its text; and the same when it comes inside a stream."""
    body = json.dumps(exchange.response_json).encode()
    response = HttpResponse(exchange.status, Headers.of(exchange.response_headers or {}), body)
    failure = MESSAGES.read_error(response, target(exchange))
    expected = Kind.CONTEXT_WINDOW if b"prompt is too long" in body else KINDS.get(exchange.status)
    wrong = [] if expected in (None, failure.kind) else [f"read as {failure.kind}"]
    try:
        MESSAGES.read_stream(ASKED, target(exchange)).feed(Frame(body, "error"))
    except HeadraceError as raised:
        return wrong + ([] if raised.failure.kind is failure.kind else [f"inside a stream it is {raised.failure.kind}"])
    return [*wrong, "inside a stream it is no error"]

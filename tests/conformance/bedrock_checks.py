"""What must hold of one recorded exchange with Converse. Each check returns what is wrong, nothing when all is well."""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from conformance.checks import differences
from conformance.corpus import Exchange, everything
from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.bedrock_converse import eventstream, requests, responses
from headrace.dialects.collect import collect
from headrace.dialects.translate import translate
from headrace.errors import HeadraceError, Kind, TruncatedStream
from headrace.framing import EventStreamReader
from headrace.types import (
    ChatRequest,
    ChatResponse,
    File,
    Finished,
    Image,
    Other,
    StreamEvent,
    Text,
    Thinking,
    ThinkingDelta,
    ToolCallDelta,
    ToolResult,
    UsageReported,
)
from headrace.wire import Headers, HttpResponse

CONVERSE = load("bedrock_converse")
OPENAI = load("openai_chat")
ASKED = ChatRequest(model="model", messages=(), stream=True, include_usage=True)


def exchanges() -> list[Exchange]:
    """Those in Converse's words: with itself, and with Nova by InvokeModel."""
    return [it for it in everything() if it.family == "converse" and it.endpoint.startswith(("converse", "invoke"))]


def refusals() -> list[Exchange]:
    return [it for it in everything() if it.provider == "bedrock" and it.status >= 400]


def model_of(exchange: Exchange) -> str:
    """The model stands in the path."""
    return unquote((exchange.path or "/model//").split("/model/")[-1].rpartition("/")[0])


def target(exchange: Exchange, source: str = "") -> Target:
    return Target("bedrock", model_of(exchange), "https://bedrock-runtime.us-east-1.amazonaws.com", (), source)


def as_sent(value: Any) -> Any:
    """A written body as it stands on the wire."""
    return json.loads(json.dumps(value))


# ---- answers -----------------------------------------------------------------------------------------------------------------------


def answer(exchange: Exchange) -> list[str]:
    """An answer is read and written again equal, and once more the same hub value."""
    hub = responses.read_response(exchange.response_json)
    written = as_sent(responses.write_response(hub))
    wrong = list(differences(exchange.response_json, written))
    return wrong + ([] if responses.read_response(written) == hub else ["what was written reads differently"])


def told(exchange: Exchange) -> list[str]:
    """The hub says what Converse said, read here by hand."""
    return list(differences(by_hand(exchange.response_json), said(responses.read_response(exchange.response_json))))


def by_hand(body: dict[str, Any]) -> dict[str, Any]:
    """An answer as texts, thoughts, calls and counts, without any of headrace's code."""
    blocks, usage = body["output"]["message"]["content"], body.get("usage") or {}
    caches = [usage.get(f"cache{name}InputTokens") or 0 for name in ("Read", "Write")]
    cited = [block["citationsContent"] for block in blocks if "citationsContent" in block]
    texts = [block["text"] if "text" in block else _cited_text(block) for block in blocks if "text" in block or "citationsContent" in block]
    thoughts = [block["reasoningContent"] for block in blocks if "reasoningContent" in block]
    uses = [block["toolUse"] for block in blocks if "toolUse" in block and block["toolUse"].get("type") != "server_tool_use"]
    return {
        "text": "".join(texts),
        "citations": [citation for block in cited for citation in block["citations"]],
        "thinking": [[it["reasoningText"]["text"], it["reasoningText"].get("signature")] for it in thoughts if "reasoningText" in it],
        "hidden": [it["redactedContent"] for it in thoughts if "redactedContent" in it],
        "calls": [[use["toolUseId"], use["name"], use["input"]] for use in uses],
        "others": [block for block in blocks if "toolResult" in block or block.get("toolUse", {}).get("type") == "server_tool_use"],
        "stop": body["stopReason"],
        "usage": [(usage.get("inputTokens") or 0) + sum(caches), *caches, usage.get("outputTokens") or 0],
    }


def _cited_text(block: dict[str, Any]) -> str:
    return "".join(piece["text"] for piece in block["citationsContent"].get("content") or [])


def said(hub: ChatResponse) -> dict[str, Any]:
    """The same of a hub value."""
    [choice] = hub.choices
    parts = choice.message.content
    thoughts = [part for part in parts if isinstance(part, Thinking)]
    usage = hub.usage
    return {
        "text": choice.message.text,
        "citations": [cited for part in parts if isinstance(part, Text) for cited in _citations(part)],
        "thinking": [[part.text, part.signature] for part in thoughts if part.data is None],
        "hidden": [base64.b64encode(part.data.encode()).decode() for part in thoughts if part.data is not None],
        "calls": [[call.id, call.name, json.loads(call.arguments or "{}")] for call in choice.message.tool_calls],
        "others": [dict(part.extra) for part in parts if isinstance(part, Other)],
        "stop": choice.extra.get("stopReason") or responses.finish_word(choice.finish, choice.native_finish),
        "usage": [0, 0, 0, 0] if usage is None else [usage.input, usage.cached, usage.cache_write, usage.output],
    }


def _citations(part: Text) -> list[Any]:
    whole = part.extra.get("citationsContent")
    found: list[Any] = (whole or {}).get("citations") or part.extra.get("citations") or []
    return found


def replayed(exchange: Exchange) -> list[str]:
    """Given out in OpenAI's words and sent back as the turn before, an answer keeps its text, its signed thinking and its calls."""
    asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    to = Target("bedrock", "m", "https://api.example.com", (), "openai_chat")
    reply = HttpResponse(200, Headers(), json.dumps(exchange.response_json).encode())
    message = translate("bedrock_converse", to, "chat", asked, {}).read(reply)["choices"][0]["message"]
    wrong = [] if message["content"] is None or isinstance(message["content"], str) else ["the content is no string"]
    before = by_hand(exchange.response_json)
    if not before["text"].strip() and not before["calls"]:
        return wrong
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "done"} for call in message.get("tool_calls") or []]
    asked["messages"] += [message, *results, {"role": "user", "content": "and then?"}]
    sent = json.loads(translate("bedrock_converse", to, "chat", asked, {}).write().body)
    after = by_hand({**exchange.response_json, "output": {"message": sent["messages"][1]}})
    lost = {"citations": [], "others": [], "thinking": [pair for pair in before["thinking"] if pair[1]]}
    if not before["text"].strip():
        lost["text"] = ""
    return wrong + list(differences({**before, **lost}, after))


# ---- requests ----------------------------------------------------------------------------------------------------------------------


def bodies(exchange: Exchange) -> Iterator[dict[str, Any]]:
    """The request; of a count of tokens the one whose tokens are counted."""
    body = exchange.request_json
    if isinstance(body, dict):
        inner = body.get("input", {}).get("converse") if exchange.endpoint == "count_tokens" else body
        if isinstance(inner, dict):
            yield inner


def request(exchange: Exchange) -> list[str]:
    """A request is read and written again with the same meaning, to the same address."""
    wrong = []
    for body in bodies(exchange):
        hub = CONVERSE.read_request(body)
        written = as_sent(requests.write_body(hub, target(exchange)))
        wrong += list(differences(same_words(body), written))
        wrong += [] if CONVERSE.read_request(written) == hub else ["what was written reads differently"]
    return wrong


def same_words(body: dict[str, Any]) -> dict[str, Any]:
    """Turns of one role behind each other, which Converse refuses, are one turn."""
    body = copy.deepcopy(body)
    turns: list[dict[str, Any]] = []
    for turn in body.get("messages") or []:
        if turns and turns[-1]["role"] == turn["role"]:
            turns[-1]["content"] += turn["content"]
        else:
            turns.append(turn)
    if "messages" in body:
        body["messages"] = turns
    return body


def address(exchange: Exchange) -> list[str]:
    """The path a request is sent to; some recorders wrote it decoded. InvokeModel is not asked in these words."""
    if exchange.endpoint.startswith("invoke"):
        return []
    stream = exchange.endpoint == "converse-stream"
    asked = ChatRequest(model="", messages=(), stream=stream)
    sent = CONVERSE.write_request(asked, target(exchange)).url.partition(".amazonaws.com")[2]
    known = exchange.path or ""
    return [] if sent == known or unquote(sent) == known else [f"{sent} instead of {known}"]


def translated(exchange: Exchange) -> list[str]:
    """Said in OpenAI's words and back, a request keeps its texts, calls, results and thinking."""
    wrong = []
    for body in bodies(exchange):
        if not body.get("messages") or "video" in json.dumps(body):
            continue
        hub = CONVERSE.read_request(body)
        sent = OPENAI.write_request(hub, Target("openai", "m"))
        again = OPENAI.read_request(json.loads(sent.body))
        back = CONVERSE.read_request(as_sent(requests.write_body(again, target(exchange, "openai_chat"))))
        wrong += list(differences(meaning(hub), meaning(back)))
    return wrong


def meaning(hub: ChatRequest) -> dict[str, Any]:
    """What must survive another dialect. Blank texts may go: Converse refuses them."""
    parts = [part for message in hub.messages for part in message.content]
    calls = [part for message in hub.messages for part in message.tool_calls]
    return {
        "system": "".join(message.text for message in hub.messages if message.role == "system"),
        "texts": [
            part.text
            for message in hub.messages
            if message.role in ("user", "assistant")
            for part in message.content
            if isinstance(part, Text) and part.text.strip()
        ],
        "cached": sum("cache_control" in part.extra for part in parts),
        "calls": [[call.id, call.name, json.loads(call.arguments or "{}")] for call in calls],
        "results": [
            [part.call_id, "".join(inner.text for inner in part.content if isinstance(inner, Text))]
            for part in parts
            if isinstance(part, ToolResult)
        ],
        "media": [part.url for part in parts if isinstance(part, Image | File)],
        "signed": [part.signature or part.data for part in parts if isinstance(part, Thinking) and (part.signature or part.data)],
        "tools": [tool.name for tool in hub.tools if tool.type == "function"],
        "numbers": [hub.max_tokens, hub.temperature, hub.top_p, list(hub.stop)],
    }


# ---- streams -----------------------------------------------------------------------------------------------------------------------


def data_of(exchange: Exchange) -> bytes:
    """The stream's bytes; fixtures that hold its events as lines of JSON, and those of InvokeModel, are framed as Converse would."""
    if exchange.eventstream_b64 is None:
        lines = [json.loads(line) for line in (exchange.response_text or "").splitlines() if line.strip()]
    elif exchange.endpoint == "invoke-stream":
        frames = EventStreamReader().feed(base64.b64decode(exchange.eventstream_b64))
        lines = [json.loads(base64.b64decode(json.loads(frame.data)["bytes"])) for frame in frames]
    else:
        return base64.b64decode(exchange.eventstream_b64)
    known = [(name, payload) for line in lines for name, payload in line.items() if not name.startswith("amazon-bedrock")]
    return b"".join([eventstream.event(name, payload) for name, payload in known])


def events_of(data: bytes) -> list[StreamEvent]:
    """The events of a stream's bytes. Raises HeadraceError."""
    return list(each_event(data))


def each_event(data: bytes) -> Iterator[StreamEvent]:
    frames, reader = CONVERSE.framing(), CONVERSE.read_stream(ASKED, Target("bedrock", "model"))
    for frame in frames.feed(data):
        yield from reader.feed(frame)
    for frame in frames.close():
        yield from reader.feed(frame, last=True)
    yield from reader.close()


def stream(exchange: Exchange) -> list[str]:
    """The stream adds up to what a reader by hand finds, and again after being written anew."""
    data = data_of(exchange)
    events = events_of(data)
    whole = collect(events)
    by_adding = by_hand(added_up(data))
    wrong = list(differences(by_adding, said(whole)))
    wrong += in_order(events)
    writer = CONVERSE.write_stream(ASKED)
    again = events_of(b"".join([writer.feed(event) for event in events]) + writer.close())
    wrong += [] if collect(again) == whole else ["what was written anew adds up differently"]
    body = as_sent(responses.write_response(whole))
    return wrong + list(differences(by_adding, by_hand(body)))


def in_order(events: list[StreamEvent]) -> list[str]:
    """Usage at most once and last, one finish, a call's id and name in its first delta only, a signature once for each block."""
    reported = [index for index, event in enumerate(events) if isinstance(event, UsageReported)]
    finished = [index for index, event in enumerate(events) if isinstance(event, Finished)]
    wrong = [] if reported in ([], [len(events) - 1]) else ["usage is not told once, at the end"]
    wrong += [] if len(finished) == 1 and (not reported or finished < reported) else ["it does not finish once, before its usage"]
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
    """A stream as the answer it would have been, put together without any of headrace's dialect."""
    blocks: dict[int, dict[str, Any]] = {}
    body: dict[str, Any] = {"usage": {}}
    for frame in EventStreamReader().feed(data):
        payload = json.loads(frame.data)
        index = payload.get("contentBlockIndex")
        match frame.event:
            case "contentBlockStart":
                blocks[index] = {name: {**value, "input": ""} for name, value in payload["start"].items()}
            case "contentBlockDelta":
                add(blocks.setdefault(index, {}), payload["delta"])
            case "messageStop":
                body["stopReason"] = payload["stopReason"]
            case "metadata":
                body["usage"] = payload["usage"]
    content = [block for index in sorted(blocks) for block in finished(blocks[index])]
    return {**body, "output": {"message": {"role": "assistant", "content": content}}}


def add(block: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "text":
            block["text"] = block.get("text", "") + value
        elif name == "toolUse":
            block["toolUse"]["input"] += value["input"]
        elif name == "citation":
            block.setdefault("citations", []).append(value)
        else:
            pieces = block.setdefault("reasoningContent", {})
            for field, piece in value.items():
                pieces[field] = pieces.get(field, "") + piece


def finished(block: dict[str, Any]) -> list[dict[str, Any]]:
    if "toolUse" in block:
        text = block["toolUse"]["input"]
        return [{"toolUse": {**block["toolUse"], "input": json.loads(text) if text else {}}}]
    if "citations" in block:
        return [{"citationsContent": {"content": [{"text": block.get("text", "")}], "citations": block["citations"]}}]
    thought = block.get("reasoningContent")
    if thought is None:
        return [block] if block else []
    hidden = [{"reasoningContent": {"redactedContent": thought.pop("redactedContent")}}] if "redactedContent" in thought else []
    return [{"reasoningContent": {"reasoningText": {"text": "", **thought}}}, *hidden] if thought else hidden


def cuts(exchange: Exchange, count: int = 6) -> list[str]:
    """Cut anywhere before its messageStop is whole, the stream fails as cut off, and what came before is what the whole told."""
    data = data_of(exchange)
    whole = events_of(data)
    reader = EventStreamReader()
    end = next(place for place in range(len(data)) if any(frame.event == "messageStop" for frame in reader.feed(data[place : place + 1])))
    places = random.Random(exchange.id)  # the same cuts in every run
    return [wrong for _ in range(count) if (wrong := cut(data[: places.randrange(end)], whole))]


def cut(data: bytes, whole: list[StreamEvent]) -> str:
    got: list[StreamEvent] = []
    try:
        for event in each_event(data):
            got.append(event)
    except TruncatedStream:
        if any(isinstance(event, Finished) for event in got):
            return f"cut at {len(data)} it finished"
        return "" if got == whole[: len(got)] else f"cut at {len(data)} it told something else"
    return f"cut at {len(data)} it looks whole"


# ---- errors ------------------------------------------------------------------------------------------------------------------------

BY_STATUS = {
    400: Kind.BAD_REQUEST,
    401: Kind.AUTHENTICATION,
    403: Kind.PERMISSION,
    404: Kind.NOT_FOUND,
    408: Kind.TIMEOUT,
    424: Kind.SERVER,
    429: Kind.RATE_LIMIT,
    500: Kind.SERVER,
    503: Kind.OVERLOADED,
}
BY_WORDS = {
    "Input Tokens Exceeded": Kind.CONTEXT_WINDOW,
    "Input is too long": Kind.CONTEXT_WINDOW,
    "prompt is too long": Kind.CONTEXT_WINDOW,
    "model identifier is invalid": Kind.NOT_FOUND,
    "security token included in the request": Kind.AUTHENTICATION,
    "signature we calculated": Kind.AUTHENTICATION,
    "Authentication failed": Kind.AUTHENTICATION,
}
"""What stands somewhere in the body, over the status."""


def error(exchange: Exchange) -> list[str]:
    """A refusal is the right kind and says what Bedrock said."""
    raw = json.dumps(exchange.response_json).encode() if exchange.response_json is not None else (exchange.response_text or "").encode()
    response = HttpResponse(exchange.status, Headers.of(exchange.response_headers or {}), raw)
    failure = CONVERSE.read_error(response, target(exchange))
    expected = next((kind for words, kind in BY_WORDS.items() if words in raw.decode()), BY_STATUS[exchange.status])
    wrong = [] if failure.kind is expected else [f"{failure.kind} instead of {expected}: {failure.message[:80]}"]
    message = exchange.response_json.get("message") if isinstance(exchange.response_json, dict) else None
    wrong += [] if message is None or message in failure.message else [f"{failure.message!r} lost {message!r}"]
    named = (exchange.response_headers or {}).get("x-amzn-errortype", "").partition(":")[0]
    return wrong + ([] if not named or failure.code == named else [f"the code is {failure.code!r}, not {named!r}"])


def failed_in_mid_stream(exchange: Exchange) -> list[str]:
    """An exception among the messages is raised as its own kind."""
    try:
        events_of(data_of(exchange))
    except TruncatedStream:
        return ["it was taken for a cut"]
    except HeadraceError:
        return []
    return ["it went unnoticed"]

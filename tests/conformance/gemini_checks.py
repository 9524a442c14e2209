"""What must hold of one recorded exchange in Gemini's dialect. Each check returns what is wrong, nothing when all is well."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from typing import Any

from conformance.checks import differences
from conformance.corpus import Exchange, everything
from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.call_ids import made_up
from headrace.dialects.collect import collect
from headrace.dialects.gemini import requests, responses
from headrace.dialects.translate import translate
from headrace.errors import HeadraceError, Kind, TruncatedStream
from headrace.types import (
    Audio,
    ChatRequest,
    ChatResponse,
    EmbeddingRequest,
    File,
    Finished,
    Image,
    Other,
    Part,
    StreamEvent,
    Text,
    Thinking,
    ToolCallDelta,
    ToolResult,
    UsageReported,
)
from headrace.wire import Headers, HttpResponse

GEMINI: Any = load("gemini")
OPENAI = load("openai_chat")

ENDPOINTS = ("generateContent", "streamGenerateContent")
ASKED = ChatRequest(model="model", messages=(), stream=True, include_usage=True)


def exchanges() -> list[Exchange]:
    """Those whose bodies are Gemini's: its own, and Vertex AI's."""
    return [it for it in everything() if it.endpoint in ENDPOINTS]


def is_error(exchange: Exchange) -> bool:
    body = exchange.response_json
    body = body[0] if isinstance(body, list) and body else body
    return exchange.status >= 400 or (isinstance(body, dict) and "error" in body)


def target(exchange: Exchange) -> Target:
    return Target(exchange.provider, "model")


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
    """The hub says what Gemini said, read here by hand."""
    return list(differences(by_hand(exchange.response_json), said(responses.read_response(exchange.response_json))))


def by_hand(body: dict[str, Any]) -> dict[str, Any]:
    """An answer as texts, thoughts, calls and counts, without any of headrace's code."""
    usage = body.get("usageMetadata") or {}
    count = {name: usage.get(f"{name}TokenCount") or 0 for name in ("prompt", "toolUsePrompt", "candidates", "thoughts", "cachedContent")}
    return {
        "id": body.get("responseId", ""),
        "candidates": [of_candidate(candidate) for candidate in body.get("candidates") or []],
        "usage": [count["prompt"] + count["toolUsePrompt"], count["cachedContent"], count["candidates"] + count["thoughts"]],
    }


def of_candidate(candidate: dict[str, Any]) -> dict[str, Any]:
    parts = (candidate.get("content") or {}).get("parts") or []
    texts = [part for part in parts if "text" in part]
    calls = [[part["functionCall"], part.get("thoughtSignature")] for part in parts if "functionCall" in part]
    return {
        "text": "".join(part["text"] for part in texts if not part.get("thought")),
        "signed": [part["thoughtSignature"] for part in texts if part.get("thoughtSignature")],
        "thinking": "".join(part["text"] for part in texts if part.get("thought")),
        "calls": [[call["name"], call.get("args") or {}, call.get("id"), signature] for call, signature in calls],
        "others": [part for part in parts if "text" not in part and "functionCall" not in part],
        "end": candidate.get("finishReason"),
    }


def said(hub: ChatResponse) -> dict[str, Any]:
    """The same of a hub value."""
    usage = hub.usage
    return {
        "id": hub.id,
        "candidates": [of_choice(choice) for choice in hub.choices if "candidates" not in choice.extra],
        "usage": [0, 0, 0] if usage is None else [usage.input, usage.cached, usage.output],
    }


def of_choice(choice: Any) -> dict[str, Any]:
    parts = choice.message.content
    calls = choice.message.tool_calls
    written = responses.write_choice(choice)
    return {
        "text": choice.message.text,
        "signed": [part.signature for part in parts if isinstance(part, Text | Thinking) and part.signature],
        "thinking": choice.message.thinking,
        "calls": [[call.name, json.loads(call.arguments), None if made_up(call.id) else call.id, call.signature] for call in calls],
        "others": [dict(part.extra) for part in parts if isinstance(part, Other)],
        "end": written.get("finishReason"),
    }


def called(exchange: Exchange) -> list[str]:
    """Calls end in `tool_calls`, whatever word came; each has an id of its own."""
    hub = responses.read_response(exchange.response_json)
    wrong = []
    for choice in hub.choices:
        ids = [call.id for call in choice.message.tool_calls]
        wrong += [] if (choice.finish == "tool_calls") == bool(ids) else [f"it ends in {choice.finish}"]
        wrong += [] if all(ids) and len(set(ids)) == len(ids) else ["calls share an id"]
    return wrong


def replayed(exchange: Exchange) -> list[str]:
    """Given out in OpenAI's words and sent back as the turn before, an answer keeps its text, signatures, calls and blocks."""
    asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    to = Target("gemini", "gemini-2.5-flash", "https://api.example.com", (), "openai_chat")
    reply = HttpResponse(200, Headers(), json.dumps(exchange.response_json).encode())
    answered = translate("gemini", to, "chat", asked, {}).read(reply)
    json.dumps(answered)
    if not answered["choices"]:
        return ["there is no choice"]
    before = [of_candidate(candidate) for candidate in exchange.response_json.get("candidates") or []]
    message = answered["choices"][0]["message"]
    wrong = [] if message["content"] is None or isinstance(message["content"], str) else ["the content is no string"]
    if not before or not any(before[0].values()) or list(before[0].values())[:5] == ["", [], "", [], []]:
        return wrong
    asked["messages"] += [message, {"role": "user", "content": "and then?"}]
    sent = json.loads(translate("gemini", to, "chat", asked, {}).write().body)
    after = of_candidate({"content": sent["contents"][1]})
    one_signature = before[0] | {"thinking": "", "end": None, "signed": before[0]["signed"][:1]}
    return wrong + list(differences(one_signature, after | {"thinking": ""}))


# ---- requests ----------------------------------------------------------------------------------------------------------------------


def request(exchange: Exchange) -> list[str]:
    """A request is read and written again with the same meaning; other words for one meaning are named in `same_words`."""
    hub = requests.read_request(exchange.request_json)
    written = as_sent(requests.write_body(hub, "model", foreign=False))
    wrong = list(differences(same_words(exchange.request_json), same_words(written)))
    return wrong + ([] if requests.read_request(written) == hub else ["what was written reads differently"])


OPAQUE = {
    "args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema", "labels", "customMetadata",
}  # fmt: skip


def same_words(body: Any) -> Any:
    """One of several ways to say the same: `snake_case` or `camelCase`; one part or a list of one, lists of lists; arguments or `{}`."""
    made = camel(body)
    contents = made["contents"] if isinstance(made["contents"], list) else [made["contents"]]
    for content in [*contents, *([made["systemInstruction"]] if isinstance(made.get("systemInstruction"), dict) else [])]:
        if "parts" in content:
            content["parts"] = flat(content["parts"])
    return {**made, "contents": contents}


def flat(parts: Any) -> list[Any]:
    return [inner for part in parts for inner in flat(part)] if isinstance(parts, list) else [parts]


def camel(value: Any) -> Any:
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {re.sub(r"_([a-z])", lambda found: found[1].upper(), name): inner for name, inner in value.items()}
    return {name: inner if name in OPAQUE else camel(inner) for name, inner in named.items()}


def translated(exchange: Exchange) -> list[str]:
    """Said in OpenAI's words and back, a request keeps its texts, calls, results, signatures and files."""
    hub = requests.read_request(exchange.request_json)
    if any(isinstance(part, Other) for message in hub.messages for part in message.content):
        return []  # parts that only Gemini has cannot be said in a request to OpenAI
    sent = OPENAI.write_request(hub, Target("openai", "m"))
    again = OPENAI.read_request(json.loads(sent.body))
    back = requests.read_request(as_sent(requests.write_body(again, "gemini-3-flash", foreign=True)))
    return list(differences(meaning(hub), meaning(back)))


def meaning(hub: ChatRequest) -> dict[str, Any]:
    """What must survive another dialect."""
    calls = [part for message in hub.messages for part in message.tool_calls]
    parts = [part for message in hub.messages for part in message.content]
    return {
        "system": "".join(message.text for message in hub.messages if message.role == "system"),
        "texts": [part.text for part in parts if isinstance(part, Text) and part.text],
        "calls": [[call.name, json.loads(call.arguments), call.signature or STAND_IN] for call in calls][:1],
        "others": [[call.name, json.loads(call.arguments), call.signature] for call in calls if call.signature not in (None, STAND_IN)],
        "results": [[part.name, result_text(part)] for part in parts if isinstance(part, ToolResult)],
        "media": sorted(filter(None, map(medium, parts))),
        "tools": [[tool.name, tool.parameters] for tool in hub.tools if tool.type == "function"],
        "numbers": [hub.temperature, hub.top_p, hub.max_tokens, hub.seed, hub.stop],
    }


STAND_IN = "skip_thought_signature_validator"


def result_text(part: ToolResult) -> str:
    return "".join(inner.text for inner in part.content if isinstance(inner, Text))


def medium(part: Part) -> str:
    match part:
        case Image() | File():
            return part.url[:80]
        case Audio():
            return part.data[:80]
    return ""


# ---- streams -----------------------------------------------------------------------------------------------------------------------


def data_of(exchange: Exchange) -> bytes:
    """The stream's bytes: server-sent events, or one JSON array."""
    if exchange.sse_text is not None:
        text: str = exchange.sse_text
        return text.encode()
    return json.dumps(exchange.response_json, indent=1).encode()


def chunks_of(exchange: Exchange) -> list[dict[str, Any]]:
    if exchange.sse_text is None:
        return list(exchange.response_json)
    return [json.loads(line[5:]) for line in exchange.sse_text.splitlines() if line.startswith("data:")]


def each_event(data: bytes, exchange: Exchange, size: int = 1 << 20) -> Iterator[StreamEvent]:
    frames, reader = GEMINI.framing(), GEMINI.read_stream(ASKED, target(exchange))
    for at in range(0, len(data), size):
        for frame in frames.feed(data[at : at + size]):
            yield from reader.feed(frame)
    for frame in frames.close():
        yield from reader.feed(frame, last=True)
    yield from reader.close()


def stream(exchange: Exchange) -> list[str]:
    """The stream adds up to what a reader by hand finds, however it is cut into pieces, and again after being written anew."""
    data = data_of(exchange)
    events = list(each_event(data, exchange))
    expected = by_hand(added_up(chunks_of(exchange)))
    wrong = list(differences(expected, said(collect(events)))) + in_order(events)
    wrong += [] if list(each_event(data, exchange, 7)) == events else ["in small pieces it reads differently"]
    writer = GEMINI.write_stream(ASKED)
    again = list(each_event(b"".join([writer.feed(event) for event in events]) + writer.close(), exchange))
    wrong += [] if collect(again) == collect(events) else [f"what was written anew reads differently: {unlike(events, again)}"]
    body = as_sent(responses.write_response(collect(events)))
    return wrong + list(differences(expected, by_hand(body)))


def unlike(events: list[StreamEvent], again: list[StreamEvent]) -> str:
    return next((f"{one} {other}"[:300] for one, other in zip(events, again, strict=False) if one != other), "one is longer")


def in_order(events: list[StreamEvent]) -> list[str]:
    """Usage once and last, one finish for a choice, a call's id and name in its first delta only."""
    reported = [index for index, event in enumerate(events) if isinstance(event, UsageReported)]
    finished = [event.choice for event in events if isinstance(event, Finished)]
    wrong = [] if reported == [len(events) - 1] else ["usage is not told once, at the end"]
    wrong += [] if finished and len(finished) == len(set(finished)) else ["it does not finish once"]
    named: set[int] = set()
    for event in events:
        if isinstance(event, ToolCallDelta):
            wrong += [] if bool(event.name) == bool(event.id) == (event.index not in named) else ["a call is not named once, first"]
            named.add(event.index)
    return wrong


def added_up(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """A stream as the answer it would have been, put together without any of headrace's code."""
    body: dict[str, Any] = {}
    candidates: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        usage = {**body.get("usageMetadata", {}), **chunk.get("usageMetadata", {})}
        body |= {**chunk, "usageMetadata": usage}
        for candidate in chunk.get("candidates") or []:
            known = candidates.setdefault(candidate.get("index", 0), {"content": {"parts": []}})
            for part in (candidate.get("content") or {}).get("parts") or []:
                add(known["content"]["parts"], part)
            known |= {name: value for name, value in candidate.items() if name != "content"}
    return {**body, "candidates": list(candidates.values())}


def add(parts: list[dict[str, Any]], part: dict[str, Any]) -> None:
    """A part, or a piece of the call before it: Vertex AI can send arguments in pieces, each with its path."""
    call = part.get("functionCall")
    if call is None or ("name" in call and not call.get("willContinue")):
        parts.append(part)
    elif "name" in call:
        parts.append({**part, "functionCall": {"name": call["name"], "args": {}}})
    for piece in (call or {}).get("partialArgs") or []:
        steps = piece["jsonPath"].removeprefix("$.").replace("[", ".[").split(".")
        at: Any = parts[-1]["functionCall"]["args"]
        for step, following in itertools.pairwise(steps):
            at = at_step(at, step, [] if following.startswith("[") else {})
        value = piece.get("stringValue", piece.get("numberValue", piece.get("boolValue")))
        at[steps[-1]] = at.get(steps[-1], "") + value if isinstance(value, str) else value


def at_step(at: Any, step: str, fresh: Any) -> Any:
    if not step.startswith("["):
        return at.setdefault(step, fresh)
    place = int(step[1:-1])
    if place == len(at):
        at.append(fresh)
    return at[place]


def cuts(exchange: Exchange, count: int = 6) -> list[str]:
    """Cut anywhere before the end, the stream fails as cut off; no finish is invented, and no event differs from the whole's."""
    data = data_of(exchange)
    whole = list(each_event(data, exchange))
    end = data.rindex(b"finishReason") if b"finishReason" in data else data.rindex(b"blockReason")
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


# ---- errors and embeddings ---------------------------------------------------------------------------------------------------------

KINDS = {400: Kind.BAD_REQUEST, 401: Kind.AUTHENTICATION, 403: Kind.PERMISSION, 404: Kind.NOT_FOUND, 429: Kind.RATE_LIMIT}


def error(exchange: Exchange) -> list[str]:
    """The kind of a refusal, from its status and reason; and the same when it comes inside a stream."""
    body = (exchange.sse_text or json.dumps(exchange.response_json)).encode()
    response = HttpResponse(exchange.status, Headers.of(exchange.response_headers or {}), body)
    failure = GEMINI.read_error(response, target(exchange))
    expected = Kind.AUTHENTICATION if b"API_KEY_INVALID" in body else KINDS.get(exchange.status)
    expected = Kind.CONTEXT_WINDOW if b"exceeds the maximum number of tokens" in body else expected
    wrong = [] if expected in (None, failure.kind) else [f"read as {failure.kind}"]
    try:
        list(each_event(body, exchange))
    except HeadraceError as raised:
        return wrong + ([] if raised.failure.kind is failure.kind else [f"inside a stream it is {raised.failure.kind}"])
    return [*wrong, "inside a stream it is no error"]


def embedded(exchange: Exchange) -> list[str]:
    """An embedding's reply is read whole; a request for texts is written as it was recorded."""
    body, asked = exchange.response_json, exchange.request_json
    reply = HttpResponse(200, Headers(), json.dumps(body).encode())
    wanted = EmbeddingRequest(model="m", input="x")
    read = GEMINI.read_embedding_response(reply, wanted, target(exchange))
    vectors = [item["values"] for item in body.get("embeddings") or [body["embedding"]]]
    wrong = list(differences(vectors, [list(item.values) for item in read.data]))
    inputs = [item["content"]["parts"] for item in asked.get("requests", [asked])]
    if any(len(parts) != 1 or "text" not in parts[0] for parts in inputs):
        return wrong
    first = asked.get("requests", [asked])[0]
    texts: Any = [parts[0]["text"] for parts in inputs]
    model = (exchange.path or "").split("/models/")[1].split(":")[0]
    extra = {name: value for name, value in first.items() if name not in ("model", "content", "outputDimensionality")}
    ask = EmbeddingRequest(
        model=model, input=texts if "requests" in asked else texts[0], dimensions=first.get("outputDimensionality"), extra=extra
    )  # fmt: skip
    written = GEMINI.write_embedding_request(ask, Target("gemini", model, "https://generativelanguage.googleapis.com/v1beta"))
    wrong += [] if written.url.endswith(exchange.path or "") else [f"it goes to {written.url}"]
    return wrong + list(differences(asked, json.loads(written.body)))

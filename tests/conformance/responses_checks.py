"""What must hold of one recorded exchange in OpenAI's Responses. Each check returns what is wrong, nothing when all is well."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

from msgspec import structs
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, ValidationError

from conformance.checks import differences
from conformance.corpus import Exchange, everything
from headrace.dialects import load
from headrace.dialects.answers import answer_in_common
from headrace.dialects.base import Target
from headrace.dialects.collect import collect
from headrace.dialects.fields import OWN
from headrace.dialects.openai_responses import requests, responses
from headrace.dialects.translate import in_one_text, translate
from headrace.errors import BadRequestError, HeadraceError, Kind, TruncatedStream
from headrace.framing import SseReader
from headrace.types import (
    ChatRequest,
    ChatResponse,
    Finished,
    Other,
    StreamEvent,
    Text,
    Thinking,
    ToolCallDelta,
    ToolResult,
    Usage,
    UsageReported,
)
from headrace.wire import Frame, Headers, HttpResponse

RESPONSES = load("openai_responses")
ASKED = ChatRequest(model="model", messages=(), stream=True, include_usage=True)

EXCEPTIONS = {
    "b15034931dd4bba3": "the recorded answer is one of Chat Completions",
    "75b82d3e46457628": "a fixture whose deltas were shortened by hand: they do not add up to their own end",
}
"""Recordings that are not what this dialect says, under 1 in 100."""

UNTYPED = {"69715a6b59150c6a": "a fixture without fields that the official client wants and every true response has"}

ENDS = ("response.completed", "response.incomplete")


def exchanges() -> list[Exchange]:
    return [it for it in everything() if it.family == "openai-responses" and it.endpoint == "responses"]


def target(exchange: Exchange) -> Target:
    return Target(exchange.provider, "model")


def as_sent(value: Any) -> Any:
    """A written body as it stands on the wire."""
    return json.loads(json.dumps(value))


def read(body: dict[str, Any]) -> ChatResponse:
    return responses.read_response(body, provider="p", model="m")


# ---- answers -----------------------------------------------------------------------------------------------------------------------


def answer(exchange: Exchange) -> list[str]:
    """A response is read and written again equal, and once more the same hub value."""
    hub = read(exchange.response_json)
    written = as_sent(responses.write_response(hub))
    wrong = list(differences(exchange.response_json, written))
    return wrong + ([] if read(written) == hub else ["what was written reads differently"])


def told(exchange: Exchange) -> list[str]:
    """The hub says what the response said, read here by hand."""
    return list(differences(by_hand(exchange.response_json), said(read(exchange.response_json))))


def in_parts(content: Any) -> list[Any]:
    return [{"type": "output_text", "text": content}] if isinstance(content, str) else content


def by_hand(body: dict[str, Any]) -> dict[str, Any]:
    """A response as texts, thoughts, calls and counts, without any of headrace's code."""
    output, usage = body.get("output") or [], body.get("usage") or {}
    messages = [item for item in output if item["type"] == "message"]
    parts = [part for item in messages for part in in_parts(item["content"])]
    thoughts = [item for item in output if item["type"] == "reasoning"]
    before, after = usage.get("input_tokens_details") or {}, usage.get("output_tokens_details") or {}
    known = ("message", "reasoning", "function_call", "custom_tool_call")
    calls = [item for item in output if item["type"] in known[2:]]
    return {
        "id": body["id"],
        "text": "".join(part["text"] for part in parts if part["type"] == "output_text"),
        "refusal": "".join(part["refusal"] for part in parts if part["type"] == "refusal"),
        "cited": sum(len(part.get("annotations") or []) for part in parts),
        "thinking": [_thought(item) for item in thoughts],
        "hidden": [item.get("encrypted_content") for item in thoughts],
        "calls": [[item["call_id"], item["name"], item.get("arguments", item.get("input"))] for item in calls],
        "others": [item for item in output if item["type"] not in known],
        "usage": [
            usage.get("input_tokens") or 0, before.get("cached_tokens") or 0,
            usage.get("output_tokens") or 0, after.get("reasoning_tokens") or 0,
        ],
    }  # fmt: skip


def _thought(item: dict[str, Any]) -> str:
    return "\n\n".join(part["text"] for part in item.get("content") or item.get("summary") or [])


def said(hub: ChatResponse) -> dict[str, Any]:
    """The same of a hub value."""
    [choice] = hub.choices
    parts = choice.message.content
    thoughts = [part for part in parts if isinstance(part, Thinking)]
    usage = hub.usage or Usage()
    return {
        "id": hub.id,
        "text": choice.message.text,
        "refusal": "".join(part.text for part in parts if type(part).__name__ == "Refusal"),
        "cited": sum(len(part.extra.get("annotations", [])) for part in parts if isinstance(part, Text)),
        "thinking": [part.text for part in thoughts],
        "hidden": [part.data for part in thoughts],
        "calls": [[call.id, call.name, call.arguments] for call in choice.message.tool_calls],
        "others": [dict(part.extra) for part in parts if isinstance(part, Other)],
        "usage": [usage.input, usage.cached, usage.output, usage.reasoning],
    }


def replayed(exchange: Exchange) -> list[str]:
    """Given out in the words of Chat Completions and sent back as the turn before, an answer keeps texts, reasoning, calls and tools."""
    asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    to = Target("openai", "m", "https://api.example.com", (), "openai_chat")
    reply = HttpResponse(200, Headers(), json.dumps(exchange.response_json).encode())
    message = translate("openai_responses", to, "chat", asked, {}).read(reply)["choices"][0]["message"]
    wrong = [] if message["content"] is None or isinstance(message["content"], str) else ["the content is no string"]
    wrong += ["words of the one dialect in the other"] if OWN in json.dumps(message) else []
    if not exchange.response_json["output"]:
        return wrong
    asked["messages"] += [message, {"role": "user", "content": "and then?"}]
    sent = json.loads(translate("openai_responses", to, "chat", asked, {}).write().body)
    items = [item for item in sent["input"] if item.get("role") != "user"]
    before, after = by_hand(exchange.response_json), by_hand({**exchange.response_json, "output": items})
    before["hidden"] = [data for data in before["hidden"] if data]
    after["hidden"] = [data for data in after["hidden"] if data]
    for told in (before, after):  # a turn without its id is sent back as a text, what it refused as well
        told["text"] += told.pop("refusal")
    return wrong + list(differences(before, after))


# ---- requests ----------------------------------------------------------------------------------------------------------------------


def request(exchange: Exchange) -> list[str]:
    """A request is read and written again with the same meaning: `stream: false` is the same as nothing."""
    body = exchange.request_json
    hub = requests.read_request(body)
    written = as_sent(requests.write_body(hub, body.get("model")))
    wrong = list(differences(same_words(body), written))
    return wrong + ([] if requests.read_request(written) == hub else ["what was written reads differently"])


def same_words(body: dict[str, Any]) -> dict[str, Any]:
    body = copy.deepcopy(body)
    if body.get("stream") is False:
        del body["stream"]
    return body


def translated(exchange: Exchange) -> list[str]:
    """Said in the words of Chat Completions and back, a request keeps its texts, calls, results and reasoning."""
    hub = requests.read_request(exchange.request_json)
    chat = load("openai_chat")
    if unsayable(hub):
        return refused(chat, hub)
    own = (OWN, '"input_text"', '"output_text"', '"annotations"', '"encrypted_content"')
    functions = structs.replace(hub, tools=tuple(tool for tool in hub.tools if tool.type in ("function", "custom")))
    sent = chat.write_request(functions, Target("openai", "m", source="openai_responses")).body.decode()
    wrong = [f"{word} in words of the other dialect" for word in own if word in sent]
    again = chat.read_request(json.loads(chat.write_request(hub, Target("openai", "m")).body))
    back = requests.read_request(as_sent(requests.write_body(again, "m", foreign=True)))
    return wrong + list(differences(meaning(hub), meaning(back)))


def unsayable(hub: ChatRequest) -> list[Other]:
    """Parts that Chat Completions has no word for: an image by its id, a file by its address, a conversation that OpenAI hid."""
    others = [(message, part) for message in hub.messages for part in message.content if isinstance(part, Other)]
    return [part for message, part in others if message.role != "assistant" or part.type in ("compaction", "item_reference")]


def refused(chat: Any, hub: ChatRequest) -> list[str]:
    try:
        chat.write_request(structs.replace(hub, tools=()), Target("openai", "m", source="openai_responses"))
    except BadRequestError as error:
        return [] if unsayable(hub)[0].type in str(error) else [f"refused without its name: {error}"]
    return ["it was lost in silence"]


def meaning(hub: ChatRequest) -> dict[str, Any]:
    """What must survive another dialect."""
    calls = [part for message in hub.messages for part in message.tool_calls]
    return {
        "system": "".join(message.text for message in hub.messages if message.role in ("system", "developer")),
        "texts": [part.text for message in hub.messages if message.role == "user" for part in message.content if isinstance(part, Text)],
        "said": "".join(message.text for message in hub.messages if message.role == "assistant"),
        "calls": [[call.id, call.name, call.arguments] for call in calls],
        "results": [
            [part.call_id, "".join(inner.text for inner in part.content if isinstance(inner, Text))]
            for message in hub.messages
            for part in message.content
            if isinstance(part, ToolResult)
        ],
        "hidden": [part.data for message in hub.messages for part in message.content if isinstance(part, Thinking) and part.data],
        "tools": [tool.name for tool in hub.tools if tool.type == "function"],
        "form": [hub.response_format.type, hub.response_format.name, hub.response_format.schema] if hub.response_format else [],
    }


# ---- streams -----------------------------------------------------------------------------------------------------------------------


def data_of(exchange: Exchange) -> bytes:
    return (exchange.sse_text or "").encode()


def each_event(data: bytes, exchange: Exchange) -> Iterator[StreamEvent]:
    frames, reader = SseReader(), RESPONSES.read_stream(ASKED, target(exchange))
    for frame in frames.feed(data):
        yield from reader.feed(frame)
    for frame in frames.close():
        yield from reader.feed(frame, last=True)
    yield from reader.close()


def sent(data: bytes) -> list[dict[str, Any]]:
    lines = [line[5:] for line in data.decode().splitlines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line.strip() != "[DONE]"]


def added_up(data: bytes) -> dict[str, Any]:
    """A stream as the response it would have been: its last event, with each item as it was told when it was done.

    Encrypted reasoning is encrypted anew for the last event, so the two differ there; both can be sent back.
    """
    events = sent(data)
    body = next(event["response"] for event in events if event["type"] in ENDS)
    done = {event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"}
    ids = {item.get("id") for item in done.values()}
    last = body["output"]
    also = {place: item for place, item in enumerate(last) if place not in done and item.get("id") not in ids}
    return {**body, "output": [item for _, item in sorted({**also, **done}.items())]}


def stream(exchange: Exchange) -> list[str]:
    """The stream adds up to what a reader by hand finds, and again after being written anew."""
    data = data_of(exchange)
    events = list(each_event(data, exchange))
    whole = collect(events)
    wrong = list(differences(added_up(data), as_sent(responses.write_response(whole))))
    wrong += list(differences(by_hand(added_up(data)), said(whole))) + in_order(events)
    again = collect(each_event(written(events), exchange))
    return wrong + [f"written anew: {problem}" for problem in differences(said(whole), said(again))]


def written(events: list[StreamEvent]) -> bytes:
    writer = RESPONSES.write_stream(ASKED)
    return b"".join([writer.feed(event) for event in events]) + writer.close()


def in_order(events: list[StreamEvent]) -> list[str]:
    """Usage once and last, one finish, a call's id and name in its first delta only."""
    reported = [index for index, event in enumerate(events) if isinstance(event, UsageReported)]
    finished = [index for index, event in enumerate(events) if isinstance(event, Finished)]
    wrong = [] if reported in ([], [len(events) - 1]) else ["usage is not told once, at the end"]
    wrong += [] if len(finished) == 1 and finished[0] >= len(events) - 2 else ["it does not finish once, at the end"]
    named: set[int] = set()
    for event in events:
        if isinstance(event, ToolCallDelta):
            wrong += [] if bool(event.name) == bool(event.id) == (event.index not in named) else ["a call is not named once, first"]
            named.add(event.index)
    return wrong


@cache
def _of_sdk(kind: str) -> type[BaseModel]:
    """The official client's class for events of that type."""
    [union, *_] = get_args(ResponseStreamEvent)
    return next(made for made in get_args(union) if kind in get_args(made.model_fields["type"].annotation))


def for_sdk(exchange: Exchange) -> list[str]:
    """A stream written anew is what the official client's types say, in the order its users wait for."""
    data = written(list(each_event(data_of(exchange), exchange)))
    wrong = []
    for number, event in enumerate(sent(data)):
        wrong += [] if event["sequence_number"] == number else [f"event {number} has number {event['sequence_number']}"]
        if own_item(event) or (exchange.id in UNTYPED and "response" in event):
            continue
        wrong += [f"{event['type']}: {problem}" for problem in for_class(_of_sdk(event["type"]), event)]
    return wrong + opened_and_closed(sent(data))


def answer_for_sdk(exchange: Exchange) -> list[str]:
    """What a caller of Chat Completions was answered is, written in Responses, what the official client's types say."""
    hub = read(exchange.response_json)
    chat = load("openai_chat")
    reply = HttpResponse(200, Headers(), json.dumps(chat.write_response(in_one_text(hub))).encode())
    body = RESPONSES.write_response(answer_in_common(chat.read_response(reply, ASKED, target(exchange)), "openai_responses"))
    body["output"] = [item for item in body["output"] if item["type"] in ("message", "reasoning", "function_call", "custom_tool_call")]
    if problems := for_class(Response, as_sent(body)):
        return problems
    return list(differences(by_hand(exchange.response_json)["text"], by_hand(body)["text"]))


def for_class(made: type[BaseModel], value: Any) -> list[str]:
    """What the class finds wrong. Replies recorded before it do not count yet what was written to the cache."""
    try:
        made.model_validate(value)
    except ValidationError as error:
        return [f"{one['loc']} {one['msg']}" for one in error.errors() if one["loc"][-1] != "cache_write_tokens"]
    return []


_NEWER = ("compaction", "program", "tool_search_call", "tool_search_output", "x_search_call")


def own_item(event: dict[str, Any]) -> bool:
    """Items that a provider has and the official client may not know."""
    items = [event.get("item") or {}, *((event.get("response") or {}).get("output") or [])]
    return any(item.get("type") in _NEWER for item in items)


def opened_and_closed(events: list[dict[str, Any]]) -> list[str]:
    """Whatever was added is done once, and the last event is the whole."""
    names = [event["type"] for event in events]
    wrong = [] if names[:2] == ["response.created", "response.in_progress"] and names[-1] in ENDS else [f"it begins and ends {names}"]
    for added, done in (("output_item.added", "output_item.done"), ("content_part.added", "content_part.done")):
        opened = [_place(event) for event in events if event["type"] == f"response.{added}"]
        closed = [_place(event) for event in events if event["type"] == f"response.{done}"]
        wrong += [] if sorted(opened) == sorted(closed) and len(set(opened)) == len(opened) else [f"{added} and {done} differ"]
    items = {event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"}
    whole = [item for _, item in sorted(items.items())]
    return wrong + [f"the last event: {problem}" for problem in differences(whole, events[-1]["response"]["output"])]


def _place(event: dict[str, Any]) -> tuple[int, int]:
    return event["output_index"], event.get("content_index", -1)


def cuts(exchange: Exchange) -> list[str]:
    """Cut after any frame but the last, and in the midst of some, the stream fails as cut off and invents no finish."""
    data = data_of(exchange)
    whole = list(each_event(data, exchange))
    end = data.rindex(b"\n\n", 0, min(place for end in ENDS if (place := data.find(f'"{end}"'.encode())) >= 0))
    places = [place for place in range(end) if data[place : place + 2] == b"\n\n"]
    step = max(1, len(places) // 25)
    return [wrong for place in places[::step] for cut in (place + 2, max(0, place - 3)) if (wrong := _cut(exchange, data[:cut], whole))]


def _cut(exchange: Exchange, data: bytes, whole: list[StreamEvent]) -> str:
    got: list[StreamEvent] = []
    try:
        for event in each_event(data, exchange):
            got.append(event)
    except TruncatedStream:
        if any(isinstance(event, Finished) for event in got):
            return f"cut at {len(data)} it finished"
        return "" if got == whole[: len(got)] else f"cut at {len(data)} it told something else"
    return f"cut at {len(data)} it looks whole"


def broken(exchange: Exchange) -> list[str]:
    """Broken by an error or a failed response after any frame, the stream raises that."""
    data = data_of(exchange)
    place = data.index(b"\n\n", len(data) // 3) + 2
    told = {"code": "rate_limit_exceeded", "message": "Too many", "param": None}
    wrong = []
    for event in ({"type": "error", **told}, {"type": "response.failed", "response": {"status": "failed", "error": told}}):
        try:
            list(each_event(data[:place] + f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode(), exchange))
        except HeadraceError as raised:
            wrong += [] if raised.failure.kind is Kind.RATE_LIMIT else [f"{event['type']} raised {raised!r}"]
        else:
            wrong.append(f"{event['type']} did not fail")
    return wrong


# ---- errors ------------------------------------------------------------------------------------------------------------------------

KINDS = {400: Kind.BAD_REQUEST, 401: Kind.AUTHENTICATION, 403: Kind.PERMISSION, 404: Kind.NOT_FOUND, 429: Kind.RATE_LIMIT}


def error(exchange: Exchange) -> list[str]:
    """The kind of a refusal, from its status and code; and the same when it comes inside a stream."""
    body = json.dumps(exchange.response_json).encode()
    failure = RESPONSES.read_error(HttpResponse(exchange.status, Headers.of(exchange.response_headers or {}), body), target(exchange))
    code = (exchange.response_json.get("error") or {}).get("code")
    expected = {"context_length_exceeded": Kind.CONTEXT_WINDOW, "model_not_found": Kind.NOT_FOUND}.get(code, KINDS.get(exchange.status))
    wrong = [] if expected in (None, failure.kind) else [f"read as {failure.kind}"]
    event = {"type": "error", **(exchange.response_json.get("error") or {})}
    try:
        RESPONSES.read_stream(ASKED, target(exchange)).feed(Frame(json.dumps({**event, "type": "error"}).encode(), "error"))
    except HeadraceError:
        return wrong
    return [*wrong, "inside a stream it is no error"]

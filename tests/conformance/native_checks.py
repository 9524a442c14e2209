"""What must hold of one recorded exchange in a dialect that answers with one choice: Cohere's, Ollama's. Checks return what is wrong."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from conformance.checks import KEEPS_WAITING, differences
from conformance.corpus import Exchange
from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.collect import collect
from headrace.dialects.translate import translate
from headrace.errors import HeadraceError, Kind, TruncatedStream
from headrace.types import ChatRequest, ChatResponse, Finished, StreamEvent, ToolCallDelta, UsageReported
from headrace.wire import Headers, HttpResponse

ASKED = ChatRequest(model="model", messages=(), stream=True, include_usage=True)
OPENAI = load("openai_chat")

Body = dict[str, Any]


def as_sent(value: Any) -> Any:
    """A written body as it stands on the wire."""
    return json.loads(json.dumps(value))


class Native(Struct, frozen=True, eq=False):
    """One dialect, and what is known of it apart from headrace."""

    name: str
    by_hand: Callable[[Body], Body]
    """An answer as text, thinking, calls, usage and its end, without any of headrace's code."""
    added_up: Callable[[str], Body]
    """A stream's text as the answer it would have been, likewise."""
    end_mark: bytes
    """What a stream holds once it has ended, and not before."""
    same_words: Callable[[Body], Body]
    """One of several ways to say the same request."""
    has_ids: bool = True
    """Whether calls have ids of their own; else headrace made them up, and they are not compared."""

    @property
    def dialect(self) -> Any:
        return load(self.name)

    def target(self, exchange: Exchange, source: str = "") -> Target:
        return Target(exchange.provider, "model", "https://api.example.com", (), source)

    def compared(self, told: Body) -> Body:
        return told if self.has_ids else {**told, "calls": [call[1:] for call in told["calls"]]}

    def read(self, exchange: Exchange, body: Body) -> ChatResponse:
        reply = HttpResponse(200, Headers(), json.dumps(body).encode())
        answer: ChatResponse = self.dialect.read_response(reply, ASKED, self.target(exchange))
        return answer

    # ---- answers -------------------------------------------------------------------------------------------------------------------

    def answer(self, exchange: Exchange) -> list[str]:
        """An answer is read and written again equal, and once more the same hub value."""
        hub = self.read(exchange, exchange.response_json)
        written = as_sent(self.dialect.write_response(hub))
        wrong = list(differences(exchange.response_json, written))
        return wrong + ([] if self.read(exchange, written) == hub else ["what was written reads differently"])

    def told(self, exchange: Exchange) -> list[str]:
        """The hub says what was said, read here by hand."""
        told = said(self.read(exchange, exchange.response_json))
        return list(differences(self.compared(self.by_hand(exchange.response_json)), self.compared(told)))

    def replayed(self, exchange: Exchange) -> list[str]:
        """Given out in OpenAI's words and sent back as the turn before, an answer keeps its text, thinking and calls."""
        asked: Body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        to = self.target(exchange, "openai_chat")
        reply = HttpResponse(200, Headers(), json.dumps(exchange.response_json).encode())
        answered = translate(self.name, to, "chat", asked, {}).read(reply)
        message = json.loads(json.dumps(answered["choices"][0]["message"]))
        asked["messages"] += [message, {"role": "user", "content": "and then?"}]
        sent = json.loads(translate(self.name, to, "chat", asked, {}).write().body)
        told = {"text": "", "thinking": "", "calls": []}
        before = {name: self.by_hand(exchange.response_json)[name] for name in told}
        again = self.dialect.read_request({**sent, "messages": sent["messages"][1:2]}).messages[0]
        after = {"text": again.text, "thinking": again.thinking, "calls": calls_of(again)}
        return list(differences(self.compared(before), self.compared(after)))

    # ---- requests ------------------------------------------------------------------------------------------------------------------

    def request(self, exchange: Exchange) -> list[str]:
        """A request is read and written again with the same meaning."""
        hub = self.dialect.read_request(exchange.request_json)
        to = Target(exchange.provider, exchange.request_json["model"], "https://api.example.com")
        written = json.loads(self.dialect.write_request(hub, to).body)
        wrong = list(differences(self.same_words(exchange.request_json), self.same_words(written)))
        return wrong + ([] if self.dialect.read_request(written) == hub else ["what was written reads differently"])

    def translated(self, exchange: Exchange) -> list[str]:
        """Said in OpenAI's words and back, a request keeps its texts, calls, results, pictures and tools."""
        hub = self.dialect.read_request(exchange.request_json)
        sent = OPENAI.write_request(hub, Target("openai", "m"))
        again = OPENAI.read_request(json.loads(sent.body))
        back = self.dialect.write_request(again, self.target(exchange, "openai_chat"))
        return list(differences(meaning(hub), meaning(self.dialect.read_request(json.loads(back.body)))))

    # ---- streams -------------------------------------------------------------------------------------------------------------------

    def each_event(self, data: bytes, exchange: Exchange, size: int = 1 << 20) -> Iterator[StreamEvent]:
        frames, reader = self.dialect.framing(), self.dialect.read_stream(ASKED, self.target(exchange))
        for at in range(0, len(data), size):
            for frame in frames.feed(data[at : at + size]):
                yield from reader.feed(frame)
        for frame in frames.close():
            yield from reader.feed(frame, last=True)
        yield from reader.close()

    def stream(self, exchange: Exchange) -> list[str]:
        """The stream adds up to what a reader by hand finds, however it is cut into pieces, and again after being written anew."""
        data = data_of(exchange)
        events = list(self.each_event(data, exchange))
        whole = collect(events)
        expected = self.compared(self.by_hand(self.added_up(data.decode())))
        wrong = list(differences(expected, self.compared(said(whole)))) + in_order(events)
        wrong += [] if list(self.each_event(data, exchange, 7)) == events else ["in small pieces it reads differently"]
        writer = self.dialect.write_stream(ASKED)
        again = collect(self.each_event(b"".join([writer.feed(event) for event in events]) + writer.close(), exchange))
        wrong += list(differences(self.compared(said(whole)), self.compared(said(again)), "written anew"))
        body = as_sent(self.dialect.write_response(whole))
        return wrong + list(differences(expected, self.compared(self.by_hand(body)), "as one answer"))

    def cuts(self, exchange: Exchange, count: int = 6) -> list[str]:
        """Cut anywhere before the end, the stream fails as cut off; no finish is invented, and no event differs from the whole's."""
        data = data_of(exchange)
        whole = list(self.each_event(data, exchange))
        places = random.Random(exchange.id)  # the same cuts in every run
        end = data.rindex(self.end_mark)
        return [wrong for _ in range(count) if (wrong := self._cut(exchange, data[: places.randrange(end)], whole))]

    def _cut(self, exchange: Exchange, data: bytes, whole: list[StreamEvent]) -> str:
        got: list[StreamEvent] = []
        try:
            for event in self.each_event(data, exchange):
                got.append(event)
        except TruncatedStream:
            if any(isinstance(event, Finished) for event in got):
                return f"cut at {len(data)} it finished"
            return "" if got == whole[: len(got)] else f"cut at {len(data)} it told something else"
        return f"cut at {len(data)} it looks whole"

    # ---- errors --------------------------------------------------------------------------------------------------------------------

    def error(self, exchange: Exchange, expected: Kind) -> list[str]:
        """A refusal is the right kind and says something; it is one under status 200, and inside a stream, too."""
        body = json.dumps(exchange.response_json).encode()
        response = HttpResponse(exchange.status, Headers.of(exchange.response_headers or {}), body)
        failure = self.dialect.read_error(response, self.target(exchange))
        wrong = [] if failure.kind is expected else [f"{failure.kind} instead of {expected}: {failure.message[:80]}"]
        wrong += ["it waits"] if failure.retry_after is not None and exchange.status not in KEEPS_WAITING else []
        try:
            self.read(exchange, exchange.response_json)
            wrong.append("under status 200 it is an answer")
        except HeadraceError as error:
            wrong += [] if error.failure.kind is not Kind.BAD_RESPONSE else ["under status 200 it cannot be read"]
        try:
            list(self.each_event(framed(self.name, body), exchange))
            wrong.append("inside a stream it is no error")
        except HeadraceError as error:
            wrong += [] if error.failure.kind is not Kind.TRUNCATED else ["inside a stream it is no error"]
        return wrong


def framed(name: str, body: bytes) -> bytes:
    return body + b"\n" if name == "ollama" else b"data: " + body + b"\n\n"


def data_of(exchange: Exchange) -> bytes:
    """A recorded stream's bytes."""
    return (exchange.sse_text or exchange.response_text or "").encode()


def said(hub: ChatResponse) -> Body:
    """An answer as `by_hand` tells it."""
    [choice] = hub.choices
    usage = hub.usage
    return {
        "text": choice.message.text,
        "thinking": choice.message.thinking,
        "calls": calls_of(choice.message),
        "end": choice.finish,
        "usage": None if usage is None else [usage.input, usage.output, usage.cached, usage.reasoning],
    }


def calls_of(message: Any) -> list[list[Any]]:
    return [[call.id, call.name, json.loads(call.arguments or "{}")] for call in message.tool_calls]


def meaning(hub: ChatRequest) -> Body:
    """What must survive another dialect."""
    parts = [part for message in hub.messages for part in message.content]
    results = [[part.call_id, [inner.text for inner in part.content]] for part in parts if hasattr(part, "call_id")]
    return {
        "texts": [[message.role, message.text] for message in hub.messages if message.role != "tool"],
        "calls": [calls_of(message) for message in hub.messages],
        "results": results,
        "pictures": [part.url for part in parts if hasattr(part, "detail")],
        "tools": [[tool.name, tool.parameters] for tool in hub.tools],
        "schema": hub.response_format and hub.response_format.schema,
        "numbers": [hub.temperature, hub.top_p, hub.max_tokens, hub.seed, hub.stop],
    }


def in_order(events: list[StreamEvent]) -> list[str]:
    """Usage once and last, one finish, a call's id and name in its first delta only."""
    reported = [index for index, event in enumerate(events) if isinstance(event, UsageReported)]
    wrong = [] if reported == [len(events) - 1] else ["usage is not told once, at the end"]
    wrong += [] if sum(isinstance(event, Finished) for event in events) == 1 else ["it does not finish once"]
    named: set[int] = set()
    for event in events:
        if isinstance(event, ToolCallDelta):
            wrong += [] if bool(event.name) == (event.index not in named) else ["a call is not named once, first"]
            named.add(event.index)
    return wrong

"""Every recorded conversation, answer and stream said in every other dialect: taken by that dialect's reader and by the official client's
own types, and what could not be said is known.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from conformance import judge, sdk_types
from conformance.corpus import Exchange
from conformance.tongues import Tongue, reply
from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.errors import BadRequestError
from headrace.types import Audio, ChatRequest, File, Image, Message, Other, Part, Refusal, Text, Thinking, ToolCall, ToolResult

PROVIDERS = {
    "openai_chat": ("openai", "gpt-5.2"),
    "openai_responses": ("openai", "gpt-5.2"),
    "anthropic_messages": ("anthropic", "claude-sonnet-4-6"),
    "bedrock_converse": ("bedrock", "anthropic.claude-sonnet-4-6"),
    "gemini": ("gemini", "gemini-3-flash"),
}
"""Who is called in each dialect, and with which model: some dialects ask newer models otherwise than older ones."""


BASE64 = str.maketrans("-_", "+/")


class Crossing(NamedTuple):
    """One conversation said in another dialect."""

    wrong: list[str]
    refused: str = ""
    """Content that must not be lost and cannot be said: what the caller is told."""
    unsaid: tuple[str, ...] = ()
    """Parameters the dialect names as those it cannot say."""
    lost: tuple[str, ...] = ()
    """What does not come back when the other dialect reads what was written."""


def request(tongue: Tongue, exchange: Exchange, to: str) -> Crossing:
    """The recorded request of `tongue` to a provider that speaks `to`."""
    hub = tongue.dialect.read_request(tongue.asked(exchange) or {})
    dialect, (provider, model) = load(to), PROVIDERS[to]
    unsaid = dialect.unsaid(hub)
    try:
        sent = dialect.write_request(hub, Target(provider, model, "https://api.example.com/v1", (), tongue.name))
    except BadRequestError as error:
        return Crossing([], refused=str(error), unsaid=unsaid)
    body = json.loads(sent.body)
    wrong = [f"{to}'s client: {problem}" for problem in sdk_types.REQUESTS[to](body)]
    again = dialect.read_request({"model": model, **body})
    return Crossing(wrong, unsaid=unsaid, lost=tuple(sorted(lost(hub, again))))


def lost(hub: ChatRequest, again: ChatRequest) -> Iterator[str]:
    """What was said and is not any more, by its name."""
    missing = Counter(said(hub)) - Counter(said(again))
    yield from {name for name, _ in missing}


def said(hub: ChatRequest) -> Iterator[tuple[str, str]]:
    """Everything a request says, one by one, without the words of any dialect."""
    calls = {call.id: call.name for message in hub.messages for call in message.tool_calls}
    yield "system", "".join(message.text for message in hub.messages if message.role in ("system", "developer")).strip()
    for message in hub.messages:
        for part in message.content:
            yield from said_in(part, message, calls)
    for tool in hub.tools:
        yield (f"tool {tool.type}", tool.name) if tool.type != "function" else ("tool", f"{tool.name} {tool.description or ''}")
    if hub.response_format is not None and hub.response_format.type != "text":
        yield "response_format", hub.response_format.type
    if hub.tool_choice is not None and hub.tool_choice.mode != "auto":
        yield "tool_choice", f"{hub.tool_choice.mode} {hub.tool_choice.name}"
    for name in ("max_tokens", "temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty"):
        if getattr(hub, name) is not None:
            yield name, str(float(getattr(hub, name)))
    if (hub.n or 1) > 1:
        yield "n", str(hub.n)
    yield from (("stop", stop) for stop in hub.stop)
    if hub.effort not in (None, "none") or hub.thinking_budget:
        yield "thinking", ""


def said_in(part: Part, message: Message, calls: dict[str, str]) -> Iterator[tuple[str, str]]:
    match part:
        case Text() | Refusal():
            if part.text.strip() and message.role not in ("system", "developer"):
                yield f"{message.role}'s text", part.text.strip()
        case ToolCall():
            yield "call", f"{part.name} {arguments(part)}"
        case ToolResult():
            yield (
                "result",
                f"{calls.get(part.call_id) or part.name} {''.join(inner.text for inner in part.content if isinstance(inner, Text))}",
            )
            for inner in part.content:
                if not isinstance(inner, Text):
                    yield from said_in(inner, message, calls)
        case Image() | File():
            yield type(part).__name__.lower(), (part.url or getattr(part, "id", ""))[-60:].translate(BASE64)
        case Audio():
            yield "audio", part.data[-60:].translate(BASE64)
        case Thinking():
            if part.signature or part.data:
                yield "signed thinking", (part.signature or part.data or "")[-60:]
        case Other():
            yield f"part {part.type}", json.dumps(dict(part.extra), sort_keys=True, default=str)


def arguments(call: ToolCall) -> str:
    return normal(call.arguments or "{}")


def normal(text: str) -> str:
    """JSON in one of its spellings; any other text as it is."""
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except ValueError:
        return text


# ---- answers -----------------------------------------------------------------------------------------------------------------------


def answer(tongue: Tongue, exchange: Exchange, to: str) -> list[str]:
    """The recorded answer, to a caller who speaks `to`: his client takes it, and it says the same."""
    dialect = load(to)
    hub = tongue.dialect.read_response(reply(exchange.response_json, exchange.headers), judge.ASKED, tongue.target(exchange))
    body = judge.as_sent(dialect.write_response(hub))
    wrong = [f"{to}'s client: {problem}" for problem in sdk_types.ANSWERS[to](body)]
    again = dialect.read_response(reply(body), judge.ASKED, Target(*PROVIDERS[to]))
    return wrong + [f"it lost its {what}" for what in sorted(differing(hub, again))]


def stream(tongue: Tongue, exchange: Exchange, to: str) -> list[str]:
    """The recorded stream, to a caller who speaks `to`: his client takes every event, and they add up to the same."""
    from headrace.dialects.collect import collect

    dialect = load(to)
    events = list(judge.events(tongue, exchange, [tongue.data_of(exchange)]))
    writer = dialect.write_stream(judge.ASKED)
    data = b"".join([writer.feed(event) for event in events]) + writer.close()
    wrong = [f"{to}'s client: {problem}" for problem in sdk_types.STREAMS[to](data)]
    frames, reader = dialect.framing(), dialect.read_stream(judge.ASKED, Target(*PROVIDERS[to]))
    again = [event for frame in [*frames.feed(data), *frames.close()] for event in reader.feed(frame)] + reader.close()
    return wrong + [f"it lost its {what}" for what in sorted(differing(collect(events), collect(again)))]


def differing(hub: Any, again: Any) -> Iterator[str]:
    """What of the first choice differs between two answers, among what every dialect can say."""
    one, other = told(hub), told(again)
    yield from (name for name in one if one[name] != other[name])


def told(hub: Any) -> dict[str, Any]:
    if not hub.choices:
        return {"text": "", "calls": [], "finish": None, "usage": None}
    choice = hub.choices[0]
    texts = [part.text for part in choice.message.content if isinstance(part, Text | Refusal)]
    spoken = [part.transcript for part in choice.message.content if isinstance(part, Audio)]
    return {
        "text": "".join([*texts, *spoken]).strip(),
        "calls": [[call.name, arguments(call)] for call in choice.message.tool_calls],
        "finish": choice.finish,
        "usage": hub.usage and (hub.usage.input, hub.usage.output),
    }

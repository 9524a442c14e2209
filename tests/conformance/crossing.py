"""Every recorded conversation, answer and stream said in every other dialect: taken by that dialect's reader and by the official client's
own types, and what could not be said is known.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from conformance import judge, sdk_types
from conformance.corpus import Exchange
from conformance.tongues import Tongue, reply
from headrace.calls import encode
from headrace.dialects import load
from headrace.dialects.amends import amended
from headrace.dialects.answers import InCommon, answer_in_common
from headrace.dialects.base import Target
from headrace.dialects.citation_words import inner
from headrace.dialects.citations import ANNOTATIONS, on_message
from headrace.dialects.collect import collect
from headrace.dialects.foreign import left_out
from headrace.dialects.openai_chat import foreign as openai_chat_foreign
from headrace.dialects.translate import in_one_text
from headrace.errors import BadRequestError, HeadraceError
from headrace.providers.catalog import catalog
from headrace.providers.quirks import apply
from headrace.types import Audio, ChatRequest, File, Image, Message, Other, Part, Refusal, Text, Thinking, ToolCall, ToolResult


class Callee(NamedTuple):
    """Who is called: some dialects ask newer models otherwise than older ones, and Mistral asks in OpenAI's words, with its own."""

    provider: str
    model: str
    dialect: str


CALLEES = {
    "openai_chat": Callee("openai", "gpt-5.2", "openai_chat"),
    "openai_responses": Callee("openai", "gpt-5.2", "openai_responses"),
    "anthropic_messages": Callee("anthropic", "claude-sonnet-4-6", "anthropic_messages"),
    "bedrock_converse": Callee("bedrock", "anthropic.claude-sonnet-4-6", "bedrock_converse"),
    "gemini": Callee("gemini", "gemini-3-flash", "gemini"),
    "cohere": Callee("cohere", "command-a-03-2025", "cohere"),
    "mistral": Callee("mistral", "mistral-large-latest", "openai_chat"),
}


BASE64 = str.maketrans("-_", "+/")


LOST: Mapping[str, str] = {
    r"lost signed thinking": "a signature is worth nothing to another provider",
    r"(bedrock_converse|gemini|anthropic_messages) lost thinking": "no thinking where a turn called tools without it, no word for it",
    r"(anthropic_messages|bedrock_converse|openai_responses) lost (presence|frequency)_penalty=0": "a penalty of nothing is none",
    r"mistral lost seed": "Mistral's word for it is random_seed, which the row of the provider writes",
    r"lost stop=blank": "a text of blanks stops nothing that a provider takes",
    r"cohere lost tool_choice": "one tool is all that Cohere is told of, and that it must call one",
    r"lost tool (web_|code_|google|urlC|codeE)": "a tool that providers run, in another house's words",
    r"lost tool tool_search": "what finds tools is needless where all of them are known, which `left_out` names",
    r"openai_responses \w+ lost part (configuration_update|additional_tools|tool_search_output)": "said as an effort and as tools",
    r"anthropic_messages \w+ lost part (document|search_result|tool_reference|compaction)": "said as texts",
    r"bedrock_converse lost (tool|tool_choice)$": "no function may be called: Converse has no word for that but to leave them out",
    r"lost part (\w+_call|server_tool_use|\w*_tool_result|mcp_tool_use|executableCode|codeExecutionResult|toolCall|toolResponse"
    r"|tool_addition) named$": "what a provider's own tools did, which `left_out` names",
    r"gemini lost part video_url": "a film is a file to Gemini",
    r"gemini bedrock_converse lost file": "a film is no document to Converse, but a film",
    r"openai_responses gemini lost system": "a system without a user is what a user says to Gemini",
    r"openai_responses gemini lost call": "a tool that takes bare text takes an object here",
    r"cohere lost thinking": "to think as usual has no number in Cohere's words, and the hub no name without one",
    r"cohere lost tool$": "Cohere cannot be told which tool to call: it gets no other than that",
    r"bedrock_converse lost temperature": "Claude thinks at no other temperature than its own",
}  # fmt: skip
"""What does not come back from another dialect, and why that is right: source, target, and what is lost."""

UNTYPED: Mapping[str, str] = {
    r"^openai_chat \w+: .*(only in the original|Extra inputs|ToolParam|Tool\.)": "what is known nowhere may be the provider's",
    r"^openai_chat openai_responses: .*(service_tier|stream|input\.(str|list|\w))": "a tier of the provider the recording was made with",
    r"^openai_chat (anthropic_messages|cohere): .*thinking\.": "thinking as another provider of OpenAI's dialect words it",
}  # fmt: skip
"""What an official client's types refuse in a request from OpenAI's dialect, where callers may say anything, and why it is sent."""

INCOHERENT: Mapping[str, str] = {
    r"it lost its usage": "counts that contradict each other: more was cached than read, more thought than written",
    r"stopReason|finish_reason|before the response was complete": "the recorded answer has no end",
    r"annotations?\.": "annotations that OpenAI's own types do not know",
    r"tool_calls\.\[\]\.type|it lost its calls": "a call of a tool that takes bare text",
    r"it lost its text": "an answer that was spoken",
}  # fmt: skip
"""What is wrong with an answer in another dialect because it was with the recorded one."""


def explained(problem: str, table: Mapping[str, str]) -> str | None:
    """Why that is right."""
    return next((why for pattern, why in table.items() if re.search(pattern, problem)), None)


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
    """The recorded request of `tongue` to `to`."""
    asked, callee = tongue.asked(exchange) or {}, CALLEES[to]
    hub, dialect = tongue.dialect.read_request(asked), load(callee.dialect)
    target = Target(callee.provider, callee.model, "https://api.example.com/v1", (), tongue.name)
    if tongue.name != callee.dialect:
        hub, _ = amended(hub, tongue.name, callee.dialect, target)
    unsaid = dialect.unsaid(hub)
    try:
        body = {**asked, "model": callee.model} if tongue.name == callee.dialect else json.loads(dialect.write_request(hub, target).body)
    except BadRequestError as error:
        return Crossing([], refused=str(error), unsaid=unsaid)
    left = [] if tongue.name == callee.dialect else [*left_out(hub, tongue.name, callee.dialect), *unheard(hub, callee)]
    body, refused = quirky(callee.provider, body)
    wrong = [f"{to}'s client: {problem}" for problem in sdk_types.REQUESTS[to](body)]
    again = dialect.read_request({"model": callee.model, **body})
    named = " named" if any(name.startswith("messages[") for name in left) else ""
    gone = [name + (named if name.startswith("part ") else "") for name in sorted(lost(hub, again))]
    return Crossing(wrong, unsaid=(*unsaid, *refused, *left), lost=tuple(gone))


def unheard(hub: ChatRequest, callee: Callee) -> Iterator[str]:
    return openai_chat_foreign.unheard(hub, callee.provider) if callee.dialect == "openai_chat" else iter(())


def quirky(provider: str, body: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body as the row of the provider has it, and the parameters that are refused by name."""
    row = catalog().get(provider)
    assert row is not None
    refused = tuple(name for quirk in row.quirks for name in quirk.refuse if quirk.operation == "chat" and name in body)
    return json.loads(encode(apply(row, body, operation="chat", drop_params=True))), refused


def lost(hub: ChatRequest, again: ChatRequest) -> Iterator[str]:
    """What was said and is not any more, by its name."""
    missing = Counter(said(hub)) - Counter(said(again))
    yield from {name for name, what in missing if what or name == "thinking"}


def said(hub: ChatRequest) -> Iterator[tuple[str, str]]:
    """Everything a request says, one by one, without the words of any dialect."""
    calls = {call.id: call.name for message in hub.messages for call in message.tool_calls}
    yield "system", "".join(message.text for message in hub.messages if message.role in ("system", "developer")).strip()
    spoken = [
        message.text + "".join(part.text for part in message.content if isinstance(part, Refusal))
        for message in hub.messages
        if message.role == "assistant"
    ]
    yield "assistant's text", "".join("".join(spoken).split())  # turns behind each other become one
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
            yield name if getattr(hub, name) or name in ("temperature", "top_p", "seed") else f"{name}=0", str(float(getattr(hub, name)))
    if (hub.n or 1) > 1:
        yield "n", str(hub.n)
    yield from (("stop" if stop.strip() else "stop=blank", stop) for stop in hub.stop)
    if hub.effort not in (None, "none") or hub.thinking_budget:
        yield "thinking", ""


def said_in(part: Part, message: Message, calls: dict[str, str]) -> Iterator[tuple[str, str]]:
    match part:
        case Text() | Refusal():
            if part.text.strip() and message.role in ("user", "tool"):
                yield f"{message.role}'s text", part.text.strip()
        case ToolCall():
            yield "call", f"{part.name} {arguments(part)}"
        case ToolResult():
            text = "".join(inner.text if isinstance(inner, Text) else str(inner.extra.get("tool_name", "")) for inner in part.content)
            yield "result", f"{calls.get(part.call_id) or part.name} {normal(text)}"
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
        case Other(extra={"document_url": str(url)} | {"type": "file", "file_id": str(url)}):  # Mistral's
            yield "file", url[-60:].translate(BASE64)
        case Other(extra={"input_audio": str(data)}):
            yield "audio", data[-60:].translate(BASE64)
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
    hub = in_one_text(hub) if to == "openai_chat" else hub
    body = judge.as_sent(dialect.write_response(answer_in_common(hub, to)))
    wrong = [f"{to}'s client: {problem}" for problem in sdk_types.ANSWERS[to](body)]
    again = dialect.read_response(reply(body), judge.ASKED, Target(*CALLEES[to][:2]))
    return wrong + [f"it lost its {what}" for what in sorted(differing(hub, again, to))]


def stream(tongue: Tongue, exchange: Exchange, to: str) -> list[str]:
    """The recorded stream, to a caller who speaks `to`: his client takes every event, and they add up to the same."""
    dialect = load(to)
    events = list(judge.events(tongue, exchange, [tongue.data_of(exchange)]))
    writer = dialect.write_stream(judge.ASKED)
    common = InCommon(to)
    data = b"".join([writer.feed(told) for event in events for told in common.feed(event)]) + writer.close()
    wrong = [f"{to}'s client: {problem}" for problem in sdk_types.STREAMS[to](data)]
    frames, reader = dialect.framing(), dialect.read_stream(judge.ASKED, Target(*CALLEES[to][:2]))
    again = [event for frame in [*frames.feed(data), *frames.close()] for event in reader.feed(frame)] + reader.close()
    return wrong + [f"it lost its {what}" for what in sorted(differing(collect(events), collect(again), to, streamed=True))]


def differing(hub: Any, again: Any, to: str, *, streamed: bool = False) -> Iterator[str]:
    """What of the first choice differs between two answers, among what `to` can say."""
    one, other = told(hub), told(again)
    unplaced = {url for url, words in one["sources"] if streamed or not words} if to in UNPLACED else set()
    for them in (one, other):
        them["sources"] = sorted({(url, "" if url in unplaced else words) for url, words in them["sources"]})
        them["thought"] = 0 if to in UNCOUNTED else them["thought"]
    yield from (name for name in one if one[name] != other[name])


def told(hub: Any) -> dict[str, Any]:
    if not hub.choices:
        return {"text": "", "calls": [], "finish": None, "usage": (0, 0), "thought": 0, "sources": []}
    choice = hub.choices[0]
    texts = [part.text for part in choice.message.content if isinstance(part, Text | Refusal)]
    spoken = [part.transcript for part in choice.message.content if isinstance(part, Audio)]
    return {
        "text": "".join([*texts, *spoken]).strip(),
        "calls": [[call.name, arguments(call)] for call in choice.message.tool_calls],
        "finish": "stop" if choice.finish in ("pause", "error", "other") else choice.finish,
        "usage": (hub.usage.input, hub.usage.output) if hub.usage else (0, 0),
        "cached": hub.usage.cached if hub.usage else 0,
        "thought": hub.usage.reasoning if hub.usage else 0,
        "thinking": choice.message.thinking.strip(),
        "sources": sorted(addresses(choice.message, hub.extra)),
    }


def addresses(message: Message, beside: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Addresses that are cited, and all the words each of them backs."""
    whole, backed = on_message(message, beside), dict[str, set[int]]()
    for one in (inner(annotation) for annotation in whole.extra.get(ANNOTATIONS) or ()):
        if "://" in str(one.get("url")):
            backed.setdefault(one["url"], set()).update(range(one.get("start_index", 0), min(one.get("end_index", 0), len(whole.text))))
    return {(url, "".join(whole.text[place] for place in sorted(places))) for url, places in backed.items()}


UNPLACED = frozenset({"anthropic_messages", "bedrock_converse"})
"""Dialects in which a citation stands on a whole block: one of no words on more than it backs, and in a stream, where it was told behind
its text, on a block that cannot be parted any more."""
UNCOUNTED = frozenset({"bedrock_converse"})
"""Dialects whose usage has no word for tokens of reasoning."""


# ---- all of it ---------------------------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """One dialect's recordings said in another."""

    said: Counter[str]
    """How many requests, answers and streams."""
    refused: int
    reported: Counter[str]
    """Why something was left out, and how often."""
    wrong: list[str]


def crossed(tongue: Tongue, to: str, share: tuple[int, int] = (0, 1)) -> Pair:
    """share: the first of every so many exchanges only."""
    pair, refused = Pair(Counter(), 0, Counter(), []), 0
    for exchange in list(tongue.exchanges())[share[0] :: share[1]]:
        if tongue.is_request(exchange):
            crossing = tried(pair, exchange, lambda it: request(tongue, it, to)) or Crossing([])
            refused += bool(crossing.refused)
            pair.said["requests"] += 1
            note(pair, exchange, [f"{tongue.name} {to}: {problem}" for problem in crossing.wrong], UNTYPED)
            note(pair, exchange, [f"{tongue.name} {to} lost {name}" for name in crossing.lost if name not in crossing.unsaid], LOST)
        for name, concerns, check in (("answers", tongue.is_answer, answer), ("streams", tongue.is_stream, stream)):
            if to in sdk_types.ANSWERS and concerns(exchange):
                pair.said[name] += 1
                found = tried(pair, exchange, lambda it, check=check: check(tongue, it, to)) or []
                note(pair, exchange, [f"{name}: {problem}" for problem in found], INCOHERENT)
    return pair._replace(refused=refused)


def tried(pair: Pair, exchange: Exchange, attempt: Any) -> Any:
    try:
        return attempt(exchange)
    except HeadraceError as error:
        note(pair, exchange, [repr(error)], INCOHERENT)
        return None


def note(pair: Pair, exchange: Exchange, problems: list[str], table: Mapping[str, str]) -> None:
    for problem in problems:
        why = explained(problem, table)
        if why is None:
            pair.wrong.append(f"{exchange}: {problem}")
        else:
            pair.reported[why] += 1

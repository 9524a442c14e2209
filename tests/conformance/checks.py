"""What must hold of one recorded exchange. Each check returns what is wrong, nothing when all is well."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from conformance.corpus import Exchange
from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.collect import collect
from headrace.dialects.openai_chat import ChunkReader, others, requests, responses
from headrace.dialects.quota import UNLIMITED, read_quota
from headrace.errors import HeadraceError, Kind
from headrace.framing import SseReader
from headrace.types import ChatRequest, ChatResponse, Choice, Finished, Message, StreamEvent, ToolCallDelta, UsageReported
from headrace.wire import Headers, HttpResponse

CHAT = load("openai_chat")


def target(exchange: Exchange) -> Target:
    return Target(exchange.provider, "model")


def differences(one: Any, other: Any, at: str = "") -> Iterator[str]:
    """The places where two JSON values differ; 1 and 1.0 are the same number."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            if name not in one or name not in other:
                yield f"{at}.{name} is only in the {'copy' if name not in one else 'original'}"
            else:
                yield from differences(one[name], other[name], f"{at}.{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differences(left, right, f"{at}[{index}]")
    elif one != other or (type(one) is bool) != (type(other) is bool):
        yield f"{at}: {str(one)[:60]!r} became {str(other)[:60]!r}"


# ---- answers -----------------------------------------------------------------------------------------------------------------------


def _hits_where_openai_tells_them(usage: dict[str, Any]) -> bool:
    details = usage.get("prompt_tokens_details") or {}
    hits = usage.get("prompt_cache_hit_tokens") or usage.get("cached_tokens")
    if not hits or details.get("cached_tokens"):
        return False
    usage["prompt_tokens_details"] = {**details, "cached_tokens": hits}
    return True


MEANINGS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "cache hits in a field of its own (Moonshot)": _hits_where_openai_tells_them,
}
"""Counts that are written in OpenAI's meaning and not as they came. Each changes a usage in place and says whether it had to."""


def _content_as_text(choice: dict[str, Any]) -> bool:
    content = choice["message"].get("content")
    if not isinstance(content, dict):
        return False
    choice["message"]["content"] = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return True


def _reason_named(choice: dict[str, Any]) -> bool:
    calls, legacy = choice["message"].get("tool_calls"), (choice["message"].get("function_call") or {}).get("name")
    if choice.get("finish_reason") or not (calls or legacy):
        return False
    choice["finish_reason"] = "tool_calls" if calls else "function_call"
    return True


EXCEPTIONS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "content is an object, which becomes its JSON (Cloudflare)": _content_as_text,
    "calls without a finish_reason, which gets its name (Snowflake)": _reason_named,
}
"""Choices that come out otherwise than they went in, and why. Together under 1 in 100. Changed in place, as `MEANINGS` are."""


def meant(body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """`body` as it should be written again, and the rules of `MEANINGS` and `EXCEPTIONS` that changed it."""
    body, applied = copy.deepcopy(body), []
    if isinstance(usage := body.get("usage"), dict):
        applied += [name for name, change in MEANINGS.items() if change(usage)]
    for choice in body.get("choices") or []:
        if "message" in choice:
            applied += [name for name, change in EXCEPTIONS.items() if change(choice)]
    return body, applied


READ_AND_WRITE: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "chat": (responses.read_response, responses.write_response),
    "completions": (others.read_text_response, others.write_text_response),
    "embeddings": (others.read_embedding_response, others.write_embedding_response),
}


def answer(exchange: Exchange) -> list[str]:
    """A 2xx body is read and written again equal, and once more the same hub value."""
    read, write = READ_AND_WRITE[exchange.kind]
    expected, _ = meant(exchange.response_json)
    hub = read(exchange.response_json)
    written = json.loads(json.dumps(write(hub)))
    wrong = list(differences(expected, written))
    again = read(written)
    return wrong + ([] if _plain(again) == _plain(hub) else ["what was written reads differently"])


def _plain(hub: Any) -> Any:
    """A hub value apart from what was kept of its wire form."""
    return collect_plain(hub) if isinstance(hub, ChatResponse) else hub


def collect_plain(hub: ChatResponse) -> list[Any]:
    return [(choice.index, choice.message.content, choice.finish) for choice in hub.choices] + [hub.usage and hub.usage.total]


def content_is_told(exchange: Exchange) -> list[str]:
    """The hub says what the provider said, read here by hand."""
    wrong = []
    hub = responses.read_response(exchange.response_json)
    for source, choice in zip(exchange.response_json["choices"], hub.choices, strict=True):
        message = source["message"]
        content = message.get("content")
        if isinstance(content, str) and choice.message.text != content:
            wrong.append("the text differs")
        names = [call["function"]["name"] for call in message.get("tool_calls") or []]
        names += [name for name in [(message.get("function_call") or {}).get("name")] if name]
        if [call.name for call in choice.message.tool_calls] != names:
            wrong.append("the calls differ")
        thought = message.get("reasoning_content") or message.get("reasoning") or ""
        if thought and choice.message.thinking.strip() != thought.strip():
            wrong.append("the thinking differs")
        if bool(choice.message.tool_calls) and choice.finish not in ("tool_calls", "length"):
            wrong.append(f"calls, but finish is {choice.finish}")
    return wrong


# ---- requests ----------------------------------------------------------------------------------------------------------------------


def request(exchange: Exchange) -> list[str]:
    """A request is read and written again with the same meaning; other words for one meaning are named in `same_words`."""
    body = dict(exchange.request_json)
    body["model"] = body.get("model") or "named in the path"  # Azure
    hub = requests.read_request(body)
    written = json.loads(json.dumps(requests.write_body(hub, body["model"])))
    wrong = list(differences(same_words(body), same_words(written)))
    return wrong + ([] if requests.read_request(written) == hub else ["what was written reads differently"])


def same_words(body: dict[str, Any]) -> dict[str, Any]:
    """One of several ways to say the same: `stream: false` or nothing, one stop text or a list of one, and so on."""
    body = copy.deepcopy(body)
    if body.get("stream") is False:
        del body["stream"]
    if isinstance(body.get("stop"), str):
        body["stop"] = [body["stop"]]
    if "max_completion_tokens" in body:
        body["max_tokens"] = body.pop("max_completion_tokens")
    if body.get("tool_choice") == "any":
        body["tool_choice"] = "required"
    if isinstance(body.get("tool_choice"), dict):
        body["tool_choice"].setdefault("type", "function")
    return body


# ---- streams -----------------------------------------------------------------------------------------------------------------------


def events_of(data: bytes, exchange: Exchange) -> list[StreamEvent]:
    """The events of a stream's bytes. Raises HeadraceError."""
    events: list[StreamEvent] = []
    for event in each_event(data, exchange):
        events.append(event)
    return events


def each_event(data: bytes, exchange: Exchange) -> Iterator[StreamEvent]:
    frames, reader = SseReader(), CHAT.read_stream(_asked(exchange), target(exchange))
    for frame in frames.feed(data):
        yield from reader.feed(frame)
    for frame in frames.close():
        yield from reader.feed(frame, last=True)
    yield from reader.close()


def _asked(exchange: Exchange) -> ChatRequest:
    return ChatRequest(model="model", messages=(), stream=True, include_usage=True)


def stream(exchange: Exchange) -> list[str]:
    """The stream adds up to what a reader by hand finds, and again after being written anew."""
    events = events_of((exchange.sse_text or "").encode(), exchange)
    whole = collect(events)
    wrong = list(_unlike_by_hand(whole, exchange))
    reported = [event for event in events if isinstance(event, UsageReported)]
    wrong += [f"usage was reported {len(reported)} times"] if len(reported) > 1 else []
    finished = [event.choice for event in events if isinstance(event, Finished)]
    wrong += ["a choice finished twice"] if len(finished) != len(set(finished)) else []
    wrong += _calls_in_order(events)
    writer = CHAT.write_stream(_asked(exchange))
    again = collect(events_of(b"".join([writer.feed(event) for event in events]) + writer.close(), exchange))
    wrong += [] if again == whole else ["what was written anew adds up differently"]
    body = json.loads(json.dumps(CHAT.write_response(whole)))
    return wrong + ([] if responses.read_response(body) == whole else ["it cannot be said as one answer"])


def _calls_in_order(events: list[StreamEvent]) -> list[str]:
    """A call's id and name come in its first delta only."""
    named: set[tuple[int, int]] = set()
    for event in events:
        if isinstance(event, ToolCallDelta):
            key = (event.choice, event.index)
            if key not in named and not event.name:
                return ["a call begins without its name"]
            named.add(key)
    return []


def _unlike_by_hand(whole: ChatResponse, exchange: Exchange) -> Iterator[str]:
    by_hand = _add_up(exchange)
    usage = by_hand.pop("usage")
    if usage is not None and (whole.usage is None or whole.usage.input != usage["prompt_tokens"]):
        yield "the usage differs"
    told = {choice.index: _told(choice) for choice in whole.choices}
    yield from differences(by_hand, told)


def _told(choice: Choice) -> dict[str, Any]:
    message: Message = choice.message
    calls = [[call.id, call.name, call.arguments] for call in message.tool_calls]
    return {"text": message.text, "thinking": message.thinking, "calls": calls, "finish": choice.native_finish or choice.finish}


def _add_up(exchange: Exchange) -> dict[Any, Any]:
    """Choices of a recorded stream put together without any of headrace's code."""
    found: dict[Any, Any] = {"usage": None}
    for line in (exchange.sse_text or "").splitlines():
        if not line.startswith("data:") or line[5:].strip() in ("", "[DONE]"):
            continue
        chunk = json.loads(line[5:])
        usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
        found["usage"] = usage or found["usage"]
        for choice in chunk.get("choices") or []:
            said = found.setdefault(choice.get("index", 0), {"text": "", "thinking": "", "calls": {}, "finish": None})
            said["finish"] = said["finish"] or choice.get("finish_reason") or None
            delta = choice.get("delta")
            _add_delta(said, {"content": choice.get("text")} if delta is None else delta)
    for said in found.values():
        if isinstance(said, dict) and "calls" in said:
            said["calls"] = [said["calls"][index] for index in sorted(said["calls"])]
            said["finish"] = said["finish"] or ("tool_calls" if said["calls"] else None)
    return found


def _add_delta(said: dict[str, Any], delta: dict[str, Any]) -> None:
    content = delta.get("content") or ""
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        said["text"] += part["text"] if part["type"] == "text" else ""
        said["thinking"] += "".join(item["text"] for item in part["thinking"]) if part["type"] == "thinking" else ""
    details = "".join(detail.get("text") or detail.get("summary") or "" for detail in delta.get("reasoning_details") or [])
    said["thinking"] += details or delta.get("reasoning_content") or delta.get("reasoning") or ""
    for index, call in enumerate(delta.get("tool_calls") or []):
        known = said["calls"].setdefault(call.get("index", index), ["", "", ""])
        known[0] = known[0] or call.get("id") or ""
        known[1] = known[1] or call["function"].get("name") or ""
        known[2] += call["function"].get("arguments") or ""


def passed_through(exchange: Exchange) -> list[str]:
    """Without translation every chunk comes out as it came, and the end is recognised."""
    reader = ChunkReader(provider=exchange.provider, model="model")
    chunks = [chunk for frame in exchange.frames() if (chunk := reader.feed(frame)) is not None]
    reader.close()
    raw = [json.loads(frame.data) for frame in exchange.frames() if frame.data.startswith(b"{")]
    return [] if chunks == raw else ["a chunk was changed"]


def cuts(exchange: Exchange, count: int = 6) -> list[str]:
    """Cut anywhere, the stream fails, unless every choice had finished by then; no finish is invented."""
    data = (exchange.sse_text or "").encode()
    truth = {event.choice: event for event in events_of(data, exchange) if isinstance(event, Finished)}
    places = random.Random(exchange.id)  # the same cuts in every run
    return [wrong for _ in range(count) if (wrong := _cut(exchange, data[: places.randrange(len(data))], truth))]


def _cut(exchange: Exchange, data: bytes, truth: dict[int, Finished]) -> str:
    begun: set[int] = set()
    finished: set[int] = set()
    failed = False
    try:
        for event in each_event(data, exchange):
            begun.add(getattr(event, "choice", 0))
            if isinstance(event, Finished):
                finished.add(event.choice)
                if truth.get(event.choice) != event:
                    return f"cut at {len(data)}, a finish was invented"
    except HeadraceError as error:
        failed = error.failure.kind is Kind.TRUNCATED
        if not failed:
            return f"cut at {len(data)}, it failed as {error.failure.kind}"
    done = b"[DONE]" in data
    return "" if failed or done or (begun and finished >= begun) else f"cut at {len(data)}, it ended as if it were whole"


# ---- errors ------------------------------------------------------------------------------------------------------------------------

BY_STATUS = {
    200: Kind.BAD_REQUEST,  # fixtures of refusals, whose status was not kept
    400: Kind.BAD_REQUEST,
    401: Kind.AUTHENTICATION,
    402: Kind.PAYMENT,
    403: Kind.PERMISSION,
    404: Kind.NOT_FOUND,
    408: Kind.TIMEOUT,
    422: Kind.UNPROCESSABLE,
    429: Kind.RATE_LIMIT,
    500: Kind.SERVER,
    502: Kind.BAD_GATEWAY,
    503: Kind.OVERLOADED,
    504: Kind.TIMEOUT,
    529: Kind.OVERLOADED,
}
KEEPS_WAITING = (408, 429, 500, 502, 503, 504, 529)
"""Statuses that may name a time to come back."""

BY_WORDS = {
    "maximum context length": Kind.CONTEXT_WINDOW,
    "context length by": Kind.CONTEXT_WINDOW,
    "total length of all messages": Kind.CONTEXT_WINDOW,
    "ncorrect api key": Kind.AUTHENTICATION,
    "insufficient_quota": Kind.QUOTA_EXHAUSTED,
    "content_filter": Kind.CONTENT_POLICY,
    "model_not_found": Kind.NOT_FOUND,
    "is not a valid model": Kind.NOT_FOUND,
}
"""What stands somewhere in the body, over the status."""


def expected_kind(exchange: Exchange) -> Kind:
    body = json.dumps(exchange.response_json)
    return next((kind for words, kind in BY_WORDS.items() if words in body), BY_STATUS[exchange.status])


def error(exchange: Exchange) -> list[str]:
    """A refusal is the right kind, says something, echoes no key and asks for no wait it did not ask for."""
    response = HttpResponse(exchange.status, Headers.of(exchange.headers), json.dumps(exchange.response_json).encode())
    if exchange.status == 200:
        try:
            CHAT.read_response(response, _asked(exchange), target(exchange))
        except HeadraceError as failed:
            failure = failed.failure
        else:
            return ["an error under status 200 was taken for an answer"]
    else:
        failure = CHAT.read_error(response, target(exchange))
    wrong = (
        [] if failure.kind is expected_kind(exchange) else [f"{failure.kind} instead of {expected_kind(exchange)}: {failure.message[:80]}"]
    )
    wrong += ["no message"] if len(failure.message) < len(exchange.provider) + 6 else []
    wrong += ["a key is echoed"] if "sk-" in failure.message.replace("sk-…", "").replace("sk-.", "") else []
    return wrong + (["it waits"] if failure.retry_after is not None and exchange.status not in KEEPS_WAITING else [])


# ---- headers -----------------------------------------------------------------------------------------------------------------------

NOT_OURS = (
    "query-cost", "input-images", "audio-seconds", "ocr-pages", "input-characters", "x-ratelimit-key", "abusepenalty", "llm_provider-",
)  # fmt: skip
"""Parts of header names that count what headrace does not schedule, or no limit at all."""

NO_LIMIT = {"x-ratelimit", "x-ratelimit-requests", "x-ratelimit-tokens", "ratelimit-remaining", "ratelimit-reset"}
"""Together's flag, LiteLLM's twins of others; Replicate's and the reset alone are looked at with their neighbours."""


def headers(exchange: Exchange) -> list[str]:
    """Every number in a rate-limit header turns up in a view; every reset is understood."""
    given = {name: value for name, value in exchange.headers.items() if "ratelimit" in name and not any(part in name for part in NOT_OURS)}
    views = read_quota(Headers.of(exchange.headers), now_wall=1_700_000_000.0)
    seen = {number for view in views for number in (view.limit, view.remaining)}
    wrong = []
    for name, value in given.items():
        if name in NO_LIMIT or not value[:1].isdigit():
            continue
        if "reset" in name:
            wrong += [] if any(view.reset is not None for view in views) else [f"{name}: {value} is not understood"]
        elif "renewalperiod" in name:
            wrong += [] if not views or any(view.window == float(value) for view in views) else [f"{name}: {value} is lost"]
        elif float(value) < UNLIMITED and float(value) not in seen:
            wrong.append(f"{name}: {value} is lost")
    return wrong

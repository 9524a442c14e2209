"""Recorded exchanges read as if a provider unknown here had sent them: what is lost without its row.

A provider that speaks OpenAI's dialect is called as `openai/…` with a `base_url`, one that speaks Anthropic's or Gemini's as
`anthropic/…` or `gemini/…`. What a caller has then is held against what he has from the provider's own row.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from conformance.corpus import Exchange, everything
from conformance.tongues import TONGUES
from headrace.calls import CHAT, COMPLETIONS, EMBEDDINGS, Call, Operation, prepare
from headrace.core import answer_of, source_of
from headrace.destinations import Destination, destination
from headrace.dialects.failures import read_error
from headrace.dialects.quota import read_quota
from headrace.errors import HeadraceError
from headrace.models.prices import Beside
from headrace.providers.catalog import catalog
from headrace.wire import Headers, HttpResponse
from headrace.writing import translation_of, write

ROWS = {
    "together": "together_ai", "bedrock-mantle": "bedrock_mantle", "local-openai-compatible": "hosted_vllm", "pydantic-gateway": "openai",
    "openai-codex": "openai", "vercel-gateway": "vercel_ai_gateway", "portkey": "openai",
    ("vertex", "gemini"): "vertex_ai", ("vertex", "anthropic_messages"): "vertex_ai/claude",
    ("bedrock", "anthropic_messages"): "bedrock/invoke/claude", ("ollama", "openai_chat"): "openai",
    ("anthropic", "openai_chat"): "openai", ("gemini", "openai_chat"): "openai",
}  # fmt: skip
"""Rows of providers that are called otherwise in the recordings, for all they speak or for one dialect; behind a slash what a model's name
begins with that leads to the row for that dialect."""

STRANGERS = {"openai_chat": "openai", "anthropic_messages": "anthropic", "gemini": "gemini"}
"""By dialect, whose row stands for somebody unknown who speaks it."""

OPERATIONS: dict[str, Operation] = {"chat": CHAT, "completions": COMPLETIONS, "embeddings": EMBEDDINGS}
COLUMNS = ("requests", "answers", "streams", "errors", "limits")


class Known(NamedTuple):
    """An exchange, its dialect, and the row that is its provider's own."""

    exchange: Exchange
    dialect: str
    row: str


def known() -> Iterator[Known]:
    """Every exchange of a dialect that strangers may speak."""
    for tongue in TONGUES:
        if tongue.name in STRANGERS:
            for exchange in tongue.exchanges():
                yield Known(exchange, tongue.name, _row(exchange, tongue.name))
    for kind in ("completions", "embeddings"):
        for exchange in everything():
            if exchange.kind == kind:
                yield Known(exchange, "openai_chat", _row(exchange, "openai_chat"))


def _row(exchange: Exchange, dialect: str) -> str:
    name = ROWS.get((exchange.provider, dialect)) or ROWS.get(exchange.provider, exchange.provider)
    return name if catalog().get(name.partition("/")[0]) is not None else STRANGERS[dialect]


def stranger(dialect: str, model: str) -> Destination:
    return destination(f"{STRANGERS[dialect]}/{model}", {"base_url": "https://stranger.example/v1", "api_key": "a-key-of-somebody"})


def own_way(row: str, model: str) -> Destination:
    """The row at its own address, where it has one: there it knows more."""
    provider, _, begin = row.partition("/")
    known = catalog().get(provider)
    address = {} if known is not None and known.base_url else {"base_url": "https://customer.example/v1"}
    return destination(f"{provider}/{begin}{model}", {**address, "api_key": "a-key-of-somebody"})


def differing(one: Known) -> dict[str, str]:
    """By column what somebody without the row has otherwise, empty where nothing is lost. Columns that do not concern it are left out."""
    exchange = one.exchange
    model = _model(exchange)
    own, strange = own_way(one.row, model), stranger(one.dialect, model)
    seen: dict[str, Callable[[Destination], Any]] = {}
    if exchange.is_error or exchange.status >= 400:
        seen["errors"] = lambda to: refused(exchange, to)
    elif isinstance(exchange.response_json, dict):
        seen["answers"] = lambda to: answered(exchange, to)
    elif exchange.sse_text:
        seen["streams"] = lambda to: streamed(exchange, to)
    if exchange.status < 300 and isinstance(exchange.request_json, dict) and one.dialect == "openai_chat":
        seen["requests"] = lambda to: asked(exchange, to)
    if any("ratelimit" in name or name == "retry-after" for name in exchange.headers):
        seen["limits"] = lambda to: limits(exchange, to)
    return {column: _difference(tried(look, own), tried(look, strange)) for column, look in seen.items()}


def _model(exchange: Exchange) -> str:
    body = exchange.request_json
    named = body.get("model") if isinstance(body, dict) else None
    return named if isinstance(named, str) and named else "m"


def tried(look: Callable[[Destination], Any], to: Destination) -> Any:
    try:
        return look(to)
    except HeadraceError as error:
        return type(error).__name__, error.failure.kind, error.message.partition(":")[2]


def _difference(own: Any, strange: Any) -> str:
    """What the row has beyond; nothing where not even that can read it."""
    if own == strange or isinstance(own, tuple) or (isinstance(own, dict) and own.get("end", "whole") != "whole"):
        return ""
    if isinstance(own, dict) and isinstance(strange, dict):
        names = [name for name in {**own, **strange} if own.get(name) != strange.get(name)]
        return "; ".join(f"{name}: {str(own.get(name))[:90]} became {str(strange.get(name))[:90]}" for name in names)
    return f"{str(own)[:160]} became {str(strange)[:160]}"


def call_of(exchange: Exchange, stream: bool) -> Call:
    operation = OPERATIONS.get(exchange.kind, CHAT)
    body = exchange.request_json if isinstance(exchange.request_json, dict) else {}
    spoken = operation is not CHAT or (isinstance(body.get("messages"), list) and exchange.kind == "chat")
    prompt = body.get(operation.prompt) if spoken else None
    options = {name: value for name, value in body.items() if name not in ("model", "stream", operation.prompt)} if spoken else {}
    plain = [{"role": "user", "content": "hi"}] if operation is CHAT else "hi"
    return prepare(operation, "m", prompt or plain, stream, {**options, "extra_body": options.pop("extra_body", None)})


def asked(exchange: Exchange, to: Destination) -> Any:
    call = call_of(exchange, bool(exchange.request_json.get("stream")))
    request = write(call, to, translation_of(call, to))
    return {name: value for name, value in json.loads(request.body).items() if name != "model"}


def answered(exchange: Exchange, to: Destination) -> Any:
    call = call_of(exchange, False)
    translation = translation_of(call, to)
    response = HttpResponse(exchange.status, Headers.of(exchange.headers), json.dumps(exchange.response_json).encode())
    answer: Any = answer_of(call, to, translation, (), response)
    return {**_without_chance(answer.model_dump()), "usage for the bill": answer._hidden_params.usage}


def _without_chance(told: dict[str, Any]) -> dict[str, Any]:
    """Ids and moments that are made up where a dialect has none."""
    return {name: value for name, value in told.items() if name not in ("id", "created")}


def streamed(exchange: Exchange, to: Destination) -> Any:
    call = call_of(exchange, True)
    translation = translation_of(call, to)
    headers = {"content-type": "text/event-stream", **exchange.headers}
    source = source_of(call, to, translation, Beside({"additional_headers": headers}), None)
    ready: deque[Any] = deque()
    end: Any = "whole"
    try:
        source.feed((exchange.sse_text or "").encode(), ready)
        source.close(ready)
    except HeadraceError as error:
        end = type(error).__name__, error.failure.kind
    return {"pieces": [_without_chance(piece.model_dump()) for piece in ready], "end": end, "usage": source.usage}


def refused(exchange: Exchange, to: Destination) -> Any:
    body = exchange.response_json
    text = json.dumps(body) if body is not None else exchange.sse_text or exchange.response_text or ""
    response = HttpResponse(exchange.status, Headers.of(exchange.headers), text.encode())
    failure = read_error(response, provider=to.provider.name, model="m", now_wall=0.0)
    return {name: getattr(failure, name) for name in ("kind", "scope", "retry_after", "retryable", "code", "param")}


def limits(exchange: Exchange, to: Destination) -> Any:
    """Over which span a limit holds no header says where its name does not: that only a row knows."""
    views = read_quota(exchange.headers, family=to.provider.quota, now_wall=0.0)
    return {f"{view.unit} {number}": (view.limit, view.remaining, view.reset) for number, view in enumerate(views)}


# ---- the table ---------------------------------------------------------------------------------------------------------------------


class Count(NamedTuple):
    """How many exchanges were looked at, by provider, dialect and column; what is lost of them."""

    held: Counter[tuple[str, str, str]]
    lost: Counter[tuple[str, str, str]]
    why: list[str]


def counted() -> Count:
    count = Count(Counter(), Counter(), [])
    for one in known():
        for column, lost in differing(one).items():
            where = (one.exchange.provider, one.dialect, column)
            count.held[where] += 1
            if lost and one.exchange.id not in OF_THE_ROW:
                count.lost[where] += 1
                count.why.append(f"{one.exchange}: {column}: {lost}")
    return count


OF_THE_ROW = {
    "69c778d705ab19d7": "Mistral takes a picture's address as a text of its own: no word of OpenAI's says so",
    "dc465188f0aca4a9": "texts of a model that only chats are completed by its chat, at OpenAI and Azure alone",
}
"""What only a row can know, by the exchange that showed it."""


def lines(count: Count) -> Iterator[str]:
    yield f"{'as if sent by a stranger':<26}{'in the words of':<22}" + "".join(f"{name:>11}" for name in COLUMNS)
    rows = sorted({(provider, dialect) for provider, dialect, _ in count.held})
    for row in rows:
        yield f"{row[0]:<26}{row[1]:<22}" + "".join(f"{_cell(count.held[(*row, name)], count.lost[(*row, name)]):>11}" for name in COLUMNS)
    sums = [[sum(number for where, number in them.items() if where[2] == name) for them in (count.held, count.lost)] for name in COLUMNS]
    yield f"{'all':<48}" + "".join(f"{_cell(held, lost):>11}" for held, lost in sums)


def _cell(held: int, lost: int) -> str:
    return "" if not held else str(held) if not lost else f"{held - lost}/{held}"

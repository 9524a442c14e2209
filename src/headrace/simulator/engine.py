"""A simulated provider: plans a reply from a request and the time. Has no sockets and no clock of its own."""

from __future__ import annotations

import random
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import structs

from headrace.errors import ConfigurationError
from headrace.simulator import openai_answers as answers
from headrace.simulator import openai_api as api
from headrace.simulator import others
from headrace.simulator.asks import Answer, Ask, Chat, Embed, Limited, Models, Other, Rejected
from headrace.simulator.buckets import Buckets
from headrace.simulator.clouds import Clouds
from headrace.simulator.config import ProviderConfig, draw, provider_of
from headrace.simulator.enforce import Admitted, Cost, Enforcer, Refused
from headrace.simulator.exchange import NEVER, Ending, Exchange, Piece
from headrace.simulator.faults import NO_WISH, BadFault, Fault, FaultBook, Wish, parse_wish
from headrace.simulator.keeping import Keeper
from headrace.simulator.model import Model
from headrace.simulator.stats import Stats
from headrace.simulator.uploading import Uploads
from headrace.simulator.wires import OPENAI, Stream, Wire, wire_of

JSON: Final = ("content-type", "application/json")
EVENTS: Final = ("content-type", "text/event-stream; charset=utf-8")
HTML: Final = ("content-type", "text/html")

BEFORE_ADMISSION: Final = frozenset({400, 401, 402, 403, 404, 429})
"""Injected statuses that a provider returns before doing any work, so they are not charged."""

CACHE_BLOCK: Final = 4096
"""Characters (1,024 tokens) per block of the prompt cache."""
CACHE_SIZE: Final = 10_000

HTML_PAGE: Final = b"<html>\r\n<head><title>%d</title></head>\r\n<body>\r\n<center><h1>%d</h1></center>\r\n</body>\r\n</html>\r\n"


class Incoming(NamedTuple):
    """One HTTP request as it reached its provider. `path` lacks the provider's prefix; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: str = ""


class Pace(NamedTuple):
    """Speed of one response: seconds to the first token, and between tokens."""

    ttft: float
    gap: float


class PromptCache:
    """A cache of prompt prefixes in whole blocks."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, int], None] = OrderedDict()

    def cached_tokens(self, model: str, text: str) -> int:
        """Cached tokens of `text`; all its whole blocks are cached from now on."""
        cached, checksum = 0, 0
        for at in range(0, len(text) - CACHE_BLOCK + 1, CACHE_BLOCK):
            checksum = zlib.crc32(text[at : at + CACHE_BLOCK].encode("utf-8", "replace"), checksum)
            mark = (model, checksum)
            if mark in self._seen:
                cached = (at + CACHE_BLOCK) // 4
            self._seen[mark] = None
            self._seen.move_to_end(mark)
        while len(self._seen) > CACHE_SIZE:
            self._seen.popitem(last=False)
        return cached


class Provider:
    """One running provider. `now` is the same monotonic clock throughout; `epoch` is its zero in Unix seconds."""

    def __init__(self, config: ProviderConfig, *, seed: int = 0, now: float = 0.0, epoch: float = 0.0) -> None:
        self.config = config
        self.model = Model(seed)
        self.chance = random.Random(f"{seed}/{config.name}")
        self.faults = FaultBook([fault.rule() for fault in config.faults])
        self.stats = Stats(now)
        self.quotas: dict[tuple[str, str], Enforcer] = {}
        """By key and model; each is empty if limits are not per key or model."""
        self._cache = PromptCache()
        self._keys = frozenset(config.api_keys)
        self._started = now
        self._epoch = epoch
        self._now = now
        self._count = 0
        self._wire: Wire = OPENAI
        """The wire of the current request."""
        self._endpoint = ""
        self._keeper: Keeper | None = None
        self._clouds: Clouds
        self._buckets: Buckets
        self._uploads: Uploads
        """Created with the first request, like the keeper."""

    # Handling a request

    def handle(self, incoming: Incoming, now: float) -> Exchange:
        """The reply to `incoming`, planned from `now` on. Never raises for anything a caller can send."""
        self._count += 1
        self._now = now
        self._wire, self._endpoint = wire_of(incoming.path)
        self.stats.requests += 1
        try:
            exchange = self._handle(incoming, now) if self.faults.dead is None else self._dead(self.faults.dead)
        except Rejected as error:
            exchange = self._error(error)
        self.stats.statuses[0 if exchange.headless else exchange.status] += 1
        return exchange

    def _handle(self, incoming: Incoming, now: float) -> Exchange:
        key = api.key_of(incoming.headers)
        if self._keys and key not in self._keys:
            raise api.wrong_key(key)
        if (kept := self._kept(incoming, now)) is not None:
            return kept
        endpoint = self._endpoint or ("other" if incoming.path in others.PLACES else api.endpoint_of(incoming.method, incoming.path))
        if (self._endpoint or endpoint == "other") and incoming.method != "POST":
            raise Rejected(405, f"Not allowed to {incoming.method} on {incoming.path}.", code="method_not_supported")
        if endpoint == "other":
            ask: Ask = others.read(incoming.path, incoming.headers, incoming.body)
        else:
            ask = self._wire.read(endpoint, incoming.path, incoming.body, self.config.extra_params)
        if isinstance(ask, Models):
            return self._reply([], answers.write_models(self.config.models, int(self._epoch + self._started), self.config.name, ask.only))
        ask, wish = self._wish(ask, incoming.headers)
        if ask.model not in self.config.models:
            raise api.no_such_model(ask.model)
        fault = wish.fault or self.faults.strike(ask.model, now - self._started, self.chance)
        if fault is not None:
            self.stats.faults[fault.name] += 1
            if fault.kind == "status" and fault.status in BEFORE_ADMISSION:
                raise answers.error_for_status(fault.status, fault.retry_after, self.config.retry_after)
        ask = self._fitting(ask)
        return self._admit(ask, wish, fault, key or "", now)

    def _kept(self, incoming: Incoming, now: float) -> Exchange | None:
        """A reply about files or batches; None for anything else. Calls in a batch are answered by the same model without limits."""

        def alone(path: str, body: bytes) -> tuple[int, bytes]:
            exchange = Provider(unlimited(self.config)).handle(Incoming("POST", path, {}, body), now)
            return exchange.status, exchange.body

        if self._keeper is None:
            self._buckets = Buckets(self.config.buckets, self.config.secret_keys, f"/{self.config.name}")
            self._keeper, self._clouds = Keeper(alone), Clouds(alone, self._buckets)
            self._uploads = Uploads(self._keeper.uploaded, "" if self.config.port is not None else f"/{self.config.name}")
        moment, (method, path, headers, content, query) = int(self._epoch + now), incoming
        if (piece := self._uploads.reply(path, query, headers, content, moment)) is not None:
            return self._reply(piece.headers, piece.body)
        body = self._keeper.reply(method, path, headers, content, moment)
        if body is None and (told := self._buckets.reply(method, path, query, headers, content, moment)) is not None:
            return Exchange(told.status, self._headers(told.kind, told.headers), body=told.body)
        if body is None:
            body = self._clouds.reply(method, path, query, headers, content, moment)
        return None if body is None else self._reply([], body)

    def _wish(self, ask: Limited, headers: Mapping[str, str]) -> tuple[Limited, Wish]:
        """The caller's instructions to the simulator, from a header or after a "?" in the model name."""
        model, mark, text = ask.model.partition("?")
        text = headers.get("x-simulate") or text
        if mark:
            ask = structs.replace(ask, model=model)
        if not text:
            return ask, NO_WISH
        try:
            return ask, parse_wish(text)
        except BadFault as error:
            raise Rejected(400, str(error), param="x-simulate", code="invalid_simulation") from None

    def _fitting(self, ask: Limited) -> Limited:
        """The request, with its cached tokens looked up. Raises Rejected if it exceeds what the model can do."""
        config = self.config
        if isinstance(ask, Other):
            return ask
        if isinstance(ask, Embed):
            if ask.dimensions is not None and ask.dimensions > config.dimensions:
                message = f"Invalid 'dimensions': at most {config.dimensions} are supported, whereas you asked for {ask.dimensions}."
                raise Rejected(400, message, param="dimensions")
            return ask
        wanted = ask.max_tokens or 0
        if wanted > config.max_output_tokens:
            message = (
                f"max_tokens is too large: {wanted}. This model supports at most {config.max_output_tokens} completion tokens, "
                f"whereas you provided {wanted}."
            )
            raise Rejected(400, message, param="max_tokens", code="invalid_value")
        if ask.prompt_tokens + wanted > config.context_window:
            message = (
                f"This model's maximum context length is {config.context_window} tokens. However, you requested "
                f"{ask.prompt_tokens + wanted} tokens ({ask.prompt_tokens} in the messages, {wanted} in the completion). "
                "Please reduce the length of the messages or completion."
            )
            raise Rejected(400, message, param="messages", code="context_length_exceeded")
        if len(ask.text) < CACHE_BLOCK:
            return ask
        return structs.replace(ask, cached_tokens=min(ask.prompt_tokens, self._cache.cached_tokens(ask.model, ask.text)))

    def _admit(self, ask: Limited, wish: Wish, fault: Fault | None, key: str, now: float) -> Exchange:
        enforcer = self._quota(key, ask.model)
        verdict = enforcer.admit(now, self._cost(ask))
        headers = self._wire.limit_headers(enforcer, now, self._epoch + now) if self.config.header_style == "openai" else []
        if isinstance(verdict, Refused):
            self.stats.rejected[verdict.scope] += 1
            return self._error(answers.rejected_by_limit(verdict, ask.model, self.config.retry_after), headers)
        try:
            exchange = self._plan(ask, wish, fault, headers)
        except Rejected:
            enforcer.end(now, verdict, failed=True)
            raise
        self.stats.enter(ask.prompt_tokens)
        return self._watched(exchange, enforcer, verdict, exchange.status >= 500, now)

    def _watched(self, exchange: Exchange, enforcer: Enforcer, admitted: Admitted, failed: bool, start: float) -> Exchange:
        def on_tokens(now: float, tokens: int) -> None:
            self.stats.output_tokens += tokens
            enforcer.produce(now, admitted, tokens)

        def on_end(now: float, left: bool) -> None:
            if exchange.tokens:
                # Of a body sent whole, the tokens generated until the caller left still count.
                share = min(1.0, (now - start) / exchange.delay) if left and exchange.delay else 1.0
                on_tokens(now, int(exchange.tokens * share))
            enforcer.end(now, admitted, failed=failed)
            self.stats.leave(left=left)

        return exchange.watched(on_tokens, on_end)

    def _cost(self, ask: Limited) -> Cost:
        if isinstance(ask, Embed | Other):
            return Cost(ask.prompt_tokens, 0)
        limit = ask.max_tokens if ask.max_tokens is not None else self.config.assumed_output_tokens
        return Cost(ask.prompt_tokens, limit * ask.n, ask.cached_tokens)

    def _quota(self, key: str, model: str) -> Enforcer:
        config = self.config
        per_key, per_model = "key" in config.limits_per, "model" in config.limits_per
        name = (key if per_key else "", model if per_model else "")
        enforcer = self.quotas.get(name)
        if enforcer is None:
            enforcer = self.quotas[name] = Enforcer(
                config.rules(self._started),
                accounting=config.accounting,
                estimate=config.estimate,
                concurrency=config.concurrency,
                count_failed=config.count_failed,
            )
        return enforcer

    # Building the reply

    def _plan(self, ask: Limited, wish: Wish, fault: Fault | None, headers: list[tuple[str, str]]) -> Exchange:
        config = self.config
        ttft = draw(config.ttft, self.chance) if wish.ttft is None else wish.ttft
        gap = draw(config.gap, self.chance) if wish.gap is None else wish.gap
        slower = fault.factor if fault is not None and fault.kind == "slow" else 1.0
        pace = Pace(ttft * slower, gap * slower)
        if isinstance(ask, Other):
            kind, body = others.write(ask)
            exchange = Exchange(200, self._headers(("content-type", kind), headers), body=body, delay=pace.ttft)
        elif isinstance(ask, Embed):
            exchange = self._reply(headers, answers.write_embeddings(ask, ask.dimensions or config.dimensions), delay=pace.ttft)
        else:
            exchange = self._plan_chat(ask, wish, fault, pace, headers)
        return exchange if fault is None else self._spoil(exchange, fault, headers)

    def _plan_chat(self, chat: Chat, wish: Wish, fault: Fault | None, pace: Pace, headers: list[tuple[str, str]]) -> Exchange:
        config = self.config
        rng = self.model.rng(chat, self.chance)
        length = int(draw(config.output_tokens, rng)) if wish.tokens is None else wish.tokens
        thoughts = int(draw(config.reasoning_tokens, rng)) if chat.reasoning else 0
        try:
            answer = self.model.answer(chat, rng, length, exact=wish.tokens is not None, reasoning=thoughts)
        except ValueError as error:
            raise Rejected(400, f"Invalid schema: {error}.", code="invalid_schema") from None
        stamp = answers.Stamp(self._id("cmpl-" if chat.legacy else "chatcmpl-"), int(self._epoch + self._now), chat.model)
        if chat.stream:
            pieces = self._pieces(chat, answer, stamp, pace, fault)
            ending: Ending = "proper" if fault is None else ENDINGS.get(fault.kind, "proper")
            return Exchange(200, self._headers(EVENTS, headers), pieces=pieces, delay=pace.ttft, ending=ending)
        body = self._wire.write_answer(chat, answer, stamp, show_reasoning=config.reasoning_content)
        # Choices are generated in parallel: the longest one decides.
        steps = max(choice.tokens for choice in answer.choices)
        exchange = self._reply(headers, body, delay=pace.ttft + pace.gap * steps)
        exchange.tokens = answer.output_tokens
        return exchange

    def _pieces(self, chat: Chat, answer: Answer, stamp: answers.Stamp, pace: Pace, fault: Fault | None) -> Iterator[Piece]:
        config = self.config
        stream = self._wire.stream(chat, answer, stamp, chunk_tokens=config.chunk_tokens, show_reasoning=config.reasoning_content)
        pieces = _timed(stream.events(), pace.gap / len(answer.choices))
        if fault is None or fault.kind not in STREAM_FAULTS:
            return chain(pieces, _ended(stream))
        return _spoiled(pieces, _ended(stream), fault, self._wire)

    def _spoil(self, exchange: Exchange, fault: Fault, headers: Sequence[tuple[str, str]]) -> Exchange:
        """The reply as changed by `fault`. Faults within a stream are already part of its pieces."""
        kind, stream = fault.kind, exchange.pieces is not None
        if kind in ("status", "html") or (kind == "error_event" and not stream):
            return self._failure(fault, headers)
        if kind == "hang":
            return Exchange(200, [], delay=NEVER, headless=True, ending="hang")
        if kind == "reset":
            return Exchange(200, [], delay=exchange.delay, headless=True, ending="reset")
        if kind == "oversized":
            return Exchange(200, self._headers(JSON), pieces=_padding(fault.bytes), delay=exchange.delay, length=fault.bytes)
        return exchange if stream else self._spoil_body(exchange, fault)

    def _failure(self, fault: Fault, headers: Sequence[tuple[str, str]] = ()) -> Exchange:
        if fault.kind == "html":
            return Exchange(fault.status, self._headers(HTML), body=HTML_PAGE % (fault.status, fault.status))
        return self._error(answers.error_for_status(fault.status, fault.retry_after, self.config.retry_after), headers)

    def _dead(self, fault: Fault) -> Exchange:
        """The reply of a dead provider, which inspects and charges nothing."""
        self.stats.faults[fault.name] += 1
        if fault.kind in ("status", "html"):
            return self._failure(fault)
        silent = fault.kind == "hang"
        return Exchange(200, [], delay=NEVER if silent else 0.0, headless=True, ending="hang" if silent else "reset")

    def _spoil_body(self, exchange: Exchange, fault: Fault) -> Exchange:
        """A truncated body: with its full length announced (the connection breaks) or not (the JSON does)."""
        half = exchange.body[: len(exchange.body) // 2]
        if fault.kind in ("garbage", "unfinished"):
            exchange.body, exchange.length = half, len(half)
        elif fault.kind in ENDINGS:
            exchange.pieces = iter([(0.0, half, 0)])
            exchange.ending = ENDINGS[fault.kind]
        return exchange

    def _reply(self, headers: Sequence[tuple[str, str]], body: bytes, *, delay: float = 0.0) -> Exchange:
        return Exchange(200, self._headers(JSON, headers), body=body, delay=delay)

    def _error(self, error: Rejected, headers: Sequence[tuple[str, str]] = ()) -> Exchange:
        return Exchange(error.status, self._headers(JSON, [*headers, *error.headers]), body=self._wire.write_error(error))

    def _headers(self, kind: tuple[str, str], more: Sequence[tuple[str, str]] = ()) -> list[tuple[str, str]]:
        return [kind, *more, ("x-request-id", self._id("req_"))]

    def _id(self, prefix: str) -> str:
        return f"{prefix}{self.config.name}{self._count:012x}"

    # Control

    def change(self, **fields: Any) -> None:
        """Change fields of the configuration. Raises ConfigurationError that names the field; nothing has changed then."""
        fixed = FIXED_FIELDS & fields.keys()
        if fixed:
            raise ConfigurationError(f"{self.config.name}: {', '.join(sorted(fixed))} cannot be changed while it runs")
        changed = provider_of({**msgspec.to_builtins(self.config), **fields}, self.config.name)
        self.config = changed
        self._keys = frozenset(changed.api_keys)
        for enforcer in self.quotas.values():
            enforcer.change(changed.rules(self._started), changed.concurrency)
        if "faults" in fields:
            self.faults.replace([fault.rule() for fault in changed.faults])

    def dies(self, fault: Fault | None = None) -> None:
        """Apply `fault` to every request from now on; by default, connections are reset."""
        self.faults.dead = fault or Fault("reset")

    def recovers(self) -> None:
        self.faults.dead = None

    def report(self, now: float) -> dict[str, Any]:
        """The provider's statistics as JSON values."""
        return self.stats.report(now, [(_quota_name(*name), enforcer) for name, enforcer in self.quotas.items()])

    def forget(self, now: float) -> None:
        """Reset the statistics. Limits keep their counts."""
        self.stats.reset(now)
        for enforcer in self.quotas.values():
            enforcer.forget()


STREAM_FAULTS: Final = frozenset({"stall", "break", "cut", "unfinished", "garbage", "error_event"})
ENDINGS: Final[Mapping[str, Ending]] = {"stall": "hang", "break": "reset", "cut": "close"}
FIXED_FIELDS: Final = frozenset({"name", "port", "dialect", "accounting", "estimate", "limits_per", "count_failed"})


def unlimited(config: ProviderConfig) -> ProviderConfig:
    """The same provider without limits, keys or faults."""
    free: dict[str, Any] = dict.fromkeys(("rpm", "tpm", "itpm", "otpm", "rpd", "tpd", "concurrency"))
    return structs.replace(config, **free, windows=(), api_keys=(), faults=())


def _quota_name(key: str, model: str) -> str:
    """For statistics: shows a key's last four characters, or none of a short key."""
    shown = f"key …{key[-4:]}" if len(key) >= 8 else f"key of {len(key)} characters" if key else ""
    return " ".join(filter(None, (shown, model))) or "all"


def _timed(events: Iterator[tuple[bytes, int]], gap: float) -> Iterator[Piece]:
    """Events delayed by `gap` seconds per token; the first token has no further delay."""
    begun = False
    for data, tokens in events:
        yield (gap * tokens if begun else 0.0), data, tokens
        begun = begun or tokens > 0


def _ended(stream: Stream) -> Iterator[Piece]:
    yield 0.0, stream.end(), 0


def _spoiled(pieces: Iterator[Piece], end: Iterator[Piece], fault: Fault, wire: Wire) -> Iterator[Piece]:
    """The first pieces unchanged, then what `fault` specifies."""
    yield from islice(pieces, fault.after)
    if fault.kind == "cut":
        gap, data, _ = next(chain(pieces, end))
        word = data.find(b'"content":"')
        yield gap, data[: word + 13 if word >= 0 else len(data) // 2], 0
    elif fault.kind == "error_event":
        yield 0.0, wire.write_error_event(answers.error_for_status(fault.status, None, "none")), 0
    elif fault.kind == "garbage":
        yield 0.0, b'data: {"id":"chatcm\n\n', 0
        yield from pieces
        yield from end


def _padding(size: int) -> Iterator[Piece]:
    """A JSON object of exactly `size` bytes, at least fourteen."""
    yield 0.0, b'{"padding":"', 0
    left = size - 14
    while left > 0:
        yield 0.0, b"x" * min(left, 65_536), 0
        left -= 65_536
    yield 0.0, b'"}', 0

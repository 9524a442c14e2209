"""What the judge knows of each dialect apart from headrace: which recordings speak it, and where in them what is said.

A dialect joins the judge by a row in `TONGUES`; everything else here, in `judge`, `mutations` and `crossing` goes by these rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from conformance import anthropic_checks, bedrock_checks, checks, cohere_checks, gemini_checks, ollama_checks, responses_checks
from conformance.cohere_checks import COHERE
from conformance.corpus import Exchange, exchanges
from conformance.native_checks import data_of
from conformance.ollama_checks import OLLAMA
from headrace.dialects import load
from headrace.dialects.base import Dialect, Target
from headrace.wire import Headers, HttpResponse

Body: TypeAlias = dict[str, Any]
Check: TypeAlias = Callable[[Exchange], list[str]]


def as_it_is(body: Body) -> Body:
    return body


def nothing_changed(body: Body) -> tuple[Body, list[str]]:
    return body, []


class Tongue(Struct, frozen=True, kw_only=True, eq=False):
    """One dialect. What `Check`s return is what is wrong."""

    name: str
    exchanges: Callable[[], Iterable[Exchange]]
    target: Callable[[Exchange], Target]
    is_error: Callable[[Exchange], bool]
    data_of: Callable[[Exchange], bytes]
    """A recorded stream's bytes."""
    told: Check
    """The hub says what the answer said, read by hand."""
    stream: Check
    """The stream adds up to what a reader by hand finds."""
    error: Check
    typed: bool = True
    """Whether its blocks say their `type`, or are known by their only field."""
    asked: Callable[[Exchange], Body | None]
    """The body of the request, its model in it."""
    same_words: Callable[[Body], Body] = as_it_is
    """One of several ways to say the same request."""
    oddities: Mapping[str, str] = {}
    """Recordings, by their ids, that are not of this dialect, and why: explained exceptions that nothing is asked of."""
    meant: Callable[[Body], tuple[Body, list[str]]] = nothing_changed
    """An answer as it should be written again, and the explained exceptions that changed it."""

    @property
    def dialect(self) -> Dialect:
        return load(self.name)

    def is_answer(self, exchange: Exchange) -> bool:
        return exchange.id not in self.oddities and self.is_good(exchange) and isinstance(exchange.response_json, dict)

    def is_request(self, exchange: Exchange) -> bool:
        return exchange.status < 300 and self.asked(exchange) is not None

    def is_good(self, exchange: Exchange) -> bool:
        return exchange.status < 300 and not self.is_error(exchange)

    def is_stream(self, exchange: Exchange) -> bool:
        """Whole: what was recorded broken is looked at by itself."""
        broken = "mid_stream_error" in exchange.tags or "stream_cut" in exchange.tags
        return exchange.id not in self.oddities and self.is_good(exchange) and not broken and streamed(exchange)


def streamed(exchange: Exchange) -> bool:
    if exchange.sse_text or exchange.eventstream_b64 or isinstance(exchange.response_json, list):
        return True
    return (exchange.response_text or "").startswith('{"')


def reply(body: Any, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(200, Headers.of(headers or {}), json.dumps(body).encode())


def body_of(exchange: Exchange) -> Body | None:
    body = exchange.request_json
    return body if isinstance(body, dict) else None


def _named(exchange: Exchange) -> Body | None:
    """Azure, Bedrock and Vertex name the model in the path."""
    body = body_of(exchange)
    return None if body is None else {**body, "model": body.get("model") or "named in the path"}


def _sse(exchange: Exchange) -> bytes:
    return (exchange.sse_text or "").encode()


TONGUES: tuple[Tongue, ...] = (
    Tongue(
        name="openai_chat", exchanges=lambda: exchanges("chat"), target=checks.target, is_error=lambda it: it.is_error, data_of=_sse,
        told=checks.content_is_told, stream=checks.stream, error=checks.error, asked=_named,
        same_words=checks.same_words, meant=checks.meant,
    ),
    Tongue(
        name="openai_responses", exchanges=responses_checks.exchanges, target=responses_checks.target,
        is_error=lambda it: it.status >= 400, data_of=_sse, told=responses_checks.told, stream=responses_checks.stream,
        error=responses_checks.error, asked=body_of, same_words=responses_checks.same_words, oddities=responses_checks.EXCEPTIONS,
    ),
    Tongue(
        name="anthropic_messages", exchanges=anthropic_checks.exchanges, target=anthropic_checks.target,
        is_error=anthropic_checks.is_error, data_of=anthropic_checks.data_of, told=anthropic_checks.told,
        stream=anthropic_checks.stream, error=anthropic_checks.error, asked=_named, same_words=anthropic_checks.same_words,
    ),
    Tongue(
        name="bedrock_converse", typed=False, exchanges=bedrock_checks.exchanges, target=bedrock_checks.target,
        is_error=lambda it: it.status >= 400, data_of=bedrock_checks.data_of, told=bedrock_checks.told, stream=bedrock_checks.stream,
        error=bedrock_checks.error, asked=lambda it: next(bedrock_checks.bodies(it), None), same_words=bedrock_checks.same_words,
    ),
    Tongue(
        name="gemini", typed=False, exchanges=gemini_checks.exchanges, target=gemini_checks.target, is_error=gemini_checks.is_error,
        data_of=gemini_checks.data_of, told=gemini_checks.told, stream=gemini_checks.stream, error=gemini_checks.error,
        asked=body_of, same_words=gemini_checks.same_words,
    ),
    Tongue(
        name="cohere", exchanges=cohere_checks.exchanges, target=COHERE.target, is_error=lambda it: it.status >= 400, data_of=data_of,
        told=COHERE.told, stream=COHERE.stream, error=cohere_checks.error, asked=body_of, same_words=COHERE.same_words,
    ),
    Tongue(
        name="ollama", exchanges=ollama_checks.exchanges, target=OLLAMA.target, is_error=lambda it: it.status >= 400,
        data_of=data_of, told=OLLAMA.told, stream=OLLAMA.stream, error=lambda _: [], asked=body_of, same_words=OLLAMA.same_words,
    ),
)  # fmt: skip

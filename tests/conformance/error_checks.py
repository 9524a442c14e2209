"""Every recorded refusal, whoever said it, and the kind it is. The kinds stand here by hand: nothing of them is taken from headrace."""

from __future__ import annotations

import json
from typing import Any

from conformance.corpus import Exchange, everything
from headrace.dialects.failures import read_error
from headrace.errors import Kind, error_of
from headrace.wire import Headers, HttpResponse

BY_STATUS = {
    400: Kind.BAD_REQUEST, 401: Kind.AUTHENTICATION, 402: Kind.PAYMENT, 403: Kind.PERMISSION, 404: Kind.NOT_FOUND, 408: Kind.TIMEOUT,
    413: Kind.BAD_REQUEST, 422: Kind.UNPROCESSABLE, 429: Kind.RATE_LIMIT, 500: Kind.SERVER, 502: Kind.BAD_GATEWAY, 503: Kind.OVERLOADED,
    504: Kind.TIMEOUT, 529: Kind.OVERLOADED,
}  # fmt: skip

MARKS: tuple[tuple[str, Kind], ...] = (
    ('"code": "model_not_found"', Kind.NOT_FOUND),
    ("model identifier is invalid", Kind.NOT_FOUND),
    ("prompt is too long", Kind.CONTEXT_WINDOW),
    ("Input Tokens Exceeded", Kind.CONTEXT_WINDOW),
    ("TOO_MANY_TOKENS", Kind.CONTEXT_WINDOW),
    ("too_many_prompt_tokens", Kind.CONTEXT_WINDOW),
    ("maximum context length", Kind.CONTEXT_WINDOW),
    ("exceeded max context length", Kind.CONTEXT_WINDOW),
    ("exceeds the maximum number of tokens", Kind.CONTEXT_WINDOW),
    ("API_KEY_INVALID", Kind.AUTHENTICATION),
    ("Incorrect API key", Kind.AUTHENTICATION),
    ("ExpiredTokenException", Kind.AUTHENTICATION),
    ("security token included in the request", Kind.AUTHENTICATION),
    ("UnrecognizedClientException", Kind.AUTHENTICATION),
    ('"content_filter"', Kind.CONTENT_POLICY),
    ("insufficient_quota", Kind.QUOTA_EXHAUSTED),
    ("PerDay", Kind.QUOTA_EXHAUSTED),
)
"""What a reader sees in a reply that is more than its status says."""


def refusals() -> list[Exchange]:
    return [it for it in everything() if it.status >= 400]


def reply(exchange: Exchange) -> HttpResponse:
    body = exchange.response_json
    text = json.dumps(body) if body is not None else exchange.sse_text or exchange.response_text or ""
    return HttpResponse(exchange.status, Headers.of(exchange.response_headers or {}), text.encode())


def by_hand(response: HttpResponse) -> Kind | None:
    text = f"{json.dumps(response.body.decode())} {json.dumps(dict(response.headers))}".replace('\\"', '"')
    return next((kind for mark, kind in MARKS if mark in text), BY_STATUS.get(response.status))


def kind(exchange: Exchange) -> list[str]:
    """The kind, and an exception that says so, with everything LiteLLM's callers read from one."""
    response = reply(exchange)
    failure = read_error(response, provider=exchange.provider, model="m")
    expected = by_hand(response)
    wrong = [] if failure.kind is expected else [f"read as {failure.kind}, not {expected}: {failure.message}"]
    raised: Any = error_of(failure)
    told = (raised.status_code, raised.llm_provider, raised.model)
    wrong += [] if told == (exchange.status, exchange.provider, "m") else [f"its exception says {told}"]
    return wrong + ([] if raised.body is not None and str(raised) else ["its exception says nothing"])

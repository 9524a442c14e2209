"""Errors between Anthropic's Messages and headrace's kinds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.dialects import failures
from headrace.errors import Failure, Kind, LimitScope
from headrace.types import Json
from headrace.wire import HttpResponse

_TEXTS: Final[tuple[tuple[re.Pattern[str], Kind, LimitScope | None], ...]] = (
    (re.compile(r"context (?:limit|window)|prompt is too long", re.I), Kind.CONTEXT_WINDOW, None),
    (re.compile(r"credit balance is too low", re.I), Kind.PAYMENT, "spend"),
    (re.compile(r"API usage limits", re.I), Kind.QUOTA_EXHAUSTED, "spend"),
    (re.compile(r"content filtering policy", re.I), Kind.CONTENT_POLICY, None),
)  # fmt: skip
"""What Anthropic says under `invalid_request_error`, which has no finer code."""

_SILENT: Final = frozenset({Kind.BAD_REQUEST, Kind.SERVER})


def read_error(response: HttpResponse, *, provider: str, model: str, now_wall: float | None = None) -> Failure:
    return _finer(failures.read_error(response, provider=provider, model=model, now_wall=now_wall))


def failure_inside(body: Mapping[str, Any], *, provider: str, model: str) -> Failure:
    """What an error means that came under status 200."""
    return _finer(failures.read_error_inside(body, provider=provider, model=model))


def _finer(failure: Failure) -> Failure:
    if failure.kind is Kind.SERVER and failure.status is None and failure.code == "request_too_large":
        return msgspec.structs.replace(failure, kind=Kind.BAD_REQUEST)
    if failure.kind not in _SILENT or failure.code not in ("invalid_request_error", "invalid_request"):
        return failure
    for pattern, kind, scope in _TEXTS:
        if pattern.search(failure.message):
            return msgspec.structs.replace(failure, kind=kind, scope=scope)
    return failure


_TYPES: Final[Mapping[Kind, str]] = {
    Kind.AUTHENTICATION: "authentication_error",
    Kind.PERMISSION: "permission_error",
    Kind.PAYMENT: "billing_error",
    Kind.NOT_FOUND: "not_found_error",
    Kind.RATE_LIMIT: "rate_limit_error",
    Kind.QUOTA_EXHAUSTED: "rate_limit_error",
    Kind.QUEUE_FULL: "rate_limit_error",
    Kind.QUEUE_TIMEOUT: "rate_limit_error",
    Kind.BUDGET: "rate_limit_error",
    Kind.OVERLOADED: "overloaded_error",
    Kind.TIMEOUT: "timeout_error",
    Kind.BAD_REQUEST: "invalid_request_error",
    Kind.CONTEXT_WINDOW: "invalid_request_error",
    Kind.CONTENT_POLICY: "invalid_request_error",
    Kind.UNSUPPORTED_PARAMS: "invalid_request_error",
    Kind.UNPROCESSABLE: "invalid_request_error",
    Kind.NEVER_FITS: "invalid_request_error",
}


def write_error_body(failure: Failure) -> dict[str, Json]:
    """Anthropic's error object; `api_error` for what went wrong on this side of the caller."""
    body: dict[str, Json] = {
        "type": "error",
        "error": {"type": _TYPES.get(failure.kind, "api_error"), "message": failure.message},
    }
    request_id = failure.headers.get("request-id") or failure.headers.get("x-request-id")
    return {**body, "request_id": request_id} if request_id else body

"""Writes failures as Google's `google.rpc.Status`. `dialects.failures` reads Google's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from headrace.errors import POLICY, Failure, Kind
from headrace.types import Json
from headrace.wire import Headers, HttpResponse

_WORDS: Final[Mapping[Kind, str]] = {
    Kind.AUTHENTICATION: "UNAUTHENTICATED",
    Kind.PERMISSION: "PERMISSION_DENIED",
    Kind.PAYMENT: "PERMISSION_DENIED",
    Kind.NOT_FOUND: "NOT_FOUND",
    Kind.RATE_LIMIT: "RESOURCE_EXHAUSTED",
    Kind.QUOTA_EXHAUSTED: "RESOURCE_EXHAUSTED",
    Kind.QUEUE_FULL: "RESOURCE_EXHAUSTED",
    Kind.QUEUE_TIMEOUT: "RESOURCE_EXHAUSTED",
    Kind.BUDGET: "RESOURCE_EXHAUSTED",
    Kind.OVERLOADED: "UNAVAILABLE",
    Kind.TIMEOUT: "DEADLINE_EXCEEDED",
    Kind.BAD_REQUEST: "INVALID_ARGUMENT",
    Kind.CONTEXT_WINDOW: "INVALID_ARGUMENT",
    Kind.CONTENT_POLICY: "INVALID_ARGUMENT",
    Kind.UNSUPPORTED_PARAMS: "INVALID_ARGUMENT",
    Kind.UNPROCESSABLE: "INVALID_ARGUMENT",
    Kind.NEVER_FITS: "INVALID_ARGUMENT",
}


def status_of(failure: Failure) -> int:
    return failure.status if failure.status and failure.status >= 400 else POLICY[failure.kind].status


def write_error_body(failure: Failure) -> dict[str, Json]:
    """Google's error object; its status is `INTERNAL` for failures that are not the caller's fault."""
    error: dict[str, Json] = {
        "code": status_of(failure),
        "message": failure.message,
        "status": _WORDS.get(failure.kind, "INTERNAL"),
    }
    if failure.retry_after is not None:
        delay = f"{max(failure.retry_after, 0.001):.3f}".rstrip("0").rstrip(".") + "s"
        error["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    return {"error": error}


def write_error(failure: Failure) -> HttpResponse:
    headers = Headers.of({"content-type": "application/json; charset=UTF-8"})
    return HttpResponse(status_of(failure), headers, msgspec.json.encode(write_error_body(failure)))

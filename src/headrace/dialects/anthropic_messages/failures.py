"""Writes failures in Anthropic's format. `dialects.failures` reads Anthropic's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headrace.errors import Failure, Kind
from headrace.types import Json

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
    """Anthropic's error object; its type is `api_error` for failures that are not the caller's fault.

    `details` is kept, because Anthropic's clients act on the cause it names (anthropic 2.14, read 2026-11).
    """
    error: dict[str, Json] = {"type": _TYPES.get(failure.kind, "api_error"), "message": failure.message}
    match failure.body:
        case {"type": "error", "error": {"details": {**details}}}:
            error["details"] = details
    body: dict[str, Json] = {"type": "error", "error": error}
    request_id = failure.headers.get("request-id") or failure.headers.get("x-request-id")
    return {**body, "request_id": request_id} if request_id else body

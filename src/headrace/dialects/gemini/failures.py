"""Errors between Google's `google.rpc.Status` and headrace's kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.dialects import failures
from headrace.errors import POLICY, Failure, Kind
from headrace.types import Json
from headrace.wire import Headers, HttpResponse

_STATUSES: Final[Mapping[str, Kind]] = {
    "INVALID_ARGUMENT": Kind.BAD_REQUEST,
    "OUT_OF_RANGE": Kind.BAD_REQUEST,
    "FAILED_PRECONDITION": Kind.PERMISSION,
    "UNAUTHENTICATED": Kind.AUTHENTICATION,
    "PERMISSION_DENIED": Kind.PERMISSION,
    "NOT_FOUND": Kind.NOT_FOUND,
    "ALREADY_EXISTS": Kind.BAD_REQUEST,
    "RESOURCE_EXHAUSTED": Kind.RATE_LIMIT,
    "UNIMPLEMENTED": Kind.NOT_FOUND,
    "UNAVAILABLE": Kind.OVERLOADED,
    "DEADLINE_EXCEEDED": Kind.TIMEOUT,
    "CANCELLED": Kind.SERVER,
    "ABORTED": Kind.SERVER,
    "INTERNAL": Kind.SERVER,
    "UNKNOWN": Kind.SERVER,
    "DATA_LOSS": Kind.SERVER,
}
"""google.rpc.Code. A failed precondition is Gemini's word for a region, or an account without billing, that it does not serve
(ai.google.dev/gemini-api/docs/troubleshooting, read 2026-11)."""

_REASONS: Final[Mapping[str, Kind]] = {
    "API_KEY_INVALID": Kind.AUTHENTICATION,
    "CREDENTIALS_MISSING": Kind.AUTHENTICATION,
    "ACCESS_TOKEN_EXPIRED": Kind.AUTHENTICATION,
    "ACCESS_TOKEN_TYPE_UNSUPPORTED": Kind.AUTHENTICATION,
    "API_KEY_SERVICE_BLOCKED": Kind.PERMISSION,
    "API_KEY_HTTP_REFERRER_BLOCKED": Kind.PERMISSION,
    "API_KEY_IP_ADDRESS_BLOCKED": Kind.PERMISSION,
    "SERVICE_DISABLED": Kind.PERMISSION,
    "CONSUMER_INVALID": Kind.PERMISSION,
    "IAM_PERMISSION_DENIED": Kind.PERMISSION,
    "BILLING_DISABLED": Kind.PAYMENT,
    "RATE_LIMIT_EXCEEDED": Kind.RATE_LIMIT,
}
"""`google.rpc.ErrorInfo.reason` (cloud.google.com/apis/design/errors, read 2026-11), finer than the status."""

_FINER: Final = frozenset({Kind.CONTEXT_WINDOW, Kind.CONTENT_POLICY, Kind.NOT_FOUND, Kind.PAYMENT, Kind.AUTHENTICATION})
"""What a text told where the status says no more than that something was wrong."""


def read_error(response: HttpResponse, *, provider: str, model: str, now_wall: float | None = None) -> Failure:
    return _finer(failures.read_error(response, provider=provider, model=model, now_wall=now_wall))


def failure_inside(body: Any, *, provider: str, model: str) -> Failure:
    """What an error means that came under status 200."""
    return _finer(failures.read_error_inside(body, provider=provider, model=model))


def _finer(failure: Failure) -> Failure:
    error = _error_of(failure.body)
    status, reason = error.get("status"), next((reason for reason in _reasons(error) if reason in _REASONS), None)
    kind = _REASONS[reason] if reason else _STATUSES.get(status) if isinstance(status, str) else None
    code = reason or (status if isinstance(status, str) and status else failure.code)
    if kind is None or (reason is None and kind in (Kind.BAD_REQUEST, Kind.PERMISSION) and failure.kind in _FINER):
        return msgspec.structs.replace(failure, code=code)
    if kind is not Kind.RATE_LIMIT:
        scope = failure.scope if kind is failure.kind else None
        return msgspec.structs.replace(failure, kind=kind, code=code, scope="capacity" if kind is Kind.OVERLOADED else scope)
    if failure.scope == "day":  # the wait it names is that of the minute's quota
        return msgspec.structs.replace(failure, kind=Kind.QUOTA_EXHAUSTED, code=code, retry_after=None)
    return msgspec.structs.replace(failure, kind=kind if failure.kind is not Kind.PAYMENT else failure.kind, code=code)


def _error_of(body: Any) -> Mapping[str, Json]:
    if isinstance(body, list) and body:
        body = body[0]
    error = body.get("error") if isinstance(body, Mapping) else None
    return error if isinstance(error, Mapping) else {}


def _reasons(error: Mapping[str, Json]) -> list[str]:
    details = error.get("details")
    them = [detail.get("reason") for detail in details if isinstance(detail, Mapping)] if isinstance(details, list) else []
    return [reason for reason in them if isinstance(reason, str)]


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
    """Google's error object; `INTERNAL` for what went wrong on this side of the caller."""
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

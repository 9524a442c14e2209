"""Bedrock's errors, by AWS's name for each, in an HTTP response or in mid-stream."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from headrace.dialects import failures
from headrace.dialects.base import Target
from headrace.errors import POLICY, Failure, Kind
from headrace.types import Json
from headrace.wire import Headers, HttpResponse


def read_error(response: HttpResponse, target: Target, *, now_wall: float | None = None) -> Failure:
    """The `Failure` for an error response."""
    return failures.read_error(response, provider=target.provider, model=target.model, now_wall=now_wall)


def read_inside(name: str, data: bytes, target: Target) -> Failure:
    """The `Failure` for an exception within a stream, or for an error in a body with status 200."""
    body = _decoded(data)
    if not isinstance(body, Mapping):
        body = {"message": data[:500].decode("utf-8", "replace")}
    body = {**body, **({"__type": name} if name else {})}
    failure = failures.read_error_inside(body, provider=target.provider, model=target.model)
    told = failure.message.removeprefix(f"{target.provider}: ")
    return msgspec.structs.replace(failure, message=f"{target.provider}: {name}: {told}") if name else failure


def error_type(body: Mapping[str, Json]) -> str:
    """The error named in a body with status 200, as AWS's front end sends for an unknown path; "" if there is none."""
    output = body.get("Output")
    return _named(body) or _named(output)


def _named(body: Json) -> str:
    given = body.get("__type") if isinstance(body, Mapping) else None
    return failures.aws_name(given) if isinstance(given, str) else ""


def _decoded(data: bytes) -> Json:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


# ---- writing -----------------------------------------------------------------------------------------------------------------------

_WRITTEN: Final[Mapping[Kind, str]] = {
    Kind.AUTHENTICATION: "UnrecognizedClientException",
    Kind.PERMISSION: "AccessDeniedException",
    Kind.PAYMENT: "AccessDeniedException",
    Kind.NOT_FOUND: "ResourceNotFoundException",
    Kind.RATE_LIMIT: "ThrottlingException",
    Kind.QUEUE_FULL: "ThrottlingException",
    Kind.QUEUE_TIMEOUT: "ThrottlingException",
    Kind.BUDGET: "ServiceQuotaExceededException",
    Kind.QUOTA_EXHAUSTED: "ServiceQuotaExceededException",
    Kind.OVERLOADED: "ServiceUnavailableException",
    Kind.TIMEOUT: "ModelTimeoutException",
    Kind.SERVER: "InternalServerException",
    Kind.BAD_GATEWAY: "ModelErrorException",
    Kind.BAD_RESPONSE: "ModelErrorException",
    Kind.CONNECTION: "ModelErrorException",
    Kind.TRUNCATED: "ModelStreamErrorException",
    Kind.CONFIGURATION: "InternalServerException",
}

_IN_STREAM: Final = frozenset({
    "InternalServerException", "ModelStreamErrorException", "ServiceUnavailableException", "ThrottlingException", "ValidationException",
})  # fmt: skip
"""The exceptions known to ConverseStream's clients."""


def write_error(failure: Failure) -> HttpResponse:
    """AWS's error response."""
    headers = {"content-type": "application/json", "x-amzn-errortype": _WRITTEN.get(failure.kind, "ValidationException")}
    if failure.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(failure.retry_after)))
        headers["retry-after-ms"] = str(max(1, math.ceil(failure.retry_after * 1000)))
    status = failure.status if failure.status and failure.status >= 400 else POLICY[failure.kind].status
    return HttpResponse(status, Headers.of(headers), msgspec.json.encode({"message": failure.message}))


def write_inside(failure: Failure) -> tuple[str, dict[str, Json]]:
    """The exception's name and payload, for a stream that has begun."""
    name = _WRITTEN.get(failure.kind, "ValidationException")
    name = name if name in _IN_STREAM else "ModelStreamErrorException"
    return name[0].lower() + name[1:], {"message": failure.message}

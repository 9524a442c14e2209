"""Response handling shared by dialects: decoding a JSON object, reporting unreadable bodies, reading and writing errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from headrace.dialects.base import Target
from headrace.dialects.decoding import decode
from headrace.dialects.failures import read_error, read_error_inside
from headrace.dialects.quota import read_quota
from headrace.errors import POLICY, APIResponseValidationError, Failure, HeadraceError, Kind, error_of
from headrace.limits.view import QuotaView
from headrace.types import Json
from headrace.wire import Headers, HttpResponse


class Replies:
    """The methods that most dialects share: errors and quota headers are read with tables that cover all providers."""

    def read_error(self, response: HttpResponse, target: Target, *, now_wall: float | None = None) -> Failure:
        return read_error(response, provider=target.provider, model=target.model, now_wall=now_wall)

    def read_quota(self, headers: Mapping[str, str], *, family: str = "", now_wall: float | None = None) -> tuple[QuotaView, ...]:
        return read_quota(headers, family=family, now_wall=now_wall)


def read_object(response: HttpResponse, target: Target, failed: Callable[[Mapping[str, Json]], Any]) -> dict[str, Any]:
    """The JSON object of a successful response, or the only item of a list.

    Raises the provider's error if one came with status 200.

    failed: whether an object is such an error.
    """
    try:
        body = decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(response, target, f"is not JSON ({error})") from None
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict):
        raise unreadable(response, target, f"is a {type(body).__name__}, not a JSON object")
    if failed(body):
        raise inside(body, target)
    return body


def inside(body: Mapping[str, Any], target: Target) -> HeadraceError:
    """The exception for an error that a body reports under a success status."""
    return error_of(read_error_inside(body, provider=target.provider, model=target.model))


def unreadable(response: HttpResponse, target: Target, what: str) -> APIResponseValidationError:
    """The error for a response body that cannot be used. what: what is wrong with it."""
    message = f"{target.provider}: the response (status {response.status}, {len(response.body)} bytes) {what}"
    failure = Failure(Kind.BAD_RESPONSE, message, provider=target.provider, model=target.model, headers=response.headers)
    return APIResponseValidationError.of(failure)


def refusal(failure: Failure, body: Json) -> HttpResponse:
    """An error response: `body` with the failure's status, and `retry-after` if the delay is known."""
    headers = {"content-type": "application/json"}
    if failure.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(failure.retry_after)))
        headers["retry-after-ms"] = str(max(1, math.ceil(failure.retry_after * 1000)))
    status = failure.status if failure.status and failure.status >= 400 else POLICY[failure.kind].status
    return HttpResponse(status, Headers.of(headers), msgspec.json.encode(body))

"""Anthropic's Messages, as Anthropic itself serves them, and Claude on Vertex and Bedrock's `invoke`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.dialects.anthropic_messages import requests, responses
from headrace.dialects.anthropic_messages.failures import write_error_body
from headrace.dialects.anthropic_messages.streams import Reader
from headrace.dialects.anthropic_messages.watching import Watcher
from headrace.dialects.anthropic_messages.writing import Writer
from headrace.dialects.base import Dialect, Target
from headrace.dialects.failures import read_error, read_error_inside
from headrace.dialects.quota import read_quota
from headrace.errors import POLICY, APIResponseValidationError, BadRequestError, Failure, Kind, error_of
from headrace.framing import SseReader
from headrace.limits.view import QuotaView
from headrace.types import ChatRequest, ChatResponse, Json
from headrace.wire import Headers, HttpRequest, HttpResponse

__all__ = ["AnthropicMessages", "dialect"]


class AnthropicMessages:
    """Both halves. It holds no state: one instance serves everybody."""

    def write_request(self, request: ChatRequest, target: Target) -> HttpRequest:
        return requests.write_request(request, target)

    def unsaid(self, request: ChatRequest) -> tuple[str, ...]:
        return requests.unsaid(request)

    def framing(self) -> SseReader:
        return SseReader()

    def read_response(self, response: HttpResponse, request: ChatRequest, target: Target) -> ChatResponse:
        body = _read_body(response, target)
        try:
            return responses.read_response(body)
        except BadRequestError as error:
            raise _unreadable(response, target, f"is no message: {error}") from None

    def read_stream(self, request: ChatRequest, target: Target) -> Reader:
        return Reader(target)

    def watch_stream(self, target: Target) -> Watcher:
        return Watcher(target)

    def read_error(self, response: HttpResponse, target: Target, *, now_wall: float | None = None) -> Failure:
        return read_error(response, provider=target.provider, model=target.model, now_wall=now_wall)

    def read_quota(self, headers: Mapping[str, str], *, family: str = "", now_wall: float | None = None) -> tuple[QuotaView, ...]:
        return read_quota(headers, family=family, now_wall=now_wall)

    def read_request(self, body: Mapping[str, Json]) -> ChatRequest:
        return requests.read_request(body)

    def write_response(self, response: ChatResponse) -> dict[str, Json]:
        return responses.write_response(response)

    def write_stream(self, request: ChatRequest) -> Writer:
        return Writer(request)

    def write_error(self, failure: Failure) -> HttpResponse:
        headers = {"content-type": "application/json"}
        if failure.retry_after is not None:
            headers["retry-after"] = str(max(1, math.ceil(failure.retry_after)))
            headers["retry-after-ms"] = str(max(1, math.ceil(failure.retry_after * 1000)))
        status = failure.status if failure.status and failure.status >= 400 else POLICY[failure.kind].status
        return HttpResponse(status, Headers.of(headers), msgspec.json.encode(write_error_body(failure)))


def _read_body(response: HttpResponse, target: Target) -> dict[str, Any]:
    """The JSON object of a good reply. Raises what an error under status 200 says."""
    try:
        body = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unreadable(response, target, f"is not JSON ({error})") from None
    if not isinstance(body, dict):
        raise _unreadable(response, target, f"is a {type(body).__name__}, not a JSON object")
    if "content" not in body and (body.get("type") == "error" or body.get("error")):
        raise error_of(read_error_inside(body, provider=target.provider, model=target.model))
    return body


def _unreadable(response: HttpResponse, target: Target, what: str) -> APIResponseValidationError:
    message = f"{target.provider}: the reply (status {response.status}, {len(response.body)} bytes) {what}"
    failure = Failure(Kind.BAD_RESPONSE, message, provider=target.provider, model=target.model, headers=response.headers)
    return APIResponseValidationError.of(failure)


dialect: Final[Dialect] = AnthropicMessages()

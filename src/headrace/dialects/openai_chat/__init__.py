"""OpenAI's Chat Completions, and what a hundred providers serve in its shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from headrace.dialects.base import Dialect, Target
from headrace.dialects.failures import read_error
from headrace.dialects.openai_chat import requests, responses
from headrace.dialects.openai_chat.streams import Reader, Writer, write_error_body
from headrace.dialects.openai_stream import ChunkReader, read_body
from headrace.dialects.quota import read_quota
from headrace.errors import POLICY, APIResponseValidationError, BadRequestError, Failure, Kind
from headrace.framing import SseReader
from headrace.limits.view import QuotaView
from headrace.types import ChatRequest, ChatResponse, Json
from headrace.wire import Headers, HttpRequest, HttpResponse

__all__ = ["ChunkReader", "OpenAIChat", "dialect", "read_body", "read_error", "read_quota"]


class OpenAIChat:
    """Both halves. It holds no state: one instance serves everybody."""

    def write_request(self, request: ChatRequest, target: Target) -> HttpRequest:
        return requests.write_request(request, target)

    def unsaid(self, request: ChatRequest) -> tuple[str, ...]:
        return ()

    def framing(self) -> SseReader:
        return SseReader()

    def read_response(self, response: HttpResponse, request: ChatRequest, target: Target) -> ChatResponse:
        body = read_body(response, provider=target.provider, model=target.model)
        try:
            return responses.read_response(body)
        except BadRequestError as error:
            message = f"{target.provider}: the reply (status {response.status}) is no chat completion: {error}"
            failure = Failure(Kind.BAD_RESPONSE, message, provider=target.provider, model=target.model, headers=response.headers)
            raise APIResponseValidationError.of(failure) from None

    def read_stream(self, request: ChatRequest, target: Target) -> Reader:
        return Reader(target)

    def watch_stream(self, target: Target) -> ChunkReader:
        return ChunkReader(provider=target.provider, model=target.model)

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


dialect: Final[Dialect] = OpenAIChat()

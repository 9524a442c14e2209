"""Gemini's generateContent, as the Gemini API and Vertex AI serve it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.dialects.base import Dialect, Target
from headrace.dialects.failures import read_error, read_error_inside
from headrace.dialects.gemini import embeddings, requests, responses
from headrace.dialects.gemini.failures import write_error
from headrace.dialects.gemini.framing import GeminiReader
from headrace.dialects.gemini.streams import Reader
from headrace.dialects.gemini.watching import Watcher
from headrace.dialects.gemini.writing import Writer
from headrace.dialects.quota import read_quota
from headrace.errors import APIResponseValidationError, BadRequestError, Failure, Kind, error_of
from headrace.limits.view import QuotaView
from headrace.types import ChatRequest, ChatResponse, EmbeddingRequest, EmbeddingResponse, Json
from headrace.wire import HttpRequest, HttpResponse

__all__ = ["Gemini", "dialect"]


class Gemini:
    """Both halves, and embeddings. It holds no state: one instance serves everybody."""

    def write_request(self, request: ChatRequest, target: Target) -> HttpRequest:
        return requests.write_request(request, target)

    def unsaid(self, request: ChatRequest) -> tuple[str, ...]:
        return requests.unsaid(request)

    def framing(self) -> GeminiReader:
        return GeminiReader()

    def read_response(self, response: HttpResponse, request: ChatRequest, target: Target) -> ChatResponse:
        body = _read_body(response, target)
        try:
            return responses.read_response(body)
        except BadRequestError as error:
            raise _unreadable(response, target, f"is no answer of Gemini's: {error}") from None

    def read_stream(self, request: ChatRequest, target: Target) -> Reader:
        return Reader(target)

    def watch_stream(self, target: Target) -> Watcher:
        return Watcher(target)

    def read_error(self, response: HttpResponse, target: Target, *, now_wall: float | None = None) -> Failure:
        return read_error(response, provider=target.provider, model=target.model, now_wall=now_wall)

    def read_quota(self, headers: Mapping[str, str], *, family: str = "", now_wall: float | None = None) -> tuple[QuotaView, ...]:
        return read_quota(headers, family=family, now_wall=now_wall)

    def write_embedding_request(self, request: EmbeddingRequest, target: Target) -> HttpRequest:
        return embeddings.write_embedding_request(request, target)

    def read_embedding_response(self, response: HttpResponse, request: EmbeddingRequest, target: Target) -> EmbeddingResponse:
        body = _read_body(response, target)
        try:
            read = embeddings.read_embedding_response(body, request)
        except BadRequestError as error:
            raise _unreadable(response, target, f"holds no embeddings: {error}") from None
        return msgspec.structs.replace(read, model=target.model)

    def read_request(self, body: Mapping[str, Json]) -> ChatRequest:
        return requests.read_request(body)

    def write_response(self, response: ChatResponse) -> dict[str, Json]:
        return responses.write_response(response)

    def write_stream(self, request: ChatRequest) -> Writer:
        return Writer(request)

    def write_error(self, failure: Failure) -> HttpResponse:
        return write_error(failure)


def _read_body(response: HttpResponse, target: Target) -> dict[str, Any]:
    """The JSON object of a good reply. Raises what an error under status 200 says."""
    try:
        body = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unreadable(response, target, f"is not JSON ({error})") from None
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict):
        raise _unreadable(response, target, f"is a {type(body).__name__}, not a JSON object")
    if body.get("error") and "candidates" not in body:
        raise error_of(read_error_inside(body, provider=target.provider, model=target.model))
    return body


def _unreadable(response: HttpResponse, target: Target, what: str) -> APIResponseValidationError:
    message = f"{target.provider}: the reply (status {response.status}, {len(response.body)} bytes) {what}"
    failure = Failure(Kind.BAD_RESPONSE, message, provider=target.provider, model=target.model, headers=response.headers)
    return APIResponseValidationError.of(failure)


dialect: Final[Dialect] = Gemini()

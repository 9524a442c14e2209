"""Cohere's v2: Chat, and embeddings. Reranking is a form (`headrace.dialects.forms`): callers speak Cohere's anyway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.dialects import failures
from headrace.dialects.base import Dialect, Target
from headrace.dialects.cohere import embeddings, requests, responses
from headrace.dialects.cohere.streams import Reader, Writer
from headrace.dialects.quota import read_quota
from headrace.errors import POLICY, APIResponseValidationError, BadRequestError, Failure, HeadraceError, Kind, error_of
from headrace.framing import SseReader
from headrace.limits.view import QuotaView
from headrace.types import ChatRequest, ChatResponse, EmbeddingRequest, EmbeddingResponse, Json
from headrace.wire import Headers, HttpRequest, HttpResponse

__all__ = ["Cohere", "dialect"]


class Cohere:
    """Both halves. It holds no state: one instance serves everybody."""

    def write_request(self, request: ChatRequest, target: Target) -> HttpRequest:
        return requests.write_request(request, target)

    def unsaid(self, request: ChatRequest) -> tuple[str, ...]:
        return requests.unsaid(request)

    def framing(self) -> SseReader:
        return SseReader()

    def read_response(self, response: HttpResponse, request: ChatRequest, target: Target) -> ChatResponse:
        body = _read_body(response, target)
        if isinstance(word := body.get("finish_reason"), str) and word in responses.FAILED:
            raise _inside({"message": f"the answer ended in {word}"}, target)
        try:
            return responses.read_response(body)
        except BadRequestError as error:
            raise _unreadable(response, target, f"is no answer of Cohere's chat: {error}") from None

    def read_stream(self, request: ChatRequest, target: Target) -> Reader:
        return Reader(target)

    def read_error(self, response: HttpResponse, target: Target, *, now_wall: float | None = None) -> Failure:
        return failures.read_error(response, provider=target.provider, model=target.model, now_wall=now_wall)

    def read_quota(self, headers: Mapping[str, str], *, family: str = "", now_wall: float | None = None) -> tuple[QuotaView, ...]:
        return read_quota(headers, family=family, now_wall=now_wall)

    def write_embedding_request(self, request: EmbeddingRequest, target: Target) -> HttpRequest:
        return embeddings.write_embedding_request(request, target)

    def read_embedding_response(self, response: HttpResponse, request: EmbeddingRequest, target: Target) -> EmbeddingResponse:
        try:
            read = embeddings.read_embedding_response(_read_body(response, target), request)
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
        """Cohere's error object: an id and a message; the code where it is one of Cohere's."""
        body: dict[str, Json] = {"id": failure.headers.get("x-request-id", ""), "message": failure.message}
        if failure.kind is Kind.CONTEXT_WINDOW:
            body["error_type"] = "TOO_MANY_TOKENS"
        status = failure.status if failure.status and failure.status >= 400 else POLICY[failure.kind].status
        return HttpResponse(status, Headers.of({"content-type": "application/json"}), msgspec.json.encode(body))


def _read_body(response: HttpResponse, target: Target) -> dict[str, Any]:
    """The JSON object of a good reply. Raises what an error under status 200 says."""
    try:
        body = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unreadable(response, target, f"is not JSON ({error})") from None
    if not isinstance(body, dict):
        raise _unreadable(response, target, f"is a {type(body).__name__}, not a JSON object")
    if isinstance(body.get("message"), str) or body.get("error"):
        raise _inside(body, target)
    return body


def _inside(body: Mapping[str, Any], target: Target) -> HeadraceError:
    return error_of(failures.read_error_inside(body, provider=target.provider, model=target.model))


def _unreadable(response: HttpResponse, target: Target, what: str) -> APIResponseValidationError:
    message = f"{target.provider}: the reply (status {response.status}, {len(response.body)} bytes) {what}"
    failure = Failure(Kind.BAD_RESPONSE, message, provider=target.provider, model=target.model, headers=response.headers)
    return APIResponseValidationError.of(failure)


dialect: Final[Dialect] = Cohere()

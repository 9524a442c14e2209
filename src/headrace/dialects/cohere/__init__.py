"""Cohere's v2 API: Chat and embeddings. Reranking is in `headrace.dialects.forms`, as its callers use Cohere's format anyway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from headrace.dialects.base import Dialect, Target
from headrace.dialects.cohere import embeddings, requests, responses
from headrace.dialects.cohere.streams import Reader, Writer
from headrace.dialects.replies import Replies, inside, read_object, refusal, unreadable
from headrace.errors import BadRequestError, Failure, Kind
from headrace.framing import SseReader
from headrace.types import ChatRequest, ChatResponse, EmbeddingRequest, EmbeddingResponse, Json
from headrace.wire import HttpRequest, HttpResponse

__all__ = ["Cohere", "dialect"]


class Cohere(Replies):
    """Both halves of the dialect. Stateless, so one instance is shared."""

    def write_request(self, request: ChatRequest, target: Target) -> HttpRequest:
        return requests.write_request(request, target)

    def unsaid(self, request: ChatRequest) -> tuple[str, ...]:
        return requests.unsaid(request)

    def framing(self) -> SseReader:
        return SseReader()

    def read_response(self, response: HttpResponse, request: ChatRequest, target: Target) -> ChatResponse:
        body = read_object(response, target, _failed)
        if isinstance(word := body.get("finish_reason"), str) and word in responses.FAILED:
            raise inside({"message": f"the response ended with {word}"}, target)
        try:
            return responses.read_response(body)
        except BadRequestError as error:
            raise unreadable(response, target, f"is not a Cohere chat response: {error}") from None

    def read_stream(self, request: ChatRequest, target: Target) -> Reader:
        return Reader(target)

    def write_embedding_request(self, request: EmbeddingRequest, target: Target) -> HttpRequest:
        return embeddings.write_embedding_request(request, target)

    def read_embedding_response(self, response: HttpResponse, request: EmbeddingRequest, target: Target) -> EmbeddingResponse:
        try:
            read = embeddings.read_embedding_response(read_object(response, target, _failed), request)
        except BadRequestError as error:
            raise unreadable(response, target, f"contains no embeddings: {error}") from None
        return msgspec.structs.replace(read, model=target.model)

    def read_request(self, body: Mapping[str, Json]) -> ChatRequest:
        return requests.read_request(body)

    def write_response(self, response: ChatResponse) -> dict[str, Json]:
        return responses.write_response(response)

    def write_stream(self, request: ChatRequest) -> Writer:
        return Writer(request)

    def write_error(self, failure: Failure) -> HttpResponse:
        """Cohere's error object: an id, a message, and `error_type` for an exceeded context window."""
        body: dict[str, Json] = {"id": failure.headers.get("x-request-id", ""), "message": failure.message}
        if failure.kind is Kind.CONTEXT_WINDOW:
            body["error_type"] = "TOO_MANY_TOKENS"
        return refusal(failure, body)


def _failed(body: Mapping[str, Json]) -> bool:
    return isinstance(body.get("message"), str) or bool(body.get("error"))


dialect: Final[Dialect] = Cohere()

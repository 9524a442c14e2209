"""Gemini's generateContent, as served by the Gemini API and Vertex AI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from headrace.dialects.base import Dialect, Target
from headrace.dialects.gemini import embeddings, requests, responses
from headrace.dialects.gemini.failures import write_error
from headrace.dialects.gemini.framing import GeminiReader
from headrace.dialects.gemini.streams import Reader
from headrace.dialects.gemini.watching import Watcher
from headrace.dialects.gemini.writing import Writer
from headrace.dialects.replies import Replies, read_object, unreadable
from headrace.errors import BadRequestError, Failure
from headrace.types import ChatRequest, ChatResponse, EmbeddingRequest, EmbeddingResponse, Json
from headrace.wire import HttpRequest, HttpResponse

__all__ = ["Gemini", "dialect"]


class Gemini(Replies):
    """Both halves of the dialect, and embeddings. Stateless, so one instance is shared."""

    def write_request(self, request: ChatRequest, target: Target) -> HttpRequest:
        return requests.write_request(request, target)

    def unsaid(self, request: ChatRequest) -> tuple[str, ...]:
        return requests.unsaid(request)

    def framing(self) -> GeminiReader:
        return GeminiReader()

    def read_response(self, response: HttpResponse, request: ChatRequest, target: Target) -> ChatResponse:
        body = read_object(response, target, _failed)
        try:
            return responses.read_response(body)
        except BadRequestError as error:
            raise unreadable(response, target, f"is not a Gemini response: {error}") from None

    def read_stream(self, request: ChatRequest, target: Target) -> Reader:
        return Reader(target)

    def watch_stream(self, target: Target) -> Watcher:
        return Watcher(target)

    def write_embedding_request(self, request: EmbeddingRequest, target: Target) -> HttpRequest:
        return embeddings.write_embedding_request(request, target)

    def read_embedding_response(self, response: HttpResponse, request: EmbeddingRequest, target: Target) -> EmbeddingResponse:
        body = read_object(response, target, _failed)
        try:
            read = embeddings.read_embedding_response(body, request)
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
        return write_error(failure)


def _failed(body: Mapping[str, Json]) -> bool:
    return bool(body.get("error")) and "candidates" not in body


dialect: Final[Dialect] = Gemini()

"""Ollama's own API: chat in JSON lines, and embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from headrace.dialects.base import Dialect, Target
from headrace.dialects.ollama import requests, responses
from headrace.dialects.ollama.streams import Reader, Writer
from headrace.dialects.replies import Replies, read_object, refusal, unreadable
from headrace.errors import BadRequestError, Failure
from headrace.framing import JsonLinesReader
from headrace.types import ChatRequest, ChatResponse, EmbeddingRequest, EmbeddingResponse, Json
from headrace.wire import HttpRequest, HttpResponse

__all__ = ["Ollama", "dialect"]


class Ollama(Replies):
    """Both halves of the dialect. Stateless, so one instance is shared."""

    def write_request(self, request: ChatRequest, target: Target) -> HttpRequest:
        return requests.write_request(request, target)

    def unsaid(self, request: ChatRequest) -> tuple[str, ...]:
        return requests.unsaid(request)

    def framing(self) -> JsonLinesReader:
        return JsonLinesReader()

    def read_response(self, response: HttpResponse, request: ChatRequest, target: Target) -> ChatResponse:
        try:
            return responses.read_response(read_object(response, target, _failed))
        except BadRequestError as error:
            raise unreadable(response, target, f"is not an Ollama chat response: {error}") from None

    def read_stream(self, request: ChatRequest, target: Target) -> Reader:
        return Reader(target)

    def write_embedding_request(self, request: EmbeddingRequest, target: Target) -> HttpRequest:
        return responses.write_embedding_request(request, target)

    def read_embedding_response(self, response: HttpResponse, request: EmbeddingRequest, target: Target) -> EmbeddingResponse:
        try:
            read = responses.read_embedding_response(read_object(response, target, _failed), request)
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
        """Ollama's error object, whose `error` is a string."""
        return refusal(failure, {"error": failure.message})


def _failed(body: Mapping[str, Json]) -> bool:
    return bool(body.get("error"))


dialect: Final[Dialect] = Ollama()

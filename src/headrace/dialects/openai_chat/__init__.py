"""OpenAI's Chat Completions, the format of a hundred other providers too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headrace.dialects.base import Dialect, Target
from headrace.dialects.failures import read_error
from headrace.dialects.openai_chat import requests, responses
from headrace.dialects.openai_chat.streams import Reader, Writer, write_error_body
from headrace.dialects.openai_stream import ChunkReader, read_body
from headrace.dialects.quota import read_quota
from headrace.dialects.replies import Replies, refusal, unreadable
from headrace.errors import BadRequestError, Failure
from headrace.framing import SseReader
from headrace.types import ChatRequest, ChatResponse, Json
from headrace.wire import HttpRequest, HttpResponse

__all__ = ["ChunkReader", "OpenAIChat", "dialect", "read_body", "read_error", "read_quota"]


class OpenAIChat(Replies):
    """Both halves of the dialect. Stateless, so one instance is shared."""

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
            raise unreadable(response, target, f"is not a chat completion: {error}") from None

    def read_stream(self, request: ChatRequest, target: Target) -> Reader:
        return Reader(target)

    def watch_stream(self, target: Target) -> ChunkReader:
        return ChunkReader(provider=target.provider, model=target.model)

    def read_request(self, body: Mapping[str, Json]) -> ChatRequest:
        return requests.read_request(body)

    def write_response(self, response: ChatResponse) -> dict[str, Json]:
        return responses.write_response(response)

    def write_stream(self, request: ChatRequest) -> Writer:
        return Writer(request)

    def write_error(self, failure: Failure) -> HttpResponse:
        return refusal(failure, write_error_body(failure))


dialect: Final[Dialect] = OpenAIChat()

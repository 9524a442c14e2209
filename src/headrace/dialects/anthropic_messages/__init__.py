"""Anthropic's Messages, as served by Anthropic, by Vertex AI and by Bedrock's `invoke` for Claude."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headrace.dialects.anthropic_messages import requests, responses
from headrace.dialects.anthropic_messages.failures import write_error_body
from headrace.dialects.anthropic_messages.streams import Reader
from headrace.dialects.anthropic_messages.watching import Watcher
from headrace.dialects.anthropic_messages.writing import Writer
from headrace.dialects.base import Dialect, Target
from headrace.dialects.replies import Replies, read_object, refusal, unreadable
from headrace.errors import BadRequestError, Failure
from headrace.framing import SseReader
from headrace.types import ChatRequest, ChatResponse, Json
from headrace.wire import HttpRequest, HttpResponse

__all__ = ["AnthropicMessages", "dialect"]


class AnthropicMessages(Replies):
    """Both halves of the dialect. Stateless, so one instance is shared."""

    def write_request(self, request: ChatRequest, target: Target) -> HttpRequest:
        return requests.write_request(request, target)

    def unsaid(self, request: ChatRequest) -> tuple[str, ...]:
        return requests.unsaid(request)

    def framing(self) -> SseReader:
        return SseReader()

    def read_response(self, response: HttpResponse, request: ChatRequest, target: Target) -> ChatResponse:
        body = read_object(response, target, _failed)
        try:
            return responses.read_response(body)
        except BadRequestError as error:
            raise unreadable(response, target, f"is not a message: {error}") from None

    def read_stream(self, request: ChatRequest, target: Target) -> Reader:
        return Reader(target)

    def watch_stream(self, target: Target) -> Watcher:
        return Watcher(target)

    def read_request(self, body: Mapping[str, Json]) -> ChatRequest:
        return requests.read_request(body)

    def write_response(self, response: ChatResponse) -> dict[str, Json]:
        return responses.write_response(response)

    def write_stream(self, request: ChatRequest) -> Writer:
        return Writer(request)

    def write_error(self, failure: Failure) -> HttpResponse:
        return refusal(failure, write_error_body(failure))


def _failed(body: Mapping[str, Json]) -> bool:
    return "content" not in body and (body.get("type") == "error" or bool(body.get("error")))


dialect: Final[Dialect] = AnthropicMessages()

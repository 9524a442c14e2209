"""Amazon Bedrock's Converse and ConverseStream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from headrace.dialects.base import Dialect, Target
from headrace.dialects.bedrock_converse import errors, requests, responses, structured
from headrace.dialects.bedrock_converse.streams import Reader, Writer
from headrace.dialects.fields import obj
from headrace.dialects.replies import Replies, unreadable
from headrace.errors import BadRequestError, Failure, error_of
from headrace.framing import EventStreamReader
from headrace.types import ChatRequest, ChatResponse, Json
from headrace.wire import HttpRequest, HttpResponse

__all__ = ["BedrockConverse", "dialect"]


class BedrockConverse(Replies):
    """Both halves of the dialect. Stateless, so one instance is shared."""

    def write_request(self, request: ChatRequest, target: Target) -> HttpRequest:
        return requests.write_request(request, target)

    def unsaid(self, request: ChatRequest) -> tuple[str, ...]:
        return requests.unsaid(request)

    def framing(self) -> EventStreamReader:
        return EventStreamReader()

    def read_response(self, response: HttpResponse, request: ChatRequest, target: Target) -> ChatResponse:
        body = _decoded(response.body)
        if isinstance(body, dict) and "output" not in body and (name := errors.error_type(body)):
            raise error_of(errors.read_inside(name, response.body, target))
        try:
            request_id = response.headers.get("x-amzn-requestid", "")
            answer = responses.read_response(obj(body, "the body"), model=target.model, request_id=request_id)
        except BadRequestError as error:
            raise unreadable(response, target, f"is not a Converse response: {error}") from None
        return structured.as_answer(answer) if structured.by_tool(request, target) else answer

    def read_stream(self, request: ChatRequest, target: Target) -> Reader:
        return Reader(target, structured.Answers() if structured.by_tool(request, target) else None)

    def read_error(self, response: HttpResponse, target: Target, *, now_wall: float | None = None) -> Failure:
        return errors.read_error(response, target, now_wall=now_wall)

    def read_request(self, body: Mapping[str, Json]) -> ChatRequest:
        return requests.read_request(body)

    def write_response(self, response: ChatResponse) -> dict[str, Json]:
        return responses.write_response(response)

    def write_stream(self, request: ChatRequest) -> Writer:
        return Writer(request)

    def write_error(self, failure: Failure) -> HttpResponse:
        return errors.write_error(failure)


def _decoded(body: bytes) -> Json:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body.decode("utf-8", "replace")


dialect: Final[Dialect] = BedrockConverse()

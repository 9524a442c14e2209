"""Bedrock's own paths, for AWS clients.

Converse for every model, and InvokeModel in Claude's format (other formats: `invoke_model`); both also as AWS event
streams. docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html, read 2026-11.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import MutableMapping
from typing import Any, Final

import msgspec

from headrace.counted import COUNT
from headrace.dialects.bedrock_converse.eventstream import event, exception
from headrace.errors import BadRequestError
from headrace.framing import SseReader
from headrace.gateway import client_apis
from headrace.gateway.context import ConvertedCall, Reply, RequestContext, RouterCall, wanted
from headrace.gateway.requests import IncomingRequest, Send, read_object
from headrace.served import CONVERSE

INVOKED_STREAM: Final = "/invoke-with-response-stream"
"""The end of the path of streams whose events are in the model's own format."""


def converse(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], model: str, verb: str) -> Reply:
    """Handler for Converse and ConverseStream."""
    return wanted(CONVERSE, {**body, "stream": verb == "converse-stream"}, model)


def count(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], model: str) -> Reply:
    """CountTokens, for a Converse or an InvokeModel body."""
    given = body.get("input")
    match given:
        case {"converse": {**said}}:
            question = client_apis.chat_of("bedrock_converse", {str(name): value for name, value in said.items()}, model)
        case {"invokeModel": {"body": str(inner)}}:
            question = _question(_inner(inner), model)
        case _:
            raise BadRequestError("input must have converse or invokeModel, whose body is base64", model)
    call = RouterCall(COUNT, model, question.pop("messages"), False, question)
    return ConvertedCall(call, lambda made: {"inputTokens": made.total_tokens})


def _inner(said: str) -> dict[str, Any]:
    try:
        return read_object(b64decode(said, validate=True))
    except NotBase64:
        raise BadRequestError("input.invokeModel.body must be base64") from None


def _question(body: dict[str, Any], model: str) -> dict[str, Any]:
    """The call that an InvokeModel body of any format describes."""
    if is_claudes(body):
        return client_apis.anthropic_question(claudes(body, model), model)
    from headrace.gateway import invoke_model  # late: few callers count tokens in other formats

    dialect, said = invoke_model.question_of(body)
    return client_apis.chat_of(dialect, {"model": model, **said}, model)


def is_claudes(body: dict[str, Any]) -> bool:
    """Whether an InvokeModel body has Claude's format."""
    return "anthropic_version" in body


def claudes(body: dict[str, Any], model: str) -> dict[str, Any]:
    """An InvokeModel body in Claude's format as a body of Messages, with its betas."""
    said = {name: value for name, value in body.items() if name not in ("anthropic_version", "anthropic_beta")}
    return {**said, "model": model, "betas": body.get("anthropic_beta")}


class InvokeSend:
    """An ASGI `send` that wraps the events of Messages in chunks of an AWS event stream.

    Anything else passes through: whole responses, keep-alives, and errors, which are already in AWS's format.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._events = SseReader()
        self._streams = False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._streams = (b"content-type", client_apis.BEDROCK.kind.encode()) in message["headers"]
        elif self._streams:
            message = {**message, "body": self._chunks(message.get("body", b""))}
        await self._send(message)

    def _chunks(self, piece: bytes) -> bytes:
        if piece[:1] == b"\0":  # the length prefix of an event stream message, which is below 16 MB
            return piece
        return b"".join([_chunk(frame.data) for frame in self._events.feed(piece) if frame.data[:1] == b"{"])


def _chunk(data: bytes) -> bytes:
    said = msgspec.json.decode(data)
    if said.get("type") == "error":  # as Anthropic's API reports an error in mid-stream
        return exception("modelStreamErrorException", {"message": str((said.get("error") or {}).get("message") or "")})
    return event("chunk", {"bytes": b64encode(data).decode()})

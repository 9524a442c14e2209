"""Mistral's fill-in-the-middle completion, `/v1/fim/completions`, over any provider of text completions.

Responses have the format of a chat. docs.mistral.ai/api/endpoint/fim and mistralai 3.7; read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.calls import COMPLETIONS
from headrace.framing import SseReader
from headrace.gateway.context import ConvertedCall, Reply, RequestContext, wanted
from headrace.gateway.requests import IncomingRequest


def complete(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Reply:
    """Handler for `/v1/fim/completions`."""
    call = wanted(COMPLETIONS, body)
    if call.stream:
        return ConvertedCall(call, told=_Chunks)
    return ConvertedCall(call, lambda made: _as_chat(made.model_dump(), "message", "chat.completion"))


def _as_chat(said: Mapping[str, Any], holder: str, kind: str) -> dict[str, Any]:
    """A response, or a chunk of one, with its texts as messages."""
    choices = [_turn(choice, holder) for choice in said.get("choices") or ()]
    return {**said, "object": kind, "choices": choices}


def _turn(choice: Mapping[str, Any], holder: str) -> dict[str, Any]:
    own = {name: value for name, value in choice.items() if name not in ("text", "logprobs")}
    return {**own, holder: {"role": "assistant", "content": choice.get("text") or ""}}


class _Chunks:
    """Converts the events of a stream; the final `[DONE]` is the same in both formats."""

    def __init__(self) -> None:
        self._events = SseReader()

    def __call__(self, piece: bytes) -> bytes:
        return b"".join([b"data: " + self._said(frame.data) + b"\n\n" for frame in self._events.feed(piece) if frame.data])

    @staticmethod
    def _said(data: bytes) -> bytes:
        if data[:1] != b"{":
            return data
        said = msgspec.json.decode(data)
        return data if "error" in said else msgspec.json.encode(_as_chat(said, "delta", "chat.completion.chunk"))

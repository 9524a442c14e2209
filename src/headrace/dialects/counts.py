"""Counting a prompt's tokens where the provider counts them itself: Anthropic, Gemini (there and on Vertex), Bedrock's Converse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.errors import APIResponseValidationError
from headrace.types import Json
from headrace.wire import HttpRequest


class Count(Struct, frozen=True):
    """How one dialect asks for a count. The question is a chat's request, put another way."""

    suffix: str
    """What stands at the end of a chat's address, and is replaced by `place`."""
    place: str
    body: Callable[[dict[str, Any], str], dict[str, Any]]
    """A chat's body and address → the question."""
    field: str
    """Where the answer has the number."""


_ANTHROPIC: Final = ("model", "messages", "system", "tools", "tool_choice", "thinking", "mcp_servers", "output_config", "cache_control")
"""docs.claude.com/en/api/messages-count-tokens (read 2026-11)."""


def _of_gemini(body: dict[str, Any], address: str) -> dict[str, Any]:
    """Vertex takes a chat's fields. Gemini's own API takes contents alone, or a whole request that names its model
    (ai.google.dev/api/tokens, read 2026-11; exchange 10e2f4838cb551a4).
    """
    said: dict[str, Any] = {name: body[name] for name in ("contents", "systemInstruction", "tools", "generationConfig") if name in body}
    if "/publishers/" in address or set(said) <= {"contents"}:
        return said
    model = address.rpartition("/models/")[2].partition(":")[0]
    return {"generateContentRequest": {"model": f"models/{model}", **said}}


COUNTS: Final[Mapping[str, Count]] = {
    "anthropic_messages": Count(
        "/messages", "/messages/count_tokens", lambda body, _: {name: body[name] for name in _ANTHROPIC if name in body}, "input_tokens"
    ),
    "gemini": Count(":generateContent", ":countTokens", _of_gemini, "totalTokens"),
    "bedrock_converse": Count(
        "/converse",
        "/count-tokens",
        lambda body, _: {"input": {"converse": {name: body[name] for name in ("messages", "system", "toolConfig") if name in body}}},
        "inputTokens",
    ),
}  # fmt: skip


def question(count: Count, chat: HttpRequest, url: str) -> HttpRequest:
    """The request that asks for a count. url: where the chat would have gone."""
    address, mark, query = url.partition("?")
    body = msgspec.json.encode(count.body(msgspec.json.decode(chat.body), address))
    return msgspec.structs.replace(chat, url=address.removesuffix(count.suffix) + count.place + mark + query, body=body)


def answer(count: Count, body: Mapping[str, Json], provider: str, model: str) -> int:
    """Raises APIResponseValidationError for an answer without a number."""
    found = body.get(count.field)
    if not isinstance(found, int):
        raise APIResponseValidationError(f"{provider} was asked for a count of tokens and gave no {count.field}", provider, model)
    return found

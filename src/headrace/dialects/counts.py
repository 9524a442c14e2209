"""Token counting by the provider itself: Anthropic, Gemini (its own API and Vertex AI) and Bedrock Converse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.errors import APIResponseValidationError
from headrace.types import Json
from headrace.wire import HttpRequest


class Count(Struct, frozen=True):
    """How one dialect requests a token count. The request is derived from a chat request."""

    suffix: str
    """The end of a chat request's URL, which `place` replaces."""
    place: str
    body: Callable[[dict[str, Any], str], dict[str, Any]]
    """Takes a chat request's body and URL, returns the count request's body."""
    field: str
    """The field of the response that holds the number."""


_ANTHROPIC: Final = ("model", "messages", "system", "tools", "tool_choice", "thinking", "mcp_servers", "output_config", "cache_control")
"""docs.claude.com/en/api/messages-count-tokens (read 2026-11)."""


def _of_gemini(body: dict[str, Any], address: str) -> dict[str, Any]:
    """The body of `:countTokens`.

    Vertex AI takes a chat's fields; Gemini's own API takes `contents` alone or a whole request with its model
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
    """The token-count request derived from `chat`. url: the chat's URL."""
    address, mark, query = url.partition("?")
    body = msgspec.json.encode(count.body(msgspec.json.decode(chat.body), address))
    return msgspec.structs.replace(chat, url=address.removesuffix(count.suffix) + count.place + mark + query, body=body)


def answer(count: Count, body: Mapping[str, Json], provider: str, model: str) -> int:
    """The number of tokens in the response `body`. Raises APIResponseValidationError for a response without a number."""
    found = body.get(count.field)
    if not isinstance(found, int):
        raise APIResponseValidationError(f"{provider}: the token count response has no {count.field}", provider, model)
    return found

"""What a caller sends, read within bounds: headers, the body's size, its depth, and which of its words are the caller's to say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from headrace.errors import BadRequestError, Failure, HeadraceError, Kind, error_of
from headrace.options import CallOptions, RoutingOptions

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

DEEPEST: Final = 128
"""Lists and objects that may stand inside one another."""

CALLERS_OWN: Final = frozenset({
    "additional_drop_params", "allowed_openai_params", "allowed_model_region", "deadline", "drop_params", "fallbacks", "max_retries",
    "max_wait", "metadata", "num_retries", "priority", "request_timeout", "session_id", "stream_timeout", "tags", "timeout",
    "total_timeout",
})  # fmt: skip
"""Options of a call that its caller may give. The others say where it goes and with whose key: those are the gateway's."""

KEPT: Final = (frozenset(CallOptions.__annotations__) | frozenset(RoutingOptions.__annotations__)) - CALLERS_OWN


class Left(Exception):
    """The caller has gone: nobody is there to be answered."""


class Asked(Struct, frozen=True, eq=False):
    """One request, its body still unread."""

    method: str
    path: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    target: str = ""
    """Path and query as they were sent."""


def refusal(status: int, kind: Kind, message: str, param: str | None = None, code: str | None = None) -> HeadraceError:
    return error_of(Failure(kind, message, status=status, param=param, code=code))


async def read_body(receive: Receive, headers: Mapping[str, str], most: int) -> bytes:
    """Raises Left, and a refusal with status 413 or 415."""
    return b"".join([piece async for piece in pieces_of(receive, headers, most)])


async def pieces_of(receive: Receive, headers: Mapping[str, str], most: int) -> AsyncIterator[bytes]:
    """A body as it arrives. Raises Left, and a refusal with status 413 or 415."""
    if headers.get("content-encoding", "identity") != "identity":
        raise refusal(415, Kind.BAD_REQUEST, "content-encoding is not taken: send the body uncompressed")
    said = headers.get("content-length", "")
    if said.isdecimal() and int(said) > most:
        raise _too_large(most)
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Left
        piece = message.get("body", b"")
        size += len(piece)
        if size > most:
            raise _too_large(most)
        yield piece
        if not message.get("more_body"):
            return


def must_be_json(headers: Mapping[str, str]) -> None:
    """Raises a refusal with status 415. A body that does not say what it is is taken at its word."""
    kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise refusal(415, Kind.BAD_REQUEST, f"this takes JSON: send content-type application/json, not {kind!r}")


def _too_large(most: int) -> HeadraceError:
    return refusal(413, Kind.BAD_REQUEST, f"the body is larger than the {most} bytes that are taken")


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises BadRequestError for what is none, is too deep, or says what is not the caller's to say."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRequestError("the body must be a JSON object")
    if body.count(b"{") + body.count(b"[") > DEEPEST and deeper(value, DEEPEST):
        raise BadRequestError(f"the body has more than {DEEPEST} lists and objects inside one another")
    if not KEPT.isdisjoint(value):
        name = min(KEPT.intersection(value))
        raise refusal(400, Kind.BAD_REQUEST, f"{name} is for the gateway's configuration to say: leave it out", name)
    return value


def deeper(value: Any, most: int) -> bool:
    """Whether more lists and objects than that stand inside one another."""
    level = [value]
    for _ in range(most + 1):
        level = [inner for held in level for inner in (held.values() if isinstance(held, dict) else held) if isinstance(inner, dict | list)]
        if not level:
            return False
    return True

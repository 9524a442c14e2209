"""Requests, read within limits: body size and nesting depth, and which options a caller may set."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from headrace.calls import seconds, shape, timeouts_of, whole_number
from headrace.errors import BadRequestError, ConfigurationError, Failure, HeadraceError, Kind, error_of
from headrace.inflate import CODINGS, Inflate
from headrace.options import CallOptions, RoutingOptions

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

DEEPEST: Final = 128
"""Nesting depth of lists and objects."""

CALLERS_OWN: Final = frozenset({
    "additional_drop_params", "allowed_openai_params", "allowed_model_region", "cache", "caching", "deadline", "drop_params", "fallbacks",
    "max_retries",
    "max_wait", "metadata", "num_retries", "priority", "request_timeout", "session_id", "stream_timeout", "tags", "timeout",
    "total_timeout",
})  # fmt: skip
"""Options of a call that its caller may set. All others decide where it goes and with which key, which is up to the gateway."""


def _wait(name: str, value: Any) -> None:
    timeouts_of(value, stream=False)


def _region(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a string, got {shape(value)}")


_READ: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "deadline": seconds, "max_wait": seconds, "total_timeout": seconds, "timeout": _wait, "request_timeout": _wait,
    "stream_timeout": _wait, "priority": whole_number, "num_retries": whole_number, "max_retries": whole_number,
    "allowed_model_region": _region,
}  # fmt: skip
"""Validates those of them whose errors the Router would report as errors of its configuration."""

KEPT: Final = (frozenset(CallOptions.__annotations__) | frozenset(RoutingOptions.__annotations__)) - CALLERS_OWN


def check_options(given: Mapping[str, Any]) -> None:
    """Raises BadRequestError naming an invalid option of the caller."""
    for name in _READ.keys() & given.keys():
        if given[name] is not None:
            try:
                _READ[name](name, given[name])
            except ConfigurationError as error:
                raise refusal(400, Kind.BAD_REQUEST, error.failure.message, name) from None


class Left(Exception):
    """The client has disconnected; there is nobody to respond to."""


class IncomingRequest(Struct, frozen=True, eq=False):
    """A request whose body has not been read yet."""

    method: str
    path: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    target: str = ""
    """Path and query string as sent."""


def refusal(status: int, kind: Kind, message: str, param: str | None = None, code: str | None = None) -> HeadraceError:
    """An error to raise for a request. param: the field at fault. code: the error's code for programs."""
    return error_of(Failure(kind, message, status=status, param=param, code=code))


async def read_body(receive: Receive, headers: Mapping[str, str], most: int) -> bytes:
    """The whole body, decompressed. Raises Left, or a refusal with status 413 or 415."""
    return b"".join([piece async for piece in pieces_of(receive, headers, most)])


async def pieces_of(receive: Receive, headers: Mapping[str, str], most: int) -> AsyncIterator[bytes]:
    """A body as it arrives, decompressed. most: bytes allowed, after decompression.

    Raises Left, a refusal with status 413 or 415, and BadRequestError for invalid compressed data.
    """
    said = headers.get("content-length", "")
    if said.isdecimal() and int(said) > most:
        raise _too_large(most)
    pieces, size = _arriving(receive), 0
    if (coding := headers.get("content-encoding", "").strip().lower()) not in ("", "identity"):
        pieces = _inflated(pieces, coding)
    async for piece in pieces:
        size += len(piece)
        if size > most:
            raise _too_large(most)
        yield piece


async def _arriving(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Left
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


SLICE: Final = 256 << 10
"""Decompressed bytes after which other tasks may run; a thousandth as many compressed bytes may expand to them."""


async def _inflated(pieces: AsyncIterator[bytes], coding: str) -> AsyncIterator[bytes]:
    if coding not in CODINGS:
        raise refusal(
            415, Kind.BAD_REQUEST, f"content-encoding {coding[:20]!r} is not supported: send the body as gzip, deflate or uncompressed"
        )
    inflate = Inflate(coding)
    try:
        async for piece in pieces:
            for slice in inflate.slices(piece, SLICE):
                yield slice
                await asyncio.sleep(0)
    except zlib.error:
        raise BadRequestError(f"the body is not valid {coding}: send what its content-encoding says, or leave that out") from None
    if not inflate.whole or inflate.more:
        raise BadRequestError(f"the body {'continues after' if inflate.more else 'stops before'} the end of the compressed data")


def must_be_json(headers: Mapping[str, str]) -> None:
    """Raises a refusal with status 415 for another content type than JSON.

    None at all is accepted, and so is application/octet-stream, which AWS clients send with InvokeModel.
    """
    kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind not in ("application/json", "application/octet-stream") and not kind.endswith("+json"):
        raise refusal(415, Kind.BAD_REQUEST, f"this endpoint takes JSON: send content-type application/json, not {kind!r}")


def _too_large(most: int) -> HeadraceError:
    return refusal(413, Kind.BAD_REQUEST, f"the body exceeds the limit of {most} bytes")


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises BadRequestError for anything else, and for excess depth or options that callers may not set.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRequestError("the body must be a JSON object")
    if body.count(b"{") + body.count(b"[") > DEEPEST and deeper(value, DEEPEST):
        raise BadRequestError(f"the body is nested deeper than {DEEPEST} lists and objects")
    if not KEPT.isdisjoint(value):
        name = min(KEPT.intersection(value))
        raise refusal(400, Kind.BAD_REQUEST, f"{name} is set by the gateway's configuration: leave it out", name)
    return value


def deeper(value: Any, most: int) -> bool:
    """Whether lists and objects are nested deeper than `most` levels."""
    level = [value]
    for _ in range(most + 1):
        level = [inner for held in level for inner in (held.values() if isinstance(held, dict) else held) if isinstance(inner, dict | list)]
        if not level:
            return False
    return True

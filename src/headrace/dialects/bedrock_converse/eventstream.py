"""Writes AWS event stream messages. `headrace.framing.EventStreamReader` reads them."""

from __future__ import annotations

import struct
import zlib

import msgspec

from headrace.types import Json


def event(name: str, payload: Json) -> bytes:
    """One event."""
    return message({":event-type": name, ":content-type": "application/json", ":message-type": "event"}, msgspec.json.encode(payload))


def exception(name: str, payload: Json) -> bytes:
    """An exception, which ends the stream."""
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return message(headers, msgspec.json.encode(payload))


def message(headers: dict[str, str], payload: bytes) -> bytes:
    """A message in `application/vnd.amazon.eventstream` format (smithy.io).

    Lengths and their checksum, headers, payload, checksum of everything before it.
    """
    named = b"".join([_header(name, value) for name, value in headers.items()])
    prelude = struct.pack(">II", 16 + len(named) + len(payload), len(named))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + named + payload
    return body + struct.pack(">I", zlib.crc32(body))


def _header(name: str, value: str) -> bytes:
    raw_name, raw_value = name.encode(), value.encode()
    return struct.pack(">B", len(raw_name)) + raw_name + struct.pack(">BH", 7, len(raw_value)) + raw_value

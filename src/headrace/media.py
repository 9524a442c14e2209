"""Images, audio and documents in messages: converts files and in-memory content to inline data.

Wherever OpenAI's format takes a URL or base64, a part also takes bytes, a `pathlib.Path`, an open file, or `(name,
content, type)`. A plain string is never treated as a path, because it may come from an untrusted source.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from headrace.errors import BadRequestError

LARGEST: Final = 50 * 1024 * 1024
"""Maximum bytes of one image, audio or document: more than any provider accepts inline."""

SIGNS: Final[tuple[tuple[bytes, int, str], ...]] = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"), (b"\xff\xd8\xff", 0, "image/jpeg"), (b"GIF8", 0, "image/gif"), (b"WEBP", 8, "image/webp"),
    (b"%PDF-", 0, "application/pdf"), (b"WAVE", 8, "audio/wav"), (b"ID3", 0, "audio/mp3"), (b"\xff\xfb", 0, "audio/mp3"),
    (b"\xff\xf3", 0, "audio/mp3"), (b"fLaC", 0, "audio/flac"), (b"OggS", 0, "audio/ogg"), (b"ftyp", 4, "video/mp4"),
    (b"\x1aE\xdf\xa3", 0, "video/webm"), (b"BM", 0, "image/bmp"),
)  # fmt: skip
"""File signatures: the bytes, their offset, and the media type."""

PLACES: Final[Mapping[str, str]] = {"image_url": "url", "video_url": "url", "input_audio": "data", "file": "file_data"}
"""Part types that hold media, and the field that holds it."""

_HELD: Final = (bytes, bytearray, memoryview, tuple)


class Address(Struct, frozen=True):
    """A web URL in a message."""

    message: int
    part: int
    url: str

    @property
    def where(self) -> str:
        return f"messages[{self.message}].content[{self.part}]"


def with_data(messages: Sequence[Any]) -> Sequence[Any]:
    """`messages` with the caller's files and bytes encoded as data; the same object if there are none.

    Raises BadRequestError that names the part, for content that cannot be read, is too large, or whose type cannot be
    determined.
    """
    found = [position for position, message in enumerate(messages) if _holds(message)]
    if not found:
        return messages
    written = list(messages)
    for position in found:
        content = [_written(part, f"messages[{position}].content[{at}]") for at, part in enumerate(messages[position]["content"])]
        written[position] = {**messages[position], "content": content}
    return written


def _holds(message: Any) -> bool:
    content = message.get("content") if type(message) is dict else None
    return type(content) is list and any(type(part) is dict and _held(part)[1] is not None for part in content)


def _held(part: Mapping[str, Any]) -> tuple[str, Any]:
    """The part's type and the caller's content in it; None if it already holds data or a URL."""
    kind = part.get("type", "")
    place = PLACES.get(kind)
    inner = part.get(kind)
    value = inner.get(place) if isinstance(inner, Mapping) else inner
    return kind, value if place is not None and _is_content(value) else None


def _is_content(value: Any) -> bool:
    return isinstance(value, _HELD) or hasattr(value, "__fspath__") or hasattr(value, "read")


def _written(part: Any, where: str) -> Any:
    kind, held = _held(part) if type(part) is dict else ("", None)
    if held is None:
        return part
    from headrace.multipart import FormFile  # late: few messages hold files

    file = FormFile(bytes(held) if isinstance(held, bytearray | memoryview) else held, where)
    if file.size > LARGEST:
        raise BadRequestError(f"{where} has {file.size} bytes, more than the maximum of {LARGEST} for a message")
    return _part(part, kind, b"".join(file.pieces()), file.type, file.name, where)


def _part(part: Mapping[str, Any], kind: str, data: bytes, said: str, name: str, where: str) -> dict[str, Any]:
    """A part of that type that holds `data`."""
    media = media_type(data, said)
    if media is None:
        raise BadRequestError(f"{where} has an unknown media type: give (name, content, media type), or a file whose name has an extension")
    inner = part.get(kind)
    beside = {field: value for field, value in inner.items() if field != PLACES[kind]} if isinstance(inner, Mapping) else {}
    if kind == "input_audio":
        return {**part, kind: {"format": media.removeprefix("audio/"), **beside, "data": base64_of(data)}}
    if kind == "file":
        beside = {"filename": name, **beside}
    return {**part, kind: {**beside, PLACES[kind]: f"data:{media};base64,{base64_of(data)}"}}


def media_type(data: bytes, said: str = "") -> str | None:
    """The media type by signature, else as declared in `said`; None if unknown."""
    for sign, at, media in SIGNS:
        if data.startswith(sign, at):
            return media
    plain = said.partition(";")[0].strip().lower()
    return plain if "/" in plain and plain != "application/octet-stream" else None


def base64_of(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


def addresses(messages: Sequence[Any]) -> Iterator[Address]:
    """Every web URL that could be replaced by data."""
    for position, message in enumerate(messages):
        content = message.get("content") if isinstance(message, Mapping) else None
        for at, part in enumerate(content if isinstance(content, list | tuple) else ()):
            url = _address(part) if isinstance(part, Mapping) else None
            if url is not None:
                yield Address(position, at, url)


def _address(part: Mapping[str, Any]) -> str | None:
    kind = part.get("type", "")
    inner = part.get(kind)
    url = inner.get(PLACES.get(kind, "")) if isinstance(inner, Mapping) else inner
    return url if kind in PLACES and isinstance(url, str) and url[:8].lower().startswith(("http://", "https://")) else None


def replaced(messages: Sequence[Any], address: Address, data: bytes, said: str) -> list[Any]:
    """`messages` with data in place of a URL. Raises BadRequestError if the data's type cannot be determined."""
    message = messages[address.message]
    content = list(message["content"])
    part = content[address.part]
    content[address.part] = _part(part, part["type"], data, said, address.url.partition("?")[0].rpartition("/")[2], address.where)
    return [*messages[: address.message], {**message, "content": content}, *messages[address.message + 1 :]]

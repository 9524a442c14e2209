"""Images, audio and documents: inline data, or a URL with a media type."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from headrace.dialects.fields import bad
from headrace.errors import BadRequestError
from headrace.types import Extra, Json

FILES: Final = "https://generativelanguage.googleapis.com/v1beta/"
"""The Gemini API's file store: a name `files/…` is short for a URL below it."""

_SOUNDS: Final[Mapping[str, str]] = {
    "audio/mpeg": "mp3",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/pcm": "pcm16",
    "audio/x-flac": "flac",
}

_ENDINGS: Final[Mapping[str, str]] = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif", "heic": "image/heic",
    "heif": "image/heif", "pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown", "html": "text/html", "csv": "text/csv",
    "json": "application/json", "xml": "text/xml", "mp3": "audio/mp3", "wav": "audio/wav", "flac": "audio/flac", "ogg": "audio/ogg",
    "m4a": "audio/m4a", "aac": "audio/aac", "mp4": "video/mp4", "mov": "video/mov", "webm": "video/webm", "mpeg": "video/mpeg",
    "avi": "video/avi", "wmv": "video/wmv", "flv": "video/x-flv", "3gp": "video/3gpp",
}  # fmt: skip


def sound_format(media: str) -> str:
    """OpenAI's audio format for a media type."""
    return _SOUNDS.get(media) or media.removeprefix("audio/")


def sound_type(form: str) -> str:
    """The media type for OpenAI's audio format."""
    return "audio/pcm" if form == "pcm16" else f"audio/{form or 'wav'}"


def data_url(media: str, data: str) -> str:
    return f"data:{media};base64,{data}"


def inline(url: str, at: str) -> dict[str, Json]:
    """Media type and base64 data of a data URL (RFC 2397)."""
    head, comma, data = url[5:].partition(",")
    if not comma:
        raise bad(at, "a data URL with a comma before its data", url)
    media, mark, tail = head.rpartition(";")
    if tail.strip() == "base64" and mark:
        return {"mimeType": _usual(media), "data": data}
    return {"mimeType": _usual(head), "data": base64.b64encode(unquote_to_bytes(data)).decode()}


def _usual(media: str) -> str:
    return "image/jpeg" if media == "image/jpg" else media or "text/plain"


def address(url: str, extra: Extra, at: str, fallback: str = "", *, guess: bool = True) -> dict[str, Json]:
    """A file by URL. The media type is the one the caller gave, otherwise, with `guess`, the one for the file extension."""
    if url.startswith("files/"):
        url = FILES + url
    elif ":" not in url:
        raise BadRequestError(f"{at}: Gemini accepts files by URL or as files/…: send the data inline, or upload it to Gemini first")
    kind = said_type(extra)
    if not kind and guess:
        kind = _ENDINGS.get(_path(url).rpartition(".")[2].lower(), fallback)
    return {"mimeType": kind, "fileUri": url} if kind else {"fileUri": url}


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""  # an invalid URL: Google will report it


def said_type(extra: Extra) -> str:
    """The media type given by the caller: `mimeType` as in Gemini's format, or `format` as LiteLLM has it."""
    for where in (extra, extra.get("file"), extra.get("image_url")):
        if isinstance(where, Mapping):
            for name in ("mimeType", "format"):
                said = where.get(name)
                if isinstance(said, str) and "/" in said:
                    return said
    return ""

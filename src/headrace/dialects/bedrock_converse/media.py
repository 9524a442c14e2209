"""Images, documents, audio and video between Converse and the hub.

Converse takes bytes or an S3 location, and has format names instead of media types.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

from headrace.dialects.fields import merged, rest
from headrace.errors import BadRequestError
from headrace.types import Audio, File, Image, Json, Part

_IMAGES: Final = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_VIDEOS: Final = {
    "video/x-matroska": "mkv",
    "video/quicktime": "mov",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "three_gp",
}
FORMATS: Final[Mapping[str, Mapping[str, str]]] = {"image": _IMAGES, "document": _DOCUMENTS, "video": _VIDEOS}
"""For each block type, the media types and Converse's names for them.

API_runtime_ImageBlock, _DocumentBlock, _VideoBlock, read 2026-11.
"""

_OTHER_NAMES: Final = {
    "image/jpg": "image/jpeg", "text/x-markdown": "text/markdown", "text/md": "text/markdown", "application/csv": "text/csv",
}  # fmt: skip
_ENDINGS: Final = {"jpg": "jpeg", "htm": "html", "text": "txt", "markdown": "md", "mpg": "mpeg", "3gp": "three_gp"}


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_media(source: Mapping[str, Json], at: str) -> Part | None:
    """An image, document or audio block; None for one without an equivalent, such as a document made of blocks."""
    kind = "image" if "image" in source else "document" if "document" in source else "audio"
    block = source[kind]
    if not isinstance(block, Mapping) or not isinstance(where := block.get("source"), Mapping) or len(where) != 1:
        return None
    inner = rest(block, frozenset({"source", "format", "name"}), exact=frozenset({"name"}))
    extra = rest(source, frozenset({kind}))
    if kind == "audio":
        return _read_audio(block, where, inner, extra)
    url = _read_source(kind, block.get("format"), where, inner)
    if url is None:
        return None
    if inner:
        extra[kind] = inner
    if kind == "image":
        return Image(url=url, extra=extra) if "name" not in block else None
    name = block.get("name")
    return File(url=url, name=name if isinstance(name, str) else "", extra=extra)


def _read_audio(block: Mapping[str, Json], where: Mapping[str, Json], inner: dict[str, Json], extra: dict[str, Json]) -> Part | None:
    data, kind = where.get("bytes"), block.get("format")
    if not isinstance(data, str) or not isinstance(kind, str):
        return None
    return Audio(data=data, format=kind, extra={**extra, "audio": inner} if inner else extra)


def _read_source(kind: str, format_: Json, where: Mapping[str, Json], inner: dict[str, Json]) -> str | None:
    """The URL for a block's content; adds to `inner` what the URL cannot express."""
    media_type = next((name for name, word in FORMATS[kind].items() if word == format_), None)
    match where:
        case {"bytes": str(data)} if media_type is not None:
            return f"data:{media_type};base64,{data}"
        case {"text": str(text)} if kind == "document" and media_type is not None:
            inner["source"] = "text"
            return f"data:{media_type};base64,{binascii.b2a_base64(text.encode(), newline=False).decode()}"
        case {"s3Location": {"uri": str(uri), **more}}:
            if more:
                inner["s3Location"] = more
            if format_ is not None and format_ != _ending(uri):
                inner["format"] = format_
            return uri
    return None


def _ending(url: str) -> str:
    ending = url.partition("?")[0].rpartition("/")[2].rpartition(".")[2].lower()
    return _ENDINGS.get(ending, ending)


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_image(image: Image, at: str, extra: dict[str, Json]) -> dict[str, Json]:
    """Raises BadRequestError for an image on the web: Converse only fetches from S3."""
    inner = extra.pop("image", None)
    kind, block = _write_source(image.url, "image", at, inner)
    return {kind: block, **extra}


def write_video(url: str, at: str) -> dict[str, Json]:
    kind, block = _write_source(url, "video", at, None)
    return {kind: block}


def write_audio(audio: Audio, at: str, extra: dict[str, Json]) -> dict[str, Json]:
    if not audio.data:
        raise BadRequestError(f"{at}: Bedrock does not store audio: send the data instead of an id")
    inner = extra.pop("audio", None)
    said = {"format": audio.format or "wav", "source": {"bytes": audio.data}}
    return {"audio": merged({}, inner if isinstance(inner, Mapping) else {}, said), **extra}


def write_file(file: File, at: str, extra: dict[str, Json], names: set[str] | None) -> dict[str, Json]:
    """A document, or the block for the file's media type.

    names: the document names used in this request, to make valid and unique ones; None to keep the given name.
    """
    url = file.url or (file.id if file.id.startswith("s3://") else "")
    if not url:
        raise BadRequestError(f"{at}: Bedrock does not store files: send a data: URL in file_data instead of an id")
    inner = extra.pop("document", None)
    kind, block = _write_source(url, "document", at, inner)
    if kind == "document":
        block["name"] = file.name if names is None else _document_name(file.name, names)
        if names is None and not file.name and "name" not in (inner or {}):
            del block["name"]
    return {kind: block, **extra}


def _document_name(given: str, names: set[str]) -> str:
    """A neutral name of letters, digits, single spaces, hyphens and brackets (API_runtime_DocumentBlock).

    Converse warns that a document's name can be used for prompt injection.
    """
    stem = re.sub(r"\.\w{1,5}$", "", given)
    plain = re.sub(r"\s+", " ", re.sub(r"[^a-zA-Z0-9 \-()\[\]]", " ", stem)).strip()[:180] or "document"
    name, number = plain, 1
    while name in names:
        number += 1
        name = f"{plain} {number}"
    names.add(name)
    return name


_DATA: Final = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),")


def _write_source(url: str, kind: str, at: str, kept: Json) -> tuple[str, dict[str, Any]]:
    """The block's type and its content."""
    inner: dict[str, Any] = dict(kept) if isinstance(kept, Mapping) else {}
    s3, as_text, format_ = inner.pop("s3Location", None), inner.pop("source", None) == "text", inner.pop("format", None)
    if url.startswith("s3://"):
        kind, ending = _kind_of(_ending(url), kind)
        said = {"uri": url, **(s3 if isinstance(s3, Mapping) else {})}
        return kind, merged({}, inner, {"format": format_ or ending, "source": {"s3Location": said}})
    found = _DATA.match(url)
    if found is None or not found[2].endswith(";base64"):
        raise BadRequestError(f"{at}: Bedrock's Converse does not fetch URLs: send the {kind} as a data: URL with base64, or as s3://…")
    given = found[1].lower()
    media_type = _OTHER_NAMES.get(given, given)
    data = url[found.end() :]
    for block in (kind, *FORMATS):
        if media_type in FORMATS[block]:
            where = {"text": _decoded(data, at)} if as_text else {"bytes": data}
            return block, merged({}, inner, {"format": FORMATS[block][media_type], "source": where})
    known = ", ".join(sorted(FORMATS[kind]))
    raise BadRequestError(f"{at}: Bedrock's Converse does not accept {kind}s of the media type {media_type[:60]!r}: use one of {known}")


def _decoded(data: str, at: str) -> str:
    try:
        return binascii.a2b_base64(data).decode()
    except (binascii.Error, ValueError):
        raise BadRequestError(f"{at}: the document's text must be base64 of UTF-8") from None


def _kind_of(ending: str, kind: str) -> tuple[str, str | None]:
    """The block type for a file extension, and its format."""
    for block in (kind, *FORMATS):
        if ending in FORMATS[block].values():
            return block, ending
    return kind, None

"""Content blocks between Anthropic's Messages and the hub, for requests and responses."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from headrace.dialects.fields import bad, items, json_text, merged, obj, rest, string
from headrace.errors import BadRequestError
from headrace.types import Audio, Extra, File, Image, Json, Other, Part, Refusal, Text, Thinking, ToolCall, ToolResult

SHARED: Final = frozenset(
    {"cache_control", "citations", "context", "title", "caller", "defer_loading", "allowed_callers", "input_examples"}
)
"""Anthropic's own field names, which a caller of another dialect may set in `extra`."""

OWN: Final = frozenset({
    "text", "image", "document", "search_result", "thinking", "redacted_thinking", "tool_use", "tool_result", "tool_reference",
    "container_upload", "compaction", "server_tool_use", "mcp_tool_use", "mcp_tool_result", "tool_addition", "fallback",
})  # fmt: skip
"""Blocks of this dialect, which a caller of another may include in its content, as is every `*_tool_result`."""

# Anthropic's advice for arguments that are not JSON:
# platform.claude.com/docs/en/agents-and-tools/tool-use/fine-grained-tool-streaming
BROKEN: Final = "INVALID_JSON"

_ONE: Final[Mapping[str, Mapping[str, Json]]] = {
    "thinking": {"thinking": "", "signature": ""},
    "redacted_thinking": {"data": ""},
    "tool_use": {"id": "", "name": "", "input": {}},
    "tool_result": {"tool_use_id": ""},
}
"""Defaults to write for fields the hub does not set."""

_TEXT: Final = frozenset({"type", "text"})
_MEDIA: Final = frozenset({"type", "source"})
_DOCUMENT: Final = frozenset({"type", "source", "title"})
_THINKING: Final = frozenset({"type", "thinking", "signature"})
_REDACTED: Final = frozenset({"type", "data"})
_CALL: Final = frozenset({"type", "id", "name", "input"})
_RESULT: Final = frozenset({"type", "tool_use_id", "content", "is_error"})


def own_block(kind: str) -> bool:
    return kind in OWN or kind.endswith("_tool_result")


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_content(value: Json, at: str) -> tuple[Part, ...]:
    """The parts of a string or a list of blocks."""
    if isinstance(value, str):
        return (Text(text=value),)
    return tuple([read_block(block, f"{at}[{index}]") for index, block in enumerate(items(value, at))])


def as_list(parts: tuple[Part, ...], source: Json) -> tuple[Part, ...]:
    """`parts`, with a single text that came in a list marked, so that it is written back as a list."""
    if len(parts) == 1 and isinstance(source, list) and isinstance(parts[0], Text) and not parts[0].extra:
        return (msgspec.structs.replace(parts[0], extra={"type": "text"}),)
    return parts


def read_block(value: Json, at: str) -> Part:
    """One block. Blocks unknown to the hub become `Other`, unchanged."""
    source = obj(value, at)
    kind = string(source.get("type"), f"{at}.type")
    reader = _READERS.get(kind)
    part = None if reader is None else reader(source, at)
    return Other(type=kind, extra=dict(source)) if part is None else part


def _read_text(source: Mapping[str, Json], at: str) -> Part | None:
    text = source.get("text")
    return Text(text=text, extra=rest(source, _TEXT, exact=_TEXT)) if isinstance(text, str) else None


def _read_image(source: Mapping[str, Json], at: str) -> Part | None:
    url = _source_url(source.get("source"), image=True)
    return Image(url=url, extra=rest(source, _MEDIA)) if url else None


def _read_document(source: Mapping[str, Json], at: str) -> Part | None:
    url = _source_url(source.get("source"), image=False)
    if not url:
        return None
    title = source.get("title")
    extra = rest(source, _DOCUMENT)
    where = {"url" if ":" in url else "id": url}
    return File(**where, name=title if isinstance(title, str) else "", extra=extra)


def _source_url(source: Json, *, image: bool) -> str:
    """A source as the hub's URL or file id; "" if it cannot be expressed that way."""
    match source:
        case {"type": "base64", "media_type": str(media), "data": str(data), **more} if not more and _fits(media, image=image):
            return f"data:{media};base64,{data}"
        case {"type": "text", "media_type": "text/plain", "data": str(data), **more} if not more and not image and data:
            return _text_url(data)
        case {"type": "url", "url": str(url), **more} if not more and url[:4].lower() == "http" and ":" in url:
            return url
        case {"type": "file", "file_id": str(id_), **more} if not more and ":" not in id_:
            return id_
    return ""


def _fits(media: str, *, image: bool) -> bool:
    """Whether the media type alone suffices to tell an image from a document later."""
    if not media or any(character in media for character in ",;"):
        return False
    return media.startswith("image/") if image else not media.startswith(("image/", "text/"))


def _text_url(data: str) -> str:
    try:
        return f"data:text/plain;base64,{base64.b64encode(data.encode()).decode()}"
    except UnicodeEncodeError:
        return ""  # a lone surrogate


def _read_thinking(source: Mapping[str, Json], at: str) -> Part | None:
    text, signature = source.get("thinking"), source.get("signature")
    if not isinstance(text, str):
        return None
    known = signature if isinstance(signature, str) and signature else None
    return Thinking(text=text, signature=known, extra=rest(source, _THINKING, _ONE["thinking"]))


def _read_redacted(source: Mapping[str, Json], at: str) -> Part | None:
    data = source.get("data")
    return Thinking(data=data, extra=rest(source, _REDACTED, exact=_REDACTED)) if isinstance(data, str) else None


def _read_call(source: Mapping[str, Json], at: str) -> Part | None:
    id_, name = source.get("id"), source.get("name")
    if not isinstance(id_, str) or not isinstance(name, str):
        return None
    extra = rest(source, _CALL, _ONE["tool_use"], exact=frozenset({"id", "name"}))
    return ToolCall(id=id_, name=name, arguments=arguments_text(source.get("input")), extra=extra)


def arguments_text(value: Json) -> str:
    """A call's input as JSON text; `{}` for a call without arguments."""
    if value is None:
        return "{}"
    return value if isinstance(value, str) else json_text(value)


def _read_result(source: Mapping[str, Json], at: str) -> Part | None:
    call_id = source.get("tool_use_id")
    if not isinstance(call_id, str):
        return None
    content, error = source.get("content"), source.get("is_error")
    extra = rest(source, _RESULT, exact=frozenset({"tool_use_id", "content"}))
    if error is not True and "is_error" in source:
        extra["is_error"] = error
    parts = as_list(read_content(content, f"{at}.content"), content)
    return ToolResult(call_id=call_id, content=parts, is_error=error is True, extra=extra)


_READERS: Final[Mapping[str, Callable[[Mapping[str, Json], str], Part | None]]] = {
    "text": _read_text,
    "image": _read_image,
    "document": _read_document,
    "thinking": _read_thinking,
    "redacted_thinking": _read_redacted,
    "tool_use": _read_call,
    "tool_result": _read_result,
}


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_content(parts: Sequence[Part], at: str, *, foreign: bool) -> Json:
    """A string for one plain text, None for no parts, otherwise a list of blocks."""
    if not parts:
        return None
    if len(parts) == 1 and isinstance(parts[0], Text) and not parts[0].extra:
        return parts[0].text
    return write_blocks(parts, at, foreign=foreign)


def write_blocks(parts: Sequence[Part], at: str, *, foreign: bool) -> list[dict[str, Json]]:
    return [write_block(part, f"{at}[{index}]", foreign=foreign) for index, part in enumerate(parts)]


def write_block(part: Part, at: str, *, foreign: bool) -> dict[str, Json]:
    """One block. foreign: the part was read from another dialect, whose extra fields are not sent.

    Raises BadRequestError for content that no block can express.
    """
    extra = kept(part.extra) if foreign else part.extra
    match part:
        case Text():
            return merged({"type": "text"}, extra, {"text": part.text})
        case Refusal():
            return {"type": "text", "text": part.text}
        case Image():
            return _write_media(part.url, "", extra, at)
        case File():
            if foreign:
                _check_document(part, at)
            return _write_media(part.url or part.id, part.name, extra, at, document=True)
        case Thinking():
            return _write_thinking(part, extra)
        case ToolCall():
            said = {"id": part.id or None, "name": part.name or None, "input": _write_input(part)}
            return merged({"type": "tool_use", **_ONE["tool_use"]}, extra, said)
        case ToolResult():
            content = write_content(part.content, f"{at}.content", foreign=foreign)
            said = {"tool_use_id": part.call_id or None, "content": content, "is_error": part.is_error or None}
            return merged({"type": "tool_result", **_ONE["tool_result"]}, extra, said)
        case Audio() if part.transcript:
            return {"type": "text", "text": part.transcript}
        case Other() if not foreign or own_block(part.type):
            return merged({"type": part.type}, part.extra, {})
    kind = part.type if isinstance(part, Other) else type(part).__name__.lower()
    raise BadRequestError(f"{at}: Anthropic's messages cannot contain {kind}: remove it, or use a model that supports it")


def kept(extra: Extra) -> Extra:
    """The fields of another dialect's `extra` that mean the same here."""
    return {name: value for name, value in extra.items() if name in SHARED} if extra else extra


def _write_thinking(part: Thinking, extra: Extra) -> dict[str, Json]:
    if part.data is not None:
        return merged({"type": "redacted_thinking"}, extra, {"data": part.data})
    return merged({"type": "thinking", **_ONE["thinking"]}, extra, {"thinking": part.text, "signature": part.signature or None})


def _write_input(call: ToolCall) -> Json:
    """The arguments as the object Anthropic requires; None if empty, so that the default is written."""
    if call.kind == "custom":
        return {"input": call.arguments}
    if not call.arguments.strip() or (call.arguments == "{}" and "input" in call.extra):
        return None
    try:
        made = msgspec.json.decode(call.arguments)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return {BROKEN: call.arguments}
    return made if isinstance(made, dict) else {BROKEN: call.arguments}


def _check_document(file: File, at: str) -> None:
    """Raises BadRequestError for files Anthropic never accepts: types other than PDF, text and images; URLs other than HTTP(S)."""
    head = file.url[:200].lower().partition(",")[0]
    kind = head.removeprefix("data:").partition(";")[0]
    if head.startswith("data:") and kind and kind != "application/pdf" and not kind.startswith(("text/", "image/")):
        raise BadRequestError(f"{at}: Anthropic's messages accept PDF, text and images, not {kind}: send its text instead")
    if head and not head.startswith(("data:", "http:", "https:")) and ":" in head:
        raise BadRequestError(
            f"{at}: Anthropic's messages accept files from the web, not {head.partition(':')[0]}: URLs: send the data inline"
        )


def _write_media(url: str, name: str, extra: Extra, at: str, *, document: bool = False) -> dict[str, Json]:
    """An image or document block. The media type decides for inline data, the part's type otherwise."""
    if url[:5].lower() == "data:":
        media, data = _inline(url, at)
        document = not media.startswith("image/")
        source = _inline_source(media, data, at)
    elif ":" in url:
        source = {"type": "url", "url": url}
    else:
        source = {"type": "file", "file_id": url}
    said = {"source": source, "title": (name or None) if document else None}
    return merged({"type": "document" if document else "image"}, extra, said)


def _inline(url: str, at: str) -> tuple[str, str]:
    """Media type and base64 data of a data URL (RFC 2397)."""
    head, comma, data = url[5:].partition(",")
    if not comma:
        raise bad(at, "a data URL with a comma before its data", url)
    media, *parameters = [piece.strip() for piece in head.split(";")]
    media = media.lower() or "text/plain"
    if "base64" not in parameters:
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return "image/jpeg" if media == "image/jpg" else media, data


def _inline_source(media: str, data: str, at: str) -> dict[str, Json]:
    """A source for inline data. Any text type is sent as plain text, because the base64 source is only for PDF and images."""
    if not media.startswith("text/"):
        return {"type": "base64", "media_type": media, "data": data}
    try:
        text = base64.b64decode(data).decode()
    except (binascii.Error, ValueError):
        raise bad(at, "UTF-8 text in base64", data) from None
    return {"type": "text", "media_type": "text/plain", "data": text}

"""Content blocks between Converse and the hub: each is an object whose single key is its type."""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from headrace.dialects.bedrock_converse.media import read_media, write_audio, write_file, write_image, write_video
from headrace.dialects.fields import items, json_text, merged, obj, optional, rest, string
from headrace.errors import BadRequestError
from headrace.types import Audio, Extra, File, Image, Json, Other, Part, Refusal, Text, Thinking, ToolCall, ToolResult

WRAPPED: Final = ("citationsContent", "guardContent", "json")
"""Blocks that wrap a text. The hub has a Text whose `extra` keeps the whole block."""

CITED: Final = "citations"
"""The key in `extra` for a text's citations.

In Converse's responses, text and citations share one block; in streams they are separate.
"""

CACHE: Final = "cache_control"
"""Anthropic's field for a prompt cache breakpoint. Converse has a block that follows the part instead."""


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_blocks(value: Json, at: str, *, answer: bool = False) -> list[Part]:
    """The parts in the `content` of a message or tool result, or in `system`.

    answer: the content was written by a model, so tool results in it are from the provider's built-in tools.
    """
    parts: list[Part] = []
    for index, block in enumerate(items(value, at)):
        source = obj(block, f"{at}[{index}]")
        if parts and (kept := _cache(source)) is not None and CACHE not in parts[-1].extra:
            parts[-1] = msgspec.structs.replace(parts[-1], extra={**parts[-1].extra, CACHE: kept})
        else:
            parts.append(read_block(source, f"{at}[{index}]", answer=answer))
    return parts


def _cache(block: Mapping[str, Json]) -> dict[str, Json] | None:
    """A plain cache point in Anthropic's format; None for any other block."""
    match block:
        case {"cachePoint": {"type": "default", **more}, **others} if not others and more.keys() <= {"ttl"} and None not in more.values():
            return {"type": "ephemeral", **{str(name): value for name, value in more.items()}}
    return None


def read_block(source: Mapping[str, Json], at: str, *, answer: bool = False) -> Part:
    """One block; `Other` for blocks unknown to the hub."""
    kind = next((name for name in source if name in _READERS), None)
    part = None
    if kind is not None and not (answer and _of_the_provider(kind, source[kind])):
        part = _READERS[kind](source, f"{at}.{kind}")
    return Other(type=kind or next(iter(source), ""), extra=dict(source)) if part is None else part


def _of_the_provider(kind: str, value: Json) -> bool:
    """Whether a block is a call of a built-in tool, or its result: Nova's grounding."""
    return kind == "toolResult" or (kind == "toolUse" and isinstance(value, Mapping) and value.get("type") == "server_tool_use")


def _read_text(source: Mapping[str, Json], at: str) -> Part | None:
    text = source["text"]
    return Text(text=text, extra=rest(source, frozenset({"text"}), exact=frozenset({"text"}))) if isinstance(text, str) else None


def _read_wrapped(source: Mapping[str, Json], at: str) -> Part | None:
    match source:
        case {"citationsContent": {"content": [{"text": str(text), **inner}], "citations": [*cited], **more}, **others} if not (
            inner or more or others or not text
        ):
            return Text(text=text, extra={CITED: cited})
        case {"citationsContent": {"citations": [*cited], **more}, **others} if not more and not others:  # Nova's follow their text
            return Text(text="", extra={CITED: cited})
        case {"json": value}:
            json_text(value, at)
    said = wrapped_text(source)
    return None if said is None else Text(text=said, extra=dict(source))


def wrapped_text(source: Mapping[str, Json]) -> str | None:
    """The text of a block in `WRAPPED`; None for any other block, or one without text (a guarded image)."""
    match source:
        case {"citationsContent": {"content": [*texts]}} if texts and all(_is_text(text) for text in texts):
            return "".join(text["text"] for text in texts)
        case {"guardContent": {"text": {"text": str(text)}}}:
            return text
        case {"json": value}:
            return json_text(value)
    return None


def _is_text(value: Json) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("text"), str)


def _read_reasoning(source: Mapping[str, Json], at: str) -> Part | None:
    match source["reasoningContent"]:
        case {"reasoningText": {"text": str(text), **inner}, **others} if not others:
            signature = inner.get("signature")
            extra = rest(source, frozenset({"reasoningContent"}))
            kept: Mapping[str, Json] = {str(name): value for name, value in inner.items()}
            if unknown := rest(kept, frozenset({"signature"})):
                extra["reasoningText"] = unknown
            return Thinking(text=text, signature=signature if isinstance(signature, str) and signature else None, extra=extra)
        case {"redactedContent": str(redacted), **others} if not others:
            return read_redacted(redacted, rest(source, frozenset({"reasoningContent"})))
    return None


def read_redacted(redacted: str, extra: Extra) -> Thinking:
    """Reasoning that only the provider can read. Converse encodes Anthropic's data in base64 once more; the hub has Anthropic's data."""
    data = unwrapped(redacted)
    return Thinking(data=redacted, extra={**extra, "redacted": "as it came"}) if data is None else Thinking(data=data, extra=extra)


def unwrapped(redacted: str) -> str | None:
    """The text encoded in base64; None if encoding it again would not give the same."""
    try:
        text = binascii.a2b_base64(redacted, strict_mode=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    return text if text and wrap(text) == redacted else None


def wrap(text: str) -> str:
    return binascii.b2a_base64(text.encode(), newline=False).decode()


def _read_use(source: Mapping[str, Json], at: str) -> ToolCall:
    use = obj(source["toolUse"], at)  # fields missing from it are kept as UNSET, so that they are not written either
    extra = rest(source, frozenset({"toolUse"}))
    if inner := rest(use, frozenset({"toolUseId", "name", "input"}), {"toolUseId": "", "name": "", "input": {}}):
        extra["toolUse"] = inner
    given = use.get("input")
    return ToolCall(
        id=optional(use.get("toolUseId"), f"{at}.toolUseId") or "",
        name=optional(use.get("name"), f"{at}.name") or "",
        arguments="" if given is None else json_text(given, f"{at}.input"),
        extra=extra,
    )


def _read_result(source: Mapping[str, Json], at: str) -> ToolResult:
    result = obj(source["toolResult"], at)
    extra = rest(source, frozenset({"toolResult"}))
    failed = result.get("status") == "error"
    inner = rest(result, frozenset({"toolUseId", "content", "status"}), {"content": []}, exact=frozenset({"toolUseId"}))
    if "status" in result and not failed:
        inner["status"] = result["status"]
    if inner:
        extra["toolResult"] = inner
    return ToolResult(
        call_id=string(result.get("toolUseId"), f"{at}.toolUseId"),
        content=tuple(read_blocks(result.get("content"), f"{at}.content")),
        is_error=failed,
        extra=extra,
    )


_READERS: Final[Mapping[str, Callable[[Mapping[str, Json], str], Part | None]]] = {
    "text": _read_text,
    "image": read_media,
    "document": read_media,
    "audio": read_media,
    "toolUse": _read_use,
    "toolResult": _read_result,
    "reasoningContent": _read_reasoning,
    **dict.fromkeys(WRAPPED, _read_wrapped),
}


# ---- writing -----------------------------------------------------------------------------------------------------------------------


class BlockWriter:
    """Writes the blocks of one request or response.

    foreign: the parts are from another dialect. Of their `extra` only `CACHE` is then used, ids and names are made
    valid, and content that Converse rejects but that carries nothing (blank texts, unsigned reasoning) is dropped.
    """

    def __init__(self, *, foreign: bool) -> None:
        self.foreign = foreign
        self._documents: set[str] = set()

    def blocks(self, parts: tuple[Part, ...], at: str) -> list[dict[str, Json]]:
        written: list[dict[str, Json]] = []
        for index, part in enumerate(parts):
            block = self.block(part, f"{at}[{index}]")
            if block is not None:
                written.append(block)
            if written:
                written += cache_point(self._mark(part))
        return written

    def _mark(self, part: Part) -> Extra:
        """The `extra` that may have a cache breakpoint: the part's own or, for a tool result, that of its content."""
        if self.foreign and isinstance(part, ToolResult) and CACHE not in part.extra:
            return next((inner.extra for inner in part.content if CACHE in inner.extra), part.extra)
        return part.extra

    def _inner(self, parts: tuple[Part, ...], at: str) -> list[dict[str, Json]]:
        """The blocks inside a tool result, where Converse allows no cache points."""
        written = [self.block(part, f"{at}[{index}]") for index, part in enumerate(parts)]
        return [block for block in written if block is not None]

    def block(self, part: Part, at: str) -> dict[str, Json] | None:
        """None for content that Converse rejects and that carries nothing. Raises BadRequestError for content without a block type."""
        match part:
            case Text():
                return self._text(part)
            case Refusal():
                return {"text": part.text} if part.text else None
            case Thinking():
                return self._thinking(part)
            case ToolCall():
                return self._call(part)
            case ToolResult():
                return self._result(part, at)
            case Image():
                return write_image(part, at, self.kept(part.extra))
            case Audio():
                if not part.data and part.transcript:
                    return {"text": part.transcript}
                return write_audio(part, at, self.kept(part.extra))
            case File():
                return write_file(part, at, self.kept(part.extra), None if not self.foreign else self._documents)
        return self._other(part, at)

    def kept(self, extra: Extra) -> dict[str, Json]:
        """The fields of `extra` to write next to the block."""
        return {} if self.foreign else {name: value for name, value in extra.items() if name != CACHE}

    def _text(self, part: Text) -> dict[str, Json] | None:
        if self.foreign and not part.text.strip():
            return None
        extra = self.kept(part.extra)
        if wrapped_text(extra) == part.text:
            return extra
        cited = extra.get(CITED)
        if isinstance(cited, list) and not any(isinstance(it, Mapping) and "type" in it for it in cited):  # Anthropic's have one
            extra.pop(CITED)
            content = {"content": [{"text": part.text}]} if part.text else {}
            return {"citationsContent": {**content, "citations": cited}, **_unwrapped(extra)}
        return merged({}, _unwrapped(extra), {"text": part.text})

    def _thinking(self, part: Thinking) -> dict[str, Json] | None:
        extra = self.kept(part.extra)
        if part.data is not None:
            if self.foreign and not str(part.extra.get("format", "anthropic")).startswith("anthropic"):
                return None
            redacted = part.data if extra.pop("redacted", None) else wrap(part.data)
            return {"reasoningContent": {"redactedContent": redacted}, **extra}
        if self.foreign and not part.signature:
            return None
        inner = extra.pop("reasoningText", None)
        said = merged({}, inner if isinstance(inner, Mapping) else {}, {"text": part.text, "signature": part.signature})
        return {"reasoningContent": {"reasoningText": said}, **extra}

    def _call(self, call: ToolCall) -> dict[str, Json]:
        extra = self.kept(call.extra)
        inner = extra.pop("toolUse", None)
        said = {"toolUseId": self.id(call.id) or None, "name": call.name or None}
        if call.arguments or not isinstance(inner, Mapping) or "input" not in inner:
            said["input"] = _input(call, foreign=self.foreign)
        usual = {"toolUseId": "", "name": "", "input": {}}
        return {"toolUse": merged(usual, inner if isinstance(inner, Mapping) else {}, said), **extra}

    def _result(self, result: ToolResult, at: str) -> dict[str, Json]:
        extra = self.kept(result.extra)
        inner = extra.pop("toolResult", None)
        said = {
            "toolUseId": self.id(result.call_id),
            "content": (self._inner if self.foreign else self.blocks)(result.content, f"{at}.content") or None,
            "status": "error" if result.is_error else None,
        }
        return {"toolResult": merged({"content": []}, inner if isinstance(inner, Mapping) else {}, said), **extra}

    def _other(self, part: Other, at: str) -> dict[str, Json]:
        if not self.foreign:
            return dict(self.kept(part.extra)) if part.extra or not part.type else {part.type: {}}
        video = part.extra.get("video_url")
        url = video.get("url") if isinstance(video, Mapping) else video
        if part.type == "video_url" and isinstance(url, str):
            return write_video(url, at)
        raise BadRequestError(f"{at}: Bedrock's Converse has no content of type {part.type!r}: remove it, or send it as text")

    def id(self, given: str) -> str:
        """`given` or, if Converse would reject it, a valid id derived from it: the same for a call and its result."""
        if not self.foreign or not given or _ID.fullmatch(given):
            return given
        return f"{re.sub('[^a-zA-Z0-9_-]', '_', given)[:55]}-{zlib.crc32(given.encode()):08x}"


_ID: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
"""docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolUseBlock.html"""


def _unwrapped(extra: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in extra.items() if name not in WRAPPED}


def _input(call: ToolCall, *, foreign: bool) -> Json:
    """The decoded arguments. Text that is not JSON, or not an object, is wrapped in an object."""
    if call.kind == "custom":
        return {"input": call.arguments}
    try:
        value = msgspec.json.decode(call.arguments) if call.arguments.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {"arguments": call.arguments}
    return value if isinstance(value, Mapping) or not foreign else {"arguments": value}


def cache_point(extra: Extra) -> list[dict[str, Json]]:
    """The cache point that follows a part with a cache breakpoint; empty unless the breakpoint is in Anthropic's format."""
    mark: Any = extra.get(CACHE)
    if not isinstance(mark, Mapping) or mark.get("type") != "ephemeral":
        return []
    ttl = mark.get("ttl", UNSET)
    return [{"cachePoint": {"type": "default"} if ttl in (UNSET, None) else {"type": "default", "ttl": ttl}}]

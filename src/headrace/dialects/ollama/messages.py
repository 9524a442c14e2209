"""Messages between Ollama's chat and the hub: a single text, base64 images, arguments as objects, calls often without ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from headrace.dialects.call_ids import History, Turn, made_up
from headrace.dialects.fields import bad, items, json_text, merged, obj, optional, rest, string
from headrace.errors import BadRequestError
from headrace.types import Audio, Image, Json, Message, Other, Part, Refusal, Text, Thinking, ToolCall, ToolResult

_MESSAGE: Final = frozenset({"role", "content", "images"})
_ASSISTANT: Final = _MESSAGE | {"thinking", "tool_calls"}
_TOOL: Final = _MESSAGE | {"tool_name", "tool_call_id"}
_USUAL: Final[Mapping[str, Json]] = {"content": ""}

_KINDS: Final = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
    ("Qk", "image/bmp"),
)
"""Base64 prefixes of image formats, and their media types, which Ollama does not send."""

_UNKNOWN: Final = "application/octet-stream"


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_messages(value: Json) -> tuple[Message, ...]:
    """The messages of a conversation. Raises BadRequestError that names the field."""
    calls = History()
    return tuple([_read_message(message, f"messages[{index}]", calls) for index, message in enumerate(items(value, "messages"))])


def _read_message(value: Json, at: str, calls: History) -> Message:
    source = obj(value, at)
    role = source.get("role")
    match role:
        case "assistant":
            return read_assistant(source, at, calls)
        case "tool":
            return _read_result(source, at, calls)
        case "user" | "system":
            extra = rest(source, _MESSAGE, _USUAL)
            return Message(role=cast("Any", role), content=_read_content(source, at), extra=extra)
    raise bad(f"{at}.role", "one of system, user, assistant, tool", role)


def _read_content(source: Mapping[str, Json], at: str) -> tuple[Part, ...]:
    text = optional(source.get("content"), f"{at}.content")
    said = [Text(text=text)] if text else []
    return (*said, *[_picture(image, f"{at}.images[{i}]") for i, image in enumerate(items(source.get("images"), f"{at}.images"))])


def _picture(value: Json, at: str) -> Image:
    data = string(value, at)
    return Image(url=f"data:{next((kind for start, kind in _KINDS if data.startswith(start)), _UNKNOWN)};base64,{data}")


def _read_result(source: Mapping[str, Json], at: str, calls: History) -> Message:
    name = optional(source.get("tool_name"), f"{at}.tool_name")
    given = optional(source.get("tool_call_id"), f"{at}.tool_call_id")
    result = ToolResult(call_id=given or calls.answered(name or "", ""), content=_read_content(source, at), name=name)
    return Message(role="tool", content=(result,), extra=rest(source, _TOOL, _USUAL))


def read_assistant(source: Mapping[str, Json], at: str, calls: Turn) -> Message:
    """An assistant message: thinking, then content, then calls."""
    thought = optional(source.get("thinking"), f"{at}.thinking")
    thinking = [Thinking(text=thought, extra={"field": "reasoning_content"})] if thought else []
    called = [
        read_call(call, f"{at}.tool_calls[{index}]", calls)
        for index, call in enumerate(items(source.get("tool_calls"), f"{at}.tool_calls"))
    ]
    content = (*thinking, *_read_content(source, at), *called)
    return Message(role="assistant", content=content, extra=rest(source, _ASSISTANT, _USUAL))


def read_call(value: Json, at: str, calls: Turn) -> ToolCall:
    source = obj(value, at)
    function = obj(source.get("function"), f"{at}.function")
    given = function.get("arguments")
    arguments = given if isinstance(given, str) else json_text({} if given is None else given)
    name = string(function.get("name"), f"{at}.function.name")
    extra = rest(source, frozenset({"id", "function"}))
    inner = rest(function, frozenset({"name", "arguments"}), {"arguments": {}})
    if isinstance(given, str):
        inner["arguments"] = given
    if inner:
        extra["function"] = inner
    id_ = calls.called(name, optional(source.get("id"), f"{at}.id") or "", arguments)
    return ToolCall(id=id_, name=name, arguments=arguments, extra=extra)


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_messages(messages: Sequence[Message], *, foreign: bool) -> list[dict[str, Json]]:
    """foreign: the messages were read from another dialect, whose extra fields Ollama does not know.

    Raises BadRequestError for a part that Ollama does not accept.
    """
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    return [_write_message(message, f"messages[{index}]", names, foreign=foreign) for index, message in enumerate(messages)]


def _write_message(message: Message, at: str, names: Mapping[str, str], *, foreign: bool) -> dict[str, Json]:
    extra = {} if foreign else message.extra
    if message.role == "tool":
        return _write_result(message, extra, at, names, foreign=foreign)
    if message.role == "assistant":
        return write_assistant(message, at, foreign=foreign)
    role = "system" if message.role == "developer" else message.role
    return merged({"role": role, **_USUAL}, extra, _write_content(message.content, at))


def _write_result(message: Message, extra: Mapping[str, Json], at: str, names: Mapping[str, str], *, foreign: bool) -> dict[str, Json]:
    result = message.content[0] if message.content else None
    if not isinstance(result, ToolResult):
        raise BadRequestError(f"{at}: a tool message must contain a tool result")
    said = _write_content(result.content, at)
    name = result.name or (names.get(result.call_id) if foreign else None)
    id_ = result.call_id if result.call_id and not made_up(result.call_id) else None
    return merged({"role": "tool", **_USUAL}, extra, {**said, "tool_name": name, "tool_call_id": id_})


def write_assistant(message: Message, at: str, *, foreign: bool) -> dict[str, Json]:
    calls = [write_call(part, foreign=foreign) for part in message.content if isinstance(part, ToolCall)]
    content = [part for part in message.content if not isinstance(part, ToolCall | Thinking)]
    said = {**_write_content(content, at), "thinking": message.thinking or None, "tool_calls": calls or None}
    return merged({"role": "assistant", **_USUAL}, {} if foreign else message.extra, said)


def _write_content(parts: Sequence[Part], at: str) -> dict[str, Json]:
    texts = [part.text for part in parts if isinstance(part, Text | Refusal)]
    pictures = [_write_picture(part, f"{at}.content[{index}]") for index, part in enumerate(parts) if not isinstance(part, Text | Refusal)]
    return {"content": "\n".join(texts) or None, "images": pictures or None}


def _write_picture(part: Part, at: str) -> str:
    if isinstance(part, Audio) and part.transcript:
        raise BadRequestError(f"{at}: Ollama does not accept audio: send its transcript as text")
    if not isinstance(part, Image):
        kind = part.type if isinstance(part, Other) else type(part).__name__
        raise BadRequestError(f"{at}: Ollama accepts text and images, not {kind}: send its content as text")
    head, comma, data = part.url.partition(",")
    if part.url.startswith("data:") and head.endswith(";base64") and comma:
        return data
    raise BadRequestError(f"{at}: Ollama does not fetch images: send a data: URL with base64, or pass fetch_media=True")


def write_call(call: ToolCall, *, foreign: bool) -> dict[str, Json]:
    extra = {} if foreign else call.extra
    inner = extra.get("function")
    inner = inner if isinstance(inner, Mapping) else {}
    arguments = None if "arguments" in inner else _arguments(call)
    said = {"id": None if not call.id or made_up(call.id) else call.id}
    return merged({}, extra, {**said, "function": merged({}, inner, {"name": call.name, "arguments": arguments})})


def _arguments(call: ToolCall) -> dict[str, Json]:
    """The arguments as the object Ollama requires. Anything else is wrapped in an object."""
    if call.kind == "custom":
        return {"input": call.arguments}
    try:
        value = msgspec.json.decode(call.arguments) if call.arguments.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {"arguments": call.arguments}
    return value if isinstance(value, dict) else {"arguments": value}

"""Messages and their parts between Cohere's v2 Chat and the hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from headrace.dialects.fields import bad, items, merged, obj, rest, string
from headrace.dialects.openai_chat.messages import is_strange, read_call, write_call
from headrace.errors import BadRequestError
from headrace.types import Image, Json, Message, Other, Part, Refusal, Text, Thinking, ToolCall, ToolResult

PLAN: Final = "tool_plan"
"""The model's plan for using its tools, sent before the calls. In the hub it is Thinking with this type in `extra`."""

ANNOTATIONS: Final = "annotations"
"""Citations in OpenAI's format, kept alongside Cohere's own and never sent to Cohere."""

_MESSAGE: Final = frozenset({"role", "content"})
_ASSISTANT: Final = _MESSAGE | {PLAN, "tool_calls"}
_TOOL: Final = _MESSAGE | {"tool_call_id"}


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_message(value: Json, at: str) -> Message:
    """One message. Raises BadRequestError that names the field below `at`."""
    source = obj(value, at)
    role = source.get("role")
    content = read_content(source.get("content"), f"{at}.content")
    match role:
        case "assistant":
            return read_assistant(source, content, at)
        case "tool":
            call_id = string(source.get("tool_call_id"), f"{at}.tool_call_id")
            extra = rest(source, _TOOL, {"content": ""}, exact=frozenset({"content"}))
            return Message(role="tool", content=(ToolResult(call_id=call_id, content=content),), extra=extra)
        case "user" | "system":
            extra = rest(source, _MESSAGE, {"content": None}, exact=frozenset({"content"}))
            return Message(role=cast("Any", role), content=content, extra=extra)
    raise bad(f"{at}.role", "one of system, user, assistant, tool", role)


def read_assistant(source: Mapping[str, Json], content: Sequence[Part], at: str) -> Message:
    """An assistant message: thinking and plan, then content, then calls."""
    plan = source.get(PLAN)
    planned = [Thinking(text=string(plan, f"{at}.{PLAN}"), extra={"type": PLAN})] if plan else []
    thoughts = [part for part in content if isinstance(part, Thinking)]
    said = [part for part in content if not isinstance(part, Thinking)]
    given = list(enumerate(items(source.get("tool_calls"), f"{at}.tool_calls")))
    calls = [read_call(call, f"{at}.tool_calls[{index}]") for index, call in given if not is_strange(call)]
    extra = rest(source, _ASSISTANT, exact=frozenset({"content"}))
    if strange := [call for _, call in given if is_strange(call)]:
        extra["tool_calls"] = strange
    return Message(role="assistant", content=(*thoughts, *planned, *said, *calls), extra=extra)


def read_content(value: Json, at: str) -> tuple[Part, ...]:
    """A string, a list of parts, or null. A list of one text is written back as a list."""
    if isinstance(value, str):
        return (Text(text=value),)
    parts = tuple(_read_part(part, f"{at}[{index}]") for index, part in enumerate(items(value, at)))
    if len(parts) == 1 and isinstance(parts[0], Text) and not parts[0].extra:
        return (msgspec.structs.replace(parts[0], extra={"type": "text"}),)
    return parts


def _read_part(value: Json, at: str) -> Part:
    source = obj(value, at)
    match source:
        case {"type": "text", "text": str(text)}:
            return Text(text=text, extra=rest(source, frozenset({"type", "text"}), exact=frozenset({"text"})))
        case {"type": "thinking", "thinking": str(text)}:
            return Thinking(text=text, extra=rest(source, frozenset({"type", "thinking"}), exact=frozenset({"thinking"})))
        case {"type": "image_url", "image_url": {"url": str(url), **inner}}:
            detail = inner.pop("detail", None)
            kept = rest(source, frozenset({"type", "image_url"})) | ({"image_url": inner} if inner else {})
            return Image(url=url, detail=detail if isinstance(detail, str) else None, extra=kept)
    return Other(type=string(source.get("type"), f"{at}.type"), extra=dict(source))


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_message(message: Message, at: str, *, foreign: bool) -> dict[str, Json]:
    """foreign: the message was read from another dialect, whose extra fields Cohere does not know.

    Raises BadRequestError for a part that Cohere does not accept.
    """
    extra = {} if foreign else message.extra
    if message.role == "tool":
        return _write_result(message.content[0] if message.content else None, extra, at, foreign=foreign)
    if message.role == "assistant":
        return write_assistant(message, at, foreign=foreign)
    role = "system" if message.role == "developer" else message.role
    content = write_content(message.content, f"{at}.content", foreign=foreign)
    return merged({"role": role, "content": "" if foreign else None}, extra, {"content": content})


def _write_result(result: Part | None, extra: Mapping[str, Json], at: str, *, foreign: bool) -> dict[str, Json]:
    if not isinstance(result, ToolResult):
        raise BadRequestError(f"{at}: a tool message must contain a tool result")
    for index, part in enumerate(result.content if foreign else ()):
        if not isinstance(part, Text | Other):
            raise _untakable(part, f"{at}.content[{index}]", "send the tool's result as text")
    content = write_content(result.content, f"{at}.content", foreign=foreign)
    return merged({"role": "tool", "content": ""}, extra, {"tool_call_id": result.call_id, "content": content})


def write_assistant(message: Message, at: str, *, foreign: bool, listed: bool = False) -> dict[str, Json]:
    """listed: always write the content as a list, as in responses."""
    plan = "".join(part.text for part in message.content if isinstance(part, Thinking) and _is_plan(part))
    calls = [_write_call(part, foreign=foreign) for part in message.content if isinstance(part, ToolCall)]
    content = [part for part in message.content if not _is_plan(part) and not isinstance(part, ToolCall)]
    if foreign:  # drops reasoning that only its own provider can read
        content = [part for part in content if not isinstance(part, Thinking) or part.text]
    extra = {} if foreign else {name: value for name, value in message.extra.items() if name != ANNOTATIONS}
    said: dict[str, Json] = {
        "content": write_content(content, f"{at}.content", foreign=foreign, listed=listed),
        PLAN: plan or None,
        "tool_calls": [*calls, *items(extra.get("tool_calls"), at)] if calls else None,
    }
    return merged({"role": "assistant"}, extra, said)


def _is_plan(part: Part) -> bool:
    return isinstance(part, Thinking) and part.extra.get("type") == PLAN


def _write_call(call: ToolCall, *, foreign: bool) -> dict[str, Json]:
    if not foreign:
        return write_call(call)
    arguments = call.arguments if call.kind != "custom" else msgspec.json.encode({"input": call.arguments}).decode()
    return write_call(ToolCall(id=call.id or call.name, name=call.name, arguments=arguments or "{}"))


def write_content(parts: Sequence[Part], at: str, *, foreign: bool, listed: bool = False) -> Json:
    """A string for one plain text, None for no parts, otherwise a list."""
    if not parts:
        return None
    if len(parts) == 1 and isinstance(parts[0], Text) and not listed and (foreign or not parts[0].extra):
        return parts[0].text
    return [_write_part(part, f"{at}[{index}]", foreign=foreign) for index, part in enumerate(parts)]


def _write_part(part: Part, at: str, *, foreign: bool) -> dict[str, Json]:
    extra = {} if foreign else part.extra
    match part:
        case Text():
            return merged({"type": "text"}, extra, {"text": part.text})
        case Refusal():
            return {"type": "text", "text": part.text}
        case Thinking():
            return merged({"type": "thinking"}, extra, {"thinking": part.text})
        case Image():
            inner = extra.get("image_url")
            said = {"url": part.url, "detail": part.detail}
            return merged({"type": "image_url"}, extra, {"image_url": merged(inner if isinstance(inner, Mapping) else {}, {}, said)})
        case Other() if not foreign or part.type == "document":
            return dict(part.extra)
    raise _untakable(part, at, "send its text, or pass it in documents=")


def _untakable(part: Part, at: str, fix: str) -> BadRequestError:
    kind = part.type if isinstance(part, Other) else type(part).__name__
    return BadRequestError(f"{at}: Cohere does not accept {kind} here: {fix}")

"""Items of OpenAI's Responses as message parts, for requests and responses.

An assistant's turn is a run of items (reasoning, messages, calls), each of which becomes parts of one hub message.
Fields only this dialect has are kept in a part's `extra` under `OWN`; a message item's own fields are kept on its first
part, under `ITEM` within that. An item unknown to the hub becomes `Other`, unchanged and in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from msgspec import UNSET, structs

from headrace.dialects.fields import OWN, bad, items, obj, optional, rest, string
from headrace.dialects.openai_responses.names import FORMAT, GAP, INSIDE, ITEM, annotations_for_chat
from headrace.types import Audio, Extra, File, Image, Json, Message, Other, Part, Refusal, Text, Thinking, ToolCall, ToolResult

ROLES: Final = frozenset({"user", "system", "developer"})
_MESSAGE: Final = frozenset({"role", "content"})
_MESSAGE_USUAL: Final[Mapping[str, Json]] = {"type": "message"}
_CALL: Final = frozenset({"type", "call_id", "name", "arguments"})
_CUSTOM: Final = frozenset({"type", "call_id", "name", "input"})
_RESULT: Final = frozenset({"type", "call_id", "output"})
_RESULTS: Final = frozenset({"function_call_output", "custom_tool_call_output"})
_SHARED: Final = frozenset({"cache_control"})
"""Fields of other dialects that some gateways accept on this dialect's parts; none of them is OpenAI's."""


def read_input(value: Json) -> tuple[Message, ...]:
    """The messages in a request's `input`. Raises BadRequestError that names the item."""
    if isinstance(value, str):
        return (Message(role="user", content=(Text(text=value),), extra={OWN: "text"}),)
    turns: list[Message] = []
    for index, item in enumerate(items(value, "input")):
        at = f"input[{index}]"
        turn = _read_turn(obj(item, at), at)
        if isinstance(turn, Message):
            turns.append(turn)
        elif turns and turns[-1].role == "assistant":
            turns[-1] = structs.replace(turns[-1], content=turns[-1].content + turn)
        else:
            turns.append(Message(role="assistant", content=turn))
    if not turns:
        raise bad("input", "a string or a non-empty list of items", value)
    return tuple(turns)


def _read_turn(item: Mapping[str, Json], at: str) -> Message | tuple[Part, ...]:
    """A message of its own, or parts of an assistant message."""
    kind, role = item.get("type", "message" if "role" in item or "id" not in item else ""), item.get("role")
    if kind == "message" and isinstance(role, str) and role in ROLES:
        content = read_content(item.get("content"), f"{at}.content")
        return Message(role=cast("Any", role), content=content, extra=_owned(rest(item, _MESSAGE | {"type"}, _MESSAGE_USUAL)))
    if isinstance(kind, str) and kind in _RESULTS:
        return _read_result(item, at)
    if kind == "message" and role != "assistant":
        raise bad(f"{at}.role", "one of user, assistant, system, developer", role)
    return read_item(item, at)


def _owned(kept: Mapping[str, Json]) -> Extra:
    return {OWN: kept} if kept else {}


def _read_result(item: Mapping[str, Json], at: str) -> Message:
    output = item.get("output")
    content = read_content(output, f"{at}.output") if isinstance(output, str | list) else (Other(type="output", extra={"output": output}),)
    extra = _owned({"type": item["type"]} if item["type"] != "function_call_output" else {})
    name = _name(item)  # newer results may identify their call by name alone
    call_id = "" if name and item.get("call_id") is None else string(item.get("call_id"), f"{at}.call_id")
    result = ToolResult(call_id=call_id, content=content, name=name, extra=extra)
    kept = rest(item, _RESULT, {"call_id": UNSET}, exact=frozenset({"output", "call_id"}))
    return Message(role="tool", content=(result,), extra=_owned(kept))


def _name(item: Mapping[str, Json]) -> str | None:
    name = item.get("name")
    return name if isinstance(name, str) and name else None


def read_item(item: Mapping[str, Json], at: str) -> tuple[Part, ...]:
    """One item of the assistant's as parts."""
    match item.get("type", "message" if "role" in item else ""):
        case "message":
            return _read_said(item, at)
        case "reasoning":
            return (read_reasoning(item),)
        case "function_call" if isinstance(item.get("name"), str):
            return (_call(item, "arguments", "function", _CALL, at),)
        case "custom_tool_call" if isinstance(item.get("name"), str):
            return (_call(item, "input", "custom", _CUSTOM, at),)
        case str() as kind if kind:
            return (Other(type=kind, extra=dict(item)),)
        case None | "" if isinstance(item.get("id"), str):  # an id alone refers to an earlier item
            return (Other(type="item_reference", extra=dict(item)),)
    raise bad(f"{at}.type", "a string", item.get("type"))


def _call(item: Mapping[str, Json], field: str, kind: str, known: frozenset[str], at: str) -> ToolCall:
    arguments = item.get(field)
    call_id = string(item.get("call_id"), f"{at}.call_id")
    text = "" if arguments is None else string(arguments, f"{at}.{field}")
    kept = rest(item, known, {"id": UNSET}, exact=frozenset({field, "call_id"}))
    return ToolCall(id=call_id, name=item["name"], arguments=text, kind=cast("Any", kind), extra={OWN: kept})


def _read_said(item: Mapping[str, Json], at: str) -> tuple[Part, ...]:
    """The parts of an assistant's message item. The first keeps the item's other fields."""
    content = item.get("content")
    kept: dict[str, Json] = rest(item, _MESSAGE | {"type"}, {"id": UNSET, **_MESSAGE_USUAL})
    if isinstance(content, str):
        return (Text(text=content, extra={OWN: {ITEM: {**kept, "content": "text"}}}),)
    parts = [_inside(part) for part in read_content(content, f"{at}.content")]
    if not parts:
        return (Other(type="message", extra=dict(item)),)
    first = parts[0]
    return (structs.replace(first, extra={**first.extra, OWN: {**first.extra.get(OWN, {}), ITEM: kept}}), *parts[1:])


def _inside(part: Part) -> Part:
    """Marks a part unknown to the hub as part of a message, so that it is not taken for an item."""
    return structs.replace(part, extra={**part.extra, OWN: {INSIDE: True}}) if isinstance(part, Other) else part


def read_reasoning(item: Mapping[str, Json]) -> Thinking:
    """Reasoning whose text is the item's content, else its summary.

    OpenAI requires the item back unchanged, so `OWN` keeps it.

    `id` and `format` identify it as OpenAI's in other dialects' reasoning details; `item` keeps there what they cannot
    express.
    """
    said = texts(item.get("content")) or texts(item.get("summary"))
    data = item.get("encrypted_content")
    data = data if isinstance(data, str) else None
    kept = {name: value for name, value in item.items() if name != "encrypted_content" or data is None}
    extra: dict[str, Json] = {OWN: kept, "format": FORMAT}
    if isinstance(item.get("id"), str):
        extra["id"] = item["id"]
    if item.get("content") or len(texts(item.get("summary"))) > 1:
        extra[ITEM] = kept
    return Thinking(text=GAP.join(said), data=data, extra=extra)


def texts(parts: Json) -> list[str]:
    found = [part.get("text") for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    return [text for text in found if isinstance(text, str)]


# ---- parts -------------------------------------------------------------------------------------------------------------------------


def read_content(value: Json, at: str) -> tuple[Part, ...]:
    """A string, a list of parts, or null. Parts of a list keep their type, so that it is written back as a list."""
    if isinstance(value, str):
        return (Text(text=value),)
    return tuple(_each_part(items(value, at), at))


def _each_part(parts: list[Json], at: str) -> Iterator[Part]:
    for index, part in enumerate(parts):
        yield _read_part(obj(part, f"{at}[{index}]"), f"{at}[{index}]")


def _read_part(part: Mapping[str, Json], at: str) -> Part:
    kind = part.get("type")
    match kind:
        case "input_text" | "output_text" | "text" if isinstance(part.get("text"), str):
            return _read_text(part)
        case "refusal" if isinstance(part.get("refusal"), str):
            return Refusal(text=part["refusal"], extra=_owned(rest(part, frozenset({"type", "refusal"}))))
        case "input_image" if isinstance(part.get("image_url"), str):
            extra = _marked(rest(part, frozenset({"type", "image_url", "detail"})))
            return Image(url=part["image_url"], detail=optional(part.get("detail"), f"{at}.detail"), extra=extra)
        case "input_file":
            return _read_file(part)
        case "input_audio" if isinstance(part.get("input_audio"), Mapping):
            heard = part["input_audio"]
            extra = _marked(rest(part, frozenset({"type", "input_audio"})))
            return Audio(data=str(heard.get("data") or ""), format=str(heard.get("format") or ""), extra=extra)
        case str():
            return Other(type=kind, extra=dict(part))
    raise bad(f"{at}.type", "a string", kind)


def _read_text(part: Mapping[str, Json]) -> Text:
    """A text part. Its citations are kept in Chat Completions' format too, for callers who know no other."""
    extra = {**_marked({name: value for name, value in part.items() if name != "text"})}
    cited = annotations_for_chat(part.get("annotations"))
    return Text(text=part["text"], extra={**extra, "annotations": cited} if cited else extra)


def _marked(kept: Mapping[str, Json]) -> Extra:
    """`extra` with this dialect's fields under `OWN`, except for those in `_SHARED`."""
    shared = {name: value for name, value in kept.items() if name in _SHARED}
    return {**_owned({name: value for name, value in kept.items() if name not in _SHARED}), **shared}


def _read_file(part: Mapping[str, Json]) -> Part:
    """A file with inline data, an id or a URL; anything else becomes `Other`, unchanged."""
    given = [name for name in ("file_data", "file_id", "file_url") if part.get(name)]
    data = part.get("file_data")
    if len(given) != 1 or not all(isinstance(part[name], str) for name in given) or (data and not data.startswith("data:")):
        return Other(type="input_file", extra=dict(part))
    extra = _marked(rest(part, frozenset({"type", "filename", *given}), exact=frozenset({"filename"})))
    name = part.get("filename")
    field = "id" if given == ["file_id"] else "url"
    return File(**{field: part[given[0]]}, name=name if isinstance(name, str) else "", extra=extra)

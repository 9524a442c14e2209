"""Items of OpenAI's Responses, which are parts and turns of the hub: in requests and answers alike.

A model's turn is a run of items: reasoning, messages, calls. Each becomes parts of one hub message. What an item says besides stands with
its first part, as `extra["item"]`; what has no name in the hub is kept whole as `Other`, where it stood.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from msgspec import structs

from headrace.dialects.fields import bad, items, merged, obj, optional, rest, string
from headrace.errors import BadRequestError
from headrace.types import Audio, Extra, File, Image, Json, Message, Other, Part, Refusal, Text, Thinking, ToolCall, ToolResult

ITEM: Final = "item"
"""The name under which a part keeps what its item says besides."""

ROLES: Final = frozenset({"user", "system", "developer"})
_MESSAGE: Final = frozenset({"role", "content"})
_MESSAGE_USUAL: Final[Mapping[str, Json]] = {"type": "message"}
_CALL: Final = frozenset({"type", "call_id", "name", "arguments"})
_CUSTOM: Final = frozenset({"type", "call_id", "name", "input"})
_RESULT: Final = frozenset({"type", "call_id", "output"})
_RESULTS: Final[Mapping[str, str]] = {"function_call_output": "function", "custom_tool_call_output": "custom"}

OWN: Final = frozenset({"cache_control"})
"""Words of other dialects' parts that are sent along: none of them is OpenAI's."""


# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_input(value: Json) -> tuple[Message, ...]:
    """The turns of a request's `input`. Raises BadRequestError that names the item."""
    if isinstance(value, str):
        return (Message(role="user", content=(Text(text=value),), extra={ITEM: "text"}),)
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
        raise bad("input", "a text or a non-empty list of items", value)
    return tuple(turns)


def _read_turn(item: Mapping[str, Json], at: str) -> Message | tuple[Part, ...]:
    """A turn of its own, or parts of the model's."""
    kind, role = item.get("type", "message"), item.get("role")
    if kind == "message" and role in ROLES:
        content = read_content(item.get("content"), f"{at}.content")
        return Message(role=cast("Any", role), content=content, extra=rest(item, _MESSAGE | {"type"}, _MESSAGE_USUAL))
    if kind in _RESULTS:
        return _read_result(item, at)
    if kind == "message" and role != "assistant":
        raise bad(f"{at}.role", "one of user, assistant, system, developer", role)
    return read_item(item, at)


def _read_result(item: Mapping[str, Json], at: str) -> Message:
    output = item.get("output")
    content = read_content(output, f"{at}.output") if isinstance(output, str | list) else (Other(type="output", extra={"output": output}),)
    if _RESULTS[item["type"]] == "custom":
        extra: dict[str, Json] = {"type": "custom_tool_call_output"}
    else:
        extra = {}
    result = ToolResult(call_id=string(item.get("call_id"), f"{at}.call_id"), content=content, extra=extra)
    return Message(role="tool", content=(result,), extra=rest(item, _RESULT, exact=frozenset({"output", "call_id"})))


def read_item(item: Mapping[str, Json], at: str) -> tuple[Part, ...]:
    """One item of the model's as parts."""
    match item.get("type", "message"):
        case "message":
            return _read_said(item, at)
        case "reasoning":
            return (_read_reasoning(item),)
        case "function_call" if isinstance(item.get("name"), str):
            extra = rest(item, _CALL, exact=frozenset({"arguments", "call_id"}))
            return (_call(item, "arguments", "function", extra, at),)
        case "custom_tool_call" if isinstance(item.get("name"), str):
            return (_call(item, "input", "custom", rest(item, _CUSTOM, exact=frozenset({"input", "call_id"})), at),)
        case str() as kind:
            return (Other(type=kind, extra=dict(item)),)
    raise bad(f"{at}.type", "a string", item.get("type"))


def _call(item: Mapping[str, Json], field: str, kind: str, extra: dict[str, Json], at: str) -> ToolCall:
    arguments = item.get(field)
    call_id = string(item.get("call_id"), f"{at}.call_id")
    text = "" if arguments is None else string(arguments, f"{at}.{field}")
    return ToolCall(id=call_id, name=item["name"], arguments=text, kind=cast("Any", kind), extra=extra)


def _read_said(item: Mapping[str, Json], at: str) -> tuple[Part, ...]:
    """A message of the model's: its parts, the first of which keeps the rest of the item."""
    content = item.get("content")
    kept: dict[str, Json] = rest(item, _MESSAGE | {"type"}, _MESSAGE_USUAL)
    if isinstance(content, str):
        return (Text(text=content, extra={ITEM: {**kept, "content": "text"}}),)
    parts = read_content(content, f"{at}.content")
    if not parts:
        return (Other(type="message", extra=dict(item)),)
    return (structs.replace(parts[0], extra={**parts[0].extra, ITEM: kept}), *parts[1:])


def _read_reasoning(item: Mapping[str, Json]) -> Thinking:
    """What it says is its content, else the summary. Who sends it back must send all of it: the item stands in `extra`."""
    said = _texts(item.get("content")) or _texts(item.get("summary"))
    data = item.get("encrypted_content")
    kept = {name: value for name, value in item.items() if name != "encrypted_content" or not isinstance(data, str)}
    return Thinking(text="\n\n".join(said), data=data if isinstance(data, str) else None, extra={ITEM: kept})


def _texts(parts: Json) -> list[str]:
    found = [part.get("text") for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    return [text for text in found if isinstance(text, str)]


def read_content(value: Json, at: str) -> tuple[Part, ...]:
    """A text, a list of parts or nothing. Parts of a list keep their type, so that a list stays one."""
    if isinstance(value, str):
        return (Text(text=value),)
    return tuple([_read_part(obj(part, f"{at}[{index}]"), f"{at}[{index}]") for index, part in enumerate(items(value, at))])


def _read_part(part: Mapping[str, Json], at: str) -> Part:
    kind = part.get("type")
    match kind:
        case "input_text" | "output_text" | "text" if isinstance(part.get("text"), str):
            return Text(text=part["text"], extra={name: value for name, value in part.items() if name != "text"})
        case "refusal" if isinstance(part.get("refusal"), str):
            return Refusal(text=part["refusal"], extra=rest(part, frozenset({"type", "refusal"})))
        case "input_image" if isinstance(part.get("image_url"), str):
            extra = rest(part, frozenset({"type", "image_url", "detail"}))
            return Image(url=part["image_url"], detail=optional(part.get("detail"), f"{at}.detail"), extra=extra)
        case "input_file":
            return _read_file(part)
        case "input_audio" if isinstance(part.get("input_audio"), Mapping):
            heard = part["input_audio"]
            extra = rest(part, frozenset({"type", "input_audio"}))
            return Audio(data=str(heard.get("data") or ""), format=str(heard.get("format") or ""), extra=extra)
        case str():
            return Other(type=kind, extra=dict(part))
    raise bad(f"{at}.type", "a string", kind)


def _read_file(part: Mapping[str, Json]) -> Part:
    """One with inline data, an id or an address; anything else is kept as it is."""
    given = [name for name in ("file_data", "file_id", "file_url") if part.get(name)]
    data = part.get("file_data")
    if len(given) != 1 or not all(isinstance(part[name], str) for name in given) or (data and not data.startswith("data:")):
        return Other(type="input_file", extra=dict(part))
    extra = rest(part, frozenset({"type", "filename", *given}), exact=frozenset({"filename"}))
    name = part.get("filename")
    field = "id" if given == ["file_id"] else "url"
    return File(**{field: part[given[0]]}, name=name if isinstance(name, str) else "", extra=extra)


# ---- writing -----------------------------------------------------------------------------------------------------------------------


class Items:
    """Hub turns as items.

    foreign: the turns were read from another dialect, whose own words on parts and messages are not OpenAI's.
    answering: the items are an answer's: each has an id, and a status.
    """

    def __init__(self, *, foreign: bool = False, answering: str = "") -> None:
        self._foreign = foreign
        self._answering = answering
        self._count = 0

    def of_turns(self, turns: Sequence[Message]) -> Json:
        if len(turns) == 1 and turns[0].extra.get(ITEM) == "text":
            return turns[0].text
        return [item for index, turn in enumerate(turns) for item in self._of_turn(turn, f"messages[{index}]")]

    def _of_turn(self, turn: Message, at: str) -> Iterator[dict[str, Json]]:
        match turn.role:
            case "assistant":
                yield from self.of_model(turn.content, at)
            case "tool":
                for part in turn.content:
                    if isinstance(part, ToolResult):
                        yield self._result(part, {} if self._foreign else turn.extra, at)
                    else:
                        yield self._other(part, at)
            case role:
                kept = {} if self._foreign else {name: value for name, value in turn.extra.items() if name != ITEM}
                usual = {} if self._foreign else _MESSAGE_USUAL
                yield merged(usual, kept, {"role": role, "content": self._content(turn.content, "input_text", at)})

    def of_model(self, parts: Sequence[Part], at: str) -> Iterator[dict[str, Json]]:
        """A model's turn. Texts and refusals that follow each other are one message, unless one of them begins an item of its own."""
        said: list[Part] = []
        for part in parts:
            if isinstance(part, Text | Refusal | Audio):
                if said and ITEM in part.extra and not self._foreign:
                    yield self._message(said, at)
                    said = []
                said.append(part)
                continue
            if said:
                yield self._message(said, at)
                said = []
            yield from self._item(part, at)
        if said:
            yield self._message(said, at)

    def _message(self, said: Sequence[Part], at: str) -> dict[str, Json]:
        kept = {} if self._foreign else said[0].extra.get(ITEM) or {}
        usual: dict[str, Json] = {"type": "message"}
        if kept.get("content") == "text" and len(said) == 1 and isinstance(said[0], Text):
            return merged(
                usual, {name: value for name, value in kept.items() if name != "content"}, {"role": "assistant", "content": said[0].text}
            )
        content = [self._part(part, "output_text", at) for part in said]
        return merged({**self._marks("msg", kept), **usual}, kept, {"role": "assistant", "content": content})

    def _marks(self, prefix: str, kept: Extra) -> dict[str, Json]:
        """An answer's item has an id, and is complete, where nothing else was said."""
        if not self._answering or "id" in kept:
            return {}
        self._count += 1
        return {"id": f"{prefix}_{self._answering}_{self._count}", "status": "completed"}

    def _item(self, part: Part, at: str) -> Iterator[dict[str, Json]]:
        match part:
            case ToolCall():
                yield self._call(part)
            case Thinking():
                thought = self._reasoning(part)
                if thought is not None:
                    yield thought
            case _:
                yield self._other(part, at)

    def _call(self, call: ToolCall) -> dict[str, Json]:
        kept = {} if self._foreign else call.extra
        custom = call.kind == "custom"
        said: dict[str, Json] = {"call_id": call.id, "name": call.name, "input" if custom else "arguments": call.arguments}
        kind = "custom_tool_call" if custom else "function_call"
        return merged({"type": kind, **self._marks("ctc" if custom else "fc", kept)}, kept, said)

    def _reasoning(self, thought: Thinking) -> dict[str, Json] | None:
        """OpenAI takes back only its own reasoning. In an answer anybody's is shown as a summary."""
        kept = None if self._foreign else thought.extra.get(ITEM)
        if kept is not None:
            return {**kept, **({} if thought.data is None else {"encrypted_content": thought.data})}
        if not self._answering:
            return None
        summary = [{"type": "summary_text", "text": thought.text}] if thought.text else []
        return {"type": "reasoning", **self._marks("rs", {}), "summary": summary}

    def _result(self, result: ToolResult, kept: Extra, at: str) -> dict[str, Json]:
        custom = result.extra.get("type") == "custom_tool_call_output" and not self._foreign
        kind = "custom_tool_call_output" if custom else "function_call_output"
        output: Json = self._content(result.content, "input_text", at) if result.content else ""
        if len(result.content) == 1 and isinstance(result.content[0], Other) and result.content[0].type == "output":
            output = result.content[0].extra.get("output")
        return merged({"type": kind}, kept, {"call_id": result.call_id}) | {"output": output}

    def _content(self, parts: Sequence[Part], kind: str, at: str) -> Json:
        """One text without a mark is a text; anything else a list of parts."""
        if len(parts) == 1 and isinstance(parts[0], Text) and (self._foreign or not parts[0].extra):
            return parts[0].text
        return [self._part(part, kind, at) for part in parts]

    def _part(self, part: Part, kind: str, at: str) -> dict[str, Json]:
        kept: Extra = {} if self._foreign else {name: value for name, value in part.extra.items() if name != ITEM}
        match part:
            case Text():
                usual: dict[str, Json] = {"type": kind}
                if kind == "output_text" and (self._foreign or self._answering):
                    usual["annotations"] = []
                return merged(usual if "type" not in kept else {}, kept, {}) | {"text": part.text}
            case Refusal():
                return merged({"type": "refusal"}, kept, {}) | {"refusal": part.text}
            case Image():
                return merged({"type": "input_image"}, kept, {"image_url": part.url, "detail": part.detail})
            case File():
                field = "file_id" if part.id else "file_data" if part.url.startswith("data:") else "file_url"
                return merged({"type": "input_file"}, kept, {field: part.id or part.url, "filename": part.name or None})
            case Audio() if kind == "output_text":
                return {"type": "output_audio", "data": part.data, "transcript": part.transcript}
            case Audio():
                return merged({"type": "input_audio"}, kept, {"input_audio": {"data": part.data, "format": part.format}})
        return self._other(part, at)

    def _other(self, part: Part, at: str) -> dict[str, Json]:
        if isinstance(part, Other) and not self._foreign:
            return dict(part.extra)
        kind = part.type if isinstance(part, Other) else type(part).__name__
        if isinstance(part, Other) and self._answering:
            return dict(part.extra)
        raise BadRequestError(f"{at}: OpenAI's Responses cannot say a part of type {kind!r}: leave it out of the request")

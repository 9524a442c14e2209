"""Writes hub messages as items of OpenAI's Responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from headrace.dialects.citations import ANNOTATIONS, on_texts
from headrace.dialects.fields import OWN, common, merged
from headrace.dialects.openai_responses.names import FORMAT, INSIDE, ITEM, annotations_from_chat, is_item, own
from headrace.errors import BadRequestError
from headrace.types import Audio, Extra, File, Image, Json, Message, Other, Part, Refusal, Text, Thinking, ToolCall, ToolResult

_MESSAGE_USUAL: Final[Mapping[str, Json]] = {"type": "message"}
_SHARED: Final = frozenset({"cache_control"})


def _words(part: Part) -> str:
    """The text or transcript of a part; "" for other parts."""
    match part:
        case Text() | Refusal():
            return part.text
        case Audio():
            return part.transcript
    return ""


class Items:
    """Hub messages as items.

    foreign: the messages were read from another dialect, whose own fields are not OpenAI's.
    answering: for items of a response, the text that their ids are made from; they also get a status.
    """

    def __init__(self, *, foreign: bool = False, answering: str = "") -> None:
        self._foreign = foreign
        self._answering = answering
        self._count = 0

    def of_turns(self, turns: Sequence[Message]) -> Json:
        if len(turns) == 1 and turns[0].extra.get(OWN) == "text":
            return turns[0].text
        return [item for index, turn in enumerate(turns) for item in self._of_turn(turn, f"messages[{index}]")]

    def _of_turn(self, turn: Message, at: str) -> Iterator[dict[str, Json]]:
        match turn.role:
            case "assistant":
                yield from self._of_assistant(turn, at)
            case "tool":
                for part in turn.content:
                    if isinstance(part, ToolResult):
                        yield self._result(part, own(turn.extra), at)
                    else:
                        yield self._other(part, at)
            case role:
                usual = {} if self._foreign else _MESSAGE_USUAL
                yield merged(usual, own(turn.extra), {"role": role, "content": self._content(turn.content, "input_text", at)})

    def _of_assistant(self, turn: Message, at: str) -> Iterator[dict[str, Json]]:
        """An assistant's items. Items that the caller got as `content_blocks` go between the reasoning and the texts."""
        turn = on_texts(turn, {}) if self._foreign else turn
        beside = turn.extra.get("content_blocks") if self._foreign else None
        blocks = [dict(block) for block in beside if isinstance(block, Mapping) and is_item(block)] if isinstance(beside, list) else []
        thoughts = [part for part in turn.content if isinstance(part, Thinking)] if blocks else []
        yield from self.of_model(thoughts, at)
        yield from blocks
        spoken = [part for part in turn.content if not (blocks and isinstance(part, Thinking))]
        yield from self.of_model(spoken, at)

    def of_model(self, parts: Sequence[Part], at: str) -> Iterator[dict[str, Json]]:
        """An assistant's items. Consecutive texts and refusals form one message, unless a part begins an item of its own."""
        said: list[Part] = []
        for part in parts:
            if isinstance(part, Text | Refusal | Audio) or INSIDE in own(part.extra):
                if self._foreign and not self._answering and not _words(part):
                    continue
                if said and ITEM in own(part.extra):
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
        item = own(said[0].extra).get(ITEM)
        kept = item if isinstance(item, Mapping) else {}
        if kept.get("content") == "text" and len(said) == 1 and isinstance(said[0], Text):
            rest = {name: value for name, value in kept.items() if name != "content"}
            return merged(_MESSAGE_USUAL, rest, {"role": "assistant", "content": said[0].text})
        if self._foreign and not self._answering and not kept and not any(ANNOTATIONS in part.extra for part in said):
            return {
                "type": "message",
                "role": "assistant",
                "content": "".join(_words(part) for part in said),
            }  # a list of parts would need an id
        content = [self._part(part, "output_text", at) for part in said]
        return merged({**self._marks("msg", kept), **_MESSAGE_USUAL}, kept, {"role": "assistant", "content": content})

    def _marks(self, prefix: str, kept: Extra) -> dict[str, Json]:
        """The id and status of a response's item, unless it has its own."""
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
        custom = call.kind == "custom"
        said: dict[str, Json] = {"call_id": call.id, "name": call.name, "input" if custom else "arguments": call.arguments}
        kind = "custom_tool_call" if custom else "function_call"
        kept = own(call.extra)
        return merged({"type": kind, **self._marks("ctc" if custom else "fc", kept)}, kept, said)

    def _reasoning(self, thought: Thinking) -> dict[str, Json] | None:
        """OpenAI accepts only its own reasoning back. In a response, reasoning from any provider is shown as a summary."""
        kept = own(thought.extra) or thought.extra.get(ITEM)
        data = {} if thought.data is None else {"encrypted_content": thought.data}
        if isinstance(kept, Mapping) and kept.get("type") == "reasoning":
            return {**kept, **data}
        summary = [{"type": "summary_text", "text": thought.text}] if thought.text else []
        if thought.extra.get("format") == FORMAT and (data or "id" in thought.extra):
            return merged({"type": "reasoning"}, {}, {"id": thought.extra.get("id"), "summary": summary, **data})
        return {"type": "reasoning", **self._marks("rs", {}), "summary": summary} if self._answering else None

    def _result(self, result: ToolResult, kept: Extra, at: str) -> dict[str, Json]:
        output: Json = self._content(result.content, "input_text", at) if result.content else ""
        if len(result.content) == 1 and isinstance(result.content[0], Other) and result.content[0].type == "output":
            output = result.content[0].extra.get("output")
        usual = {"type": own(result.extra).get("type", "function_call_output")}
        call_id = None if "call_id" in kept else result.call_id
        return merged(usual, kept, {"call_id": call_id}) | {"output": output}

    def _content(self, parts: Sequence[Part], kind: str, at: str) -> Json:
        """A string for a single text without extra fields, otherwise a list of parts."""
        if len(parts) == 1 and isinstance(parts[0], Text) and (self._foreign or not own(parts[0].extra)):
            return parts[0].text
        return [self._part(part, kind, at) for part in parts]

    def _part(self, part: Part, kind: str, at: str) -> dict[str, Json]:
        kept: dict[str, Json] = {name: value for name, value in own(part.extra).items() if name != ITEM}
        kept |= {} if self._foreign else {name: value for name, value in part.extra.items() if name in _SHARED}
        match part:
            case Text():
                cited = annotations_from_chat(part.extra.get(ANNOTATIONS))
                usual: dict[str, Json] = {"type": kind, **({"annotations": cited} if kind == "output_text" else {})}
                return merged({} if "type" in kept else usual, kept, {}) | {"text": part.text}
            case Refusal():
                return merged({"type": "refusal"}, kept, {}) | {"refusal": part.text}
            case Image():
                return merged(
                    {"type": "input_image", **({"detail": "auto"} if self._foreign else {})},
                    kept,
                    {"image_url": part.url, "detail": part.detail},
                )
            case File():
                field = "file_id" if part.id else "file_data" if part.url.startswith("data:") else "file_url"
                return merged({"type": "input_file"}, kept, {field: part.id or part.url, "filename": part.name or None})
            case Audio() if kind == "output_text":  # audio output is represented by its transcript
                return {"type": kind, "text": part.transcript, "annotations": []}
            case Audio():
                return merged({"type": "input_audio"}, kept, {"input_audio": {"data": part.data, "format": part.format}})
        return self._other(part, at)

    def _other(self, part: Part, at: str) -> dict[str, Json]:
        if isinstance(part, Other) and (self._answering or not self._foreign or is_item(part.extra)):
            return dict(common(part.extra))
        kind = part.type if isinstance(part, Other) else type(part).__name__
        raise BadRequestError(f"{at}: OpenAI's Responses does not support parts of type {kind!r}: remove it")

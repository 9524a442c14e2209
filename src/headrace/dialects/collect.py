"""Adds up a stream's events to the response that would have come without streaming."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from headrace.types import (
    Audio,
    AudioDelta,
    ChatResponse,
    Choice,
    Extra,
    Finished,
    Json,
    Logprobs,
    Message,
    Noted,
    Other,
    Part,
    Refusal,
    RefusalDelta,
    Started,
    StreamEvent,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageReported,
)


def collect(events: Iterable[StreamEvent]) -> ChatResponse:
    """The response that `events` add up to. A choice that did not finish has `finish=None`."""
    started, usage = Started(), None
    noted: dict[str, Json] = {}
    choices: dict[int, _Choice] = {}
    for event in events:
        match event:
            case Started():
                started = event
            case UsageReported():
                usage = event.usage
            case Noted(level="response"):
                noted |= event.extra
            case _:
                choices.setdefault(event.choice, _Choice()).add(event)
    return _response(started, noted, choices, usage)


def _response(started: Started, noted: dict[str, Json], choices: dict[int, _Choice], usage: Usage | None) -> ChatResponse:
    done = tuple(choices[index].choice(index) for index in sorted(choices))
    extra = {**started.extra, **noted}
    return ChatResponse(id=started.id, model=started.model, created=started.created, choices=done, usage=usage, extra=extra)


@dataclass(slots=True)
class _Block:
    """The pieces of one part."""

    texts: list[str] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Json] = field(default_factory=dict)

    def add(self, text: str, extra: Any, **fields: Any) -> None:
        self.texts.append(text)
        self.fields |= {name: value for name, value in fields.items() if value}
        if extra:
            _join(self.extra, {name: value for name, value in extra.items() if value is not None})


@dataclass(slots=True)
class _Choice:
    """One choice so far."""

    blocks: dict[tuple[str, Any], _Block] = field(default_factory=dict)
    finished: Finished | None = None
    logprobs: dict[str, Json] = field(default_factory=dict)
    choice_extra: dict[str, Json] = field(default_factory=dict)
    message_extra: dict[str, Json] = field(default_factory=dict)

    def add(self, event: Any) -> None:
        match event:
            case TextDelta():
                self._block("text", event.block).add(event.text, event.extra, signature=event.signature)
            case ThinkingDelta():
                self._block("thinking", event.block).add(event.text, event.extra, signature=event.signature, data=event.data)
            case ToolCallDelta():
                said = {"id": event.id, "name": event.name, "kind": event.kind, "signature": event.signature}
                self._block("call", (event.kind == "legacy", event.index)).add(event.arguments, event.extra, **said)
            case RefusalDelta():
                self._block("refusal", 0).add(event.text, event.extra)
            case AudioDelta():
                block = self._block("audio", 0)
                transcript = block.fields.get("transcript", "") + event.transcript
                block.add(event.data, event.extra, id=event.id, transcript=transcript, format=event.format)
            case Logprobs():
                _join(self.logprobs, event.logprobs)
            case Noted(level="choice"):
                self.choice_extra |= event.extra
            case Noted():
                self._note(event.extra)
            case Finished():
                self.finished = event

    def _note(self, extra: Extra) -> None:
        """Adds blocks unknown to the hub as parts in order of arrival; everything else goes to the message's `extra`."""
        told = {
            name: blocks for name in _BLOCKS if isinstance(blocks := extra.get(name), list) and all(isinstance(it, dict) for it in blocks)
        }
        for blocks in told.values():
            for block in blocks:
                self._block("other", len(self.blocks)).extra = block
        _join(self.message_extra, {name: value for name, value in extra.items() if name not in told})

    def _block(self, kind: str, key: Any) -> _Block:
        block = self.blocks.get((kind, key))
        if block is None:
            block = self.blocks[kind, key] = _Block()
        return block

    def choice(self, index: int) -> Choice:
        blocks = list(self.blocks.items())
        # Reasoning interleaved with built-in tool calls keeps its position; otherwise deltas may come in any order. Calls end a turn.
        served = any(kind == "other" for kind, _ in self.blocks)
        parts = [_part(kind, block) for (kind, _), block in sorted(blocks, key=_calls_last if served else _place)]
        message = Message(role="assistant", content=tuple(parts), extra=self.message_extra)
        finished = self.finished
        return Choice(
            index=index,
            message=message,
            finish=None if finished is None else finished.finish,
            native_finish=None if finished is None else finished.native_finish,
            logprobs=self.logprobs or None,
            extra={**self.choice_extra, **({} if finished is None else finished.extra)},
        )


_BLOCKS = ("content_blocks", "content")
"""Fields that hold blocks: `content` is for Chat Completions deltas whose content is a list of parts."""
_ORDER = {"thinking": 0, "text": 1, "other": 1, "refusal": 2, "audio": 3, "call": 4}


def _place(item: tuple[tuple[str, Any], _Block]) -> tuple[int, int]:
    (kind, key), _ = item
    return _ORDER[kind], key[1] if kind == "call" else 0


def _calls_last(item: tuple[tuple[str, Any], _Block]) -> tuple[int, int]:
    (kind, key), _ = item
    return (1, key[1]) if kind == "call" else (0, 0)


def _part(kind: str, block: _Block) -> Part:
    text = "".join(block.texts)
    match kind:
        case "text":
            return Text(text=text, extra=block.extra, **block.fields)
        case "thinking":
            return Thinking(text=text, extra=block.extra, **block.fields)
        case "other":
            return Other(type=str(block.extra.get("type") or next(iter(block.extra), "")), extra=block.extra)
        case "refusal":
            return Refusal(text=text, extra=block.extra)
        case "audio":
            return Audio(data=text, extra=block.extra, **block.fields)
    return ToolCall(**{"id": "", "name": "", **block.fields}, arguments=text, extra=block.extra)


def _join(into: dict[str, Json], more: Extra) -> None:
    """Merges `more` into `into`: lists are concatenated, null is ignored, anything else is replaced."""
    for name, value in more.items():
        known = into.get(name)
        if isinstance(known, list) and isinstance(value, list):
            into[name] = [*known, *value]
        elif value is not None or name not in into:
            into[name] = value

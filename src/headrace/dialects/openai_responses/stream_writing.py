"""Writes hub events as a stream of OpenAI's Responses, with every event its clients expect, in the expected order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from headrace.dialects.base import only_calls, only_says, only_thinks
from headrace.dialects.citations import ANNOTATIONS
from headrace.dialects.fields import common
from headrace.dialects.openai_chat.streams import write_error_body
from headrace.dialects.openai_responses.names import FORMAT, GAP, INSIDE, ITEM, PIECE, annotations_from_chat, is_item, own
from headrace.dialects.openai_responses.responses import write_around
from headrace.errors import Failure
from headrace.types import (
    AudioDelta,
    ChatRequest,
    ChatResponse,
    Extra,
    Finished,
    FinishReason,
    Json,
    Logprobs,
    Noted,
    RefusalDelta,
    Started,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
)

_encode: Final[Callable[[Any], bytes]] = msgspec.json.Encoder().encode

_REFUSAL: Final = -1
"""The block number of a message's refusal."""
_STRANGE: Final = -2
"""The block number of a message's first part of an unknown type; further ones count down from it."""
_LEGACY: Final = 1_000_000
"""Offset for the index of OpenAI's legacy function call, which has none of its own."""


_PHASES: Final[Mapping[str, tuple[str, ...]]] = {
    "web_search_call": ("in_progress", "searching", "completed"),
    "code_interpreter_call": ("in_progress", "interpreting", "completed"),
}
"""The progress events that clients receive for a built-in tool."""


class _Reasoned(NamedTuple):
    """Names for one kind of reasoning parts: their type, their events, and the field for their index."""

    type: str
    part: str
    text: str
    place: str


_REASONED: Final[Mapping[str, _Reasoned]] = {
    "summary": _Reasoned("summary_text", "response.reasoning_summary_part", "response.reasoning_summary_text", "summary_index"),
    "content": _Reasoned("reasoning_text", "response.content_part", "response.reasoning_text", "content_index"),
}


class _Telling:
    """A text, thought or arguments being streamed. Its deltas differ only in sequence number and text."""

    __slots__ = ("_begin", "_end", "_place", "_said")

    def __init__(self, kind: bytes, place: Mapping[str, Json], beside: bytes = b"") -> None:
        """kind: the delta event's type. beside: JSON that follows the text in each delta."""
        self._begin = b'event: %b\ndata: {"type":"%b","sequence_number":' % (kind, kind)
        self._place = b',%b,"delta":' % msgspec.json.encode(place)[1:-1]
        self._end = beside + b"}\n\n"
        self._said: list[str] = []

    def more(self, number: int, words: str) -> bytes:
        self._said.append(words)
        return b"%b%d%b%b%b" % (self._begin, number, self._place, msgspec.json.encode(words), self._end)

    @property
    def whole(self) -> msgspec.Raw:
        """The whole text as JSON, encoded once because it is sent four times."""
        return msgspec.Raw(_encode("".join(self._said)))


class _Open:
    """An item that is being streamed."""

    __slots__ = ("at", "extra", "item", "parts", "piece", "telling", "texts")

    def __init__(self, at: int, item: dict[str, Json]) -> None:
        self.at = at
        self.item = item
        self.parts: dict[int, dict[str, Json]] = {}
        """A message's parts by block number; reasoning parts by position."""
        self.piece = (_REASONED["summary"], 0)
        """The kind of the latest reasoning part, and its index."""
        self.extra: dict[str, Json] = {}
        """Fields of the finished item besides the streamed ones."""
        self.texts: dict[int, _Telling] = {}
        """The texts streamed so far, by block number."""
        self.telling: _Telling | None = None
        """The latest reasoning part, or the call's arguments, streamed so far."""

    @property
    def where(self) -> dict[str, Json]:
        return {"item_id": self.item["id"], "output_index": self.at}

    @property
    def reasoned(self) -> dict[str, Json]:
        words, place = self.piece
        return {**self.where, words.place: place}

    def place(self, block: int) -> dict[str, Json]:
        return {**self.where, "content_index": list(self.parts).index(block)}

    def finish(self, more: Mapping[str, Json]) -> None:
        """Completes the item. Its id does not change, because it has already been sent."""
        id_ = self.item["id"]
        self.item |= {name: value for name, value in {**more, **self.extra}.items() if value is not UNSET}
        self.item["id"] = id_


class Writer:
    """Streams the first choice item by item, and the whole response again at the end."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._started = Started()
        self._noted: dict[str, Json] = {}
        self._finish: FinishReason | None = None
        self._usage: Usage | None = None
        self._number = 0
        self._id = ""
        self._begun = False
        self._open: dict[tuple[str, int], _Open] = {}
        self._items: list[dict[str, Json] | msgspec.Raw] = []
        """Finished items are JSON, encoded once because they are sent twice."""
        self._logprobs: list[Json] = []
        self._thought_of: set[int] = set()
        """Reasoning blocks that have begun."""

    def feed(self, event: StreamEvent) -> bytes:
        if getattr(event, "choice", 0):
            return b""  # Responses has a single choice
        if only_says(event):
            if (open_ := self._open.get(("message", 0))) is not None and (telling := open_.texts.get(event.block)) is not None:
                self._number += 1
                return telling.more(self._number - 1, event.text)
        elif only_thinks(event):
            if (open_ := self._open.get(("reasoning", event.block))) is not None and open_.telling is not None:
                return self._more(open_.telling, event.text)
        elif only_calls(event) and (open_ := self._open.get(("call", event.index))) is not None and open_.telling is not None:
            return self._more(open_.telling, event.arguments)
        return b"".join(self._written(event))

    def close(self) -> bytes:
        """The end of the stream: closes open items and sends the whole response."""
        written = [*self._begin(Started()), *self._close_all()]
        body = self._body()
        kind = "response.incomplete" if body.get("status") == "incomplete" else "response.completed"
        return b"".join([*written, self._frame(kind, response=body)])

    def fail(self, failure: Failure) -> bytes:
        error = write_error_body(failure)["error"]
        return self._frame("error", code=error["code"] or error["type"], message=error["message"], param=error["param"])

    def _body(self) -> dict[str, Json]:
        """The response so far, with the items as they were streamed."""
        extra = {**self._started.extra, **self._noted}
        return {**self._response(self._finish, self._started.id or self._id, extra), "output": self._items}

    def _response(self, finish: FinishReason | None, id_: str, extra: Extra) -> dict[str, Json]:
        started = self._started
        model = started.model or self._request.model
        return write_around(ChatResponse(id=id_, model=model, created=started.created, usage=self._usage, extra=extra), finish)

    def _more(self, telling: _Telling, words: str) -> bytes:
        number, self._number = self._number, self._number + 1
        return telling.more(number, words)

    # ---- one event --------------------------------------------------------------------------------------------------------------

    def _written(self, event: StreamEvent) -> Iterator[bytes]:
        if isinstance(event, Started):
            self._started = event
            yield from self._begin(event)
            return
        if not self._begun:
            yield from self._begin(Started())
        match event:
            case TextDelta():
                yield from self._text(event.block, event.text, event.extra)
            case AudioDelta() if event.transcript:
                yield from self._text(0, event.transcript, {})
            case RefusalDelta():
                yield from self._refusal(event.text)
            case ThinkingDelta():
                yield from self._thought(event)
            case ToolCallDelta():
                yield from self._call(event)
            case Logprobs():
                found = event.logprobs.get("content") if isinstance(event.logprobs, Mapping) else None
                self._logprobs += found or []
            case Noted(level="message"):
                yield from self._beside(event.extra)
            case Noted(level="response"):
                self._noted |= event.extra
            case UsageReported():
                self._usage = event.usage
            case Finished():
                self._finish = event.finish
                yield from self._close_all()

    def _begin(self, event: Started) -> Iterator[bytes]:
        if self._begun:
            return
        self._begun = True
        self._id = event.id or "resp_0"
        response = {**self._response(None, self._id, event.extra), "output": [], "status": "in_progress", "usage": None}
        started = msgspec.Raw(msgspec.json.encode(response))
        yield self._frame("response.created", response=started)
        yield self._frame("response.in_progress", response=started)

    def _frame(self, kind: str, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        named = kind.encode()
        return b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b\n\n' % (named, named, number, _encode(fields)[1:])

    def _add(self, key: tuple[str, int], prefix: str, own_id: Json, **item: Json) -> Iterator[bytes]:
        """Begins an item, with its original id if it has one."""
        at = len(self._items)
        made = f"{prefix}_{self._id.removeprefix('resp_')}_{at + 1}"
        whole: dict[str, Json] = {"id": own_id if isinstance(own_id, str) and own_id else made, **item}
        self._items.append(whole)
        self._open[key] = _Open(at, whole)
        yield self._frame("response.output_item.added", output_index=at, item=whole)

    # ---- texts and refusals -----------------------------------------------------------------------------------------------------

    def _message(self, kept: Mapping[str, Json]) -> Iterator[bytes]:
        """Ensures an open message. If `kept` belongs to another item than the open one, a new one begins."""
        open_ = self._open.get(("message", 0))
        item = kept.get(ITEM)
        item = item if item is not None and isinstance(item, Mapping) else {}
        if open_ is None or item.get("id", open_.item["id"]) not in (open_.item["id"], UNSET):
            yield from self._close_all(but="call")
            said: dict[str, Json] = {"type": "message", "status": "in_progress", "role": "assistant", "content": []}
            yield from self._add(("message", 0), "msg", item.get("id"), **said)
        self._open["message", 0].extra |= {name: value for name, value in item.items() if name != "content"}

    def _part(self, block: int, part: dict[str, Json]) -> Iterator[bytes]:
        open_ = self._open["message", 0]
        if block not in open_.parts:
            open_.parts[block] = part
            yield self._frame("response.content_part.added", **open_.place(block), part=part)

    def _text(self, block: int, text: str, extra: Extra) -> Iterator[bytes]:
        kept = own(extra)
        if text or kept:
            yield from self._message(kept)
            yield from self._part(block, {"type": "output_text", "text": "", "annotations": [], "logprobs": []})
            open_ = self._open["message", 0]
            part = open_.parts[block]
            part |= {name: value for name, value in kept.items() if name not in (ITEM, "type")}
            if text:
                if block not in open_.texts:
                    open_.texts[block] = _Telling(b"response.output_text.delta", open_.place(block), b',"logprobs":[]')
                yield self._more(open_.texts[block], text)
        if not kept and extra.get(ANNOTATIONS):
            yield from self._annotate(block, annotations_from_chat(extra[ANNOTATIONS]))

    def _annotate(self, block: int, annotations: list[Json]) -> Iterator[bytes]:
        """Adds citations from other dialects to the text they came with. If its message is already closed, they are dropped."""
        open_ = self._open.get(("message", 0))
        if open_ is None or block not in open_.parts:
            return
        for one in annotations:
            told = open_.parts[block]["annotations"]
            place = {**open_.place(block), "annotation_index": len(told)}
            told.append(one)
            yield self._frame("response.output_text.annotation.added", **place, annotation=one)

    def _strange(self, block: Extra) -> Iterator[bytes]:
        """Adds a message part of an unknown type, which the caller may know."""
        yield from self._message(own(block))
        yield from self._part(_STRANGE - len(self._open["message", 0].parts), dict(common(block)))

    def _refusal(self, text: str) -> Iterator[bytes]:
        yield from self._message({})
        yield from self._part(_REFUSAL, {"type": "refusal", "refusal": ""})
        open_ = self._open["message", 0]
        open_.parts[_REFUSAL]["refusal"] = str(open_.parts[_REFUSAL]["refusal"]) + text
        yield self._frame("response.refusal.delta", **open_.place(_REFUSAL), delta=text)

    def _close_message(self, open_: _Open) -> Iterator[bytes]:
        for block, part in open_.parts.items():
            where = open_.place(block)
            if part["type"] == "refusal":
                yield self._frame("response.refusal.done", **where, refusal=part["refusal"])
            elif block > _REFUSAL:
                part["text"] = open_.texts[block].whole if block in open_.texts else part["text"]
                if not part.get("logprobs") and self._logprobs:
                    part["logprobs"], self._logprobs = self._logprobs, []
                yield self._frame("response.output_text.done", **where, text=part["text"], logprobs=part.get("logprobs") or [])
            yield self._frame("response.content_part.done", **where, part=part)
        open_.finish({"status": "completed", "content": list(open_.parts.values())})

    # ---- reasoning --------------------------------------------------------------------------------------------------------------

    def _thought(self, event: ThinkingDelta) -> Iterator[bytes]:
        key = ("reasoning", event.block)
        kept = own(event.extra)
        if key not in self._open:
            if event.block in self._thought_of and not event.text and not event.data:
                return  # repeated after its end
            self._thought_of.add(event.block)
            yield from self._close_all(but="call")
            yield from self._add(key, "rs", kept.get("id") or event.extra.get("id"), type="reasoning", summary=[])
        open_ = self._open[key]
        if event.text:
            yield from self._reasoned(open_, event.text, kept.get(PIECE))
        open_.extra |= {name: value for name, value in kept.items() if name != PIECE}
        if event.data and (kept or event.extra.get("format") == FORMAT):
            open_.extra["encrypted_content"] = event.data

    def _reasoned(self, open_: _Open, text: str, piece: Json) -> Iterator[bytes]:
        """Continues the open reasoning part, or begins `piece` after closing the previous part."""
        match piece:
            case (str(field), int(place)):
                yield from self._close_piece(open_)
                text = text.removeprefix(GAP) if open_.parts else text
            case _:
                field, place = "summary", 0
        if piece or not open_.parts:
            open_.parts[len(open_.parts)] = {"type": _REASONED[field].type, "text": ""}
            open_.piece = words, _ = _REASONED[field], place
            yield self._frame(f"{words.part}.added", **open_.reasoned, part=open_.parts[len(open_.parts) - 1])
            open_.telling = _Telling(f"{words.text}.delta".encode(), open_.reasoned)
        if open_.telling is not None:
            yield self._more(open_.telling, text)

    def _close_piece(self, open_: _Open) -> Iterator[bytes]:
        if open_.telling is not None:
            (words, _), part = open_.piece, open_.parts[len(open_.parts) - 1]
            part["text"] = open_.telling.whole
            yield self._frame(f"{words.text}.done", **open_.reasoned, text=part["text"])
            yield self._frame(f"{words.part}.done", **open_.reasoned, part=part)

    def _close_reasoning(self, open_: _Open) -> Iterator[bytes]:
        yield from self._close_piece(open_)
        told = open_.parts.values()
        content = [part for part in told if part["type"] == "reasoning_text"]
        open_.finish({"summary": [part for part in told if part not in content], **({"content": content} if content else {})})

    # ---- calls ------------------------------------------------------------------------------------------------------------------

    def _call(self, event: ToolCallDelta) -> Iterator[bytes]:
        key = ("call", event.index + (_LEGACY if event.kind == "legacy" else 0))
        if key not in self._open:
            yield from self._close_all(but="call")
            custom = event.kind == "custom"
            kind, prefix, field = ("custom_tool_call", "ctc", "input") if custom else ("function_call", "fc", "arguments")
            said = {"call_id": event.id, "name": event.name, field: ""}
            yield from self._add(key, prefix, own(event.extra).get("id"), type=kind, status="in_progress", **said)
            deltas = b"response.custom_tool_call_input.delta" if custom else b"response.function_call_arguments.delta"
            self._open[key].telling = _Telling(deltas, self._open[key].where)
        open_ = self._open[key]
        open_.extra |= own(event.extra)
        if event.arguments and open_.telling is not None:
            yield self._more(open_.telling, event.arguments)

    def _close_call(self, open_: _Open) -> Iterator[bytes]:
        item = open_.item
        said = "" if open_.telling is None else open_.telling.whole
        if item["type"] == "custom_tool_call":
            item["input"] = said
            yield self._frame("response.custom_tool_call_input.done", **open_.where, input=item["input"])
        else:
            item["arguments"] = said
            yield self._frame("response.function_call_arguments.done", **open_.where, name=item["name"], arguments=item["arguments"])
        open_.finish({"status": "completed"})

    # ---- anything else ----------------------------------------------------------------------------------------------------------

    def _beside(self, extra: Extra) -> Iterator[bytes]:
        blocks = extra.get("content_blocks")
        for block in blocks if isinstance(blocks, list) else ():
            if isinstance(block, dict) and INSIDE in own(block):
                yield from self._strange(block)
            elif isinstance(block, dict) and is_item(block):
                yield from self._close_all()
                at = len(self._items)
                self._items.append(block)
                yield self._frame("response.output_item.added", output_index=at, item=block)
                for phase in _PHASES.get(block["type"], ()):
                    yield self._frame(f"response.{block['type']}.{phase}", item_id=block.get("id"), output_index=at)
                yield self._frame("response.output_item.done", output_index=at, item=block)

    def _close_all(self, but: str = "") -> Iterator[bytes]:
        """Closes all open items, in order, except those of kind `but`."""
        for key in [key for key in self._open if key[0] != but]:
            open_ = self._open.pop(key)
            match key[0]:
                case "message":
                    yield from self._close_message(open_)
                case "reasoning":
                    yield from self._close_reasoning(open_)
                case _:
                    yield from self._close_call(open_)
            done = self._items[open_.at] = msgspec.Raw(_encode(open_.item))
            yield self._frame("response.output_item.done", output_index=open_.at, item=done)

"""Events of the hub as a stream of OpenAI's Responses: every event that its clients wait for, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from headrace.dialects.collect import collect
from headrace.dialects.openai_chat.streams import write_error_body
from headrace.dialects.openai_responses.items import ITEM
from headrace.dialects.openai_responses.responses import write_response
from headrace.errors import Failure
from headrace.types import (
    AudioDelta,
    ChatRequest,
    Extra,
    Finished,
    Json,
    Logprobs,
    Noted,
    RefusalDelta,
    Started,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageReported,
)


class _Open:
    """An item on its way out."""

    __slots__ = ("at", "content", "extra", "item", "key")

    def __init__(self, at: int, key: tuple[str, int], item: dict[str, Json]) -> None:
        self.at = at
        self.key = key
        self.item = item
        self.content: dict[int, dict[str, Json]] = {}
        """Parts of a message by their block."""
        self.extra: dict[str, Json] = {}


class Writer:
    """The first choice, item by item; the whole response again at the end."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._told: list[StreamEvent] = []
        self._number = 0
        self._started: dict[str, Json] | None = None
        self._open: dict[tuple[str, int], _Open] = {}
        self._items: list[dict[str, Json]] = []
        self._logprobs: list[Json] = []

    def feed(self, event: StreamEvent) -> bytes:
        if getattr(event, "choice", 0):
            return b""  # Responses has one answer
        self._told.append(event)
        return b"".join(self._written(event))

    def close(self) -> bytes:
        """The proper end: open items are closed, and the response is said once more, whole."""
        written = [*self._begin(), *self._close_all()]
        body = self._body()
        kind = "response.incomplete" if body.get("status") == "incomplete" else "response.completed"
        return b"".join([*written, self._frame(kind, response=body)])

    def fail(self, failure: Failure) -> bytes:
        error = write_error_body(failure)["error"]
        return self._frame("error", code=error["code"] or error["type"], message=error["message"], param=error["param"])

    def _body(self) -> dict[str, Json]:
        whole = collect(self._told)
        body = write_response(msgspec.structs.replace(whole, model=whole.model or self._request.model))
        return {**body, "output": self._items}

    # ---- one event --------------------------------------------------------------------------------------------------------------

    def _written(self, event: StreamEvent) -> Iterator[bytes]:
        if isinstance(event, Started):
            yield from self._begin(event)
            return
        yield from self._begin()
        match event:
            case TextDelta():
                yield from self._text(event.block, event.text, event.extra)
            case RefusalDelta():
                yield from self._refusal(event.text)
            case ThinkingDelta():
                yield from self._thought(event)
            case ToolCallDelta():
                yield from self._call(event)
            case AudioDelta() | UsageReported():
                pass
            case Logprobs():
                found = event.logprobs.get("content") if isinstance(event.logprobs, Mapping) else None
                self._logprobs += found or []
            case Noted(level="message"):
                yield from self._noted(event.extra)
            case Finished():
                yield from self._close_all()

    def _begin(self, event: Started | None = None) -> Iterator[bytes]:
        if self._started is not None:
            return
        started = event or Started()
        id = started.id or "resp_0"
        head = collect([Started(id=id, model=started.model or self._request.model, created=started.created)])
        self._started = {**write_response(head), "status": "in_progress", "usage": None}
        yield self._frame("response.created", response=self._started)
        yield self._frame("response.in_progress", response=self._started)

    def _frame(self, kind: str, **fields: Json) -> bytes:
        data = msgspec.json.encode({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    def _id(self, prefix: str) -> str:
        assert self._started is not None
        return f"{prefix}_{str(self._started['id']).removeprefix('resp_')}_{len(self._items) + len(self._open) + 1}"

    def _add(self, key: tuple[str, int], item: dict[str, Json]) -> Iterator[bytes]:
        at = len(self._items)
        self._items.append(item)
        self._open[key] = _Open(at, key, item)
        yield self._frame("response.output_item.added", output_index=at, item=item)

    # texts and refusals

    def _message(self) -> Iterator[bytes]:
        if ("message", 0) not in self._open:
            yield from self._close_all()
            item: dict[str, Json] = {"type": "message", "id": self._id("msg"), "status": "in_progress", "role": "assistant", "content": []}
            yield from self._add(("message", 0), item)

    def _part(self, block: int, part: dict[str, Json]) -> Iterator[bytes]:
        open_ = self._open["message", 0]
        if block not in open_.content:
            open_.content[block] = part
            at = len(open_.content) - 1
            yield self._frame("response.content_part.added", item_id=open_.item["id"], output_index=open_.at, content_index=at, part=part)

    def _text(self, block: int, text: str, extra: Extra) -> Iterator[bytes]:
        item = extra.get(ITEM)
        yield from self._message()
        open_ = self._open["message", 0]
        yield from self._part(block, {"type": "output_text", "text": "", "annotations": [], "logprobs": []})
        part = open_.content[block]
        if isinstance(item, Mapping):
            open_.extra |= {name: value for name, value in item.items() if name not in ("content", "id") and value is not msgspec.UNSET}
        part |= {name: value for name, value in extra.items() if name not in (ITEM, "type") and value is not msgspec.UNSET}
        if text:
            part["text"] = str(part["text"]) + text
            at = list(open_.content).index(block)
            where = {"item_id": open_.item["id"], "output_index": open_.at, "content_index": at}
            yield self._frame("response.output_text.delta", **where, delta=text, logprobs=[])

    def _refusal(self, text: str) -> Iterator[bytes]:
        yield from self._message()
        open_ = self._open["message", 0]
        yield from self._part(-1, {"type": "refusal", "refusal": ""})
        open_.content[-1]["refusal"] = str(open_.content[-1]["refusal"]) + text
        at = list(open_.content).index(-1)
        where = {"item_id": open_.item["id"], "output_index": open_.at, "content_index": at}
        yield self._frame("response.refusal.delta", **where, delta=text)

    def _close_message(self, open_: _Open) -> Iterator[bytes]:
        item = open_.item
        for at, part in enumerate(open_.content.values()):
            where = {"item_id": item["id"], "output_index": open_.at, "content_index": at}
            if part["type"] == "refusal":
                yield self._frame("response.refusal.done", **where, refusal=part["refusal"])
            else:
                if not part.get("logprobs") and self._logprobs:
                    part["logprobs"], self._logprobs = self._logprobs, []
                yield self._frame("response.output_text.done", **where, text=part["text"], logprobs=part.get("logprobs") or [])
            yield self._frame("response.content_part.done", **where, part=part)
        item |= {"content": list(open_.content.values()), "status": "completed", **open_.extra}

    # reasoning

    def _thought(self, event: ThinkingDelta) -> Iterator[bytes]:
        key = ("reasoning", event.block)
        kept = event.extra.get(ITEM)
        if key not in self._open:
            yield from self._close_all()
            own = kept.get("id") if isinstance(kept, Mapping) else None
            yield from self._add(key, {"type": "reasoning", "id": own or self._id("rs"), "summary": []})
        open_ = self._open[key]
        if event.text:
            yield from self._summary(open_, event.text)
        if isinstance(kept, Mapping):
            open_.extra |= {name: value for name, value in kept.items() if value is not msgspec.UNSET}
        if event.data:
            open_.extra["encrypted_content"] = event.data

    def _summary(self, open_: _Open, text: str) -> Iterator[bytes]:
        where = {"item_id": open_.item["id"], "output_index": open_.at, "summary_index": 0}
        if 0 not in open_.content:
            open_.content[0] = {"type": "summary_text", "text": ""}
            yield self._frame("response.reasoning_summary_part.added", **where, part=open_.content[0])
        open_.content[0]["text"] = str(open_.content[0]["text"]) + text
        yield self._frame("response.reasoning_summary_text.delta", **where, delta=text)

    def _close_reasoning(self, open_: _Open) -> Iterator[bytes]:
        where = {"item_id": open_.item["id"], "output_index": open_.at, "summary_index": 0}
        for part in open_.content.values():
            yield self._frame("response.reasoning_summary_text.done", **where, text=part["text"])
            yield self._frame("response.reasoning_summary_part.done", **where, part=part)
        open_.item |= {"summary": list(open_.content.values()), **open_.extra}

    # calls

    def _call(self, event: ToolCallDelta) -> Iterator[bytes]:
        custom = event.kind == "custom"
        field = "input" if custom else "arguments"
        key = ("custom" if custom else "call", event.index + (1_000_000 if event.kind == "legacy" else 0))
        if key not in self._open:
            yield from self._close_all(but=("call", "custom"))
            kind = "custom_tool_call" if custom else "function_call"
            item: dict[str, Json] = {"type": kind, "id": self._id("ctc" if custom else "fc"), "status": "in_progress"}
            yield from self._add(key, {**item, "call_id": event.id, "name": event.name, field: ""})
        open_ = self._open[key]
        open_.extra |= {name: value for name, value in event.extra.items() if name != "id" and value is not msgspec.UNSET}
        if event.arguments:
            open_.item[field] = str(open_.item[field]) + event.arguments
            name = "response.custom_tool_call_input.delta" if custom else "response.function_call_arguments.delta"
            yield self._frame(name, item_id=open_.item["id"], output_index=open_.at, delta=event.arguments)

    def _close_call(self, open_: _Open) -> Iterator[bytes]:
        item = open_.item
        where = {"item_id": item["id"], "output_index": open_.at}
        if item["type"] == "custom_tool_call":
            yield self._frame("response.custom_tool_call_input.done", **where, input=item["input"])
        else:
            yield self._frame("response.function_call_arguments.done", **where, name=item["name"], arguments=item["arguments"])
        item |= {"status": "completed", **open_.extra}

    # anything else

    def _noted(self, extra: Extra) -> Iterator[bytes]:
        blocks = extra.get("content_blocks")
        for block in blocks if isinstance(blocks, list) else ():
            if isinstance(block, dict) and isinstance(block.get("type"), str):
                yield from self._close_all()
                at = len(self._items)
                self._items.append(block)
                yield self._frame("response.output_item.added", output_index=at, item=block)
                yield self._frame("response.output_item.done", output_index=at, item=block)

    def _close_all(self, but: tuple[str, ...] = ()) -> Iterator[bytes]:
        """Items that nothing more is said of, in their order."""
        closers: dict[str, Any] = {"message": self._close_message, "reasoning": self._close_reasoning}
        for key in [key for key in self._open if key[0] not in but]:
            open_ = self._open.pop(key)
            yield from closers.get(key[0], self._close_call)(open_)
            yield self._frame("response.output_item.done", output_index=open_.at, item=open_.item)

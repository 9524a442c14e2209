"""Reads streams of OpenAI's Responses: turns wire events into hub events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from headrace.dialects.base import Target
from headrace.dialects.decoding import decode
from headrace.dialects.failures import read_error_inside
from headrace.dialects.fields import OWN, count, items, obj
from headrace.dialects.openai_responses.items import read_item
from headrace.dialects.openai_responses.names import FORMAT, GAP, ITEM, PIECE, own
from headrace.dialects.openai_responses.responses import kept, read_finish, read_usage
from headrace.errors import APIResponseValidationError, BadRequestError, Failure, HeadraceError, Kind, TruncatedStream, error_of
from headrace.types import (
    Finished,
    Json,
    Logprobs,
    Noted,
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
    UsageReported,
)
from headrace.wire import Frame

ENDS = frozenset({"response.completed", "response.incomplete", "response.cancelled"})
"""Events that carry the whole response and end the stream."""


@dataclass(slots=True)
class _Item:
    """One item so far."""

    said: dict[int, str] = field(default_factory=dict)
    """The text of each message part by index; for reasoning and calls the text under index 0."""
    block: int = 0
    """The item's number among the reasoning items or the calls."""
    id: str = ""
    """The item's id until its first delta, which carries it."""
    part: tuple[str, Json] | None = None
    """The reasoning part being streamed."""
    told: bool = False
    """Whether reasoning or a call has begun; for a call its id and name have then been emitted."""
    done: bool = False


class Reader:
    """Turns wire events into hub events. Text that only a closing event contains is emitted then."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._items: dict[int, _Item] = {}
        self._told: set[str] = set()
        """Ids of completed items."""
        self._texts: dict[tuple[int, int], int] = {}
        self._thoughts = 0
        self._calls = 0
        self._started = False
        self._over = False

    def feed(self, frame: Frame, *, last: bool = False) -> list[StreamEvent]:
        """Raises HeadraceError for an error within the stream or an invalid event."""
        data = frame.data
        if not data or data.isspace() or data[:6] == b"[DONE]":
            return []
        try:
            event = decode(data)
            said = self._said(event)
            return list(self._events(obj(event, "the event"), frame.event or "")) if said is None else said
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if last:
                return []
        except HeadraceError as error:
            if not isinstance(error, BadRequestError) or error.failure.provider:
                raise
        except (AttributeError, TypeError, ValueError, KeyError):
            pass  # reported below
        message = f"{self._target.provider}: a stream event ({len(data)} bytes) is not valid in the dialect"
        raise APIResponseValidationError.of(self._failure(Kind.BAD_RESPONSE, message))

    def close(self) -> list[StreamEvent]:
        """Raises TruncatedStream unless the response was complete."""
        if not self._over:
            message = f"{self._target.provider}: the stream ended early"
            raise TruncatedStream.of(self._failure(Kind.TRUNCATED, message))
        return []

    def _failure(self, kind: Kind, message: str) -> Failure:
        return Failure(kind, message, provider=self._target.provider, model=self._target.model)

    def _events(self, event: Mapping[str, Json], name: str) -> Iterator[StreamEvent]:
        kind = event.get("type") or name
        if self._over:
            return
        if kind in ("error", "response.failed"):
            raise error_of(read_error_inside(error_body(event), provider=self._target.provider, model=self._target.model))
        if kind in ENDS:
            yield from self._end(obj(event.get("response"), "response"))
        elif kind in ("response.created", "response.in_progress", "response.queued"):
            yield from self._start(event.get("response"))
        elif kind in ("response.output_item.added", "response.output_item.done"):
            item = obj(event.get("item"), "item")
            yield from self._added(self._at(event), item) if kind.endswith("added") else self._done(self._at(event), item)
        elif kind.endswith(".delta") and isinstance(event.get("delta"), str):
            yield from self._delta(kind, event)

    def _said(self, event: Json) -> list[StreamEvent] | None:
        """Fast path: the events for a delta of text or arguments, as nearly every event is; None for any other."""
        if type(event) is not dict or self._over:
            return None
        kind, more, at = event.get("type"), event.get("delta"), event.get("output_index")
        state = self._items.get(at) if type(at) is int else None
        if state is None or state.id or type(more) is not str:
            return None
        if kind == "response.output_text.delta" and type(part := event.get("content_index")) is int and part in state.said:
            state.said[part] += more
            return [TextDelta(text=more, block=self._text(event["output_index"], part))]
        if kind == "response.function_call_arguments.delta" and state.told:
            state.said[0] = state.said.get(0, "") + more
            return [ToolCallDelta(index=state.block, arguments=more)]
        return None

    @staticmethod
    def _at(event: Mapping[str, Json]) -> int:
        at = event.get("output_index")
        return at if isinstance(at, int) else 0

    def _start(self, response: Json) -> Iterator[StreamEvent]:
        if self._started or not isinstance(response, Mapping):
            return
        self._started = True
        yield Started(
            id=str(response.get("id") or ""), model=str(response.get("model") or ""), created=count(response.get("created_at"))
        )  # fmt: skip

    # items

    def _item(self, at: int) -> _Item:
        return self._items.setdefault(at, _Item())

    def _added(self, at: int, item: Mapping[str, Json]) -> Iterator[StreamEvent]:
        kind = item.get("type")
        if kind in ("function_call", "custom_tool_call") and isinstance(item.get("name"), str):
            field = "arguments" if kind == "function_call" else "input"
            said = item.get(field)
            yield self._begin_call(at, item, said if isinstance(said, str) else "")
        else:
            id_ = item.get("id")
            self._item(at).id = id_ if isinstance(id_, str) else ""

    def _begin_call(self, at: int, item: Mapping[str, Json], arguments: str) -> ToolCallDelta:
        state = self._item(at)
        state.block, state.told, state.said[0] = self._calls, True, arguments
        self._calls += 1
        return ToolCallDelta(
            index=state.block,
            id=str(item.get("call_id") or ""),
            name=str(item.get("name") or ""),
            arguments=arguments,
            kind=cast("Any", "custom" if item.get("type") == "custom_tool_call" else "function"),
            extra={OWN: {"id": item["id"]}} if isinstance(item.get("id"), str) else {},
        )

    def _delta(self, kind: str, event: Mapping[str, Json]) -> Iterator[StreamEvent]:
        at, text = self._at(event), event["delta"]
        state = self._item(at)
        match kind:
            case "response.output_text.delta":
                part = event.get("content_index") or 0
                state.said[part] = state.said.get(part, "") + text
                yield TextDelta(text=text, block=self._text(at, part), extra=_first({ITEM: {"id": state.id}}, state))
            case "response.refusal.delta":
                part = event.get("content_index") or 0
                state.said[part] = state.said.get(part, "") + text
                yield RefusalDelta(text=text)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                yield self._thought(state, kind, event, text)
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" if state.told:
                state.said[0] = state.said.get(0, "") + text
                custom = kind.startswith("response.custom")
                yield ToolCallDelta(index=state.block, arguments=text, kind=cast("Any", "custom" if custom else "function"))

    def _thought(self, state: _Item, kind: str, event: Mapping[str, Json], text: str) -> ThinkingDelta:
        """A delta of reasoning. Parts are separated by an empty line, as in a whole response; each part's first delta has its index."""
        self._begin_thought(state)
        field = "summary" if kind.startswith("response.reasoning_summary") else "content"
        place = (field, event.get("summary_index", event.get("content_index")) or 0)
        extra: dict[str, Json] = _first({"id": state.id}, state, id=state.id, format=FORMAT)
        if place != state.part:
            text = text if state.part is None else GAP + text
            extra = {**extra, OWN: {**own(extra), PIECE: place}}
            state.part = place
        state.said[0] = state.said.get(0, "") + text
        return ThinkingDelta(text=text, block=state.block, extra=extra)

    def _begin_thought(self, state: _Item) -> None:
        if not state.told:
            state.told, state.block = True, self._thoughts
            self._thoughts += 1

    def _text(self, at: int, part: int) -> int:
        """The number of a text among all texts."""
        return self._texts.setdefault((at, part), len(self._texts))

    def _done(self, at: int, item: Mapping[str, Json]) -> Iterator[StreamEvent]:
        """Completes an item: emits what its deltas did not contain."""
        state = self._item(at)
        if state.done:
            return
        state.done = True
        if isinstance(item.get("id"), str):
            self._told.add(item["id"])
        for index, part in enumerate(read_item(item, "item")):
            yield from self._rest(at, index, part, state)

    def _rest(self, at: int, index: int, part: Part, state: _Item) -> Iterator[StreamEvent]:
        match part:
            case Text():
                more = _more(part.text, state.said.get(index, ""))
                yield TextDelta(text=more, block=self._text(at, index), extra=part.extra)
                if logprobs := own(part.extra).get("logprobs"):
                    yield Logprobs(logprobs={"content": logprobs})
            case Refusal():
                yield RefusalDelta(text=_more(part.text, state.said.get(index, "")), extra=part.extra)
            case Thinking():
                self._begin_thought(state)
                yield ThinkingDelta(text=_more(part.text, state.said.get(0, "")), data=part.data, block=state.block, extra=part.extra)
            case ToolCall():
                begun = state.told
                if not begun:
                    call = {"call_id": part.id, "name": part.name, "type": "custom_tool_call" if part.kind == "custom" else ""}
                    yield self._begin_call(at, call, part.arguments)
                more = _more(part.arguments, state.said.get(0, "")) if begun else ""
                if more or part.extra:
                    yield ToolCallDelta(index=state.block, arguments=more, kind=part.kind, extra=part.extra)
            case _:
                yield Noted(level="message", extra={"content_blocks": [dict(part.extra)]})

    def _end(self, response: Mapping[str, Json]) -> Iterator[StreamEvent]:
        """Ends the stream with the whole response, emitting items that were not streamed."""
        yield from self._start(response)
        for at, item in enumerate(items(response.get("output"), "output")):
            if obj(item, f"output[{at}]").get("id") not in self._told and not (at in self._items and self._items[at].done):
                yield from self._done(at, item)
        extra = kept(response)
        if extra:
            yield Noted(extra=extra)
        yield Finished(finish=read_finish(response, called=self._calls > 0) or "other")
        if isinstance(response.get("usage"), Mapping):
            yield UsageReported(usage=read_usage(response["usage"]))
        self._over = True


def error_body(event: Mapping[str, Json]) -> dict[str, Json]:
    """The error body: an `error` event is the error itself, a failed response contains it."""
    response = event.get("response")
    told = response.get("error") if isinstance(response, Mapping) else event.get("error")
    if told is None:
        told = {name: event.get(name) for name in ("message", "code", "param")}
        told = told if any(told.values()) else "the response failed"
    return {"error": told}


def _first(kept: dict[str, Json], state: _Item, **common: Json) -> dict[str, Json]:
    """The item's identity, for its first delta; empty for later ones."""
    if not state.id:
        return {}
    state.id = ""
    return {OWN: kept, **common}


def _more(whole: str, said: str) -> str:
    """The part of `whole` that was not streamed yet. If the streamed text differs, nothing is added."""
    return whole[len(said) :] if whole.startswith(said) else ""

"""Holds a stream back by as many characters as a rule has to see together before its texts are yielded."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from headrace.layers import texts

Apply: TypeAlias = Callable[[str], str]
Spans: TypeAlias = Callable[[str], Sequence[tuple[int, int]]]
"""Start and end of each match."""


class Text:
    """One text in transit: yielded after rules were applied, except for the last `window` characters."""

    __slots__ = ("_apply", "_spans", "_waiting", "_window")

    def __init__(self, apply: Apply, spans: Spans, window: int) -> None:
        self._apply, self._spans, self._window = apply, spans, window
        self._waiting = ""

    def feed(self, piece: str) -> str:
        """Add a piece; returns what may be yielded now."""
        self._waiting += piece
        if len(self._waiting) < 2 * self._window:  # checked in steps, because a check costs as much as the text is long
            return ""
        cut = self._cut()
        done, self._waiting = self._waiting[:cut], self._waiting[cut:]
        return self._apply(done)

    def rest(self) -> str:
        """What remains at the end."""
        done, self._waiting = self._waiting, ""
        return self._apply(done) if done else ""

    def _cut(self) -> int:
        """A position to cut at that splits no match: a window before the end, between words, and not inside a match."""
        limit = len(self._waiting) - self._window
        cut = next((at for at in range(limit, 0, -1) if self._waiting[at - 1] not in _WORD), 0)
        if cut == 0 and len(self._waiting) > _LONGEST:
            cut = limit
        for start, end in sorted(self._spans(self._waiting), reverse=True):
            if start < cut < end:
                cut = start
        return cut


_WORD: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-.@:%~")
"""Characters of keys, addresses and numbers."""
_LONGEST: Final = 8192
"""Characters without a break that are too many for a key."""


class Slot(NamedTuple):
    """Where a chunk contains a piece of a text."""

    text: tuple[Any, ...]
    """Identifies the text that the piece belongs to."""
    holder: Any
    field: str


class Shape(NamedTuple):
    """Where the texts are in a dialect's stream."""

    slots: Callable[[Any], Iterable[Slot]]
    ends: Callable[[Any], bool]
    """Whether the texts so far end with this chunk."""


def _some(holder: Any, key: tuple[Any, ...], *fields: str) -> Iterator[Slot]:
    for field in fields:
        if isinstance(_get(holder, field), str):
            yield Slot((*key, field), holder, field)


def _get(holder: Any, field: str) -> Any:
    return holder.get(field) if isinstance(holder, Mapping) else getattr(holder, field, None)


def _put(holder: Any, field: str, value: str) -> None:
    if isinstance(holder, dict):
        holder[field] = value
    else:
        setattr(holder, field, value)


def _chat(chunk: Any) -> Iterator[Slot]:
    for choice in _get(chunk, "choices") or ():
        index, delta = _get(choice, "index") or 0, _get(choice, "delta")
        yield from _some(choice, (index,), "text")
        if delta is None:
            continue
        yield from _some(delta, (index,), "content", "reasoning_content", "refusal")
        for at, call in enumerate(_get(delta, "tool_calls") or ()):
            yield from _some(_get(call, "function"), (index, "call", _get(call, "index") or at), "arguments")


def _chat_ends(chunk: Any) -> bool:
    return any(_get(choice, "finish_reason") for choice in _get(chunk, "choices") or ())


def _responses(event: Any) -> Iterator[Slot]:
    kind = _get(event, "type") or ""
    if kind.endswith(".delta"):
        yield from _some(event, (kind, _get(event, "item_id"), _get(event, "content_index"), _get(event, "summary_index")), "delta")


def _messages(event: Any) -> Iterator[Slot]:
    if _get(event, "type") == "content_block_delta":
        yield from _some(_get(event, "delta"), (_get(event, "index"),), "text", "thinking", "partial_json")


def _contents(chunk: Any) -> Iterator[Slot]:
    for at, candidate in enumerate(_get(chunk, "candidates") or ()):
        for part in _get(_get(candidate, "content"), "parts") or ():
            yield from _some(part, (at, bool(_get(part, "thought"))), "text")


def _lines(line: Any) -> Iterator[Slot]:
    """Ollama's. Tool calls arrive whole, and are checked as a whole."""
    message = _get(line, "message")
    if not _get(message, "tool_calls"):
        yield from _some(message, (), "content", "thinking")


def _lines_end(line: Any) -> bool:
    return bool(_get(line, "done") or _get(_get(line, "message"), "tool_calls"))


def _cohere(event: Any) -> Iterator[Slot]:
    message, index = _get(_get(event, "delta"), "message"), _get(event, "index")
    match _get(event, "type"):
        case "content-delta":
            yield from _some(_get(message, "content"), (index,), "text", "thinking")
        case "tool-plan-delta":
            yield from _some(message, (), "tool_plan")
        case "tool-call-delta":
            yield from _some(_get(_get(message, "tool_calls"), "function"), (index, "call"), "arguments")


def _converse(event: Any) -> Iterator[Slot]:
    """Bedrock's, in which each event is under its own name."""
    said = _get(event, "contentBlockDelta")
    at, delta = _get(said, "contentBlockIndex"), _get(said, "delta")
    yield from _some(delta, (at,), "text")
    yield from _some(_get(delta, "reasoningContent"), (at, "thought"), "text")
    yield from _some(_get(delta, "toolUse"), (at, "call"), "input")


_CHAT: Final = Shape(_chat, _chat_ends)
_SHAPES: Final[Mapping[str, Shape]] = {
    "responses": Shape(_responses, lambda event: not (_get(event, "type") or "").endswith(".delta")),
    "transcriptions": Shape(_responses, lambda event: not (_get(event, "type") or "").endswith(".delta")),
    "messages": Shape(_messages, lambda event: _get(event, "type") not in ("content_block_delta", "ping")),
    "ollama_chat": Shape(_lines, _lines_end),
    "converse": Shape(_converse, lambda event: not _get(event, "contentBlockDelta")),
    "cohere_chat": Shape(_cohere, lambda event: not (_get(event, "type") or "").endswith("-delta")),
    "generate_content": Shape(_contents, lambda chunk: any(_get(one, "finishReason") for one in _get(chunk, "candidates") or ())),
}
"""By operation; all others have the shape of chats."""


ANY: Final = "passed"
"""Operation of streams in any dialect: the shape is recognized for each event."""


def _shape_of(event: Any) -> Shape | None:
    if _get(event, "whole"):
        return None
    kind = _get(event, "type") or ""
    if _get(event, "choices") is not None:
        return _CHAT
    if _get(event, "candidates") is not None:
        return _SHAPES["generate_content"]
    if kind.startswith(("response.", "transcript.")):
        return _SHAPES["responses"]
    return _SHAPES["messages"] if kind.startswith(("message_", "content_block_", "ping")) else None


def _any(event: Any) -> Iterable[Slot]:
    shape = _shape_of(event)
    return () if shape is None else shape.slots(event)


def _any_ends(event: Any) -> bool:
    """An event of unknown shape is checked as a whole."""
    shape = _shape_of(event)
    return shape is None or shape.ends(event)


class Held:
    """A stream's chunks after rules were applied to their texts.

    Incomplete texts wait until more of them arrives or they end.
    """

    __slots__ = ("_chunks", "_make", "_over", "_shape", "_texts", "_whole", "ready")

    def __init__(self, chunks: Any, operation: str, apply: Apply, spans: Spans, window: int) -> None:
        self._chunks = chunks
        self._shape = Shape(_any, _any_ends) if operation == ANY else _SHAPES.get(operation, _CHAT)
        self._make: Callable[[], Text] = lambda: Text(apply, spans, window)
        self._whole = apply
        self._texts: dict[tuple[Any, ...], tuple[Text, Any]] = {}
        """The texts held back, each with the last chunk that contained a piece of it."""
        self._over = False
        self.ready: deque[Any] = deque()
        self._take()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chunks, name)

    @property
    def over(self) -> bool:
        return self._over

    def close(self) -> None:
        self._over = True
        self._chunks.close()

    async def fill(self) -> bool:
        """Wait until a chunk is ready. False at the proper end. If a rule refuses, closes the connection and raises."""
        while not self.ready and not self._over:
            more = await self._chunks.fill()
            try:
                if more:
                    self._take()
                else:
                    self._over = True
                    self._let_go(())
            except BaseException:
                self.close()
                raise
        return bool(self.ready)

    def _take(self) -> None:
        source = self._chunks.ready
        while source:
            self._look(source.popleft())

    def _look(self, chunk: Any) -> None:
        slots, ends = list(self._shape.slots(chunk)), self._shape.ends(chunk)
        if ends:
            self._let_go([slot.text for slot in slots])
            if not slots:
                texts.in_answer(chunk, self._whole)  # some dialects repeat the whole text at its end
        said = False
        for slot in slots:
            piece = _get(slot.holder, slot.field)
            text, _ = self._texts.get(slot.text) or (self._make(), None)
            given = text.feed(piece) + (text.rest() if ends else "")
            self._texts[slot.text] = (text, chunk)
            _put(slot.holder, slot.field, given)
            said = said or bool(given) or not piece
        if ends or said or not slots or _get(chunk, "usage"):
            self.ready.append(chunk)

    def _let_go(self, but: Sequence[tuple[Any, ...]]) -> None:
        """Yield the rest of every text, each in a copy of the last chunk that contained a piece of it."""
        for key, (text, last) in list(self._texts.items()):
            if key in but:
                continue
            if given := text.rest():
                chunk = copy.deepcopy(last)
                for slot in self._shape.slots(chunk):
                    _put(slot.holder, slot.field, given if slot.text == key else "")
                self.ready.append(chunk)
            del self._texts[key]

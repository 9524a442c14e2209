"""Citations of a response, moved to where the caller's dialect has them: as `annotations` in Chat Completions' format.

Readers keep citations in their provider's format and position: on a text (Anthropic, Bedrock, Responses), on the
message with offsets into its whole text (Chat Completions, Cohere, Gemini), or on the response, by numbers that the
text refers to, `[2]` (Perplexity). For a caller of another dialect they are moved to each text, with offsets into it,
or to the message, with offsets into its whole text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from msgspec import structs

from headrace.dialects.citation_words import CITATIONS, WORDS, annotation, inner, objects, of_web, word
from headrace.types import Extra, Finished, Json, Message, Noted, Started, StreamEvent, Text, TextDelta, UsageReported

ANNOTATIONS: Final = "annotations"

CHAT: Final = "openai_chat"
WHOLE: Final = frozenset({CHAT, "gemini"})
"""Dialects that have citations on the message; the others have them on each text."""

_PLACES: Final = ("start_index", "end_index", "index")


def shifted(annotation: Json, by: int) -> Json:
    """`annotation` with its offsets moved by `by` characters."""
    said = inner(annotation)
    moved = {name: max(0, place + by) for name in _PLACES if isinstance(place := said.get(name), int) and not isinstance(place, bool)}
    return {**annotation, annotation["type"]: {**said, **moved}} if moved and by else annotation


def for_chat(annotations: Sequence[Json]) -> dict[str, Json]:
    """Message fields for Chat Completions. Its clients know only `url_citation`, so file citations go into `citations` unchanged."""
    known = [one for one in annotations if one.get("type") == "url_citation"]
    others = [{"type": one.get("type"), **inner(one)} for one in annotations if one not in known]
    return {**({ANNOTATIONS: known} if known else {}), **({CITATIONS: others} if others else {})}


_FIELDS: Final[Mapping[str, Mapping[str, Json]]] = {
    "url_citation": {"url": "", "title": "", "start_index": 0},
    "file_citation": {"file_id": "", "filename": "", "index": 0},
}
"""Fields that clients require, with defaults for providers that omit them (xAI)."""


def _whole(annotation: Json, length: int) -> Json:
    """`annotation` with every field that clients require; without offsets it covers the whole text."""
    said = inner(annotation)
    kind = str(annotation.get("type"))
    usual = {**_FIELDS.get(kind, {}), **({"end_index": length} if kind == "url_citation" else {})}
    missing = {name: value for name, value in usual.items() if said.get(name) is None}
    return {**annotation, kind: {**said, **missing}} if missing else annotation


def _of_text(extra: Extra, length: int) -> list[Json]:
    """The annotations attached to one text."""
    told = extra.get(ANNOTATIONS)
    if isinstance(told, list):
        return [_whole(one, length) for one in objects(told) if inner(one)]
    return [made for one in objects(extra.get(CITATIONS)) if (made := annotation(one, 0, length)) is not None]


# ---- sources of a whole response ---------------------------------------------------------------------------------------------------

_MARK: Final = re.compile(r"\[(\d{1,3})\]")


def sources(extra: Extra) -> list[Mapping[str, Json]]:
    """URLs and titles of Perplexity's sources, which the text numbers from 1.

    They are in `search_results`, else in `citations`, which holds bare URLs.
    """
    if "search_results" not in extra and CITATIONS not in extra:
        return []
    found: list[Mapping[str, Json]] = [
        {"url": one["url"], "title": word(one.get("title"))} for one in objects(extra.get("search_results")) if word(one.get("url"))
    ]
    bare = extra.get(CITATIONS)
    return found or [{"url": one, "title": ""} for one in (bare if isinstance(bare, list) else ()) if isinstance(one, str)]


def _marked(text: str, known: Sequence[Mapping[str, Json]]) -> list[Json]:
    """Citations of `known` at each place where `text` names their number; sources it does not name are cited at its end."""
    places = [(int(mark[1]) - 1, mark.start(), mark.end()) for mark in _MARK.finditer(text)]
    named = [(number, start, end) for number, start, end in places if 0 <= number < len(known)]
    seen = {number for number, _, _ in named}
    named += [(number, len(text), len(text)) for number in range(len(known)) if number not in seen]
    return [of_web(known[number]["url"], known[number]["title"], None, start, end) for number, start, end in named]


# ---- a response --------------------------------------------------------------------------------------------------------------------


def on_message(message: Message, beside: Extra) -> Message:
    """`message` with all its citations in its `annotations`. beside: the response's extra fields."""
    found, at = _told(message), 0
    for part in message.content:
        if isinstance(part, Text):
            found += [shifted(one, at) for one in _of_text(part.extra, len(part.text))]
            at += len(part.text)
    found = found or _marked(message.text, sources(beside))
    parts = tuple([structs.replace(part, extra=_without(part.extra)) if ANNOTATIONS in part.extra else part for part in message.content])
    return structs.replace(message, content=parts, extra={**message.extra, ANNOTATIONS: found}) if found else message


def _without(extra: Extra) -> dict[str, Json]:
    return {name: value for name, value in extra.items() if name != ANNOTATIONS}


def _bare(extra: Extra) -> dict[str, Json]:
    """`extra` without citations in any format."""
    return {name: value for name, value in extra.items() if name not in (ANNOTATIONS, CITATIONS)}


def on_texts(message: Message, beside: Extra) -> Message:
    """`message` with each text's citations in that text's `annotations`. beside: the response's extra fields."""
    whole = _told(message)
    if not whole and not any(ANNOTATIONS in part.extra or CITATIONS in part.extra for part in message.content):
        whole = _marked(message.text, sources(beside))
    parts, at = [], 0
    last = max((index for index, part in enumerate(message.content) if isinstance(part, Text)), default=-1)
    for index, part in enumerate(message.content):
        if isinstance(part, Text):
            end = at + len(part.text)
            here = [one for one in whole if index == last or _place(one) < end]
            whole = [one for one in whole if one not in here]
            found = [*_of_text(part.extra, len(part.text)), *(shifted(one, -at) for one in here)]
            part = (
                structs.replace(part, extra={**_bare(part.extra), **({ANNOTATIONS: found} if found else {})})
                if part.extra or found
                else part
            )
            at = end
        parts.append(part)
    return structs.replace(message, content=tuple(parts), extra=_bare(message.extra))


def in_words_of(dialect: str, message: Message, beside: Extra) -> Message:
    """`message` with its citations in the position and format of `dialect`."""
    if dialect in WHOLE:
        return on_message(message, beside)
    placed = on_texts(message, beside)
    if dialect not in WORDS:
        return placed
    parts = [
        piece
        for part in placed.content
        for piece in (_pieces(part, dialect) if isinstance(part, Text) and ANNOTATIONS in part.extra else (part,))
    ]
    return structs.replace(placed, content=tuple(parts))


def _pieces(part: Any, dialect: str) -> Iterator[Text]:
    """A text split into pieces, each with the citations that support it: Anthropic and Bedrock have no offsets within a text."""
    spans = [(*_span(inner(one), len(part.text)), WORDS[dialect](one)) for one in objects(part.extra[ANNOTATIONS])]
    edges = sorted({0, len(part.text), *(edge for first, last, _ in spans if first < last for edge in (first, last))})
    for start, end in list(pairwise(edges)) or [(0, 0)]:
        cited = [one for first, last, one in spans if _backed(first, last, start, end)]
        yield structs.replace(part, text=part.text[start:end], extra={**_bare(part.extra), **({CITATIONS: cited} if cited else {})})


def _backed(first: int, last: int, start: int, end: int) -> bool:
    """Whether a citation from `first` to `last` belongs to the piece from `start` to `end`.

    An empty span belongs to the piece before it.
    """
    return first <= start < end <= last or (first == last and (start < first <= end or first == start == 0))


def _span(said: Mapping[str, Json], length: int) -> tuple[int, int]:
    end = said.get("end_index", said.get("index"))
    end = max(0, min(end, length)) if isinstance(end, int) else length
    start = said.get("start_index", end)
    return (max(0, min(start, end)) if isinstance(start, int) else end), end


_OF_FILES: Final = frozenset({"file_citation", "container_file_citation", "file_path"})


def _told(message: Message) -> list[Json]:
    """The message's own citations. Those of files are in the format of `for_chat`."""
    beside = [one for one in objects(message.extra.get(CITATIONS)) if one.get("type") in _OF_FILES]
    of_files = [{"type": one["type"], one["type"]: {name: value for name, value in one.items() if name != "type"}} for one in beside]
    length = len(message.text)
    return [_whole(one, length) for one in (*objects(message.extra.get(ANNOTATIONS)), *of_files) if inner(one)]


def _place(annotation: Json) -> int:
    """The offset at which the cited text begins."""
    said = inner(annotation)
    place = said.get("start_index", said.get("index"))
    return place if isinstance(place, int) else 0


# ---- a stream ----------------------------------------------------------------------------------------------------------------------


class _Choice:
    """One choice's text so far."""

    __slots__ = ("at", "block", "cited", "held", "length", "starts", "texts")

    def __init__(self) -> None:
        self.block = -1
        self.at = 0
        """Characters before the open block."""
        self.length = 0
        """Characters in the open block."""
        self.starts: dict[int, tuple[int, int]] = {}
        """Offset and length of each block."""
        self.held: list[Json] = []
        """Citations of the open block: Anthropic sends them before the text they support."""
        self.texts: list[str] = []
        """The text so far, kept where numbers in it may refer to sources."""
        self.cited = False

    def begin(self, block: int) -> None:
        """Makes `block` the open block."""
        self.starts[self.block] = (self.at, self.length)
        self.at, self.length = self.starts.get(block, (self.at + self.length, 0))
        self.block = block


class Citing:
    """Citations for a stream's events: moves each behind the text it supports.

    They come as an empty `TextDelta` with `annotations` whose offsets are within its block, or with `citations` in the
    caller's format. For callers that have them on the message they come as a `Noted` of the message with offsets into
    its whole text.
    """

    __slots__ = ("_caller", "_choices", "_sources", "_whole")

    def __init__(self, caller: str) -> None:
        self._caller = caller
        self._whole = caller in WHOLE
        self._choices: dict[int, _Choice] = {}
        self._sources: list[Mapping[str, Json]] = []

    def feed(self, event: StreamEvent) -> Sequence[StreamEvent]:
        if type(event) is TextDelta and not event.extra and not self._sources:  # nearly every event
            choice = self._choices.get(event.choice)
            if choice is not None and event.block == choice.block and not choice.held:
                choice.length += len(event.text)
                return (event,)
        if isinstance(event, UsageReported):
            return (event,)
        if isinstance(event, Started) or (isinstance(event, Noted) and event.level == "response"):
            self._sources = sources(event.extra) or self._sources
            return (event,)
        choice = self._choices.get(event.choice)
        if choice is None:
            choice = self._choices[event.choice] = _Choice()
        plain = not (choice.held or self._sources)
        if isinstance(event, TextDelta):
            if event.extra or not plain:
                return tuple(self._text(event, choice))
            if event.block != choice.block:
                choice.begin(event.block)
            choice.length += len(event.text)
        elif not plain or ANNOTATIONS in event.extra:
            return tuple(self._other(event, choice))
        return (event,)

    def _text(self, event: TextDelta, choice: _Choice) -> Iterator[StreamEvent]:
        if event.block != choice.block:
            yield from self._flushed(event.choice, choice)
            choice.begin(event.block)
        choice.length += len(event.text)
        if self._sources:
            choice.texts.append(event.text)
        found = event.extra.get(ANNOTATIONS)
        choice.held += objects(event.extra.get(CITATIONS)) if found is None else ()
        rest = (_without if self._caller == CHAT else _bare)(event.extra)
        if found is None:
            yield structs.replace(event, extra=rest) if CITATIONS in event.extra else event
            return
        if event.text or event.signature or rest:
            yield structs.replace(event, extra=rest)
        yield from self._annotated(event.choice, choice, objects(found))

    def _annotated(self, index: int, choice: _Choice, found: list[Json]) -> Iterator[StreamEvent]:
        """found: annotations with offsets within the open block."""
        found = [_whole(one, choice.length) for one in found if inner(one)]
        if not found:
            return
        choice.cited = True
        if self._whole:
            placed = [shifted(one, choice.at) for one in found]
            yield Noted(level="message", choice=index, extra=for_chat(placed) if self._caller == CHAT else {ANNOTATIONS: placed})
        else:
            yield self._on_text(index, max(0, choice.block), found)

    def _on_text(self, index: int, block: int, found: list[Json]) -> TextDelta:
        words = WORDS.get(self._caller)
        extra = {ANNOTATIONS: found} if words is None else {CITATIONS: [words(one) for one in found]}
        return TextDelta(text="", choice=index, block=block, extra=extra)

    def _flushed(self, index: int, choice: _Choice) -> Iterator[StreamEvent]:
        held, choice.held = choice.held, []
        made = [found for one in held if (found := annotation(one, 0, choice.length)) is not None]
        if self._caller == CHAT:  # already sent in their own format
            made = [one for one in made if one["type"] == "url_citation"]
        yield from self._annotated(index, choice, made)

    def _other(self, event: Any, choice: _Choice) -> Iterator[StreamEvent]:
        yield from self._flushed(event.choice, choice)
        if isinstance(event, Finished) and self._sources and not choice.cited:
            marked = _marked("".join(choice.texts), self._sources)
            yield from self._annotated(event.choice, choice, [shifted(one, -choice.at) for one in marked])
        if not self._whole and isinstance(event, Noted) and (found := objects(event.extra.get(ANNOTATIONS))):
            yield from self._spread(event.choice, choice, found)
            event = structs.replace(event, extra=_without(event.extra))
        choice.cited = choice.cited or ANNOTATIONS in event.extra
        yield event

    def _spread(self, index: int, choice: _Choice, found: list[Json]) -> Iterator[StreamEvent]:
        """Moves citations with offsets into the whole text to the block each lies in."""
        choice.cited = True
        starts = {**choice.starts, choice.block: (choice.at, choice.length)}
        blocks = sorted((at, block) for block, (at, _) in starts.items() if block >= 0) or [(0, 0)]
        for one in found:
            at, block = max((it for it in blocks if it[0] <= _place(one)), default=blocks[0])
            yield self._on_text(index, block, [shifted(one, -at)])

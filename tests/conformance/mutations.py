"""Recorded exchanges as they could have come as well: cut, in other pieces, spelled otherwise, with fields nobody knows yet."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import msgspec

from conformance import judge
from conformance.checks import differences
from conformance.corpus import Exchange
from conformance.tongues import Body, Tongue
from headrace.errors import HeadraceError, TruncatedStream
from headrace.framing import EventStreamReader
from headrace.types import Finished, Noted, Started, StreamEvent, UsageReported
from headrace.wire import Frame, Headers, HttpResponse

UNKNOWN = {"fromTomorrow": [1, {"deep": "ü", "nothing": None}]}
"""What no dialect has today."""


# ---- how the bytes arrive ----------------------------------------------------------------------------------------------------------


def in_pieces(tongue: Tongue, exchange: Exchange) -> list[str]:
    """However the bytes are cut into pieces, the events are the same."""
    data = tongue.data_of(exchange)
    whole = list(judge.events(tongue, exchange, [data]))
    chance = random.Random(exchange.id)
    marks = sorted(chance.randrange(len(data) + 1) for _ in range(20))
    ways = {
        "7 bytes each": [data[at : at + 7] for at in range(0, len(data), 7)],
        f"pieces {marks}": [data[start:end] for start, end in pairwise([0, *marks, len(data)])],
    }
    if len(data) < 20_000:
        ways["single bytes"] = [data[at : at + 1] for at in range(len(data))]
    return [f"in {way} it reads differently" for way, pieces in ways.items() if list(judge.events(tongue, exchange, pieces)) != whole]


def respelled(tongue: Tongue, exchange: Exchange) -> list[str]:
    """Server-sent events may be spelled in many ways: other line endings, comments, no blank after a colon, data on several lines."""
    if not exchange.sse_text:
        return []
    data = tongue.data_of(exchange).replace(b"\r\n", b"\n")
    whole = list(judge.events(tongue, exchange, [data]))
    ways = {
        "CRLF": data.replace(b"\n", b"\r\n"),
        "CR": data.replace(b"\n", b"\r"),
        "comments": data.replace(b"\n\n", b"\n\n: keep-alive\n\n"),
        "without blanks": data.replace(b"\ndata: ", b"\ndata:").replace(b"\nevent: ", b"\nevent:"),
        "a byte-order mark": b"\xef\xbb\xbf" + data,
        "ids": data.replace(b"\n\n", b"\nid: 7\nretry: 10\n\n"),
        "data on several lines": b"\n".join(_spread(line) for line in data.split(b"\n")),
    }
    return [f"with {way} it reads differently" for way, bytes_ in ways.items() if list(judge.events(tongue, exchange, [bytes_])) != whole]


def _spread(line: bytes) -> bytes:
    """A line of data with JSON in it as several lines of data with the same JSON in them."""
    if not line.startswith(b"data: {"):
        return line
    text = json.dumps(json.loads(line[6:]), indent=1)
    return b"\n".join(b"data: " + part.encode() for part in text.split("\n"))


# ---- cuts --------------------------------------------------------------------------------------------------------------------------


def cut_at_every_frame(tongue: Tongue, exchange: Exchange) -> list[str]:
    """Cut behind any frame."""
    data = tongue.data_of(exchange)
    return cut_at(tongue, exchange, list(_ends(tongue, data)))


def cut_anywhere(tongue: Tongue, exchange: Exchange, count: int = 200) -> list[str]:
    """Cut at `count` bytes."""
    size, chance = len(tongue.data_of(exchange)), random.Random(exchange.id)  # the same cuts in every run
    return cut_at(tongue, exchange, sorted({chance.randrange(size) for _ in range(count)}))


def cut_anywhere_sampled(tongue: Tongue, exchange: Exchange) -> list[str]:
    return cut_anywhere(tongue, exchange, 4)


def cut_at(tongue: Tongue, exchange: Exchange, places: list[int]) -> list[str]:
    """Cut off, a stream fails as cut off and tells nothing but what the whole told first; it ends well only when all was said."""
    data = tongue.data_of(exchange)
    whole = list(judge.events(tongue, exchange, [data]))
    ends = [event for event in whole if isinstance(event, Finished)]
    return [f"cut at {place} of {len(data)} {wrong}" for place in places if (wrong := _cut(tongue, exchange, data[:place], whole, ends))]


def _cut(tongue: Tongue, exchange: Exchange, data: bytes, whole: list[StreamEvent], ends: list[Finished]) -> str:
    got: list[StreamEvent] = []
    failed = ""
    try:
        for event in judge.events(tongue, exchange, [data]):
            got.append(event)
    except TruncatedStream:
        failed = "as cut"
    except HeadraceError as error:
        return f"it failed as {error.failure.kind}"
    said = [event for event in got if not isinstance(event, UsageReported)]  # counts may be told early, and then again
    if said != (known := [event for event in whole if not isinstance(event, UsageReported)])[: len(said)]:
        return f"it told something else: {next(one for one, other in zip(said, [*known, None], strict=False) if one != other)}"[:200]
    return "" if failed or [event for event in got if isinstance(event, Finished)] == ends else "it ended as if it were whole"


def _ends(tongue: Tongue, data: bytes) -> Iterator[int]:
    """Where frames end."""
    if isinstance(tongue.dialect.framing(), EventStreamReader):
        at = 0
        while at < len(data):
            yield at
            at += int.from_bytes(data[at : at + 4], "big")
        return
    at = data.find(b"\n")
    while 0 <= at < len(data) - 1:
        yield at + 1
        at = data.find(b"\n", at + 1)


# ---- what tomorrow may bring -------------------------------------------------------------------------------------------------------

_Path = tuple[Any, ...]

PLAIN_LISTS = {"choices", "messages", "contents", "candidates", "functionDeclarations", "function_declarations"}
"""Lists whose items all dialects know: a stranger in them is no answer, turn or function."""


def answer_grown(tongue: Tongue, exchange: Exchange) -> list[str]:
    """A field nobody knows, in any object of the answer, and a block nobody knows, in any list of blocks, are written again."""
    made = [*grown(exchange.response_json), *joined(exchange.response_json, typed=tongue.typed)]
    return [f"{at}: {problem}" for at, body in made for problem in judge.answered(tongue, exchange, body)]


def request_grown(tongue: Tongue, exchange: Exchange) -> list[str]:
    """A field nobody knows, in any object of the request, and a block or tool nobody knows are sent on."""
    body = tongue.asked(exchange)
    return [
        f"{at}: {problem}"
        for at, made in [*grown(body), *joined(body, typed=tongue.typed)]
        for problem in judge.requested(tongue, exchange, made)
    ]


def grown(body: Any) -> Iterator[tuple[str, Body]]:
    """`body` with the unknown field in one object after the other, and where."""
    for path, found in places(body):
        if isinstance(found, dict):
            made, at = changed(body, path)
            at |= UNKNOWN
            yield spelled(path), made


def joined(body: Any, *, typed: bool) -> Iterator[tuple[str, Body]]:
    """`body` with an unknown item at the end of one list of blocks after the other, and where."""
    for path, found in places(body):
        if isinstance(found, list) and found and isinstance(found[0], dict) and not PLAIN_LISTS & set(path[-1:]):
            made, at = changed(body, path)
            at.append({**({"type": "from_tomorrow"} if typed else {}), **UNKNOWN})
            yield spelled(path), made


def places(value: Any, path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    """Every object and list in `value` with the way to it; of long lists the first items."""
    if isinstance(value, dict | list):
        yield path, value
        for step, inner in list(value.items() if isinstance(value, dict) else enumerate(value[:3])):
            yield from places(inner, (*path, step))


def changed(body: Any, path: _Path) -> tuple[Body, Any]:
    """`body` with a copy of everything on the way to a place, which may be changed there, and that place."""
    made = at = copy.copy(body)
    for step in path:
        at[step] = copy.copy(at[step])
        at = at[step]
    return made, at


def spelled(path: _Path) -> str:
    return ".".join(step if isinstance(step, str) else "[]" for step in path)


ABSENT = object()
"""A value that is left out."""


def answer_altered(tongue: Tongue, exchange: Exchange, count: int = 12) -> list[str]:
    """With a value missing, null, a number in a text or a word nobody knows yet, an answer is refused, or read and written again.

    What is missing may get the value that everybody means by that; a number comes as a number; nothing else changes anywhere.
    """
    chance = random.Random(exchange.id)
    spots = list(leaves(exchange.response_json))
    wrong = []
    for path, value in chance.sample(spots, min(count, len(spots))):
        for made, expected in altered(exchange.response_json, path, value):
            wrong += [f"{spelled(path)} as {made!r:.20}: {problem}" for problem in _unlike(tongue, exchange, path, made, expected)]
    return wrong


def leaves(value: Any, path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    """Every value below `value` with the way to it; of long lists the first items."""
    for step, inner in value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ():
        yield (*path, step), inner
        yield from leaves(inner, (*path, step))


def altered(body: Any, path: _Path, value: Any) -> Iterator[tuple[Any, Any]]:
    """Values that could stand there, each with what should be written for it; `None` beside it where anything may."""
    yield from ([(ABSENT, None)] if isinstance(path[-1], str) else [])
    yield None, None
    if isinstance(value, str) and path[-1] != "role":  # an answer is the assistant's
        yield "from_tomorrow", "from_tomorrow"
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value), str(value)


DECIDED = {
    ("cohere", "finish_reason"): "where there are calls they decide: the word would reach callers of Chat Completions as it is",
    ("openai_chat", "prompt_cache_hit_tokens"): "DeepSeek's word for a count is said as OpenAI's",
    ("openai_chat", "cached_tokens"): "and so is Moonshot's and Together's",
}
"""What does not come back as it came, and why."""


def _unlike(tongue: Tongue, exchange: Exchange, path: _Path, made: Any, expected: Any) -> list[str]:
    """What else than `expected` is written, and what changes elsewhere."""
    body = put(exchange.response_json, path, made)
    dialect, target = tongue.dialect, tongue.target(exchange)
    try:
        hub = dialect.read_response(raw(body), judge.ASKED, target)
    except HeadraceError:
        return []
    place = at(path)
    found = differences(tongue.meant(body)[0], judge.as_sent(dialect.write_response(hub)))
    if (tongue.name, path[-1]) in DECIDED:
        return []
    if expected is None:
        return [problem for problem in found if not place.startswith(re.split(r":? ", problem)[0])]
    return [problem for problem in found if problem != f"{place}: {str(made)[:60]!r} became {str(made)[:60]!r}"]  # the number itself


ASKED_OTHERWISE = {
    ("anthropic_messages", "type"): "a tool of Anthropic's without its type is one of the caller's, which has a schema",
}
"""What a request says elsewhere than where it was changed, and why."""


def request_altered(tongue: Tongue, exchange: Exchange, count: int = 12) -> list[str]:
    """As `answer_altered`: a request is refused, or produced again with nothing changed anywhere else."""
    body = tongue.asked(exchange) or {}
    chance = random.Random(exchange.id)
    spots = [(path, value) for path, value in leaves(body) if path != ("model",)]
    wrong = []
    for path, value in chance.sample(spots, min(count, len(spots))):
        for made, expected in altered(body, path, value):
            wrong += [f"{spelled(path)} as {made!r:.20}: {problem}" for problem in _asked_unlike(tongue, exchange, path, made, expected)]
    return wrong


def _asked_unlike(tongue: Tongue, exchange: Exchange, path: _Path, made: Any, expected: Any) -> list[str]:
    """What else than `expected` is asked, and what changes elsewhere."""
    body = put(tongue.asked(exchange) or {}, path, made)
    target = tongue.target(exchange)
    try:
        produced = json.loads(tongue.dialect.write_request(tongue.dialect.read_request(body), target).body)
    except HeadraceError:
        return []
    if (tongue.name, path[-1]) in ASKED_OTHERWISE:
        return []
    named = {"model": target.model} if "model" in produced else {}
    found = differences(tongue.same_words({**body, **named}), tongue.same_words(produced))
    place = at(path)
    if expected is None:
        return [problem for problem in found if not place.startswith(re.split(r":? ", problem)[0])]
    return [problem for problem in found if problem != f"{place}: {str(made)[:60]!r} became {str(made)[:60]!r}"]  # the number itself


def put(body: Any, path: _Path, made: Any) -> Body:
    """`body` with something else at a place, or nothing."""
    whole, inner = changed(body, path[:-1])
    if made is ABSENT:
        del inner[path[-1]]
    else:
        inner[path[-1]] = made
    return whole


def at(path: _Path) -> str:
    """A place as `differences` spells it."""
    return "".join(f".{step}" if isinstance(step, str) else f"[{step}]" for step in path)


def stream_grown(tongue: Tongue, exchange: Exchange) -> list[str]:
    """An event nobody knows yet, between any two of a stream, changes nothing of what the others say."""
    frames = tongue.dialect.framing().feed(tongue.data_of(exchange))
    strange = Frame(json.dumps({"type": "from_tomorrow", **UNKNOWN}).encode(), "from_tomorrow")
    places = random.Random(exchange.id).sample(range(1, max(2, len(frames))), min(5, max(1, len(frames) - 1)))
    whole = _told(tongue, exchange, frames)
    return [f"before frame {at}" for at in places if _told(tongue, exchange, [*frames[:at], strange, *frames[at:]]) != whole]


def _told(tongue: Tongue, exchange: Exchange, frames: list[Frame]) -> list[StreamEvent]:
    reader = tongue.dialect.read_stream(judge.ASKED, tongue.target(exchange))
    events = [event for frame in frames for event in reader.feed(frame)] + reader.close()
    bare = [msgspec.structs.replace(event, extra={}) if isinstance(event, Started) else event for event in events]
    return [event for event in bare if not isinstance(event, Noted)]


# ---- what nobody should send -------------------------------------------------------------------------------------------------------

WRONG: tuple[Any, ...] = (None, True, -1, 10**30, 1e300, "", "\ud800", [], {}, [None], {"type": None}, [[[[]]]], {"text": {"text": 1}})
"""Values of every shape, of which nearly none fits anywhere."""


def answer_spoiled(tongue: Tongue, exchange: Exchange) -> list[str]:
    """With anything in any place an answer is read, or refused with an error of ours."""
    dialect, target = tongue.dialect, tongue.target(exchange)
    return spoiled(exchange, exchange.response_json, lambda body: dialect.read_response(raw(body), judge.ASKED, target))


def request_spoiled(tongue: Tongue, exchange: Exchange) -> list[str]:
    return spoiled(exchange, tongue.asked(exchange), tongue.dialect.read_request)


def stream_spoiled(tongue: Tongue, exchange: Exchange) -> list[str]:
    """With anything in any place of one of its frames a stream is read, or refused with an error of ours."""
    frames = tongue.dialect.framing().feed(tongue.data_of(exchange))
    kept = [(at, body) for at, frame in enumerate(frames) if isinstance(body := _json(frame.data), dict)]
    chosen = random.Random(exchange.id).sample(kept, min(3, len(kept)))
    return [wrong for at, body in chosen for wrong in spoiled(exchange, body, lambda made, at=at: _fed(tongue, exchange, frames, at, made))]


def _fed(tongue: Tongue, exchange: Exchange, frames: list[Frame], at: int, body: Any) -> None:
    reader = tongue.dialect.read_stream(judge.ASKED, tongue.target(exchange))
    for frame in [*frames[:at], Frame(json.dumps(body).encode(), frames[at].event), *frames[at + 1 :]]:
        reader.feed(frame)
    reader.close()


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def error_spoiled(tongue: Tongue, exchange: Exchange) -> list[str]:
    dialect, target = tongue.dialect, tongue.target(exchange)
    return spoiled(
        exchange, exchange.response_json, lambda body: dialect.read_error(HttpResponse(429, Headers(), json.dumps(body).encode()), target)
    )


def spoiled(exchange: Exchange, body: Any, read: Callable[[Any], Any], count: int = 40) -> list[str]:
    """What else than an error of headrace's `read` raises, for `body` with something else in one place, or without it."""
    spots = [(path, step) for path, found in places(body) for step in (found if isinstance(found, dict) else range(min(3, len(found))))]
    chance = random.Random(exchange.id)
    wrong = []
    for _ in range(min(count, len(spots))):
        path, step = chance.choice(spots)
        made, at = changed(body, path)
        value = chance.choice(WRONG)
        at[step] = value
        try:
            read(made)
        except HeadraceError:
            continue
        except Exception as error:
            wrong.append(f"{spelled((*path, step))} = {value!r:.40}: {error!r:.150}")
    return wrong


def raw(body: Any) -> HttpResponse:
    return HttpResponse(200, Headers(), json.dumps(body).encode())

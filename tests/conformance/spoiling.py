"""Recorded bytes as a broken wire, a cutting proxy or a careless provider would send them: no UTF-8, half escapes, JSON that is none.

Whatever comes, a reader answers or raises an error of headrace's, and what it told before can be put together and written in every dialect.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

from conformance import judge
from conformance.corpus import Exchange
from conformance.tongues import TONGUES, Tongue
from headrace.dialects.answers import InCommon, answer_in_common
from headrace.dialects.base import passable
from headrace.dialects.collect import collect
from headrace.errors import HeadraceError
from headrace.types import ChatResponse, StreamEvent
from headrace.wire import Headers, HttpResponse

LARGEST = 60_000
"""Bytes of a stream that is looked at: larger ones say nothing more, slowly."""
IN_PLACE = (
    b"\xff",
    b"\xfe\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98",
    b"\x00",
    b"\xe2\x80\xa8",
    b"\xc0\xaf",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
)
BETWEEN = (b"\xff", b"\\ud83d", b"\\udc00", b"\\u0000", b"\\x", b"\r", b"\n\n", b"\xef\xbb\xbf", b"1e999", b"-", b"NaN", b"9" * 400)
VALUES = (b"null", b"7", b"[]", b"{}", b"true", b'"\xff"', b"-1", b"1e400", b'"\\ud83d"')


def spoiled(data: bytes, chance: random.Random) -> bytes:
    """`data` changed in one place or a few."""
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        at = chance.randrange(len(made) or 1)
        match chance.randrange(6):
            case 0:
                made[at : at + 1] = chance.choice(IN_PLACE)
            case 1:
                made[at:at] = chance.choice(BETWEEN)
            case 2:
                del made[at : at + chance.randrange(1, 8)]
            case 3:
                start = chance.randrange(len(made) or 1)
                made[at:at] = made[start : start + 200]
            case 4:
                _value(made, at, chance)
            case _:
                del made[at:]
    return bytes(made)


def _value(made: bytearray, at: int, chance: random.Random) -> None:
    """Another value in the next place that has a text."""
    start = made.find(b'":"', at)
    end = made.find(b'"', start + 3)
    if 0 <= start < end:
        made[start + 2 : end + 1] = chance.choice(VALUES)


def survived(tongue: Tongue, exchange: Exchange, seed: int) -> list[str]:
    """What else than an error of headrace's is raised for one exchange, spoiled by chance."""
    chance = random.Random(seed)
    return [f"{exchange} seed {seed}: {what}: {error!r}" for what, act in _acts(tongue, exchange, chance) if (error := _raised(act))]


def _raised(act: Callable[[], Any]) -> Exception | None:
    try:
        act()
    except HeadraceError:
        return None
    except Exception as error:
        return error
    return None


def _acts(tongue: Tongue, exchange: Exchange, chance: random.Random) -> Iterator[tuple[str, Callable[[], Any]]]:
    dialect, target = tongue.dialect, tongue.target(exchange)
    if tongue.is_stream(exchange) and len(tongue.data_of(exchange)) < LARGEST:
        data = spoiled(tongue.data_of(exchange), chance)
        marks = sorted(chance.randrange(len(data) + 1) for _ in range(5))
        pieces = [data[start:end] for start, end in pairwise([0, *marks, len(data)])]
        yield "stream", lambda: _streamed(tongue, exchange, pieces)
        if passable(dialect):
            yield "watched", lambda: _watched(tongue, exchange, pieces)
    if exchange.response_json is not None:
        body = spoiled(_bytes(exchange.response_json), chance)
        answer = HttpResponse(200, Headers(), body)
        yield "answer", lambda: _answered(tongue, dialect.read_response(answer, judge.ASKED, target))
        yield "refusal", lambda: dialect.read_error(HttpResponse(429, Headers(), body), target)
    if tongue.is_request(exchange):
        asked = spoiled(_bytes(tongue.asked(exchange)), chance).decode("utf-8", "replace")
        with suppress(ValueError, RecursionError):
            request = json.loads(asked)
            yield "request", lambda: dialect.write_request(dialect.read_request(request), target)


def _bytes(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _streamed(tongue: Tongue, exchange: Exchange, pieces: list[bytes]) -> None:
    events: list[StreamEvent] = []
    with suppress(HeadraceError):
        for event in judge.events(tongue, exchange, pieces):
            events.append(event)
    for other in TONGUES:
        writer, common = other.dialect.write_stream(judge.ASKED), InCommon(other.name)
        for event in events:
            for told in (event,) if other is tongue else common.feed(event):
                writer.feed(told)
        writer.close()
    _answered(tongue, collect(events))


def _answered(tongue: Tongue, answer: ChatResponse) -> None:
    """Written in every dialect, as JSON: some cannot say everything."""
    for other in TONGUES:
        with suppress(HeadraceError):
            judge.as_sent(other.dialect.write_response(answer if other is tongue else answer_in_common(answer, other.name)))


def _watched(tongue: Tongue, exchange: Exchange, pieces: list[bytes]) -> None:
    dialect = tongue.dialect
    assert passable(dialect)
    watcher, frames = dialect.watch_stream(tongue.target(exchange)), dialect.framing()
    for piece in pieces:
        for frame in frames.feed(piece):
            if not watcher.glance(frame.data):
                watcher.feed(frame)

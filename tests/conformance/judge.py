"""What must hold of a recorded exchange, whatever its dialect. Each check returns what is wrong, nothing when all is well."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from conformance.checks import differences
from conformance.corpus import Exchange
from conformance.tongues import Body, Tongue, reply
from headrace.types import ChatRequest, StreamEvent

ASKED = ChatRequest(model="model", messages=(), stream=True, include_usage=True)


def as_sent(value: Any) -> Any:
    """A written body as it stands on the wire."""
    return json.loads(json.dumps(value))


def answer(tongue: Tongue, exchange: Exchange) -> list[str]:
    """An answer is read and written again equal, and read once more it is the same hub value."""
    return answered(tongue, exchange, exchange.response_json)


def answered(tongue: Tongue, exchange: Exchange, body: Body) -> list[str]:
    dialect, target = tongue.dialect, tongue.target(exchange)
    hub = dialect.read_response(reply(body, exchange.headers), ASKED, target)
    written = as_sent(dialect.write_response(hub))
    wrong = list(differences(tongue.meant(body)[0], written))
    again = dialect.read_response(reply(written, exchange.headers), ASKED, target)
    return wrong + ([] if as_sent(dialect.write_response(again)) == written else ["what was written is read as something else"])


def request(tongue: Tongue, exchange: Exchange) -> list[str]:
    """A request is read and produced again with the same meaning, and read once more it is the same hub value."""
    return requested(tongue, exchange, tongue.asked(exchange) or {})


def requested(tongue: Tongue, exchange: Exchange, body: Body) -> list[str]:
    dialect, target = tongue.dialect, tongue.target(exchange)
    hub = dialect.read_request(body)
    produced = json.loads(dialect.write_request(hub, target).body)
    named = {"model": target.model} if "model" in produced else {}
    wrong = list(differences(tongue.same_words({**body, **named}), tongue.same_words(produced)))
    again = json.loads(dialect.write_request(dialect.read_request({**body, **produced}), target).body)
    return wrong + ([] if again == produced else ["what was produced is read as something else"])


def events(tongue: Tongue, exchange: Exchange, pieces: Iterable[bytes]) -> Iterator[StreamEvent]:
    """The events of a stream's bytes, in whatever pieces they come. Raises HeadraceError."""
    frames, reader = tongue.dialect.framing(), tongue.dialect.read_stream(ASKED, tongue.target(exchange))
    for piece in pieces:
        for frame in frames.feed(piece):
            yield from reader.feed(frame)
    for frame in frames.close():
        yield from reader.feed(frame, last=True)
    yield from reader.close()

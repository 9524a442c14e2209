"""Streams handed on as they are, as recorded: the watcher agrees with the reader on errors, end and usage. Skips where nothing is."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from conformance import judge
from conformance.corpus import folder
from conformance.tongues import TONGUES, Tongue, streamed
from headrace.dialects.base import Target, passable
from headrace.dialects.openai_chat.responses import write_usage
from headrace.errors import HeadraceError, Kind
from headrace.passing import bytes_of
from headrace.types import UsageReported

pytestmark = pytest.mark.skipif(
    folder() is None,
    reason="no recorded traffic here: set HEADRACE_WIRE to its folder (shared/wire beside the repository is found by itself)",
)

WATCHED = [tongue for tongue in TONGUES if tongue.name in ("openai_responses", "anthropic_messages", "gemini")]


def read(tongue: Tongue, target: Target, data: bytes) -> tuple[Kind | None, Any]:
    """The kind of what went wrong, and the usage, as the hub's reader sees them."""
    frames, reader, usage = tongue.dialect.framing(), tongue.dialect.read_stream(judge.ASKED, target), None
    try:
        events = [event for frame in frames.feed(data) for event in reader.feed(frame)]
        events += [event for frame in frames.close() for event in reader.feed(frame, last=True)]
        for event in [*events, *reader.close()]:
            usage = write_usage(event.usage) if isinstance(event, UsageReported) else usage
    except HeadraceError as error:
        return error.failure.kind, None
    return None, usage


def watched(tongue: Tongue, target: Target, data: bytes) -> tuple[Kind | None, Any]:
    dialect = tongue.dialect
    assert passable(dialect)
    frames, watcher = dialect.framing(), dialect.watch_stream(target)
    try:
        for frame in frames.feed(data):
            watcher.feed(frame)
        for frame in frames.close():
            watcher.feed(frame, last=True)
        watcher.close()
    except HeadraceError as error:
        return error.failure.kind, None
    return None, watcher.usage


def passed(tongue: Tongue, target: Target, data: bytes) -> tuple[Kind | None, Any, bytes]:
    """The same of bytes handed on, and they themselves."""
    dialect = tongue.dialect
    assert passable(dialect)
    events = not data.lstrip().startswith(b"[")  # Gemini's other form is one array
    handed_on = bytes_of(dialect.framing(), dialect.watch_stream(target), tongue.name, None, events=events)
    pieces: deque[bytes] = deque()
    try:
        for at in range(0, len(data), 997):
            handed_on.feed(data[at : at + 997], pieces)
        handed_on.close(pieces)
    except HeadraceError as error:
        return error.failure.kind, None, b"".join(pieces)
    return None, handed_on.usage, b"".join(pieces)


@pytest.mark.parametrize("tongue", WATCHED, ids=lambda tongue: tongue.name)
def test_a_stream_handed_on_ends_as_it_does_when_it_is_read_and_so_does_one_cut_short(tongue: Tongue) -> None:
    """Whole and broken recordings alike, and each cut in its last events, where the end is said."""
    wrong, seen = [], 0
    for exchange in tongue.exchanges():
        if not streamed(exchange):
            continue
        data, target = tongue.data_of(exchange), tongue.target(exchange)
        seen += 1
        for cut in {len(data), *(max(0, len(data) - back) for back in (1, 3, 40, 200, 900))}:
            said, found = read(tongue, target, data[:cut]), watched(tongue, target, data[:cut])
            if said != found:
                wrong.append(f"{exchange}, {cut} of {len(data)} bytes: read {said}, watched {found}")
            *ended, bytes_ = passed(tongue, target, data[:cut])
            as_it_came = data.startswith(bytes_) or ended[0] is None or data.lstrip().startswith(b"[")
            if tuple(ended) != said or not as_it_came:
                wrong.append(f"{exchange}, {cut} of {len(data)} bytes: read {said}, handed on {ended}")
    assert seen > 0
    assert not wrong, "\n".join(wrong[:40])


def test_a_chat_handed_on_ends_as_it_does_when_it_is_read() -> None:
    (tongue,) = [tongue for tongue in TONGUES if tongue.name == "openai_chat"]
    wrong, seen = [], 0
    for exchange in tongue.exchanges():
        if not streamed(exchange):
            continue
        data, target = tongue.data_of(exchange), tongue.target(exchange)
        seen += 1
        for cut in {len(data), *(max(0, len(data) - back) for back in (1, 40, 900))}:
            said, (ended, _, bytes_) = read(tongue, target, data[:cut])[0], passed(tongue, target, data[:cut])
            if ended != said or not (data.startswith(bytes_) or ended is None):
                wrong.append(f"{exchange}, {cut} of {len(data)} bytes: read {said}, handed on {ended}")
    assert seen > 0
    assert not wrong, "\n".join(wrong[:40])

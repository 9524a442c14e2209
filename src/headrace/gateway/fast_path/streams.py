"""Streams on the fast path.

What arrives from the provider is inspected and sent on as one piece in the same turn of the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.calls import CHAT
from headrace.errors import HeadraceError
from headrace.gateway.fast_path.call import IDS, FastCall
from headrace.gateway.logs import access
from headrace.gateway.page.recent_calls import Seen
from headrace.gateway.records import Outcome, of_answer
from headrace.layers.observing import Outcome as Observed
from headrace.models.prices import Beside
from headrace.streams import Source
from headrace.wire import Headers, HttpResponse, TransportError


class Stream(FastCall):
    """One streamed request in flight."""

    __slots__ = ("_felt", "_first", "_hidden", "_left", "_lines", "_opened", "_pulse", "_ready", "_recorded", "_source", "_unsaid")

    streaming = True

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._source: Source[bytes] | None = None
        self._hidden: Beside | None = None
        self._ready: deque[bytes] = deque()
        self._first: float | None = None
        """When the first piece arrived, by the monotonic clock."""
        self._unsaid: list[bytes] | None = []
        """Pieces without content so far: if the stream breaks here, it can be retried. None once content was sent."""
        self._left: bytes | None = None
        """Rate limit header lines, for the caller's own limits."""
        self._lines = b""
        """The response head, until it is sent."""
        self._opened = self._recorded = False
        self._pulse: asyncio.TimerHandle | None = self._pipeline.later(self._beat)
        self._felt = False

    def _heard(self, error: TransportError | None) -> None:
        begun = self._begun
        if self._over:
            return
        if error is not None and self._source is None:
            self._stop()
            self._broke(error)
            return
        if begun is None:
            return
        exchange = begun.exchange
        if self._source is None:
            if not exchange.begun:
                return
            if not 200 <= exchange.status < 300:
                self._refused()
                return
            self._hidden, self._source = self._pipeline.fast_path.watch(self._attempt, self._prepared.sending, Headers(exchange.headers))
            self._left = self._left_now()  # usually no event has come with the headers yet: once one has, the client waits for it
        self._felt = True
        failure: HeadraceError | None = None
        try:
            if data := begun.take():
                self._source.feed(data, self._ready)
            if exchange.complete:
                self._source.close(self._ready)
        except HeadraceError as found:
            failure = found
        if failure is None and error is not None:
            failure = self._pipeline.fast_path.explained(self._attempt, error, streaming=True)
        piece = self._next_piece()
        if failure is None and exchange.complete:
            self._end(piece)
            return
        if piece:
            self._write(piece)
        if failure is not None:
            self._cut(failure)

    def _refused(self) -> None:
        """An error response in place of a stream: read it to its end, then the Router decides what follows."""
        begun = self._begun
        assert begun is not None
        exchange = begun.exchange
        if not exchange.complete and exchange.size < MOST_OF_AN_ERROR:
            return
        self._stop()
        begun.leave()
        try:
            response = HttpResponse(exchange.status, Headers(exchange.headers), exchange.take())
            self._pipeline.fast_path.read(self._attempt, self._prepared.sending, response)
        except HeadraceError as error:
            self._failed(error)

    # ---- chunks ------------------------------------------------------------------------------------------------------

    def _next_piece(self) -> bytes:
        """What is ready, as one piece; empty if nothing is, or if there is no content yet."""
        ready = self._ready
        if not ready:
            return b""
        piece = ready.popleft() if len(ready) == 1 else b"".join(ready)
        ready.clear()
        if self._first is None:
            self._first = self._pipeline.fast_path.now()
            self._pipeline.fast_path.first(self._attempt, self._first)
        if self._unsaid is not None:
            self._unsaid.append(piece)
            if self._head.operation is CHAT and not says(piece):
                return b""
            piece, self._unsaid = b"".join(self._unsaid), None
        return piece

    def _write(self, piece: bytes) -> None:
        source = self._source
        if not self._recorded and source is not None and self._head.front.ends(piece) and source.usage is not None:
            assert self._hidden is not None
            self._hidden.usage = source.usage
            self._record_end(Outcome.ANSWERED)  # its client may stop reading here, and disconnect
        self._say(CHUNK % (len(piece), piece))

    def _say(self, data: bytes) -> None:
        """Send to the client; the first time with the head in front, in one write."""
        self._open()
        lines, self._lines = self._lines, b""
        if lines:
            self._caller.opened(lines + data)
        else:
            self._caller.piece(data)

    def _open(self) -> None:
        """Build the response head."""
        if self._opened:
            return
        self._opened = True
        told = b"" if self._first is None else self._prepared.told
        lines = b"content-type: text/event-stream\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
        ids = IDS % (id := self._id.encode(), id, id) + b"transfer-encoding: chunked\r\n\r\n"
        self._lines = b"".join((lines, told, self._left_now() if self._left is None else self._left, ids))

    def _left_now(self) -> bytes:
        return self._pipeline.left_of(self._route)

    def _beat(self) -> None:
        """Send a keep-alive comment unless something has arrived since the last beat."""
        self._pulse = self._pipeline.later(self._beat)
        if not self._felt:
            alive = self._head.front.alive
            self._say(CHUNK % (len(alive), alive))
        self._felt = False

    # ---- the end -----------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        if self._pulse is not None:
            self._pulse.cancel()
            self._pulse = None

    def _settle(self, error: BaseException | None) -> None:
        assert self._source is not None
        assert self._hidden is not None
        self._over = True
        self._stop()
        self._hidden.usage = usage = self._source.usage
        self._pipeline.fast_path.over(self._attempt, Told(usage, self._source.count, self._hidden), error)
        ended = self._pipeline.fast_path.now()
        self._pipeline.count(Observed(self._attempt.call, self._began, self._first, ended, None, self._hidden, usage, error))

    def _end(self, piece: bytes) -> None:
        """Record the call, then send its last piece and the end of the stream in one write."""
        if piece:
            self._open()  # the head states the limits as they were when the stream began
        self._settle(None)
        if self._unsaid:
            piece = b"".join(self._unsaid)
        self._record_end(Outcome.ANSWERED)
        if access.isEnabledFor(logging.INFO):
            self._log(200)
        self._say(CHUNK % (len(piece), piece) + LAST if piece else LAST)
        self._caller.answered()

    def _cut(self, failure: HeadraceError) -> None:
        """The stream broke: before any content was sent it may be retried on another deployment."""
        begun = self._begun
        assert begun is not None
        begun.leave()
        if self._unsaid is not None:
            self._over = True
            self._stop()
            self._failed(failure)
            return
        self._settle(failure)
        written = self._head.front.error(failure.failure)
        told = {} if self._recorded else {"error": failure.failure.kind.value}
        self._record_end(Outcome.FAILED, status=written.status, **told)
        broken = self._head.front.broken(failure.failure)
        if access.isEnabledFor(logging.INFO):
            self._log(200)
        self._say(CHUNK % (len(broken), broken) + LAST)
        self._caller.answered()

    def left(self) -> None:
        """The client has disconnected."""
        begun = self._begun
        if self._over:
            return
        self._stop()
        if self._first is None or begun is None:
            self._over = True
            super().left()
            return
        begun.leave()
        self._settle(GeneratorExit())
        self._record_end(Outcome.LEFT, status=499)

    def _record_end(self, outcome: Outcome, **more: Any) -> None:
        if self._recorded:
            return
        self._recorded = True
        assert self._hidden is not None
        first = None if self._first is None else self._came + (self._first - self._began)
        record = self._record(outcome, first=first, **{**of_answer(self._hidden), **more})
        self._pipeline.remember(Seen(record, self._attempt.record))

    def hold(self) -> None:
        """The write buffer to the client is full: pause reading from the provider."""
        if self._begun is not None:
            self._begun.hold()

    def go_on(self) -> None:
        if self._begun is not None:
            self._begun.go_on()


class Told(Struct, frozen=True, eq=False):
    """What is known about a stream at its end."""

    usage: dict[str, Any] | None
    count: int
    hidden: Beside


CHUNK: Final = b"%x\r\n%b\r\n"
LAST: Final = b"0\r\n\r\n"

MOST_OF_AN_ERROR: Final = 1 << 20
"""Bytes of an error response that are read."""

_deltas: Final = msgspec.json.Decoder(dict[str, Any]).decode


def says(piece: bytes) -> bool:
    """Whether complete events have content: more than the role of the message."""
    for block in piece.replace(b"\r\n", b"\n").split(b"\n\n"):
        data = block.removeprefix(b"data: ")
        if data is block or not data.startswith(b"{"):
            if data.strip() and not data.startswith(b":"):
                return True
            continue
        for choice in _deltas(data).get("choices") or ():
            delta = choice.get("delta") or {}
            if choice.get("finish_reason") or any(value for name, value in delta.items() if name != "role"):
                return True
    return False

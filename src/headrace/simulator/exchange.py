"""A planned reply: what is sent, when, and how it ends. Executed by servers and virtual transports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal

Ending = Literal["proper", "hang", "reset", "close"]
"""After the last byte: the regular end of the body, silence, a TCP reset, or closing the connection."""

Piece = tuple[float, bytes, int]
"""Seconds since the previous piece, bytes, and output tokens generated with them."""

NEVER: Final = float("inf")


class Exchange:
    """A reply to one request.

    After `delay` seconds the status line and headers are sent unless `headless`, then `body`, or `pieces` one after
    another, then `ending`. Whoever executes it reports `produced` for each piece and then exactly one of `done` and
    `left`.
    """

    __slots__ = ("_on_end", "_on_tokens", "body", "delay", "ending", "headers", "headless", "length", "pieces", "status", "tokens")

    def __init__(
        self,
        status: int,
        headers: list[tuple[str, str]],
        *,
        body: bytes = b"",
        pieces: Iterator[Piece] | None = None,
        delay: float = 0.0,
        length: int | None = None,
        ending: Ending = "proper",
        headless: bool = False,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.pieces = pieces
        self.delay = delay
        self.length = length if length is not None or pieces is not None else len(body)
        """The announced Content-Length; None for a chunked body."""
        self.ending: Ending = ending
        self.headless = headless
        self.tokens = 0
        """Output tokens of `body`, generated during `delay`."""
        self._on_tokens: Callable[[float, int], None] | None = None
        self._on_end: Callable[[float, bool], None] | None = None

    def watched(self, on_tokens: Callable[[float, int], None], on_end: Callable[[float, bool], None]) -> Exchange:
        """Set the callbacks for tokens and the end; `on_end` receives whether the caller left early."""
        self._on_tokens, self._on_end = on_tokens, on_end
        return self

    def produced(self, now: float, tokens: int) -> None:
        if self._on_tokens is not None:
            self._on_tokens(now, tokens)

    def done(self, now: float) -> None:
        """The reply was executed to its ending. `done` and `left` are idempotent together."""
        self._end(now, False)

    def left(self, now: float) -> None:
        """The caller hung up before the ending."""
        self._end(now, True)

    def _end(self, now: float, left: bool) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(now, left)

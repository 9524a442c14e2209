"""An in-process store, for virtual time and for tests in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from headrace.limits.books import Books, Since, several
from headrace.limits.store import Message, Then, micros
from headrace.ports import Clock


class MemoryServer:
    """The shared accounting in virtual time. away: while True no message is answered."""

    def __init__(self) -> None:
        self.away = False
        self.since = Since()
        self.books: dict[str, Books] = {}

    def forget(self) -> None:
        """Restart empty."""
        self.since.at = None
        self.books.clear()

    def answer(self, messages: Sequence[Message], now: float) -> Sequence[list[str] | None]:
        """The replies to one call of the script."""
        if self.away:
            return [None] * len(messages)
        return several(messages, float(micros(now)), lambda account: self.books.setdefault(account, Books(self.since)))


class MemoryStore:
    """One process's connection to the server.

    at: schedules a function in virtual time. trip: round trip time in seconds.
    """

    def __init__(
        self,
        server: MemoryServer,
        clock: Clock,
        at: Callable[[float, Callable[[], None]], object],
        *,
        process: str = "virtual",
        trip: float = 0.0,
    ) -> None:
        self.process = process
        self.asked = self.calls = 0
        """Claims so far, and calls of the script."""
        self._server, self._clock, self._at, self._trip = server, clock, at, trip
        self._kept: list[tuple[Message, Then | None]] = []
        self._due = math.inf

    def post(self, message: Message, then: Then | None = None) -> None:
        self.post_all([(message, then)])

    def post_all(self, questions: Sequence[tuple[Message, Then | None]]) -> None:
        self._kept += questions
        self.asked += sum([message.operation in ("admit", "also") for message, _ in questions])
        due = self._clock.now() + min([message.patience for message, _ in questions])
        if due < self._due:
            self._due = due
            self._at(due, self._send)

    def _send(self) -> None:
        """Send all pending messages in one call, unless they were sent already."""
        now = self._clock.now()
        if self._due <= now:
            kept, self._kept, self._due = self._kept, [], math.inf
            self._at(now + self._trip / 2, lambda: self._arrive(kept))

    def _arrive(self, kept: Sequence[tuple[Message, Then | None]]) -> None:
        now = self._clock.now()
        self.calls += not self._server.away
        replies = self._server.answer([message for message, _ in kept], now)
        thens = [(then, reply) for (_, then), reply in zip(kept, replies, strict=True) if then is not None]

        def back() -> None:
            for then, reply in thens:
                then(reply, self._clock.now())

        self._at(now + self._trip / 2, back)

    def attach(self, beat: Callable[[float], None]) -> None:
        """Does nothing: the owner of the virtual time calls it."""

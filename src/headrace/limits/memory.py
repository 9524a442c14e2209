"""A store within one process: for virtual time, and for what is tested in it."""

from __future__ import annotations

import math
from collections.abc import Callable

from headrace.limits.books import Books
from headrace.limits.store import Answer, Claim, Message, StoreLost, Then, micros, read_answer
from headrace.ports import Clock


class MemoryServer:
    """What keeps the books that processes share, in virtual time. away: while True nothing is answered."""

    def __init__(self) -> None:
        self.away = False
        self.books: dict[str, Books] = {}

    def answer(self, message: Message, now: float) -> list[str] | None:
        if self.away:
            return None
        return self.books.setdefault(message.account, Books()).call(message.operation, float(micros(now)), message.arguments)


class MemoryStore:
    """A process's way to such a server.

    at: does something at a moment of the virtual time. trip: seconds that a question takes; timeout: those after which nobody waits for an
    answer.
    """

    def __init__(
        self,
        server: MemoryServer,
        clock: Clock,
        at: Callable[[float, Callable[[], None]], object],
        *,
        process: str = "virtual",
        trip: float = 0.0,
        timeout: float = 0.1,
    ) -> None:
        self.process = process
        self.asked = self.calls = 0
        """Questions for room so far, and calls of the script."""
        self._server, self._clock, self._at = server, clock, at
        self._trip, self._timeout = trip, timeout
        self._kept: list[tuple[Message, Then | None]] = []
        self._due = math.inf

    async def admit(self, claim: Claim, clock: Clock) -> Answer:
        self.asked += 1
        replies: list[list[str] | None] = []
        waiter = clock.waiter()

        def answered(reply: list[str] | None, _: float) -> None:
            replies.append(reply)
            waiter.wake()

        await clock.sleep(self._trip / 2)
        self.post(claim.message(), answered)
        await waiter.wait(None)
        if replies[0] is None:
            await clock.sleep(self._timeout)
            raise StoreLost("the store is away")
        await clock.sleep(self._trip / 2)
        return read_answer(replies[0])

    def post(self, message: Message, then: Then | None = None) -> None:
        self._kept.append((message, then))
        due = self._clock.now() + message.patience
        if due < self._due:
            self._due = due
            self._at(due, self._send)

    def _send(self) -> None:
        """All that is kept, in one call, if it did not go before."""
        now = self._clock.now()
        if self._due > now:
            return
        kept, self._kept, self._due = self._kept, [], math.inf
        self.calls += not self._server.away
        for message, then in kept:
            reply = self._server.answer(message, now)
            if then is not None:
                then(reply, now)

    def attach(self, beat: Callable[[float], None]) -> None:
        """Whoever owns the virtual time calls it."""

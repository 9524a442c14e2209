"""Asks the store whether all quotas that a call uses have room, in one round trip.

The caller may be gone when the reply comes, cancelled or timed out. What was charged for it is then given back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from msgspec import Struct

from headrace.limits.account import Taken
from headrace.limits.ask import Ask
from headrace.limits.meter import Hold
from headrace.limits.quota import LEASE, LONG_LEASE, Held, Quota, terms_of
from headrace.limits.store import Answer, Claim, Store, StoreLost, Term, read_answer
from headrace.ports import Clock, Waiter

HORIZON: Final = 0.6
"""Seconds ahead for which the store may grant room."""
PATIENCE: Final = 5.0
"""Seconds until an unanswered question fails, on a machine too busy to run the store's thread."""


class Question(Struct, eq=False):
    """What a call asks of the shared accounting of one quota."""

    quota: Quota
    taken: Taken
    terms: tuple[tuple[Hold, Term], ...]
    claim: Claim
    asked_at: float

    def held(self, answer: Answer) -> Held:
        """What the call holds there once the answer grants it."""
        return Held(self.quota, self.claim.id, answer.at, self.asked_at + answer.start, self.taken, self.terms)


def question(process: str, id: str, quota: Quota, taken: Taken, ask: Ask, now: float, *, more: bool) -> Question:
    """The question for one quota. more: whether other calls wait in the queue behind this one."""
    terms = tuple(terms_of(quota, taken, ask, now))
    lease = LEASE if any(term.window == 0 for _, term in terms) else LONG_LEASE
    left = math.inf if ask.deadline is None else ask.deadline - now
    more = more or bool(quota.turns)
    claim = Claim(
        quota.tag, id, tuple([term for _, term in terms]), lease,
        horizon=max(0.0, min(HORIZON, left)), turn=quota.turn, fresh=quota.fresh, more=more,
        waits=more or left > 0, process=process, holds=quota.places(), told=bool(quota.scaled),
    )  # fmt: skip
    return Question(quota, taken, terms, claim, now)


async def answers_to(store: Store, claims: Sequence[Claim], clock: Clock, unwanted: Callable[[int, Answer], None]) -> list[Answer | None]:
    """The store's answers to the claims of one call.

    None for a claim that follows a refused one, which is not evaluated.

    unwanted: called, from any thread, with each claim's index and answer that was granted after the caller had gone.
    Raises StoreLost.
    """
    wait = _Wait(len(claims), clock.waiter(), unwanted)
    store.post_all([(claim.message(also=at > 0), partial(wait.answered, at)) for at, claim in enumerate(claims)])
    return await wait.answers(clock, f"{store!r} does not answer")


class _Wait:
    """A pending question, until it is answered or its caller leaves."""

    def __init__(self, count: int, waiter: Waiter, unwanted: Callable[[int, Answer], None]) -> None:
        self._waiter = waiter
        self._unwanted = unwanted
        self._replies: dict[int, list[str] | None] = {}
        self._count = count
        self._asker = [waiter]
        """Empty once the question is answered or its caller gone. Whichever thread pops the waiter was first."""

    def answered(self, at: int, reply: list[str] | None, _: float) -> None:
        self._replies[at] = reply
        if len(self._replies) == self._count:
            if self._took():
                self._waiter.wake()
            else:
                self._give_back()

    async def answers(self, clock: Clock, silence: str) -> list[Answer | None]:
        end = clock.now() + PATIENCE
        try:
            while self._asker and clock.now() < end:
                await self._waiter.wait(max(0.0, end - clock.now()))
        except BaseException:
            if not self._took():
                self._give_back()
            raise
        if self._took():
            raise StoreLost(silence)
        if None in self._replies.values():
            self._give_back()
            raise StoreLost(silence)
        return [_read(self._replies[at]) for at in range(self._count)]

    def _took(self) -> bool:
        """Whether this is the first to end the question."""
        try:
            self._asker.pop()
        except IndexError:
            return False
        return True

    def _give_back(self) -> None:
        for at, reply in self._replies.items():
            answer = _read(reply)
            if answer is not None and answer.granted:
                self._unwanted(at, answer)


def _read(reply: list[str] | None) -> Answer | None:
    return read_answer(reply) if reply and reply[0] else None

"""A second attempt beside one that takes unusually long: whichever answers first is taken, the other is given up and settled."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Final, TypeAlias

from msgspec import Struct

from headrace.ports import Ports, Waiter

USUAL: Final = 0.95
"""The share of attempts that are back before another one is begun beside them."""
ENOUGH: Final = 20
"""Attempts that must have been seen before anybody knows what is usual."""
REMEMBERED: Final = 200
AT_ONCE: Final = 10.0
"""Attempts that may be saved up."""


class Usual:
    """How long attempts take: the latest of them, and the time within which `USUAL` of them were back."""

    __slots__ = ("_known", "_latest", "_unsorted")

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=REMEMBERED)
        self._known: float | None = None
        self._unsorted = 0

    def observe(self, seconds: float) -> None:
        self._latest.append(seconds)
        self._unsorted += 1

    @property
    def longest(self) -> float | None:
        """Seconds; None before enough were seen. Reckoned anew after every tenth."""
        if len(self._latest) < ENOUGH:
            return None
        if self._known is None or self._unsorted >= 10:
            ordered = sorted(self._latest)
            self._known, self._unsorted = ordered[min(len(ordered) - 1, int(USUAL * len(ordered)))], 0
        return self._known


class _Racer(Struct, eq=False):
    """One attempt in a race."""

    cancel: Callable[[], object] = lambda: None
    over: bool = False
    given_up: bool = False
    failed: bool = False
    answer: Any = None
    error: BaseException | None = None

    def take(self) -> BaseException:
        """What it failed with, to be raised."""
        error, self.error = self.error, None
        assert error is not None
        return error


Attempting: TypeAlias = Coroutine[Any, Any, Any]
"""An attempt: it settles itself however it ends, once it has begun."""


class _Race:
    """Attempts under way beside one another, and the one who waits for the first good answer."""

    def __init__(self, ports: Ports, discard: Callable[[Any], object]) -> None:
        self._ports = ports
        self._discard = discard
        self._waiter: Waiter = ports.clock.waiter()
        self._racers: list[_Racer] = []

    async def start(self, attempt: Attempting) -> None:
        """Begin an attempt. It has really begun when this returns: one that is cancelled before would never settle."""
        assert self._ports.spawn is not None
        racer = _Racer()
        self._racers.append(racer)
        racer.cancel = self._ports.spawn(self._run(racer, attempt))
        await self._ports.clock.sleep(0)

    async def _run(self, racer: _Racer, attempt: Attempting) -> None:
        try:
            racer.answer = await attempt
        except BaseException as error:
            racer.failed, racer.error = True, None if racer.given_up else error
            if not isinstance(error, Exception):
                raise
        finally:
            racer.over = True
            self._clear(racer)
            self._waiter.wake()

    async def first(self, timeout: float | None = None) -> _Racer | None:
        """Whoever answered, else whoever began first once all have failed; None after `timeout` seconds."""
        while not (found := self._found()):
            if not await self._waiter.wait(timeout) and timeout is not None:
                return self._found()
        return found

    def _found(self) -> _Racer | None:
        answered = next((racer for racer in self._racers if racer.over and not racer.failed), None)
        return answered or (self._racers[0] if all(racer.over for racer in self._racers) else None)

    def end(self, winner: _Racer | None) -> None:
        """Give all others up."""
        for racer in self._racers:
            if racer is not winner:
                racer.given_up, racer.error = True, None
                racer.cancel()
                self._clear(racer)

    def _clear(self, racer: _Racer) -> None:
        """Throw away an answer that came in just as it was given up: whichever of the two threads is later does it."""
        if racer.given_up and racer.over and racer.answer is not None:
            self._discard(racer.answer)


class Hedging:
    """What is usual by group and kind of call, and the budget of second attempts: at most `share` of all calls, saved up to a few."""

    def __init__(self, share: float) -> None:
        self.share = share
        self._left = 0.0
        self._lock = threading.Lock()
        self._usual: dict[Hashable, Usual] = {}

    def called(self) -> None:
        """One more call pays its share."""
        with self._lock:
            self._left = min(AT_ONCE, self._left + self.share)

    def _take(self) -> bool:
        """Whether one more second attempt is in the budget; then it is taken."""
        with self._lock:
            enough = self._left >= 1.0
            self._left -= enough
        return enough

    def _give_back(self) -> None:
        with self._lock:
            self._left += 1.0

    async def run(
        self,
        ports: Ports,
        key: Hashable,
        attempt: Attempting,
        another: Callable[[], Awaitable[Attempting | None]],
        discard: Callable[[Any], object],
    ) -> Any:
        """The answer of `attempt`, or of one more that is begun when it takes longer than is usual for `key`.

        another: a second attempt, once there is room for it; None where there is none. discard: gives up an answer that nobody takes.
        Raises what `attempt` raised when none answers.
        """
        usual = self._usual.setdefault(key, Usual())
        began, longest = ports.clock.now(), usual.longest
        if longest is None or ports.spawn is None:
            answer = await attempt
        else:
            answer = await self._raced(_Race(ports, discard), attempt, another, longest)
        usual.observe(ports.clock.now() - began)
        return answer

    async def _raced(self, race: _Race, attempt: Attempting, another: Callable[[], Awaitable[Attempting | None]], longest: float) -> Any:
        winner = None
        try:
            await race.start(attempt)
            winner = await race.first(longest)
            if winner is None:
                await self._beside(race, another)
                winner = await race.first()
        finally:
            race.end(winner)
        assert winner is not None
        if winner.failed:
            raise winner.take()
        return winner.answer

    async def _beside(self, race: _Race, another: Callable[[], Awaitable[Attempting | None]]) -> None:
        """One more attempt, if it is in the budget and there is room for it."""
        if not self._take():
            return
        second = await another()
        if second is None:
            self._give_back()
        else:
            await race.start(second)

    def __repr__(self) -> str:
        return f"<Hedging {self.share:g} of calls, {self._left:.1f} left>"

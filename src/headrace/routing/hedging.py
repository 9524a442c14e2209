"""Hedging: a second attempt concurrent with one that takes unusually long.

The first response wins; the other attempt is cancelled and settled.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Final, TypeAlias

from msgspec import Struct

from headrace.ports import Ports, Waiter

USUAL: Final = 0.95
"""The quantile of durations after which a second attempt is started."""
ENOUGH: Final = 20
"""Attempts observed before the quantile is meaningful."""
REMEMBERED: Final = 200
AT_ONCE: Final = 10.0
"""Most second attempts that may be saved up."""


class Usual:
    """Durations of the latest attempts, and their `USUAL` quantile."""

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
        """Seconds; None until enough attempts were observed. Recomputed after every tenth."""
        if len(self._latest) < ENOUGH:
            return None
        if self._known is None or self._unsorted >= 10:
            ordered = sorted(self._latest)
            self._known, self._unsorted = ordered[min(len(ordered) - 1, int(USUAL * len(ordered)))], 0
        return self._known


class _Racer(Struct, eq=False):
    """One attempt of a race."""

    cancel: Callable[[], object] = lambda: None
    over: bool = False
    given_up: bool = False
    failed: bool = False
    answer: Any = None
    error: BaseException | None = None

    def take(self) -> BaseException:
        """The attempt's error, to be raised."""
        error, self.error = self.error, None
        assert error is not None
        return error


Attempting: TypeAlias = Coroutine[Any, Any, Any]
"""An attempt. Once started, it settles itself however it ends."""


class _Race:
    """Concurrent attempts, and the caller that waits for the first good response."""

    def __init__(self, ports: Ports, discard: Callable[[Any], object]) -> None:
        self._ports = ports
        self._discard = discard
        self._waiter: Waiter = ports.clock.waiter()
        self._racers: list[_Racer] = []

    async def start(self, attempt: Attempting) -> None:
        """Start an attempt, and return once it has run to its first suspension.

        A task cancelled before that would never settle.
        """
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
        """The first attempt that succeeded, or the first started once all have failed; None after `timeout` seconds."""
        while not (found := self._found()):
            if not await self._waiter.wait(timeout) and timeout is not None:
                return self._found()
        return found

    def _found(self) -> _Racer | None:
        answered = next((racer for racer in self._racers if racer.over and not racer.failed), None)
        return answered or (self._racers[0] if all(racer.over for racer in self._racers) else None)

    def end(self, winner: _Racer | None) -> None:
        """Cancel all others."""
        for racer in self._racers:
            if racer is not winner:
                racer.given_up, racer.error = True, None
                racer.cancel()
                self._clear(racer)

    def _clear(self, racer: _Racer) -> None:
        """Discard a response that arrived while its attempt was being cancelled.

        Whichever of the two threads is later does it.
        """
        if racer.given_up and racer.over and racer.answer is not None:
            self._discard(racer.answer)


class Hedging:
    """Usual durations by group and kind of call, and the budget of second attempts.

    These are at most `share` of all calls, with a small burst.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._left = 0.0
        self._lock = threading.Lock()
        self._usual: dict[Hashable, Usual] = {}

    def called(self) -> None:
        """Add the share of one more call to the budget."""
        with self._lock:
            self._left = min(AT_ONCE, self._left + self.share)

    def _take(self) -> bool:
        """Take one second attempt from the budget; False if it has none."""
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
        """The response of `attempt`, or of a second one started when the first takes longer than usual for `key`.

        another: a second attempt once it has its reservation; None if there is no room. discard: releases a response
        that is not used. Raises what `attempt` raised if neither succeeds.
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
        """Start one more attempt, if the budget and the limits have room for it."""
        if not self._take():
            return
        second = await another()
        if second is None:
            self._give_back()
        else:
            await race.start(second)

    def __repr__(self) -> str:
        return f"<Hedging {self.share:g} of calls, {self._left:.1f} left>"

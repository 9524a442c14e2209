"""Request coalescing: concurrent identical calls share one.

A caller that leaves does not affect the others; when all have left, the call is cancelled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from headrace.calls import Call
from headrace.errors import BadRequestError, again
from headrace.layers.around import Handler, in_objects
from headrace.layers.keys import call_key, digest
from headrace.models.prices import Beside
from headrace.ports import Ports, Waiter


class _Flight(Struct, eq=False):
    """One call in flight, and the callers that wait for it."""

    key: str
    waiting: list[Waiter] = []
    over: bool = False
    answer: Any = None
    """None without an error: the call was abandoned, and a caller that still wants a response starts another."""
    error: Exception | None = None
    cancel: Callable[[], object] | None = None


class SingleFlight:
    """Calls in flight, by their content. For any number of threads and event loops.

    Callers on event loops share with each other, and callers in threads with each other: a thread that waited for its
    own loop would wait forever. Streams are not shared.
    """

    def __init__(self) -> None:
        self._flights: dict[str, _Flight] = {}
        self._lock = threading.Lock()

    async def answer(self, handler: Handler, known_as: Callable[[Call], str], ports: Ports, call: Call) -> Any:
        """The response of an identical call in flight, else the handler's."""
        key = None if call.stream else _key(call, known_as(call), ports)
        if key is None:
            return await handler(ports, call)
        while True:
            flight, leads = await self._fly_along(key, handler, ports, in_objects(call))
            if flight.error is not None:
                raise flight.error if leads else again(flight.error)
            if flight.answer is not None:
                return flight.answer if leads else _shared(flight.answer)

    async def _fly_along(self, key: str, handler: Handler, ports: Ports, call: Call) -> tuple[_Flight, bool]:
        """The completed flight, and whether this caller started it."""
        waiter = ports.clock.waiter()
        with self._lock:
            flight = self._flights.get(key)
            leads = flight is None
            if flight is None:
                flight = self._flights[key] = _Flight(key)
            flight.waiting.append(waiter)
        try:
            if leads:
                await self._start(flight, handler, ports, call)
            while not flight.over:
                await waiter.wait(None)
        finally:
            self._leave(flight, waiter)
        return flight, leads

    async def _start(self, flight: _Flight, handler: Handler, ports: Ports, call: Call) -> None:
        """Start the call: on an event loop in a task of its own, which outlives its caller; otherwise in this thread."""
        flown = self._fly(flight, handler, ports, call)
        if ports.blocking or ports.spawn is None:
            await flown
        else:
            flight.cancel = ports.spawn(flown)

    async def _fly(self, flight: _Flight, handler: Handler, ports: Ports, call: Call) -> None:
        try:
            flight.answer = await handler(ports, call)
        except Exception as error:
            flight.error = again(error)
        finally:
            self._end(flight)

    def _end(self, flight: _Flight) -> None:
        with self._lock:
            flight.over = True
            self._forget(flight)
            waiting = list(flight.waiting)
        for waiter in waiting:
            waiter.wake()

    def _leave(self, flight: _Flight, waiter: Waiter) -> None:
        with self._lock:
            flight.waiting.remove(waiter)
            abandoned = not flight.waiting and not flight.over
            if abandoned:
                self._forget(flight)
        if abandoned and flight.cancel is not None:
            flight.cancel()

    def _forget(self, flight: _Flight) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def __repr__(self) -> str:
        return f"<SingleFlight {len(self._flights)} under way>"


def _key(call: Call, name: str, ports: Ports) -> str | None:
    """The key of a call; None if it is shared with no other.

    It contains everything that affects a response, and every other option of the call: its tenant, time limit and
    scopes. It never leaves the process.
    """
    same = call_key(call, name)
    if same is None:
        return None
    options = {option: value for option, value in call.control.items() if option not in ("metadata", "cache", "caching")}
    try:
        return digest([ports.blocking, same, options])
    except BadRequestError:  # an option that is an object cannot be compared
        return None


def _shared(answer: Any) -> Any:
    """A deep copy with a cost of 0: the caller that started the call has paid."""
    copied = answer.model_copy(deep=True)
    hidden = answer._hidden_params
    copied._hidden_params = beside = Beside({**hidden, "response_cost": 0.0, "single_flight": True})
    beside.usage, beside.tier, beside.rates = hidden.usage, hidden.tier, hidden.rates
    return copied

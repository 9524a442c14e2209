"""A scheduler in virtual time: tasks run one after another, and the clock jumps to the next event.

A day of traffic takes seconds, and runs are deterministic.
"""

from __future__ import annotations

import math
import random
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from heapq import heappop, heappush
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from headrace.ports import Ports, Transport

T = TypeVar("T")

STANDSTILL = 1_000_000
"""Steps without progress of time after which the world counts as stuck."""


NUMBERS: Final = (int, float)


class Cancelled(BaseException):
    """Thrown into a cancelled task and raised to whoever awaits it. Not an Exception, so that no handler takes it for a failure."""


class Stuck(RuntimeError):
    """Nothing is left that could run, or time no longer advances."""


@types.coroutine
def _pause(seconds: float | None) -> Generator[float | None, bool, bool]:
    """Suspend the running task for `seconds`, or until resumed if None. Returns the value it was resumed with."""
    return (yield seconds)


class Task(Generic[T]):
    """One running coroutine. Awaiting it returns its result or raises its exception."""

    __slots__ = (
        "_cancelling", "_coroutine", "_error", "_joiners", "_parked", "_result", "_ticket", "_value", "_world", "done", "name",
    )  # fmt: skip

    def __init__(self, world: World, coroutine: Coroutine[Any, Any, T], name: str) -> None:
        self._world = world
        self._coroutine = coroutine
        self.name = name
        self.done = False
        self._parked = False
        self._cancelling = False
        self._ticket = 0
        self._value: bool | None = None
        self._result: T | None = None
        self._error: BaseException | None = None
        self._joiners: list[Task[Any]] = []

    def cancel(self) -> bool:
        """Throw Cancelled into the coroutine where it waits. False if it had already ended."""
        if self.done:
            return False
        self._cancelling = True
        self._world._resume(self, None)
        return True

    def exception(self) -> BaseException | None:
        """The exception that ended the task; None if it returned. Raises Stuck while it runs."""
        if not self.done:
            raise Stuck(f"{self!r} has not ended")
        self._world._failed.pop(self, None)
        return self._error

    @property
    def result(self) -> T:
        """The coroutine's result. Raises its exception, and Stuck while it runs."""
        error = self.exception()
        if error is not None:
            raise error
        return self._result  # type: ignore[return-value]

    @property
    def cancelled(self) -> bool:
        return isinstance(self._error, Cancelled)

    def __await__(self) -> Generator[float | None, Any, T]:
        while not self.done:
            self._joiners.append(self._world._running())
            yield None
        return self.result

    def __repr__(self) -> str:
        state = "waiting" if not self.done else "done" if self._error is None else f"ended by {type(self._error).__name__}"
        return f"<Task {self.name} {state}>"


class VirtualWaiter:
    """A wake-up signal in a `World`."""

    __slots__ = ("_task", "_woken", "_world")

    def __init__(self, world: World) -> None:
        self._world = world
        self._task: Task[Any] | None = None
        self._woken = False

    async def wait(self, timeout: float | None) -> bool:
        if not self._woken:
            self._task = self._world._running()
            try:
                if await _pause(timeout):
                    return True
            finally:
                self._task = None
        woken, self._woken = self._woken, False
        return woken

    def wake(self) -> None:
        if self._task is None or not self._task._parked:
            self._woken = True
        else:
            self._world._resume(self._task, True)


class World:
    """Tasks, timers and the clock they share: a `ports.Clock`."""

    def __init__(self, *, start: float = 0.0, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self._now = start
        self._sequence = 0
        self._steps = 0
        self._current: Task[Any] | None = None
        self._ready: deque[Task[Any]] = deque()
        self._timers: list[tuple[float, int, Task[Any] | None, Any]] = []
        self._alive: dict[Task[Any], None] = {}
        self._failed: dict[Task[Any], None] = {}

    def ports(self, transport: Transport) -> Ports:
        return Ports(transport, self, self.random.random, spawn=lambda coroutine: self.spawn(coroutine).cancel)

    # The clock

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        await _pause(seconds)

    def waiter(self) -> VirtualWaiter:
        return VirtualWaiter(self)

    def jump(self, seconds: float) -> None:
        """Advance the clock at once, as when a machine wakes from sleep: everything due meanwhile happens now, in order."""
        if seconds < 0:
            raise ValueError(f"jump({seconds}): a clock never goes back")
        self._now += seconds

    # Scheduling

    def spawn(self, coroutine: Coroutine[Any, Any, T], name: str = "") -> Task[T]:
        """Start a coroutine; `run` takes its first step. An exception that nobody collects from the task ends `run`."""
        task = Task(self, coroutine, name or getattr(coroutine, "__qualname__", "task"))
        self._alive[task] = None
        self._ready.append(task)
        return task

    def at(self, when: float, action: Callable[[], object]) -> None:
        """Call `action` at `when`, or now if that is past."""
        self._sequence += 1
        heappush(self._timers, (when + 0.0, self._sequence, None, action))

    def run(self, until: float | None = None) -> None:
        """Run everything due up to and including `until`, or until nothing is left.

        When done, raises the first exception of a task that nobody awaited or collected.
        """
        end = math.inf if until is None else until
        ready = self._ready
        while ready or self._fire(end):
            while ready:
                self._step(ready.popleft())
        if until is not None:
            self._now = max(self._now, float(until))
        self._surface()

    def complete(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run until `coroutine` has ended and return its result; other tasks stay where they are."""
        task = self.spawn(coroutine)
        while not task.done:
            if self._ready:
                self._step(self._ready.popleft())
            elif not self._fire(math.inf):
                raise Stuck(f"nothing is scheduled, but these tasks wait: {list(self._alive)}")
        return task.result

    def close(self) -> None:
        """Cancel every task and let each clean up. Raises Stuck if one does not end."""
        for _ in range(100):
            for task in list(self._alive):
                task.cancel()
            while self._ready:
                self._step(self._ready.popleft())
            if not self._alive:
                return
        raise Stuck(f"these tasks do not end when cancelled: {list(self._alive)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # The kernel

    def _fire(self, end: float) -> bool:
        """Fire the next timers up to `end` until a task is ready. False if none fired."""
        timers, ready, fired = self._timers, self._ready, False
        while not ready and timers and timers[0][0] <= end:
            when, _, task, what = heappop(timers)
            if task is not None and not (task._parked and task._ticket == what):
                continue
            if when > self._now:
                self._now = when
                self._steps = 0
            fired = True
            if task is None:
                what()
            else:
                self._resume(task, False)
        return fired

    def _step(self, task: Task[Any]) -> None:
        self._steps += 1
        if self._steps > STANDSTILL:
            self._ready.appendleft(task)
            self._steps = 0
            raise Stuck(f"{STANDSTILL} steps at {self._now} s, and time does not move; the last was taken by {task!r}")
        self._current = task
        try:
            if task._cancelling:
                task._cancelling = False
                pause = task._coroutine.throw(Cancelled())
            else:
                pause = task._coroutine.send(task._value)
            self._park(task, pause)
        except StopIteration as stop:
            self._finish(task, stop.value, None)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._finish(task, None, error)
        finally:
            self._current = None

    def _park(self, task: Task[Any], pause: float | None) -> None:
        task._parked = True
        task._ticket += 1
        if task._cancelling:
            self._resume(task, None)
        elif pause is not None:
            if not isinstance(pause, NUMBERS):
                raise Stuck(f"{task!r} awaited something other than a virtual port: {pause!r}")
            if pause <= 0:
                self._resume(task, False)
            elif pause < math.inf:
                self._sequence += 1
                heappush(self._timers, (self._now + pause, self._sequence, task, task._ticket))

    def _resume(self, task: Task[Any], value: bool | None) -> None:
        if task._parked:
            task._parked = False
            task._value = value
            self._ready.append(task)

    def _finish(self, task: Task[Any], result: object, error: BaseException | None) -> None:
        task.done = True
        task._parked = False
        task._result, task._error = result, error
        del self._alive[task]
        for joiner in task._joiners:
            self._resume(joiner, None)
        if error is not None and not isinstance(error, Cancelled):
            self._failed[task] = None

    def _running(self) -> Task[Any]:
        if self._current is None:
            raise Stuck("this can only be awaited inside a task of a running world")
        return self._current

    def _surface(self) -> None:
        for task in list(self._failed):
            error = task.exception()
            if error is not None:
                raise error

"""Long-running work in steps, so that it does not block the event loop."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

if TYPE_CHECKING:
    from headrace.ports import Clock

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]
"""A generator that yields after each step and returns the result."""

SLICE: Final = 0.002
"""Seconds of work between yields to the event loop; a longer step is not interrupted."""


def at_once(steps: Steps[T]) -> T:
    """Run all steps without pausing."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            made: T = done.value
            return made


async def in_slices(clock: Clock, steps: Steps[T]) -> T:
    """Run all steps, yielding to the event loop between slices. Cancellation closes the generator."""
    until = clock.now() + SLICE
    try:
        while True:
            try:
                next(steps)
            except StopIteration as done:
                made: T = done.value
                return made
            if clock.now() >= until:
                await clock.sleep(0)
                until = clock.now() + SLICE
    finally:
        steps.close()

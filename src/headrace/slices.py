"""Work that takes long, in steps between which others come on."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

if TYPE_CHECKING:
    from headrace.ports import Clock

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]
"""Work that yields after each step and returns what it made."""

SLICE: Final = 0.002
"""Seconds of work at a time; a step that is longer is not cut."""


def at_once(steps: Steps[T]) -> T:
    """All steps without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            made: T = done.value
            return made


async def in_slices(clock: Clock, steps: Steps[T]) -> T:
    """All steps, and whoever else waits for the event loop in between. Who is cancelled ends the steps as well."""
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

"""Drives the async core from a thread without an event loop, or one whose loop must not be used (Jupyter).

Blocking ports never suspend, so a coroutine that awaits only them runs to completion in one `send`.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def complete(coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result. Raises RuntimeError if it awaited anything but a blocking port."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} suspended in a blocking call: it awaited something other than a blocking port")

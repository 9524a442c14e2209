"""A lock for short computations; callers that must not block can leave work to its holder."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class Lock:
    """Held briefly, to read or change shared state."""

    __slots__ = ("before", "held", "left")

    def __init__(self) -> None:
        self.held = threading.Lock()
        """The underlying lock, for callers that skip `before`; after releasing it they must call `work_off` if `left`
        is not empty."""
        self.before: Callable[[], None] | None = None
        """Called first by everyone who takes the lock."""
        self.left: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        """Work left to the holder."""

    def __enter__(self) -> None:
        self.held.acquire()
        if self.before is not None:
            self.before()

    def __exit__(self, *_: object) -> None:
        self.held.release()
        if self.left:
            self.work_off()

    def post(self, action: Callable[..., None], *arguments: Any) -> None:
        """Run `action` under the lock without ever blocking, because garbage collection may call this from inside a locked section.

        If the lock is held, its holder runs the action on release.
        """
        if self.left or not self.held.acquire(False):
            self.left.append((action, arguments))
        else:
            try:
                if self.before is not None:
                    self.before()
                action(*arguments)
            finally:
                self.held.release()
        if self.left:
            self.work_off()

    def work_off(self) -> None:
        """Run the work that was left, unless the lock is held: then its holder will."""
        while self.left and self.held.acquire(False):
            try:
                if self.before is not None:
                    self.before()
                while self.left:
                    action, arguments = self.left.popleft()
                    action(*arguments)
            finally:
                self.held.release()

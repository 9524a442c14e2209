"""A lock for arithmetic only, that somebody who cannot wait may leave work with."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class Lock:
    """Held for a moment, to look at what all share and to change it."""

    __slots__ = ("before", "held", "left")

    def __init__(self) -> None:
        self.held = threading.Lock()
        """For whoever leaves undone what is to be done `before`, and does what was left with it (`work_off`) when he has let go."""
        self.before: Callable[[], None] | None = None
        """Done by whoever takes the lock, first of all."""
        self.left: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        """Work that was left with it."""

    def __enter__(self) -> None:
        self.held.acquire()
        if self.before is not None:
            self.before()

    def __exit__(self, *_: object) -> None:
        self.held.release()
        if self.left:
            self.work_off()

    def post(self, action: Callable[..., None], *arguments: Any) -> None:
        """Have `action` done under the lock, without ever waiting for it: garbage collection may call from inside a
        locked section. Whoever holds the lock does what was left with it when he lets go."""
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
        """Do what was left with the lock, unless somebody holds it, who will."""
        while self.left and self.held.acquire(False):
            try:
                if self.before is not None:
                    self.before()
                while self.left:
                    action, arguments = self.left.popleft()
                    action(*arguments)
            finally:
                self.held.release()

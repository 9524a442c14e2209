"""A lock for arithmetic only, that somebody who cannot wait may leave work with."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class Lock:
    """Held for a moment, to look at what all share and to change it."""

    __slots__ = ("_held", "_later")

    def __init__(self) -> None:
        self._held = threading.Lock()
        self._later: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    def __enter__(self) -> None:
        self._held.acquire()

    def __exit__(self, *_: object) -> None:
        self._held.release()
        if self._later:
            self._work_off()

    def post(self, action: Callable[..., None], *arguments: Any) -> None:
        """Have `action` done under the lock, without ever waiting for it: garbage collection may call from inside a
        locked section. Whoever holds the lock does what was left with it when he lets go."""
        if self._later or not self._held.acquire(False):
            self._later.append((action, arguments))
        else:
            try:
                action(*arguments)
            finally:
                self._held.release()
        if self._later:
            self._work_off()

    def _work_off(self) -> None:
        while self._later and self._held.acquire(False):
            try:
                while self._later:
                    action, arguments = self._later.popleft()
                    action(*arguments)
            finally:
                self._held.release()

"""A bounded in-process cache store with least-recently-used eviction."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from headrace.layers.cache import Found
from headrace.ports import Ports


class _Kept(NamedTuple):
    value: bytes
    since: float
    until: float


class MemoryStore:
    """`layers.cache.CacheStore` for any number of threads and event loops."""

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    async def get(self, ports: Ports, key: str) -> Found | None:
        now = ports.clock.now()
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            if kept.until <= now:
                self._drop(key)
                return None
            self._kept.move_to_end(key)
        return Found(kept.value, now - kept.since)

    async def set(self, ports: Ports, key: str, value: bytes, ttl: float) -> None:
        if len(value) > self._max_bytes:
            return
        now = ports.clock.now()
        with self._lock:
            if key in self._kept:
                self._drop(key)
            self._kept[key] = _Kept(value, now, now + ttl)
            self._bytes += len(value)
            while len(self._kept) > self._max_entries or self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """Forget every response."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _drop(self, key: str) -> None:
        self._bytes -= len(self._kept.pop(key).value)

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        return f"<MemoryStore {len(self._kept)} answers, {self._bytes} bytes>"

"""`headrace.Cache`: response caches in memory, on disk, or in Valkey or Redis."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace.calls import shape, whole_number
from headrace.errors import ConfigurationError
from headrace.layers.cache import CacheStore, Found, ResponseCache
from headrace.layers.keys import REPEATABLE
from headrace.layers.memory import MemoryStore
from headrace.ports import Ports
from headrace.runtime.offload import offload
from headrace.runtime.redis_address import Address, address_of, client_at

if TYPE_CHECKING:
    from headrace.layers.semantic import Index

PREFIX: Final = "headrace:1:cache"
"""Prefix of every key; the number is the version of the key format."""
PATIENCE: Final = 2.0
"""Seconds after which a cache operation times out."""
DIRECTORY: Final = ".headrace_cache"


class Cache(ResponseCache):
    """A response cache for a Router: `Router(model_list, cache=Cache("disk", ttl=3600))`.

    type: "local" (in memory), "disk" (one SQLite file) or "redis" (also Valkey). ttl: seconds a response is kept.
    max_entries, max_bytes: limits of "local"; "disk" has only max_bytes. url, or host, port, password, db: of "redis".
    namespace: callers with different namespaces share nothing. mode: "default_on", or "default_off" for opt-in per call.
    supported_call_types: LiteLLM's names of the calls to cache. embedding_model: a model group of the Router, whose
    embeddings find similar questions; similarity_threshold: the cosine similarity from which on a cached response is
    returned. Raises ConfigurationError that names the argument.
    """

    def __init__(
        self,
        type: str = "local",
        *,
        ttl: float | None = None,
        namespace: str | None = None,
        mode: str = "default_on",
        max_entries: int = 10_000,
        max_bytes: int = 256 * 1024 * 1024,
        disk_cache_dir: str | os.PathLike[str] | None = None,
        url: str | None = None,
        host: str | None = None,
        port: int | str | None = None,
        password: str | None = None,
        db: int | str | None = None,
        default_in_memory_ttl: float | None = None,
        default_in_redis_ttl: float | None = None,
        supported_call_types: Sequence[str] | None = None,
        embedding_model: str | None = None,
        similarity_threshold: float | None = None,
    ) -> None:
        kind = str(getattr(type, "value", type))  # litellm's LiteLLMCacheType is an enum
        entries = whole_number("max_entries", max_entries, least=1)
        bound = whole_number("max_bytes", max_bytes, least=1)
        makers: Mapping[str, Callable[[], CacheStore]] = {
            "local": lambda: MemoryStore(max_entries=entries, max_bytes=bound),
            "disk": lambda: DiskStore(disk_cache_dir or DIRECTORY, max_bytes=bound),
            "redis": lambda: RedisCacheStore(address_of(url, host=host, port=port, password=password, db=db)),
        }
        if kind not in makers:
            raise ConfigurationError(f"a cache's type must be one of {', '.join(makers)}; got {shape(type)}")
        for life in (ttl, default_in_redis_ttl if kind == "redis" else default_in_memory_ttl, 600.0):
            if life is not None:
                break
        if isinstance(life, bool) or not isinstance(life, int | float) or not 0 < life < float("inf"):
            raise ConfigurationError(f"ttl must be a positive number of seconds, got {shape(life)}")
        mode = str(getattr(mode, "value", mode))
        if mode not in ("default_on", "default_off"):
            raise ConfigurationError(f"a cache's mode must be 'default_on' or 'default_off', got {shape(mode)}")
        super().__init__(
            makers[kind](),
            ttl=float(life),
            namespace=namespace or "",
            default_on=mode == "default_on",
            operations=_kept(supported_call_types),
            index=_index(embedding_model, similarity_threshold, entries),
        )


DEFAULT_THRESHOLD: Final = 0.95
"""High, because a wrong response is worse than another call."""


def _index(embedding_model: str | None, threshold: float | None, most: int) -> Index | None:
    if embedding_model is None:
        if threshold is not None:
            raise ConfigurationError("similarity_threshold needs embedding_model: the model whose vectors are compared")
        return None
    if not isinstance(embedding_model, str) or not embedding_model:
        raise ConfigurationError(f"embedding_model must be a model's name, got {shape(embedding_model)}")
    threshold = DEFAULT_THRESHOLD if threshold is None else threshold
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
        raise ConfigurationError(f"similarity_threshold must be a number above 0 and up to 1, got {shape(threshold)}")
    try:
        from headrace.layers.semantic import Index  # late: it needs numpy
    except ImportError:
        raise ConfigurationError("a cache with embedding_model needs numpy: pip install 'headrace[semantic]'") from None
    return Index(embedding_model, float(threshold), most)


_CALLS: Final[Mapping[str, str]] = {
    "completion": "chat", "text_completion": "completions", "embedding": "embeddings", "rerank": "rerank", "responses": "responses",
    "moderation": "moderations", "anthropic_messages": "messages", "generate_content": "generate_content",
}  # fmt: skip
"""LiteLLM's names of calls and the matching operations; the async names, with a leading `a`, mean the same."""


_PASSING: Final = frozenset({"transcription"})
"""Accepted but not cached: LiteLLM's own example lists it, and is copied."""


def _kept(names: Sequence[str] | None) -> frozenset[str]:
    if names is None:
        return REPEATABLE
    calls = [name if name in _CALLS else str(name).removeprefix("a") for name in names]
    for name, call in zip(names, calls, strict=True):
        if call not in _CALLS and call not in _PASSING:
            raise ConfigurationError(f"supported_call_types: {name!r} is not a call that can be cached; known: {', '.join(_CALLS)}")
    return frozenset([_CALLS[call] for call in calls if call in _CALLS])


class DiskStore:
    """Responses in one SQLite file, shared by the processes of a machine; the oldest are evicted first. Readable only by its owner."""

    def __init__(self, directory: str | os.PathLike[str], *, max_bytes: int) -> None:
        self._directory = Path(directory)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._writes = 0

    async def get(self, ports: Ports, key: str) -> Found | None:
        return await offload(ports, lambda: self._get(key), PATIENCE)

    async def set(self, ports: Ports, key: str, value: bytes, ttl: float) -> None:
        await offload(ports, lambda: self._set(key, value, ttl), PATIENCE)

    def _get(self, key: str) -> Found | None:
        now = time.time()
        with self._lock:
            row = self._open().execute("SELECT value, since FROM answers WHERE key = ? AND until > ?", (key, now)).fetchone()
        return None if row is None else Found(row[0], max(0.0, now - row[1]))

    def _set(self, key: str, value: bytes, ttl: float) -> None:
        now = time.time()
        with self._lock:
            connection = self._open()
            connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", (key, value, now, now + ttl))
            self._writes += 1
            if self._writes % 64 == 1:
                self._tidy(connection, now)

    def _tidy(self, connection: sqlite3.Connection, now: float) -> None:
        """Delete expired entries, and the oldest ones beyond the size limit."""
        connection.execute("DELETE FROM answers WHERE until <= ?", (now,))
        connection.execute(
            "DELETE FROM answers WHERE key IN (SELECT key FROM (SELECT key, sum(length(value)) OVER (ORDER BY since DESC, key) AS upto "
            "FROM answers) WHERE upto > ?)",
            (self._max_bytes,),
        )

    def _open(self) -> sqlite3.Connection:
        """The connection of this process: SQLite connections do not survive a fork."""
        if self._connection is None or self._pid != os.getpid():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._directory / "answers.sqlite"
            path.touch(mode=0o600)
            connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = OFF")  # entries lost in a power failure are merely fetched again
                connection.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value BLOB, since REAL, until REAL)")
            except sqlite3.Error:
                connection.close()
                raise
            self._connection, self._pid = connection, os.getpid()
        return self._connection

    def close(self) -> None:
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<DiskStore {self._directory}>"


class RedisCacheStore:
    """Responses in Valkey or Redis, which expires them."""

    def __init__(self, address: Address) -> None:
        """Raises ConfigurationError for an invalid address or without redis-py, but not if the server is unreachable."""
        self._address = address
        self._client: Any = None
        try:
            self._client = client_at(address)
        except ConfigurationError:
            raise
        except Exception:  # a cluster's client connects on creation: the next call tries again
            self._client = None

    async def get(self, ports: Ports, key: str) -> Found | None:
        return await offload(ports, lambda: self._get(key), PATIENCE)

    async def set(self, ports: Ports, key: str, value: bytes, ttl: float) -> None:
        text = f"{time.time()!r} {value.decode()}"
        await offload(ports, lambda: self._there().set(f"{PREFIX}:{key}", text, px=max(1, int(ttl * 1000))), PATIENCE)

    def _get(self, key: str) -> Found | None:
        kept = self._there().get(f"{PREFIX}:{key}")
        if kept is None:
            return None
        since, _, value = kept.partition(" ")
        return Found(value.encode(), max(0.0, time.time() - float(since)))

    def _there(self) -> Any:
        if self._client is None:
            self._client = client_at(self._address)
        return self._client

    def __repr__(self) -> str:
        return f"<RedisCacheStore {self._address.place}>"

"""litellm's caches: `Cache` is headrace's with litellm's arguments; the small ones are for programs' own use."""

from __future__ import annotations

import enum
import time
from typing import Any, Final

from headrace.calls import Call
from headrace.compat.litellm.stand_in import module, setting
from headrace.errors import ConfigurationError
from headrace.layers.around import Handler
from headrace.layers.cache import Control
from headrace.layers.keys import digest
from headrace.ports import Ports
from headrace.runtime import caches


class LiteLLMCacheType(str, enum.Enum):  # noqa: UP042  # str() must give "LiteLLMCacheType.LOCAL", as in litellm
    LOCAL = "local"
    REDIS = "redis"
    REDIS_SEMANTIC = "redis-semantic"
    DISK = "disk"


class CacheMode(str, enum.Enum):  # noqa: UP042
    default_on = "default_on"
    default_off = "default_off"


_SEMANTIC: Final = {"redis-semantic": "redis", "valkey-semantic": "redis", "qdrant-semantic": "local", "semantic": "local"}
"""litellm's semantic cache types, and the store used for each. Embeddings are always kept in the process."""

_THEIRS: Final = {
    "redis_semantic_cache_embedding_model": "embedding_model", "qdrant_semantic_cache_embedding_model": "embedding_model",
    "valkey_semantic_cache_embedding_model": "embedding_model", "redis_url": "url", "max_size_in_memory": "max_entries",
}  # fmt: skip
_FOR_EVER: Final = 10 * 365 * 24 * 3600.0


class Cache(caches.Cache):
    """For `litellm.cache`: `headrace.Cache` with litellm's argument names. Without `ttl`, responses on disk never
    expire, as in litellm.

    Raises ConfigurationError for an unknown type or argument.
    """

    def __init__(self, type: Any = "local", **given: Any) -> None:
        said = {_THEIRS.get(name, name): value for name, value in given.items() if value is not None}
        self.type = kind = str(getattr(type, "value", type))
        if kind in _SEMANTIC:
            said.setdefault("embedding_model", "text-embedding-ada-002")
            kind = _SEMANTIC[kind]
        else:
            said.pop("embedding_model", None)
            said.pop("similarity_threshold", None)
        if kind == "disk":
            said.setdefault("ttl", _FOR_EVER)
        self.ttl, self.mode = said.get("ttl"), said.get("mode", "default_on")
        try:
            super().__init__(kind, **said)
        except TypeError:
            unknown = sorted(said.keys() - caches.Cache.__init__.__annotations__.keys())
            raise ConfigurationError(f"litellm.Cache has no {', '.join(unknown)} here; see headrace.Cache") from None

    def get_cache_key(self, **kwargs: Any) -> str:
        """64 hexadecimal digits over a call's arguments. A program may replace this method to decide which calls are equal."""
        return digest({name: value for name, value in kwargs.items() if name not in _NO_KEY})

    def _key(self, call: Call, name: str, control: Control) -> str | None:
        own = self.get_cache_key
        if getattr(own, "__func__", None) is Cache.get_cache_key:
            return super()._key(call, name, control)
        if super()._key(call, name, control) is None:
            return None
        prompt = {call.operation.prompt: call.prompt} if call.operation.prompt else {}
        return str(own(**{"model": call.model, **call.control, **call.body, **prompt}))


_NO_KEY: Final = frozenset({"metadata", "litellm_params", "api_key", "cache", "caching", "timeout", "num_retries", "max_retries"})
"""Arguments that do not affect the response, or must not be part of a key."""


def enable_cache(type: Any = "local", **given: Any) -> None:
    """Set `litellm.cache` unless it is set already."""
    if setting("cache") is None:
        module("litellm").cache = Cache(type, **given)


def update_cache(type: Any = "local", **given: Any) -> None:
    module("litellm").cache = Cache(type, **given)


def disable_cache() -> None:
    module("litellm").cache = None


async def answered(ports: Ports, call: Call, handler: Handler) -> Any:
    """The response by way of `litellm.cache`, if that is one of ours."""
    cache = setting("cache")
    if not isinstance(cache, caches.Cache):
        return await handler(ports, call)
    return await cache.answer(handler, lambda asked: asked.model, ports, call)


class InMemoryCache:
    """A cache with a time to live in seconds; None means no expiry."""

    def __init__(self, max_size_in_memory: int | None = 10_000, default_ttl: float | None = None, **_: Any) -> None:
        self.most, self.default_ttl = max_size_in_memory or 10_000, default_ttl
        self._kept: dict[str, tuple[float | None, Any]] = {}

    def get_cache(self, key: str, **_: Any) -> Any:
        until, value = self._kept.get(key, (None, None))
        if until is not None and until < time.time():
            self._kept.pop(key, None)
            return None
        return value

    def set_cache(self, key: str, value: Any, ttl: float | None = None, **_: Any) -> None:
        ttl = self.default_ttl if ttl is None else ttl
        while len(self._kept) >= self.most:
            self._kept.pop(next(iter(self._kept)), None)
        self._kept[key] = (None if ttl is None else time.time() + ttl, value)

    async def async_get_cache(self, key: str, **_: Any) -> Any:
        return self.get_cache(key)

    async def async_set_cache(self, key: str, value: Any, ttl: float | None = None, **_: Any) -> None:
        self.set_cache(key, value, ttl)

    def delete_cache(self, key: str) -> None:
        self._kept.pop(key, None)

    def flush_cache(self) -> None:
        self._kept.clear()


class DualCache(InMemoryCache):
    """litellm's two-tier cache; here it has one tier."""

"""`litellm.cache`: answers kept by what was asked, in memory or in files."""

from __future__ import annotations

import enum
import hashlib
import time
from pathlib import Path
from typing import Any

import msgspec

from headrace.calls import Call, encode
from headrace.compat.litellm.stand_in import setting
from headrace.errors import ConfigurationError
from headrace.models.prices import Beside


class LiteLLMCacheType(str, enum.Enum):  # noqa: UP042  # litellm's, whose text is "LiteLLMCacheType.LOCAL"
    LOCAL = "local"
    DISK = "disk"
    REDIS = "redis"


class InMemoryCache:
    """Values with a time to live in seconds; None keeps for good."""

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


class DualCache(InMemoryCache):
    """litellm's cache in two tiers, of which there is one here."""


class FileCache(InMemoryCache):
    """The same in files of a folder, for programs that start again."""

    def __init__(self, folder: str | None, default_ttl: float | None = None) -> None:
        super().__init__(default_ttl=default_ttl)
        self.folder = Path(folder or ".litellm_cache")

    def get_cache(self, key: str, **_: Any) -> Any:
        try:
            kept = msgspec.json.decode(self._file(key).read_bytes())
        except (OSError, msgspec.DecodeError):
            return None
        return kept["value"] if kept["until"] is None or kept["until"] > time.time() else None

    def set_cache(self, key: str, value: Any, ttl: float | None = None, **_: Any) -> None:
        ttl = self.default_ttl if ttl is None else ttl
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self._file(key).with_suffix(".new")
        beside.write_bytes(encode({"until": None if ttl is None else time.time() + ttl, "value": value}))
        beside.replace(self._file(key))

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"


class Cache:
    """To be assigned to `litellm.cache`. type: "local" or "disk"; `ttl` in seconds."""

    def __init__(
        self, type: Any = "local", *, ttl: float | None = None, disk_cache_dir: str | None = None, mode: str = "default_on", **_: Any
    ) -> None:
        kind = getattr(type, "value", type)
        if kind not in ("local", "disk"):
            raise ConfigurationError(f"litellm.Cache has the types 'local' and 'disk' here, not {kind!r}")
        self.type, self.ttl, self.mode = kind, ttl, mode
        self.cache = InMemoryCache(default_ttl=ttl) if kind == "local" else FileCache(disk_cache_dir, ttl)


def key_of(call: Call) -> str | None:
    """What a call is kept under; None where it is not to be looked up, nor kept."""
    cache = setting("cache")
    if not isinstance(cache, Cache) or call.control.get("caching", setting("caching") or cache.mode == "default_on") is False:
        return None
    asked = [call.operation.name, call.model, {name: value for name, value in call.body.items() if name != "stream"}]
    return hashlib.sha256(encode(asked)).hexdigest()


def find(key: str, call: Call) -> Any:
    """The kept answer of a call that is not streamed."""
    said = call.control.get("cache") or {}
    kept = None if said.get("no-cache") or call.stream else setting("cache").cache.get_cache(key)
    if kept is None:
        return None
    answer = call.operation.response.wrap(msgspec.json.decode(encode(kept["body"])))
    answer._hidden_params = Beside({**kept["hidden"], "cache_hit": True, "response_cost": 0.0, "additional_headers": {}})
    return answer


def keep(key: str, answer: Any, call: Call) -> None:
    said = call.control.get("cache") or {}
    if said.get("no-store") or not hasattr(answer, "model_dump"):
        return
    hidden = {name: answer._hidden_params.get(name) for name in ("custom_llm_provider", "model", "api_base")}
    setting("cache").cache.set_cache(key, {"body": answer.model_dump(), "hidden": hidden}, ttl=said.get("ttl"))

"""Response cache: repeats the response to an identical call. If the store fails, the call is made as without a cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Struct

from headrace.calls import Call, shape
from headrace.errors import BadRequestError
from headrace.layers.around import Handler, in_objects
from headrace.layers.entries import Recorded, pack, unpack
from headrace.layers.keys import REPEATABLE, call_key
from headrace.ports import Ports
from headrace.routing.events import warn

if TYPE_CHECKING:
    from headrace.layers.semantic import Asked, Index

LARGEST: Final = 8 * 1024 * 1024
"""Largest response in bytes that is cached."""
REST: Final = 5.0
"""Seconds for which a failed store is not used, so that a dead one does not delay every call."""


class Found(Struct, frozen=True):
    value: bytes
    age: float
    """Seconds since it was stored."""


class CacheStore(Protocol):
    """Stores responses. May raise anything: the call is made regardless."""

    async def get(self, ports: Ports, key: str) -> Found | None: ...
    async def set(self, ports: Ports, key: str, value: bytes, ttl: float) -> None: ...


class Control(Struct, frozen=True):
    """Cache options of one call."""

    reads: bool = True
    writes: bool = True
    ttl: float | None = None
    """Seconds for which its response is stored; None for the cache's default."""
    oldest: float | None = None
    """Greatest age in seconds of a cached response; None for any."""
    namespace: str | None = None


_WORDS: Final = frozenset({"no-cache", "no-store", "ttl", "s-maxage", "s-max-age", "namespace", "use-cache"})


def read_control(control: Mapping[str, Any], *, default_on: bool = True) -> Control:
    """Read LiteLLM's options `cache={…}` and `caching`. Raises BadRequestError that names an unknown one."""
    said = control.get("cache", {})
    if not isinstance(said, Mapping):
        raise BadRequestError(f"cache must be a mapping such as {{'no-cache': True}}, got {shape(said)}")
    if unknown := sorted(map(str, said.keys() - _WORDS)):
        raise BadRequestError(f"cache has no {unknown[0]!r}; known: {', '.join(sorted(_WORDS))}")
    caching = control.get("caching")
    on = caching if caching is not None else default_on or bool(said.get("use-cache"))
    ttl = _seconds(said, "ttl")
    namespace = said.get("namespace")
    if namespace is not None and not isinstance(namespace, str):
        raise BadRequestError(f"cache['namespace'] must be a string, got {shape(namespace)}")
    return Control(
        reads=bool(on) and not said.get("no-cache"),
        writes=bool(on) and not said.get("no-store") and ttl != 0,
        ttl=ttl,
        oldest=_seconds(said, "s-maxage" if "s-maxage" in said else "s-max-age"),
        namespace=namespace,
    )


def _seconds(said: Mapping[str, Any], name: str) -> float | None:
    value = said.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise BadRequestError(f"cache[{name!r}] must be a number of seconds of at least 0, got {shape(value)}")
    return float(value)


class ResponseCache:
    """Caches responses in a store. Not built directly: `headrace.Cache` chooses the store."""

    def __init__(
        self,
        store: CacheStore,
        *,
        ttl: float,
        namespace: str = "",
        default_on: bool = True,
        operations: frozenset[str] = REPEATABLE,
        index: Index | None = None,
    ) -> None:
        """index: finds semantically similar questions; None for identical calls only."""
        self._store = store
        self._ttl = ttl
        self._namespace = namespace
        self._default_on = default_on
        self._operations = operations
        self._index = index
        self._rests_until = 0.0
        self._warned = False

    def clear(self) -> None:
        """Forget the responses in this process's memory; those on a disk or a server are shared and stay."""
        forget = getattr(self._store, "clear", None)
        if forget is not None:
            forget()

    async def answer(self, handler: Handler, known_as: Callable[[Call], str], ports: Ports, call: Call) -> Any:
        """The cached response of an identical call, else the handler's, which is then cached.

        known_as: the model's canonical name, with aliases resolved.
        """
        control = read_control(call.control, default_on=self._default_on)
        key = self._key(call, known_as(call), control)
        if key is None:
            return await handler(ports, call)
        if control.reads and (kept := await self._find(ports, call, key, control)) is not None:
            return kept
        asked = await self._asked(handler, known_as, ports, call, control)
        if asked is not None and control.reads and (kept := await self._like(ports, call, asked, control)) is not None:
            return kept
        answer = await handler(ports, in_objects(call))
        if not control.writes:
            return answer
        return await self._kept(ports, call, key, control, answer, asked)

    async def _asked(self, handler: Handler, known_as: Callable[[Call], str], ports: Ports, call: Call, control: Control) -> Asked | None:
        """The call's question as a vector, if there is a semantic index.

        If no vector can be had, the call is made as without an index.
        """
        if self._index is None:
            return None
        namespace = self._namespace if control.namespace is None else control.namespace
        try:
            return await self._index.look(handler, ports, call, f"{namespace}:{known_as(call)}")
        except Exception as error:  # whatever the embedding model's response contains
            self._warn(error)
            return None

    async def _like(self, ports: Ports, call: Call, asked: Asked, control: Control) -> Any:
        """The cached response to a similar question."""
        assert self._index is not None
        near = self._index.nearest(asked)
        kept = None if near is None else await self._find(ports, call, near[0], control)
        if kept is not None and near is not None:
            (kept.hidden if call.stream else kept._hidden_params)["semantic_similarity"] = near[1]
        return kept

    def _key(self, call: Call, name: str, control: Control) -> str | None:
        if call.operation.name not in self._operations or not (control.reads or control.writes):
            return None
        key = call_key(call, name)
        namespace = self._namespace if control.namespace is None else control.namespace
        return f"{namespace}:{key}" if key is not None and namespace else key

    async def _find(self, ports: Ports, call: Call, key: str, control: Control) -> Any:
        if self._resting(ports):
            return None
        try:
            found = await self._store.get(ports, key)
            if found is None or (control.oldest is not None and found.age > control.oldest):
                return None
            return unpack(found.value, call.operation, stream=call.stream, key=key)
        except Exception as error:  # whatever a store raises or contains: the call is made
            self._failed(ports, error)
            return None

    async def _kept(self, ports: Ports, call: Call, key: str, control: Control, answer: Any, asked: Asked | None) -> Any:
        """The response, after storing it; a stream is stored at its end."""
        keep = partial(self._keep, ports, key, control.ttl, asked)
        hidden = answer.hidden if call.stream else answer._hidden_params
        hidden["cache_hit"], hidden["cache_key"] = False, key
        if call.stream:
            return Recorded(answer, keep, LARGEST)
        await keep(pack(answer))
        return answer

    async def _keep(self, ports: Ports, key: str, ttl: float | None, asked: Asked | None, value: bytes) -> None:
        if self._resting(ports) or len(value) > LARGEST:
            return
        try:
            await self._store.set(ports, key, value, self._ttl if ttl is None else ttl)
            if self._index is not None and asked is not None:
                self._index.remember(asked, key)
        except Exception as error:  # whatever a store raises: there is a response
            self._failed(ports, error)

    def _resting(self, ports: Ports) -> bool:
        return ports.clock.now() < self._rests_until

    def _failed(self, ports: Ports, error: Exception) -> None:
        self._rests_until = ports.clock.now() + REST
        self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            warn(f"{self!r} failed ({type(error).__name__}); calls are made without it for now")

    def __repr__(self) -> str:
        return f"<Cache {self._store!r}>"

"""The format of cached responses: packed into bytes, unpacked into fresh objects. For a stream, its chunks are stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Generic

import msgspec
from msgspec import Struct

from headrace.calls import Operation, encode
from headrace.models.prices import Beside
from headrace.objects import JsonObject
from headrace.streams import J, Outer

_TOLD: Final = ("custom_llm_provider", "model", "model_id", "model_group")
"""Hidden parameters that are still true when a response is repeated."""


class Entry(Struct, frozen=True):
    """One response: its body, or the chunks of its stream."""

    beside: dict[str, Any]
    usage: Any = None
    body: msgspec.Raw = msgspec.Raw(b"null")
    chunks: list[msgspec.Raw] = []


_decoder: Final = msgspec.json.Decoder(Entry)


def pack(answer: JsonObject) -> bytes:
    hidden = answer._hidden_params
    return encode(Entry(_told(hidden), _usage(hidden), msgspec.Raw(encode(answer.model_dump()))))


def pack_chunks(chunks: Sequence[msgspec.Raw], hidden: Mapping[str, Any]) -> bytes:
    return encode(Entry(_told(hidden), _usage(hidden), chunks=list(chunks)))


def _told(hidden: Mapping[str, Any]) -> dict[str, Any]:
    return {name: hidden[name] for name in _TOLD if name in hidden}


def _usage(hidden: Any) -> Any:
    usage = getattr(hidden, "usage", None)
    return usage.model_dump() if isinstance(usage, JsonObject) else usage


def unpack(packed: bytes, operation: Operation, *, stream: bool, key: str) -> Any:
    """The cached response with a cost of 0: an object, or a stream's chunks.

    Raises msgspec.DecodeError for anything not packed here.
    """
    entry = _decoder.decode(packed)
    hidden = Beside({**entry.beside, "additional_headers": {}, "api_base": None, "cache_hit": True, "cache_key": key, "response_cost": 0.0})
    hidden.usage = entry.usage
    if stream and operation.chunk is not None:
        return Replayed(entry.chunks, operation.chunk.wrap, hidden)
    answer = operation.response.wrap(msgspec.json.decode(entry.body, type=dict[str, Any]))
    answer._hidden_params = hidden
    return answer


class Replayed(Generic[J]):
    """Yields a stored stream's chunks one by one."""

    __slots__ = ("_rest", "_wrap", "count", "hidden", "ready")

    def __init__(self, chunks: Sequence[msgspec.Raw], wrap: Callable[[dict[str, Any]], J], hidden: Beside) -> None:
        self._rest = deque(chunks)
        self._wrap = wrap
        self.hidden = hidden
        self.ready: deque[J] = deque()
        self.count = 0

    @property
    def usage(self) -> dict[str, Any] | None:
        usage: dict[str, Any] | None = self.hidden.usage
        return usage

    @property
    def over(self) -> bool:
        return not self._rest

    async def fill(self) -> bool:
        if not self.ready and self._rest:
            chunk = self._wrap(msgspec.json.decode(self._rest.popleft()))
            chunk._hidden_params = self.hidden
            self.count += 1
            self.ready.append(chunk)
        return bool(self.ready)

    def close(self) -> None:
        self._rest.clear()
        self.ready.clear()


class Recorded(Outer[J]):
    """A stream on its way to the caller, stored once it has ended properly; not if it was cut or abandoned."""

    __slots__ = ("_keep", "_kept", "_left")

    def __init__(self, chunks: Any, keep: Callable[[bytes], Awaitable[None]], largest: int) -> None:
        """largest: bytes of chunks that are stored; a longer stream is only passed through."""
        super().__init__(chunks)
        self._keep: Callable[[bytes], Awaitable[None]] | None = keep
        self._kept: list[msgspec.Raw] = []
        self._left = largest

    async def fill(self) -> bool:
        chunks = self._chunks
        if chunks.ready or await chunks.fill():
            while chunks.ready:
                self._pass_on(chunks.ready.popleft())
            return True
        keep, self._keep = self._keep, None
        if keep is not None:
            await keep(pack_chunks(self._kept, self.hidden))
        return False

    def _pass_on(self, chunk: J) -> None:
        if self._keep is not None:
            written = encode(chunk.model_dump())  # encoded now, because the caller may change the chunk
            self._left -= len(written)
            self._kept.append(msgspec.Raw(written))
            if self._left < 0:
                self._keep = None
                self._kept.clear()
        self.ready.append(chunk)

    def close(self) -> None:
        self._keep = None
        self._chunks.close()

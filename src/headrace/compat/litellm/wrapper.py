"""litellm's stream class, of which headrace's streams are instances."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headrace.streams import AsyncStream, Stream


class _Streams(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Stream | AsyncStream) or type.__instancecheck__(cls, instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, Stream | AsyncStream) or type.__subclasscheck__(cls, subclass)


class CustomStreamWrapper(metaclass=_Streams):
    """A stream of chunks for `for` or `async for`. When constructed directly, it yields what `completion_stream` yields."""

    def __init__(self, completion_stream: Any, model: str = "", logging_obj: Any = None, custom_llm_provider: str | None = None, **_: Any):
        self.completion_stream = completion_stream
        self.model, self.logging_obj, self.custom_llm_provider = model, logging_obj, custom_llm_provider
        self.chunks: list[Any] = []
        self._hidden_params: dict[str, Any] = {}
        self._blocking = iter(completion_stream) if isinstance(completion_stream, Iterable) else None

    def __iter__(self) -> CustomStreamWrapper:
        return self

    def __next__(self) -> Any:
        if self._blocking is None:
            raise TypeError("this stream must be read with `async for`")
        chunk = next(self._blocking)
        self.chunks.append(chunk)
        return chunk

    def __aiter__(self) -> CustomStreamWrapper:
        return self

    async def __anext__(self) -> Any:
        try:
            chunk = await self.completion_stream.__anext__() if self._blocking is None else next(self._blocking)
        except StopIteration:
            raise StopAsyncIteration from None
        self.chunks.append(chunk)
        return chunk

    async def aclose(self) -> None:
        close = getattr(self.completion_stream, "aclose", None)
        if close is not None:
            await close()

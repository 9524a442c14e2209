"""Streamed answers as the caller holds them. Chunks are handed out as they arrive; leaving early closes the connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from headrace.bridge import complete
from headrace.dialects.base import FrameReader
from headrace.dialects.openai_stream import Said
from headrace.errors import HeadraceError, again
from headrace.framing import keeps
from headrace.models.prices import Beside
from headrace.objects import JsonObject
from headrace.ports import HttpStream
from headrace.wire import Frame, TransportError

C = TypeVar("C")
"""What a caller takes piece by piece: an object, or bytes."""
M = TypeVar("M")
J = TypeVar("J", bound=JsonObject)


class ChunkReader(Protocol):
    """Frames of a provider's stream in, chunks as the caller reads them out."""

    @property
    def usage(self) -> dict[str, Any] | None: ...
    def chunks(self, frame: Frame, *, last: bool = False) -> Sequence[dict[str, Any]]: ...
    def rest(self) -> Sequence[dict[str, Any]]:
        """What was held back until the end. Raises TruncatedStream when it was no proper one."""
        ...


class Source(Protocol[M]):
    """Makes of a stream's bytes what its caller takes: objects, or bytes again."""

    @property
    def usage(self) -> dict[str, Any] | None: ...
    @property
    def count(self) -> int:
        """Pieces so far: about one token each."""
        ...

    def feed(self, data: bytes, ready: deque[M]) -> None:
        """Puts into `ready` what has become whole. Raises HeadraceError, what came before it in `ready`."""
        ...

    def close(self, ready: deque[M]) -> None:
        """The bytes have ended. Raises TruncatedStream when the stream had not said that it was done."""
        ...


class Objects(Generic[J]):
    """Chunks as objects."""

    __slots__ = ("_frames", "_hidden", "_reader", "_wrap", "count")

    def __init__(self, frames: FrameReader, reader: ChunkReader, wrap: Callable[[dict[str, Any]], J], hidden: Beside) -> None:
        self._frames = frames
        self._reader = reader
        self._wrap = wrap
        self._hidden = hidden
        self.count = 0

    @property
    def usage(self) -> dict[str, Any] | None:
        return self._reader.usage

    def feed(self, data: bytes, ready: deque[J]) -> None:
        self._hand_out(chain.from_iterable(map(self._reader.chunks, self._frames.feed(data))), ready)

    def close(self, ready: deque[J]) -> None:
        for frame in self._frames.close():
            self._hand_out(self._reader.chunks(frame, last=True), ready)
        self._hand_out(self._reader.rest(), ready)

    def _hand_out(self, chunks: Iterable[dict[str, Any]], ready: deque[J]) -> None:
        wrap, hidden = self._wrap, self._hidden
        for fields in chunks:
            chunk = wrap(fields)
            chunk._hidden_params = hidden
            self.count += 1
            ready.append(chunk)


class Chunks(Generic[C]):
    """The part of a stream that awaits: reads bytes, hands out what is made of them, reports its end exactly once.

    on_end(stream, error): called when the stream ended properly (None), failed, or was given up (GeneratorExit).
    """

    __slots__ = ("_ended", "_error", "_http", "_on_end", "_quiet", "_source", "explain", "hidden", "raw", "ready", "said")

    def __init__(
        self,
        http: HttpStream,
        source: Source[C],
        hidden: Beside,
        explain: Callable[[TransportError], HeadraceError],
        said: Said | None = None,
        *,
        raw: bool = False,
    ) -> None:
        self._http = http
        self._source = source
        self.said = said
        """What a chat has said so far, where that is noted."""
        self.raw = raw
        """Whether its pieces are bytes."""
        self.hidden = hidden
        self.explain = explain
        self.ready: deque[C] = deque()
        self._quiet = False
        """Whether what was read last only kept the connection."""
        self._ended = False
        self._error: HeadraceError | None = None
        self._on_end: Callable[[Chunks[C], BaseException | None], None] | None = None

    @property
    def count(self) -> int:
        """Pieces handed out or ready to be: about one token each."""
        return self._source.count

    @property
    def over(self) -> bool:
        return self._ended

    @property
    def usage(self) -> dict[str, Any] | None:
        """The usage the provider reported last; None until it did."""
        return self._source.usage

    def when_over(self, callback: Callable[[Chunks[C], BaseException | None], None]) -> None:
        """Call back when the stream is over, at once if it is already."""
        if self._ended:
            callback(self, self._error)
        else:
            self._on_end = callback

    async def fill(self) -> bool:
        """Wait until a chunk is ready. False at the proper end; raises what went wrong once everything before it was taken."""
        while not self.ready:
            if self._error is not None:
                raise again(self._error)
            if self._ended:
                return False
            await self._read()
        return True

    async def _read(self) -> None:
        try:
            data = await self._http.read(self._quiet)
            self._quiet = keeps(data)
            if data:
                self._source.feed(data, self.ready)
                return
            self._source.close(self.ready)
            self._end(None)
        except TransportError as error:
            self._fail(self.explain(error), error)
        except HeadraceError as error:
            self._fail(error, None)
        except BaseException as error:  # a cancelled read leaves the response half-read: the connection must go
            self._end(error)
            raise

    def _fail(self, error: HeadraceError, cause: BaseException | None) -> None:
        error.__cause__ = None if cause is None else cause.with_traceback(None)
        self._error = again(error)
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        if self._ended:
            return
        self._ended = True
        self.hidden.usage = self.usage
        self._http.close()
        callback, self._on_end = self._on_end, None
        if callback is not None:
            callback(self, error)

    def close(self) -> None:
        """Give the stream up: the connection closes now, and the call is settled with what had arrived."""
        self._end(GeneratorExit())


class Outer(Generic[C]):
    """Stands around the chunks of a stream and hands them on; what is asked of it is asked of them."""

    __slots__ = ("_chunks", "ready")

    def __init__(self, chunks: Any) -> None:
        """chunks: `Chunks`, or what stands around them."""
        self._chunks = chunks
        self.ready: deque[C] = deque()

    @property
    def hidden(self) -> Beside:
        return self._chunks.hidden  # type: ignore[no-any-return]

    @property
    def usage(self) -> dict[str, Any] | None:
        return self._chunks.usage  # type: ignore[no-any-return]

    @property
    def count(self) -> int:
        return self._chunks.count  # type: ignore[no-any-return]

    @property
    def over(self) -> bool:
        return bool(self._chunks.over)

    def close(self) -> None:
        self._chunks.close()


class _Held(Generic[C]):
    """What both kinds of stream offer besides iteration."""

    __slots__ = ("__weakref__", "_chunks")

    def __init__(self, chunks: Chunks[C]) -> None:
        self._chunks = chunks

    @property
    def usage(self) -> Any:
        """The usage the provider reported so far; None until it did."""
        return self._chunks.usage

    @property
    def _hidden_params(self) -> dict[str, Any]:
        return self._chunks.hidden

    @property
    def response_headers(self) -> Mapping[str, str]:
        headers: Mapping[str, str] = self._chunks.hidden["additional_headers"]
        return headers

    def __del__(self) -> None:
        # Abandoned unread: the connection must not wait for anybody.
        chunks = getattr(self, "_chunks", None)
        if chunks is not None and not chunks.over:
            chunks.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._chunks.count} chunks{', over' if self._chunks.over else ''}>"


class AsyncStream(_Held[C]):
    """`async for chunk in stream`. Iterating may stop and go on; `aclose()`, `async with` or dropping it ends the call."""

    __slots__ = ()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> C:
        chunks = self._chunks
        if not chunks.ready and not await chunks.fill():
            raise StopAsyncIteration
        return chunks.ready.popleft()

    async def aclose(self) -> None:
        self._chunks.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._chunks.close()


class Stream(_Held[C]):
    """`for chunk in stream`. Iterating may stop and go on; `close()`, `with` or dropping it ends the call."""

    __slots__ = ()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> C:
        chunks = self._chunks
        if not chunks.ready and not complete(chunks.fill()):
            raise StopIteration
        return chunks.ready.popleft()

    def close(self) -> None:
        self._chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._chunks.close()

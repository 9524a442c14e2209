"""Streamed responses as the caller sees them. Chunks are yielded as they arrive; leaving early closes the connection."""

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
"""What a caller iterates over: objects, or bytes."""
M = TypeVar("M")
J = TypeVar("J", bound=JsonObject)


class ChunkReader(Protocol):
    """Turns frames of a provider's stream into chunks as the caller reads them."""

    @property
    def usage(self) -> dict[str, Any] | None: ...
    def chunks(self, frame: Frame, *, last: bool = False) -> Sequence[dict[str, Any]]: ...
    def rest(self) -> Sequence[dict[str, Any]]:
        """Chunks held back until the end. Raises TruncatedStream if the stream was not complete."""
        ...


class Source(Protocol[M]):
    """Turns a stream's bytes into what the caller takes: objects, or bytes again."""

    @property
    def usage(self) -> dict[str, Any] | None: ...
    @property
    def count(self) -> int:
        """Pieces so far: about one token each."""
        ...

    def feed(self, data: bytes, ready: deque[M]) -> None:
        """Append completed pieces to `ready`. Raises HeadraceError after appending the pieces before the error."""
        ...

    def close(self, ready: deque[M]) -> None:
        """End of the bytes. Raises TruncatedStream if the stream was not complete."""
        ...


class Objects(Generic[J]):
    """A source of chunks as objects."""

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
    """The awaiting part of a stream: reads bytes, hands out pieces, and reports its end exactly once.

    `when_over(callback)` calls `callback(stream, error)` when the stream ended (None), failed, or was abandoned
    (GeneratorExit).
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
        """The chat's text so far, if recorded."""
        self.raw = raw
        """Whether its pieces are bytes."""
        self.hidden = hidden
        self.explain = explain
        self.ready: deque[C] = deque()
        self._quiet = False
        """Whether the last read was only a keep-alive."""
        self._ended = False
        self._error: HeadraceError | None = None
        self._on_end: Callable[[Chunks[C], BaseException | None], None] | None = None

    @property
    def count(self) -> int:
        """Pieces handed out or ready: about one token each."""
        return self._source.count

    @property
    def over(self) -> bool:
        return self._ended

    @property
    def usage(self) -> dict[str, Any] | None:
        """The usage reported last; None until the provider reports any."""
        return self._source.usage

    def when_over(self, callback: Callable[[Chunks[C], BaseException | None], None]) -> None:
        """Call `callback` when the stream is over, at once if it already is."""
        if self._ended:
            callback(self, self._error)
        else:
            self._on_end = callback

    async def fill(self) -> bool:
        """Wait until a chunk is ready. False at the regular end; raises the stream's error once all chunks before it were taken."""
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
        except BaseException as error:  # a cancelled read leaves the response half-read: the connection must close
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
        """Abandon the stream: closes the connection now, and the call is settled with what had arrived."""
        self._end(GeneratorExit())


class Outer(Generic[C]):
    """Base class of wrappers around a stream's chunks; delegates to them."""

    __slots__ = ("_chunks", "ready")

    def __init__(self, chunks: Any) -> None:
        """`chunks`: `Chunks`, or another wrapper."""
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
    """Common part of sync and async streams, besides iteration."""

    __slots__ = ("__weakref__", "_chunks")

    def __init__(self, chunks: Chunks[C]) -> None:
        self._chunks = chunks

    @property
    def usage(self) -> Any:
        """The usage reported so far; None until the provider reports any."""
        return self._chunks.usage

    @property
    def _hidden_params(self) -> dict[str, Any]:
        return self._chunks.hidden

    @property
    def response_headers(self) -> Mapping[str, str]:
        headers: Mapping[str, str] = self._chunks.hidden["additional_headers"]
        return headers

    def __del__(self) -> None:
        # dropped before its end: release the connection
        chunks = getattr(self, "_chunks", None)
        if chunks is not None and not chunks.over:
            chunks.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._chunks.count} chunks{', over' if self._chunks.over else ''}>"


class AsyncStream(_Held[C]):
    """`async for chunk in stream`. Iteration may pause and resume; `aclose()`, `async with` or dropping it ends the call."""

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
    """`for chunk in stream`. Iteration may pause and resume; `close()`, `with` or dropping it ends the call."""

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

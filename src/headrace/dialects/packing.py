"""Unwraps a dialect's stream from another framing: AWS's event stream around the events of the model's own API."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from headrace.dialects.base import FrameReader, Target
from headrace.dialects.bedrock_converse.errors import read_inside
from headrace.errors import Failure, HeadraceError, Kind, error_of
from headrace.framing import EventStreamReader
from headrace.wire import Frame


class Unpacker:
    """Turns event stream frames into the dialect's frames. An exception frame is raised after the frames that precede it."""

    __slots__ = ("_error", "_outer", "_target", "_unpack", "left_over")

    def __init__(self, unpack: Callable[[Frame], list[Frame]], target: Target) -> None:
        self._outer = EventStreamReader()
        self._unpack = unpack
        self._target = target
        self._error: HeadraceError | None = None
        self.left_over = False

    def feed(self, data: bytes) -> list[Frame]:
        """Raises the service's error, or APIResponseValidationError for data that is not an event stream."""
        self._raise()
        frames: list[Frame] = []
        for frame in self._outer.feed(data):
            if frame.event not in _PAYLOADS:
                self._error = error_of(read_inside(frame.event or "", frame.data, self._target))
                break
            frames += self._unpack(frame)
        if not frames:
            self._raise()
        return frames

    def close(self) -> list[Frame]:
        self._raise()
        frames = self._outer.close()
        self.left_over = self._outer.left_over
        return frames

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


_PAYLOADS: Final = frozenset({"chunk", "PayloadPart"})
"""Events that hold the model's data; all others are exceptions (botocore 1.40's service models of Bedrock and SageMaker)."""


class _Chunk(msgspec.Struct):
    bytes: str


_decode_chunk: Final = msgspec.json.Decoder(_Chunk).decode


def _chunk(frame: Frame) -> list[Frame]:
    """Bedrock: one event of the model's API in base64, named as it would be in server-sent events."""
    [whole] = _whole(frame)
    data = whole.data
    try:
        event = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        raise _broken(error) from None
    if isinstance(event, Mapping) and isinstance(name := event.get("type"), str):
        return [Frame(data, name)]
    return [Frame(msgspec.json.encode(value), name) for name, value in event.items()] if isinstance(event, Mapping) else [Frame(data)]


def _whole(frame: Frame) -> list[Frame]:
    """One event of a model whose events have no names."""
    try:
        return [Frame(b64decode(_decode_chunk(frame.data).bytes, validate=True))]
    except (ValueError, RecursionError) as error:
        raise _broken(error) from None


def _broken(error: Exception) -> HeadraceError:
    return error_of(Failure(Kind.BAD_RESPONSE, f"a chunk of the event stream cannot be read: {error}"))


def aws_chunks(inner: FrameReader, provider: str, model: str) -> FrameReader:
    """Bedrock's invoke-with-response-stream. Each frame is one event, so the dialect's own framing is not used."""
    return Unpacker(_chunk, Target(provider, model))


def aws_whole(inner: FrameReader, provider: str, model: str) -> FrameReader:
    """The same for models whose events have no names."""
    return Unpacker(_whole, Target(provider, model))


def aws_parts(inner: FrameReader, provider: str, model: str) -> FrameReader:
    """SageMaker's invocations-response-stream: the concatenated payloads are the container's own stream."""
    return Parts(inner, Target(provider, model))


class Parts(Unpacker):
    """Payloads that are the bytes of another stream, split anywhere."""

    __slots__ = ("_inner",)

    def __init__(self, inner: FrameReader, target: Target) -> None:
        super().__init__(lambda frame: inner.feed(frame.data), target)
        self._inner = inner

    def close(self) -> list[Frame]:
        super().close()
        frames = self._inner.close()
        self.left_over = self.left_over or bool(getattr(self._inner, "left_over", False))
        return frames


PACKINGS: Final[Mapping[str, Callable[[FrameReader, str, str], FrameReader]]] = {
    "aws_chunks": aws_chunks,
    "aws_whole": aws_whole,
    "aws_parts": aws_parts,
}

"""Layers wrap every call, direct or by a Router: each may observe it, change it, or answer in its place."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec

from headrace.calls import Call
from headrace.ports import Ports
from headrace.streams import Outer

if TYPE_CHECKING:
    from headrace.layers.observing import Outcome, Plain

Handler: TypeAlias = Callable[[Ports, Call], Coroutine[Any, Any, Any]]
"""Answers a call: with an object, or with a stream's chunks."""

Layer: TypeAlias = Callable[[Ports, Call, Handler, bool], Coroutine[Any, Any, Any]]
"""(ports, call, handler, whether the handler is a Router) → the response. Awaits only its ports and the handler."""


Tell: TypeAlias = "Callable[[Outcome], None]"
"""Receives the outcome of a call."""

TellTogether: TypeAlias = "Callable[[Sequence[Plain]], None]"
"""Receives several plain responses at once."""

Check: TypeAlias = Callable[[Call], None]
"""Raises an error that refuses a session."""


class RouterLayer(Protocol):
    """A layer of a single Router, inside those that wrap every call."""

    async def answer(self, handler: Handler, known_as: Callable[[Call], str], ports: Ports, call: Call) -> Any:
        """known_as: the canonical name of a call's model, with aliases resolved."""
        ...


_layers: tuple[Layer, ...] = ()
_counts: dict[Layer, Tell] = {}
_together: dict[Layer, TellTogether] = {}
_sessions: dict[Layer, Check] = {}


def install(layer: Layer, count: Tell | None = None, session: Check | None = None, together: TellTogether | None = None) -> None:
    """Wrap every call in `layer` from now on, inside the existing layers. Installing it again changes nothing.

    count: does all that the layer does, given only a call's outcome; code that answers calls on another path may use it
    instead. session: raises an error to refuse a session, whose content no layer sees. together: used in place of
    `count` when many plain responses end.
    """
    global _layers
    if layer not in _layers:
        _layers = (*_layers, layer)
    if count is not None:
        _counts[layer] = count
    if together is not None:
        _together[layer] = together
    if session is not None:
        _sessions[layer] = session


def remove(layer: Layer) -> None:
    global _layers
    _layers = tuple(other for other in _layers if other != layer)
    _counts.pop(layer, None)
    _together.pop(layer, None)
    _sessions.pop(layer, None)


def standing() -> tuple[Layer, ...]:
    """The layers around every call. The same tuple object until that changes."""
    return _layers


def counting() -> tuple[Tell, ...] | None:
    """The `count` functions that replace all layers; None if one of the layers has none."""
    return tuple([_counts[layer] for layer in _layers]) if all(layer in _counts for layer in _layers) else None


def counting_together() -> tuple[TellTogether, ...] | None:
    """The `together` functions for plain responses; None if one of the layers has none."""
    return tuple([_together[layer] for layer in _layers]) if all(layer in _together for layer in _layers) else None


def check_session(call: Call) -> None:
    """Raises the error with which a layer refuses a session that it cannot inspect."""
    for layer in _layers:
        if (check := _sessions.get(layer)) is not None:
            check(call)


def around(handler: Handler, *, routed: bool = False) -> Handler:
    """`handler` wrapped in all layers; itself if there are none."""
    for layer in reversed(_layers):
        handler = partial(_through, layer, handler, routed)
    return handler


def _through(layer: Layer, handler: Handler, routed: bool, ports: Ports, call: Call) -> Coroutine[Any, Any, Any]:
    return layer(ports, call, handler, routed)


def in_objects(call: Call) -> Call:
    """The call for a layer that inspects the response: it gets objects even if its caller takes bytes.

    They are converted to bytes outside all layers.
    """
    return msgspec.structs.replace(call, raw=False) if call.raw else call


OnOver: TypeAlias = Callable[[list[Any], BaseException | None], None]
"""(all chunks that were yielded, what ended the stream): None for its proper end, GeneratorExit for a caller that left."""


class Watched(Outer[Any]):
    """A stream's chunks on their way to the caller; reports once how the stream ended."""

    __slots__ = ("_on_over", "_seen", "_told")

    def __init__(self, chunks: Any, on_over: OnOver) -> None:
        super().__init__(chunks)
        self._on_over = on_over
        self._seen: list[Any] = []
        self._told = False

    @property
    def over(self) -> bool:
        return self._told

    async def fill(self) -> bool:
        """Wait until a chunk is ready. False at the proper end."""
        try:
            more = bool(self._chunks.ready) or await self._chunks.fill()
        except BaseException as error:
            self._tell(error)
            raise
        if not more:
            self._tell(None)
            return False
        while self._chunks.ready:
            chunk = self._chunks.ready.popleft()
            self._seen.append(chunk)
            self.ready.append(chunk)
        return True

    def close(self) -> None:
        ended = self._chunks.over and not self._chunks.ready
        self._chunks.close()
        self._tell(None if ended else GeneratorExit())

    def _tell(self, error: BaseException | None) -> None:
        if not self._told:
            self._told = True
            self._on_over(self._seen, error)

"""Reports the outcome of each call once: a whole response, a stream's end, a failure, or a caller that left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from msgspec import Struct

from headrace.calls import Call
from headrace.errors import HeadraceError
from headrace.layers.around import Handler
from headrace.ports import Clock, Ports
from headrace.routing.events import warn

noted: Final[Any] = dict.get
"""Reads `_hidden_params` without `Beside.get`, which is slower Python code because it can compute the cost."""

Where: TypeAlias = tuple[str | None, ...]
"""Operation, group, provider and deployment of a call, as far as known."""


def where_of(operation: str, hidden: Mapping[str, Any]) -> Where:
    """hidden: the `_hidden_params` of a response."""
    return operation, noted(hidden, "model_group"), noted(hidden, "custom_llm_provider"), noted(hidden, "model_id")


Plain: TypeAlias = tuple[Where, float, float, int, int, int | None]
"""A whole response with plain text usage only: where, seconds in total and in the queue, prompt and output tokens,
nano-dollars (None if no price is known)."""


class Outcome(Struct, frozen=True):
    """The outcome of one call. Times in seconds of its clock."""

    call: Call
    began: float
    first: float | None
    """When a stream's first chunk arrived; None if it is not streamed, or never began."""
    ended: float
    answer: Any = None
    """The whole response; None for a stream or a failure."""
    hidden: Mapping[str, Any] = {}
    """Its `_hidden_params`."""
    usage: Mapping[str, Any] | None = None
    """In OpenAI's form."""
    error: BaseException | None = None
    """GeneratorExit if the caller left a stream; a cancellation if it left before."""
    where: Where | None = None
    """The result of `where_of`, if it was computed already."""

    @property
    def word(self) -> str:
        """`ok`, the kind of its failure, or `left`."""
        if self.error is None:
            return "ok"
        if isinstance(self.error, HeadraceError):
            return self.error.failure.kind.value
        return "left" if not isinstance(self.error, Exception) else "error"


Tell: TypeAlias = Callable[[Outcome], None]
Look: TypeAlias = Callable[[Iterable[Any]], None]
"""Receives a stream's new chunks before the caller takes them."""


async def observe(ports: Ports, call: Call, handler: Handler, tell: Tell, look: Look | None = None) -> Any:
    """The handler's response.

    `tell` receives the outcome, for a stream at its end; exceptions in `tell` do not affect the call.
    """
    began = ports.clock.now()
    try:
        answer = await handler(ports, call)
    except BaseException as error:
        _told(tell, Outcome(call, began, None, ports.clock.now(), error=error))
        raise
    now = ports.clock.now()
    if call.stream:
        return Observed(answer, ports.clock, tell, look, call, began, now)
    hidden = getattr(answer, "_hidden_params", None) or {}
    _told(tell, Outcome(call, began, None, now, answer, hidden, getattr(hidden, "usage", None)))
    return answer


def _told(tell: Tell, outcome: Outcome) -> None:
    try:
        tell(outcome)
    except Exception as error:  # measuring must not break the call
        warn(f"{tell!r} failed ({type(error).__name__}: {error})")


class Observed:
    """A stream's chunks, passed through unchanged; reports the end once."""

    __slots__ = ("_began", "_call", "_chunks", "_clock", "_first", "_look", "_tell", "ready")

    def __init__(self, chunks: Any, clock: Clock, tell: Tell, look: Look | None, call: Call, began: float, first: float) -> None:
        self._chunks = chunks
        self._clock = clock
        self._tell: Tell | None = tell
        self._look = look
        self._call, self._began, self._first = call, began, first
        self.ready = chunks.ready
        self._show()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chunks, name)

    async def fill(self) -> bool:
        """Wait until a chunk is ready. False at the proper end."""
        try:
            more: bool = await self._chunks.fill()
        except BaseException as error:
            self._over(error)
            raise
        if more:
            self._show()
        else:
            self._over(None)
        return more

    def _show(self) -> None:
        if self._look is not None:
            self._look(self.ready)

    def close(self) -> None:
        ended = self._chunks.over and not self.ready
        self._chunks.close()
        self._over(None if ended else GeneratorExit())

    def _over(self, error: BaseException | None) -> None:
        tell, self._tell = self._tell, None
        if tell is None:
            return
        hidden, usage = self._chunks.hidden, self._chunks.usage
        _told(tell, Outcome(self._call, self._began, self._first, self._clock.now(), None, hidden, usage or hidden.usage, error))

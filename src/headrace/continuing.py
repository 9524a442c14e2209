"""A streamed chat that outlives its provider: an answer that broke off is continued by another deployment, without a word said twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeAlias

from headrace.errors import HeadraceError
from headrace.models.prices import Beside
from headrace.streams import C, Chunks

GoOn: TypeAlias = Callable[[str, HeadraceError], Awaitable[Chunks[C] | None]]
"""(what was said so far, what broke it off) → the stream that goes on from there; None where nobody can."""

_BESIDE_TEXT: Final = ("tool_calls", "function_call", "refusal", "audio", "reasoning_content", "reasoning", "thinking_blocks", "images")
"""Deltas after which an answer cannot be continued from its text alone."""


_PLAIN: Final = frozenset({"role", "content"})


def _nothing_beside(said: dict[str, Any]) -> bool:
    return not any(said.get(name) for name in _BESIDE_TEXT)


class Continuing(Generic[C]):
    """Chunks of a chat with one choice, from as many streams as it takes. The caller sees one: one id, one role, one finish.

    An answer that was plain text so far can be continued. Any other ends with its error, which carries what was received.
    """

    __slots__ = ("_chunks", "_first", "_go_on", "_plain", "_said", "_seam", "_when_over", "ready")

    def __init__(self, chunks: Chunks[C], go_on: GoOn[C]) -> None:
        self._chunks = chunks
        self._go_on = go_on
        self._first: Any = None
        self._said: list[str] = []
        self._plain = True
        self._seam = ""
        """White space that the caller has and the next stream may say again."""
        self.ready: deque[C] = deque()
        self._pass_on()

    # what a `Stream` asks of its chunks

    @property
    def hidden(self) -> Beside:
        return self._chunks.hidden

    @property
    def usage(self) -> dict[str, Any] | None:
        return self._chunks.usage

    @property
    def count(self) -> int:
        return self._chunks.count

    @property
    def over(self) -> bool:
        return self._chunks.over

    def close(self) -> None:
        self._chunks.close()

    async def fill(self) -> bool:
        """Wait until a chunk is ready. False at the proper end."""
        while not self.ready:
            try:
                more = self._chunks.ready or await self._chunks.fill()
            except HeadraceError as error:
                await self._continue(error)
                continue
            if not more:
                return False
            self._pass_on()
        return True

    # one stream after the other

    def _pass_on(self) -> None:
        ready = self._chunks.ready
        while ready:
            chunk = ready.popleft()
            if self._first is None:
                self._first = chunk
            elif self._chunks.hidden is not self._first._hidden_params and not self._joined(chunk):
                continue
            self._note(chunk)
            self.ready.append(chunk)

    def _note(self, chunk: Any) -> None:
        for choice in chunk.__dict__.get("choices") or ():
            fields = choice.__dict__
            delta = fields.get("delta")
            if delta is None:
                continue
            said = delta.__dict__
            if text := said.get("content"):
                self._said.append(text)
            if fields.get("finish_reason") or fields.get("index") or not (said.keys() <= _PLAIN or _nothing_beside(said)):
                self._plain = False

    def _joined(self, chunk: Any) -> bool:
        """Make a later stream's chunk one of the first's. False for one that says nothing new."""
        fields, first = chunk.__dict__, self._first.__dict__
        fields |= {name: first[name] for name in ("id", "created", "model") if name in first}
        says = bool(fields.get("usage"))
        for choice in fields.get("choices") or ():
            delta = choice.__dict__.get("delta")
            if delta is not None:
                delta.__dict__.pop("role", None)
                self._unsaid(delta.__dict__)
                says = says or any(value not in (None, "", []) for value in delta.__dict__.values())
            says = says or bool(choice.__dict__.get("finish_reason"))
        return says

    def _unsaid(self, said: dict[str, Any]) -> None:
        """Take away the white space at the seam that the caller has already."""
        text = said.get("content")
        if not text or not self._seam:
            return
        same = len(text) - len(text.lstrip())
        again = self._seam[:same] if text.startswith(self._seam[:same]) else ""
        said["content"] = text[len(again) :]
        self._seam = self._seam[len(again) :] if again and len(again) == len(text) else ""

    async def _continue(self, error: HeadraceError) -> None:
        said = "".join(self._said)
        other = None
        if self._plain and said.strip():
            try:
                other = await self._go_on(said.rstrip(), error)
            except HeadraceError as later:
                error.__context__ = later
        if other is None:
            error.received = said
            raise error
        self._seam = said[len(said.rstrip()) :]
        self._chunks = other
        self._pass_on()

"""Streamed chats that survive a provider failure: another deployment continues an interrupted response without repeating text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from headrace.dialects.openai_stream import Said
from headrace.errors import HeadraceError
from headrace.streams import C, Chunks, Outer

GoOn: TypeAlias = Callable[[str, HeadraceError], Awaitable[Chunks[C] | None]]
"""Called with the text received so far (may be empty) and the error; returns the stream that continues it, or None if
no deployment can."""


class Continuing(Outer[C]):
    """The chunks of a one-choice chat, from as many streams as needed. The caller sees one id, one role and one finish
    reason.

    Only a plain-text response can be continued. Any other ends with its error, which carries the text received.
    """

    __slots__ = ("_go_on", "_joins", "_said", "_seam")

    def __init__(self, chunks: Chunks[C], go_on: GoOn[C]) -> None:
        """`chunks` must record its text in `said`."""
        super().__init__(chunks)
        self._go_on = go_on
        self._said = chunks.said or Said()
        self._joins = False
        """Whether a later stream is being read, whose chunks must be rewritten to match the first's."""
        self._seam = ""
        """Trailing white space that the caller already has and the next stream may repeat."""
        self.ready = chunks.ready
        """One deque for all streams, since wrappers of this stream may hold a reference to it."""

    async def fill(self) -> bool:
        """Wait until a chunk is ready. False at the regular end of the stream."""
        while not self.ready:
            try:
                more = await self._chunks.fill()
            except HeadraceError as error:
                if not await self._continued(error):
                    raise
                continue
            if not more:
                return False
            if self._joins:
                self._pass_on()
        return True

    def _pass_on(self) -> None:
        ready = self._chunks.ready
        while ready:
            chunk = ready.popleft()
            if self._joined(chunk):
                self.ready.append(chunk)

    def _joined(self, chunk: Any) -> bool:
        """Rewrite a later stream's chunk to match the first's. False if it adds nothing."""
        fields = chunk.__dict__
        fields |= self._said.first or {}
        says = bool(fields.get("usage"))
        for choice in fields.get("choices") or ():
            delta = choice.__dict__.get("delta")
            if delta is not None:
                delta.__dict__.pop("role", None)
                self._unsaid(delta.__dict__)
                says = says or any(value not in (None, "", []) for value in delta.__dict__.values())
            says = says or bool(choice.__dict__.get("finish_reason"))
        self._said.note(chunk.model_dump())
        return says

    def _unsaid(self, said: dict[str, Any]) -> None:
        """Remove leading white space that the caller already has."""
        text = said.get("content")
        if not text or not self._seam:
            return
        same = len(text) - len(text.lstrip())
        again = self._seam[:same] if text.startswith(self._seam[:same]) else ""
        said["content"] = text[len(again) :]
        self._seam = self._seam[len(again) :] if again and len(again) == len(text) else ""

    async def _continued(self, error: HeadraceError) -> bool:
        """Whether another stream takes over. If not, sets `error.received` to the text so far."""
        said = "".join(self._said.texts)
        other = None
        if self._said.plain:
            try:
                other = await self._go_on(said.rstrip(), error)
            except HeadraceError as later:
                error.__context__ = later
        if other is None:
            error.received = said
            return False
        self._seam = said[len(said.rstrip()) :]
        self._chunks, self._joins = other, True
        self._pass_on()
        return True

"""A streamed chat that outlives its provider: an answer that broke off is continued by another deployment, without a word said twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from headrace.dialects.openai_stream import Said
from headrace.errors import HeadraceError
from headrace.streams import C, Chunks, Outer

GoOn: TypeAlias = Callable[[str, HeadraceError], Awaitable[Chunks[C] | None]]
"""(what was said so far, empty for nothing yet; what broke it off) → the stream that goes on from there; None where nobody can."""


class Continuing(Outer[C]):
    """Chunks of a chat with one choice, from as many streams as it takes. The caller sees one: one id, one role, one finish.

    An answer that was plain text so far can be continued. Any other ends with its error, which carries what was received.
    """

    __slots__ = ("_go_on", "_joins", "_said", "_seam")

    def __init__(self, chunks: Chunks[C], go_on: GoOn[C]) -> None:
        """chunks: a stream that notes what it says."""
        super().__init__(chunks)
        self._go_on = go_on
        self._said = chunks.said or Said()
        self._joins = False
        """Whether another stream goes on by now, whose chunks must become the first's."""
        self._seam = ""
        """White space that the caller has and the next stream may say again."""
        self.ready = chunks.ready
        """One for all streams: whoever stands around this one may hold it."""

    async def fill(self) -> bool:
        """Wait until a chunk is ready. False at the proper end."""
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

    # one stream after the other

    def _pass_on(self) -> None:
        ready = self._chunks.ready
        while ready:
            chunk = ready.popleft()
            if self._joined(chunk):
                self.ready.append(chunk)

    def _joined(self, chunk: Any) -> bool:
        """Make a later stream's chunk one of the first's. False for one that says nothing new."""
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
        """Take away the white space at the seam that the caller has already."""
        text = said.get("content")
        if not text or not self._seam:
            return
        same = len(text) - len(text.lstrip())
        again = self._seam[:same] if text.startswith(self._seam[:same]) else ""
        said["content"] = text[len(again) :]
        self._seam = self._seam[len(again) :] if again and len(again) == len(text) else ""

    async def _continued(self, error: HeadraceError) -> bool:
        """Whether another stream goes on; else the error says what had arrived."""
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

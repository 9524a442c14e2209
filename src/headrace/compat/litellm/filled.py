"""Chunks as in litellm: each has a choice, because programs read the first, which OpenAI's final usage chunk lacks."""

from __future__ import annotations

from typing import Any

from headrace.compat.litellm.thinking import with_blocks, with_cache_counts
from headrace.objects import StreamingChoices


class Filled:
    """A chat's stream for a program written for litellm."""

    __slots__ = ("_chunks", "_claudes", "ready")

    def __init__(self, chunks: Any, *, claudes: bool = False) -> None:
        self._chunks, self._claudes = chunks, claudes
        self.ready = chunks.ready
        self._fill_in()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chunks, name)

    async def fill(self) -> bool:
        """Wait until a chunk is ready. False at the regular end."""
        more: bool = await self._chunks.fill()
        self._fill_in()
        return more

    def _fill_in(self) -> None:
        for chunk in self.ready:
            for choice in chunk.choices:
                if "reasoning_details" in choice.delta:
                    with_blocks(choice.delta)
            if self._claudes:
                with_cache_counts(chunk.usage)
            if not chunk.choices:
                chunk.choices = [StreamingChoices(index=0, delta={}, finish_reason=None)]

"""Ids for function calls: Gemini 2 and older Ollama versions send none, while every other dialect matches results to calls by id."""

from __future__ import annotations

import re
import zlib
from typing import Final

_MADE: Final = re.compile(r"headrace_[A-Za-z0-9_-]*_\d+")


def made_up(id_: str) -> bool:
    """Whether headrace generated the id, so that it must not be sent to the provider."""
    return _MADE.fullmatch(id_) is not None


class Turn:
    """Ids for the calls of one response: each holds the response's id and the call's position."""

    def __init__(self, response_id: str) -> None:
        self._response_id = response_id
        self._count = 0

    def called(self, name: str, id_: str, arguments: str) -> str:
        place, self._count = self._count, self._count + 1
        return id_ or f"headrace_{self._answer(name, arguments)}_{place}"

    def _answer(self, name: str, arguments: str) -> str:
        """The response's id, reduced to characters that every provider accepts."""
        told = re.sub(r"[^A-Za-z0-9_-]", "", self._response_id)[:40]
        return told or f"{zlib.crc32(f'{name} {arguments}'.encode('utf-8', 'replace')):08x}"

    def answered(self, name: str, id_: str) -> str:
        return id_


class History(Turn):
    """Ids for the calls and results of a conversation. Results without an id are matched in order, by name if they have one."""

    def __init__(self) -> None:
        super().__init__("call")
        self._open: list[tuple[str, str]] = []

    def called(self, name: str, id_: str, arguments: str) -> str:
        made = super().called(name, id_, arguments)
        self._open.append((name, made))
        return made

    def answered(self, name: str, id_: str) -> str:
        """The id of the call that a result belongs to; the result's own id, which may be "", if no call matches."""
        for place, (called, made) in enumerate(self._open):
            if made == id_ or (not id_ and name in (called, "")):
                del self._open[place]
                return made
        return id_

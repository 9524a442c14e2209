"""Observes streams of Anthropic's Messages that are forwarded unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct, field

from headrace.dialects.anthropic_messages.responses import read_usage
from headrace.dialects.openai_chat.responses import write_usage
from headrace.dialects.watching import UNSOUND
from headrace.dialects.watching import Watcher as Watching
from headrace.types import Json
from headrace.wire import Frame

_PIECES: Final = frozenset({"content_block_delta", "content_block_start", "content_block_stop", "ping"})


class _Message(Struct, gc=False):
    usage: dict[str, Json] | None = None


class _Glimpse(Struct, gc=False):
    type: str
    message: _Message | None = None
    usage: dict[str, Json] | None = None


_glimpse: Final = msgspec.json.Decoder(_Glimpse).decode


class Watcher(Watching, eq=False):
    """Observes one message, which ends with `message_stop`."""

    _counts: dict[str, Json] = field(default_factory=dict)

    def glance(self, data: bytes) -> bool:
        try:
            event = _glimpse(data)
        except UNSOUND:
            return False
        if event.type in _PIECES:
            return True
        if self._done:
            return False
        match event:
            case _Glimpse("message_start", message=_Message(usage=counted)) | _Glimpse("message_delta", usage=counted):
                self._counts = count(self._counts, counted)
            case _Glimpse("message_stop"):
                self._end()
            case _:
                return False
        return True

    def _look(self, event: Mapping[str, Json], frame: Frame) -> None:
        kind = event.get("type", "error" if "error" in event else frame.event)
        match kind:
            case "message_start":
                self._counts = count(self._counts, event["message"].get("usage"))
            case "message_delta":
                self._counts = count(self._counts, event.get("usage"))
            case "message_stop":
                self._end()
            case "error":
                raise self._error(event)

    def _end(self) -> None:
        self._done = True
        self.usage = write_usage(read_usage(self._counts)) if self._counts else None


def count(counts: dict[str, Json], usage: Json) -> dict[str, Json]:
    """`counts` updated with `usage`. Later counts are more accurate: only the last includes what server tools read."""
    if not isinstance(usage, Mapping):
        return counts
    return counts | {name: value for name, value in usage.items() if value is not None or name not in counts}

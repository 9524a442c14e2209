"""Streams of OpenAI's Responses handed on as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from headrace.dialects.fields import obj
from headrace.dialects.openai_chat.responses import write_usage
from headrace.dialects.openai_responses.responses import read_usage
from headrace.dialects.openai_responses.streams import ENDS, error_body
from headrace.dialects.watching import UNSOUND
from headrace.dialects.watching import Watcher as Watching
from headrace.types import Json
from headrace.wire import Frame

_TELLING: Final = ENDS | {"response.failed", "error", ""}


class _Glimpse(Struct, gc=False):
    type: str
    response: None = None


_glimpse: Final = msgspec.json.Decoder(_Glimpse).decode


class Watcher(Watching):
    """One response, complete when an event says so and holds all of it."""

    __slots__ = ()

    def glance(self, data: bytes) -> bool:
        try:
            return _glimpse(data).type not in _TELLING
        except UNSOUND:
            return False

    def _look(self, event: Mapping[str, Json], frame: Frame) -> None:
        kind = event.get("type") or frame.event
        if kind in ("error", "response.failed"):
            raise self._error(error_body(event))
        if kind in ENDS:
            usage = obj(event.get("response"), "response").get("usage")
            self._done = True
            self.usage = write_usage(read_usage(usage)) if isinstance(usage, Mapping) else None

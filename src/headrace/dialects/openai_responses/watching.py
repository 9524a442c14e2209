"""Observes streams of OpenAI's Responses that are forwarded unchanged."""

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
from headrace.errors import BadRequestError
from headrace.types import Json
from headrace.wire import Frame

_TELLING: Final = ENDS | {"response.failed", "error", ""}


class _Glimpse(Struct, gc=False):
    type: str
    response: msgspec.Raw = msgspec.Raw()


class _Counted(Struct, gc=False):
    usage: Json


class _Whole(Struct, gc=False):
    """An event with the whole response, of which only the usage is decoded because the rest is long."""

    type: str
    response: _Counted


_whole: Final = msgspec.json.Decoder(_Whole).decode
_glimpse: Final = msgspec.json.Decoder(_Glimpse).decode


class Watcher(Watching, eq=False):
    """Observes one response, which ends with an event that contains all of it."""

    def glance(self, data: bytes) -> bool:
        try:
            event = _glimpse(data)
        except UNSOUND:
            return False
        return not event.response and event.type not in _TELLING

    def look(self, frame: Frame) -> None:
        try:
            told = _whole(frame.data)
            if told.type in ENDS and not self._done:
                self._end(told.response.usage)
                return
        except (*UNSOUND, AttributeError, TypeError, ValueError, BadRequestError):
            self.feed(frame)  # reports what is wrong, if anything
            return
        if told.type in _TELLING:
            self.feed(frame)

    def _look(self, event: Mapping[str, Json], frame: Frame) -> None:
        kind = event.get("type") or frame.event
        if kind in ("error", "response.failed"):
            raise self._error(error_body(event))
        if kind in ENDS:
            self._end(obj(event.get("response"), "response").get("usage"))

    def _end(self, usage: Json) -> None:
        self._done = True
        self.usage = write_usage(read_usage(usage)) if isinstance(usage, Mapping) else None

"""Observes a stream that is forwarded in its own dialect: errors within it, its proper end, and its usage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.dialects.base import Target
from headrace.dialects.decoding import decode
from headrace.errors import APIResponseValidationError, BadRequestError, Failure, HeadraceError, Kind, TruncatedStream, error_of
from headrace.types import Json
from headrace.wire import Frame

UNSOUND: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Decoding errors that `glance` leaves to `feed`, which reports what is wrong, if anything."""


class Watcher(Struct, eq=False):
    """Parses events without building hub values. Agrees with the dialect's reader on errors, end and usage.

    A dialect implements `_look` (what an event means), `glance` (the fast path) and `_complete` (whether the stream may
    end here). The structs `glance` decodes into have only the fields it needs: the others are merely checked to be
    valid JSON.
    """

    target: Target
    usage: dict[str, Any] | None = None
    """In OpenAI's format, set once the stream has ended: an interim count would be taken for the total."""
    _done: bool = False

    def feed(self, frame: Frame, *, last: bool = False) -> dict[str, Any] | None:
        """The event; None for an empty frame. last: the frame was not terminated, so invalid JSON means truncation.

        Raises HeadraceError for an error sent within the stream.
        """
        data = frame.data
        if not data or data.isspace() or data.lstrip()[:6] == b"[DONE]":
            return None
        try:
            event = decode(data)
        except UNSOUND:
            if last or self._done:
                return None
            raise self._bad(frame) from None
        if type(event) is list and len(event) == 1:  # Gemini's array of one
            event = event[0]
        if type(event) is not dict:
            raise self._bad(frame)
        if not self._done:
            try:
                self._look(event, frame)
            except (AttributeError, LookupError, TypeError, ValueError, BadRequestError) as error:
                if isinstance(error, BadRequestError) and error.failure.provider:
                    raise  # the provider's own error about the request
                raise self._bad(frame) from None
        return event

    def look(self, frame: Frame) -> None:
        """`feed` for callers that do not need the event."""
        self.feed(frame)

    def glance(self, data: bytes) -> bool:
        """Fast path: True if the event is valid and needs no `feed`; its end and usage are then recorded, at a third of the cost."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends the stream. Raises TruncatedStream unless the stream had signalled its end."""
        if not self._done and not self._complete():
            message = f"{self.target.provider}: the stream ended early"
            raise TruncatedStream.of(Failure(Kind.TRUNCATED, message, provider=self.target.provider, model=self.target.model))
        self._done = True

    def chunks(self, frame: Frame, *, last: bool = False) -> Sequence[dict[str, Any]]:
        event = self.feed(frame, last=last)
        return () if event is None else (event,)

    def rest(self) -> Sequence[dict[str, Any]]:
        """`close` for callers that take events; the result is empty because nothing is held back."""
        self.close()
        return ()

    def _look(self, event: Mapping[str, Json], frame: Frame) -> None:
        raise NotImplementedError

    def _complete(self) -> bool:
        return False

    def _error(self, body: Json) -> HeadraceError:
        from headrace.dialects.failures import read_error_inside  # late: only failures need its tables

        return error_of(read_error_inside(body, provider=self.target.provider, model=self.target.model))

    def _bad(self, frame: Frame) -> HeadraceError:
        message = f"{self.target.provider}: a stream event ({len(frame.data)} bytes) is not valid in the dialect"
        failure = Failure(Kind.BAD_RESPONSE, message, provider=self.target.provider, model=self.target.model)
        return APIResponseValidationError.of(failure)

"""A stream handed on in its own dialect, looked at in passing: what goes wrong inside it, its proper end, and its usage."""

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
"""What `glance` leaves to `feed`, which says what is wrong, if anything is."""


class Watcher(Struct, eq=False):
    """Events as they came. It agrees with the dialect's reader on errors, end and usage, and builds nothing of the hub.

    A dialect says in `_look` what an event tells, in `glance` whether that is worth a look, in `_complete` whether the end may come.
    What `glance` decodes has only the fields that it needs: the others are checked to be JSON and passed over.
    """

    target: Target
    usage: dict[str, Any] | None = None
    """In OpenAI's form, once the stream has told its end: a count from the middle would be taken for all of it."""
    _done: bool = False

    def feed(self, frame: Frame, *, last: bool = False) -> dict[str, Any] | None:
        """The event; None for what holds none. last: the frame was not ended properly, so broken JSON is the stream's cut.

        Raises HeadraceError for an error sent inside the stream.
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
                    raise  # what the provider says of the request
                raise self._bad(frame) from None
        return event

    def look(self, frame: Frame) -> None:
        """`feed` where nobody needs the event."""
        self.feed(frame)

    def glance(self, data: bytes) -> bool:
        """Whether an event is sound and needs no other look: what it tells of end and usage was noted, at a third of the cost."""
        raise NotImplementedError

    def close(self) -> None:
        """The bytes have ended. Raises TruncatedStream unless the stream had said so."""
        if not self._done and not self._complete():
            message = f"{self.target.provider}: the stream ended before it was finished"
            raise TruncatedStream.of(Failure(Kind.TRUNCATED, message, provider=self.target.provider, model=self.target.model))
        self._done = True

    def chunks(self, frame: Frame, *, last: bool = False) -> Sequence[dict[str, Any]]:
        event = self.feed(frame, last=last)
        return () if event is None else (event,)

    def rest(self) -> Sequence[dict[str, Any]]:
        """`close`; nothing is held back."""
        self.close()
        return ()

    def _look(self, event: Mapping[str, Json], frame: Frame) -> None:
        raise NotImplementedError

    def _complete(self) -> bool:
        return False

    def _error(self, body: Json) -> HeadraceError:
        from headrace.dialects.failures import read_error_inside  # late: only a failure needs its tables

        return error_of(read_error_inside(body, provider=self.target.provider, model=self.target.model))

    def _bad(self, frame: Frame) -> HeadraceError:
        message = f"{self.target.provider}: an event of the stream ({len(frame.data)} bytes) is not what the dialect allows"
        failure = Failure(Kind.BAD_RESPONSE, message, provider=self.target.provider, model=self.target.model)
        return APIResponseValidationError.of(failure)

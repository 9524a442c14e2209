"""Streams of typed events in OpenAI's words: images as they are drawn, transcriptions as they are heard.

`image_generation.partial_image` and `.completed`, `image_edit.…`, `transcript.text.delta`, `.segment` and `.done`; what is said of them is
from the types of OpenAI's SDK (openai 3.54.0, `types/image_gen_stream_event.py` and its like, read 2026-11-29). No `[DONE]` is promised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headrace.dialects.openai_stream import ChunkReader
from headrace.wire import Frame


class EventReader(ChunkReader, kw_only=True, eq=False):
    """Frames of one stream as parsed events. It is whole when the event of the last type has come."""

    last: str
    """The type of its last event."""
    _typed: bool = False

    def feed(self, frame: Frame, *, last: bool = False) -> dict[str, Any] | None:
        event = super().feed(frame, last=last)
        if event is not None and "type" in event:
            self._typed = True
            self.done = self.done or event["type"] == self.last
        return event

    def glance(self, data: bytes) -> bool:
        """Events are few or small: each is looked at."""
        return False

    def chunks(self, frame: Frame, *, last: bool = False) -> Sequence[dict[str, Any]]:
        """A whole answer, of a model that does not stream and was not heard to say so, is its last events."""
        event = self.feed(frame, last=last)
        if event is None or self._typed or not last:
            return () if event is None else (event,)
        if "data" not in event and "text" not in event:
            raise self._broken(frame)
        self.done = True
        return tuple(events_of(self.last, event))


def events_of(last: str, whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A whole answer as the events that end its stream: one for what was heard, one for each image, the usage with the last of them."""
    images = whole.get("data")
    if not isinstance(images, list):
        yield {"type": last, **whole}
        return
    beside = {name: value for name, value in whole.items() if name not in ("data", "created", "usage")}
    for number, image in enumerate(images, 1):
        used = {"usage": whole["usage"]} if number == len(images) and whole.get("usage") else {}
        yield {"type": last, "created_at": whole.get("created"), **beside, **image, **used}

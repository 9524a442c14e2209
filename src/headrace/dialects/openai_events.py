"""Streams of OpenAI's typed events: images with partial previews, and transcriptions.

`image_generation.partial_image` and `.completed`, `image_edit.…`, `transcript.text.delta`, `.segment` and `.done`, as
the types of OpenAI's SDK have them (openai 3.54.0, `types/image_gen_stream_event.py` and similar, read 2026-11-29).
`[DONE]` is not guaranteed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headrace.dialects.openai_stream import ChunkReader
from headrace.wire import Frame


class EventReader(ChunkReader, kw_only=True, eq=False):
    """Parses the frames of one stream into events. The stream is complete after an event of the final type."""

    last: str
    """The type of the stream's final event."""
    _typed: bool = False

    def feed(self, frame: Frame, *, last: bool = False) -> dict[str, Any] | None:
        event = super().feed(frame, last=last)
        if event is not None and "type" in event:
            self._typed = True
            self.done = self.done or event["type"] == self.last
        return event

    def glance(self, data: bytes) -> bool:
        """Always False: events are few or small, so each is parsed."""
        return False

    def chunks(self, frame: Frame, *, last: bool = False) -> Sequence[dict[str, Any]]:
        """The events of a frame. A whole response, from a model that ignores `stream`, is converted to its final events."""
        event = self.feed(frame, last=last)
        if event is None or self._typed or not last:
            return () if event is None else (event,)
        if "data" not in event and "text" not in event:
            raise self._broken(frame)
        self.done = True
        return tuple(events_of(self.last, event))


def events_of(last: str, whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A whole response as the events that end its stream: one for a transcription, or one for each image with the usage in the last."""
    images = whole.get("data")
    if not isinstance(images, list):
        yield {"type": last, **whole}
        return
    beside = {name: value for name, value in whole.items() if name not in ("data", "created", "usage")}
    for number, image in enumerate(images, 1):
        used = {"usage": whole["usage"]} if number == len(images) and whole.get("usage") else {}
        yield {"type": last, "created_at": whole.get("created"), **beside, **image, **used}

"""Recorded provider traffic, where there is any: `$HEADRACE_WIRE`, else `shared/wire` beside the repository. It is read, never copied."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from headrace.framing import SseReader
from headrace.wire import Frame

FAMILIES = {"openai-chat": "chat", "openai-completions": "completions", "embeddings": "embeddings"}

OTHER_SHAPES = {("cohere", "embeddings"), ("gemini", "embeddings"), ("writer", "openai-completions")}
"""Providers whose recorded replies of that family are in a shape of their own."""


class Exchange(msgspec.Struct):
    """One recorded request and its reply. README.md beside the recordings says what each field is."""

    id: str
    provider: str
    endpoint: str
    family: str
    status: int
    tags: list[str] = []
    method: str = ""
    host: str | None = None
    path: str | None = None
    request_json: Any = None
    response_json: Any = None
    sse_text: str | None = None
    eventstream_b64: str | None = None
    response_b64: str | None = None
    response_text: str | None = None
    response_headers: dict[str, str] | None = None
    reply_only: bool = False

    @property
    def kind(self) -> str:
        """`chat`, `completions` or `embeddings` in OpenAI's shape; "" for another dialect."""
        if (self.provider, self.family) in OTHER_SHAPES or (self.path or "").endswith("/api/embeddings"):
            return ""
        return FAMILIES.get(self.family, "")

    @property
    def is_error(self) -> bool:
        """Refused, also where a fixture's status is missing and so reads 200."""
        body = self.response_json
        return self.status >= 400 or (isinstance(body, dict) and "error" in body and "choices" not in body)

    @property
    def headers(self) -> dict[str, str]:
        """Of the reply, as far as HTTP can say them: recorders wrote what they liked."""
        return {name: value.encode("latin-1", "replace").decode("latin-1") for name, value in (self.response_headers or {}).items()}

    def frames(self) -> list[Frame]:
        """The recorded stream's frames."""
        reader = SseReader()
        return [*reader.feed((self.sse_text or "").encode()), *reader.close()]

    def __str__(self) -> str:
        return f"{self.id} {self.provider} {self.endpoint} {self.status}"


def folder() -> Path | None:
    """Where the recordings are; None when they are not on this machine."""
    given = os.environ.get("HEADRACE_WIRE")
    path = Path(given) if given else Path(__file__).parents[3] / "shared" / "wire"
    return path if path.is_dir() else None


@cache
def everything() -> tuple[Exchange, ...]:
    """Every exchange of every dialect."""
    place = folder()
    decode = msgspec.json.Decoder(Exchange).decode
    return (
        () if place is None else tuple(decode(line) for file in sorted(place.glob("*/*.jsonl")) for line in file.read_bytes().splitlines())
    )


def exchanges(kind: str = "") -> Iterator[Exchange]:
    """Those of OpenAI's dialect, of one kind or of all."""
    return (exchange for exchange in everything() if exchange.kind and kind in ("", exchange.kind))

"""Files of any size as they come: their bytes, or what a form makes of them on the way."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from headrace.dialects.forms import Formed, form_of, in_pieces
from headrace.kept import FILE_CONTENT
from headrace.providers.rows import Provider
from headrace.wire import Headers, HttpResponse


class Making(Protocol):
    """What a form's `making(target)` gives."""

    def feed(self, data: bytes) -> bytes:
        """What has become whole by `data`. Raises HeadraceError, and what a form's `read` raises for what is none of its answers."""
        ...

    def close(self) -> bytes:
        """The rest."""
        ...


class Download:
    """A file's bytes: `streams.Source`."""

    usage: dict[str, Any] | None = None

    def __init__(self) -> None:
        self.count = 0

    def feed(self, data: bytes, ready: deque[bytes]) -> None:
        if data:
            self.count += 1
            ready.append(data)

    def close(self, ready: deque[bytes]) -> None:
        """Whether all has come the transport knows."""


class Made(Download):
    """The same with what a form makes of them."""

    def __init__(self, formed: Formed, making: Making, headers: Headers) -> None:
        super().__init__()
        self._formed = formed
        self._making = making
        self._headers = headers

    def feed(self, data: bytes, ready: deque[bytes]) -> None:
        super().feed(self._formed.sound(HttpResponse(200, self._headers, data), lambda: self._making.feed(data)), ready)

    def close(self, ready: deque[bytes]) -> None:
        super().feed(self._formed.sound(HttpResponse(200, self._headers, b""), self._making.close), ready)


def download(formed: Formed | None, headers: Headers) -> Download:
    """What hands a file on. formed: of a provider whose files have a form of their own."""
    making = None if formed is None else getattr(formed.form, "making", None)
    return Download() if formed is None or making is None else Made(formed, making(formed.target), headers)


def reads_in_pieces(provider: Provider) -> bool:
    """Whether the files that a provider keeps can be read piece by piece."""
    form = provider.forms.get("files")
    return form is None or in_pieces(form_of("files", form, FILE_CONTENT.form))

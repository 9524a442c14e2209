"""Multipart forms, parsed as they arrive: small files stay in memory, large ones go to a temporary file, all within limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Any, Final, Self

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from headrace.calls import shape
from headrace.errors import BadRequestError, Kind
from headrace.gateway.requests import KEPT, Receive, pieces_of, refusal

HELD: Final = 1 << 20
"""Bytes of one file that stay in memory; longer ones go to disk."""

LONGEST_FIELD: Final = 1 << 20
"""Bytes of a field that is not a file."""

MOST_PARTS: Final = 256


class ReadForm:
    """A form: `fields` by name, texts as strings, files as `(name, open file, content type)`. Closes its files on exit."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self._files: list[SpooledTemporaryFile[bytes]] = []

    def open_file(self) -> SpooledTemporaryFile[bytes]:
        """A temporary file that is closed with the form."""
        self._files.append(SpooledTemporaryFile(HELD))  # noqa: SIM115 - closed with the form
        return self._files[-1]

    def add(self, name: str, value: Any) -> None:
        """Add a field; `name[]`, or a repeated name, makes a list."""
        bare = name.removesuffix("[]")
        if bare not in self.fields:
            self.fields[bare] = [value] if name != bare else value
        elif isinstance(self.fields[bare], list):
            self.fields[bare].append(value)
        else:
            self.fields[bare] = [self.fields[bare], value]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for file in self._files:
            with suppress(OSError):  # a full disk raises again on close
                file.close()


class _Part:
    """The part that is being read."""

    def __init__(self, form: ReadForm) -> None:
        self._form = form
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = b"", b""
        self._field = ""
        self._filename: str | None = None
        self._text = bytearray()
        self._file: SpooledTemporaryFile[bytes] | None = None

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_over(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def headers_over(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise BadRequestError("every part of the form needs a name in its content-disposition")
        self._field = options[b"name"].decode("utf-8", "replace")
        if b"filename" in options:
            self._filename = options[b"filename"].decode("utf-8", "replace")
            self._file = self._form.open_file()

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > LONGEST_FIELD:
            raise refusal(413, Kind.BAD_REQUEST, f"{self._field} exceeds the limit of {LONGEST_FIELD} bytes", self._field)

    def over(self) -> None:
        if self._file is None:
            self._form.add(self._field, self._text.decode("utf-8", "replace"))
            return
        self._file.seek(0)
        kind = self._headers.get(b"content-type", b"application/octet-stream").decode("latin-1")
        self._form.add(self._field, (self._filename or "upload", self._file, kind))


class _Parts:
    """Forwards the parser's events to the current part."""

    def __init__(self, form: ReadForm) -> None:
        self._form = form
        self._part = _Part(form)
        self._count = 0
        self.ended = False

    def begin(self) -> None:
        self._count += 1
        if self._count > MOST_PARTS:
            raise refusal(413, Kind.BAD_REQUEST, f"the form exceeds the limit of {MOST_PARTS} parts")
        self._part = _Part(self._form)

    def end(self) -> None:
        self.ended = True

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self.begin,
            "on_header_field": lambda data, start, end: self._part.header_name(data, start, end),
            "on_header_value": lambda data, start, end: self._part.header_value(data, start, end),
            "on_header_end": lambda: self._part.header_over(),
            "on_headers_finished": lambda: self._part.headers_over(),
            "on_part_data": lambda data, start, end: self._part.data(data, start, end),
            "on_part_end": lambda: self._part.over(),
            "on_end": self.end,
        }


async def read_form(receive: Receive, headers: Mapping[str, str], most: int, form: ReadForm) -> None:
    """Fill `form`. Raises Left, a refusal with status 413 or 415, and BadRequestError for an invalid form."""
    kind, options = parse_options_header(headers.get("content-type", ""))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise refusal(
            415, Kind.BAD_REQUEST, "this endpoint takes a form with a file: send content-type multipart/form-data with its boundary"
        )
    parts = _Parts(form)
    try:
        parser = MultipartParser(options[b"boundary"], parts.callbacks())  # type: ignore[arg-type]  # its own names for the same
        async for piece in pieces_of(receive, headers, most):
            parser.write(piece)
        parser.finalize()
    except FormParserError as error:
        raise BadRequestError(f"the form cannot be read: {error}") from None
    if not parts.ended:
        raise BadRequestError("the form ends before its last boundary")
    if not KEPT.isdisjoint(form.fields):
        name = min(KEPT.intersection(form.fields))
        raise refusal(400, Kind.BAD_REQUEST, f"{name} is set by the gateway's configuration: leave it out", name)


def flag(fields: dict[str, Any], name: str) -> None:
    """Convert a form's `true` or `false` to a bool. Raises BadRequestError."""
    if name not in fields:
        return
    said = {"true": True, "false": False}.get(str(fields[name]).lower())
    if said is None:
        raise BadRequestError(f"{name} must be true or false, got {shape(fields[name])}")
    fields[name] = said

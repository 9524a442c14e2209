"""Multipart request bodies (RFC 7578, RFC 2387) with files that are read while they are sent."""

from __future__ import annotations

import io
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from headrace.errors import BadRequestError

PIECE: Final = 64 * 1024
"""Bytes of a file held in memory at once."""


MOST_IN_MEMORY: Final = 1 << 20
"""Bytes that a `Spool` holds in memory before it writes to disk."""

BINARY: Final = "must be opened in binary mode: open(path, 'rb')"


class FormFile:
    """One file of a form: bytes, a path, an open file, or a tuple (name, content, content type), as in the OpenAI SDK."""

    __slots__ = ("_at", "_content", "name", "size", "type")

    def __init__(self, given: Any, where: str) -> None:
        name, content, type = _taken_apart(given, where)
        if hasattr(content, "__fspath__"):
            content = Path(content)
            if not content.is_file():
                raise BadRequestError(f"{where}: there is no file {content.name!r}")
            name = name or content.name
        self._content: bytes | Path | BinaryIO = content
        self._at = 0
        self.size = self._measured(where)
        self.name = name or Path(str(getattr(content, "name", "") or "")).name or "upload"
        self.type = type or _guessed(self.name)

    def _measured(self, where: str) -> int:
        content = self._content
        if isinstance(content, bytes):
            return len(content)
        if isinstance(content, Path):
            return content.stat().st_size
        try:
            self._at = content.tell()
            end = content.seek(0, io.SEEK_END)
            content.seek(self._at)
        except (OSError, io.UnsupportedOperation, AttributeError):
            self._content = _bytes(content.read(), where)  # a pipe can be read only once
            return len(self._content)
        return end - self._at

    def pieces(self, start: int = 0, size: int = sys.maxsize) -> Iterator[bytes]:
        """The file's bytes from `start`, at most `size` of them."""
        content = self._content
        if isinstance(content, bytes):
            yield content[start : start + size]
        elif isinstance(content, Path):
            with content.open("rb") as file:
                yield from _read(file, start, size)
        else:
            yield from _read(content, self._at + start, size)

    def __repr__(self) -> str:
        return f"<FormFile {self.name!r} {self.size} bytes>"


class Spool:
    """A body written piece by piece: in memory while small, then in an unnamed temporary file. A `headrace.wire.Upload`."""

    __slots__ = ("_file", "size", "type")

    def __init__(self, type: str) -> None:
        from tempfile import SpooledTemporaryFile  # late: few calls send batch files

        self.type = type
        self.size = 0
        self._file: Any = SpooledTemporaryFile(max_size=MOST_IN_MEMORY)  # noqa: SIM115 - lives as long as the request, which may be sent again

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.size += len(data)

    def pieces(self, start: int = 0, size: int = sys.maxsize) -> Iterator[bytes]:
        yield from _read(self._file, start, size)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.size} bytes>"


class Slice:
    """A part of a file: a `headrace.wire.Upload`."""

    __slots__ = ("_content", "_start", "size")

    def __init__(self, content: FormFile | Spool, start: int, most: int) -> None:
        self._content = content
        self._start = start
        self.size = min(most, content.size - start)

    def pieces(self) -> Iterator[bytes]:
        return self._content.pieces(self._start, self.size)

    def __repr__(self) -> str:
        return f"<Slice of {self._content!r} from {self._start} on, {self.size} bytes>"


class _Parts:
    """A sequence of parts, each with headers and content: a `headrace.wire.Upload`."""

    __slots__ = ("_parts", "boundary", "size")

    def __init__(self, parts: Iterable[tuple[str, bytes | FormFile | Spool]]) -> None:
        self.boundary = secrets.token_hex(16)
        self._parts: list[bytes | FormFile | Spool] = []
        for head, content in parts:
            self._parts += [f"--{self.boundary}\r\n{head}\r\n\r\n".encode(), content, b"\r\n"]
        self._parts.append(f"--{self.boundary}--\r\n".encode())
        self.size = sum(len(part) if isinstance(part, bytes) else part.size for part in self._parts)

    def pieces(self) -> Iterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from part.pieces()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.size} bytes>"


class Form(_Parts):
    """Fields and files as a multipart/form-data body."""

    __slots__ = ()

    def __init__(self, fields: Sequence[tuple[str, str]], files: Sequence[tuple[str, FormFile]]) -> None:
        said = [(_disposition(name), value.encode()) for name, value in fields]
        super().__init__([*said, *((_filed(name, file), file) for name, file in files)])

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self.boundary}"


class Related(_Parts):
    """Metadata and content as a multipart/related body (RFC 2387), as Google's uploads take it: pairs of content and content type."""

    __slots__ = ()

    def __init__(self, parts: Sequence[tuple[bytes | FormFile | Spool, str]]) -> None:
        super().__init__([(f"content-type: {type}", content) for content, type in parts])

    @property
    def content_type(self) -> str:
        return f"multipart/related; boundary={self.boundary}"


def open_file(given: Any, where: str) -> FormFile | list[FormFile]:
    """A caller's file, or list of files. Raises BadRequestError that names the field."""
    if isinstance(given, list):
        return [FormFile(item, f"{where}[{number}]") for number, item in enumerate(given)]
    return FormFile(given, where)


def form_of(body: Mapping[str, Any]) -> Form:
    """A request body as a form."""
    fields: list[tuple[str, str]] = []
    files: list[tuple[str, FormFile]] = []
    for field, value in body.items():
        many = isinstance(value, list)
        name = f"{field}[]" if many else field
        for item in value if many else [value]:
            if isinstance(item, FormFile):
                files.append((name, item))
            else:
                fields += _fields(name, item)
    return Form(fields, files)


def _fields(name: str, value: Any) -> list[tuple[str, str]]:
    match value:
        case Mapping():
            return [pair for key, inner in value.items() for pair in _fields(f"{name}[{key}]", inner)]
        case bool():
            return [(name, "true" if value else "false")]
    return [(name, str(value))]


def _taken_apart(given: Any, where: str) -> tuple[str | None, Any, str | None]:
    name, content, type = None, given, None
    if isinstance(given, tuple):
        if not 2 <= len(given) <= 4:
            raise BadRequestError(f"{where} as a tuple must be (name, content) or (name, content, content type), got {len(given)} items")
        name, content, type = given[0], given[1], given[2] if len(given) > 2 else None
    if isinstance(content, bytearray | memoryview):
        content = bytes(content)
    if isinstance(content, io.TextIOBase):
        raise BadRequestError(f"{where} {BINARY}")
    if not (isinstance(content, bytes) or hasattr(content, "__fspath__") or hasattr(content, "read")):
        kind = "a string" if isinstance(content, str) else f"a {content.__class__.__name__}"
        raise BadRequestError(f"{where} must be bytes, a pathlib.Path, an open file, or (name, content, content type), got {kind}")
    return name, content, type


def _bytes(content: Any, where: str) -> bytes:
    if not isinstance(content, bytes):
        raise BadRequestError(f"{where} {BINARY}")
    return content


def _read(file: BinaryIO, start: int, left: int) -> Iterator[bytes]:
    file.seek(start)
    while piece := file.read(min(PIECE, left)):
        yield _bytes(piece, "file")
        left -= len(piece)


def _guessed(name: str) -> str:
    import mimetypes  # late: it reads the system's tables

    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def _disposition(name: str) -> str:
    return f'content-disposition: form-data; name="{_quoted(name)}"'


def _filed(name: str, file: FormFile) -> str:
    return f'{_disposition(name)}; filename="{_quoted(file.name)}"\r\ncontent-type: {file.type}'


def _quoted(text: str) -> str:
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")

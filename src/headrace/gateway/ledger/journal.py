"""A file to which calls are appended before their responses end.

What `write` accepted survives the end of the process, even a crash. A line is the CRC of its JSON, in hex, and the
JSON. A torn line is left by a process that was killed while writing it; the response of its call was incomplete, as its
last byte is sent after the write.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from headrace.gateway.records import Record

SUFFIX: Final = ".journal"

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Record).decode


def framed(record: Record) -> bytes:
    """The line of a record."""
    said = _encode(record)
    return b"%08x%b\n" % (crc32(said), said)


def unframed(line: bytes) -> Record | None:
    """The record of a line; None if the line is incomplete."""
    said = line[8:]
    try:
        return _decode(said) if int(line[:8], 16) == crc32(said) else None
    except (ValueError, msgspec.DecodeError):
        return None


class Journal:
    """One process's own file, locked while the process lives."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError."""
        self.path = folder / f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        # Gets its name only once it is locked: other processes would take an unlocked journal for an orphan.
        unnamed = self.path.with_suffix(".new")
        self._file = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(self.path)
        self._torn = False
        self.kept = 0
        """How many records of the latest `extend` were written."""
        self.size = 0

    def append(self, record: Record) -> None:
        """Append a record. Raises OSError if the write fails; then the record is not in the file."""
        self.extend((record,))

    def extend(self, records: Sequence[Record]) -> None:
        """Append records in one write. Raises OSError if the write fails; then only the first `kept` of them are in the file."""
        lines = [framed(record) for record in records]
        self.kept = 0
        before = b"\n" if self._torn else b""
        self._torn = True
        written = os.write(self._file, before + b"".join(lines))
        self.size += written
        whole = len(before)
        for line in lines:
            whole += len(line)
            if whole > written:
                raise OSError(f"only {written} bytes could be written")
            self.kept += 1
        self._torn = False

    def close(self) -> None:
        os.close(self._file)

    def __repr__(self) -> str:
        return f"<Journal {self.path.name} {self.size} bytes>"


def orphans(folder: Path) -> Iterator[Path]:
    """Journals whose process has ended, each locked while it is yielded."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # another process removed it first
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                yield path
        except BlockingIOError:
            continue
        finally:
            os.close(file)


def lines(path: Path, position: int, most: int) -> tuple[list[bytes], int]:
    """Complete lines from `position` on, about `most` bytes of them, and the position after the last."""
    with path.open("rb") as file:
        file.seek(position)
        read = file.read(most)
        while read and b"\n" not in read and (more := file.read(most)):
            read += more
    end = read.rfind(b"\n") + 1
    return [line for line in read[:end].split(b"\n") if line], position + end

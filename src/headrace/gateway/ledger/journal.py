"""A file that calls are appended to before their answers end. What `write` has taken survives the end of the process, however it comes.

A line is the CRC of its JSON, in hex, and the JSON. A torn line, of a process that was killed in the middle of one, is no call that was
answered: its answer's last byte had not gone out.
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
    said = _encode(record)
    return b"%08x%b\n" % (crc32(said), said)


def unframed(line: bytes) -> Record | None:
    """None for a line that is not whole."""
    said = line[8:]
    try:
        return _decode(said) if int(line[:8], 16) == crc32(said) else None
    except (ValueError, msgspec.DecodeError):
        return None


class Journal:
    """One process's own file, locked as long as the process lives."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError."""
        self.path = folder / f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        # Under its name only once it is locked: others look for journals without a lock, and would take it for one that was left.
        unnamed = self.path.with_suffix(".new")
        self._file = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(self.path)
        self._torn = False
        self.kept = 0
        """How many of the records of the latest `extend` are in it."""
        self.size = 0

    def append(self, record: Record) -> None:
        """Raises OSError where the disk takes no more: then the record is not in it."""
        self.extend((record,))

    def extend(self, records: Sequence[Record]) -> None:
        """Several in one write. Raises OSError where the disk takes no more: then the first `kept` of them are in it, and no other."""
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
    """Journals whose process has ended; each is held while it is handed out."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # another process was faster
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                yield path
        except BlockingIOError:
            continue
        finally:
            os.close(file)


def lines(path: Path, position: int, most: int) -> tuple[list[bytes], int]:
    """Whole lines from there on, about `most` bytes of them, and the position behind the last."""
    with path.open("rb") as file:
        file.seek(position)
        read = file.read(most)
        while read and b"\n" not in read and (more := file.read(most)):
            read += more
    end = read.rfind(b"\n") + 1
    return [line for line in read[:end].split(b"\n") if line], position + end

"""Files in a cloud's storage: which bucket they go to, how they are named there, and what an id may name.

Names are litellm 1.106.2's, so that either finds what the other has put there and what people allow for such names holds for both
(litellm_core_utils/cloud_storage_security.py, llms/bedrock/files, llms/vertex_ai/files; read 2026-11-29).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol
from uuid import uuid4

from msgspec import Struct

from headrace.dialects.base import Target
from headrace.dialects.forms import Body
from headrace.dialects.forms.cloud_lines import Row
from headrace.errors import BadRequestError
from headrace.multipart import FormFile, Spool
from headrace.slices import Steps


class Bucket(Struct, frozen=True):
    """A bucket, and the folder of it that is ours: empty, or with a slash at its end."""

    scheme: str
    """`s3://` or `gs://`."""
    name: str
    folder: str = ""

    def address(self, name: str) -> str:
        return f"{self.scheme}{self.name}/{name}"


_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


def buckets_of(scheme: str, body: Body, target: Target, names: Mapping[str, str]) -> list[Bucket]:
    """The buckets that are named, `bucket` or `bucket/folder` each. names: options, with the variables that stand for them.

    Raises BadRequestError where none is, or one cannot be.
    """
    found = [_bucket(scheme, body[name], name, target) for name in names if body.get(name)]
    if not found:
        variables = " or ".join(name for names in names.values() for name in names.split(",") if name)
        raise BadRequestError(f"{target.provider} keeps files in your own bucket: pass {next(iter(names))}=, or set {variables}")
    return found


def _bucket(scheme: str, said: Any, field: str, target: Target) -> Bucket:
    name, _, folder = str(said).strip().partition("/")
    folder = folder.strip("/")
    if not _NAME.fullmatch(name) or (folder and not _is_name(folder)):
        raise BadRequestError(f"{target.provider}: {field} must be a bucket or bucket/folder, without {scheme}; got {str(said)[:80]!r}")
    return Bucket(scheme, name, f"{folder}/" if folder else "")


def _is_name(name: str) -> bool:
    """Whether an object may be called so: no part of it leads elsewhere."""
    return name.isprintable() and len(name.encode()) <= 1024 and all(part not in ("", ".", "..") for part in name.split("/"))


class Place(Struct, frozen=True):
    """One object."""

    bucket: str
    name: str


def place_of(id: Any, buckets: Sequence[Bucket], target: Target) -> Place:
    """The object that a file's id names. An id may come from somebody else, so it opens nothing but what is ours.

    Raises BadRequestError for an id of another bucket or folder, and for what is none.
    """
    scheme = buckets[0].scheme
    if not isinstance(id, str) or not id.startswith(scheme) or not _is_name(id.removeprefix(scheme).partition("/")[2]):
        raise BadRequestError(f"{target.provider}: a file's id is {scheme}bucket/name, got {str(id)[:80]!r}")
    bucket, _, name = id.removeprefix(scheme).partition("/")
    if not any(bucket == ours.name and name.startswith(ours.folder) for ours in buckets):
        ours = " or ".join(one.address(one.folder) for one in buckets)
        raise BadRequestError(f"{target.provider}: files are kept in {ours} alone, and the id names {id[:80]!r}")
    return Place(bucket, name)


def component(said: str, instead: str = "file") -> str:
    """A file's or model's name as a part of an object's."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", said.replace("\\", "/").rpartition("/")[2]).strip("._")
    return plain[:255] or instead


def new_name() -> str:
    """A name that nothing else has: the same may be put there, or ordered, again."""
    return str(uuid4())


def upload_name(folder: str, file: FormFile) -> str:
    return f"{folder}{new_name().replace('-', '')}-{component(file.name)}"


# ---- what goes up ------------------------------------------------------------------------------------------------------------------


class Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


class Stored:
    """A file on its way into a bucket: `headrace.wire.Upload`. It knows its address, which not every cloud repeats."""

    __slots__ = ("address", "content", "name")

    def __init__(self, content: FormFile | Spool, address: str, name: str) -> None:
        self.content = content
        self.address = address
        self.name = name

    @property
    def size(self) -> int:
        return self.content.size

    def pieces(self) -> Iterator[bytes]:
        return self.content.pieces()

    def __repr__(self) -> str:
        return f"<Stored {self.address} {self.size} bytes>"


def content_of(
    body: Body, target: Target, rows: Callable[[FormFile, Target], Iterator[Row]], digest: Digest
) -> Steps[tuple[FormFile | Spool, Row | None]]:
    """What is put there, and the first of its calls where it is a file of calls: those stand in the cloud's own lines. All of it goes
    into `digest`."""
    file = body["file"]
    if not isinstance(file, FormFile):
        raise BadRequestError(f"{target.provider} takes one file at a time")
    if not file.size:
        raise BadRequestError("file is empty")
    if body.get("purpose") != "batch":
        for piece in file.pieces():
            digest.update(piece)
            yield
        return file, None
    made, first = Spool("application/jsonl"), None
    for row in rows(file, target):
        first = first or row
        made.write(row.line)
        digest.update(row.line)
        yield
    if first is None:
        raise BadRequestError("file holds no call")
    return made, first

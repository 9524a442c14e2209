"""Files in cloud storage: the bucket to use, the object names, and which objects an id may refer to.

Names follow LiteLLM 1.106.2, so that either finds the other's files and access policies for such names cover both
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
    """A bucket, and headrace's folder in it: empty, or ending in a slash."""

    scheme: str
    """`s3://` or `gs://`."""
    name: str
    folder: str = ""

    def address(self, name: str) -> str:
        return f"{self.scheme}{self.name}/{name}"


_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


def buckets_of(scheme: str, body: Body, target: Target, names: Mapping[str, str]) -> list[Bucket]:
    """The configured buckets, each given as `bucket` or `bucket/folder`.

    names: options, with the environment variables that may replace them.

    Raises BadRequestError if none is given or one is invalid.
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
    """Whether the object name is valid, without `.` or `..` segments that could lead elsewhere."""
    return name.isprintable() and len(name.encode()) <= 1024 and all(part not in ("", ".", "..") for part in name.split("/"))


class Place(Struct, frozen=True):
    """One object in a bucket."""

    bucket: str
    name: str


def place_of(id: Any, buckets: Sequence[Bucket], target: Target) -> Place:
    """The object that a file id refers to.

    Ids may come from untrusted callers, so only objects in `buckets` are accepted.

    Raises BadRequestError for an invalid id or one of another bucket or folder.
    """
    scheme = buckets[0].scheme
    if not isinstance(id, str) or not id.startswith(scheme) or not _is_name(id.removeprefix(scheme).partition("/")[2]):
        raise BadRequestError(f"{target.provider}: a file id must be {scheme}bucket/name, got {str(id)[:80]!r}")
    bucket, _, name = id.removeprefix(scheme).partition("/")
    if not any(bucket == ours.name and name.startswith(ours.folder) for ours in buckets):
        ours = " or ".join(one.address(one.folder) for one in buckets)
        raise BadRequestError(f"{target.provider}: files are only stored in {ours}, but the id is {id[:80]!r}")
    return Place(bucket, name)


def component(said: str, instead: str = "file") -> str:
    """A file or model name made safe to use as a segment of an object name."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", said.replace("\\", "/").rpartition("/")[2]).strip("._")
    return plain[:255] or instead


def new_name() -> str:
    """A unique name, so that the same file can be uploaded, or the same batch created, again."""
    return str(uuid4())


def upload_name(folder: str, file: FormFile) -> str:
    return f"{folder}{new_name().replace('-', '')}-{component(file.name)}"


# ---- uploads -----------------------------------------------------------------------------------------------------------------------


class Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


class Stored:
    """A file being uploaded to a bucket (`headrace.wire.Upload`). It keeps its address, which not every cloud repeats in the response."""

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
    """The content to upload.

    A batch input file is converted to the cloud's format, and its first row is returned too. Feeds everything into
    `digest`.
    """
    file = body["file"]
    if not isinstance(file, FormFile):
        raise BadRequestError(f"{target.provider} accepts one file at a time")
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
        raise BadRequestError("file contains no calls")
    return made, first

"""Multi-step file uploads: begun by one request, completed by another or by the last part, and cancelled on failure.

A request with one of these as its `upload` only begins it; `then` returns the next request, as a form's does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Final, Protocol
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.forms import Next
from headrace.errors import BadRequestError, HeadraceError, error_of
from headrace.multipart import FormFile, Slice, Spool
from headrace.wire import HttpRequest, HttpResponse, Upload

PART: Final = 64 << 20
"""Bytes in one part. Files up to this size are uploaded in a single request."""

# ---- S3 ----------------------------------------------------------------------------------------------------------------------------

MOST_PARTS: Final = 10_000
"""Maximum number of parts in an upload (docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html, read 2026-11-29)."""


def part_of(size: int) -> int:
    """Bytes in one part, for a file of about `size` bytes.

    Whole MiB, and large enough that twice as many parts would still be allowed.
    """
    return max(PART, -(-size // (MOST_PARTS // 2 << 20)) << 20)


class Digests:
    """SHA-256 of each part of the data written to it, for signing the parts' requests."""

    __slots__ = ("_parts", "_room", "part")

    def __init__(self, part: int) -> None:
        self.part = part
        self._room = part
        self._parts = [hashlib.sha256()]

    def update(self, data: bytes, /) -> None:
        left = memoryview(data)
        while len(left) > self._room:
            self._parts[-1].update(left[: self._room])
            left, self._room = left[self._room :], self.part
            self._parts.append(hashlib.sha256())
        self._parts[-1].update(left)
        self._room -= len(left)

    def __len__(self) -> int:
        return len(self._parts)

    def hexdigests(self) -> list[str]:
        return [part.hexdigest() for part in self._parts]


class Asked(Protocol):
    """Builds a request for the object.

    query: the URL's query. said: the body. upload: replaces the body, with its SHA-256 in `hash`. span: the `Range`
    header.
    """

    def __call__(
        self, method: str, query: str, said: bytes = b"", upload: Upload | None = None, hash: str = "", span: str = ""
    ) -> HttpRequest: ...


class Multipart:
    """CreateMultipartUpload, UploadPart, CompleteMultipartUpload, AbortMultipartUpload.

    Operations as botocore 1.44.5 has them; semantics from the descriptions in that model and in @aws-sdk/client-s3
    3.1023 (read 2026-11-29). S3 keeps, and charges for, the parts of an upload that is neither completed nor aborted.

    If the response to the last step is lost, the step is repeated. If S3 then does not know the upload, it may have
    been completed: this is checked on the object, whose ETag ends in the number of parts.
    """

    __slots__ = ("_asked", "_error", "_hashes", "_id", "_part", "_tags", "_target", "address", "content", "name")

    size: Final = 0
    """The request that begins the upload has no body."""

    def __init__(self, content: FormFile | Spool, address: str, name: str, digests: Digests, asked: Asked, target: Target) -> None:
        self.content = content
        self.address = address
        self.name = name
        self._part = digests.part
        self._hashes = digests.hexdigests()
        self._asked = asked
        self._target = target
        self._id = ""
        self._tags: list[str] = []
        self._error: HeadraceError | None = None

    def pieces(self) -> Iterator[bytes]:
        return iter(())

    def then(self, response: HttpResponse, step: str) -> Next | None:
        if step == "looked" and self._is_there(response):
            return None
        if self._error is not None:
            raise self._error
        if step == "whole":
            return self._ended(response)
        if step == "part":
            self._tags.append(response.headers["etag"])
        else:
            self._id = quote(_said(response).findtext("{*}UploadId") or _missing("UploadId"), safe="")
        return self._whole() if len(self._tags) == len(self._hashes) else self._next_part()

    def _next_part(self) -> Next:
        number = len(self._tags)
        upload = Slice(self.content, number * self._part, self._part)
        request = self._asked("PUT", f"partNumber={number + 1}&uploadId={self._id}", upload=upload, hash=self._hashes[number])
        return Next("part", request, tidy=(self._abort(),), again=request)

    def _whole(self) -> Next:
        parts = "".join(f"<Part><ETag>{tag}</ETag><PartNumber>{number}</PartNumber></Part>" for number, tag in enumerate(self._tags, 1))
        body = f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{parts}</CompleteMultipartUpload>'.encode()
        request = self._asked("POST", f"uploadId={self._id}", body)
        return Next("whole", request, undo=(self._abort(),), again=request, more=(_UNKNOWN,))

    def _ended(self, response: HttpResponse) -> Next | None:
        """Handles the response to the completion.

        S3 sends status 200 before it assembles the parts, so the body may still report an error.
        """
        if response.status == _UNKNOWN:
            self._error = error_of(load("openai_chat").read_error(response, self._target))
            return Next("looked", self._asked("GET", "", span="bytes=0-0"), more=(_UNKNOWN,))
        if _said(response).tag.rpartition("}")[2] != "Error":
            return None
        failed = HttpResponse(500, response.headers, response.body)
        self._error = error_of(load("openai_chat").read_error(failed, self._target))
        return Next("aborted", self._abort())

    def _is_there(self, response: HttpResponse) -> bool:
        """Whether the object was made from these parts. Its name is unique to this upload."""
        size = response.headers.get("content-range", "").rpartition("/")[2]
        return size == str(self.content.size) and response.headers.get("etag", "").strip('"').endswith(f"-{len(self._hashes)}")

    def _abort(self) -> HttpRequest:
        return self._asked("DELETE", f"uploadId={self._id}")

    def __repr__(self) -> str:
        return f"<Multipart {self.address} {len(self._tags)} of {len(self._hashes)} parts>"


_UNKNOWN: Final = 404
"""The status for an upload or object that S3 does not know."""


def _said(response: HttpResponse) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(response.body.strip())
    except ElementTree.ParseError as error:
        raise BadRequestError(f"the response is not S3's XML: {error}") from None


def _missing(what: str) -> str:
    raise BadRequestError(f"the response has no {what}")


# ---- Cloud Storage -----------------------------------------------------------------------------------------------------------------

_INCOMPLETE: Final = 308
_DEAF: Final = 4
"""Give up after this many consecutive responses without progress."""


class Resumable:
    """A resumable upload: begun with the object's metadata; each part's response says how many bytes have arrived.

    After a failure, the last part included, the progress is queried. 308 with a Range or, if nothing has arrived,
    without one (java-storage's JsonResumableSessionQueryTask, and its pull request 2182, which quotes
    cloud.google.com/storage/docs/performing-resumable-uploads#status-check); 200 with the object once complete (the
    same task; google-cloud-storage 3.17.1, `_media/_upload.py`); parts in multiples of 256 KiB except the last (both);
    499 for a cancelled session (a reader of that page, leandrodamascena.medium.com). Read 2026-11-29.
    """

    __slots__ = ("_about", "_address", "_at", "_deaf", "content")

    def __init__(self, content: FormFile | Spool, about: bytes, endpoint: str) -> None:
        """endpoint: the host for session requests, whatever host the session's URL names, because credentials are sent with them."""
        self.content = content
        self._about = about
        self._address = endpoint
        self._at = 0
        self._deaf = 0

    @property
    def size(self) -> int:
        return len(self._about)

    def pieces(self) -> Iterator[bytes]:
        return iter((self._about,))

    def then(self, response: HttpResponse, step: str) -> Next | None:
        if step == "given up":
            raise BadRequestError(f"the session stopped accepting data after {self._at} of {self.content.size} bytes")
        if not step:
            self._address = _moved(response.headers.get("location") or _missing("location"), self._address)
        elif response.status != _INCOMPLETE:
            return None
        elif not self._went_on(response):
            return Next("given up", self._asked("DELETE"), more=(499,))
        return self._next_part()

    def _went_on(self, response: HttpResponse) -> bool:
        """Records the progress. False after too many responses without any."""
        found = re.fullmatch(r"bytes=0-(\d+)", response.headers.get("range", ""))
        before, self._at = self._at, min(int(found[1]) + 1, self.content.size) if found else 0
        self._deaf = 0 if self._at > before else self._deaf + 1
        return self._deaf < _DEAF

    def _next_part(self) -> Next:
        whole = self.content.size
        upload = Slice(self.content, self._at, PART)
        spans = f"{self._at}-{self._at + upload.size - 1}" if upload.size else "*"
        request = self._asked("PUT", {"content-range": f"bytes {spans}/{whole}"}, upload)
        how_far = self._asked("PUT", {"content-range": f"bytes */{whole}"})
        return Next("part", request, undo=(self._asked("DELETE"),), again=how_far, more=(_INCOMPLETE,))

    def _asked(self, method: str, headers: Mapping[str, str] = {}, upload: Upload | None = None) -> HttpRequest:
        return HttpRequest(method, self._address, tuple(headers.items()), upload=upload, storage="")

    def __repr__(self) -> str:
        return f"<Resumable {self._at} of {self.content.size} bytes>"


def _moved(address: str, endpoint: str) -> str:
    """`address` moved to the host of `endpoint`, with its path prefix."""
    place, here = urlsplit(address), urlsplit(endpoint)
    before = "" if place.path.startswith(f"{here.path}/") else here.path
    return f"{here.scheme}://{here.netloc}{before}{place.path}?{place.query}"

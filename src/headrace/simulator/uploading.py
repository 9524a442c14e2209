"""Google's resumable uploads, as strict as Google: each piece starts where the previous ended, pieces are multiples of
the granularity, and the total matches the announced size. The upload URL needs no further credentials.

ai.google.dev/api/files and cloud.google.com's description of the protocol; read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Final
from urllib.parse import parse_qs

from msgspec import Struct

from headrace.simulator.asks import Rejected
from headrace.simulator.openai_api import ENCODE, json_of

GRAIN: Final = 262_144
"""Each piece except the last must be a multiple of this many bytes."""

Keep = Callable[[str, bytes, str, int], dict[str, Any]]
"""(display name, content, type, time) → the file's metadata as Google returns it."""


class Told(Struct, frozen=True):
    headers: list[tuple[str, str]]
    body: bytes = b""


class Upload(Struct):
    name: str
    type: str
    size: int
    content: bytearray
    state: str = "active"


class Uploads:
    """The uploads of one provider."""

    def __init__(self, keep: Keep, place: str) -> None:
        """`place`: prefix of its paths."""
        self._keep = keep
        self._place = place
        self._uploads: dict[str, Upload] = {}
        self._numbers = count(1)

    def reply(self, path: str, query: str, headers: Mapping[str, str], body: bytes, now: int) -> Told | None:
        """The response; None for a request that is not part of an upload. Raises Rejected."""
        command = headers.get("x-goog-upload-command")
        if not path.startswith("/upload/") or command is None:
            return None
        if command == "start":
            return self._begun(path, headers, body)
        upload = self._uploads.get(parse_qs(query).get("upload_id", [""])[0])
        if upload is None:
            raise Rejected(404, "Upload not found.")
        words = {word.strip() for word in command.split(",")}
        if not words <= {"upload", "finalize", "query", "cancel"}:
            raise Rejected(400, f"Unknown upload command: {command}")
        if words == {"query"}:
            return _standing(upload)
        if upload.state != "active":
            raise Rejected(400, f"Upload has already been {upload.state}.")
        if words == {"cancel"}:
            upload.state = "cancelled"
            return _standing(upload)
        return self._more(upload, words, headers, body, now)

    def _begun(self, path: str, headers: Mapping[str, str], body: bytes) -> Told:
        if headers.get("x-goog-upload-protocol") != "resumable":
            raise Rejected(400, "X-Goog-Upload-Protocol must be resumable.")
        said = json_of(body).get("file", {}) if body else {}
        size = headers.get("x-goog-upload-header-content-length", "")
        if not size.isdecimal():
            raise Rejected(400, "X-Goog-Upload-Header-Content-Length is required.")
        name = said.get("displayName") or said.get("display_name") or headers.get("x-goog-upload-file-name", "")
        id = f"upload-{next(self._numbers)}"
        self._uploads[id] = upload = Upload(name, headers.get("x-goog-upload-header-content-type", ""), int(size), bytearray())
        url = f"http://{headers['host']}{self._place}{path}?upload_id={id}&upload_protocol=resumable"
        return Told([("x-goog-upload-url", url), ("x-goog-upload-chunk-granularity", str(GRAIN)), *_standing(upload).headers])

    def _more(self, upload: Upload, words: set[str], headers: Mapping[str, str], body: bytes, now: int) -> Told:
        last = "finalize" in words
        if "upload" in words and headers.get("x-goog-upload-offset") != str(len(upload.content)):
            raise Rejected(400, f"Upload offset must be {len(upload.content)}, got {headers.get('x-goog-upload-offset')}.")
        if not last and len(body) % GRAIN:
            raise Rejected(400, f"Every piece except the last must be a multiple of {GRAIN} bytes, got {len(body)}.")
        upload.content += body
        if len(upload.content) > upload.size or (last and len(upload.content) != upload.size):
            raise Rejected(400, f"The upload must have {upload.size} bytes, got {len(upload.content)}.")
        if not last:
            return _standing(upload)
        upload.state = "final"
        file = self._keep(upload.name, bytes(upload.content), upload.type, now)
        return Told(_standing(upload).headers, ENCODE({"file": file}))


def _standing(upload: Upload) -> Told:
    return Told([("x-goog-upload-status", upload.state), ("x-goog-upload-size-received", str(len(upload.content)))])

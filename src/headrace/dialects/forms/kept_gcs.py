"""Vertex AI's files in OpenAI's format, stored in the caller's Cloud Storage bucket.

Batch input files are converted to Vertex AI's format.

URLs, multipart uploads, `alt=media`, `md5Hash`, `prefix`, `startOffset`, `pageToken` and `maxResults` are those of
google-cloud-storage 3.17.1 (`blob.py`, `client.py`, `_media/_upload.py`; read 2026-11-29), which uses the JSON API.
Options, environment variables and object names are LiteLLM 1.106.2's (llms/vertex_ai/files; read 2026-11-29).
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from headrace.dialects.base import Target
from headrace.dialects.forms import BUCKETS, Body, Form
from headrace.dialects.forms.buckets import buckets_of, component, content_of, new_name, place_of, upload_name
from headrace.dialects.forms.cloud_lines import CLAUDE, Answers, Row, openais, vertexs
from headrace.dialects.forms.dates import epoch
from headrace.dialects.forms.uploads import PART, Resumable
from headrace.errors import BadRequestError
from headrace.multipart import Related
from headrace.slices import Steps, at_once
from headrace.types import Json
from headrace.wire import HttpRequest, HttpResponse, Upload

_OURS: Final = "litellm-vertex-files/"
_BUCKET: Final = BUCKETS["vertex"]
_TAKES: Final = {**_BUCKET, "gcs_endpoint_url": "STORAGE_EMULATOR_HOST"}

LARGEST: Final = 5 << 40
"""Maximum object size in bytes, 5 TiB (cloud.google.com/storage/quotas, read 2026-11-29)."""


def _endpoint(body: Body, target: Target) -> str:
    given = str(body.get("gcs_endpoint_url") or "https://storage.googleapis.com")
    if not given.startswith(("http://", "https://")):
        raise BadRequestError(f"{target.provider}: gcs_endpoint_url must begin with http:// or https://, got {given[:40]!r}")
    return given.rstrip("/")


def _asked(method: str, path: str, body: Body, target: Target, type: str = "", upload: Upload | None = None) -> HttpRequest:
    """A request to Cloud Storage, without the target's headers: it takes Google credentials only, never a Vertex AI key."""
    headers = (("content-type", type),) if type else ()
    return HttpRequest(method, f"{_endpoint(body, target)}{path}", headers, upload=upload, storage="")


def _at(body: Body, target: Target) -> str:
    place = place_of(body["id"], buckets_of("gs://", body, target, _BUCKET), target)
    return f"/storage/v1/b/{place.bucket}/o/{quote(place.name, safe='')}"


def _file(told: Mapping[str, Any]) -> dict[str, Json]:
    said, name = told.get("metadata") or {}, str(told["name"])
    return {
        **told,
        "id": f"gs://{told['bucket']}/{name}",
        "object": "file",
        "bytes": int(told.get("size") or 0),
        "created_at": epoch(told.get("timeCreated")) or 0,
        "expires_at": None,
        "filename": said.get("filename") or name.rpartition("/")[2],
        "purpose": said.get("purpose") or ("batch_output" if name.endswith("predictions.jsonl") else "batch"),
        "status": "processed",
    }


class NewFile:
    """Batch input files are converted to Vertex AI's format, other files uploaded unchanged.

    The object's metadata, with its hash, precedes the content. Large files are uploaded in parts and can be resumed.
    """

    takes: Final = _TAKES

    def write(self, body: Body, target: Target) -> HttpRequest:
        return at_once(self.writing(body, target))

    def writing(self, body: Body, target: Target) -> Steps[HttpRequest]:
        bucket = buckets_of("gs://", body, target, _BUCKET)[0]
        file, digest = body["file"], hashlib.md5(usedforsecurity=False)
        content, first = yield from content_of(body, target, vertexs, digest)
        if content.size > LARGEST:
            raise BadRequestError(f"file has {content.size} bytes, more than the {LARGEST} that Cloud Storage allows")
        about = {
            "name": bucket.folder + (self._calls_name(first) if first else upload_name(f"{_OURS}uploads/", file)),
            "contentType": content.type,
            "md5Hash": b64encode(digest.digest()).decode(),
            "metadata": {"filename": file.name, "purpose": str(body.get("purpose") or "user_data")},
        }
        path, told = f"/upload/storage/v1/b/{bucket.name}/o?uploadType=", msgspec.json.encode(about)
        if content.size > PART:
            begun = Resumable(content, told, _endpoint(body, target))
            request = _asked("POST", f"{path}resumable", body, target, "application/json", begun)
            sizes = (("x-upload-content-type", content.type), ("x-upload-content-length", str(content.size)))
            return msgspec.structs.replace(request, headers=request.headers + sizes)
        related = Related([(told, "application/json"), (content, content.type)])
        return _asked("POST", f"{path}multipart", body, target, related.content_type, related)

    @staticmethod
    def _calls_name(first: Row) -> str:
        publisher = "anthropic" if first.dialect == CLAUDE else "google"
        return f"{_OURS}publishers/{publisher}/models/{_model(first.model)}/{new_name()}.jsonl"

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return _file(answer)


def _model(name: str) -> str:
    """A model's name as a folder name. The version after an @ is kept, because the batch takes its model from this name."""
    plain, mark, version = name.partition("@")
    return component(plain, "model") + (f"@{component(version)}" if mark else "")


class Files:
    """Files uploaded with `create_file`, and results next to them.

    `limit` is supported; `after` is an id or the list's `nextPageToken`.
    """

    takes: Final = _TAKES

    def write(self, body: Body, target: Target) -> HttpRequest:
        buckets = buckets_of("gs://", body, target, _BUCKET)
        query = {"prefix": buckets[0].folder + _OURS}
        limit, after = body.get("limit"), body.get("after")
        if _is_id(after):  # the list begins with it, so one more is needed
            query["startOffset"] = place_of(after, buckets, target).name
            limit = limit and int(str(limit)) + 1
        elif after:
            query["pageToken"] = str(after)
        if limit:
            query["maxResults"] = str(limit)
        return _asked("GET", f"/storage/v1/b/{buckets[0].name}/o?{urlencode(query)}", body, target)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        rest = {name: value for name, value in answer.items() if name != "items"}
        files = [_file(file) for file in answer.get("items") or ()]
        wanted = body.get("purpose")
        data = [file for file in files if file["id"] != body.get("after") and wanted in (None, file["purpose"])]
        return {**rest, "object": "list", "data": data, "has_more": bool(answer.get("nextPageToken"))}


def _is_id(after: Any) -> bool:
    return isinstance(after, str) and after.startswith("gs://")


class File:
    takes: Final = _TAKES

    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked("GET", _at(body, target), body, target)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return _file(answer)


class FileDelete:
    """The response has no body."""

    takes: Final = _TAKES

    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked("DELETE", _at(body, target), body, target)

    def told(self, response: HttpResponse, body: Body) -> dict[str, Json]:
        return {"id": body["id"], "object": "file", "deleted": True}

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        """Never called: the response has no body."""
        return dict(answer)


class Content:
    """An object's bytes; a batch's results as OpenAI's lines."""

    takes: Final = _TAKES

    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked("GET", f"{_at(body, target)}?alt=media", body, target)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        """Never called: the response is bytes."""
        return dict(answer)

    def content(self, told: bytes, body: Body, target: Target) -> bytes:
        return at_once(self.reading(told, body, target))

    def reading(self, told: bytes, body: Body, target: Target) -> Steps[bytes]:
        return (yield from openais(told, target))

    def making(self, target: Target) -> Answers:
        return Answers(target)


FORMS: Final[Mapping[tuple[str, str], Form]] = {
    ("POST files", "vertex"): NewFile(),
    ("GET files", "vertex"): Files(),
    ("GET file", "vertex"): File(),
    ("DELETE file", "vertex"): FileDelete(),
    ("GET file_content", "vertex"): Content(),
}

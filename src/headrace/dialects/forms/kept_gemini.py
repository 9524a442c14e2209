"""Gemini's files and batches in OpenAI's format, plus Gemini's own fields.

ai.google.dev/api/files and …/batch-api; paths, states and fields as google-genai 3.4.0 has them; exchanges
1a188f87e2819921 and c7e0319c4ad69599. A file's id is its URL, as in LiteLLM; its short name is accepted too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, given, posted
from headrace.dialects.forms.dates import epoch
from headrace.dialects.forms.lines import CHATS, answered, failed, joining, lines_in, lines_of
from headrace.errors import BadRequestError
from headrace.multipart import FormFile, Related, Spool
from headrace.slices import Steps, at_once
from headrace.types import Json
from headrace.wire import HttpRequest

_DIALECT: Final = "gemini"
_LISTED: Final = {"limit": "pageSize", "after": "pageToken"}


def _place(id: Json, kind: str) -> str:
    """The path `files/abc` or `batches/abc`, for a name with or without its kind, or a whole URL."""
    name = str(id).partition("?")[0].rstrip("/").rpartition("/")[2]
    return f"{kind}/{quote(name, safe='')}"


def _asked(target: Target, method: str, path: str, query: Mapping[str, Json] = {}) -> HttpRequest:
    mark = f"?{urlencode(query)}" if query else ""
    return HttpRequest(method, f"{target.base_url.rstrip('/')}/{path}{mark}", target.headers)


def _listed(body: Body, *without: str) -> dict[str, Json]:
    return {_LISTED.get(name, name): value for name, value in given(body, *without).items()}


# ---- files -------------------------------------------------------------------------------------------------------------------------

_FILE_STATES: Final = {"ACTIVE": "processed", "FAILED": "error"}


def _file(told: Mapping[str, Json], purpose: Json = None) -> dict[str, Json]:
    return {
        **told,
        "id": told.get("uri") or told["name"],
        "object": "file",
        "bytes": int(told.get("sizeBytes") or 0),
        "created_at": epoch(told.get("createTime")),
        "expires_at": epoch(told.get("expirationTime")),
        "filename": told.get("displayName") or told["name"],
        "purpose": purpose or "user_data",
        "status": _FILE_STATES.get(str(told.get("state")), "uploaded"),
    }


class NewFile:
    """A multipart request with the file's metadata and content. Batch input files are converted to Gemini's format."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        return at_once(self.writing(body, target))

    def writing(self, body: Body, target: Target) -> Steps[HttpRequest]:
        file = body["file"]
        if not isinstance(file, FormFile):
            raise BadRequestError(f"{target.provider} accepts one file at a time")
        sent: FormFile | Spool = (yield from _in_lines(file, target)) if body.get("purpose") == "batch" else file
        about = {"display_name": file.name, "mime_type": sent.type, **given(body, "file", "purpose")}
        related = Related([(msgspec.json.encode({"file": about}), "application/json"), (sent, sent.type)])
        host, _, version = target.base_url.rstrip("/").rpartition("/")
        headers = {name.lower(): value for name, value in target.headers}
        headers |= {"content-type": related.content_type, "x-goog-upload-protocol": "multipart"}
        return HttpRequest("POST", f"{host}/upload/{version}/files", tuple(headers.items()), upload=related)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return _file(answer["file"], body.get("purpose"))


def _in_lines(file: FormFile, target: Target) -> Steps[Spool]:
    made = Spool("application/jsonl")
    for line in lines_of(file, _DIALECT, target):
        made.write(msgspec.json.encode({"key": line.custom_id, "request": msgspec.Raw(line.request.body)}) + b"\n")
        yield
    return made


class Files:
    """`limit` is supported; `after` is the list's `nextPageToken`."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, "GET", "files", _listed(body, "purpose"))

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        rest = {name: value for name, value in answer.items() if name != "files"}
        data = [_file(file) for file in answer.get("files") or ()]
        return {**rest, "object": "list", "data": data, "has_more": bool(answer.get("nextPageToken"))}


class File:
    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, "GET", _place(body["id"], "files"))

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return _file(answer)


class FileDelete:
    """The response is empty."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, "DELETE", _place(body["id"], "files"))

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return {**answer, "id": body["id"], "object": "file", "deleted": True}


class Content:
    """Files made by Gemini, which does not return uploaded ones.

    A batch's results, by their file or the batch's name, are returned as OpenAI's lines.
    """

    def write(self, body: Body, target: Target) -> HttpRequest:
        if str(body["id"]).startswith("batches/"):
            return _asked(target, "GET", _place(body["id"], "batches"))
        return _asked(target, "GET", f"{_place(body['id'], 'files')}:download", {"alt": "media"})

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        """Never called: the response is bytes."""
        return dict(answer)

    def content(self, told: bytes, body: Body, target: Target) -> bytes:
        return at_once(self.reading(told, body, target))

    def reading(self, told: bytes, body: Body, target: Target) -> Steps[bytes]:
        if str(body["id"]).startswith("batches/"):
            return (yield from joining(_result(each, target) for each in _inlined(msgspec.json.decode(told))))
        if _line(next(lines_in(told), b"")) is None:
            return told
        return (yield from joining(_result(line, target) for raw in lines_in(told) if (line := _line(raw)) is not None))


def _line(raw: bytes) -> Any:
    """A result line; None for any other line."""
    try:
        line = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return line if isinstance(line, dict) and "key" in line and ("response" in line or "error" in line) else None


def _inlined(operation: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = _output(operation)["inlinedResponses"]["inlinedResponses"]
    return found


def _result(told: Mapping[str, Any], target: Target) -> dict[str, Json]:
    name = str(told["key"] if "key" in told else told["metadata"]["key"])
    if "response" in told:
        return answered(name, told["response"], _DIALECT, target)
    return failed(name, {"error": told["error"]}, target)


# ---- batches -----------------------------------------------------------------------------------------------------------------------

_STATES: Final = {
    "PENDING": "validating",
    "RUNNING": "in_progress",
    "SUCCEEDED": "completed",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "EXPIRED": "expired",
}


def _output(told: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (told.get("metadata") or {}).get("output") or told.get("response") or {}
    return found


def _batch(told: Mapping[str, Any]) -> dict[str, Json]:
    about: Mapping[str, Any] = told.get("metadata") or {}
    stats = about.get("batchStats") or {}
    status = _STATES.get(str(about.get("state")).rpartition("_STATE_")[2], "validating")
    end = epoch(about.get("endTime"))
    output = _output(told)
    results = output.get("responsesFile") or (told["name"] if "inlinedResponses" in output else None)
    error = told.get("error")
    name = about.get("displayName")
    return {
        **told,
        "operation_metadata": about,
        "metadata": {"display_name": name} if name else None,
        "id": told["name"],
        "object": "batch",
        "endpoint": CHATS,
        "model": str(about.get("model", "")).removeprefix("models/") or None,
        "status": status,
        "errors": {"object": "list", "data": [{**error, "code": str(error.get("code"))}]} if error else None,
        "input_file_id": (about.get("inputConfig") or {}).get("fileName") or "",
        "completion_window": "24h",
        "output_file_id": results,
        "error_file_id": None,
        "created_at": epoch(about.get("createTime")) or 0,
        **{f"{name}_at": end if name == status else None for name in ("completed", "cancelled", "expired", "failed")},
        "request_counts": {
            "total": int(stats.get("requestCount", 0)),
            "completed": int(stats.get("successfulRequestCount", 0)),
            "failed": int(stats.get("failedRequestCount", 0)),
        },
    }


class NewBatch:
    """The model is in the URL, so a batch has a single one. Of `metadata`, Gemini keeps `display_name`."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        if target.model == "-":
            raise BadRequestError(f"{target.provider} allows one model per batch: pass model=, e.g. model='gemini/gemini-2.5-flash'")
        if body.get("endpoint") != CHATS:
            raise BadRequestError(f"{target.provider} accepts {CHATS} in batches, got {str(body.get('endpoint'))[:40]!r}")
        kept = body.get("metadata")
        name = kept.get("display_name") if isinstance(kept, Mapping) else None
        batch = {"displayName": name or "batch", "inputConfig": {"fileName": _place(body["input_file_id"], "files")}}
        rest = given(body, "input_file_id", "endpoint", "completion_window", "metadata", "model")
        return posted(target, f"/models/{quote(target.model, safe='')}:batchGenerateContent", {"batch": {**batch, **rest}})

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return {**_batch(answer), "input_file_id": body["input_file_id"]}


class Batches:
    """`limit` is supported; `after` is the list's `nextPageToken`."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, "GET", "batches", _listed(body))

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        rest = {name: value for name, value in answer.items() if name != "operations"}
        data = [_batch(batch) for batch in answer.get("operations") or ()]
        return {**rest, "object": "list", "data": data, "has_more": bool(answer.get("nextPageToken"))}


class Batch:
    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, "GET", _place(body["id"], "batches"))

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return _batch(answer)


class BatchCancel:
    """The response is empty."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, "POST", f"{_place(body['id'], 'batches')}:cancel")

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return {**answer, "id": body["id"], "object": "batch", "status": "cancelling"}


FORMS: Final[Mapping[tuple[str, str], Form]] = {
    ("POST files", "gemini"): NewFile(),
    ("GET files", "gemini"): Files(),
    ("GET file", "gemini"): File(),
    ("DELETE file", "gemini"): FileDelete(),
    ("GET file_content", "gemini"): Content(),
    ("POST batches", "gemini"): NewBatch(),
    ("GET batches", "gemini"): Batches(),
    ("GET batch", "gemini"): Batch(),
    ("POST batch_cancel", "gemini"): BatchCancel(),
}

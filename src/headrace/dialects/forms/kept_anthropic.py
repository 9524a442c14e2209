"""Anthropic's files and batches in OpenAI's format, plus Anthropic's own fields.

A batch request contains its calls, so the input file is sent with it and not stored. Results are fetched by the batch's
id. docs.claude.com/en/api/creating-message-batches and …/files-create, types of anthropic 2.12.0, exchanges
92dc2ea08d70081b and 3c514cfbda9fa030.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from headrace.dialects.anthropic_messages.requests import VERSION
from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, given
from headrace.dialects.forms.dates import epoch
from headrace.dialects.forms.lines import answered, failed, joining, lines_in, lines_of, never_ran
from headrace.errors import BadRequestError
from headrace.multipart import FormFile, Spool, form_of
from headrace.slices import Steps, at_once
from headrace.types import Json
from headrace.wire import HeaderPairs, HttpRequest

_DIALECT: Final = "anthropic_messages"
_FILES_BETA: Final = "files-api-2025-04-14"
_BATCH: Final = "msgbatch_"
"""Prefix of batch ids, which also identify the batch's results."""


def _headers(target: Target, *betas: str) -> HeaderPairs:
    said = {name.lower(): value for name, value in target.headers}
    wanted = [*filter(None, said.pop("anthropic-beta", "").split(",")), *betas]
    beta = {"anthropic-beta": ",".join(dict.fromkeys(wanted))} if wanted else {}
    return tuple({"anthropic-version": VERSION, **said, **beta}.items())


def _asked(target: Target, method: str, path: str, query: Mapping[str, Json] = {}, *betas: str) -> HttpRequest:
    mark = f"?{urlencode(query)}" if query else ""
    return HttpRequest(method, f"{target.base_url.rstrip('/')}{path}{mark}", _headers(target, *betas))


def _id(body: Body) -> str:
    return quote(str(body["id"]), safe="")


# ---- files -------------------------------------------------------------------------------------------------------------------------


def _file(told: Mapping[str, Json]) -> dict[str, Json]:
    said = {"object": "file", "bytes": told["size_bytes"], "created_at": epoch(told.get("created_at")), "filename": told["filename"]}
    return {**told, **said, "purpose": told.get("purpose", "user_data"), "status": "processed", "expires_at": epoch(told.get("expires_at"))}


class NewFile:
    """Anthropic's `expires_in_seconds` passes through."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        if body.get("purpose") == "batch":
            raise BadRequestError(
                f"{target.provider} takes the calls in the batch request and does not store a file of them: "
                "pass the file itself to create_batch as input_file_id (a pathlib.Path, bytes or an open file)"
            )
        form = form_of(given(body, "purpose"))
        headers = {**dict(_headers(target, _FILES_BETA)), "content-type": form.content_type}
        return HttpRequest("POST", f"{target.base_url.rstrip('/')}/files", tuple(headers.items()), upload=form)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return {**_file(answer), "purpose": body.get("purpose") or "user_data"}


class Files:
    """`limit` is supported; `after` is the cursor from an earlier list."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        query = {{"after": "page"}.get(name, name): value for name, value in given(body, "purpose").items()}
        return _asked(target, "GET", "/files", query, _FILES_BETA)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        more = bool(answer.get("has_more") or answer.get("next_page"))
        return {**answer, "object": "list", "data": [_file(file) for file in answer["data"]], "has_more": more}


class File:
    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, "GET", f"/files/{_id(body)}", {}, _FILES_BETA)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return _file(answer)


class FileDelete:
    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, "DELETE", f"/files/{_id(body)}", {}, _FILES_BETA)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return {**answer, "object": "file", "deleted": answer["type"] == "file_deleted"}


class Content:
    """A file made by a tool, or a batch's results by its id, as OpenAI's lines."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        if str(body["id"]).startswith(_BATCH):
            return _asked(target, "GET", f"/messages/batches/{_id(body)}/results")
        return _asked(target, "GET", f"/files/{_id(body)}/content", {}, _FILES_BETA)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        """Never called: the response is bytes."""
        return dict(answer)

    def content(self, told: bytes, body: Body, target: Target) -> bytes:
        return at_once(self.reading(told, body, target))

    def reading(self, told: bytes, body: Body, target: Target) -> Steps[bytes]:
        if not str(body["id"]).startswith(_BATCH):
            return told
        return (yield from joining(self._result(msgspec.json.decode(line), target) for line in lines_in(told)))

    @staticmethod
    def _result(line: Mapping[str, Any], target: Target) -> dict[str, Json]:
        result, name = line["result"], line["custom_id"]
        match result["type"]:
            case "succeeded":
                return answered(name, result["message"], _DIALECT, target)
            case "errored":
                return failed(name, result["error"], target)
        return never_ran(name, str(result["type"]))


# ---- batches -----------------------------------------------------------------------------------------------------------------------

_STATUSES: Final = {"in_progress": "in_progress", "canceling": "cancelling", "ended": "completed"}


def _batch(told: Mapping[str, Any]) -> dict[str, Json]:
    counts = told["request_counts"]
    ended, stopped = told["processing_status"] == "ended", epoch(told.get("cancel_initiated_at"))
    status = _STATUSES.get(told["processing_status"], "in_progress")
    if ended and stopped and counts.get("canceled"):
        status = "cancelled"
    elif ended and counts.get("expired"):
        status = "expired"
    end = epoch(told.get("ended_at"))
    return {
        **told,
        "object": "batch",
        "endpoint": "/v1/messages",
        "status": status,
        "errors": None,
        "input_file_id": "",
        "completion_window": "24h",
        "output_file_id": told["id"] if ended else None,
        "error_file_id": None,
        "created_at": epoch(told["created_at"]),
        "in_progress_at": epoch(told["created_at"]),
        "expires_at": epoch(told.get("expires_at")),
        "cancelling_at": stopped,
        **{f"{name}_at": end if name == status else None for name in ("completed", "cancelled", "expired", "failed")},
        "request_counts": {**counts, "total": sum(counts.values()), "completed": counts["succeeded"], "failed": counts["errored"]},
    }


class NewBatch:
    """`input_file_id` is the file itself. The betas of all calls are requested together."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        return at_once(self.writing(body, target))

    def writing(self, body: Body, target: Target) -> Steps[HttpRequest]:
        file = body["input_file_id"]
        if not isinstance(file, FormFile):
            raise BadRequestError(
                f"{target.provider} does not return uploaded files, so the calls cannot be read from one: "
                "pass the file itself as input_file_id (a pathlib.Path, bytes or an open file)"
            )
        made, betas = Spool("application/json"), dict[str, None]()
        for line in lines_of(file, _DIALECT, target):
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", line.custom_id):
                raise BadRequestError(
                    f"file: line {line.number}: {target.provider} requires custom_ids of 1 to 64 letters, digits, - and _"
                )
            made.write(b"," if made.size else b'{"requests":[')
            made.write(msgspec.json.encode({"custom_id": line.custom_id, "params": msgspec.Raw(line.request.body)}))
            betas |= dict.fromkeys(dict(line.request.headers).get("anthropic-beta", "").split(","))
            yield
        made.write(b"]}" if made.size else b'{"requests":[]}')
        headers = {**dict(_headers(target, *filter(None, betas))), "content-type": made.type}
        url = f"{target.base_url.rstrip('/')}/messages/batches"
        return HttpRequest("POST", url, tuple(headers.items()), upload=made)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return _batch(answer)


class Batches:
    """`limit` is supported; `after` and `before` are ids."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        query = {{"after": "after_id", "before": "before_id"}.get(name, name): value for name, value in given(body).items()}
        return _asked(target, "GET", "/messages/batches", query)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return {**answer, "object": "list", "data": [_batch(batch) for batch in answer["data"]]}


class Batch:
    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, "GET", f"/messages/batches/{_id(body)}")

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return _batch(answer)


class BatchCancel:
    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, "POST", f"/messages/batches/{_id(body)}/cancel")

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return _batch(answer)


FORMS: Final[Mapping[tuple[str, str], Form]] = {
    ("POST files", "anthropic"): NewFile(),
    ("GET files", "anthropic"): Files(),
    ("GET file", "anthropic"): File(),
    ("DELETE file", "anthropic"): FileDelete(),
    ("GET file_content", "anthropic"): Content(),
    ("POST batches", "anthropic"): NewBatch(),
    ("GET batches", "anthropic"): Batches(),
    ("GET batch", "anthropic"): Batch(),
    ("POST batch_cancel", "anthropic"): BatchCancel(),
}

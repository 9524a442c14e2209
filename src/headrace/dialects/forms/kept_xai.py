"""xAI's batches in OpenAI's format, plus xAI's own fields. Its files and input lines are in OpenAI's format already.

docs.x.ai, batch API, as LiteLLM 1.106.2 has it; exchange 3aa2c0c7548c6c2c. Progress is reported by counters; results
are fetched by the batch's id, page by page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, Next, given, posted
from headrace.dialects.forms.dates import epoch
from headrace.dialects.forms.lines import CHATS, joining
from headrace.multipart import form_of
from headrace.slices import Steps, at_once
from headrace.types import Json
from headrace.wire import HttpRequest, HttpResponse

_PAGE: Final = 1000
"""Results per page."""


def _asked(target: Target, method: str, path: str, query: Mapping[str, Json] = {}) -> HttpRequest:
    mark = f"?{urlencode(query)}" if query else ""
    return HttpRequest(method, f"{target.base_url.rstrip('/')}{path}{mark}", target.headers)


def _listed(body: Mapping[str, Json]) -> dict[str, Json]:
    return {{"after": "pagination_token"}.get(name, name): value for name, value in body.items()}


def _place(body: Body, end: str = "") -> str:
    return f"/batches/{quote(str(body['id']), safe='')}{end}"


def _status(told: Mapping[str, Any], state: Mapping[str, int]) -> str:
    if told.get("cancel_time"):
        return "failed" if told.get("cancel_by_xai_message") else "cancelled"
    if not state.get("num_requests"):
        return "validating"
    return "in_progress" if state.get("num_pending") else "completed"


def _batch(told: Mapping[str, Any]) -> dict[str, Json]:
    state = told.get("state") or {}
    status, why = _status(told, state), told.get("cancel_by_xai_message")
    return {
        **told,
        "id": told["batch_id"],
        "object": "batch",
        "endpoint": CHATS,
        "status": status,
        "errors": {"object": "list", "data": [{"message": why, "code": None}]} if why else None,
        "input_file_id": told.get("input_file_id") or "",
        "completion_window": "24h",
        "output_file_id": told["batch_id"] if status == "completed" else None,
        "error_file_id": None,
        "created_at": epoch(told.get("create_time")) or 0,
        "expires_at": epoch(told.get("expire_time")),
        **{f"{name}_at": epoch(told.get("cancel_time")) if name == status else None for name in ("cancelled", "failed")},
        "metadata": {"name": told["name"]} if told.get("name") else None,
        "request_counts": {
            "total": state.get("num_requests", 0),
            "completed": state.get("num_success", 0),
            "failed": state.get("num_error", 0) + state.get("num_cancelled", 0),
        },
    }


class NewFile:
    def write(self, body: Body, target: Target) -> HttpRequest:
        form = form_of(given(body))
        headers = {**{name.lower(): value for name, value in target.headers}, "content-type": form.content_type}
        return HttpRequest("POST", f"{target.base_url.rstrip('/')}/files", tuple(headers.items()), upload=form)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return {"object": "file", **answer, "purpose": answer.get("purpose") or body.get("purpose") or "user_data"}


class Files:
    """`limit` is supported; `after` is the list's `pagination_token`."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, "GET", "/files", _listed(given(body, "purpose")))

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return {**answer, "object": "list", "data": list(answer["data"]), "has_more": bool(answer.get("pagination_token"))}


class File:
    """Retrieves or deletes one file."""

    def __init__(self, method: str) -> None:
        self._method = method

    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, self._method, f"/files/{quote(str(body['id']), safe='')}")

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return {"object": "file", **answer, "id": answer["id"]}


class NewBatch:
    """Of `metadata`, xAI keeps `name`."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        kept = body.get("metadata")
        name = kept.get("name") if isinstance(kept, Mapping) else None
        rest = given(body, "completion_window", "endpoint", "metadata")
        return posted(target, "/batches", {"name": name or "batch", **rest})

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return {**_batch(answer), "input_file_id": body["input_file_id"], "endpoint": body["endpoint"]}


class Batches:
    """`limit` is supported; `after` is the list's `pagination_token`."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, "GET", "/batches", _listed(given(body)))

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        rest = {name: value for name, value in answer.items() if name != "batches"}
        data = [_batch(batch) for batch in answer.get("batches") or ()]
        return {**rest, "object": "list", "data": data, "has_more": bool(answer.get("pagination_token"))}


class Batch:
    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, "GET", _place(body))

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return _batch(answer)


class BatchCancel:
    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, "POST", _place(body, ":cancel"))

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return _batch(answer)


class Content:
    """A file, or a batch's results by its id, as OpenAI's lines."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        if not _is_batch(body):
            return _asked(target, "GET", f"/files/{quote(str(body['id']), safe='')}/content")
        return _asked(target, "GET", _place(body, "/results"), {"limit": _PAGE})

    def then(self, response: HttpResponse, step: str, body: Body, target: Target) -> Next | None:
        if not _is_batch(body):
            return None
        told = msgspec.json.decode(response.body)
        token = told.get("pagination_token")
        if not token or not told.get("results"):
            return None
        page = _asked(target, "GET", _place(body, "/results"), {"limit": _PAGE, "pagination_token": token})
        return Next("page", page, keeps=True)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        """Never called: the response is bytes."""
        return dict(answer)

    def content(self, told: bytes, body: Body, target: Target) -> bytes:
        return at_once(self.reading(told, body, target))

    def reading(self, told: bytes, body: Body, target: Target) -> Steps[bytes]:
        if not _is_batch(body):
            return told
        pages = msgspec.json.decode(told)
        them = (each for page in (pages if isinstance(pages, list) else [pages]) for each in page.get("results") or ())
        return (yield from joining(_line(each) for each in them))


def _is_batch(body: Body) -> bool:
    return str(body["id"]).startswith("batch_")


def _line(told: Mapping[str, Any]) -> dict[str, Json]:
    """A result as OpenAI's line. xAI nests the response in a field named after its endpoint."""
    name, result = str(told["batch_request_id"]), told.get("batch_result") or {}
    answer: Any = next(iter((result.get("response") or {}).values()), None)
    said: dict[str, Json] = {"id": f"batch_req_{name}", "custom_id": name, "response": None, "error": None}
    if answer is not None:
        return {**said, "response": {"status_code": 200, "request_id": answer.get("id") or "", "body": answer}}
    error = result.get("error") or {}
    return {**said, "error": {"code": str(error.get("code", "request_failed")), "message": error.get("message") or "no answer came"}}


FORMS: Final[Mapping[tuple[str, str], Form]] = {
    ("POST files", "xai"): NewFile(),
    ("GET files", "xai"): Files(),
    ("GET file", "xai"): File("GET"),
    ("DELETE file", "xai"): File("DELETE"),
    ("GET file_content", "xai"): Content(),
    ("POST batches", "xai"): NewBatch(),
    ("GET batches", "xai"): Batches(),
    ("GET batch", "xai"): Batch(),
    ("POST batch_cancel", "xai"): BatchCancel(),
}

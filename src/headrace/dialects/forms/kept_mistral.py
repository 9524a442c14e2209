"""Mistral's batches in OpenAI's format, plus Mistral's own fields.

Its files and result lines are in OpenAI's format already.

docs.mistral.ai/api/#tag/batch, types of mistralai 3.7.0, exchange 4d9226e50fe349df.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, given, posted
from headrace.errors import BadRequestError
from headrace.types import Json
from headrace.wire import HttpRequest

_STATUSES: Final = {
    "QUEUED": "validating",
    "RUNNING": "in_progress",
    "SUCCESS": "completed",
    "FAILED": "failed",
    "TIMEOUT_EXCEEDED": "expired",
    "CANCELLATION_REQUESTED": "cancelling",
    "CANCELLED": "cancelled",
}


def _batch(told: Mapping[str, Any]) -> dict[str, Json]:
    status, end = _STATUSES.get(told["status"], "in_progress"), told.get("completed_at")
    errors = [{"code": None, **error} for error in told.get("errors") or ()]
    return {
        **told,
        "object": "batch",
        "status": status,
        "errors": {"object": "list", "data": errors} if errors else None,
        "input_file_id": next(iter(told.get("input_files") or ()), ""),
        "completion_window": "24h",
        "output_file_id": told.get("output_file"),
        "error_file_id": told.get("error_file"),
        "in_progress_at": told.get("started_at"),
        **{f"{name}_at": end if name == status else None for name in ("completed", "cancelled", "expired", "failed")},
        "request_counts": {
            "total": told.get("total_requests", 0),
            "completed": told.get("succeeded_requests", 0),
            "failed": told.get("failed_requests", 0),
        },
    }


def _asked(target: Target, method: str, path: str, query: Mapping[str, Json] = {}) -> HttpRequest:
    mark = f"?{urlencode(query)}" if query else ""
    return HttpRequest(method, f"{target.base_url.rstrip('/')}/batch/jobs{path}{mark}", target.headers)


def _hours(window: Json) -> int:
    found = re.fullmatch(r"(\d{1,3})(h|d)", str(window))
    if found is None:
        raise BadRequestError(f"completion_window must be like '24h' or '7d', got {str(window)[:20]!r}")
    return int(found[1]) * (24 if found[2] == "d" else 1)


class NewBatch:
    """A given `model` is used for all calls, whatever their lines say; otherwise each line's own."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        job = {"input_files": [body["input_file_id"]], "timeout_hours": _hours(body.get("completion_window", "24h"))}
        model = {} if target.model == "-" else {"model": target.model}
        return posted(target, "/batch/jobs", {**job, **model, **given(body, "input_file_id", "completion_window")})

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return _batch(answer)


class Batches:
    """`limit` becomes `page_size`; `page` passes through."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        if body.get("after") is not None:
            raise BadRequestError(f"{target.provider} lists batches by page number: pass page= instead of after=")
        return _asked(target, "GET", "", {{"limit": "page_size"}.get(name, name): value for name, value in given(body).items()})

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        data = [_batch(batch) for batch in answer.get("data") or ()]
        seen = (int(body.get("page") or 0) + 1) * int(body.get("limit") or 100)
        return {**answer, "object": "list", "data": data, "has_more": answer.get("total", 0) > seen}


class Batch:
    """With `inline=True`, results are included as `outputs`."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        query = {name: str(value).lower() if isinstance(value, bool) else value for name, value in given(body, "id").items()}
        return _asked(target, "GET", f"/{quote(str(body['id']), safe='')}", query)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return _batch(answer)


class BatchCancel:
    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, "POST", f"/{quote(str(body['id']), safe='')}/cancel")

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return _batch(answer)


FORMS: Final[Mapping[tuple[str, str], Form]] = {
    ("POST batches", "mistral"): NewBatch(),
    ("GET batches", "mistral"): Batches(),
    ("GET batch", "mistral"): Batch(),
    ("POST batch_cancel", "mistral"): BatchCancel(),
}

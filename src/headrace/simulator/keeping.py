"""Files and batches of a simulated provider, in the APIs of OpenAI, Mistral, Anthropic and Gemini.

A batch is processed when it is first polled. Each call is served by the provider's own model and validated as if sent
alone, but without limits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.parser import BytesParser
from itertools import count
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from headrace.simulator.asks import Rejected
from headrace.simulator.openai_api import DECODE, ENCODE, json_of

Answerer = Callable[[str, bytes], tuple[int, bytes]]
"""Path and body of one call → status and body."""


Act = TypeVar("Act")


class File(Struct):
    id: str
    name: str
    purpose: str
    content: bytes
    created: int


class Call(Struct, frozen=True):
    id: str
    path: str
    body: bytes


class Batch(Struct):
    id: str
    style: str
    calls: list[Call]
    created: int
    input_file: str = ""
    endpoint: str = ""
    model: str = ""
    state: str = "running"
    """running, done or cancelled."""
    answers: list[tuple[str, int, Any]] = []
    output_file: str = ""


def acting(routes: Iterable[tuple[str, str, Act]], method: str, path: str) -> tuple[Act, re.Match[str]] | tuple[None, None]:
    """The handler of a request and the match of its path; (None, None) if no route matches."""
    for asked, pattern, act in routes:
        found = re.fullmatch(pattern, path) if asked == method else None
        if found is not None:
            return act, found
    return None, None


class Keeper:
    """Stored files and batches of one provider."""

    def __init__(self, answer: Answerer) -> None:
        self._answer = answer
        self._files: dict[str, File] = {}
        self._batches: dict[str, Batch] = {}
        self._numbers = count(1)

    def reply(self, method: str, path: str, headers: Mapping[str, str], body: bytes, now: int) -> bytes | None:
        """The body of the response; None for a path that does not belong here. Raises Rejected."""
        path = path.replace("/v1beta/", "/v1/", 1)
        act, found = acting(ROUTES, method, path)
        if act is None or found is None:
            return None
        made = act(self, _Asked(_style(path, headers), path, next(filter(None, found.groups()), ""), headers, body, now))
        return made if isinstance(made, bytes) else ENCODE(made)

    # Files

    def new_file(self, asked: _Asked) -> Any:
        fields = _form(asked)
        if "file" not in fields:
            raise Rejected(400, "'file' is a required property", param="file")
        name, content = fields["file"]
        if asked.style == "openai" and "purpose" not in fields:
            raise Rejected(400, "'purpose' is a required property", param="purpose")
        file = self._kept(name, content, fields.get("purpose", ("", b"user_data"))[1].decode(), asked.now)
        return {"file": _file(file, "gemini")} if asked.style == "gemini" else _file(file, asked.style)

    def _kept(self, name: str, content: bytes, purpose: str, now: int) -> File:
        file = File(f"file-{next(self._numbers)}", name, purpose, content, now)
        self._files[file.id] = file
        return file

    def uploaded(self, name: str, content: bytes, type: str, now: int) -> dict[str, Any]:
        """Store a Google file that was uploaded in pieces."""
        return {**_file(self._kept(name, content, "user_data", now), "gemini"), "mimeType": type}

    def files(self, asked: _Asked) -> Any:
        listed = [_file(file, asked.style) for file in self._files.values()]
        return {"files": listed} if asked.style == "gemini" else {"object": "list", "data": listed, "has_more": False}

    def file(self, asked: _Asked) -> Any:
        return _file(self._file(asked.id), asked.style)

    def _file(self, id: str) -> File:
        if id not in self._files:
            raise Rejected(404, f"No such File object: {id}", param="id")
        return self._files[id]

    def delete(self, asked: _Asked) -> Any:
        del self._files[self._file(asked.id).id]
        gone: dict[str, Any] = {
            "gemini": {},
            "anthropic": {"id": asked.id, "type": "file_deleted"},
            "openai": {"id": asked.id, "object": "file", "deleted": True},
        }
        return gone[asked.style]

    def content(self, asked: _Asked) -> bytes:
        return self._file(asked.id).content

    # Batches

    def new_batch(self, asked: _Asked) -> Any:
        said = json_of(asked.body)
        batch = Batch(f"{_PREFIX[asked.style]}{next(self._numbers)}", asked.style, [], asked.now)
        try:
            batch.calls = list(self._calls(batch, asked, said))
        except (KeyError, TypeError, msgspec.DecodeError) as error:
            raise Rejected(400, f"The batch cannot be read: {type(error).__name__} {error}") from None
        self._batches[batch.id] = batch
        return _batch(batch)

    def _calls(self, batch: Batch, asked: _Asked, said: Mapping[str, Any]) -> Iterator[Call]:
        if batch.style == "anthropic":
            batch.endpoint = "/v1/messages"
            yield from (Call(it["custom_id"], batch.endpoint, ENCODE(it["params"])) for it in said["requests"])
            return
        config = said["batch"]["inputConfig"] if batch.style == "gemini" else {}
        batch.input_file = config["fileName"] if config else (said.get("input_files") or [said.get("input_file_id")])[0]
        batch.endpoint, batch.model = said.get("endpoint", ""), asked.id or said.get("model") or ""
        for line in self._file(batch.input_file.removeprefix("files/")).content.splitlines():
            it = DECODE(line)
            if batch.style == "gemini":
                yield Call(it["key"], f"/v1/models/{batch.model}:generateContent", ENCODE(it["request"]))
            else:
                body = {**it["body"], **({"model": batch.model} if batch.model else {})}
                yield Call(it["custom_id"], it.get("url") or batch.endpoint, ENCODE(body))

    def batches(self, asked: _Asked) -> Any:
        listed = [_batch(batch) for batch in self._batches.values() if batch.style == asked.style]
        if asked.style == "gemini":
            return {"operations": listed}
        return {"object": "list", "data": listed, "has_more": False, "total": len(listed)}

    def batch(self, asked: _Asked) -> Any:
        batch = self._of(asked.id)
        if batch.state == "running":
            self._work(batch, asked.now)
        return _batch(batch)

    def _of(self, id: str) -> Batch:
        for name in (id, f"batches/{id}"):
            if name in self._batches:
                return self._batches[name]
        raise Rejected(404, f"No batch found with id '{id}'.", param="id")

    def _work(self, batch: Batch, now: int) -> None:
        for call in batch.calls:
            status, body = self._answer(call.path, call.body)
            batch.answers.append((call.id, status, DECODE(body)))
        batch.state = "done"
        if batch.style != "anthropic":
            lines = b"".join(ENCODE(_line(batch.style, *answer)) + b"\n" for answer in batch.answers)
            batch.output_file = self._kept("output.jsonl", lines, "batch_output", now).id

    def results(self, asked: _Asked) -> bytes:
        batch = self._of(asked.id)
        if batch.state == "running":
            raise Rejected(404, "The batch has no results yet.")
        return b"".join(ENCODE(_line("anthropic", *answer)) + b"\n" for answer in batch.answers)

    def cancel(self, asked: _Asked) -> Any:
        batch = self._of(asked.id)
        if batch.state == "running":
            batch.state = "cancelled"
        return {} if batch.style == "gemini" else _batch(batch)


class _Asked(Struct, frozen=True):
    style: str
    path: str
    id: str
    headers: Mapping[str, str]
    body: bytes
    now: int


_PREFIX: Final = {"openai": "batch_", "mistral": "job-", "anthropic": "msgbatch_", "gemini": "batches/b"}


def _style(path: str, headers: Mapping[str, str]) -> str:
    if "/batch/jobs" in path:
        return "mistral"
    return "anthropic" if "anthropic-version" in headers else "gemini" if "x-goog-api-key" in headers else "openai"


def _form(asked: _Asked) -> dict[str, tuple[str, bytes]]:
    """The form's fields: file name and content. Gemini's form has metadata and content."""
    kind = asked.headers.get("content-type", "")
    message = BytesParser().parsebytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + asked.body)
    parts: Any = message.get_payload() if message.is_multipart() else []
    if asked.style == "gemini":
        about = DECODE(parts[0].get_payload(decode=True))["file"]
        return {"file": (about.get("display_name", ""), parts[1].get_payload(decode=True))}
    named = [(str(part.get_param("name", header="content-disposition")), part) for part in parts]
    return {name: (part.get_filename() or "", part.get_payload(decode=True)) for name, part in named}


def _file(file: File, style: str) -> dict[str, Any]:
    size, made = len(file.content), moment(file.created)
    if style == "anthropic":
        kind = {"type": "file", "mime_type": "application/octet-stream", "downloadable": file.purpose == "batch_output"}
        return {"id": file.id, **kind, "filename": file.name, "size_bytes": size, "created_at": made}
    if style == "gemini":
        name = f"files/{file.id}"
        uri = f"https://generativelanguage.googleapis.com/v1beta/{name}"
        return {"name": name, "displayName": file.name, "sizeBytes": str(size), "createTime": made, "state": "ACTIVE", "uri": uri}
    said = {"id": file.id, "object": "file", "bytes": size, "created_at": file.created, "filename": file.name}
    return {**said, "purpose": file.purpose, "status": "processed"}


def moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _batch(batch: Batch) -> dict[str, Any]:
    good = sum(1 for _, status, _ in batch.answers if status < 300)
    return _BATCHES[batch.style](batch, good, len(batch.answers) - good)


def _openais(batch: Batch, good: int, bad: int) -> dict[str, Any]:
    said = {"id": batch.id, "object": "batch", "endpoint": batch.endpoint, "input_file_id": batch.input_file, "completion_window": "24h"}
    state = {"running": "in_progress", "done": "completed", "cancelled": "cancelled"}[batch.state]
    counts = {"total": len(batch.calls), "completed": good, "failed": bad}
    return {**said, "status": state, "created_at": batch.created, "output_file_id": batch.output_file or None, "request_counts": counts}


def _mistrals(batch: Batch, good: int, bad: int) -> dict[str, Any]:
    state = {"running": "RUNNING", "done": "SUCCESS", "cancelled": "CANCELLED"}[batch.state]
    said = {"id": batch.id, "object": "batch", "input_files": [batch.input_file], "endpoint": batch.endpoint, "model": batch.model or None}
    counts = {"total_requests": len(batch.calls), "completed_requests": good + bad, "succeeded_requests": good, "failed_requests": bad}
    return {**said, **counts, "errors": [], "status": state, "created_at": batch.created, "output_file": batch.output_file or None}


def _anthropics(batch: Batch, good: int, bad: int) -> dict[str, Any]:
    left = len(batch.calls) if batch.state == "running" else 0
    counts = {"processing": left, "succeeded": good, "errored": bad, "canceled": 0, "expired": 0}
    if batch.state == "cancelled":
        counts["canceled"] = len(batch.calls)
    ended = None if left else moment(batch.created)
    said = {"id": batch.id, "type": "message_batch", "processing_status": "in_progress" if left else "ended", "request_counts": counts}
    moments = {"created_at": moment(batch.created), "expires_at": moment(batch.created + 86_400), "ended_at": ended}
    cancelled = ended if batch.state == "cancelled" else None
    return {**said, **moments, "archived_at": None, "cancel_initiated_at": cancelled, "results_url": None if left else "results"}


def _geminis(batch: Batch, good: int, bad: int) -> dict[str, Any]:
    state = {"running": "RUNNING", "done": "SUCCEEDED", "cancelled": "CANCELLED"}[batch.state]
    stats = {"requestCount": str(len(batch.calls)), "successfulRequestCount": str(good), "failedRequestCount": str(bad)}
    about: dict[str, Any] = {"state": f"BATCH_STATE_{state}", "model": f"models/{batch.model}", "batchStats": stats}
    about |= {"createTime": moment(batch.created), "inputConfig": {"fileName": batch.input_file}}
    if batch.output_file:
        about["output"] = {"responsesFile": f"files/{batch.output_file}"}
    return {"name": batch.id, "metadata": about}


_BATCHES: Final[Mapping[str, Callable[[Batch, int, int], dict[str, Any]]]] = {
    "openai": _openais,
    "mistral": _mistrals,
    "anthropic": _anthropics,
    "gemini": _geminis,
}


def _line(style: str, id: str, status: int, body: Any) -> dict[str, Any]:
    good = status < 300
    if style == "anthropic":
        return {"custom_id": id, "result": {"type": "succeeded", "message": body} if good else {"type": "errored", "error": body}}
    if style == "gemini":
        return {"key": id, "response": body} if good else {"key": id, **body}
    return {"id": f"batch_req_{id}", "custom_id": id, "response": {"status_code": status, "request_id": id, "body": body}, "error": None}


_KEPT: Final = r"(?:/v1/batches|/v1/batch/jobs|/v1/messages/batches)"
ROUTES: Final[tuple[tuple[str, str, Callable[[Keeper, _Asked], Any]], ...]] = (
    ("POST", r"/v1/files|/upload/v1/files", Keeper.new_file),
    ("GET", r"/v1/files", Keeper.files),
    ("GET", r"/v1/files/([^/:]+)", Keeper.file),
    ("DELETE", r"/v1/files/([^/:]+)", Keeper.delete),
    ("GET", r"/v1/files/([^/:]+)(?:/content|:download)", Keeper.content),
    ("POST", rf"{_KEPT}|/v1/models/([^/:]+):batchGenerateContent", Keeper.new_batch),
    ("GET", _KEPT, Keeper.batches),
    ("GET", rf"{_KEPT}/([^/:]+)", Keeper.batch),
    ("GET", r"/v1/messages/batches/([^/]+)/results", Keeper.results),
    ("POST", rf"{_KEPT}/([^/:]+)(?:/cancel|:cancel)", Keeper.cancel),
)

"""Files and batches at providers with formats of their own, as litellm's programs request them; checked by the providers' SDKs."""

from __future__ import annotations

import json
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import anthropic.types.beta as beta_types
import anthropic.types.messages as anthropic_types
import mistralai.client.models as mistral_types
import openai.types as openai_types
import pydantic
import pytest
from google.genai import batches as genai_batches
from google.genai import types as genai_types
from openai.types.file_deleted import FileDeleted
from openai.types.file_object import FileObject
from tests.client.upstream import Client, Reply, Upstream

import headrace

CALLS = [
    {"custom_id": "a-1", "method": "POST", "url": "/v1/chat/completions", "body": {
        "model": "m", "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}], "max_tokens": 9}},
    {"custom_id": "a-2", "method": "POST", "url": "/v1/chat/completions", "body": {
        "model": "m", "messages": [{"role": "user", "content": "Ho"}], "temperature": 0.5, "max_completion_tokens": 7}},
]  # fmt: skip


def lines(*calls: Any) -> bytes:
    return b"\n".join(json.dumps(call).encode() for call in calls) + b"\n"


FILE = ("jobs.jsonl", lines(*CALLS), "application/jsonl")


def results(answer: Any) -> list[Any]:
    return [json.loads(line) for line in answer.content.splitlines()]


def parts(upstream: Upstream) -> list[tuple[str, bytes]]:
    seen = upstream.seen[-1]
    message = BytesParser().parsebytes(b"content-type: " + seen.headers["content-type"].encode() + b"\r\n\r\n" + seen.body)
    return [(part.get_content_type(), part.get_payload(decode=True)) for part in message.get_payload()]  # type: ignore[union-attr,misc]


def is_openai(answer: Any, kind: type[pydantic.BaseModel]) -> None:
    kind.model_validate(answer.model_dump(), strict=True)


# ---- Anthropic ---------------------------------------------------------------------------------------------------------------------

COUNTS = {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
ANTHROPIC_BATCH = {
    "id": "msgbatch_01", "type": "message_batch", "processing_status": "in_progress", "request_counts": COUNTS, "ended_at": None,
    "created_at": "2026-08-19T14:44:51.493319+00:00", "expires_at": "2026-08-20T14:44:51.493319+00:00", "archived_at": None,
    "cancel_initiated_at": None, "results_url": None,
}  # fmt: skip
"""Exchange 92dc2ea08d70081b."""
ENDED = {**ANTHROPIC_BATCH, "processing_status": "ended", "ended_at": "2026-08-19T15:00:00Z", "results_url": "https://x/results"}


def test_anthropics_batches_take_the_calls_with_the_order(client: Client, upstream: Upstream) -> None:
    anthropic_types.MessageBatch.model_validate(ANTHROPIC_BATCH)
    upstream.answer(Reply(ANTHROPIC_BATCH))
    batch = client.call("create_batch", "24h", "/v1/chat/completions", FILE, "anthropic")
    [seen] = upstream.seen
    assert (seen.method, seen.path, seen.headers["anthropic-version"]) == ("POST", "/v1/messages/batches", "2023-06-01")
    pydantic.TypeAdapter(anthropic_types.BatchCreateParams).validate_python(seen.body)
    first, second = seen.body["requests"]
    assert first["custom_id"] == "a-1"
    assert first["params"]["model"] == "m"
    assert first["params"]["max_tokens"] == 9
    assert "Be short." in json.dumps(first["params"]["system"])
    assert (second["params"]["max_tokens"], second["params"]["temperature"]) == (7, 0.5)
    is_openai(batch, openai_types.Batch)
    assert (batch.id, batch.status, batch.output_file_id) == ("msgbatch_01", "in_progress", None)
    assert batch.request_counts["total"] == 2
    assert batch.processing_status == "in_progress"  # Anthropic's own words stay


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, "in_progress"),
        ({"processing_status": "canceling", "cancel_initiated_at": "2026-08-19T14:50:00Z"}, "cancelling"),
        ({**ENDED, "request_counts": {**COUNTS, "processing": 0, "succeeded": 2}}, "completed"),
        ({**ENDED, "request_counts": {**COUNTS, "processing": 0, "expired": 2}}, "expired"),
        (
            {**ENDED, "cancel_initiated_at": "2026-08-19T14:50:00Z", "request_counts": {**COUNTS, "processing": 0, "canceled": 2}},
            "cancelled",
        ),
    ],
)
def test_anthropics_states_are_openais(client: Client, upstream: Upstream, change: dict[str, Any], status: str) -> None:
    upstream.answer(Reply({**ANTHROPIC_BATCH, **change}))
    batch = client.call("retrieve_batch", "msgbatch_01", "anthropic")
    assert upstream.seen[0].path == "/v1/messages/batches/msgbatch_01"
    is_openai(batch, openai_types.Batch)
    assert batch.status == status
    assert batch.output_file_id == ("msgbatch_01" if change.get("processing_status") == "ended" else None)


def test_anthropics_batches_are_listed_and_cancelled(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"data": [ANTHROPIC_BATCH], "has_more": True, "first_id": "msgbatch_01", "last_id": "msgbatch_01"}))
    page = client.call("list_batches", "anthropic", limit=1, after="msgbatch_00")
    assert upstream.seen[0].path == "/v1/messages/batches?limit=1&after_id=msgbatch_00"
    assert page.has_more is True
    openai_types.Batch.model_validate(page.data[0], strict=True)
    upstream.answer(Reply({**ANTHROPIC_BATCH, "processing_status": "canceling"}))
    assert client.call("cancel_batch", "msgbatch_01", "anthropic").status == "cancelling"
    assert (upstream.seen[1].method, upstream.seen[1].path) == ("POST", "/v1/messages/batches/msgbatch_01/cancel")


MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 11, "output_tokens": 3},
}  # fmt: skip


def test_anthropics_results_come_as_openais_lines(client: Client, upstream: Upstream) -> None:
    error = {"type": "error", "error": {"type": "not_found_error", "message": "model: m"}, "request_id": "req_9"}
    told = [
        {"custom_id": "a-1", "result": {"type": "succeeded", "message": MESSAGE}},
        {"custom_id": "a-2", "result": {"type": "errored", "error": error}},
        {"custom_id": "a-3", "result": {"type": "expired"}},
    ]
    for line in told:
        anthropic_types.MessageBatchIndividualResponse.model_validate(line)
    upstream.answer(Reply(lines(*told), headers={"content-type": "application/x-jsonl"}))
    good, bad, late = results(client.call("file_content", "msgbatch_01", "anthropic"))
    assert upstream.seen[0].path == "/v1/messages/batches/msgbatch_01/results"
    assert (good["custom_id"], good["response"]["status_code"], good["error"]) == ("a-1", 200, None)
    chat = openai_types.chat.ChatCompletion.model_validate(good["response"]["body"])
    assert (chat.choices[0].message.content, chat.choices[0].finish_reason) == ("Hello", "stop")
    assert chat.usage is not None
    assert chat.usage.total_tokens == 14
    assert (bad["response"]["status_code"], bad["response"]["request_id"]) == (404, "req_9")
    assert bad["response"]["body"]["error"]["message"] == "model: m"
    assert late["response"]["body"]["error"]["message"] == "the request was expired"


def test_a_file_is_read_piece_by_piece_where_it_is_as_its_provider_keeps_it(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=[b"mill", b"stone"]), Reply(pieces=[b"mill"], cut=True), Reply(b"", headers={"content-type": "x/y"}))
    assert b"".join(client.call("file_content", "file-1", stream=True)) == b"millstone"
    assert upstream.seen[0].path == "/v1/files/file-1/content"
    with pytest.raises(headrace.APIConnectionError):
        client.call("file_content", "file-1", stream=True)
    assert client.call("file_content", "file-1", stream=True) == []
    with pytest.raises(headrace.BadRequestError, match="remove stream"):
        client.call("file_content", "msgbatch_01", "anthropic", stream=True)
    assert len(upstream.seen) == 3


def test_a_result_that_cannot_be_read_is_no_empty_answer(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(b'{"custom_id": "a-1"}\n'))
    with pytest.raises(headrace.APIResponseValidationError, match="anthropic: the response"):
        client.call("file_content", "msgbatch_01", "anthropic")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "line 1 is not a request"),
        (lines({**CALLS[0], "url": "/v1/embeddings"}), "line 1 calls '/v1/embeddings'"),
        (lines({"custom_id": "a", "body": {}}), "line 1 names no model"),
        (lines({**CALLS[0], "custom_id": "has spaces"}), "custom_ids of 1 to 64 letters"),
        (lines({"custom_id": "a", "body": {**CALLS[0]["body"], "logit_bias": {"1": 2}}}), "line 1: anthropic does not support logit_bias"),  # type: ignore[dict-item]
    ],
)
def test_a_bad_line_is_named_before_anything_is_sent(client: Client, upstream: Upstream, line: bytes, said: str) -> None:
    with pytest.raises(headrace.BadRequestError, match=said):
        client.call("create_batch", "24h", "/v1/chat/completions", line, "anthropic")
    assert upstream.seen == []


def test_what_a_provider_has_no_word_for_is_left_out_of_lines_where_that_is_wanted(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(ANTHROPIC_BATCH))
    line = lines({"custom_id": "a", "body": {**CALLS[0]["body"], "logit_bias": {"1": 2}}})  # type: ignore[dict-item]
    client.call("create_batch", "24h", "/v1/chat/completions", line, "anthropic", drop_params=True)
    assert "logit_bias" not in upstream.seen[0].body["requests"][0]["params"]


def test_anthropic_is_given_no_file_of_calls_to_keep(client: Client, upstream: Upstream) -> None:
    with pytest.raises(headrace.BadRequestError, match="pass the file itself to create_batch"):
        client.call("create_file", FILE, "batch", "anthropic")
    with pytest.raises(headrace.BadRequestError, match="pass the file itself as input_file_id"):
        client.call("create_batch", "24h", "/v1/chat/completions", "file_011", "anthropic")
    assert upstream.seen == []


ANTHROPIC_FILE = {
    "id": "file_011", "type": "file", "filename": "a.pdf", "mime_type": "application/pdf", "size_bytes": 5,
    "created_at": "2026-08-19T14:44:51Z", "downloadable": False,
}  # fmt: skip


def test_anthropics_files_are_kept_listed_shown_and_deleted(client: Client, upstream: Upstream) -> None:
    beta_types.BetaFileMetadata.model_validate(ANTHROPIC_FILE)
    upstream.answer(Reply(ANTHROPIC_FILE))
    file = client.call("create_file", ("a.pdf", b"%PDF-", "application/pdf"), "user_data", "anthropic")
    seen = upstream.seen[0]
    assert (seen.path, seen.headers["anthropic-beta"]) == ("/v1/files", "files-api-2025-04-14")
    assert parts(upstream) == [("application/pdf", b"%PDF-")]
    is_openai(file, FileObject)
    assert (file.id, file.bytes, file.filename, file.downloadable) == ("file_011", 5, "a.pdf", False)
    is_openai(client.call("file_retrieve", "file_011", "anthropic"), FileObject)
    upstream.answer(Reply({"data": [ANTHROPIC_FILE], "has_more": False, "first_id": "file_011", "last_id": "file_011"}))
    page = client.call("file_list", "anthropic", limit=2)
    assert upstream.seen[-1].path == "/v1/files?limit=2"
    FileObject.model_validate(page.data[0], strict=True)
    upstream.answer(Reply({"id": "file_011", "type": "file_deleted"}))
    gone = client.call("file_delete", "file_011", "anthropic")
    assert (upstream.seen[-1].method, upstream.seen[-1].path) == ("DELETE", "/v1/files/file_011")
    is_openai(gone, FileDeleted)
    upstream.answer(Reply(b"made", headers={"content-type": "text/plain"}))
    assert client.call("file_content", "file_012", "anthropic").content == b"made"
    assert upstream.seen[-1].path == "/v1/files/file_012/content"


# ---- Gemini ------------------------------------------------------------------------------------------------------------------------

GEMINI_FILE = {
    "name": "files/o3s42u5uu1z2", "displayName": "jobs.jsonl", "mimeType": "application/jsonl", "sizeBytes": "5", "state": "ACTIVE",
    "createTime": "2026-08-19T14:34:12.267870162Z", "expirationTime": "2026-08-21T14:34:12.267870162Z",
    "uri": "https://generativelanguage.googleapis.com/v1beta/files/o3s42u5uu1z2",
}  # fmt: skip
ABOUT = {
    "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch", "model": "models/gemini-2.5-flash",
    "displayName": "batch", "createTime": "2026-08-19T14:34:12.267870162Z", "updateTime": "2026-08-19T14:34:12.267870162Z",
    "batchStats": {"requestCount": "2", "pendingRequestCount": "2"}, "state": "BATCH_STATE_RUNNING", "name": "batches/31u",
}  # fmt: skip
GEMINI_BATCH = {"name": "batches/31u", "metadata": ABOUT}
"""Exchange 1a188f87e2819921."""
GENERATED = {
    "candidates": [{"content": {"parts": [{"text": "4"}], "role": "model"}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 1, "totalTokenCount": 6}, "modelVersion": "gemini-2.5-flash",
}  # fmt: skip


def test_a_file_of_calls_goes_to_gemini_in_its_own_lines(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"file": GEMINI_FILE}))
    file = client.call("create_file", FILE, "batch", "gemini")
    seen = upstream.seen[0]
    assert (seen.method, seen.path, seen.headers["x-goog-upload-protocol"]) == ("POST", "/upload/v1/files", "multipart")
    assert seen.headers["content-type"].startswith("multipart/related; ")
    (about_type, about), (kind, content) = parts(upstream)
    assert (about_type, kind) == ("application/json", "application/jsonl")
    assert json.loads(about) == {"file": {"display_name": "jobs.jsonl", "mime_type": "application/jsonl"}}
    first, second = [json.loads(line) for line in content.splitlines()]
    assert (first["key"], second["key"]) == ("a-1", "a-2")
    assert first["request"]["contents"] == [{"role": "user", "parts": [{"text": "Hi"}]}]
    assert second["request"]["generationConfig"] == {"temperature": 0.5, "maxOutputTokens": 7}
    is_openai(file, FileObject)
    assert (file.id, file.purpose, file.bytes) == (GEMINI_FILE["uri"], "batch", 5)


def test_any_other_file_goes_to_gemini_as_it_is(client: Client, upstream: Upstream, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG" * 50_000)
    upstream.answer(Reply({"file": GEMINI_FILE}))
    client.call("create_file", path, "user_data", "gemini")
    assert parts(upstream)[1] == ("image/png", path.read_bytes())


def test_geminis_batches_have_one_model(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(GEMINI_BATCH))
    batch = client.call("create_batch", "24h", "/v1/chat/completions", GEMINI_FILE["uri"], model="gemini/gemini-2.5-flash")
    [seen] = upstream.seen
    assert (seen.method, seen.path) == ("POST", "/v1/models/gemini-2.5-flash:batchGenerateContent")
    assert seen.body == {"batch": {"displayName": "batch", "inputConfig": {"fileName": "files/o3s42u5uu1z2"}}}
    is_openai(batch, openai_types.Batch)
    assert (batch.id, batch.status, batch.model, batch.input_file_id) == (
        "batches/31u", "in_progress", "gemini-2.5-flash", GEMINI_FILE["uri"],
    )  # fmt: skip
    with pytest.raises(headrace.BadRequestError, match="pass model="):
        client.call("create_batch", "24h", "/v1/chat/completions", "files/1", "gemini")


def test_a_batch_is_ordered_of_a_file_at_hand(client: Client, upstream: Upstream) -> None:
    """The file is given to the provider first, where that keeps files."""
    upstream.answer(Reply({"file": GEMINI_FILE}), Reply(GEMINI_BATCH))
    client.call("create_batch", "24h", "/v1/chat/completions", FILE, "gemini", model="gemini-2.5-flash")
    assert [seen.path for seen in upstream.seen] == ["/upload/v1/files", "/v1/models/gemini-2.5-flash:batchGenerateContent"]
    assert upstream.seen[1].body["batch"]["inputConfig"] == {"fileName": "files/o3s42u5uu1z2"}
    upstream.answer(Reply({"id": "file-1", "object": "file"}), Reply({"id": "batch_1", "object": "batch"}))
    client.call("create_batch", "24h", "/v1/chat/completions", FILE, metadata={"job": "7"})
    assert [seen.path for seen in upstream.seen[2:]] == ["/v1/files", "/v1/batches"]
    assert upstream.seen[3].body["input_file_id"] == "file-1"
    assert upstream.seen[3].body["metadata"] == {"job": "7"}


@pytest.mark.parametrize(
    ("state", "status"),
    [("PENDING", "validating"), ("RUNNING", "in_progress"), ("SUCCEEDED", "completed"), ("FAILED", "failed"), ("CANCELLED", "cancelled"),
     ("EXPIRED", "expired")],
)  # fmt: skip
def test_geminis_states_are_openais(client: Client, upstream: Upstream, state: str, status: str) -> None:
    told: dict[str, Any] = {**GEMINI_BATCH, "metadata": {**ABOUT, "state": f"BATCH_STATE_{state}", "endTime": "2026-08-19T15:00:00Z"}}
    if state == "SUCCEEDED":
        told["metadata"]["output"] = {"responsesFile": "files/batch-31u"}
    if state == "FAILED":
        told |= {"done": True, "error": {"code": 3, "message": "the file is empty"}}
    job = genai_types.BatchJob.model_validate(genai_batches._BatchJob_from_mldev(told))
    assert job.state is not None
    assert job.state.name == f"JOB_STATE_{state}"
    upstream.answer(Reply(told))
    batch = client.call("retrieve_batch", "batches/31u", "gemini")
    assert upstream.seen[0].path == "/v1/batches/31u"
    is_openai(batch, openai_types.Batch)
    assert batch.status == status
    assert batch.output_file_id == ("files/batch-31u" if state == "SUCCEEDED" else None)
    assert batch.operation_metadata["batchStats"]["requestCount"] == "2"  # Gemini's own words stay
    assert (batch.errors or {}).get("data", [{}])[0].get("message") == ("the file is empty" if state == "FAILED" else None)


def test_geminis_batches_are_listed_and_cancelled(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"operations": [GEMINI_BATCH], "nextPageToken": "t"}))
    page = client.call("list_batches", "gemini", limit=1, after="s")
    assert upstream.seen[0].path == "/v1/batches?pageSize=1&pageToken=s"
    assert (page.has_more, page.nextPageToken, page.data[0]["id"]) == (True, "t", "batches/31u")
    upstream.answer(Reply({}))
    assert client.call("cancel_batch", "batches/31u", "gemini").status == "cancelling"
    assert (upstream.seen[1].method, upstream.seen[1].path) == ("POST", "/v1/batches/31u:cancel")


RESULTS = [
    {"key": "a-1", "response": GENERATED},
    {"key": "a-2", "error": {"code": 404, "message": "no such model", "status": "NOT_FOUND"}},
]


@pytest.mark.parametrize("place", ["file", "inline"])
def test_geminis_results_come_as_openais_lines(client: Client, upstream: Upstream, place: str) -> None:
    if place == "file":
        upstream.answer(Reply(lines(*RESULTS)))
        answer = client.call("file_content", "files/batch-31u", "gemini")
        assert upstream.seen[0].path == "/v1/files/batch-31u:download?alt=media"
    else:
        inlined = [{"metadata": {"key": each["key"]}, **{k: v for k, v in each.items() if k != "key"}} for each in RESULTS]
        upstream.answer(Reply({**GEMINI_BATCH, "metadata": {**ABOUT, "output": {"inlinedResponses": {"inlinedResponses": inlined}}}}))
        assert client.call("retrieve_batch", "batches/31u", "gemini").output_file_id == "batches/31u"
        answer = client.call("file_content", "batches/31u", "gemini")
        assert upstream.seen[1].path == "/v1/batches/31u"
    good, bad = results(answer)
    chat = openai_types.chat.ChatCompletion.model_validate(good["response"]["body"])
    assert (good["custom_id"], chat.choices[0].message.content) == ("a-1", "4")
    assert (bad["custom_id"], bad["response"]["status_code"]) == ("a-2", 404)
    assert bad["response"]["body"]["error"]["message"] == "no such model"


def test_what_gemini_made_comes_as_it_is(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(b"\x00\x01video", headers={"content-type": "video/mp4"}))
    assert client.call("file_content", GEMINI_FILE["uri"], "gemini").content == b"\x00\x01video"
    assert upstream.seen[0].path == "/v1/files/o3s42u5uu1z2:download?alt=media"


def test_geminis_files_are_listed_shown_and_deleted(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"files": [GEMINI_FILE]}))
    page = client.call("file_list", "gemini", limit=3)
    assert upstream.seen[0].path == "/v1/files?pageSize=3"
    FileObject.model_validate(page.data[0], strict=True)
    upstream.answer(Reply({**GEMINI_FILE, "state": "FAILED"}))
    assert client.call("file_retrieve", GEMINI_FILE["uri"], "gemini").status == "error"
    assert upstream.seen[1].path == "/v1/files/o3s42u5uu1z2"
    upstream.answer(Reply({}))
    gone = client.call("file_delete", "files/o3s42u5uu1z2", "gemini")
    assert (upstream.seen[2].method, upstream.seen[2].path) == ("DELETE", "/v1/files/o3s42u5uu1z2")
    is_openai(gone, FileDeleted)


# ---- Mistral -----------------------------------------------------------------------------------------------------------------------

MISTRAL_BATCH = {
    "id": "ca1cd668", "object": "batch", "input_files": ["5cdf78f8"], "metadata": None, "endpoint": "/v1/chat/completions",
    "model": "mistral-small-latest", "agent_id": None, "output_file": "abbe56be", "error_file": None, "errors": [], "outputs": None,
    "status": "SUCCESS", "created_at": 1787150442, "total_requests": 2, "completed_requests": 2, "succeeded_requests": 1,
    "failed_requests": 1, "started_at": 1787150442, "completed_at": 1787150467,
}  # fmt: skip
"""Exchange 4d9226e50fe349df."""


def test_mistrals_batches_are_ordered_by_file_and_model(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({**MISTRAL_BATCH, "status": "QUEUED"}))
    batch = client.call(
        "create_batch", "24h", "/v1/chat/completions", "5cdf78f8", "mistral", model="mistral-small-latest", metadata={"job": "7"}
    )
    [seen] = upstream.seen
    assert (seen.method, seen.path) == ("POST", "/v1/batch/jobs")
    mistral_types.CreateBatchJobRequest.model_validate(seen.body)
    assert seen.body == {
        "input_files": ["5cdf78f8"], "endpoint": "/v1/chat/completions", "model": "mistral-small-latest", "timeout_hours": 24,
        "metadata": {"job": "7"},
    }  # fmt: skip
    is_openai(batch, openai_types.Batch)
    assert (batch.status, batch.input_file_id) == ("validating", "5cdf78f8")


@pytest.mark.parametrize(
    ("told", "status"),
    [("QUEUED", "validating"), ("RUNNING", "in_progress"), ("SUCCESS", "completed"), ("FAILED", "failed"),
     ("TIMEOUT_EXCEEDED", "expired"), ("CANCELLATION_REQUESTED", "cancelling"), ("CANCELLED", "cancelled")],
)  # fmt: skip
def test_mistrals_states_are_openais(client: Client, upstream: Upstream, told: str, status: str) -> None:
    answer = {**MISTRAL_BATCH, "status": told, "errors": [{"message": "bad line", "count": 3}]}
    mistral_types.BatchJob.model_validate(answer)
    upstream.answer(Reply(answer))
    batch = client.call("retrieve_batch", "ca1cd668", "mistral")
    assert upstream.seen[0].path == "/v1/batch/jobs/ca1cd668"
    is_openai(batch, openai_types.Batch)
    assert (batch.status, batch.output_file_id) == (status, "abbe56be")
    assert batch.request_counts == {"total": 2, "completed": 1, "failed": 1}
    assert batch.errors["data"][0]["message"] == "bad line"


def test_mistrals_batches_are_listed_and_cancelled_and_its_files_are_openais(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"object": "list", "data": [MISTRAL_BATCH], "total": 3}))
    page = client.call("list_batches", "mistral", limit=1, page=1)
    assert upstream.seen[0].path == "/v1/batch/jobs?page_size=1&page=1"
    assert page.has_more is True
    upstream.answer(Reply({**MISTRAL_BATCH, "status": "CANCELLATION_REQUESTED"}))
    assert client.call("cancel_batch", "ca1cd668", "mistral").status == "cancelling"
    assert (upstream.seen[1].method, upstream.seen[1].path) == ("POST", "/v1/batch/jobs/ca1cd668/cancel")
    line = {"id": "batch-1", "custom_id": "0", "response": {"status_code": 200, "body": {"object": "chat.completion"}}, "error": None}
    upstream.answer(Reply(lines(line)))
    assert results(client.call("file_content", "abbe56be", "mistral")) == [line]
    assert upstream.seen[2].path == "/v1/files/abbe56be/content"


# ---- xAI ---------------------------------------------------------------------------------------------------------------------------

STATE = {"num_requests": 2, "num_pending": 2, "num_success": 0, "num_error": 0, "num_cancelled": 0}
XAI_BATCH = {
    "batch_id": "batch_6cf1", "name": "nightly", "create_time": "2026-08-10", "expire_time": "2026-09-09", "create_api_key_id": "3a17",
    "cancel_time": None, "cancel_by_xai_message": None, "state": STATE,
}  # fmt: skip
"""Exchange 3aa2c0c7548c6c2c."""


def test_xais_batches_are_ordered_by_file_and_tell_by_counters(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(XAI_BATCH))
    batch = client.call("create_batch", "24h", "/v1/chat/completions", "file_1", "xai", metadata={"name": "nightly"})
    assert (upstream.seen[0].path, upstream.seen[0].body) == ("/v1/batches", {"name": "nightly", "input_file_id": "file_1"})
    is_openai(batch, openai_types.Batch)
    assert (batch.id, batch.status, batch.input_file_id, batch.metadata) == ("batch_6cf1", "in_progress", "file_1", {"name": "nightly"})
    assert batch.created_at == 1786320000  # a day without a zone begins in UTC


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"state": {**STATE, "num_requests": 0}}, "validating"),
        ({}, "in_progress"),
        ({"state": {**STATE, "num_pending": 0, "num_success": 1, "num_error": 1}}, "completed"),
        ({"cancel_time": "2026-08-11"}, "cancelled"),
        ({"cancel_time": "2026-08-11", "cancel_by_xai_message": "bad file"}, "failed"),
    ],
)
def test_xais_states_are_openais(client: Client, upstream: Upstream, change: dict[str, Any], status: str) -> None:
    upstream.answer(Reply({**XAI_BATCH, **change}))
    batch = client.call("retrieve_batch", "batch_6cf1", "xai")
    is_openai(batch, openai_types.Batch)
    assert batch.status == status
    assert (batch.output_file_id, (batch.errors or {}).get("data", [{}])[0].get("message")) == (
        "batch_6cf1" if status == "completed" else None, "bad file" if status == "failed" else None,
    )  # fmt: skip


def test_xais_results_come_page_by_page_as_openais_lines(client: Client, upstream: Upstream) -> None:
    """Every page is asked for: none of them is the whole."""
    body = {"id": "c", "object": "chat.completion", "choices": []}
    one = {"batch_request_id": "a-1", "batch_result": {"response": {"chat_get_completion": body}}}
    two = {"batch_request_id": "a-2", "batch_result": {"error": {"code": 400, "message": "no such model"}}}
    upstream.answer(Reply({"results": [one], "pagination_token": "t"}), Reply({"results": [two], "pagination_token": None}))
    good, bad = results(client.call("file_content", "batch_6cf1", "xai"))
    assert [seen.path for seen in upstream.seen] == [
        "/v1/batches/batch_6cf1/results?limit=1000", "/v1/batches/batch_6cf1/results?limit=1000&pagination_token=t",
    ]  # fmt: skip
    assert (good["custom_id"], good["response"]["status_code"], good["response"]["body"]) == ("a-1", 200, body)
    assert (bad["custom_id"], bad["response"], bad["error"]) == ("a-2", None, {"code": "400", "message": "no such model"})


def test_xais_files_and_lists_are_nearly_openais(client: Client, upstream: Upstream) -> None:
    file = {"id": "file_1", "object": "file", "bytes": 5, "created_at": 1, "filename": "a.jsonl", "purpose": "", "expires_at": None}
    upstream.answer(Reply(file))
    made = client.call("create_file", ("a.jsonl", b"{}"), "batch", "xai")
    assert (upstream.seen[0].path, made.id, made.purpose) == ("/v1/files", "file_1", "batch")
    assert client.call("file_retrieve", "file_1", "xai").filename == "a.jsonl"
    upstream.answer(Reply({"data": [file], "pagination_token": "t"}))
    assert client.call("file_list", "xai", limit=1, after="s").has_more is True
    assert upstream.seen[-1].path == "/v1/files?limit=1&pagination_token=s"
    upstream.answer(Reply({"id": "file_1", "deleted": True}))
    assert client.call("file_delete", "file_1", "xai").deleted is True
    upstream.answer(Reply(b"whole"))
    assert client.call("file_content", "file_1", "xai").content == b"whole"
    upstream.answer(Reply({"batches": [XAI_BATCH], "pagination_token": None}))
    page = client.call("list_batches", "xai")
    assert (page.has_more, page.data[0]["id"]) == (False, "batch_6cf1")
    upstream.answer(Reply({**XAI_BATCH, "cancel_time": "2026-08-11"}))
    assert client.call("cancel_batch", "batch_6cf1", "xai").status == "cancelled"
    assert (upstream.seen[-1].method, upstream.seen[-1].path) == ("POST", "/v1/batches/batch_6cf1:cancel")


# ---- all of them -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["anthropic", "gemini", "mistral", "xai"])
def test_a_refusal_is_raised_as_what_it_is(client: Client, upstream: Upstream, provider: str) -> None:
    upstream.answer(Reply({"error": {"message": "no such batch", "code": 404, "status": "NOT_FOUND"}}, status=404))
    with pytest.raises(headrace.NotFoundError, match="no such batch"):
        client.call("retrieve_batch", "x", provider)


@pytest.mark.parametrize("provider", ["anthropic", "gemini", "mistral", "xai"])
def test_an_answer_that_is_no_batch_is_a_bad_response(client: Client, upstream: Upstream, provider: str) -> None:
    upstream.answer(Reply({"hello": 1}))
    with pytest.raises(headrace.APIResponseValidationError, match=f"{provider}: the response"):
        client.call("retrieve_batch", "x", provider)

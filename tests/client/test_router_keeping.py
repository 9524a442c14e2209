"""Files and batches of a Router: stored by the first deployment that can, and found there again; sync and async."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from tests.client.upstream import Client, Reply, Upstream, standing

import headrace
from headrace.errors import BadRequestError

LINES = [{"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt"}} for number in range(3)]
JSONL = "\n".join(json.dumps(line) for line in LINES).encode()


def entry(name: str, model: str, upstream: Upstream, **params: Any) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {"model": model, "api_key": f"sk-{name}", "base_url": upstream.url, **params}}


def router(upstream: Upstream) -> headrace.Router:
    return headrace.Router([entry("gpt", "openai/gpt-4o-mini", upstream), entry("other", "openai/gpt-4o", upstream)], num_retries=0)


@pytest.mark.parametrize("form", ["bytes", "path", "open file"])
def test_a_file_of_calls_names_the_deployments_own_model(client: Client, upstream: Upstream, form: str, tmp_path: Path) -> None:
    (tmp_path / "calls.jsonl").write_bytes(JSONL)
    file: Any = {"bytes": JSONL, "path": tmp_path / "calls.jsonl", "open file": io.BytesIO(JSONL)}[form]
    upstream.answer(Reply({"id": "file-1", "object": "file", "purpose": "batch"}))
    made = client.call("create_file", on=router(upstream), file=file, purpose="batch", model="gpt")
    assert made.id == "file-1"
    seen = upstream.seen[0]
    assert (seen.path, seen.headers["authorization"]) == ("/v1/files", "Bearer sk-gpt")
    assert seen.body.count(b'"gpt-4o-mini"') == 3
    assert b'name="purpose"' in seen.body


def test_a_file_for_anything_else_goes_as_it_is(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"id": "file-1", "object": "file"}))
    client.call("create_file", on=router(upstream), file=("a.txt", b"mills"), purpose="assistants")
    assert b"mills" in upstream.seen[0].body


def test_a_line_for_another_model_is_named(client: Client, upstream: Upstream) -> None:
    with pytest.raises(BadRequestError, match="line 1 names the model 'gpt', but the file is for 'other'"):
        client.call("create_file", on=router(upstream), file=JSONL, purpose="batch", model="other")
    assert upstream.seen == []


def test_a_batch_is_ordered_looked_at_and_stopped_where_its_file_is(client: Client, upstream: Upstream) -> None:
    made = router(upstream)
    upstream.answer(
        *[Reply({"id": "batch_1", "object": "batch", "status": status}) for status in ("validating", "in_progress", "cancelling")]
    )
    window: dict[str, Any] = {"completion_window": "24h", "endpoint": "/v1/chat/completions", "input_file_id": "file-1"}
    ordered = client.call("create_batch", on=made, model="other", metadata={"a": "b"}, **window)
    looked = client.call("retrieve_batch", "batch_1", on=made, model="other")
    stopped = client.call("cancel_batch", "batch_1", on=made, model="other")
    assert [one.status for one in (ordered, looked, stopped)] == ["validating", "in_progress", "cancelling"]
    assert [seen.path for seen in upstream.seen] == ["/v1/batches", "/v1/batches/batch_1", "/v1/batches/batch_1/cancel"]
    assert upstream.seen[0].body == {**window, "metadata": {"a": "b"}}
    assert {seen.headers["authorization"] for seen in upstream.seen} == {"Bearer sk-other"}


def test_what_is_kept_is_listed_read_and_forgotten(client: Client, upstream: Upstream) -> None:
    made = router(upstream)
    upstream.answer(
        Reply({"object": "list", "data": [{"id": "file-1", "object": "file"}]}),
        Reply({"id": "file-1", "object": "file"}),
        Reply(b"lines", headers={"content-type": "application/octet-stream"}),
        Reply({"id": "file-1", "deleted": True}),
        Reply({"object": "list", "data": []}),
    )
    assert client.call("file_list", on=made).data[0]["id"] == "file-1"
    assert client.call("file_retrieve", "file-1", on=made).id == "file-1"
    assert client.call("file_content", "file-1", on=made).content == b"lines"
    assert client.call("file_delete", "file-1", on=made).deleted is True
    assert client.call("list_batches", on=made, model="gpt").data == []
    assert [(seen.method, seen.path) for seen in upstream.seen] == [
        ("GET", "/v1/files"), ("GET", "/v1/files/file-1"), ("GET", "/v1/files/file-1/content"), ("DELETE", "/v1/files/file-1"),
        ("GET", "/v1/batches"),
    ]  # fmt: skip
    assert [row["in_flight"] for row in made.snapshot()["deployments"].values()] == [0, 0]


def test_where_nobody_keeps_files_the_caller_is_told(client: Client, upstream: Upstream) -> None:
    made = headrace.Router([entry("gpt", "cohere/command-r", upstream)])
    with pytest.raises(BadRequestError, match="no provider that serves 'gpt' is known to keep files"):
        client.call("file_list", on=made, model="gpt")


def test_a_group_that_keeps_none_is_passed_over(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"object": "list", "data": []}))
    with standing() as silent:
        made = headrace.Router([entry("a", "cohere/command-r", silent), entry("b", "openai/gpt-4o", upstream)])
        client.call("file_list", on=made)
    assert len(upstream.seen) == 1


NOT_HERE = Reply({"error": {"message": "No such File object: file-9", "code": None}}, status=404)


@pytest.mark.parametrize(
    ("method", "id", "answer"),
    [
        ("file_retrieve", "file-9", {"id": "file-9", "object": "file"}),
        ("file_delete", "file-9", {"id": "file-9", "deleted": True}),
        ("retrieve_batch", "batch_9", {"id": "batch_9", "object": "batch", "status": "completed"}),
        ("cancel_batch", "batch_9", {"id": "batch_9", "object": "batch", "status": "cancelling"}),
    ],
)
def test_an_id_that_another_deployment_gave_out_was_not_found(
    client: Client, upstream: Upstream, method: str, id: str, answer: dict[str, Any]
) -> None:
    """An id does not say whose it is: whoever does not know it sends the question on to the next account."""
    made = router(upstream)
    upstream.answer(NOT_HERE, Reply(answer))
    assert client.call(method, id, on=made).id == id
    assert [seen.headers["authorization"] for seen in upstream.seen] == ["Bearer sk-gpt", "Bearer sk-other"]
    assert not any(state["resting"] for state in made.health().values())


def test_an_id_that_nobody_knows_is_refused_with_who_was_asked(client: Client, upstream: Upstream) -> None:
    made = router(upstream)
    upstream.answer(NOT_HERE, NOT_HERE)
    first, second = made.get_model_ids()
    with pytest.raises(headrace.NotFoundError, match=rf"'file-9' was not found at any deployment that stores \w+: '{first}', '{second}'"):
        client.call("file_retrieve", "file-9", on=made)


def test_a_deployment_can_be_named_by_its_id_as_the_one_who_keeps_it(client: Client, upstream: Upstream) -> None:
    made = router(upstream)
    upstream.answer(Reply({"id": "file-1", "object": "file"}))
    client.call("file_retrieve", "file-1", on=made, model=made.get_model_ids()[1])
    assert [seen.headers["authorization"] for seen in upstream.seen] == ["Bearer sk-other"]


def test_a_file_that_is_not_there_put_its_deployment_to_rest(client: Client, upstream: Upstream) -> None:
    twins = headrace.Router([entry("gpt", "openai/gpt-4o", upstream), entry("gpt", "openai/gpt-4o", upstream)], num_retries=0)
    upstream.answer(NOT_HERE)
    with pytest.raises(headrace.NotFoundError):
        client.call("file_retrieve", "file-9", on=twins)
    assert not any(state["resting"] for state in twins.health().values())

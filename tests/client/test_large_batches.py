"""Large files of calls: written and read line by line, while other calls run; sync and async."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from tests.client.upstream import Client, Reply, Upstream

import headrace
from headrace.dialects.base import Target
from headrace.dialects.forms.kept_anthropic import NewBatch
from headrace.dialects.forms.lines import lines_in
from headrace.multipart import MOST_IN_MEMORY, FormFile, Spool

LINES = 400


def calls(count: int = LINES, model: str = "claude-x", said: str = "hi") -> bytes:
    """OpenAI's lines, the last without an end."""
    body = {"model": model, "messages": [{"role": "user", "content": said}]}
    return b"\n".join(json.dumps({"custom_id": f"c{at}", "url": "/v1/chat/completions", "body": body}).encode() for at in range(count))


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is a slice."""
    monkeypatch.setattr("headrace.slices.SLICE", 0.0)


async def counted(work: Any) -> tuple[Any, int]:
    """What `work` makes, and how often somebody else's turn came meanwhile."""
    count, over = 0, False

    async def other() -> None:
        nonlocal count
        while not over:
            count += 1
            await asyncio.sleep(0)

    beside = asyncio.ensure_future(other())
    try:
        return await work, count
    finally:
        over = True
        await beside


BATCH = {
    "id": "msgbatch_1", "processing_status": "in_progress", "created_at": "2026-11-01T00:00:00Z", "expires_at": None, "ended_at": None,
    "cancel_initiated_at": None, "request_counts": {"processing": 1, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
}  # fmt: skip


def test_a_batch_of_anthropics_is_written_between_others_turns(upstream: Upstream, turns: None) -> None:
    upstream.answer(Reply(BATCH))
    order = headrace.acreate_batch(
        "24h", "/v1/chat/completions", calls(), custom_llm_provider="anthropic", base_url=upstream.url, api_key="k", num_retries=0
    )
    answer, others = asyncio.run(counted(order))
    assert answer.id == "msgbatch_1"
    assert [it["custom_id"] for it in upstream.seen[0].body["requests"]] == [f"c{at}" for at in range(LINES)]
    assert others > LINES


def test_results_are_read_between_others_turns(upstream: Upstream, turns: None) -> None:
    said = {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": [{"type": "text", "text": "ho"}]}
    usage = {"input_tokens": 1, "output_tokens": 1}
    result = {"type": "succeeded", "message": {**said, "stop_reason": "end_turn", "usage": usage}}
    told = b"\r\n".join(json.dumps({"custom_id": f"c{at}", "result": result}).encode() for at in range(LINES))
    upstream.answer(Reply(pieces=[told]))
    asked = headrace.afile_content("msgbatch_1", custom_llm_provider="anthropic", base_url=upstream.url, api_key="k", num_retries=0)
    answer, others = asyncio.run(counted(asked))
    lines = [json.loads(line) for line in answer.content.splitlines()]
    assert [line["custom_id"] for line in lines] == [f"c{at}" for at in range(LINES)]
    assert lines[-1]["response"]["body"]["choices"][0]["message"]["content"] == "ho"
    assert others > LINES


def test_a_batch_goes_out_the_same_in_both_colours_and_again_when_it_is_sent_again(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"error": {"message": "busy"}}, status=503), Reply(BATCH))
    client.call("create_batch", "24h", "/v1/chat/completions", calls(3), custom_llm_provider="anthropic", num_retries=1)
    first, second = upstream.seen
    assert first.body == second.body
    assert len(second.body["requests"]) == 3


def test_what_is_wrong_with_a_line_is_told_before_anything_is_sent(client: Client, upstream: Upstream) -> None:
    with pytest.raises(headrace.BadRequestError, match="line 4 is not a request"):
        client.call("create_batch", "24h", "/v1/chat/completions", calls(3) + b"\n{", custom_llm_provider="anthropic")
    assert upstream.seen == []


def test_a_routers_file_is_renamed_between_others_turns(upstream: Upstream, turns: None) -> None:
    upstream.answer(Reply({"id": "file-1", "object": "file", "purpose": "batch"}))
    params = {"model": "openai/own-name", "base_url": upstream.url, "api_key": "k"}
    router = headrace.Router([{"model_name": "group", "litellm_params": params}], num_retries=0)
    answer, others = asyncio.run(counted(router.acreate_file(("calls.jsonl", calls(model="group")), "batch", "group")))
    assert answer.id == "file-1"
    assert upstream.seen[0].body.count(b'"model":"own-name"') == LINES
    assert others > LINES


class Endless:
    """A file of which only what is held counts: its pieces are made as they are read."""

    def __init__(self, count: int) -> None:
        self._count = count

    def pieces(self) -> Iterator[bytes]:
        for at in range(self._count):
            yield calls(1, said="x" * 50_000).replace(b'"c0"', f'"c{at}"'.encode()) + b"\n"


def test_a_large_batch_is_not_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written already is on a disk: the request has no body, and its bytes come from there."""
    file = FormFile(BytesIO(b""), "file")
    monkeypatch.setattr(FormFile, "pieces", lambda _: Endless(60).pieces())
    request = NewBatch().write({"input_file_id": file}, Target("anthropic", "-", "https://api.example.com"))
    assert request.body == b""
    assert isinstance(request.upload, Spool)
    assert request.upload.size > 2 * MOST_IN_MEMORY
    assert request.upload._file._rolled
    assert len(json.loads(b"".join(request.upload.pieces()))["requests"]) == 60


def test_lines_are_what_splitlines_says() -> None:
    for told in (b"", b"\n", b"a", b"a\n", b"a\r\nb\n\n c \n", b"\n\na"):
        assert list(lines_in(told)) == [line.strip() for line in told.splitlines() if line.strip()]

"""Files and batches from the first call to the last answer, as their users ask, at simulated providers; in both colours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from openai.types import Batch, FileObject
from tests.simulator.conftest import KEY, fleet, quick

import headrace
from headrace.simulator.server import Running, running

PROVIDERS = ["openai", "mistral", "anthropic", "gemini"]


@pytest.fixture(scope="module")
def base() -> Iterator[Running]:
    with running(fleet(quick("a", rpm=2, api_keys=(KEY,)))) as made:
        yield made


class Caller:
    def __init__(self, colour: str, base: Running) -> None:
        self._asks = colour == "async"
        self._way = {"base_url": base.url("a"), "api_key": KEY, "num_retries": 0}

    def __call__(self, name: str, *args: Any, **options: Any) -> Any:
        if not self._asks:
            return getattr(headrace, name)(*args, **{**self._way, **options})

        async def ask() -> Any:
            return await getattr(headrace, f"a{name}")(*args, **{**self._way, **options})

        return asyncio.run(ask())


@pytest.fixture(params=["async", "sync"])
def call(request: pytest.FixtureRequest, base: Running) -> Caller:
    return Caller(request.param, base)


def chat(number: int, **more: Any) -> dict[str, Any]:
    body = {"model": "gpt-sim", "messages": [{"role": "user", "content": f"question {number}"}], "max_tokens": 9, **more}
    return {"custom_id": f"q-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def written(path: Path, *calls: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(it) + "\n" for it in calls))
    return path


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_file_of_calls_becomes_a_file_of_answers(call: Caller, provider: str, tmp_path: Path) -> None:
    """More calls than a minute's limit holds: batches have limits of their own."""
    file = written(tmp_path / "calls.jsonl", *(chat(number) for number in range(5)))
    batch = call("create_batch", "24h", "/v1/chat/completions", file, provider, model=f"{provider}/gpt-sim")
    assert batch.status in ("in_progress", "validating")
    assert batch.id in [it["id"] for it in call("list_batches", provider).data]
    done = call("retrieve_batch", batch.id, provider)
    Batch.model_validate(done.model_dump())
    assert (done.status, done.request_counts["completed"], done.request_counts["failed"]) == ("completed", 5, 0)
    lines = [json.loads(line) for line in call("file_content", done.output_file_id, provider).text.splitlines()]
    assert [line["custom_id"] for line in lines] == [f"q-{number}" for number in range(5)]
    for line in lines:
        answer = openai.types.chat.ChatCompletion.model_validate(line["response"]["body"])
        assert answer.choices[0].message.content
        assert answer.usage is not None
        assert 0 < answer.usage.completion_tokens <= 9


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_call_that_fails_in_a_batch_is_a_line_that_says_so(call: Caller, provider: str, tmp_path: Path) -> None:
    bad = chat(2, model="nobody") if provider == "anthropic" else chat(2, max_tokens=10**9)
    batch = call(
        "create_batch", "24h", "/v1/chat/completions", written(tmp_path / "c.jsonl", chat(1), bad), provider, model=f"{provider}/gpt-sim"
    )
    done = call("retrieve_batch", batch.id, provider)
    assert (done.request_counts["completed"], done.request_counts["failed"]) == (1, 1)
    _, line = [json.loads(line) for line in call("file_content", done.output_file_id, provider).text.splitlines()]
    assert line["response"]["status_code"] in (400, 404)
    assert line["response"]["body"]["error"]["message"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_batch_is_cancelled(call: Caller, provider: str, tmp_path: Path) -> None:
    batch = call(
        "create_batch", "24h", "/v1/chat/completions", written(tmp_path / "c.jsonl", chat(1)), provider, model=f"{provider}/gpt-sim"
    )
    assert call("cancel_batch", batch.id, provider).status in ("cancelling", "cancelled")
    assert call("retrieve_batch", batch.id, provider).status == "cancelled"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_file_is_kept_shown_listed_and_forgotten(call: Caller, provider: str) -> None:
    file = call("create_file", ("a.txt", b"hello", "text/plain"), "user_data", provider)
    FileObject.model_validate(file.model_dump())
    assert (file.filename, file.bytes) == ("a.txt", 5)
    assert call("file_retrieve", file.id, provider).id == file.id
    assert file.id in [it["id"] for it in call("file_list", provider).data]
    assert call("file_content", file.id, provider).content == b"hello"
    assert call("file_delete", file.id, provider).deleted is True
    with pytest.raises(headrace.NotFoundError):
        call("file_retrieve", file.id, provider)


def test_the_official_clients_find_what_they_expect(base: Running, tmp_path: Path) -> None:
    """The simulator's side is checked by those who did not write ours."""
    client = openai.OpenAI(base_url=base.url("a"), api_key=KEY, max_retries=0)
    with written(tmp_path / "c.jsonl", chat(1)).open("rb") as opened:
        file = client.files.create(file=opened, purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    done = client.batches.retrieve(batch.id)
    assert done.status == "completed"
    assert b'"custom_id":"q-1"' in client.files.content(str(done.output_file_id)).content
    client.close()
    theirs = anthropic.Anthropic(base_url=base.url("a").removesuffix("/v1"), api_key=KEY, max_retries=0)
    params: Any = {"model": "gpt-sim", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    made = theirs.messages.batches.create(requests=[{"custom_id": "a", "params": params}])
    assert theirs.messages.batches.retrieve(made.id).processing_status == "ended"
    theirs.close()


def test_a_batch_without_its_file_or_key_is_refused(call: Caller, base: Running) -> None:
    with pytest.raises(headrace.NotFoundError, match="No such File"):
        call("create_batch", "24h", "/v1/chat/completions", "file-0", "openai")
    with pytest.raises(headrace.AuthenticationError):
        headrace.file_list("openai", base_url=base.url("a"), api_key="sk-wrong-key-1234", num_retries=0)

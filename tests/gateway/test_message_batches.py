"""Anthropic's batches with its official client: the gateway's model names, ids that say where a batch is stored, and owners."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from tests.client.upstream import Reply, Upstream, standing
from tests.gateway.conftest import KEY, serving
from tests.gateway.persistence import Gateway, kept

from headrace import Router
from headrace.dialects.anthropic_messages.requests import VERSION
from headrace.gateway.config import Settings
from headrace.gateway.persistence import Where
from headrace.gateway.stored_object_table import StoredObjectTable

BATCH = {
    "id": "msgbatch_1", "type": "message_batch", "processing_status": "ended", "created_at": "2026-11-29T08:00:00Z",
    "expires_at": "2026-11-30T08:00:00Z", "ended_at": "2026-11-29T08:05:00Z", "archived_at": None, "cancel_initiated_at": None,
    "request_counts": {"processing": 0, "succeeded": 1, "errored": 1, "canceled": 0, "expired": 0},
    "results_url": "https://elsewhere.example/v1/messages/batches/msgbatch_1/results", "of_tomorrow": [1],
}  # fmt: skip
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-own", "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1},
}  # fmt: skip
RESULTS = [
    {"custom_id": "a", "result": {"type": "succeeded", "message": MESSAGE}},
    {"custom_id": "b", "result": {"type": "errored", "error": {"type": "error", "error": {"type": "api_error", "message": "no"}}}},
]
LINES = b"".join(json.dumps(line).encode() + b"\n" for line in RESULTS)


@pytest.fixture
def provider() -> Iterator[Upstream]:
    with standing() as made:
        yield made


async def _billed(self: StoredObjectTable, deployment: str, batch: str) -> bool:
    return False


def router_over(provider: Upstream) -> Router:
    def entry(name: str, model: str, key: str = "sk-upstream") -> dict[str, Any]:
        return {"model_name": name, "litellm_params": {"model": model, "api_key": key, "base_url": provider.url}}

    return Router(
        [
            entry("gpt", "openai/own"), entry("claude", "anthropic/claude-own"), entry("small", "anthropic/claude-small"),
            entry("mine-*", "anthropic/claude-*"), entry("elsewhere", "anthropic/claude-own", "sk-another"),
        ],
        num_retries=0,
    )  # fmt: skip


@pytest.fixture
def place(provider: Upstream, tmp_path: Path) -> Iterator[Gateway]:
    with kept(router_over(provider), Where(f"sqlite:///{tmp_path / 'headrace.db'}", tmp_path)) as (base, state):
        yield Gateway(base, state)


def client(base: str, key: str = KEY) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=key, base_url=base, max_retries=0)


def asking(model: str, id: str = "a", **more: Any) -> Any:
    return {"custom_id": id, "params": {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}], **more}}


@pytest.mark.parametrize("prefix", ["", "/anthropic"])
def test_a_batch_is_made_followed_read_stopped_and_deleted(
    place: Gateway, provider: Upstream, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoredObjectTable, "done", _billed)  # tests/gateway/test_batch_bills.py has what comes of it
    batches = client(place.base + prefix, place.key()).messages.batches
    provider.answer(Reply(BATCH))
    asked = [asking("claude", thinking={"type": "enabled", "budget_tokens": 1024}), asking("small", "b"), asking("mine-3", "c")]
    made = batches.create(requests=asked, extra_headers={"anthropic-beta": "output-300k"})
    seen = provider.seen[-1]
    assert (seen.method, seen.path, seen.headers["anthropic-beta"]) == ("POST", "/v1/messages/batches", "output-300k")
    assert seen.headers["x-api-key"] == "sk-upstream"
    own = ["claude-own", "claude-small", "claude-3"]
    assert seen.body == {"requests": [{**one, "params": {**one["params"], "model": name}} for one, name in zip(asked, own, strict=True)]}
    assert made.id.startswith("msgbatch_")
    assert made.id != "msgbatch_1"
    assert (made.processing_status, made.request_counts.errored, made.of_tomorrow) == ("ended", 1, [1])  # type: ignore[attr-defined]
    assert batches.retrieve(made.id).id == made.id
    assert (provider.seen[-1].method, provider.seen[-1].path) == ("GET", "/v1/messages/batches/msgbatch_1")
    assert batches.cancel(made.id).id == made.id
    assert (provider.seen[-1].method, provider.seen[-1].path) == ("POST", "/v1/messages/batches/msgbatch_1/cancel")
    provider.answer(Reply(BATCH), Reply(LINES, headers={"content-type": "application/x-jsonl"}))
    found = list(batches.results(made.id))
    assert provider.seen[-1].path == "/v1/messages/batches/msgbatch_1/results"
    assert [one.custom_id for one in found] == ["a", "b"]
    assert found[0].result.message.content[0].text == "hi"  # type: ignore[union-attr]
    provider.answer(Reply({"id": "msgbatch_1", "type": "message_batch_deleted"}))
    assert batches.delete(made.id).id == made.id
    assert (provider.seen[-1].method, provider.seen[-1].path) == ("DELETE", "/v1/messages/batches/msgbatch_1")


def test_a_batch_is_for_who_made_it_and_for_administrators(place: Gateway, provider: Upstream) -> None:
    mine, other, master = (client(place.base, key).messages.batches for key in (place.key(), place.key(), KEY))
    provider.answer(Reply(BATCH))
    made = mine.create(requests=[asking("claude")])
    provider.answer(Reply({"data": [BATCH, {**BATCH, "id": "msgbatch_2"}], "has_more": False, "first_id": "msgbatch_1", "last_id": None}))
    assert [one.id for one in mine.list()] == [made.id]
    assert list(other.list()) == []
    assert len(list(master.list(limit=7))) == 2
    assert provider.seen[-1].path == "/v1/messages/batches?limit=7"
    master.list(after_id=made.id)
    seen = len(provider.seen)
    for id in (made.id, "msgbatch_1", "msgbatch_none"):
        for ask in (other.retrieve, other.cancel, other.results, other.delete):
            with pytest.raises(anthropic.NotFoundError):
                ask(id)
    assert len(provider.seen) == seen  # nothing of it reached the provider
    provider.answer(Reply(BATCH))
    assert mine.retrieve("msgbatch_1").id == made.id  # by its provider's own id as well
    assert master.retrieve("msgbatch_1").processing_status == "ended"


def test_a_list_goes_on_behind_a_batch_in_the_account_that_keeps_it(place: Gateway, provider: Upstream) -> None:
    batches = client(place.base).messages.batches
    provider.answer(Reply(BATCH))
    made = batches.create(requests=[asking("elsewhere")])
    assert provider.seen[-1].headers["x-api-key"] == "sk-another"
    provider.answer(Reply({"data": [], "has_more": False, "first_id": None, "last_id": None}))
    assert list(batches.list(after_id=made.id, limit=2)) == []
    assert (provider.seen[-1].path, provider.seen[-1].headers["x-api-key"]) == (
        "/v1/messages/batches?after_id=msgbatch_1&limit=2", "sk-another",
    )  # fmt: skip


def test_without_a_database_ids_lead_to_their_account_all_the_same(provider: Upstream) -> None:
    with serving(router_over(provider), Settings(key=KEY)) as base:
        batches = client(base).messages.batches
        provider.answer(Reply(BATCH))
        made = batches.create(requests=[asking("elsewhere")])
        assert batches.retrieve(made.id).id == made.id
    assert provider.seen[-1].headers["x-api-key"] == "sk-another"


@pytest.mark.parametrize(
    ("requests", "status", "named"),
    [
        ([], 400, "requests must be"),
        ("all", 400, "requests must be"),
        ([{"custom_id": "a"}], 400, r"requests[0].params.model"),
        ([asking("claude"), 7], 400, r"requests[1].params.model"),
        ([asking("claude"), asking("")], 400, r"requests[1].params.model"),
        ([asking("nobody")], 404, "no model 'nobody'"),
        ([asking("gpt")], 501, "/v1/batches"),
        ([asking("claude"), asking("elsewhere")], 400, "'elsewhere'"),
    ],
)
def test_an_order_that_cannot_be_is_refused_in_anthropics_words(
    place: Gateway, provider: Upstream, requests: Any, status: int, named: str
) -> None:
    told = place.ask("/v1/messages/batches", {"requests": requests}, status=status)
    assert told["type"] == "error"
    assert named in told["error"]["message"]
    assert provider.seen == []


def test_a_key_orders_its_own_models_alone(place: Gateway, provider: Upstream) -> None:
    key = place.key(models=["small"])
    place.ask("/v1/messages/batches", {"requests": [asking("small"), asking("claude")]}, key, 403)
    assert provider.seen == []


@pytest.mark.parametrize("path", ["/v1/messages/batches", "/openai/other/messages/batches"])
def test_a_message_of_a_batch_speaks_of_nobody_elses_file(place: Gateway, provider: Upstream, path: str) -> None:
    """Only single messages were looked into."""
    file = [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "file_1"}}]}]
    told = place.ask(path, {"requests": [asking("claude", messages=file)]}, place.key(), 404)
    assert "does not exist for this key" in told["error"]["message"]
    assert provider.seen == []


def test_what_the_provider_says_of_a_failure_is_passed_on(place: Gateway, provider: Upstream) -> None:
    said = {"type": "error", "error": {"type": "invalid_request_error", "message": "too many"}, "request_id": "r"}
    provider.answer(Reply(said, status=400))
    assert place.ask("/v1/messages/batches", {"requests": [asking("claude")]}, status=400) == said
    assert provider.seen[-1].headers["anthropic-version"] == VERSION  # whose client names none

"""Batches are billed once, to their creator, when the provider has completed them."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from tests.client.upstream import Reply, Upstream, standing
from tests.gateway.conftest import KEY
from tests.gateway.persistence import Gateway, kept

from headrace import Router
from headrace.gateway import stored_object_table
from headrace.gateway.ledger import batch_bills, order_table
from headrace.gateway.ledger.batch_bills import Batches
from headrace.gateway.orders import RESPONSE, Order
from headrace.gateway.persistence import Where
from headrace.gateway.records import Record
from headrace.runtime.sql import Database

Eventually = Callable[[Callable[[], bool]], bool]

FILE = {"id": "file-1", "object": "file", "bytes": 1, "created_at": 1, "filename": "x", "purpose": "batch", "status": "processed"}
UNDER_WAY = {"id": "batch_1", "object": "batch", "status": "in_progress", "created_at": 1, "input_file_id": "file-1"}
DONE = {**UNDER_WAY, "status": "completed", "output_file_id": "file-2", "request_counts": {"total": 3, "completed": 2, "failed": 1}}
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
LINES = b"".join(
    json.dumps(line).encode() + b"\n"
    for line in (
        {"custom_id": "a", "response": {"status_code": 200, "body": {"model": "own-2026-01-01", "usage": USAGE}}},
        {"custom_id": "b", "response": {"status_code": 200, "body": {"model": "own-2026-01-01", "usage": USAGE}}},
        {"custom_id": "c", "response": {"status_code": 400, "body": {"error": {"message": "no"}}}},
    )
)
COST = 2 * (1000 * 2e-6 + 100 * 1e-5) / 2
"""Dollars: the half of what the calls of LINES would cost at once."""

MESSAGES = {"id": "msgbatch_1", "type": "message_batch", "processing_status": "in_progress", "results_url": None}
ENDED = {**MESSAGES, "processing_status": "ended", "results_url": "https://elsewhere.example/x"}
RESULTS = b"".join(
    json.dumps({"custom_id": "a", "result": {"type": "succeeded", "message": {"model": model, "usage": usage}}}).encode() + b"\n"
    for model, usage in (
        ("claude-own", {"input_tokens": 1000, "output_tokens": 100}),
        ("claude-sonnet-4-5", {"input_tokens": 1000, "output_tokens": 100}),
    )
)


@pytest.fixture
def provider() -> Iterator[Upstream]:
    with standing() as made:
        yield made


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is told that a batch is over looks at it at once; nobody else does within a test."""
    monkeypatch.setattr(batch_bills, "EVERY", 0.05)


def router_over(provider: Upstream) -> Router:
    info = {"input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5}
    params = {"api_key": "sk-upstream", "base_url": provider.url}
    return Router(
        [
            {"model_name": "m", "litellm_params": {"model": "openai/own", **params}, "model_info": {"id": "first", **info}},
            {"model_name": "claude", "litellm_params": {"model": "anthropic/claude-own", **params}, "model_info": {"id": "second", **info}},
            {"model_name": "g", "litellm_params": {"model": "gemini/own", **params}, "model_info": {"id": "fourth", **info}},
            {"model_name": "sonnet", "litellm_params": {"model": "anthropic/claude-sonnet-4-5", **params}, "model_info": {"id": "third"}},
        ],
        num_retries=0,
    )


@pytest.fixture
def place(provider: Upstream, at: Where) -> Iterator[Gateway]:
    with kept(router_over(provider), at) as (base, state):
        yield Gateway(base, state)


def client(place: Gateway, key: str) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=f"{place.base}/v1", max_retries=0)


def ordered(place: Gateway, provider: Upstream, key: str) -> str:
    """The id of a batch that is under way, as its owner knows it."""
    asking = client(place, key)
    provider.answer(Reply(FILE))
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}}
    file = asking.files.create(file=("x.jsonl", json.dumps(line).encode()), purpose="batch")
    provider.answer(Reply(UNDER_WAY))
    return asking.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h").id


def spent(place: Gateway, key: str) -> float:
    return float(place.ask(f"/key/info?key={key}")["info"]["spend"])


def bills(place: Gateway) -> list[dict[str, Any]]:
    return [call for call in place.ask("/spend/logs") if call["call_type"] == "batched"]


def test_a_batch_of_a_file_is_billed_once_at_half_the_price(place: Gateway, provider: Upstream, eventually: Eventually) -> None:
    place.ask("/team/new", {"team_id": "t"})
    key = place.key(team_id="t", key_alias="nightly", tags=["blue"])
    id = ordered(place, provider, key)
    assert client(place, key).batches.retrieve(id).status == "in_progress"
    assert bills(place) == []
    provider.answer(Reply(DONE), Reply(DONE), Reply(LINES))
    assert client(place, key).batches.retrieve(id).status == "completed"
    assert eventually(lambda: spent(place, key) > 0)
    assert spent(place, key) == pytest.approx(COST)
    assert place.ask("/team/info?team_id=t")["team_info"]["spend"] == pytest.approx(COST)
    (bill,) = bills(place)
    assert (bill["request_id"], bill["model"], bill["model_group"]) == ("batch_1", "own", "m")
    assert (bill["prompt_tokens"], bill["completion_tokens"], bill["spend"]) == (2000, 200, pytest.approx(COST))
    assert bill["metadata"]["user_api_key_alias"] == "nightly"
    assert bill["request_tags"] == ["blue"]
    provider.answer(Reply(DONE))
    assert client(place, key).batches.retrieve(id).status == "completed"
    time.sleep(0.3)
    assert len(bills(place)) == 1
    assert spent(place, key) == pytest.approx(COST)


def test_a_batch_is_billed_whose_file_is_larger_than_an_answer_may_be(place: Gateway, provider: Upstream, eventually: Eventually) -> None:
    key = place.key()
    id = ordered(place, provider, key)
    empty = b'{"custom_id": "d", "response": {"status_code": 200, "body": {"filling": "%b"}}}\n' % (b"x" * (1 << 20))
    provider.answer(Reply(DONE), Reply(DONE), Reply(pieces=[LINES, *[empty] * 65]))
    assert client(place, key).batches.retrieve(id).status == "completed"
    assert eventually(lambda: bool(bills(place)))
    assert spent(place, key) == pytest.approx(COST)


def test_a_batch_that_has_spent_a_budget_stops_its_key_and_the_next_batch(
    place: Gateway, provider: Upstream, eventually: Eventually
) -> None:
    key = place.key(max_budget=COST)
    id = ordered(place, provider, key)
    provider.answer(Reply(DONE), Reply(DONE), Reply(LINES))
    client(place, key).batches.retrieve(id)
    assert eventually(lambda: spent(place, key) > 0)

    def refused(ask: Callable[[], Any]) -> bool:
        try:
            ask()
        except openai.RateLimitError as error:
            return "budget" in str(error)
        return False

    provider.answer(Reply({"id": "c", "object": "chat.completion", "created": 1, "model": "own", "choices": []}))
    said: Any = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1, "extra_body": {"max_wait": 0}}
    assert eventually(lambda: refused(lambda: client(place, key).chat.completions.create(**said)))
    assert refused(lambda: ordered(place, provider, key))


def test_anthropics_batches_are_billed_by_model(place: Gateway, provider: Upstream, eventually: Eventually) -> None:
    key = place.key()
    provider.answer(Reply(MESSAGES))
    asked = [
        {"custom_id": model, "params": {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}}
        for model in ("claude", "sonnet")
    ]
    id = place.ask("/v1/messages/batches", {"requests": asked}, key)["id"]
    provider.answer(Reply(ENDED), Reply(ENDED), Reply(RESULTS, headers={"content-type": "application/x-jsonl"}))
    assert place.ask(f"/v1/messages/batches/{id}", key=key)["processing_status"] == "ended"
    assert eventually(lambda: len(bills(place)) == 2)
    assert provider.seen[-1].path == "/v1/messages/batches/msgbatch_1/results"
    assert provider.seen[-1].headers["x-api-key"] == "sk-upstream"
    found = {bill["model"]: bill["spend"] for bill in bills(place)}
    assert found["claude-own"] == pytest.approx((1000 * 2e-6 + 100 * 1e-5) / 2)
    assert found["claude-sonnet-4-5"] == pytest.approx(1000 * 1.5e-6 + 100 * 7.5e-6)  # three and fifteen dollars a million at once
    assert spent(place, key) == pytest.approx(sum(found.values()), abs=1e-5)  # its questions count as a token each


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_results_that_were_read_are_billed_before_they_are_deleted(
    place: Gateway, provider: Upstream, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = place.key()
    provider.answer(Reply(MESSAGES))
    batches = anthropic.Anthropic(api_key=key, base_url=place.base, max_retries=0).messages.batches
    asked: Any = {"model": "claude", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    id = place.ask("/v1/messages/batches", {"requests": [{"custom_id": "a", "params": asked}]}, key)["id"]
    seen = len(provider.seen)
    with pytest.raises(anthropic.ConflictError, match="not billed yet") as caught:
        batches.delete(id)
    assert (caught.value.response.headers["x-should-retry"], caught.value.response.headers["retry-after"]) == ("true", "5")
    assert eventually(lambda: len(provider.seen) > seen)  # it was asked for, and is under way yet
    assert not bills(place)
    lines = Reply(RESULTS, headers={"content-type": "application/x-jsonl"})
    monkeypatch.setattr(provider, "next_reply", lambda: lines if provider.seen[-1].path.endswith("/results") else Reply(ENDED))
    assert len(list(batches.results(id))) == 2
    assert eventually(lambda: bool(bills(place)))
    assert batches.delete(id).id == id


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_what_a_batch_says_of_itself_counts_where_its_file_is_gone(place: Gateway, provider: Upstream, eventually: Eventually) -> None:
    key = place.key()
    id = ordered(place, provider, key)
    done = {**DONE, "usage": {"input_tokens": 2000, "output_tokens": 200, "total_tokens": 2200}}
    provider.answer(Reply(done), Reply(done), Reply({"error": {"message": "no such file"}}, status=404))
    client(place, key).batches.retrieve(id)
    assert eventually(lambda: spent(place, key) > 0)
    assert spent(place, key) == pytest.approx(COST)


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_a_batch_whose_provider_is_away_is_asked_again(place: Gateway, provider: Upstream, eventually: Eventually) -> None:
    key = place.key()
    id = ordered(place, provider, key)
    away = Reply({"error": {"message": "down"}}, status=503)
    provider.answer(Reply(DONE), away, Reply(DONE), Reply(DONE), Reply(LINES))
    client(place, key).batches.retrieve(id)
    assert eventually(lambda: provider.replies[0] is not away and len(provider.replies) == 3)
    assert spent(place, key) == 0
    client(place, key).batches.retrieve(id)  # who looks has it asked for sooner than in a minute
    assert eventually(lambda: spent(place, key) > 0)


class Arriving:
    """A stream of bytes as the Router gives it."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    async def __aenter__(self) -> Arriving:
        return self

    async def __aexit__(self, *error: object) -> None:
        """Nothing to close."""

    def __aiter__(self) -> Arriving:
        return self

    async def __anext__(self) -> bytes:
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


def test_a_file_of_results_is_put_by_and_not_held() -> None:
    """A batch of Messages whose results are large was whole in memory, and a second time in lines."""
    line = json.dumps({"result": {"message": {"model": "m", "usage": {"output_tokens": 3}, "content": "x" * 60_000}}}).encode() + b"\n"
    tracemalloc.start()
    try:
        with asyncio.run(batch_bills._put_by(Arriving(line for _ in range(400)))) as results:
            found = [answer["usage"] for answer in batch_bills._answers(results)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == [{"output_tokens": 3}] * 400
    assert peak < 8_000_000  # of 24 MB


ONE = Order(deployment="first", id="batch_1", kind="files", began=1000.0, key="k", tags=("blue",))
RECORD = Record(id="batch_1", began=1000.0, ended=1001.0, key="k", operation="batched", cost=7)


def counted(database: Database) -> tuple[int, int]:
    """Rows of the ledger, and nano-dollars."""
    with database.transaction() as connection:
        return connection.scalar("SELECT count(*) FROM calls"), connection.scalar("SELECT coalesce(sum(cost), 0) FROM spending") or 0


def test_of_two_processes_one_looks_and_one_bills(at: Where) -> None:
    database = Database(at.database)
    try:
        with database.transaction() as connection:
            order_table.add(connection, ONE, 1000.0)
            order_table.add(connection, ONE, 1000.0)  # a second time changes nothing
        with database.transaction() as connection:
            assert order_table.claim(connection, 999.0, 2000.0) == []
            assert order_table.claim(connection, 1000.0, 2000.0) == [ONE]
            assert order_table.claim(connection, 1000.0, 2000.0) == []
            assert order_table.claim(connection, 2000.0, 3000.0) == [ONE]  # the first one died
        for mine in (True, False):
            with database.transaction() as connection:
                assert order_table.bill(connection, ONE, [RECORD]) is mine
        assert counted(database) == (1, 7)
        with database.transaction() as connection:
            assert order_table.claim(connection, 9000.0, 9001.0) == []
    finally:
        database.close()


def test_a_batch_that_is_seen_to_be_over_while_its_provider_is_asked_is_not_put_off(at: Where) -> None:
    database = Database(at.database)
    try:
        with database.transaction() as connection:
            order_table.add(connection, ONE, 1000.0)
            assert order_table.claim(connection, 1000.0, 2000.0) == [ONE]
            assert order_table.hasten(connection, ONE.deployment, ONE.id, 1001.0)
            order_table.put_off(connection, ONE, 2000.0, 1060.0)
            assert order_table.claim(connection, 1001.0, 2001.0) == [ONE]
            order_table.put_off(connection, ONE, 2001.0, 1061.0)
            assert order_table.claim(connection, 1060.0, 2060.0) == []
    finally:
        database.close()


KILLED = """
import os, signal, sys
from headrace.gateway.ledger import folding, order_table
from headrace.runtime.sql import Database
from tests.gateway.test_batch_bills import ONE, RECORD

keep = folding.keep
def kept(connection, records):
    keep(connection, records)
    os.kill(os.getpid(), signal.SIGKILL)
folding.keep = kept
with Database(sys.argv[1]).transaction() as connection:
    order_table.bill(connection, ONE, [RECORD])
"""


def test_a_process_that_is_killed_between_the_bill_and_its_mark_bills_nothing_and_the_next_one_does(at: Where) -> None:
    database = Database(at.database)
    try:
        with database.transaction() as connection:
            order_table.add(connection, ONE, 1000.0)
        done = subprocess.run([sys.executable, "-c", KILLED, at.database], timeout=60)
        assert done.returncode == -signal.SIGKILL
        assert counted(database) == (0, 0)
        with database.transaction() as connection:
            assert order_table.claim(connection, 1000.0, 2000.0) == [ONE]
            assert order_table.bill(connection, ONE, [RECORD])
        assert counted(database) == (1, 7)
    finally:
        database.close()


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_a_batch_is_asked_about_seldom_and_given_up_at_last(at: Where, provider: Upstream) -> None:
    database, now = Database(at.database), 1000.0
    batches = Batches(database, router_over(provider), lambda: now)

    def looks(until: float) -> int:
        nonlocal now
        before = len(provider.seen)
        while now < until:
            now += 30
            asyncio.run(batches.round())
        return len(provider.seen) - before

    try:
        with database.transaction() as connection:
            order_table.add(connection, ONE, 1000.0)
        provider.answer(Reply(UNDER_WAY))
        assert 5 <= looks(1000.0 + 600) <= 10
        assert 20 <= looks(1000.0 + 4 * 3600) <= 40
        now = 1000.0 + batch_bills.GIVEN_UP
        assert looks(now + 3600) == 1
        assert looks(now + 7200) == 0
        assert counted(database) == (0, 0)
    finally:
        database.close()


def background(status: str, usage: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "own",
        "status": status,
        "background": True,
        "output": [],
        "usage": usage,
    }


USED = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
WORTH = 1000 * 2e-6 + 100 * 1e-5


def in_background(place: Gateway, provider: Upstream, key: str, **more: Any) -> str:
    """The id of a response that is under way."""
    provider.answer(Reply(background("queued")))
    return client(place, key).responses.create(model="m", input="hi", background=True, **more).id


def test_a_response_made_in_the_background_is_charged_once_however_often_it_is_asked_for(
    place: Gateway, provider: Upstream, eventually: Eventually
) -> None:
    key = place.key()
    asking = client(place, key).responses
    id = in_background(place, provider, key)
    provider.answer(Reply(background("in_progress")), Reply({"error": {"message": "no"}}, 500))
    assert asking.retrieve(id).status == "in_progress"
    with pytest.raises(openai.InternalServerError):
        asking.retrieve(id)
    assert spent(place, key) == 0
    provider.answer(*[Reply(background("completed", USED))] * 5)
    assert [asking.retrieve(id).usage.total_tokens for _ in range(2)] == [1100, 1100]  # type: ignore[union-attr]
    assert asking.cancel(id).status == "completed"
    assert client(place, KEY).responses.retrieve(id).status == "completed"
    assert eventually(lambda: spent(place, key) == pytest.approx(WORTH))
    costs = [call["spend"] for call in place.ask("/spend/logs") if call["spend"]]
    assert costs == [pytest.approx(WORTH)]


def test_a_response_made_in_the_background_that_nobody_asks_for_is_paid(
    place: Gateway, provider: Upstream, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood nowhere, and cost nothing."""
    for module in (stored_object_table, batch_bills):  # the first look may come before the answer is another
        monkeypatch.setattr(module, "SOONEST", 0.0)
    place.ask("/team/new", {"team_id": "core"})
    place.ask("/customer/new", {"user_id": "acme"})
    key = place.key(team_id="core")
    in_background(place, provider, key, user="acme", metadata={"topic": "wheels"})
    provider.answer(Reply(background("completed", USED)))
    assert eventually(lambda: spent(place, key) == pytest.approx(WORTH))
    assert place.ask("/team/info?team_id=core")["team_info"]["spend"] == pytest.approx(WORTH)
    assert place.ask("/customer/info?end_user_id=acme")["spend"] == pytest.approx(WORTH)
    (call,) = [call for call in place.ask("/spend/logs") if call["spend"]]
    assert (call["request_id"], call["call_type"], call["model_group"]) == ("resp_1", "responses", "m")


def test_a_response_made_in_the_background_that_failed_costs_nothing_and_is_asked_for_no_more(at: Where, provider: Upstream) -> None:
    database = Database(at.database)
    order = Order(deployment="first", id="resp_1", kind=RESPONSE, began=1000.0, key="k")
    batches = Batches(database, router_over(provider), lambda: 1000.0)
    try:
        with database.transaction() as connection:
            order_table.add(connection, order, 1000.0)
        provider.answer(Reply(background("failed")))
        assert [asyncio.run(batches.round()) for _ in range(2)] == [1, 0]
        assert len(provider.seen) == 1
        assert counted(database) == (0, 0)
    finally:
        database.close()


def test_a_response_is_not_deleted_before_it_is_billed(place: Gateway, provider: Upstream, eventually: Eventually) -> None:
    """Who had read it might have deleted it, unpaid."""
    key = place.key()
    asking = openai.OpenAI(base_url=f"{place.base}/v1", api_key=key, max_retries=0).responses
    id = in_background(place, provider, key)
    provider.answer(Reply(background("in_progress")), Reply(background("completed", USED)))
    assert asking.retrieve(id).status == "in_progress"
    with pytest.raises(openai.ConflictError):
        asking.delete(id)
    assert eventually(lambda: spent(place, key) == pytest.approx(WORTH))
    provider.answer(Reply({"id": "resp_1", "object": "response", "deleted": True}))
    asking.delete(id)


def told(*events: dict[str, Any]) -> list[bytes | threading.Event]:
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


CREATED = {"type": "response.created", "sequence_number": 0, "response": background("in_progress")}
COMPLETED = {"type": "response.completed", "sequence_number": 1, "response": background("completed", USED)}
EVENTS = {"content-type": "text/event-stream"}


def test_a_response_whose_stream_was_read_to_its_end_is_paid_by_it_alone(
    place: Gateway, provider: Upstream, eventually: Eventually
) -> None:
    """Who asked for it afterwards paid once more."""
    key = place.key()
    asking = client(place, key).responses
    provider.answer(Reply(headers=EVENTS, pieces=told(CREATED, COMPLETED)), *[Reply(background("completed", USED))] * 2)
    first, *_ = [event for event in asking.create(model="m", input="hi", background=True, stream=True) if event.type == "response.created"]
    assert eventually(lambda: spent(place, key) == pytest.approx(WORTH))
    for _ in range(2):
        assert asking.retrieve(first.response.id).status == "completed"
    assert spent(place, key) == pytest.approx(WORTH)


def test_a_response_whose_stream_broke_off_is_paid_by_who_asks_for_it(place: Gateway, provider: Upstream, eventually: Eventually) -> None:
    key = place.key()
    asking = client(place, key).responses
    provider.answer(Reply(headers=EVENTS, pieces=told(CREATED), cut=True), *[Reply(background("completed", USED))] * 2)
    ids = [event.response.id for event in asking.create(model="m", input="hi", background=True, stream=True) if hasattr(event, "response")]
    before = spent(place, key)
    for _ in range(2):
        assert asking.retrieve(ids[0]).status == "completed"
    assert eventually(lambda: spent(place, key) == pytest.approx(before + WORTH))


SPOKEN = {
    "total_input_tokens": 900,
    "total_tool_use_tokens": 100,
    "total_output_tokens": 60,
    "total_thought_tokens": 40,
    "total_tokens": 1100,
}


def interaction(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "v1_abc", "object": "interaction", "model": "own", "status": status, **more}


def test_an_interaction_of_google_s_cost_nothing_and_is_charged_once(place: Gateway, provider: Upstream, eventually: Eventually) -> None:
    key = place.key()
    provider.answer(Reply(interaction("completed", usage=SPOKEN)))
    place.ask("/v1beta/interactions", {"model": "g", "input": "hi"}, key)
    assert eventually(lambda: spent(place, key) == pytest.approx(WORTH))
    for body in (None, {}):  # asked for, and cancelled too late
        place.ask(f"/v1beta/interactions/v1_abc{'' if body is None else '/cancel'}", body, key)
    assert eventually(lambda: len(place.ask("/spend/logs")) == 3)
    assert [call["spend"] for call in place.ask("/spend/logs") if call["spend"]] == [pytest.approx(WORTH)]


@pytest.mark.parametrize("cut", [False, True])
def test_a_streamed_interaction_of_google_s_is_charged_for_what_came(
    place: Gateway, provider: Upstream, eventually: Eventually, cut: bool
) -> None:
    key = place.key()
    events = [
        {"event_type": "interaction.created", "interaction": interaction("in_progress")},
        {"event_type": "step.delta", "delta": {}, "metadata": {"usage": SPOKEN}},
        {"event_type": "interaction.completed", "interaction": interaction("completed", usage=SPOKEN)},
    ]
    pieces: list[bytes | threading.Event] = [f"data: {json.dumps(event)}\n\n".encode() for event in (events[:2] if cut else events)]
    provider.answer(Reply(headers=EVENTS, pieces=pieces))
    asked = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    body = json.dumps({"model": "g", "input": "hi", "stream": True}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{place.base}/v1beta/interactions", body, asked)) as answer:
        answer.read()
    assert eventually(lambda: spent(place, key) == pytest.approx(WORTH))


@pytest.mark.parametrize("who", ["a key", "the master key"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_interaction_in_the_background_is_charged_once_whether_it_is_asked_for_or_not(
    place: Gateway, provider: Upstream, eventually: Eventually, monkeypatch: pytest.MonkeyPatch, stream: bool, who: str
) -> None:
    key = KEY if who == "the master key" else place.key()
    if stream:
        events = [
            {"event_type": "interaction.created", "interaction": interaction("in_progress")},
            {"event_type": "interaction.completed", "interaction": interaction("completed", usage=SPOKEN)},
        ]
        provider.answer(Reply(headers=EVENTS, pieces=[f"data: {json.dumps(event)}\n\n".encode() for event in events]))
    else:
        provider.answer(Reply(interaction("in_progress")))
    asked = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    body = json.dumps({"model": "g", "input": "hi", "background": True, "stream": stream, "user": "acme"}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{place.base}/v1beta/interactions", body, asked)) as answer:
        answer.read()
    provider.answer(Reply(interaction("in_progress")), Reply(interaction("completed", usage=SPOKEN)))
    assert place.ask("/v1beta/interactions/v1_abc", None, key)["status"] == "in_progress"
    place.ask("/v1beta/interactions/v1_abc", None, key)
    assert not [call for call in place.ask("/spend/logs") if call["spend"]]
    assert removed(place, key) == 409  # not billed yet, and therefore billed next
    assert eventually(lambda: bool([call for call in place.ask("/spend/logs") if call["spend"]]))
    (call,) = [call for call in place.ask("/spend/logs") if call["spend"]]
    assert (call["request_id"], call["spend"], call["end_user"]) == ("v1_abc", pytest.approx(WORTH), "acme")
    assert provider.seen[-1].path == "/v1/interactions/v1_abc"
    provider.answer(Reply({}))
    assert removed(place, key) == 200


def removed(place: Gateway, key: str) -> int:
    asked = urllib.request.Request(f"{place.base}/v1beta/interactions/v1_abc", method="DELETE", headers={"x-goog-api-key": key})
    try:
        with urllib.request.urlopen(asked) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code

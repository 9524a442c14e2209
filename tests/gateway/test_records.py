"""Every call is handed to the ledger once, with who asked, what it used and how it ended, before its caller has the last byte."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from tests.gateway.conftest import CHAT, KEY, router_over, serving
from tests.gateway.lasting import priced
from tests.gateway.test_leavers import ask

from headrace.errors import Kind
from headrace.gateway.callers import Caller, Role
from headrace.gateway.config import Settings
from headrace.gateway.records import Outcome, Record

Eventually = Callable[[Callable[[], bool]], bool]


class Kept:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, record: Record) -> None:
        self.records.append(record)


class OneKey:
    """Knows one caller."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller

    def remembered(self, token: str) -> Caller | None:
        return self.caller if token == "sk-alice" else None

    async def find(self, token: str) -> Caller | None:
        return None


def post(base: str, body: dict[str, Any], key: str = KEY, path: str = "/v1/chat/completions") -> tuple[int, bytes, Any]:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    asked = urllib.request.Request(base + path, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(asked) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


@pytest.mark.parametrize("stream", [False, True])
def test_an_answered_call_is_recorded_with_what_it_cost(upstream: object, stream: bool) -> None:
    kept = Kept()
    with serving(priced(upstream), Settings(key=KEY), ledger=kept) as base:
        body = {**CHAT, "model": "gpt", "user": "c-7", "stream": stream, "metadata": {"tags": ["blue"]}}
        _, _, headers = post(base, {**body, "stream_options": {"include_usage": True}} if stream else body)
        (record,) = kept.records  # it is there when the answer is
    assert record.id == headers["x-request-id"]
    assert (record.model, record.group, record.deployment, record.provider) == ("gpt", "gpt", "first", "openai")
    assert (record.outcome, record.status, record.stream, record.attempts) == (Outcome.ANSWERED, 200, stream, 1)
    assert record.cost == record.usage["input"] * 2000 + record.usage["output"] * 10_000 > 0
    assert (record.customer, record.tags, record.name) == ("c-7", ("blue",), "master key")
    assert record.began <= (record.first or record.began) <= record.ended
    assert (record.first is not None) == stream


def test_a_failed_call_is_recorded_with_what_kind_of_failure_it_was(base: str, upstream: object) -> None:
    kept = Kept()
    with serving(router_over(upstream), Settings(key=KEY), ledger=kept) as base:
        status, _, _ = post(base, {**CHAT, "model": "unknown-there"})
        post(base, {**CHAT, "model": "no such"})
    assert [(one.outcome, one.status, one.error) for one in kept.records] == [
        (Outcome.FAILED, status, Kind.NOT_FOUND.value),
        (Outcome.FAILED, 404, Kind.NOT_FOUND.value),
    ]


def test_who_leaves_a_stream_is_recorded_with_what_had_arrived(upstream: object, eventually: Eventually) -> None:
    kept = Kept()
    with serving(priced(upstream), Settings(key=KEY), ledger=kept) as base:
        with ask(base, "/v1/chat/completions", {**CHAT, "model": "slow", "stream": True}) as connection:
            assert b"200" in connection.recv(100)
            connection.recv(10_000)
        assert eventually(lambda: len(kept.records) == 1)
    (record,) = kept.records
    assert (record.outcome, record.status, record.deployment) == (Outcome.LEFT, 499, "second")
    assert record.cost == record.usage["input"] * 2000 + record.usage["output"] * 10_000 > 0
    assert record.usage["output"] < 200


def test_a_caller_is_recorded_and_may_call_only_what_its_key_lists(upstream: object) -> None:
    kept = Kept()
    caller = Caller(
        key="k1", name="alice's", team="t1", user="alice", models=(("g*", "mine"), ("gpt",)), aliases={"mine": "gpt"}, tags=("a",)
    )
    with serving(priced(upstream), Settings(key=KEY), keys=OneKey(caller), ledger=kept) as base:
        assert post(base, {**CHAT, "model": "gpt"}, "sk-alice")[0] == 200
        assert post(base, {**CHAT, "model": "mine"}, "sk-alice")[0] == 200
        status, said, _ = post(base, {**CHAT, "model": "slow"}, "sk-alice")
        assert (status, b"slow" in said) == (403, True)
        assert post(base, {**CHAT, "model": "gpt"}, "sk-nobody")[0] == 401
    assert {(one.key, one.name, one.team, one.user, one.tags) for one in kept.records} == {("k1", "alice's", "t1", "alice", ("a",))}
    assert [one.status for one in kept.records] == [200, 200, 403]


def test_a_key_for_looking_calls_no_model(upstream: object) -> None:
    with serving(priced(upstream), Settings(key=KEY), keys=OneKey(Caller(key="k", role=Role.VIEWER))) as base:
        assert post(base, {**CHAT, "model": "gpt"}, "sk-alice")[0] == 403


def test_a_key_s_limits_are_kept_by_the_router(upstream: object) -> None:
    router = priced(upstream)
    router.add_scope("key:k", rpm=1)
    with serving(router, Settings(key=KEY), keys=OneKey(Caller(key="k", scopes=("key:k",)))) as base:
        assert post(base, {**CHAT, "model": "gpt"}, "sk-alice")[0] == 200
        assert post(base, {**CHAT, "model": "gpt", "max_wait": 0}, "sk-alice")[0] == 429
        assert post(base, {**CHAT, "model": "gpt", "max_wait": 0})[0] == 200

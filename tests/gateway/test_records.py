"""Every call is recorded in the ledger once, with its caller, usage and outcome, before the caller has the last byte."""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.gateway.conftest import CHAT, KEY, router_over, serving
from tests.gateway.persistence import priced
from tests.gateway.test_leavers import ask

from headrace import Router
from headrace.errors import Kind
from headrace.gateway.callers import Caller, Keys, Role
from headrace.gateway.config import Settings
from headrace.gateway.records import Outcome, Record, new_id

Eventually = Callable[[Callable[[], bool]], bool]


class Kept:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, record: Record, decision: object = None) -> None:
        self.records.append(record)


class OneKey(Keys):
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


USAGE = {"prompt_tokens": 3, "completion_tokens": 2}


class LateEnd(BaseHTTPRequestHandler):
    """A provider that leaves its answer open for a while after the last event."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        said = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-sim"}
        first = {**said, "choices": [{"index": 0, "delta": {"content": "data: [DONE]"}, "finish_reason": None}]}
        last = {
            **said,
            "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        }
        for event in (json.dumps(first), json.dumps(last), "[DONE]"):
            line = f"data: {event}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
        self.server.may_end.wait(20)  # type: ignore[attr-defined]
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: Any) -> None:
        pass


def test_who_has_read_the_last_event_finds_the_call_recorded_and_may_go(eventually: Eventually) -> None:
    """OpenAI's clients read no further than [DONE]; the provider's connection may end much later."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), LateEnd)
    server.may_end = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    params = {"model": "openai/gpt-sim", "api_key": "sk-upstream", "base_url": f"http://127.0.0.1:{server.server_address[1]}/v1"}
    info = {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6}
    kept = Kept()
    try:
        router = Router([{"model_name": "gpt", "litellm_params": params, "model_info": info}])
        with serving(router, Settings(key=KEY), ledger=kept) as base:
            with ask(base, "/v1/chat/completions", {**CHAT, "model": "gpt", "stream": True}) as connection:
                read = b""
                while b"\ndata: [DONE]" not in read:
                    read += connection.recv(10_000)
                (record,) = kept.records
            server.may_end.set()  # type: ignore[attr-defined]
    finally:
        server.may_end.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()
    assert (record.outcome, record.usage, record.cost) == (Outcome.ANSWERED, {"input": 3, "output": 2}, 5000)
    assert len(kept.records) == 1


def test_the_ids_of_later_requests_sort_behind_those_of_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the ledger's index grows at its end: with ids by chance a row took the longer the more of them there were."""
    moments = iter(1_790_000_000_000_000_000 + number * 20_000 for number in range(100))
    monkeypatch.setattr("headrace.gateway.records.time.time_ns", lambda: next(moments))
    ids = [new_id() for _ in range(100)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 100
    assert all(re.fullmatch(r"req_[0-9a-f]{24}", id) for id in ids)

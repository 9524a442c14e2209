"""The fast path and the slow path give the same responses, headers and accounting."""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.gateway.conftest import KEY, serving
from tests.gateway.fast_path_scene import HELLO, Alice, Client, Scripted, answering, booked, chat, left_out, patience, router_over, world
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headrace.calls import CHAT, Call
from headrace.gateway.callers import Caller
from headrace.gateway.config import Settings
from headrace.gateway.fast_path import call, pipeline
from headrace.gateway.fast_path.pipeline import Pipeline
from headrace.gateway.records import Outcome
from headrace.gateway.sockets import Connection
from headrace.layers import around
from headrace.layers.observing import Outcome as Told
from headrace.layers.observing import observe
from headrace.models.cost import fields_of
from headrace.ports import Ports
from headrace.routing.events import subscribe
from headrace.routing.fast_path import FastPath
from headrace.runtime.http_async import AsyncTransport
from headrace.wire import Headers

Eventually = Callable[[Callable[[], bool]], bool]

pytestmark = pytest.mark.usefixtures("nobody_else_listens")


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with answering(Scripted) as address:
        yield address


CASES: dict[str, tuple[bytes, bool]] = {
    "plain": (HELLO, True),
    "with parameters": (chat("hello", temperature=0.5, max_tokens=20, n=2, stop=["x"], user="c-7", tools=[], seed=1), True),
    "nulls": (chat("hello", user=None, stream=None, max_tokens=None, temperature=None), True),
    "not streamed": (chat("hello", stream=False), True),
    "by an alias of its own": (chat("hello", model="mine"), True),
    "one of two": (chat("hello", model="two"), True),
    "beyond ASCII": (chat("grüße 水", user="ü"), True),
    "spaces": (b' { "messages" : [ {"role": "user", "content": "hello"} ] , "model" : "gpt" } ', True),
    "a name twice": (b'{"model":"none","messages":[{"role":"user","content":"hello"}],"\\u006dodel":"gpt"}', True),
    "large": (chat("The water runs. " * 8_000), True),
    "large, with marks and escapes": (chat('The "water"\n\\ runs. ' * 500 + "It runs. " * 9_000 + '"\\' + "Runs. " * 9_000), True),
    "large, and broken": (chat("The water runs. " * 8_000 + "!").replace(b"!", b"\n"), True),
    "a broken provider": (chat("broken"), True),
    "a provider that is broken once": (chat("broken once"), True),
    "broken once, one of two": (chat("broken once", model="two"), True),
    "a refusal": (chat("bad"), True),
    "too many requests": (chat("too many", model="two"), True),
    "a provider that repeats its key": (chat("bad key"), True),
    "no JSON": (chat("no json"), True),
    "an error inside": (chat("hidden error"), True),
    "a text in parts": (chat("in parts"), True),
    "no usage": (chat("no usage"), True),
    "what the provider has left": (chat("quota"), True),
    "a provider that hangs up": (chat("hangs up"), True),
    "a stream": (chat("stream", stream=True), True),
    "a stream that tells its usage": (chat("stream usage", stream=True), True),
    "a stream of several models": (chat("stream usage", stream=True, model="two"), True),
    "a stream that is cut": (chat("stream cut", stream=True), True),
    "a stream with an error inside": (chat("stream an error", stream=True), True),
    "a stream that is slow": (chat("stream slowly", stream=True), True),
    "a stream that is refused": (chat("bad", stream=True), True),
    "a stream of a broken provider": (chat("broken", stream=True), True),
    "a stream of a provider that hangs up": (chat("hangs up", stream=True), True),
    "no stream where one was asked for": (chat("hello", stream=True), True),
    "metadata": (chat("hello", metadata={"tags": ["red"]}), False),
    "a tag": (chat("hello", tags=["red"]), False),
    "an unknown parameter": (chat("hello", invented=1), False),
    "what is for the gateway to say": (chat("hello", api_base="http://elsewhere"), False),
    "no such model": (chat("hello", model="none"), False),
    "no model": (b'{"messages":[{"role":"user","content":"hello"}]}', False),
    "no messages": (b'{"model":"gpt"}', False),
    "empty messages": (chat("x").replace(b'[{"role":"user","content":"x"}]', b"[]"), False),
    "a message that is none": (chat("x").replace(b'[{"role"', b'[7, {"role"'), False),
    "cut": (HELLO[:-3], False),
    "no UTF-8": (HELLO.replace(b"hello", b"h\xff\xfe"), False),
    "too deep": (chat("x", response_format=json.loads("[" * 140 + "]" * 140)), False),
    "a strange stream": (chat("hello", stream="yes"), False),
    "a bound below nothing": (chat("hello", max_tokens=-1), False),
    "a number below nothing": (chat("hello", n=-1), False),
    "a strange bound": (chat("hello", max_tokens="many"), False),
}


TOLD = {"prompt_tokens": 23, "completion_tokens": 28, "total_tokens": 51}
USAGES: dict[str, dict[str, Any]] = {
    "plain": TOLD,
    "of nothing else": {**TOLD, "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}},
    "of a name that nobody knows": {**TOLD, "queue_time": 0.5, "prompt_tokens_details": {"text_tokens": 23}},
    "of a prompt alone": {"prompt_tokens": 23, "total_tokens": 23},
    "of no answer": {**TOLD, "completion_tokens": 0},
    "of no prompt": {**TOLD, "prompt_tokens": 0},
    "thought": {**TOLD, "completion_tokens_details": {"reasoning_tokens": 9}},
    "cached": {**TOLD, "prompt_tokens_details": {"cached_tokens": 9}},
    "cached, in DeepSeek's words": {**TOLD, "prompt_cache_hit_tokens": 9, "prompt_cache_miss_tokens": 14},
    "cached, in Anthropic's words": {**TOLD, "cache_read_input_tokens": 9},
    "of a tier": {**TOLD, "service_tier": "flex"},
    "searched": {**TOLD, "num_search_queries": 2},
    "nulls": {**TOLD, "completion_tokens": None, "prompt_tokens_details": None},
    "broken numbers": {**TOLD, "prompt_tokens": 23.0},
    "below nothing": {**TOLD, "completion_tokens": -1},
    "of names of others": {"input_tokens": 23, "output_tokens": 28},
}
CASES |= {f"usage {name}": (chat(f"usage: {json.dumps(usage)}"), True) for name, usage in USAGES.items()}


@pytest.mark.parametrize("case", CASES)
def test_both_ways_come_to_the_same(provider: str, case: str) -> None:
    """Answer, headers, what the provider was sent, and the ledger's row."""
    compare(provider, *CASES[case])


@pytest.mark.parametrize(
    "case",
    [
        "plain", "large", "one of two", "a broken provider", "a provider that is broken once", "a refusal", "a provider that hangs up",
        "a stream", "a stream that is cut", "a stream that is slow", "a stream of a provider that hangs up", "a stream that is refused",
    ],
)  # fmt: skip
def test_both_ways_come_to_the_same_where_no_connection_is_kept(provider: str, case: str) -> None:
    """A burst meets fewer connections than it has calls: those had all taken the slow path."""
    compare(provider, *CASES[case], last="goodbye")


@pytest.mark.parametrize("streamed", [True, False])
def test_both_ways_come_to_the_same_where_nobody_answers(provider: str, streamed: bool) -> None:
    """The provider's port is closed by now."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    compare(nobody, chat("hello", stream=streamed), True, opened=500)


def compare(provider: str, content: bytes, fast: bool, last: str = "hello", opened: int = 200) -> None:
    """last: what is asked before. opened: the status of what is asked before."""
    told = []
    for http_ in (Connection, HttpToolsProtocol):
        with world(provider, http_, keep_alive=patience(content)) as here:
            client = here.client
            for model in ("gpt", "two", "two") if opened == 200 else ("gpt",):  # opens the connections that are kept
                assert client.post(HELLO.replace(b"gpt", model.encode()))[0] == opened
            client.post(chat(last))
            here.kept.records.clear()
            here.taken.clear()
            Scripted.seen.clear()
            Scripted.turns.clear()
            status, headers, body = client.post(content)
            sent = [(path, sent) for path, _, sent in Scripted.seen]
            records = [booked(record) for record in here.kept.records]
            body = re.sub(rb"\d+ bytes|req_\w+", b"..", body).replace(b": waiting\n\n", b"")
            told.append((status, left_out(headers), body, sent, records))
            assert here.taken == ([fast] if http_ is Connection else [])
    assert told[0] == told[1]


def test_a_stream_s_head_goes_out_with_its_first_piece(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write of its own had woken the caller once more, before there was anything to read."""
    written: list[bytes] = []

    def noted(name: str) -> Callable[[Connection, bytes], None]:
        write: Callable[[Connection, bytes], None] = getattr(Connection, name)

        def note(connection: Connection, data: bytes) -> None:
            written.append(data)
            write(connection, data)

        return note

    for name in ("opened", "piece"):
        monkeypatch.setattr(Connection, name, noted(name))
    with world(provider, Connection) as here:
        for _ in range(2):
            assert here.client.post(HELLO)[0] == 200
        assert here.client.post(chat("stream slowly", stream=True))[0] == 200
        assert here.taken == [True, True]
    assert b"data: " in written[0]
    assert b"".join(written).endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("http_", [Connection, HttpToolsProtocol])
def test_a_stream_that_is_cut_before_anything_was_said_is_begun_anew(provider: str, http_: type[asyncio.Protocol]) -> None:
    """The fast path has told its caller nothing yet; on the slow one the gateway had failed with a fault of its own."""
    Scripted.turns.clear()
    with world(provider, http_) as here:
        for _ in range(2):
            assert here.client.post(HELLO)[0] == 200
        status, _, body = here.client.post(chat("stream cut at once", stream=True))
        assert here.taken == ([True, True] if http_ is Connection else [])
    assert b"error" not in body
    assert status == 200
    events = [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: {")]
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in events) == "Hello you"
    assert body.endswith(b"data: [DONE]\n\n")
    assert [record.outcome for record in here.kept.records] == [Outcome.ANSWERED] * 3


def test_whoever_stands_around_every_call_or_hears_of_it_misses_none(provider: str) -> None:
    """Guardrails, traces, hooks: what does more than count sees each call, so those take the slow path."""
    seen: list[str] = []

    async def layer(ports: Ports, call: Call, handler: around.Handler, routed: bool) -> Any:
        seen.append(call.model)
        return await handler(ports, call)

    with world(provider, Connection) as here:
        for _ in range(2):
            here.client.post(HELLO)
        around.install(layer)
        try:
            assert here.client.post(HELLO)[0] == 200
        finally:
            around.remove(layer)
        end = subscribe(lambda event: seen.append(event.kind))
        try:
            assert here.client.post(HELLO)[0] == 200
        finally:
            end()
        here.client.post(HELLO)
        assert here.taken == [True, False, False, True]
    assert seen == ["gpt", "sent", "settled"]


@pytest.mark.parametrize("usage", ["plain", "cached"])
def test_whoever_only_counts_is_told_the_same_of_both_ways(provider: str, usage: str, eventually: Eventually) -> None:
    """He had missed who answered: a plain answer brought no more than what it cost."""
    told: list[Told] = []

    async def layer(ports: Ports, call: Call, handler: around.Handler, routed: bool) -> Any:
        return await observe(ports, call, handler, told.append)

    with world(provider, Connection) as here:
        around.install(layer, told.append)
        try:
            for _ in range(2):
                here.client.post(CASES[f"usage {usage}"][0])
            assert eventually(lambda: len(told) == 2)
        finally:
            around.remove(layer)
        assert here.taken == [True]
    names = "model", "custom_llm_provider", "model_id", "model_group", "response_cost"
    assert len({(one.word, one.call.operation.name, *map(one.hidden.get, names)) for one in told}) == 1
    counts = [(fields_of(one.usage)["prompt_tokens"], fields_of(one.usage)["completion_tokens"]) for one in told]
    assert counts == [(23, 28)] * 2
    assert all(isinstance(one.hidden["additional_headers"], Headers) for one in told)


def test_another_gateway_in_the_process_sends_nobody_the_slow_path(provider: str) -> None:
    """Each had heard of the other's calls as of a program's that wants to see every one: all plain chats of both took the slow path."""
    with world(provider, Connection) as here, serving(router_over(provider), Settings(key=KEY), http=Connection) as other:
        for _ in range(3):
            assert here.client.post(HELLO)[0] == 200
        with closing(Client(other, KEY)) as client:
            for _ in range(3):
                assert client.post(HELLO)[0] == 200
        assert here.taken == [True, True, True, True]
        assert len(here.kept.records) == 3


def test_who_leaves_a_stream_is_recorded_with_what_had_come(provider: str, eventually: Eventually) -> None:
    with world(provider, Connection) as here:
        for _ in range(2):
            here.client.post(HELLO)
        here.kept.records.clear()
        with connected(here.base) as leaver:
            leaver.sendall(request(here.base, chat("stream slowly", stream=True)))
            seen = b""
            while b"Hello" not in seen:
                seen += leaver.recv(65536)
        assert eventually(lambda: len(here.kept.records) == 1)
        (record,) = here.kept.records
        assert (record.outcome, record.status, record.deployment, record.stream) == (Outcome.LEFT, 499, "one", True)
        assert record.usage["output"] >= 2
        assert here.taken == [True, True]


def test_a_call_that_has_to_wait_takes_the_slow_path(provider: str) -> None:
    with world(provider, Connection) as here:
        client = here.client
        for _ in range(2):
            assert client.post(HELLO)[0] == 200
        assert client.post(chat("hello", model="narrow"))[0] == 200
        status, headers, _ = client.post(chat("hello", model="narrow"))
    assert status == 429
    assert headers["x-should-retry"] == "true"
    assert here.taken == [True, True, False]


def request(base: str, content: bytes, length: str = "") -> bytes:
    """A request as its client sends it."""
    lines = [
        "POST /v1/chat/completions HTTP/1.1", f"Host: {urlsplit(base).netloc}", "Accept-Encoding: identity",
        length or f"Content-Length: {len(content)}", "authorization: Bearer sk-alice", "content-type: application/json", "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + content


def connected(base: str) -> socket.socket:
    at = urlsplit(base)
    return socket.create_connection((at.hostname or "", at.port or 0), timeout=10)


def test_who_leaves_on_the_fast_path_is_recorded_and_frees_its_room(provider: str, eventually: Eventually) -> None:
    with world(provider, Connection) as here:
        client = here.client
        for _ in range(2):
            client.post(HELLO)
        here.kept.records.clear()
        with connected(here.base) as leaver:
            content = chat("late")
            leaver.sendall(request(here.base, content))
            assert eventually(lambda: len(here.taken) == 2)
        assert eventually(lambda: len(here.kept.records) == 1)
        (record,) = here.kept.records
        assert (record.outcome, record.status, record.deployment) == (Outcome.LEFT, 499, "one")
        assert here.taken == [True, True]


@pytest.mark.parametrize("streamed", [True, False])
def test_who_leaves_while_the_provider_is_dialled_frees_his_room(
    provider: str, streamed: bool, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: list[bool] = []

    async def dials(*_: Any) -> Any:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with world(provider, Connection) as here:
        here.client.post(HELLO)
        here.client.post(chat("goodbye"))
        here.kept.records.clear()
        monkeypatch.setattr(AsyncTransport, "_dial", dials)
        with connected(here.base) as leaver:
            leaver.sendall(request(here.base, chat("hello", stream=streamed)))
            assert eventually(lambda: len(here.taken) == 2)
        assert eventually(lambda: len(here.kept.records) == 1 and bool(cancelled))
        (record,) = here.kept.records
        assert (record.outcome, record.status, record.deployment) == (Outcome.LEFT, 499, "one")
        assert here.taken == [True, True]


def test_a_connection_that_was_closed_meanwhile_costs_no_call(provider: str) -> None:
    """The provider hung up between two calls, and the second finds out only when it has been sent."""
    with world(provider, Connection) as here:
        client = here.client
        for _ in range(2):
            assert client.post(HELLO)[0] == 200
        client.post(chat("hangs up"))
        assert client.post(HELLO)[0] == 200


def test_requests_that_come_before_the_answer_are_answered_in_turn(provider: str) -> None:
    with world(provider, Connection) as here:
        here.client.post(HELLO)
        with connected(here.base) as pipelined:
            many = b""
            for number in range(6):
                content = chat(f"number {number}", **({"metadata": {}} if number == 3 else {}))
                many += request(here.base, content)
            half = len(many) // 2 + 7
            pipelined.sendall(many[:half])
            time.sleep(0.05)
            pipelined.sendall(many[half:])
            answers = b""
            while answers.count(b"number ") < 6:
                answers += pipelined.recv(65536)
        assert [int(found) for found in re.findall(rb"number (\d)", answers)] == list(range(6))
        assert len(here.kept.records) == 7


def test_a_body_that_comes_in_pieces_is_gathered(provider: str) -> None:
    with world(provider, Connection) as here:
        client = here.client
        client.post(HELLO)
        client.post(HELLO)
        content = chat("word " * 30_000)
        with connected(here.base) as slow:
            whole = request(here.base, content)
            for start in range(0, len(whole), 20_000):
                slow.sendall(whole[start : start + 20_000])
                time.sleep(0.01)
            assert slow.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
        assert here.taken == [True, True]
        assert Scripted.seen[-1][2]["messages"][0]["content"] == "word " * 30_000


def test_a_key_that_is_taken_away_opens_nothing_from_then_on(provider: str) -> None:
    """What was found for a head holds only as long as its key does."""
    with world(provider, Connection) as here:
        client = here.client
        assert [client.post(HELLO)[0] for _ in range(3)] == [200, 200, 200]
        caller, Alice.caller = Alice.caller, None  # type: ignore[assignment]
        try:
            assert client.post(HELLO)[0] == 401
            Alice.caller = Caller(key="k-1", models=(("other",),))
            assert client.post(HELLO)[0] == 403
        finally:
            Alice.caller = caller


def test_only_a_head_that_is_the_same_but_for_a_sound_length_is_known_again(provider: str) -> None:
    """On one connection: longer and shorter bodies, another caller in between, and at last a length that is none."""
    with world(provider, Connection) as here, connected(here.base) as one:

        def asked(content: bytes, *broken: tuple[bytes, bytes]) -> int:
            whole = request(here.base, content)
            for before, after in broken:
                assert before in whole
                whole = whole.replace(before, after)
            one.sendall(whole)
            answer = http.client.HTTPResponse(one)
            answer.begin()
            answer.read()
            return answer.status

        for length in (1, 1, 1, 900, 9_000, 2):
            assert asked(chat("x" * length)) == 200
            assert Scripted.seen[-1][2]["messages"][0]["content"] == "x" * length
        assert here.taken == [True] * 5
        assert asked(HELLO, (b"sk-alice", b"sk-malik")) == 401
        assert asked(HELLO) == 200
        assert asked(HELLO, (b"/v1/chat", b"/v0/chat")) == 404
        assert asked(HELLO) == 200
        length = b"%d" % len(HELLO)
        assert asked(HELLO, (length + b"\r\n", length[:1] + b"x\r\n")) == 400


def test_a_client_without_a_sound_head_is_refused_however_often_it_comes(provider: str) -> None:
    """Two lengths in one head: nobody may choose which of them counts."""
    with world(provider, Connection) as here:
        for _ in range(3):
            with connected(here.base) as connection:
                connection.sendall(request(here.base, HELLO, f"Content-Length: {len(HELLO)}\r\nContent-Length: 5"))
                assert connection.recv(65536).startswith(b"HTTP/1.1 400")
        assert here.taken == []


def test_one_deployment_that_rests_sends_no_call_the_slow_path(provider: str) -> None:
    """The others take the calls on; only where they have no room, or hardly any is left, does somebody look more closely."""

    async def calls() -> None:
        router = router_over(provider)
        way, fleet = router.fast_path(), router._fleet
        lane = way.lane(CHAT, "two", False, "", ())
        assert lane is not None
        for rests, other in (("a", "b"), ("b", None)):
            member = fleet.members[rests]
            member.health.until = math.inf
            fleet.rests(member, math.inf)
            for _ in range(5):
                attempt = way.begin(lane, 5, 10)
                assert (None if attempt is None else attempt.member.deployment.id) == other
                if attempt is not None:
                    way.unsent(attempt)

    asyncio.run(calls())


@pytest.mark.parametrize(
    ("where", "step"),
    [
        (pipeline, "read_body"),
        (FastPath, "begin"),
        (AsyncTransport, "begin"),
        (FastPath, "plain"),
        (FastPath, "answered"),
        (call, "_kind"),
    ],
)
def test_what_goes_wrong_with_one_request_hurts_no_other_of_its_turn(
    provider: str, where: Any, step: str, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that come in one turn of the loop take each step together."""
    made: list[Pipeline] = []
    came, taken, whole = Pipeline.submit, pipeline._take, getattr(where, step)
    together: list[int] = []
    calls = 0

    def noted(self: Pipeline, *given: Any) -> None:
        made.append(self)
        came(self, *given)

    def counted(step: Any, those: Any) -> Any:
        together.append(len(those))
        return taken(step, those)

    def fails_at_second(*given: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("a fault of ours")
        return whole(*given, **more)

    monkeypatch.setattr(Pipeline, "submit", noted)
    monkeypatch.setattr(pipeline, "_take", counted)
    with world(provider, Connection, keep_alive=30.0) as here, ExitStack() as stack:
        for _ in range(2):
            here.client.post(HELLO)
        several = [stack.enter_context(connected(here.base)) for _ in range(4)]
        for one in several:  # each warms its connection to the provider
            one.sendall(request(here.base, HELLO))
        for one in several:
            assert b"200 OK" in one.recv(65536)
        monkeypatch.setattr(where, step, fails_at_second)
        before = len(here.kept.records)
        together.clear()
        held, sent = threading.Event(), threading.Event()
        made[-1]._loop.call_soon_threadsafe(lambda: (held.set(), sent.wait(10)))
        assert held.wait(10)
        for one in several:
            one.sendall(request(here.base, HELLO))
        sent.set()
        answers = [one.recv(65536) for one in several]
        assert sorted(b"200 OK" in answer for answer in answers) == [False, True, True, True]
        assert b"" in answers
        assert together[:4] == [1, 1, 1, 3]  # the first of the four found no other that it could go with
        rooms = made[-1]._app.router.snapshot()["deployments"].values()
        assert [room["in_flight"] for room in rooms] == [0] * len(rooms)
        assert eventually(lambda: made[-1].under_way == 0)
        assert [record.outcome for record in here.kept.records[before:]] == [Outcome.ANSWERED] * 3


def test_a_request_that_came_as_the_server_stopped_was_left_without_an_answer(
    provider: str, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had come after the last turn of the event loop that anything was taken on in."""
    made: list[Pipeline] = []
    came = Pipeline.submit

    def noted(self: Pipeline, *given: Any) -> None:
        made.append(self)
        came(self, *given)

    monkeypatch.setattr(Pipeline, "submit", noted)
    with world(provider, Connection) as here, connected(here.base) as caller:
        for _ in range(2):
            here.client.post(HELLO)
        here.kept.records.clear()
        monkeypatch.setattr(Pipeline, "_soon", lambda self: None)
        caller.sendall(request(here.base, HELLO))
        assert eventually(lambda: len(made) == 2)
        asyncio.run_coroutine_threadsafe(made[-1].end(), made[-1]._loop).result(10)
        assert caller.recv(65536).startswith(b"HTTP/1.1 503 ")
        assert [record.outcome for record in here.kept.records] == [Outcome.LEFT]

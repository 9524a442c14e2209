"""The straight way and the long one: the same answers, the same headers, the same books, whichever a request takes."""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

import pytest
from msgspec.structs import asdict
from tests.gateway.conftest import KEY, serving
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headrace import Router
from headrace.calls import CHAT, Call
from headrace.gateway.callers import Caller, Keys
from headrace.gateway.config import Settings
from headrace.gateway.records import Outcome, Record
from headrace.gateway.sockets import Connection
from headrace.gateway.straight.passages import Passages
from headrace.layers import around
from headrace.ports import Ports
from headrace.routing import events
from headrace.routing.events import subscribe
from headrace.runtime.http_async import AsyncTransport

Eventually = Callable[[Callable[[], bool]], bool]

USAGE = {"prompt_tokens": 23, "completion_tokens": 28, "total_tokens": 51, "prompt_tokens_details": {"cached_tokens": 3}}


def said(text: Any, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {"id": "c-1", "object": "chat.completion", "model": "m", "choices": [{"index": 0, "message": message}], "usage": USAGE, **more}


class Scripted(BaseHTTPRequestHandler):
    """Answers as the prompt's text says; notes what it was sent."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    seen: ClassVar[list[Any]] = []
    betas: ClassVar[list[str | None]] = []
    turns: ClassVar[dict[str, int]] = {}

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append((self.path, self.headers["authorization"], sent))
        self.betas.append(self.headers["anthropic-beta"])
        wanted = sent["messages"][-1]["content"] if "messages" in sent else str(sent["input"])
        turn = self.turns[wanted] = self.turns.get(wanted, 0) + 1
        self.wanted(str(wanted), turn)

    def wanted(self, wanted: str, turn: int) -> None:
        match wanted:
            case "bad key":
                key = self.headers["authorization"] or self.headers["x-api-key"]
                self.answer(401, {"type": "error", "error": {"message": f"what is {key}", "type": "authentication_error"}})
            case _ if not self.path.endswith("/chat/completions"):
                self.elsewhere(wanted, turn)
            case "broken":
                self.answer(500, {"error": {"message": "broken", "type": "server_error"}})
            case "broken once" if turn % 2:
                self.answer(500, {"error": {"message": "broken", "type": "server_error"}})
            case "too many":
                self.answer(429, {"error": {"message": "slow down", "type": "rate_limit_error"}}, {"retry-after": "7"})
            case "bad":
                self.answer(400, {"error": {"message": "what is this", "type": "invalid_request_error", "param": "n"}})
            case "no json":
                self.send_whole(200, b"<html>", {"content-type": "text/html"})
            case "hidden error":
                self.answer(200, {"choices": [{"error": {"message": "behind me", "code": 502}}]})
            case "in parts":
                self.answer(200, said([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]))
            case "no usage":
                self.answer(200, {**said("x"), "usage": None})
            case "goodbye":
                self.answer(200, said("x"), {"connection": "close"})
            case "quota":
                self.answer(200, said("x"), {"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "500"})
            case "hangs up":
                self.close_connection = True
            case str() if wanted.startswith("stream"):
                self.stream(wanted, turn)
            case "late":
                time.sleep(5)
                self.answer(200, said("late"))
            case _:
                self.answer(200, said(wanted, service_tier="default"))

    def elsewhere(self, wanted: str, turn: int) -> None:
        """What is not a chat is not asked of this one."""
        raise NotImplementedError

    def stream(self, wanted: str, turn: int) -> None:
        self.streams()
        turns = [{"role": "assistant", "content": ""}, {"content": "Hello"}, {"content": " you"}]
        events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in turns]
        if wanted == "stream cut at once" and turn % 2:
            events = events[:1]
        for event in events:
            if wanted == "stream slowly":
                time.sleep(0.25)
            self.chunk(b"data: " + json.dumps(event).encode() + b"\n\n")
        match wanted:
            case "stream cut":
                self.close_connection = True
                return
            case "stream cut at once" if turn % 2:
                self.close_connection = True
                return
            case "stream an error":
                self.chunk(b'data: {"error": {"message": "no more", "code": 503}}\n\n')
            case "stream" | "stream cut at once":
                end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
                self.chunk(b"data: " + json.dumps(end).encode() + b"\n\n")
                self.chunk(b"data: [DONE]\n\n")
            case _:
                end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USAGE}
                self.chunk(b"data: " + json.dumps(end).encode() + b"\n\ndata: [DO")
                self.chunk(b"NE]\n\n")
        self.chunk(b"")

    def streams(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def answer(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        self.send_whole(status, json.dumps(body).encode(), {"content-type": "application/json; charset=utf-8", **(headers or {})})

    def send_whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def _nobody_else_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another gateway of this process hears of every call, which then goes the long way."""
    monkeypatch.setattr(events, "_everywhere", ())
    monkeypatch.setattr(around, "_layers", ())


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


class Kept:
    """A ledger."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, record: Record, decision: Mapping[str, Any] | None = None) -> None:
        self.records.append(record)


class Alice(Keys):
    """Knows one caller, who is under limits of her own."""

    caller = Caller(key="k-1", name="alice", team="t", user="u", scopes=("alice",), tags=("blue",), aliases={"mine": "gpt"})

    def remembered(self, token: str) -> Caller | None:
        return self.caller if token == "sk-alice" else None

    async def find(self, token: str) -> Caller | None:
        return None


class World(NamedTuple):
    base: str
    kept: Kept
    taken: list[bool]
    """Of each request that might have: whether it went the straight way."""
    client: Client


def router_over(provider: str) -> Router:
    def entry(name: str, id: str, **given: Any) -> dict[str, Any]:
        params = {"model": "openai/gpt-there", "api_key": f"sk-{id}", "base_url": provider, "rpm": 100_000, "tpm": 10**9, **given}
        return {
            "model_name": name,
            "litellm_params": params,
            "model_info": {"id": id, "input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5},
        }

    router = Router(
        [entry("gpt", "one"), entry("two", "a"), entry("two", "b"), entry("narrow", "narrow", rpm=1)],
        num_retries=2,
        retry_after=0,
        max_wait=0.05,
    )
    router.add_scope("alice", rpm=5_000, tpm=10**6, max_parallel_requests=50)
    return router


@contextmanager
def world(provider: str, http: type[asyncio.Protocol], over: Callable[[str], Router] = router_over) -> Iterator[World]:
    kept, taken = Kept(), []
    opened = Passages.open

    def noted(*given: Any) -> Any:
        passage = opened(*given)
        taken.append(passage is not None)
        return passage

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Passages, "open", noted)
        serve = serving(over(provider), Settings(key=KEY, keep_alive=0.1), keys=Alice(), ledger=kept, http=http)
        with serve as base, closing(Client(base)) as client:
            yield World(base, kept, taken, client)


class Client:
    """One connection, kept."""

    def __init__(self, base: str, key: str = "sk-alice") -> None:
        self._connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=30)
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def close(self) -> None:
        self._connection.close()

    def post(self, content: bytes, path: str = "/v1/chat/completions", **headers: str) -> tuple[int, dict[str, str], bytes]:
        self._connection.request("POST", path, content, {**self._headers, **headers})
        answer = self._connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def chat(text: Any, **more: Any) -> bytes:
    body = {"model": "gpt", "messages": [{"role": "user", "content": text}], **more}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


HELLO = chat("hello")


def left_out(headers: Mapping[str, str]) -> dict[str, str]:
    """Without what is another one each time."""
    return {
        name: re.sub(r"^[ab]$", "a or b", value)
        for name, value in headers.items()
        if name not in ("date", "x-request-id", "request-id", "x-litellm-call-id", "retry-after-ms") and "-reset" not in name
    }


def booked(record: Record) -> dict[str, Any]:
    fields = asdict(record)
    assert fields["began"] <= fields["ended"]
    assert re.fullmatch(r"req_[0-9a-f]{24}", fields["id"])
    fields["deployment"] = re.sub("^[ab]$", "a or b", fields["deployment"])
    fields["first"] = fields["first"] is not None
    return {name: value for name, value in fields.items() if name not in ("id", "began", "ended", "waited")}


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
    "a strange bound": (chat("hello", max_tokens="many"), False),
}


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
    """A burst meets fewer connections than it has calls: those had all taken the long way."""
    compare(provider, *CASES[case], last="goodbye")


@pytest.mark.parametrize("streamed", [True, False])
def test_both_ways_come_to_the_same_where_nobody_answers(provider: str, streamed: bool) -> None:
    """The provider's port is closed by now."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    compare(nobody, chat("hello", stream=streamed), True, opened=500)


def compare(provider: str, content: bytes, straight: bool, last: str = "hello", opened: int = 200) -> None:
    """last: what is asked before. opened: the status of what is asked before."""
    told = []
    for http_ in (Connection, HttpToolsProtocol):
        with world(provider, http_) as here:
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
            assert here.taken == ([straight] if http_ is Connection else [])
    assert told[0] == told[1]


@pytest.mark.parametrize("http_", [Connection, HttpToolsProtocol])
def test_a_stream_that_is_cut_before_anything_was_said_is_begun_anew(provider: str, http_: type[asyncio.Protocol]) -> None:
    """The straight way has told its caller nothing yet; on the long one the gateway had failed with a fault of its own."""
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
    """Guardrails, traces, hooks: what does more than count sees each call, so those take the long way."""
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


def test_another_gateway_in_the_process_sends_nobody_the_long_way(provider: str) -> None:
    """Each had heard of the other's calls as of a program's that wants to see every one: all plain chats of both took the long way."""
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


def test_a_call_that_has_to_wait_goes_the_long_way(provider: str) -> None:
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


def test_who_leaves_on_the_straight_way_is_recorded_and_frees_its_room(provider: str, eventually: Eventually) -> None:
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


def test_a_client_without_a_sound_head_is_refused_however_often_it_comes(provider: str) -> None:
    """Two lengths in one head: nobody may choose which of them counts."""
    with world(provider, Connection) as here:
        for _ in range(3):
            with connected(here.base) as connection:
                connection.sendall(request(here.base, HELLO, f"Content-Length: {len(HELLO)}\r\nContent-Length: 5"))
                assert connection.recv(65536).startswith(b"HTTP/1.1 400")
        assert here.taken == []


def test_one_deployment_that_rests_sends_no_call_the_long_way(provider: str) -> None:
    """The others take the calls straight on; only where they have no room, or hardly any is left, does somebody look more closely."""

    async def calls() -> None:
        router = router_over(provider)
        way, fleet = router.straight(), router._fleet
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

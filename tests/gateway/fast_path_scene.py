"""A scripted provider, a gateway over it whose books are kept, and a client: what tests of the fast path share."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
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

from headrace import Router
from headrace.gateway.callers import Caller, Keys
from headrace.gateway.config import Settings
from headrace.gateway.fast_path.pipeline import Pipeline, Request
from headrace.gateway.records import Record

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
            case _ if wanted.startswith("usage: "):
                self.answer(200, {**said("x"), "usage": json.loads(wanted.removeprefix("usage: "))})
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


@contextmanager
def answering(handler: type[Scripted]) -> Iterator[str]:
    """The provider's address while the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
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
    """Of each request that might have: whether it went the fast path."""
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
def world(
    provider: str, http: type[asyncio.Protocol], over: Callable[[str], Router] = router_over, keep_alive: float = 30.0, **more: Any
) -> Iterator[World]:
    """keep_alive: seconds until a sign of life, which goes out with a head that tells of no deployment yet: so none comes by chance."""
    kept = Kept()
    with pytest.MonkeyPatch.context() as patch:
        taken = noting(patch)
        serve = serving(over(provider), Settings(key=KEY, keep_alive=keep_alive, **more), keys=Alice(), ledger=kept, http=http)
        with serve as base, closing(Client(base)) as client:
            yield World(base, kept, taken, client)


def noting(patch: pytest.MonkeyPatch) -> list[bool]:
    """Of each request that may, whether it take the fast path."""
    taken: list[bool] = []
    read, begin = Pipeline.read, Pipeline.begin

    def noted_read(pipeline: Pipeline, request: Request) -> bool:
        found = read(pipeline, request)
        if not found:
            taken.append(False)
        return found

    def noted_begin(pipeline: Pipeline, request: Request) -> bool:
        taken.append(begin(pipeline, request))
        return taken[-1]

    patch.setattr(Pipeline, "read", noted_read)
    patch.setattr(Pipeline, "begin", noted_begin)
    return taken


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


def patience(content: bytes) -> float:
    """Seconds until a sign of life: one comes for sure where a stream is slow, and none elsewhere."""
    return 0.05 if b"slowly" in content else 30.0


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

"""A provider on a loopback port that records what it was sent and answers what the test says; headrace in both colours."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import headrace

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}


def sse(*chunks: Any, done: bool = True) -> list[bytes | threading.Event]:
    frames: list[bytes | threading.Event] = [f"data: {json.dumps(item)}\n\n".encode() for item in chunks]
    return [*frames, b"data: [DONE]\n\n"] if done else frames


@dataclass
class Seen:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: Any
    """What JSON said; of anything else the bytes."""
    method: str = "POST"


@dataclass
class Reply:
    """One scripted answer: a body at once, or pieces with a pause before each."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes | threading.Event] | None = None
    """Written one by one; an event in between is waited for."""
    pause: float = 0.0
    cut: bool = False
    """Close the connection before the chunked body is ended."""
    delay: float = 0.0


@dataclass
class Upstream:
    """A provider on a loopback port. `replies` are used up in order, the last one stays."""

    url: str
    seen: list[Seen] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=lambda: [Reply(CHAT)])
    left: threading.Event = field(default_factory=threading.Event)
    """Set when a client went away while its answer was being written."""
    hold: threading.Event = field(default_factory=threading.Event)
    """Streams with a pause longer than the test wait on this instead of sleeping it out."""

    def next_reply(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def answer(self, *replies: Reply) -> None:
        self.replies = list(replies)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: Upstream

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        upstream = self.upstream
        body = json.loads(raw) if "json" in self.headers.get("content-type", "") and raw else raw
        upstream.seen.append(Seen(self.path, {name.lower(): value for name, value in self.headers.items()}, body, self.command))
        reply = upstream.next_reply()
        if reply.delay:
            upstream.hold.wait(reply.delay)
        try:
            self._pieces(reply) if reply.pieces is not None else self._whole(reply)
        except (BrokenPipeError, ConnectionResetError):
            upstream.left.set()
            self.close_connection = True

    do_GET = do_DELETE = do_POST

    def _whole(self, reply: Reply) -> None:
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _pieces(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in {"content-type": "text/event-stream", "transfer-encoding": "chunked", **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        for piece in reply.pieces or []:
            if isinstance(piece, threading.Event):
                piece.wait(10)
                continue
            if reply.pause:
                self.upstream.hold.wait(reply.pause)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        if reply.cut:
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextmanager
def standing() -> Iterator[Upstream]:
    """A provider while the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = Upstream(f"http://127.0.0.1:{server.server_address[1]}/v1")
    server.RequestHandlerClass = type("Handler", (Handler,), {"upstream": made})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.hold.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


class Client:
    """headrace in one colour. Calls go to `upstream` with a made-up key unless told otherwise."""

    def __init__(self, name: str, upstream: Upstream) -> None:
        self.name = name
        self.upstream = upstream

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        return {"base_url": self.upstream.url, "api_key": "sk-test-1234567890", "num_retries": 0, **options}

    def call(self, name: str, *args: Any, on: Any = headrace, **options: Any) -> Any:
        """The answer, or the list of chunks of a stream. `on` is the module or a Router."""
        options = self._options(options) if on is headrace else options
        if self.name == "sync":
            answer = getattr(on, name)(*args, **options)
            return list(answer) if options.get("stream") else answer
        return asyncio.run(self._async(getattr(on, f"a{name}"), args, options))

    async def _async(self, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        answer = await function(*args, **options)
        return [item async for item in answer] if options.get("stream") else answer

    def chat(self, content: Any = "hi", **options: Any) -> Any:
        return self.call("completion", options.pop("model", "openai/m"), [{"role": "user", "content": content}], **options)


def wait_until(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Poll for something another thread does."""
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True

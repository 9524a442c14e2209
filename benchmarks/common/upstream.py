"""A provider at negligible cost: precomputed bytes over loopback, from a process of its own.

Serves POST /v1/chat/completions (JSON, or 500 chunks if the body requests a stream) and /v1/embeddings. Under
/paced/v1, and if a body's `user` is "paced", each chunk of a stream is sent alone, as by a real provider. Under
/broken/v1 everything fails with 500.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHUNKS = 500
DIMENSION = 1536
CORE = 1
"""CPU core of the upstream; clients run on core 0."""
PACE = 0.004
"""Seconds between two chunks of a paced stream."""

_ID = "chatcmpl-9tZq1f0c4b7e4d2aa1c3e5f7"
_ANSWER = "The water runs in the headrace at the rate the wheel can take. " * 2


def chat_body() -> bytes:
    """A chat completion of about 565 bytes."""
    return json.dumps({
        "id": _ID, "object": "chat.completion", "created": 1790000000, "model": "gpt-4o-mini",
        "choices": [{
            "index": 0, "logprobs": None, "finish_reason": "stop",
            "message": {"role": "assistant", "content": _ANSWER, "refusal": None},
        }],
        "usage": {
            "prompt_tokens": 23, "completion_tokens": 28, "total_tokens": 51,
            "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0},
        },
        "system_fingerprint": "fp_6f5b3a1c9d",
    }, separators=(",", ":")).encode()  # fmt: skip


def _event(delta: dict[str, str], finish: str | None) -> bytes:
    return b"data: %s\n\n" % json.dumps({
        "id": _ID, "object": "chat.completion.chunk", "created": 1790000000, "model": "gpt-4o-mini",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }, separators=(",", ":")).encode()  # fmt: skip


def stream_events() -> list[bytes]:
    """500 chunks of about 199 bytes, the finish, and [DONE]."""
    words = [_event({"content": f" w{number:03d}"}, None) for number in range(CHUNKS)]
    return [*words, _event({}, "stop"), b"data: [DONE]\n\n"]


def embedding_body() -> bytes:
    """One embedding of 1,536 floats."""
    floats = [((number * 7919) % 200_003 - 100_001) / 1_000_003 for number in range(DIMENSION)]
    return json.dumps({
        "object": "list", "data": [{"object": "embedding", "index": 0, "embedding": floats}],
        "model": "text-embedding-3-small", "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }).encode()  # fmt: skip


def _whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_7f3a\r\ncontent-length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_7f3a\r\ntransfer-encoding: chunked\r\n\r\n"
_BROKEN = (
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\ncontent-length: 64\r\n\r\n"
    b'{"error":{"message":"broken on purpose","type":"server_error"}} '
)
_CHAT, _EMBEDDING = _whole(chat_body()), _whole(embedding_body())
_PIECES = [_STREAM_HEAD, *map(_chunk, stream_events()), b"0\r\n\r\n"]
_STREAM = b"".join(_PIECES)

_SAID = 300
"""Bytes at either end of a body in which clients say how to respond: searching 100 KB would take longer than a gateway needs."""


class Upstream(asyncio.Protocol):
    """One connection; its requests are answered in order."""

    def connection_made(self, transport: Any) -> None:
        import httptools  # late: only the serving process has it, not every peer

        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.url, self.body = b"", b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        said = (self.body[:_SAID] + self.body[-_SAID:]).replace(b" ", b"")
        if self.url.startswith(b"/broken/"):
            self.transport.write(_BROKEN)
        elif self.url.endswith(b"/embeddings"):
            self.transport.write(_EMBEDDING)
        elif b'"stream":true' not in said:
            self.transport.write(_CHAT)
        elif self.url.startswith(b"/paced/") or b'"user":"paced"' in said:
            self.pace(0)
        else:
            self.transport.write(_STREAM)

    def pace(self, position: int) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(_PIECES[position])
        if position + 1 < len(_PIECES):
            self.loop.call_later(PACE, self.pace, position + 1)


async def serve() -> None:
    """Serve until standard input closes; the port is the first line printed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def pin(core: int) -> None:
    """Pin this process to a core, if the machine has it."""
    if hasattr(os, "sched_setaffinity") and core in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {core})


@contextmanager
def running() -> Iterator[str]:
    """The URL of an upstream that runs for the duration of the block."""
    command = [sys.executable, "-m", "benchmarks.common.upstream"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError("the upstream did not start; see its message above")
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.stdin.close()
            process.wait(timeout=10)


if __name__ == "__main__":
    import uvloop

    pin(CORE)
    uvloop.run(serve())

"""A caller who does not read its response slows its provider down instead of filling the gateway's memory."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import repeat
from typing import Any

import pytest
from tests.gateway.conftest import KEY, serving
from tests.gateway.fast_path_scene import Alice, Kept

from headrace import Router
from headrace.gateway.config import Settings

Eventually = Callable[[Callable[[], bool]], bool]
END = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
CHUNK = END[: END.index(b'"delta"')] + b'"delta":{"content":"%b"}}]}\n\n' % (b"x" * 60_000)
MOST = 64 << 20
"""Bytes. Far more than all sockets on the way hold, far less than what is there to say."""


class Talkative:
    """Answers a first call shortly. The stream of a second goes on for as long as anybody takes it."""

    def __init__(self) -> None:
        self.said = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.thread = threading.Thread(target=self._answer, daemon=True)
        self.thread.start()

    def _answer(self) -> None:
        for pieces in ([CHUNK, END], repeat(CHUNK, 4 * MOST // len(CHUNK))):
            connection, _ = self._listening.accept()
            with connection, suppress(OSError):
                while b"\r\n\r\n" not in connection.recv(65536):
                    pass
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
                for piece in pieces:
                    connection.sendall(piece)
                    self.said += len(piece)

    def stands_still(self) -> bool:
        before = self.said
        time.sleep(0.3)
        return self.said == before

    def close(self) -> None:
        self._listening.close()
        self.thread.join(10)


@pytest.fixture
def provider() -> Iterator[Talkative]:
    made = Talkative()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("path", "more"), [("/v1/chat/completions", {}), ("/v1/messages", {"max_tokens": 100})], ids=["passed on", "translated"]
)
def test_who_takes_nothing_of_a_stream_holds_up_its_provider(
    provider: Talkative, eventually: Eventually, path: str, more: dict[str, Any]
) -> None:
    params = {"model": "openai/gpt", "api_key": "sk-up", "base_url": f"http://127.0.0.1:{provider.port}/v1"}
    content = json.dumps({"model": "gpt", "stream": True, "messages": [{"role": "user", "content": "hi"}], **more})
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(content)}"
    router = Router([{"model_name": "gpt", "litellm_params": params}])
    with serving(router, Settings(key=KEY), keys=Alice(), ledger=Kept()) as base:
        host, port = base.removeprefix("http://").split(":")
        for whole in (True, False):  # a head that is known take the fast path, where there is one
            with socket.create_connection((host, int(port)), timeout=10) as caller:
                caller.sendall(f"{head}\r\n\r\n{content}".encode())
                assert caller.recv(1000).startswith(b"HTTP/1.1 200")
                while whole and not caller.recv(1 << 20).endswith(b"0\r\n\r\n"):
                    pass
                if not whole:
                    assert eventually(provider.stands_still)
                    assert len(CHUNK) < provider.said < MOST
        assert eventually(lambda: not provider.thread.is_alive())

"""Callers who go away, and what they leave behind: nothing."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.gateway.conftest import KEY, router_over, serving

from headrace import Router
from headrace.gateway.config import Settings

Eventually = Callable[[Callable[[], bool]], bool]


def ask(base: str, path: str, body: dict[str, Any]) -> socket.socket:
    """A request on its way, whose caller may go at any moment."""
    host, port = urlsplit(base).hostname, urlsplit(base).port
    connection = socket.create_connection((str(host), int(port or 0)))
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {KEY}\r\n"
    connection.sendall(f"{head}content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content)
    return connection


def running_at(upstream: object, name: str) -> int:
    with urllib.request.urlopen(f"{upstream}/stats") as answer:
        return int(json.load(answer)["providers"][name]["in_flight"])


CHAT = {"messages": [{"role": "user", "content": "hi"}]}
MESSAGES = {**CHAT, "max_tokens": 200}


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/v1/chat/completions", {**CHAT, "model": "slow", "stream": True}, "slow"),
        ("/v1/chat/completions", {**CHAT, "model": "late"}, "late"),
        ("/v1/messages", {**MESSAGES, "model": "slow", "stream": True}, "slow"),
        ("/v1/messages", {**MESSAGES, "model": "late"}, "late"),
        ("/v1/responses", {"input": "hi", "model": "slow", "stream": True}, "slow"),
        ("/v1beta/models/late:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}, "late"),
    ],
)
def test_who_leaves_ends_the_call_at_the_provider(
    base: str, upstream: object, eventually: Eventually, path: str, body: dict[str, Any], name: str
) -> None:
    with ask(base, path, body):
        assert eventually(lambda: running_at(upstream, name) == 1)
    assert eventually(lambda: running_at(upstream, name) == 0)


# ---- everywhere ----------------------------------------------------------------------------------------------------------


class Silent:
    """A provider that takes requests and says nothing; knows when its caller has gone."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
        self.asked, self.left = threading.Event(), threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        with connection:
            connection.recv(65536)
            self.asked.set()
            while connection.recv(65536):
                pass
        self.left.set()

    def close(self) -> None:
        self._listening.close()


def form(name: str) -> tuple[bytes, str]:
    part = f'--b\r\ncontent-disposition: form-data; name="{name}"; filename="x.png"\r\n\r\nx\r\n'
    fields = {"model": "m", "prompt": "p", "purpose": "user_data"}
    texts = "".join(f'--b\r\ncontent-disposition: form-data; name="{field}"\r\n\r\n{value}\r\n' for field, value in fields.items())
    return (texts + part + "--b--\r\n").encode(), "multipart/form-data; boundary=b"


CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
EVERYWHERE: list[tuple[str, Any]] = [
    *[
        (path, {**CHAT, "model": "m", "stream": stream})
        for path in ("/v1/chat/completions", "/chat/completions")
        for stream in (True, False)
    ],
    *[("/openai/deployments/m/chat/completions?api-version=1", {**CHAT, "stream": stream}) for stream in (True, False)],
    *[("/v1/messages", {**MESSAGES, "model": "m", "stream": stream}) for stream in (True, False)],
    *[("/v1/responses", {"input": "hi", "model": "m", "stream": stream}) for stream in (True, False)],
    *[("/v1/completions", {"prompt": "hi", "model": "m", "stream": stream}) for stream in (True, False)],
    ("/v1beta/models/m:generateContent", CONTENTS),
    ("/v1beta/models/m:streamGenerateContent?alt=sse", CONTENTS),
    ("/v1beta/models/m:embedContent", {"content": {"parts": [{"text": "hi"}]}}),
    ("/v1/embeddings", {"input": "hi", "model": "m"}),
    ("/v1/images/generations", {"prompt": "hi", "model": "m"}),
    ("/v1/images/edits", form("image")),
    ("/v1/images/variations", form("image")),
    ("/v1/audio/speech", {"input": "hi", "voice": "v", "model": "m"}),
    ("/v1/audio/transcriptions", form("file")),
    ("/v1/audio/translations", form("file")),
    ("/v1/moderations", {"input": "hi", "model": "m"}),
    ("/v1/rerank", {"query": "hi", "documents": ["a"], "model": "m"}),
    ("/v1/files", form("file")),
    ("/v1/files", None),
    ("/v1/batches", None),
]


@pytest.mark.parametrize(("path", "body"), EVERYWHERE, ids=[f"{number}-{path}" for number, (path, _) in enumerate(EVERYWHERE)])
def test_on_every_endpoint_who_leaves_frees_the_provider(path: str, body: Any) -> None:
    provider = Silent()
    router = Router([{"model_name": "m", "litellm_params": {"model": "openai/m", "api_key": "k", "base_url": provider.url}}], num_retries=0)
    with serving(router, Settings(key=KEY)) as base:
        with asked(base, path, body):
            assert provider.asked.wait(30)
        assert provider.left.wait(30)
    assert router.snapshot()["deployments"][router.get_model_ids()[0]]["in_flight"] == 0
    provider.close()


def asked(base: str, path: str, body: Any) -> socket.socket:
    """Any request: JSON, a form as `(content, type)`, or none."""
    if isinstance(body, dict):
        return ask(base, path, body)
    host, port = urlsplit(base).hostname, urlsplit(base).port
    content, kind = body or (b"", "text/plain")
    connection = socket.create_connection((str(host), int(port or 0)))
    head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {KEY}\r\n"
    connection.sendall(f"{head}content-type: {kind}\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content)
    return connection


def test_who_leaves_the_line_leaves_no_place_in_it(upstream: Any, eventually: Eventually) -> None:
    router = router_over(upstream)

    def waiting() -> int:
        return int(router.snapshot()["queues"].get("narrow", 0))

    with serving(router, Settings(key=KEY)) as base:
        body = {**CHAT, "model": "narrow"}
        calls = [ask(base, "/v1/chat/completions", body) for _ in range(12)]
        assert eventually(lambda: waiting() > 0)
        for call in calls:
            call.close()
        assert eventually(lambda: waiting() == 0)

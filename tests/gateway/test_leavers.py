"""Callers who disconnect leave nothing behind. `test_leavers_everywhere` does this for every endpoint."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.gateway.conftest import KEY, router_over, serving

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

"""If caller and provider use the same dialect, the provider's bytes are forwarded unchanged; waiting is visible in every dialect."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.client.upstream import CHAT, Reply, Upstream, chunk, sse, standing
from tests.gateway.conftest import KEY, serving

from headrace import Router
from headrace.gateway.callers import Caller, Keys
from headrace.gateway.config import Settings
from headrace.gateway.records import Outcome, Record

ASK = [{"role": "user", "content": "hi"}]
PROVIDERS = {"openai": "openai/own", "anthropic": "anthropic/own", "gemini": "gemini/own"}


class Kept:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, record: Record) -> None:
        self.records.append(record)


class Limited(Keys):
    """Everybody has the key's limits."""

    async def find(self, token: str) -> Caller | None:
        return Caller(key="k", scopes=("mine",)) if token == "sk-limited" else None


@pytest.fixture
def provider() -> Iterator[Upstream]:
    with standing() as made:
        yield made


@pytest.fixture
def ledger() -> Kept:
    return Kept()


def router_over(provider: Upstream) -> Router:
    def entry(name: str, model: str) -> dict[str, Any]:
        base = provider.url if name == "openai" else provider.url.removesuffix("/v1")
        return {"model_name": name, "litellm_params": {"model": model, "api_key": "sk-upstream", "base_url": base}}

    router = Router([entry(name, model) for name, model in PROVIDERS.items()], num_retries=0)
    router.add_scope("mine", rpm=10, tpm=5000)
    return router


@pytest.fixture
def address(provider: Upstream, ledger: Kept) -> Iterator[str]:
    with serving(router_over(provider), Settings(key=KEY, keep_alive=60), keys=Limited(), ledger=ledger) as base:
        yield base


@pytest.fixture
def lively(provider: Upstream) -> Iterator[str]:
    """Gives signs of life often."""
    with serving(router_over(provider), Settings(key=KEY, keep_alive=0.2)) as base:
        yield base


def asked(address: str, path: str, body: Any, key: str = KEY, **headers: str) -> Any:
    sent = {"authorization": f"Bearer {key}", "content-type": "application/json", **headers}
    return urllib.request.urlopen(urllib.request.Request(address + path, json.dumps(body).encode(), sent), timeout=30)


def ask(address: str, path: str, body: Any, key: str = KEY, **headers: str) -> tuple[dict[str, str], bytes]:
    with asked(address, path, body, key, **headers) as answer:
        return {name.lower(): value for name, value in answer.headers.items()}, answer.read()


# As no library of ours would write it: spaces, order, numbers, a field of tomorrow.
MESSAGE = (
    b'{"id":"msg_1", "type" : "message","role":"assistant","content":[{"type":"text","text":"hell\\u006f"}],"model":"own",'
    b'"future":{"a":1.50},"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2,"new_class":7}}'
)
CHATTED = (
    b'{"id":"c","object":"chat.completion" ,"created":1,"model":"own-2026","choices":[{"index":0,"message":{"role":"assistant","content":'
    b'"hell\\u006f","strange":null},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5},"x":1.50}'
)
GENERATED = (
    b'{ "candidates":[{"content":{"role":"model","parts":[{"text":"hell\\u006f"}]},"finishReason":"STOP","new":[]}],'
    b'"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2,"totalTokenCount":5},"modelVersion":"own"}'
)
CONTENTS = [{"role": "user", "parts": [{"text": "hi"}]}]
WHOLE = [
    ("openai", "/v1/chat/completions", {"model": "openai", "messages": ASK, "of_tomorrow": {"a": 1}}, CHATTED),
    ("anthropic", "/v1/messages", {"model": "anthropic", "max_tokens": 9, "messages": ASK, "of_tomorrow": {"a": 1}}, MESSAGE),
    ("gemini", "/v1beta/models/gemini:generateContent", {"contents": CONTENTS, "of_tomorrow": 1}, GENERATED),
]


@pytest.mark.parametrize(("name", "path", "body", "answered"), WHOLE, ids=[row[0] for row in WHOLE])
def test_an_answer_in_the_callers_dialect_passes_byte_for_byte_and_is_accounted(
    address: str, provider: Upstream, ledger: Kept, name: str, path: str, body: dict[str, Any], answered: bytes
) -> None:
    provider.answer(Reply(answered))
    headers, got = ask(address, path, body)
    assert got == answered
    assert headers["content-type"] == "application/json"
    assert headers["x-headrace-attempts"] == "1"
    assert "of_tomorrow" in provider.seen[-1].body
    assert provider.seen[-1].body.get("model", "own") == "own"
    assert "sk-upstream" in json.dumps(provider.seen[-1].headers)
    assert KEY not in json.dumps(provider.seen[-1].headers)
    (record,) = ledger.records
    assert (record.outcome, record.usage["input"], record.usage["output"]) == (Outcome.ANSWERED, 3, 2)


def named(name: str, rest: bytes = b"") -> bytes:
    return f'event: {name}\ndata: {{ "type":"{name}"'.encode() + rest + b"}\n\n"


def bare(delta: bytes, rest: bytes = b"") -> bytes:
    return b'data: {"id":"c" ,"object":"chat.completion.chunk","created":1,"model":"own","choices":[' + delta + b"]" + rest + b"}\n\n"


EVENTS = [
    named("message_start", b',"message":{"id":"m","type":"message","role":"assistant","content":[],"usage":{"input_tokens":3}}'),
    named("content_block_start", b',"index":0,"content_block":{"type":"text","text":""}'),
    named("content_block_delta", b',"index":0,"delta":{"type":"text_delta","text":"hell\\u006f"}'),
    named("of_tomorrow"),
    named("content_block_stop", b',"index":0'),
    named("message_delta", b',"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}'),
    named("message_stop"),
]
CHUNKS = [
    bare(b'{"index":0,"delta":{"content":"hell\\u006f"}}'),
    bare(b'{"index":0,"delta":{},"finish_reason":"stop"}'),
    bare(b"", b',"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}'),
    b"data: [DONE]\n\n",
]
STREAMED = [
    ("openai", "/v1/chat/completions", {**WHOLE[0][2], "stream": True, "stream_options": {"include_usage": True}}, CHUNKS),
    ("anthropic", "/v1/messages", {**WHOLE[1][2], "stream": True}, EVENTS),
]


@pytest.mark.parametrize(("name", "path", "body", "events"), STREAMED, ids=[row[0] for row in STREAMED])
def test_a_stream_in_the_callers_dialect_passes_byte_for_byte_and_is_accounted(
    address: str, provider: Upstream, ledger: Kept, name: str, path: str, body: dict[str, Any], events: list[bytes]
) -> None:
    provider.answer(Reply(pieces=list(events)))
    headers, got = ask(address, path, body)
    assert got == b"".join(events)
    assert headers["content-type"] == "text/event-stream"
    (record,) = ledger.records
    assert (record.outcome, record.usage["input"], record.usage["output"]) == (Outcome.ANSWERED, 3, 2)
    assert record.first is not None


def test_a_stream_that_is_cut_ends_in_an_error_of_its_dialect(address: str, provider: Upstream, ledger: Kept) -> None:
    provider.answer(Reply(pieces=list(EVENTS[:3]), cut=True))
    _, got = ask(address, "/v1/messages", {**WHOLE[1][2], "stream": True})
    assert got.startswith(b"".join(EVENTS[:3]))
    assert b"event: error" in got[len(b"".join(EVENTS[:3])) :]
    assert ledger.records[0].outcome is Outcome.FAILED


def test_what_the_header_says_of_betas_is_said_to_the_provider(address: str, provider: Upstream) -> None:
    provider.answer(Reply(MESSAGE))
    ask(address, "/v1/messages?beta=true", WHOLE[1][2], **{"anthropic-beta": "one-2026, two-2026", "anthropic-version": "2023-06-01"})
    assert set(provider.seen[-1].headers["anthropic-beta"].replace(" ", "").split(",")) >= {"one-2026", "two-2026"}
    assert "betas" not in provider.seen[-1].body


# ---- waiting -------------------------------------------------------------------------------------------------------------

QUIET = [
    ("/v1/chat/completions", {"model": "openai", "messages": ASK, "stream": True}, b": waiting\n\n"),
    ("/v1/messages", {"model": "openai", "max_tokens": 9, "messages": ASK, "stream": True}, b'event: ping\ndata: {"type": "ping"}\n\n'),
    ("/v1/responses", {"model": "openai", "input": "hi", "stream": True}, b": waiting\n\n"),
    ("/v1beta/models/openai:streamGenerateContent?alt=sse", {"contents": CONTENTS}, b"\r\n"),
]


@pytest.mark.parametrize(("path", "body", "sign"), QUIET, ids=[row[0] for row in QUIET])
def test_a_stream_that_goes_quiet_in_its_middle_shows_that_it_lives(
    lively: str, provider: Upstream, path: str, body: dict[str, Any], sign: bytes
) -> None:
    go_on = threading.Event()
    provider.answer(Reply(pieces=[*sse(chunk("one"), done=False), go_on, *sse(chunk(" two"), chunk(finish="stop"))]))
    with asked(lively, path, body) as answer:
        got = b""
        while sign not in got[got.find(b"one") :] or b"one" not in got:
            piece = answer.read1()
            assert piece, got
            got += piece
        assert b" two" not in got
        go_on.set()
        assert b" two" in answer.read()


def test_answers_say_what_is_left_under_the_callers_own_limits_in_his_dialect(address: str, provider: Upstream) -> None:
    provider.answer(Reply(CHAT))
    headers, _ = ask(address, "/v1/chat/completions", {"model": "openai", "messages": ASK}, "sk-limited")
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("10", "9")
    assert 0 < float(headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 60
    assert headers["x-ratelimit-limit-tokens"] == "5000"
    assert int(headers["x-ratelimit-remaining-tokens"]) < 5000
    provider.answer(Reply(MESSAGE))
    headers, _ = ask(address, "/v1/messages", WHOLE[1][2], "sk-limited")
    assert headers["anthropic-ratelimit-requests-remaining"] == "8"
    assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert "x-ratelimit-limit-requests" not in headers


def test_the_master_key_has_no_limits_to_tell_of(address: str, provider: Upstream) -> None:
    provider.answer(Reply(CHAT))
    headers, _ = ask(address, "/v1/chat/completions", {"model": "openai", "messages": ASK})
    assert not [name for name in headers if "ratelimit" in name]

"""Guardrails for `/{provider}/…` and realtime sessions: applied, or rejected by name with the reason."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.client.upstream import Reply, Upstream, standing
from tests.gateway.conftest import KEY, serving
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from headrace import Router
from headrace.gateway.config import Settings
from headrace.layers import around
from headrace.layers.guardrails import Guardrails
from headrace.layers.pii import PII
from headrace.layers.secrets import Secrets

MAIL = "anna@example.org"
SECRET = f"sk-ant-api03-{'Ab1' * 20}"


@pytest.fixture(autouse=True)
def guarded() -> Iterator[None]:
    before = around._layers
    guardrails = Guardrails([PII(), Secrets(action="block")])
    guardrails.install()
    yield
    guardrails.remove()
    assert around._layers == before


@pytest.fixture
def provider() -> Iterator[Upstream]:
    with standing() as made:
        yield made


@pytest.fixture
def address(provider: Upstream) -> Iterator[str]:
    def entry(name: str, model: str) -> dict[str, Any]:
        return {"model_name": name, "litellm_params": {"model": model, "api_key": "sk-upstream-1234", "base_url": provider.url}}

    entries = [entry("claude", "anthropic/own"), entry("gem", "gemini/own"), entry("m", "mistral/own"), entry("o", "openai/own")]
    with serving(Router(entries, num_retries=0), Settings(key=KEY)) as base:
        yield base


def ask(address: str, path: str, body: Any, kind: str = "application/json") -> tuple[int, bytes]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    asked = urllib.request.Request(address + path, content, {"authorization": f"Bearer {KEY}", "content-type": kind})
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/mistral/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "%s"}]}),
    ("/mistral/v1/agents", {"model": "m", "instructions": "%s", "tools": [{"type": "function", "function": {"name": "f"}}]}),
    ("/mistral/v1/fim/completions", {"model": "m", "prompt": "%s", "suffix": "x"}),
    ("/anthropic/v1/complete", {"model": "claude", "prompt": "%s", "system": [{"type": "text", "text": "x"}]}),
    ("/gemini/v1beta/models/gem:countTokens", {"contents": [{"parts": [{"text": "%s"}]}]}),
]


@pytest.mark.parametrize(("path", "body"), ASKED)
def test_what_is_asked_in_a_provider_s_own_words_is_masked_or_refused(
    address: str, provider: Upstream, path: str, body: dict[str, Any]
) -> None:
    provider.answer(Reply({"fine": True}))
    assert ask(address, path, json.loads(json.dumps(body) % f"write to {MAIL}"))[0] == 200
    sent = json.dumps(provider.seen[-1].body)
    assert "write to <EMAIL_ADDRESS>" in sent
    assert MAIL not in sent
    assert {name for name in provider.seen[-1].body if name != "model"} == {name for name in body if name != "model"}
    status, said = ask(address, path, json.loads(json.dumps(body) % SECRET))
    assert status == 400
    assert b"the guardrail 'secrets' refuses the input: ANTHROPIC_KEY" in said
    assert len(provider.seen) == 1


def test_what_is_no_text_goes_on_byte_for_byte(address: str, provider: Upstream) -> None:
    provider.answer(Reply({"fine": True}))
    content = b'{ "model":"m",  "messages": [{"role":"user","content":"hi"}], "seed": 1.50 }'
    ask(address, "/mistral/v1/chat/completions", content.replace(b'"m"', b'"own"'))
    assert provider.seen[-1].body == json.loads(content.replace(b'"m"', b'"own"'))
    ask(address, "/mistral/v1/ocr", b"\x00\x01", "application/octet-stream")
    assert provider.seen[-1].body == b"\x00\x01"


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/mistral/v1/chat/completions", {"choices": [{"message": {"role": "assistant", "content": "%s"}, "finish_reason": "stop"}]}),
        ("/mistral/v1/conversations", {"outputs": [{"type": "message.output", "content": [{"type": "text", "text": "%s"}]}]}),
        ("/gemini/v1beta/models/gem:other", {"candidates": [{"content": {"parts": [{"text": "%s"}]}}], "modelVersion": "x"}),
        ("/anthropic/v1/other", {"type": "message", "content": [{"type": "text", "text": "%s"}], "usage": {"input_tokens": 1}}),
    ],
)
def test_what_is_answered_there_is_masked_or_refused(address: str, provider: Upstream, path: str, answer: dict[str, Any]) -> None:
    provider.answer(Reply(json.loads(json.dumps(answer) % f"write to {MAIL}")))
    status, said = ask(address, path, {})
    assert (status, json.loads(said)) == (200, json.loads(json.dumps(answer) % "write to <EMAIL_ADDRESS>"))
    provider.answer(Reply(json.loads(json.dumps(answer) % SECRET)))
    status, said = ask(address, path, {})
    assert SECRET.encode() not in said
    assert b"the guardrail 'secrets' refuses the output" in said


WORDS = ["write to anna", "@exam", "ple.org", " or not"]
USED = {"prompt_tokens": 3, "completion_tokens": 4}
STREAMS: dict[str, list[tuple[str, Any]]] = {
    "/mistral/v1/chat/completions": [
        *[("", {"choices": [{"index": 0, "delta": {"content": word}}]}) for word in WORDS],
        ("", {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USED}),
    ],
    "/anthropic/v1/other": [
        *[
            ("event: content_block_delta\n", {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})
            for word in WORDS
        ],
        ("event: content_block_stop\n", {"type": "content_block_stop", "index": 0}),
        ("event: message_stop\n", {"type": "message_stop"}),
    ],
}


def pieces(path: str) -> list[Any]:
    end = [b"data: [DONE]\n\n"] if "mistral" in path else []
    return [*[f"{event}data: {json.dumps(data)}\n\n".encode() for event, data in STREAMS[path]], *end]


def text_of(event: Any) -> str:
    if event.get("type") == "content_block_delta":
        return str(event["delta"]["text"])
    return "".join(choice["delta"].get("content") or "" for choice in event.get("choices") or ())


@pytest.mark.parametrize("path", ["/mistral/v1/chat/completions", "/anthropic/v1/other"])
def test_a_stream_there_is_masked_across_its_events(address: str, provider: Upstream, path: str) -> None:
    provider.answer(Reply(pieces=pieces(path)))
    status, said = ask(address, path, {"stream": True})
    assert status == 200
    events = [json.loads(line[6:]) for line in said.decode().splitlines() if line.startswith("data: {")]
    texts = [text_of(event) for event in events]
    assert "".join(texts) == "write to <EMAIL_ADDRESS> or not"
    assert said.rstrip().endswith(b"[DONE]" if "mistral" in path else b'{"type":"message_stop"}')


def test_text_that_does_not_say_it_is_json_is_looked_at_too(address: str, provider: Upstream) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": SECRET}]}).encode()
    assert ask(address, "/mistral/v1/chat/completions", body, "text/plain")[0] == 400
    assert provider.seen == []


def test_sound_passes_as_it_is(address: str, provider: Upstream) -> None:
    provider.answer(Reply(b"\x00\xffmp3", headers={"content-type": "audio/mpeg"}))
    assert ask(address, "/mistral/v1/audio/speech", {"input": "hi"}) == (200, b"\x00\xffmp3")


def test_a_session_whose_words_nobody_sees_is_refused_by_the_rule_s_name(address: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(address.replace("http", "ws") + "/v1/realtime?model=o", additional_headers={"authorization": f"Bearer {KEY}"})
    assert refused.value.response.status_code == 400
    assert b"the guardrail 'pii' applies to this call" in (refused.value.response.body or b"")

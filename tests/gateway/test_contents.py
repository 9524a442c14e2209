"""The content of calls in the ledger: recorded only if configured, without secrets, bounded in length and in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.conftest import KEY
from tests.gateway.persistence import Gateway, kept, priced

from headrace.gateway.config import Settings, read_config
from headrace.gateway.contents import Content, shortened, told
from headrace.gateway.guardrails import GuardrailService, read_guardrails
from headrace.gateway.ledger.writer import LedgerWriter
from headrace.gateway.persistence import Where
from headrace.gateway.records import Record
from headrace.layers import around
from headrace.runtime.sql import Database

SECRET = "sk-ant-api03-" + "Ab1" * 20
ASKED = [{"role": "user", "content": f"My key is {SECRET}, and what is a mill?"}]


@pytest.fixture
def where(tmp_path: Path) -> Where:
    return Where(f"sqlite:///{tmp_path / 'headrace.db'}", tmp_path)


@pytest.fixture
def gateway(upstream: object, where: Where) -> Iterator[Gateway]:
    with kept(priced(upstream), where) as (base, state):
        yield Gateway(base, state)


def last(gateway: Gateway, key: str = KEY) -> dict[str, Any]:
    """The latest call, as the spend logs tell it when asked for it by name."""
    newest = gateway.ask("/spend/logs/v2?page_size=1", key=key)["data"][0]
    assert newest["response"] == {}  # lists stay short
    found: dict[str, Any] = gateway.ask(f"/spend/logs?request_id={newest['request_id']}", key=key)[0]
    return found


def ask(gateway: Gateway, key: str, path: str = "/v1/chat/completions", **more: Any) -> None:
    import urllib.request

    body = json.dumps({"model": "gpt", "max_tokens": 12, "messages": ASKED, **more}).encode()
    asked = urllib.request.Request(gateway.base + path, body, {"authorization": f"Bearer {key}", "content-type": "application/json"})
    with urllib.request.urlopen(asked) as answer:
        answer.read()


def test_nothing_that_is_said_is_kept_unless_somebody_asks_for_it(gateway: Gateway) -> None:
    ask(gateway, gateway.key())
    assert (last(gateway)["messages"], last(gateway)["response"]) == ({}, {})


@pytest.mark.parametrize(("path", "field"), [("/v1/chat/completions", "choices"), ("/v1/messages", "content"), ("/openai/v1/messages", "")])
@pytest.mark.parametrize("stream", [False, True])
def test_a_keys_calls_are_kept_with_what_they_say_where_it_asks_for_that(gateway: Gateway, path: str, field: str, stream: bool) -> None:
    key = gateway.key(store_prompts_in_spend_logs=True)
    path = "/openai/v1/chat/completions" if not field else path  # a provider's own path
    ask(gateway, key, path, stream=stream)
    found = last(gateway)
    assert found["messages"] == [{"role": "user", "content": "My key is <ANTHROPIC_KEY>, and what is a mill?"}]
    assert found["proxy_server_request"]["max_tokens"] == 12
    said = found["response"][field or "choices"]
    assert len(json.dumps(said)) > 30
    assert "delta" not in json.dumps(said)
    assert "<ANTHROPIC_KEY>" in last(gateway, key)["messages"][0]["content"]  # it sees its own calls
    ask(gateway, key, **{"no-log": True})
    assert (last(gateway)["messages"], last(gateway)["response"]) == ({}, {})
    gateway.ask("/v1/chat/completions", {"model": "gpt", "messages": ASKED}, key, **{"x-litellm-enable-message-redaction": "true"})
    assert (last(gateway)["messages"], last(gateway)["response"]) == ({}, {})


def test_a_team_or_a_key_keeps_what_its_calls_say_to_itself(upstream: object, where: Where) -> None:
    with kept(priced(upstream), where, Settings(key=KEY, content=True, content_max=40)) as (base, state):
        gateway = Gateway(base, state)
        gateway.ask("/team/new", {"team_id": "quiet", "store_prompts_in_spend_logs": False})
        for key, words in ((gateway.key(), True), (gateway.key(team_id="quiet"), False)):
            ask(gateway, key)
            assert bool(last(gateway)["messages"]) is words
        picture = gateway.ask("/ui/state")
        assert [call["kept"] for call in picture["calls"]] == [False, True]
        assert SECRET[:20] not in json.dumps(picture)


def test_a_question_is_kept_as_guardrails_let_it_go_and_not_where_they_refuse_it(upstream: object, where: Where) -> None:
    entry = {"guardrail_name": "mine", "litellm_params": {"guardrail": "presidio", "default_on": True}}
    entry["litellm_params"]["pii_entities_config"] = {"EMAIL_ADDRESS": "MASK", "CREDIT_CARD": "BLOCK"}  # type: ignore[index]
    guarding = GuardrailService(read_guardrails([entry], pytest.fail))
    before = around._layers
    asyncio.run(guarding.start())
    try:
        with kept(priced(upstream), where, Settings(key=KEY, content=True)) as (base, state):
            gateway = Gateway(base, state)
            ask(gateway, KEY, messages=[{"role": "user", "content": "I am anna@example.org"}])
            assert last(gateway)["messages"][0]["content"] == "I am <EMAIL_ADDRESS>"
            gateway.chat(KEY, 400, messages=[{"role": "user", "content": "pay with 4111 1111 1111 1111"}])
            assert last(gateway)["messages"] == {}
    finally:
        asyncio.run(guarding.stop())
        around._layers = before


def test_what_was_said_is_forgotten_before_the_call_is(where: Where) -> None:
    async def work() -> None:
        database = Database(where.database)
        books = LedgerWriter(database, where.folder / "journal", keep_content=100.0, clock=lambda: 5000.0)
        for began in (1000.0, 4950.0):
            books.append(Record(id=f"at {began:.0f}", began=began, ended=began, content={"request": "?"}))
        await books.fold()
        assert await books.clean() == 0
        with database.transaction() as connection:
            assert list(connection.tuples("SELECT id, content FROM calls ORDER BY number")) == [
                ("at 1000", None), ("at 4950", '{"request":"?"}'),
            ]  # fmt: skip
        await books.close()
        database.close()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("value", "kept_of_it"),
    [
        ({"a": "mill" * 10, "b": 1}, {"a": "millmillmillmillmil… (40 characters)", "…": "1 more"}),
        (["x" * 10, "y" * 20, "z"], ["x" * 10, "y" * 10 + "… (20 characters)", "… 1 more"]),
        ([0.5] * 100, [0.5, 0.5, 0.5, "… 97 more"]),
        ({"a": {"password": "open sesame", "Authorization": "x"}}, {"a": {"password": "<SECRET>", "Authorization": "<SECRET>"}}),
        ("data:image/png;base64," + "A" * 2000, "data:image/png;base64,AAAAAAAAAA… (2022 characters of data)"),
        (b"12345", "<5 bytes>"),
        (("mill.wav", object(), "audio/wav"), "<mill.wav>"),
        ("postgresql://me:hush@host/db", "<PASSWORD_IN_ADDRESS>"[:20] + "… (28 characters)"),
    ],
)
def test_what_is_kept_has_a_measure_and_no_secrets(value: Any, kept_of_it: Any) -> None:
    assert shortened(value, 20) == kept_of_it


def events(*said: Any) -> bytes:
    return b"".join([b"data: " + json.dumps(one).encode() + b"\n\n" for one in said])


@pytest.mark.parametrize(
    ("stream", "whole"),
    [
        (events({"type": "transcript.text.delta", "delta": "he"}, {"type": "transcript.text.done", "text": "hello"}), "hello"),
        (events({"candidates": [{"content": {"role": "model", "parts": [{"text": "hel"}]}}]},
                {"candidates": [{"content": {"role": "model", "parts": [{"text": "lo"}]}, "finishReason": "STOP"}]}), "hello"),
        (events({"type": "response.created", "response": {"id": "r"}}), "r"),
        (events({"nobody": "knows"}, {"this": 1}), "knows"),
        (b"data: no JSON\n\n", ""),
    ],
)  # fmt: skip
def test_a_stream_is_kept_as_the_answer_that_it_would_have_been(stream: bytes, whole: str) -> None:
    assert whole in json.dumps(told(stream))


def test_no_call_fails_for_what_is_kept_of_it(caplog: pytest.LogCaptureFixture) -> None:
    content, deep = Content(1000), list[Any]()
    deep.append(deep)
    content.ask({"input": deep})
    assert content.written() == {}
    assert "RecursionError" in caplog.text


def test_the_configuration_asks_for_it_in_litellms_word_and_in_ours(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "model_list:\n  - {model_name: gpt, litellm_params: {model: openai/gpt-4o, api_key: k}}\n"
        "general_settings: {store_prompts_in_spend_logs: true, content_max: 100, content_keep: 7d}\n"
    )
    settings = read_config(path, {}).settings
    assert (settings.content, settings.content_max, settings.content_keep) == (True, 100, 7 * 86400)

"""`/{provider}/…`: a provider's own endpoints, with the gateway's key, counted like any call."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.client.upstream import Reply, Upstream, standing
from tests.gateway.conftest import KEY, serving

from headrace import Router
from headrace.gateway.callers import Caller, Keys
from headrace.gateway.config import Settings
from headrace.gateway.records import Outcome, Record
from headrace.layers import around
from headrace.through import address_of


class Kept:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, record: Record) -> None:
        self.records.append(record)


class Narrow(Keys):
    async def find(self, token: str) -> Caller | None:
        return Caller(key="k", models=(("claude",),)) if token == "sk-narrow" else None


@pytest.fixture
def provider() -> Iterator[Upstream]:
    with standing() as made:
        yield made


@pytest.fixture
def ledger() -> Kept:
    return Kept()


@pytest.fixture
def address(provider: Upstream, ledger: Kept) -> Iterator[str]:
    def entry(name: str, model: str) -> dict[str, Any]:
        return {"model_name": name, "litellm_params": {"model": model, "api_key": "sk-upstream-1234", "base_url": provider.url}}

    router = Router([entry("claude", "anthropic/claude-own"), entry("gem", "gemini/gemini-own"), entry("m", "mistral/own")], num_retries=0)
    with serving(router, Settings(key=KEY), keys=Narrow(), ledger=ledger) as base:
        yield base


def ask(address: str, path: str, body: Any = None, *, method: str | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    content = None if body is None else json.dumps(body).encode()
    sent = {"authorization": f"Bearer {KEY}", "content-type": "application/json", **headers}
    try:
        with urllib.request.urlopen(urllib.request.Request(address + path, content, sent, method=method), timeout=30) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {name.lower(): value for name, value in error.headers.items()}, error.read()


ANSWER = b'{"what" : "nobody knows","usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":2}}'


def test_what_nobody_knows_goes_to_its_provider_with_the_gateways_key_and_is_counted(
    address: str, provider: Upstream, ledger: Kept
) -> None:
    provider.answer(Reply(ANSWER, headers={"content-type": "application/json; odd"}))
    body = {"model": "claude", "of_tomorrow": [1.50]}
    status, headers, got = ask(address, "/anthropic/v1/new/thing?beta=true&key=x", body, **{"anthropic-beta": "b", "cookie": "secret"})
    assert (status, got, headers["content-type"]) == (200, ANSWER, "application/json; odd")
    seen = provider.seen[-1]
    assert seen.path == "/v1/new/thing?beta=true"
    assert seen.body == {"model": "claude-own", "of_tomorrow": [1.5]}
    assert seen.headers["x-api-key"] == "sk-upstream-1234"
    assert seen.headers["anthropic-beta"] == "b"
    assert not {"authorization", "cookie"} & set(seen.headers)
    (record,) = ledger.records
    assert (record.operation, record.model, record.deployment != "", record.outcome) == ("passed", "claude", True, Outcome.ANSWERED)
    assert (record.usage["input"], record.usage["cached"], record.usage["output"]) == (3, 4, 2)


def test_a_model_in_the_path_is_exchanged(address: str, provider: Upstream, ledger: Kept) -> None:
    provider.answer(Reply(b'{"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2}}'))
    status, _, _ = ask(address, "/gemini/v1beta/models/gem:countAnything", {"a": 1})
    assert (status, provider.seen[-1].path) == (200, "/v1beta/models/gemini-own:countAnything")
    assert provider.seen[-1].headers["x-goog-api-key"] == "sk-upstream-1234"
    assert ledger.records[0].usage["input"] == 3


def test_streams_pass_as_they_come_and_are_counted(address: str, provider: Upstream, ledger: Kept) -> None:
    events = [
        b'event: message_start\ndata: {"message":{"usage":{"input_tokens":3}}}\n\n',
        b"event: of_tomorrow\ndata: {}\n\n",
        b'event: message_delta\ndata: {"usage":{"output_tokens":2}}\n\n',
    ]
    provider.answer(Reply(pieces=list(events)))
    _, headers, got = ask(address, "/anthropic/v1/new/stream", {"model": "claude", "stream": True})
    assert (got, headers["content-type"]) == (b"".join(events), "text/event-stream")
    assert (ledger.records[0].usage["input"], ledger.records[0].usage["output"]) == (3, 2)


def test_other_methods_pass_and_errors_are_the_providers_own(address: str, provider: Upstream, ledger: Kept) -> None:
    provider.answer(Reply({"error": {"kind": "of tomorrow"}}, status=418))
    status, _, got = ask(address, "/mistral/v1/agents/7", method="DELETE")
    assert (status, json.loads(got)) == (418, {"error": {"kind": "of tomorrow"}})
    assert (provider.seen[-1].method, provider.seen[-1].path) == ("DELETE", "/v1/agents/7")
    assert ledger.records[0].outcome is Outcome.FAILED


@pytest.mark.parametrize("path", ["/groq/openai/v1/models", "/http:/127.0.0.1/x", "/nobody/v1/x"])
def test_only_providers_of_the_configuration_are_passed_to(address: str, provider: Upstream, path: str) -> None:
    assert ask(address, path, {"model": "claude"})[0] == 404
    assert provider.seen == []


@pytest.mark.parametrize("path", ["/anthropic/v1/../../x", "/anthropic/v1/%2e%2e/x"])
def test_a_path_that_climbs_is_refused(address: str, provider: Upstream, path: str) -> None:
    assert ask(address, path, {"model": "claude"})[0] == 400
    assert provider.seen == []


def test_a_key_reaches_its_own_models_and_no_others(address: str, provider: Upstream) -> None:
    provider.answer(Reply(ANSWER))
    mine = {"authorization": "Bearer sk-narrow"}
    assert ask(address, "/anthropic/v1/new", {"model": "claude"}, **mine)[0] == 200
    assert ask(address, "/anthropic/v1/new", {"model": "claude-other"}, **mine)[0] == 404
    assert ask(address, "/mistral/v1/new", {"model": "m"}, **mine)[0] == 404
    assert len(provider.seen) == 1


def test_nobody_passes_without_a_key(address: str, provider: Upstream) -> None:
    assert ask(address, "/anthropic/v1/new", {"model": "claude"}, authorization="Bearer sk-wrong")[0] == 401
    assert provider.seen == []


@pytest.mark.parametrize(
    ("base", "path", "found"),
    [
        ("https://h/v1", "/v1/x", "https://h/v1/x"),
        ("https://h/v1", "/x", "https://h/v1/x"),
        ("https://h/v2", "/v1/x", "https://h/v1/x"),
        ("https://h/a/v1", "/x?y=1", "https://h/a/v1/x?y=1"),
        ("https://h", "/x", "https://h/x"),
        ("https://h/v1", "//elsewhere/x", "https://h/v1//elsewhere/x"),
    ],
)
def test_a_path_stays_at_the_providers_host(base: str, path: str, found: str) -> None:
    assert address_of(base, path) == found


def test_who_watches_calls_in_objects_leaves_what_is_passed_as_it_is(address: str, provider: Upstream) -> None:
    """A layer that asked for objects had the bytes of a provider's own answer written as if they were chunks."""

    async def layer(ports: Any, call: Any, handler: Any, routed: bool) -> Any:
        return around.Watched(await handler(ports, around.in_objects(call)), lambda chunks, error: seen.extend(chunks))

    seen: list[Any] = []
    provider.answer(Reply({"fine": True}))
    around.install(layer)
    try:
        assert ask(address, "/mistral/v1/agents", {"model": "m"})[2] == b'{"fine": true}'
    finally:
        around.remove(layer)
    assert b"".join(seen) == b'{"fine": true}'


@pytest.mark.parametrize(
    ("path", "headers", "reached"),
    [
        ("/v1/files?limit=3", {"anthropic-version": "2023-06-01"}, "/v1/files?limit=3"),
        ("/v1/skills", {"anthropic-version": "2023-06-01"}, "/v1/skills"),
        ("/v1beta/cachedContents", {}, "/v1beta/cachedContents"),
        ("/v1beta/models/gem:batchGenerateContent", {}, "/v1beta/models/gemini-own:batchGenerateContent"),
    ],
)
def test_clients_found_no_path_to_what_their_own_provider_alone_has(
    address: str, provider: Upstream, path: str, headers: dict[str, str], reached: str
) -> None:
    """Or one of another's: Anthropic's files were sought where OpenAI's are."""
    provider.answer(Reply({"data": []}))
    status, _, body = ask(address, path, {"a": 1} if "v1beta" in path else None, **headers)
    assert (status, json.loads(body), provider.seen[-1].path) == (200, {"data": []}, reached)


def test_what_a_provider_alone_has_is_nowhere_without_it(address: str, provider: Upstream) -> None:
    """OpenAI is none of this gateway's."""
    assert [ask(address, path, {"a": 1})[0] for path in ("/v1/conversations", "/v1/vector_stores", "/v1/unheard-of")] == [404, 501, 404]
    assert provider.seen == []

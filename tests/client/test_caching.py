"""A Router's response cache as callers see it, over real sockets and real stores; sync and async."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream, chunk, sse
from tests.limits.conftest import Server

import headrace

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def valkey() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(params=["local", "disk", "redis"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> headrace.Cache:
    if request.param == "redis":
        url = request.getfixturevalue("valkey").url
        return headrace.Cache("redis", url=url, namespace=request.node.nodeid)
    return headrace.Cache(request.param, disk_cache_dir=tmp_path / "cache")


def entry(upstream: Upstream, name: str = "gpt", **params: Any) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {"model": "openai/m", "api_key": "sk-test", "base_url": upstream.url, **params}}


def ask(client: Client, router: headrace.Router, content: str = "hi", **options: Any) -> Any:
    model = options.pop("model", "gpt")
    return client.call("completion", model, [{"role": "user", "content": content}], on=router, **options)


def hit(answer: Any) -> Any:
    return answer._hidden_params["cache_hit"]


def test_the_same_question_is_asked_once(client: Client, upstream: Upstream, cache: headrace.Cache) -> None:
    router = headrace.Router([entry(upstream)], cache=cache)
    first, again, other = ask(client, router), ask(client, router), ask(client, router, "ho")
    assert (hit(first), hit(again), hit(other)) == (False, True, False)
    assert len(upstream.seen) == 2
    assert again.choices[0].message.content == "hello"
    assert type(again) is headrace.ModelResponse
    assert again == first
    assert again is not first
    assert again._hidden_params["response_cost"] == 0
    assert again._hidden_params["model_id"] == first._hidden_params["model_id"]


def test_a_stream_is_replayed_chunk_by_chunk(client: Client, upstream: Upstream, cache: headrace.Cache) -> None:
    router = headrace.Router([entry(upstream)], cache=cache)
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    upstream.answer(Reply(pieces=sse(chunk("hel"), chunk("lo", "stop", future={"a": 1}), chunk(usage=usage))))
    first, again = (ask(client, router, stream=True) for _ in range(2))
    assert len(upstream.seen) == 1
    assert [item.model_dump() for item in again] == [item.model_dump() for item in first]
    assert {type(item) for item in again} == {headrace.ModelResponseStream}
    assert hit(again[0]) is True


def test_a_stream_and_a_whole_answer_are_two_calls(client: Client, upstream: Upstream) -> None:
    router = headrace.Router([entry(upstream)], cache=headrace.Cache())
    ask(client, router)
    upstream.answer(Reply(pieces=sse(chunk("hello", "stop"))))
    assert ask(client, router, stream=True)[0].choices[0].delta.content == "hello"


def test_a_stream_that_broke_off_is_not_kept(client: Client, upstream: Upstream, cache: headrace.Cache) -> None:
    router = headrace.Router([entry(upstream)], cache=cache, num_retries=0)
    upstream.answer(Reply(pieces=sse(chunk("hel"), done=False), cut=True), Reply(pieces=sse(chunk("hello", "stop"))))
    with pytest.raises(headrace.TruncatedStream):
        ask(client, router, stream=True)
    assert ask(client, router, stream=True)[0].choices[0].delta.content == "hello"
    assert len(upstream.seen) == 2


def test_what_changes_the_answer_is_another_call(client: Client, upstream: Upstream) -> None:
    router = headrace.Router([entry(upstream), entry(upstream, "other")], cache=headrace.Cache())
    variants: list[dict[str, Any]] = [
        {}, {"temperature": 0.5}, {"seed": 1}, {"model": "other"}, {"extra_body": {"top_k": 3}}, {"tools": [{"type": "function"}]},
        {"extra_headers": {"anthropic-beta": "x"}}, {"metadata": {"user_api_key_team_id": "a"}},
    ]  # fmt: skip
    for number, variant in enumerate(variants, 1):
        assert hit(ask(client, router, **variant)) is False
        assert len(upstream.seen) == number
    for variant in variants:
        assert hit(ask(client, router, **variant)) is True


def test_what_does_not_change_the_answer_is_the_same_call(client: Client, upstream: Upstream) -> None:
    router = headrace.Router([entry(upstream)], cache=headrace.Cache(), model_group_alias={"alias": "gpt"})
    ask(client, router, temperature=0, seed=1)
    for same in ({"timeout": 3}, {"metadata": {"trace": "x"}}, {"priority": 0}, {"model": "alias"}, {"extra_headers": {"X-Api-Key": "k"}}):
        assert hit(ask(client, router, seed=1, temperature=0, **same)) is True
    assert len(upstream.seen) == 1


def test_embeddings_and_reranks_are_kept_too_and_pictures_are_made_anew(client: Client, upstream: Upstream, cache: headrace.Cache) -> None:
    router = headrace.Router([entry(upstream)], cache=cache)
    upstream.answer(Reply({"object": "list", "data": [{"index": 0, "embedding": [0.5, 0.25]}], "model": "e"}))
    vectors = [client.call("embedding", "gpt", ["a"], on=router) for _ in range(2)]
    assert vectors[1].data[0].embedding == [0.5, 0.25]
    upstream.answer(Reply({"results": [{"index": 0, "relevance_score": 0.9}]}))
    ranked = [client.call("rerank", "gpt", "q", ["a"], on=router) for _ in range(2)]
    assert ranked[1].results[0].relevance_score == 0.9
    assert len(upstream.seen) == 2
    upstream.answer(Reply({"created": 1, "data": [{"url": "http://x"}]}))
    for _ in range(2):
        client.call("image_generation", "a mill", "gpt", on=router)
    assert len(upstream.seen) == 4


def test_a_call_says_what_the_cache_may_do_with_it(client: Client, upstream: Upstream, cache: headrace.Cache) -> None:
    router = headrace.Router([entry(upstream)], cache=cache)
    ask(client, router, cache={"no-store": True})
    assert hit(ask(client, router)) is False, "the first one was not kept"
    assert hit(ask(client, router, cache={"no-cache": True})) is False, "and this one did not look"
    assert "cache_hit" not in ask(client, router, caching=False)._hidden_params
    assert hit(ask(client, router, cache={"namespace": f"mine-{client.name}"})) is False
    assert hit(ask(client, router, cache={"namespace": f"mine-{client.name}"})) is True
    assert hit(ask(client, router, cache={"s-maxage": 0})) is False, "older than that"
    assert hit(ask(client, router, cache={"s-maxage": 60})) is True
    assert "cache" not in upstream.seen[0].body
    assert "caching" not in upstream.seen[-1].body


def test_a_cache_may_be_only_for_who_asks_for_it(client: Client, upstream: Upstream) -> None:
    router = headrace.Router([entry(upstream)], cache=headrace.Cache(mode="default_off"))
    ask(client, router)
    ask(client, router, cache={"use-cache": True})
    assert hit(ask(client, router, caching=True)) is True
    assert len(upstream.seen) == 2


def test_litellms_parameters_make_a_cache(client: Client, upstream: Upstream, valkey: Server) -> None:
    plain = headrace.Router([entry(upstream)], cache_responses=True)
    assert [hit(ask(client, plain)) for _ in range(2)] == [False, True]
    shared = [
        headrace.Router([entry(upstream)], cache_responses=True, redis_url=valkey.url, cache_kwargs={"namespace": client.name})
        for _ in "ab"
    ]
    assert [hit(ask(client, router)) for router in shared] == [False, True], "two processes share one store"


def test_groups_may_share_their_answers(client: Client, upstream: Upstream) -> None:
    groups = [entry(upstream, name) for name in ("gpt", "cheap", "other")]
    router = headrace.Router(groups, cache_responses=True, caching_groups=[("gpt", "cheap")])
    assert [hit(ask(client, router, model=name)) for name in ("gpt", "cheap", "other")] == [False, True, False]


def test_a_store_that_is_away_fails_no_call_and_is_told_once(client: Client, upstream: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    router = headrace.Router([entry(upstream)], cache=headrace.Cache("redis", url="redis://:s3cret@127.0.0.1:1/0"))
    with caplog.at_level(logging.WARNING, "headrace"):
        for _ in range(3):
            assert ask(client, router).choices[0].message.content == "hello"
    assert len(upstream.seen) == 3
    assert [record.message for record in caplog.records] == [
        "<Cache <RedisCacheStore redis://127.0.0.1:1/0>> failed (ConnectionError); calls are made without it for now"
    ]


def test_a_kept_answer_that_is_spoiled_is_asked_for_again(client: Client, upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite").write_bytes(b"not a database, but long enough to be looked at" * 100)
    router = headrace.Router([entry(upstream)], cache=headrace.Cache("disk", disk_cache_dir=tmp_path))
    assert [ask(client, router).choices[0].message.content for _ in range(2)] == ["hello", "hello"]


def test_no_secret_is_kept(client: Client, upstream: Upstream, tmp_path: Path) -> None:
    router = headrace.Router([entry(upstream, api_key="sk-secret-1234")], cache=headrace.Cache("disk", disk_cache_dir=tmp_path))
    ask(client, router, extra_headers={"Authorization": "Bearer sk-other-1234"})
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"hello" in kept
    assert b"sk-secret" not in kept
    assert b"sk-other" not in kept


def test_what_a_caller_does_to_an_answer_is_his_own(client: Client, upstream: Upstream, cache: headrace.Cache) -> None:
    router = headrace.Router([entry(upstream)], cache=cache)
    for _ in range(3):
        answer = ask(client, router)
        assert answer.choices[0].message.content == CHAT["choices"][0]["message"]["content"]  # type: ignore[index]
        answer.choices[0].message.content = "spoiled"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"cache": {"nocache": True}}, "cache has no 'nocache'"),
        ({"cache": True}, "cache must be a mapping"),
        ({"cache": {"ttl": "soon"}}, "ttl.* must be a number of seconds"),
        ({"cache": {"namespace": 3}}, "namespace.* must be a string"),
    ],
)
def test_a_call_that_the_cache_does_not_understand_is_told_so(client: Client, upstream: Upstream, said: Any, told: str) -> None:
    with pytest.raises(headrace.BadRequestError, match=told):
        ask(client, headrace.Router([entry(upstream)], cache=headrace.Cache()), **said)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"type": "s3"}, "type must be one of local, disk, redis"),
        ({"ttl": -1}, "ttl must be a positive number"),
        ({"mode": "off"}, "mode must be"),
        ({"max_entries": 0}, "max_entries must be"),
        ({"supported_call_types": ["image_generation"]}, "supported_call_types: 'image_generation' is not"),
        ({"ttll": 3}, "cache_kwargs: there is no 'ttll'"),
    ],
)
def test_a_cache_that_cannot_be_is_refused_at_the_start(upstream: Upstream, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(headrace.ConfigurationError, match=told):
        headrace.Router([entry(upstream)], cache_responses=True, cache_kwargs=arguments)
    with pytest.raises(headrace.ConfigurationError, match=r"cache must be a headrace\.Cache, got the bool True"):
        headrace.Router([entry(upstream)], cache=True)

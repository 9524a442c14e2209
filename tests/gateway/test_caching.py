"""The gateway's response cache, and how a call controls it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.gateway.persistence import Gateway, kept, priced

from headrace.gateway.persistence import Where

SQLITE = pytest.mark.parametrize("at", ["sqlite"], indirect=True)
pytestmark = SQLITE


@pytest.fixture
def cached(upstream: object, at: Where) -> Iterator[Gateway]:
    router = priced(upstream)
    router.cache_responses = True
    with kept(router, at) as opened:
        yield Gateway(*opened)


def hit(gateway: Gateway, key: str, **more: Any) -> bool:
    """Whether the answer was given before: its id is known."""
    id = gateway.chat(key, **more)["id"]
    known = id in SEEN
    SEEN.add(id)
    return known


SEEN: set[str] = set()


def test_a_call_may_ask_for_a_new_answer(cached: Gateway) -> None:
    """`cache` in a body was refused as the configuration's to say."""
    key = cached.key()
    assert [hit(cached, key), hit(cached, key)] == [False, True]
    assert hit(cached, key, cache={"no-cache": True}) is False
    assert hit(cached, key, caching=False) is False
    assert hit(cached, key, cache={"s-maxage": 0}) is False
    assert hit(cached, key) is True


def test_a_call_may_keep_its_answer_from_others(cached: Gateway) -> None:
    key = cached.key()
    assert [hit(cached, key, seed=5, cache={"no-store": True}), hit(cached, key, seed=5)] == [False, False]
    assert [hit(cached, key, seed=6, cache={"ttl": 0}), hit(cached, key, seed=6)] == [False, False]


def test_a_namespace_is_the_caller_s_own(cached: Gateway) -> None:
    """The name alone does not open what another key keeps under it."""
    one, two, named = cached.key(), cached.key(), {"namespace": "mine"}
    assert [hit(cached, one, seed=7, cache=named), hit(cached, one, seed=7, cache=named)] == [False, True]
    assert hit(cached, two, seed=7, cache=named) is False
    assert hit(cached, one, seed=7) is False


def test_what_is_no_word_of_a_cache_is_named(cached: Gateway) -> None:
    key = cached.key()
    assert "no-cash" in cached.chat(key, 400, cache={"no-cash": True})["error"]["message"]
    assert "ttl" in cached.chat(key, 400, cache={"ttl": "long"})["error"]["message"]
    assert "cache must be a mapping" in cached.chat(key, 400, cache="no")["error"]["message"]


def test_without_a_cache_whoever_wants_none_is_served_and_whoever_wants_one_is_told(upstream: object, at: Where) -> None:
    with kept(priced(upstream), at) as opened:
        gateway = Gateway(*opened)
        key = gateway.key()
        for said in ({"no-cache": True}, {"no-store": True, "ttl": 60}, {}):
            gateway.chat(key, cache=said)
        gateway.chat(key, caching=False)
        assert "the gateway has no cache" in gateway.chat(key, 400, cache={"use-cache": True})["error"]["message"]
        assert gateway.chat(key, 400, caching=True)["error"]["param"] == "caching"

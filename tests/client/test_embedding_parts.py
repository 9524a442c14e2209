"""More texts than a provider accepts in one request: split into several requests with one response."""

from __future__ import annotations

from typing import Any

import pytest
from tests.client.upstream import Client, Reply, Upstream

import headrace


def reply(count: int, first: int) -> Reply:
    """`count` vectors out of order, as providers may send them; each says which text it is of."""
    data = [{"object": "embedding", "index": index, "embedding": [float(first + index)]} for index in range(count)]
    return Reply({"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": count, "total_tokens": count}})


@pytest.fixture
def small(upstream: Upstream) -> str:
    """A provider that takes three texts at a time."""
    headrace.register_provider("three-at-once", base_url=upstream.url, max_inputs=3)
    return "three-at-once/m"


TEXTS = [f"text {number}" for number in range(8)]


def test_a_long_list_is_sent_in_parts_and_joined_in_order(client: Client, upstream: Upstream, small: str) -> None:
    upstream.answer(reply(3, 0), reply(3, 3), reply(2, 6))
    answer = client.call("embedding", small, TEXTS, dimensions=1)
    assert [seen.body["input"] for seen in upstream.seen] == [TEXTS[:3], TEXTS[3:6], TEXTS[6:]]
    assert all(seen.body["dimensions"] == 1 for seen in upstream.seen)
    assert [(vector.index, vector.embedding) for vector in answer.data] == [(number, [float(number)]) for number in range(8)]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 8


@pytest.mark.parametrize("given", ["one text", ["a", "b", "c"], [1, 2, 3, 4, 5]], ids=["text", "list", "tokens"])
def test_what_fits_is_sent_at_once(client: Client, upstream: Upstream, small: str, given: Any) -> None:
    upstream.answer(reply(1, 0))
    client.call("embedding", small, given)
    assert [seen.body["input"] for seen in upstream.seen] == [given]


def test_lists_of_tokens_are_parted_too(client: Client, upstream: Upstream, small: str) -> None:
    upstream.answer(reply(3, 0), reply(1, 3))
    assert len(client.call("embedding", small, [[1], [2], [3], [4]]).data) == 4


def test_a_part_that_fails_fails_the_call(client: Client, upstream: Upstream, small: str) -> None:
    upstream.answer(reply(3, 0), Reply({"error": {"message": "bad input"}}, status=400))
    with pytest.raises(headrace.BadRequestError, match="bad input"):
        client.call("embedding", small, TEXTS)


def test_a_router_counts_every_part_as_a_request(client: Client, upstream: Upstream, small: str) -> None:
    upstream.answer(reply(3, 0), reply(3, 3), reply(2, 6))
    params = {"model": small, "base_url": upstream.url, "api_key": "k", "rpm": 100}
    router = headrace.Router([{"model_name": "vectors", "litellm_params": params}])
    answer = client.call("embedding", "vectors", TEXTS, on=router)
    assert answer._hidden_params["headrace"]["reserved"].requests == 3
    assert router.snapshot()["deployments"][router.get_model_ids()[0]]["limits"]["rpm"]["used"] == 3


def test_a_provider_cannot_take_less_than_one_text() -> None:
    with pytest.raises(headrace.ConfigurationError, match="max_inputs"):
        headrace.register_provider("none-at-all", base_url="http://127.0.0.1:9/v1", max_inputs=-1)

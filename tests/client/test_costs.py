"""What a call has cost, beside its answer."""

from __future__ import annotations

import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream, chunk, sse

import headrace

PRICED = CHAT | {"usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}}
DOLLARS = 1000 * 2.5e-6 + 100 * 1e-5


def test_an_answer_says_what_it_cost(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(PRICED))
    answer = client.chat(model="openai/gpt-4o")
    assert answer._hidden_params["response_cost"] == pytest.approx(DOLLARS)
    assert answer._hidden_params.get("response_cost") == headrace.completion_cost(answer)
    assert headrace.completion_cost(completion_response=answer) == pytest.approx(DOLLARS)


def test_a_tier_is_read_from_the_answer(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(PRICED | {"service_tier": "priority"}))
    assert client.chat(model="openai/gpt-4o")._hidden_params["response_cost"] > DOLLARS


def test_nobody_knows_what_an_unknown_model_costs(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(PRICED))
    answer = client.chat(model="openai/our-own")
    assert answer._hidden_params["response_cost"] is None
    with pytest.raises(headrace.NotFoundError):
        headrace.completion_cost(answer)


def test_a_stream_says_it_when_it_is_over(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=sse(chunk("hi"), chunk(finish="stop"), {**chunk(), "choices": [], "usage": PRICED["usage"]})))
    chunks = client.chat(model="openai/gpt-4o", stream=True, stream_options={"include_usage": True})
    assert chunks[-1]._hidden_params["response_cost"] == pytest.approx(DOLLARS)
    assert headrace.completion_cost(headrace.stream_chunk_builder(chunks)) == pytest.approx(DOLLARS)


def test_a_deployment_has_prices_of_its_own(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(PRICED))
    params = {
        "model": "openai/gpt-4o",
        "api_base": upstream.url,
        "api_key": "sk-t",
        "input_cost_per_token": 1e-3,
        "output_cost_per_token": 0,
    }
    router = headrace.Router(model_list=[{"model_name": "chat", "litellm_params": params}])
    answer = client.chat(on=router, model="chat")
    assert answer._hidden_params["response_cost"] == pytest.approx(1.0)
    assert "input_cost_per_token" not in upstream.seen[-1].body

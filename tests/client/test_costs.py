"""The cost of a call, given with its response."""

from __future__ import annotations

from typing import Any

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


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("prices", "dollars"),
    [({"input_cost_per_token": 1e-3, "output_cost_per_token": 2e-3}, 1.2), ({"base_model": "gpt-4o"}, DOLLARS)],
    ids=["prices", "base_model"],
)
@pytest.mark.parametrize("routed", [False, True])
def test_a_call_brings_prices_of_its_own(
    client: Client, upstream: Upstream, prices: dict[str, Any], dollars: float, routed: bool, stream: bool
) -> None:
    """Symptom: `input_cost_per_token` with a call was taken and ignored, `output_cost_per_second` was sent to the provider."""
    whole = Reply(pieces=sse(chunk("hi"), chunk(finish="stop"), {**chunk(), "choices": [], "usage": PRICED["usage"]}))
    upstream.answer(whole if stream else Reply(PRICED))
    params = {"model": "openai/our-own", "api_base": upstream.url, "api_key": "sk-t"}
    on = {"on": headrace.Router(model_list=[{"model_name": "chat", "litellm_params": params}]), "model": "chat"} if routed else {}
    answer = client.chat(**{"model": "openai/our-own", **on}, **prices, stream=stream)
    assert (answer[-1] if stream else answer)._hidden_params["response_cost"] == pytest.approx(dollars)
    assert not prices.keys() & upstream.seen[-1].body.keys()


def test_a_price_that_is_none_is_refused_by_name(client: Client) -> None:
    with pytest.raises(headrace.ConfigurationError, match=r"the call\.input_cost_per_token must be a price in dollars"):
        client.chat(model="openai/gpt-4o", input_cost_per_token="cheap")


@pytest.mark.parametrize(
    ("name", "arguments", "reply", "dollars"),
    [
        ("rerank", ("cohere/rerank-v3.5", "?", ["a"]), Reply({"results": [], "meta": {"billed_units": {"search_units": 2}}}), 0.004),
        ("image_generation", ("a mill", "stability/sd3"), Reply({"image": "AAAA", "finish_reason": "SUCCESS"}), 0.065),
        ("speech", ("openai/tts-1", "Hello", "alloy"), Reply(b"sound", headers={"content-type": "audio/mpeg"}), 5 * 1.5e-5),
        ("transcription", ("openai/whisper-1", b"RIFF"), Reply({"text": "hi", "duration": 10.0}), 0.001),
        ("transcription", ("openai/whisper-1", b"RIFF"), Reply({"text": "hi"}), None),
    ],
)
def test_what_is_not_counted_in_tokens_has_its_cost_beside_it(
    client: Client, upstream: Upstream, name: str, arguments: tuple[Any, ...], reply: Reply, dollars: float | None
) -> None:
    """It had been told by `completion_cost` alone: the gateway's ledger had no cost for it."""
    upstream.answer(reply)
    said = client.call(name, *arguments)._hidden_params["response_cost"]
    assert said is None if dollars is None else said == pytest.approx(dollars)

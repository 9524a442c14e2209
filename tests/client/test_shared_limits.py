"""Routers that share limits through a real store, as users see them. Two Routers stand for two processes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream
from tests.limits.conftest import Server

import headrace

KNOWN = {"accounting": "settle", "request_burst": 60, "token_burst": 60, "confidence": "documented"}
"""A provider of which 17 calls may go at once when it allows 60 a minute."""
MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def valkey() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.kill()


def router(upstream: Upstream, store: Server, *, key: str, **params: Any) -> headrace.Router:
    """key: of the account; each test has one of its own."""
    entry = {"model_name": "gpt", "litellm_params": {"model": "openai/m", "api_key": f"sk-{key}", "base_url": upstream.url, **params}}
    return headrace.Router([entry], redis_url=store.url, num_retries=0, max_wait=0)


def call(client: Client, on: headrace.Router) -> Any:
    return client.call("completion", "gpt", MESSAGES, on=on, max_tokens=5)


def test_what_one_process_has_used_no_other_can(client: Client, upstream: Upstream, valkey: Server) -> None:
    one, other = (router(upstream, valkey, key=f"used-{client.name}", rpm=60, profile=KNOWN) for _ in range(2))
    with contextlib.suppress(headrace.RateLimitError):
        for number in range(40):
            call(client, (one, other)[number % 2])
    assert 16 <= len(upstream.seen) <= 22
    for refused in (one, other):
        with pytest.raises(headrace.RateLimitError) as caught:
            call(client, refused)
        assert 0 < caught.value.retry_after <= 1.5


def test_a_retry_after_holds_every_process(client: Client, upstream: Upstream, valkey: Server) -> None:
    one, other = (router(upstream, valkey, key=f"gate-{client.name}", rpm=600) for _ in range(2))
    call(client, other)
    upstream.answer(Reply({"error": {"message": "slow down"}}, status=429, headers={"retry-after": "20"}))
    with pytest.raises(headrace.RateLimitError):
        call(client, one)
    seen = len(upstream.seen)
    with pytest.raises(headrace.RateLimitError) as caught:
        call(client, other)
    assert 18 < caught.value.retry_after <= 20
    assert len(upstream.seen) == seen


def test_threads_and_event_loops_draw_on_the_same_limit(upstream: Upstream, valkey: Server) -> None:
    shared = [router(upstream, valkey, key="threads", rpm=60, tpm=10_000, profile=KNOWN) for _ in range(2)]
    outcomes: list[str] = []

    def blocking(on: headrace.Router) -> None:
        for _ in range(10):
            outcomes.append(_outcome(lambda: on.completion("gpt", MESSAGES, max_tokens=5)))

    def suspending(on: headrace.Router) -> None:
        async def all_at_once() -> None:
            found = await asyncio.gather(*[on.acompletion("gpt", MESSAGES, max_tokens=5) for _ in range(10)], return_exceptions=True)
            outcomes.extend([type(one).__name__ for one in found])

        asyncio.run(all_at_once())

    threads = [threading.Thread(target=body, args=(on,)) for on in shared for body in (blocking, suspending)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(outcomes) == 40
    assert set(outcomes) <= {"ModelResponse", "QueueTimeout"}
    assert 16 <= outcomes.count("ModelResponse") == len(upstream.seen) <= 22


def _outcome(body: Any) -> str:
    try:
        return type(body()).__name__
    except headrace.RateLimitError as refused:
        return type(refused).__name__


def test_a_cancelled_call_gives_its_place_back_to_all(upstream: Upstream, valkey: Server) -> None:
    one, other = (router(upstream, valkey, key="cancelled", max_parallel_requests=1) for _ in range(2))

    async def scene() -> Any:
        upstream.answer(Reply({}, delay=30.0), Reply(CHAT))
        task = asyncio.create_task(one.acompletion("gpt", MESSAGES))
        while not upstream.seen:  # noqa: ASYNC110 - another thread fills it
            await asyncio.sleep(0.01)
        with pytest.raises(headrace.RateLimitError):
            await other.acompletion("gpt", MESSAGES)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await other.acompletion("gpt", MESSAGES, max_wait=5)

    assert asyncio.run(scene()).choices[0].message.content == "hello"


def test_a_store_that_does_not_answer_is_refused_by_name(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """As LiteLLM spells it, its password in the environment."""
    monkeypatch.setenv("STORE_PASSWORD", "geheimnis")
    entry = {"model_name": "gpt", "litellm_params": {"model": "openai/m", "api_key": "sk-x", "base_url": upstream.url}}
    with pytest.raises(headrace.ConfigurationError, match=r"the store at 127.0.0.1:9 does not answer") as caught:
        headrace.Router([entry], redis_host="127.0.0.1", redis_port=9, redis_password="os.environ/STORE_PASSWORD")
    assert "geheimnis" not in str(caught.value)
    with pytest.raises(headrace.ConfigurationError, match="needs redis_url or redis_host"):
        headrace.Router([entry], redis_password="geheimnis")
    with pytest.raises(headrace.ConfigurationError, match="NOT_THERE, which is not set"):
        headrace.Router([entry], redis_url="os.environ/NOT_THERE")


@pytest.mark.parametrize(
    ("budgets", "options"),
    [
        ({"provider_budget_config": {"openai": {"budget_limit": 0.05, "time_period": "1d"}}}, {}),
        ({"tag_budget_config": {"TAG": {"budget_limit": 0.05, "time_period": "1d"}}}, {"tags": ["TAG"]}),
    ],
    ids=["of a provider", "of a tag"],
)
def test_processes_spend_a_budget_together(
    client: Client, upstream: Upstream, valkey: Server, budgets: dict[str, Any], options: dict[str, Any]
) -> None:
    """Five calls of a cent each: the budget of a provider had been each process's own."""
    upstream.answer(Reply({**CHAT, "usage": {"prompt_tokens": 0, "completion_tokens": 10, "total_tokens": 10}}))
    prices = {"input_cost_per_token": 0, "output_cost_per_token": 0.001}
    entry = {"model": "openai/m", "api_key": f"sk-money-{client.name}", "base_url": upstream.url, **prices}
    named = f"{client.name} money"  # of this test alone, whatever others spend in the same store
    budgets = {name: {key.replace("TAG", named): value for key, value in config.items()} for name, config in budgets.items()}
    options = {name: [named] for name in options}
    entry |= {"custom_llm_provider": "openai"}
    pair = [
        headrace.Router([{"model_name": "gpt", "litellm_params": entry}], redis_url=f"{valkey.url}/{_database(client, options)}", **budgets)
        for _ in range(2)
    ]
    asked: dict[str, Any] = {"max_tokens": 10, "num_retries": 0, "max_wait": 0, **options}
    for number in range(5):
        client.call("completion", "gpt", MESSAGES, on=pair[number % 2], **asked)
    for broke in pair:
        with pytest.raises(headrace.BudgetExceededError, match="is spent"):
            client.call("completion", "gpt", MESSAGES, on=broke, **asked)
    assert len(upstream.seen) == 5


def _database(client: Client, options: dict[str, Any]) -> int:
    """Of the store, for one test: a provider's budget is the same for all who share it."""
    return 1 + 2 * (client.name == "sync") + bool(options)

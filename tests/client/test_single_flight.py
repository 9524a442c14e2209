"""Concurrent identical requests share one call, over real sockets: in tasks of one event loop, and in threads."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream, chunk, sse, wait_until

import headrace

MESSAGES = [{"role": "user", "content": "hi"}]
TOGETHER = 8


def made(upstream: Upstream, **options: Any) -> headrace.Router:
    entry = {"model_name": "gpt", "litellm_params": {"model": "openai/m", "api_key": "sk-test", "base_url": upstream.url}}
    return headrace.Router([entry], **{"single_flight": True, "num_retries": 0, **options})


def together(client: Client, router: headrace.Router, **options: Any) -> list[Any]:
    """Answers, or errors, of callers who ask at once; the provider answers when all are there."""
    inside = threading.Barrier(TOGETHER + 1)
    if client.name == "async":
        return asyncio.run(_gathered(client.upstream, router, options))
    with ThreadPoolExecutor(TOGETHER) as pool:
        calls = [pool.submit(_blocking, router, inside, options) for _ in range(TOGETHER)]
        inside.wait(10)
        wait_until(lambda: _waiting(router) == TOGETHER, 5)
        client.upstream.hold.set()
        return [call.exception(20) or call.result() for call in calls]


def _waiting(router: headrace.Router) -> int:
    return sum(len(flight.waiting) for flight in list(router._engine.layers[0]._flights.values()))  # type: ignore[attr-defined]


def _blocking(router: headrace.Router, inside: threading.Barrier, options: dict[str, Any]) -> Any:
    inside.wait(10)
    return router.completion("gpt", MESSAGES, **options)


async def _gathered(upstream: Upstream, router: headrace.Router, options: dict[str, Any]) -> list[Any]:
    calls = [asyncio.create_task(router.acompletion("gpt", MESSAGES, **options)) for _ in range(TOGETHER)]
    await asyncio.sleep(0.05)
    upstream.hold.set()
    return await asyncio.gather(*calls, return_exceptions=True)


def test_one_call_goes_to_the_provider(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(CHAT, delay=10))
    answers = together(client, made(upstream))
    assert [answer.choices[0].message.content for answer in answers] == ["hello"] * TOGETHER
    assert len(upstream.seen) == 1
    assert sum(bool(answer._hidden_params.get("single_flight")) for answer in answers) == TOGETHER - 1


def test_its_error_is_everybody_s(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"error": {"message": "no"}}, status=400, delay=10))
    errors = together(client, made(upstream))
    assert {type(error) for error in errors} == {headrace.BadRequestError}
    assert len(upstream.seen) == 1


def test_unless_asked_for_every_caller_has_a_call_of_his_own(client: Client, upstream: Upstream) -> None:
    router = made(upstream, single_flight=None)
    assert [client.call("completion", "gpt", MESSAGES, on=router).choices[0].message.content for _ in range(2)] == ["hello"] * 2
    assert len(upstream.seen) == 2


def test_streams_are_not_shared(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=sse(chunk("hello", "stop"))))
    router = made(upstream)
    for _ in range(2):
        assert client.call("completion", "gpt", MESSAGES, on=router, stream=True)[0].choices[0].delta.content == "hello"
    assert len(upstream.seen) == 2


def test_behind_a_cache_what_was_shared_is_kept(client: Client, upstream: Upstream) -> None:
    router = made(upstream, cache=headrace.Cache())
    client.call("completion", "gpt", MESSAGES, on=router)
    assert client.call("completion", "gpt", MESSAGES, on=router)._hidden_params["cache_hit"] is True


def test_the_first_who_leaves_takes_nobody_along(upstream: Upstream) -> None:
    upstream.answer(Reply(CHAT, delay=10))
    router = made(upstream)

    async def scene() -> Any:
        first, second = (asyncio.create_task(router.acompletion("gpt", MESSAGES)) for _ in range(2))
        await asyncio.sleep(0.05)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        upstream.hold.set()
        return await second

    assert asyncio.run(scene()).choices[0].message.content == "hello"
    assert len(upstream.seen) == 1


def test_when_all_have_left_the_connection_and_the_reservation_are_free(upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=[b" " for _ in range(500)], pause=0.01))
    entry = {
        "model_name": "gpt",
        "litellm_params": {"model": "openai/m", "api_key": "k", "base_url": upstream.url, "max_parallel_requests": 1},
    }
    router = headrace.Router([entry], single_flight=True)

    async def scene() -> None:
        calls = [asyncio.create_task(router.acompletion("gpt", MESSAGES)) for _ in range(3)]
        assert await asyncio.to_thread(wait_until, lambda: bool(upstream.seen))
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.sleep(0.05)
        assert router.peek("gpt").wait == 0
        assert await asyncio.to_thread(upstream.left.wait, 5)

    asyncio.run(scene())

"""Health checks over real sockets: on demand, and in the background until the Router is closed; sync and async."""

from __future__ import annotations

import threading
from typing import Any

from tests.client.upstream import CHAT, Client, Reply, Upstream, wait_until

import headrace

MESSAGES = [{"role": "user", "content": "hi"}]


def router(upstream: Upstream, **options: Any) -> headrace.Router:
    entry = {"model": "openai/m", "api_key": "sk-test", "base_url": upstream.url}
    return headrace.Router([{"model_name": "gpt", "litellm_params": entry, "model_info": {"id": name}} for name in "ab"], **options)


def test_asked_at_once(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(CHAT), Reply({"error": {"message": "boom"}}, status=500))
    found = client.call("health_check", on=router(upstream))
    assert (found["healthy_count"], found["unhealthy_count"]) == (1, 1)
    assert [seen.body["messages"][0]["content"] for seen in upstream.seen] == ["ping", "ping"]


def test_beside_the_calls_until_the_router_is_closed(upstream: Upstream) -> None:
    """In threads: there is no event loop that would end them."""
    with router(upstream, health_check_interval=0.05) as made:
        made.completion("gpt", MESSAGES)
        assert wait_until(lambda: len(upstream.seen) > 6)
    assert wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "headrace-errand"])
    assert made.completion("gpt", MESSAGES).choices[0].message.content == "hello", "calls go on"


def test_beside_awaited_calls_until_their_loop_ends(upstream: Upstream) -> None:
    import asyncio

    made = router(upstream, health_check_interval=0.02)

    async def main() -> None:
        await made.acompletion("gpt", MESSAGES)
        for _ in range(500):
            if len(upstream.seen) > 6:
                return
            await asyncio.sleep(0.01)

    asyncio.run(main())
    first = len(upstream.seen)
    assert first > 6
    asyncio.run(main())  # another loop: the checks begin anew
    assert wait_until(lambda: len(upstream.seen) > first)
    made.close()

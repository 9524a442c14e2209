"""One Router shared by threads and several event loops, over real sockets, with calls cancelled at any time."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from random import Random
from typing import Any

import pytest
from tests.client.upstream import CHAT, Reply, Upstream, chunk, sse

import headrace

MESSAGES = [{"role": "user", "content": "hi"}]
WORKERS, CALLS = 3, 25
"""Of each colour; calls of each worker."""
AT_ONCE, OF_TEAM = 5, 3


class Mixed(Upstream):
    """Streams to those who ask for a stream, fails one in twenty, and counts who is there at once."""

    def next_reply(self) -> Reply:
        number = len(self.seen)
        if number % 20 == 19:
            return Reply({"error": {"message": "broken", "type": "server_error"}}, status=500)
        if self.seen[-1].body.get("stream"):
            return Reply(pieces=sse(chunk("hel"), chunk("lo", "stop"), chunk(usage=CHAT["usage"])), pause=0.002)
        return Reply(CHAT, delay=0.004)


@pytest.fixture
def router(upstream: Upstream) -> headrace.Router:
    upstream.__class__ = Mixed
    entries = [
        {
            "model_name": "g",
            "litellm_params": {
                "model": "openai/m",
                "api_key": f"k{number}",
                "base_url": upstream.url,
                "rpm": 100_000,
                "max_parallel_requests": AT_ONCE,
            },
            "model_info": {"id": f"d{number}"},
        }
        for number in range(2)
    ]
    made = headrace.Router(entries, num_retries=2)
    made.add_scope("team", max_parallel_requests=OF_TEAM, rpm=100_000)
    return made


def options(draw: Random) -> dict[str, Any]:
    """Some with a scope, some who hardly wait, of any class."""
    given: dict[str, Any] = {"tenant": draw.choice("xyz"), "priority": draw.randrange(3)}
    if draw.random() < 0.4:
        given["scopes"] = ["team"]
    if draw.random() < 0.15:
        given["max_wait"] = 0.001
    return given


def blocking(router: headrace.Router, seed: int, outcomes: Counter[str]) -> None:
    draw = Random(seed)
    for _ in range(CALLS):
        try:
            if draw.random() < 0.4:
                chunks = router.completion("g", MESSAGES, stream=True, **options(draw))
                with contextlib.closing(chunks):
                    for _ in chunks:
                        if draw.random() < 0.3:
                            break
            else:
                router.completion("g", MESSAGES, **options(draw))
            outcomes["served"] += 1
        except headrace.HeadraceError as error:
            outcomes[type(error).__name__] += 1


async def one(router: headrace.Router, draw: Random) -> None:
    if draw.random() < 0.4:
        chunks = await router.acompletion("g", MESSAGES, stream=True, **options(draw))
        async for _ in chunks:
            if draw.random() < 0.2:
                return  # dropped, not closed
    else:
        await router.acompletion("g", MESSAGES, **options(draw))


async def suspending(router: headrace.Router, seed: int, outcomes: Counter[str]) -> None:
    draw = Random(seed)
    tasks = [asyncio.create_task(one(router, Random(seed * 1000 + number))) for number in range(CALLS)]
    for task in draw.sample(tasks, CALLS // 3):
        await asyncio.sleep(draw.random() / 200)
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        outcomes["served" if ended is None else type(ended).__name__] += 1


@pytest.mark.parametrize("seed", range(3))
def test_a_crowd_of_every_colour_leaves_nothing_behind(router: headrace.Router, upstream: Upstream, seed: int) -> None:
    outcomes: list[Counter[str]] = [Counter() for _ in range(2 * WORKERS)]
    seen: list[dict[str, Any]] = []
    end = headrace.subscribe(lambda event: seen.append({"call": event.call, "attempt": event.attempt, "kind": event.kind}))
    threads = [
        threading.Thread(target=blocking, args=(router, seed * 100 + number, outcomes[number]), daemon=True) for number in range(WORKERS)
    ]
    threads += [
        threading.Thread(target=lambda number=number: asyncio.run(suspending(router, seed * 100 + number, outcomes[number])), daemon=True)
        for number in range(WORKERS, 2 * WORKERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    end()
    assert not any(thread.is_alive() for thread in threads), "somebody waits for ever"
    total = sum(outcomes, Counter())
    assert sum(total.values()) == 2 * WORKERS * CALLS
    assert set(total) <= {"served", "QueueTimeout", "CancelledError", "InternalServerError"}
    assert total["served"] > WORKERS * CALLS
    assert total["CancelledError"] > 0
    shown = router.snapshot()
    assert shown["queues"] == {"g": 0}
    assert {name: one["in_flight"] for name, one in shown["deployments"].items()} == {"d0": 0, "d1": 0}
    assert shown["scopes"]["team"]["in_flight"] == 0
    assert attempts(seen, "sent") == attempts(seen, "settled")
    assert attempts(seen, "queued") <= attempts(seen, "sent") + attempts(seen, "refused")
    for _ in range(2 * AT_ONCE):  # and every place can be taken again
        assert router.completion("g", MESSAGES, max_wait=0).choices[0].message.content == "hello"


def attempts(seen: list[dict[str, Any]], kind: str) -> Counter[tuple[int, int]]:
    """Each told of once."""
    return Counter((event["call"], event["attempt"]) for event in seen if event["kind"] == kind)

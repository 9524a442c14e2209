"""One router in a process of its own: `worker.py ROUTER DEPLOYMENTS CALLS` prints the CPU µs per decision, the best of five rounds."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

MESSAGES = [{"role": "user", "content": "Name a mill that still runs. " * 4}]
ROUNDS = 5

Decide = Callable[[], Awaitable[Any]]


def entries(count: int, **more: Any) -> list[dict[str, Any]]:
    """Deployments of one group, with limits that are never reached here."""
    return [
        {
            "model_name": "gpt",
            "litellm_params": {
                "model": "openai/gpt-4o-mini", "api_key": f"sk-{number}", "api_base": f"http://127.0.0.1:9/{number}",
                "rpm": 10_000_000, "tpm": 10_000_000_000, **more,
            },
            "model_info": {"id": f"d{number}"},
        }
        for number in range(count)
    ]  # fmt: skip


def headrace(count: int, resting: int = 0) -> Decide:
    """Choose, reserve under every limit, and release. `resting`: number of deployments in cooldown."""
    from headrace import Router
    from headrace.calls import CHAT, prepare
    from headrace.routing.trail import Trail

    router = Router(entries(count))
    engine = router._engine
    for id in router.get_model_ids()[:resting]:
        member = engine.fleet.members[id]
        member.health.until = float("inf")
        engine.fleet.rests(member, float("inf"))
        engine.limiter.pause(id, float("inf"), 0.0)

    async def decide() -> None:
        ports = engine.worlds.suspending()
        call = prepare(CHAT, "gpt", MESSAGES, False, {"max_tokens": 100})
        lease = await engine.attempts.reserve(ports, call, "gpt", set(), Trail(["gpt"], (), float("inf"), 1))
        engine.attempts.settle(ports, lease, None, None)

    return decide


def litellm(count: int, **options: Any) -> Decide:
    """Choose only; nothing is reserved."""
    from litellm import Router  # type: ignore[attr-defined]

    router = Router(model_list=entries(count), **options)

    async def decide() -> None:
        await router.async_get_available_deployment(model="gpt", messages=MESSAGES, request_kwargs={})

    return decide


ROUTERS: dict[str, Callable[[int], Decide]] = {
    "headrace": headrace,
    "headrace, one rests": lambda count: headrace(count, resting=1),
    "litellm simple-shuffle": litellm,
    "litellm usage-based-routing-v2": lambda count: litellm(count, routing_strategy="usage-based-routing-v2"),
}


async def measured(decide: Decide, calls: int) -> float:
    """CPU µs per decision, the best of several rounds."""
    await decide()
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(calls):
            await decide()
        best = min(best, (time.process_time() - began) / calls * 1e6)
    return best


if __name__ == "__main__":
    name, count, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    print(asyncio.run(measured(ROUTERS[name](count), calls)))

"""One process of `shared.py`: a Router with shared limits. Runs all its jobs at once from SIGUSR1 until they are done or SIGTERM.

python shared_worker.py PLAN.json
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from functools import partial
from typing import Any

from headrace import Router


class Counted:
    """A store whose questions are counted and timed."""

    def __init__(self, store: Any) -> None:
        self.store, self.granted, self.times = store, 0, []

    def post_all(self, questions: Any) -> None:
        began = time.perf_counter()

        def timed(then: Any, reply: Any, now: float) -> None:
            self.times.append(time.perf_counter() - began)
            self.granted += reply is not None and reply[0] == "1"
            then(reply, now)

        self.store.post_all([(message, partial(timed, then)) for message, then in questions])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


def deployments(plan: dict[str, Any]) -> list[dict[str, Any]]:
    parallel = {} if plan["max_parallel"] is None else {"max_parallel_requests": plan["max_parallel"]}
    return [
        {
            "model_name": "jobs",
            "litellm_params": {
                "model": "openai/gpt-sim", "api_key": "sk-simulated", "api_base": place["base_url"], "profile": plan["profile"],
                "rpm": place["rpm"], "tpm": place["tpm"], **parallel,
            },
        }
        for place in plan["places"]
    ]  # fmt: skip


async def work(router: Any, count: int, done: dict[str, int]) -> None:
    async def one(number: int) -> None:
        try:
            await router.acompletion("jobs", [{"role": "user", "content": f"Job {number}: how does a mill wheel turn?"}], max_tokens=60)
        except Exception as error:
            done["failed"] += 1
            print(type(error).__name__, str(error)[:200], file=sys.stderr)
        else:
            done["completed"] += 1

    await asyncio.gather(*(one(number) for number in range(count)))


async def main(plan: dict[str, Any]) -> None:
    router = Router(deployments(plan), redis_url=plan["store"], max_wait=3600.0)
    counted = router._engine.limiter._store = Counted(router._engine.limiter._store)
    done = {"completed": 0, "failed": 0}
    loop, start, stop = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, start.set)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    print("ready", flush=True)
    await start.wait()
    jobs = asyncio.create_task(work(router, plan["jobs"], done))
    await asyncio.wait([jobs, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
    said = {**done, "asked": len(counted.times), "granted": counted.granted, "calls": counted.calls, "times": counted.times}
    jobs.cancel()
    await asyncio.gather(jobs, return_exceptions=True)
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        asyncio.run(main(json.load(file)))

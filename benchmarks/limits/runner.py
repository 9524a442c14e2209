"""One client of the headline benchmark, in its own interpreter: sends every job at once and reports the outcomes.

    python runner.py CLIENT PLAN.json

The plan: {"places": [{"name", "rpm", "tpm", "base_url"}], "jobs": [{"prompt", "max_tokens", "tokens"}]}. Imports only
what the client's own interpreter has.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

Call = Callable[[dict[str, Any]], Awaitable[Any]]
KEY = "sk-simulated"


def message(job: dict[str, Any]) -> list[dict[str, str]]:
    return [{"role": "user", "content": job["prompt"]}]


def deployments(places: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same model list for every Router."""
    return [
        {
            "model_name": "jobs",
            "litellm_params": {"model": "openai/gpt-sim", "api_key": KEY, "api_base": place["base_url"]},
            "rpm": place["rpm"],
            "tpm": place["tpm"],
            "model_info": {"id": place["name"]},
        }
        for place in places
    ]


def routed(router: Any) -> Call:
    async def call(job: dict[str, Any]) -> Any:
        return await router.acompletion(model="jobs", messages=message(job), max_tokens=job["max_tokens"])

    return call


def headrace(plan: dict[str, Any]) -> Call:
    """`profile` is what a user of a known provider gets from its row."""
    from headrace import Router

    entries = deployments(plan["places"])
    for entry in entries:
        entry["litellm_params"]["profile"] = plan["profile"]
    return routed(Router(model_list=entries, max_wait=3600.0))


def litellm(plan: dict[str, Any], **options: Any) -> Call:
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return routed(litellm.Router(model_list=deployments(plan["places"]), **options))


class Cookbook:
    """The algorithm of the OpenAI cookbook (2023).

    Capacities for requests and tokens refill over a minute; a job is sent when both suffice; a 429 requeues the job
    (five attempts) and pauses everything for 15 s. Each deployment has one instance and its share of the jobs.
    """

    PAUSE, ATTEMPTS = 15.0, 5

    def __init__(self, client: Any, place: dict[str, Any]) -> None:
        self.client, self.rpm, self.tpm = client, place["rpm"], place["tpm"]
        self.requests, self.tokens = float(self.rpm), float(self.tpm)
        self.refilled, self.held_until = time.monotonic(), 0.0
        self.waiting: deque[tuple[dict[str, Any], int, asyncio.Future[Any]]] = deque()
        self.pump: asyncio.Task[None] | None = None

    def submit(self, job: dict[str, Any]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.append((job, self.ATTEMPTS, future))
        self.pump = self.pump or asyncio.create_task(self._pump())
        return future

    async def _pump(self) -> None:
        running: set[asyncio.Task[None]] = set()
        while True:
            now = time.monotonic()
            self.requests = min(self.rpm, self.requests + self.rpm * (now - self.refilled) / 60)
            self.tokens = min(self.tpm, self.tokens + self.tpm * (now - self.refilled) / 60)
            self.refilled = now
            while self.waiting and now >= self.held_until and self.requests >= 1 and self.tokens >= self.waiting[0][0]["tokens"]:
                job, left, future = self.waiting.popleft()
                self.requests -= 1
                self.tokens -= job["tokens"]
                task = asyncio.create_task(self._send(job, left, future))
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.sleep(0.001)

    async def _send(self, job: dict[str, Any], left: int, future: asyncio.Future[Any]) -> None:
        import openai

        try:
            future.set_result(
                await self.client.chat.completions.create(model="gpt-sim", messages=message(job), max_tokens=job["max_tokens"])
            )
        except openai.APIError as error:
            if isinstance(error, openai.RateLimitError):
                self.held_until = time.monotonic() + self.PAUSE
            if left > 1:
                self.waiting.append((job, left - 1, future))
            else:
                future.set_exception(error)


def cookbook(plan: dict[str, Any]) -> Call:
    import openai

    places, rng = plan["places"], random.Random(1)
    scripts = [Cookbook(openai.AsyncOpenAI(api_key=KEY, base_url=place["base_url"], max_retries=0), place) for place in places]
    mean = sum(job["tokens"] for job in plan["jobs"]) / len(plan["jobs"])
    weights = [min(place["rpm"], place["tpm"] / mean) for place in places]

    async def call(job: dict[str, Any]) -> Any:
        return await rng.choices(scripts, weights)[0].submit(job)

    return call


CLIENTS: dict[str, Callable[[dict[str, Any]], Call]] = {
    "headrace": headrace,
    "litellm": litellm,
    "litellm usage-v2": lambda plan: litellm(plan, routing_strategy="usage-based-routing-v2"),
    "cookbook": cookbook,
}


async def run(call: Call, jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    done: list[float] = []
    failed: Counter[str] = Counter()

    async def one(job: dict[str, Any]) -> None:
        try:
            await call(job)
        except Exception as error:
            failed[type(error).__name__] += 1
        else:
            done.append(time.monotonic())

    lateness = Lateness()
    watch = asyncio.create_task(lateness.watch())
    began = time.monotonic()
    await asyncio.gather(*(one(job) for job in jobs))
    watch.cancel()
    seconds = max(done, default=began) - began
    return {"completed": len(done), "seconds": seconds, "failed": dict(failed), "lag": lateness.most, "stolen": lateness.stolen}


class Lateness:
    """Measures how late the event loop runs timers."""

    STEP = 0.02

    def __init__(self) -> None:
        self.most = 0.0
        self.stolen = 0.0
        """The maximum lateness during which this process was not scheduled."""

    async def watch(self) -> None:
        while True:
            due, worked = time.monotonic() + self.STEP, time.process_time()
            await asyncio.sleep(self.STEP)
            late = time.monotonic() - due
            self.most = max(self.most, late)
            self.stolen = max(self.stolen, late - (time.process_time() - worked))


def main() -> None:
    name, path = sys.argv[1:]
    with open(path) as file:
        plan = json.load(file)
    print(json.dumps(asyncio.run(run(CLIENTS[name](plan), plan["jobs"]))), flush=True)


if __name__ == "__main__":
    main()

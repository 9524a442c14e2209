"""An error must not outlive its call: in a reference cycle it would keep every frame of its traceback, and the streams in them, alive
until the garbage collector runs.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from benchmarks.chaos.storm import QUESTION, running

from headrace import Router
from headrace.errors import HeadraceError
from headrace.simulator.config import FaultConfig, ProviderConfig, SimulatorConfig
from headrace.wire import TransportError

CALLS = 6
WHOLE = ("status", "html", "oversized", "reset", "hang")
STREAMED = ("cut", "reset", "error_event", "unfinished")


@pytest.fixture(params=[*((kind, False) for kind in WHOLE), *((kind, True) for kind in STREAMED)], ids=str)
def broken(request: pytest.FixtureRequest) -> Iterator[tuple[str, bool]]:
    """URL of a provider `a` that always fails and `b` that never does, and whether to stream from them."""
    kind, stream = request.param
    quick: dict[str, Any] = {"ttft": 0.001, "gap": 0.0005, "output_tokens": 10.0}
    faults = (FaultConfig(kind=kind, probability=1.0),)
    providers = (ProviderConfig(name="a", faults=faults, **quick), ProviderConfig(name="b", **quick))
    with running(SimulatorConfig(port=0, seed=3, providers=providers)) as base:
        yield str(base), stream


def router(base: str, names: str, **options: Any) -> Router:
    def deployment(name: str) -> dict[str, Any]:
        params = {"model": "openai/gpt-sim", "api_key": "sk-x", "base_url": f"{base}/{name}/v1", "order": 1 + (name != "a")}
        return {"model_name": "gpt", "litellm_params": params, "model_info": {"id": name, "supports_assistant_prefill": True}}

    return Router([deployment(name) for name in names], cooldown_time=0.0, retry_budget=None, timeout=0.3, **options)


def kept() -> Counter[str]:
    """Number of headrace's errors that are still alive, by class. Threads of other tests may still hold some."""
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, HeadraceError | TransportError))


async def awaited(asked: Router, stream: bool) -> None:
    for _ in range(CALLS):
        try:
            answer = await asked.acompletion("gpt", QUESTION, max_tokens=10, stream=stream)
            if stream:
                async for _ in answer:
                    pass
        except HeadraceError:
            pass


def blocking(asked: Router, stream: bool) -> None:
    for _ in range(CALLS):
        try:
            answer = asked.completion("gpt", QUESTION, max_tokens=10, stream=stream)
            if stream:
                list(answer)
        except HeadraceError:
            pass


@pytest.mark.parametrize("threads", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize(
    ("names", "options"),
    [("ab", {"num_retries": 2}), ("a", {"num_retries": 0}), ("ab", {"num_retries": 2, "hedge": 0.5})],
    ids=["tried again", "given up", "hedged"],
)
def test_no_error_outlives_its_call(broken: tuple[str, bool], names: str, options: dict[str, Any], threads: bool) -> None:
    base, stream = broken
    failed: list[str] = []
    asked = router(base, names, on_event=lambda event: failed.append(str(event.error)) if event.error else None, **options)
    gc.collect()
    gc.disable()
    try:
        before = kept()
        blocking(asked, stream) if threads else asyncio.run(awaited(asked, stream))
        assert kept() - before == Counter()
    finally:
        gc.enable()
    assert failed

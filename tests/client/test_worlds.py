"""Where headrace is called from: threads, forks, running event loops, and programs that simply exit."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.client.upstream import Reply, Upstream, chunk, sse

import headrace

MESSAGES = [{"role": "user", "content": "hi"}]


def ask(url: str) -> str | None:
    answer = headrace.completion("openai/m", MESSAGES, base_url=url, api_key="sk-test")
    return answer.choices[0].message.content


def test_a_blocking_call_works_inside_a_running_event_loop(upstream: Upstream) -> None:
    """As in a Jupyter cell."""

    async def cell() -> str | None:
        return ask(upstream.url)

    assert asyncio.run(cell()) == "hello"


def test_a_blocking_stream_works_inside_a_running_event_loop(upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=sse(chunk("hel"), chunk("lo", "stop"))))

    async def cell() -> str:
        stream = headrace.completion("openai/m", MESSAGES, stream=True, base_url=upstream.url, api_key="sk-test")
        return "".join(item.choices[0].delta.content or "" for item in stream)

    assert asyncio.run(cell()) == "hello"


def test_many_threads_call_at_once(upstream: Upstream) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, [upstream.url] * 200)) == ["hello"] * 200


def test_one_router_serves_threads_and_event_loops_together(upstream: Upstream) -> None:
    """All of them under one limit on calls in flight."""
    limits = {"max_parallel_requests": 4, "rpm": 100_000}
    entry = {"model_name": "g", "litellm_params": {"model": "openai/m", "api_key": "k", "base_url": upstream.url, **limits}}
    router = headrace.Router([entry])

    async def loop() -> None:
        answers = await asyncio.gather(*[router.acompletion("g", MESSAGES) for _ in range(40)])
        done.extend(answers)

    def thread() -> None:
        done.extend(router.completion("g", MESSAGES) for _ in range(20))

    done: list[Any] = []
    workers = [threading.Thread(target=thread) for _ in range(4)] + [threading.Thread(target=asyncio.run, args=(loop(),)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert len(done) == 160
    assert router.snapshot()["queues"] == {"g": 0}
    assert [row["in_flight"] for row in router.snapshot()["deployments"].values()] == [0]


def _child(url: str, queue: Any) -> None:
    queue.put(ask(url))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork exists on POSIX only")
def test_a_forked_child_calls_as_its_parent_does(upstream: Upstream) -> None:
    assert ask(upstream.url) == "hello"
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(upstream.url, queue))
    child.start()
    assert queue.get(timeout=10) == "hello"
    child.join(10)
    assert ask(upstream.url) == "hello"


ENDINGS = {
    "sync": "headrace.completion('openai/m', M, **O)",
    "async": "asyncio.run(headrace.acompletion('openai/m', M, **O))",
    "stream left open": "s = headrace.completion('openai/m', M, stream=True, **O); next(s)",
    "async stream left open": "asyncio.run(begin())",
    "several loops": "[asyncio.run(headrace.acompletion('openai/m', M, **O)) for _ in range(3)]",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_program_ends_without_a_word(upstream: Upstream, ending: str) -> None:
    """In development mode, with every warning an error."""
    upstream.answer(Reply(pieces=sse(chunk("hel"), chunk("lo", "stop"))) if "stream" in ending else upstream.replies[0])
    code = f"""
import asyncio, headrace, logging
logging.disable(logging.WARNING)  # asyncio's development mode also remarks on a slow machine
M, O = [{{"role": "user", "content": "hi"}}], dict(base_url={upstream.url!r}, api_key="sk-test")
async def begin():
    global s
    s = await headrace.acompletion("openai/m", M, stream=True, **O)
    await anext(s)
{ENDINGS[ending]}
"""
    strict = [sys.executable, "-W", "error", "-X", "dev"]
    done = subprocess.run([*strict, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

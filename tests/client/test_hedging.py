"""Hedging over real sockets: the hedge's response is used, and the first connection is closed at once; sync and async."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream, chunk, sse, wait_until

import headrace
from headrace.routing.hedging import ENOUGH
from headrace.runtime.http_settings import HttpSettings
from headrace.runtime.http_sync import sync_transport
from headrace.runtime.worlds import RealWorlds

MESSAGES = [{"role": "user", "content": "hi"}]
OWN = HttpSettings(idle_expiry=29.5)
"""Settings that no other test has, and so connections of its own."""
STREAM = sse(chunk("hel"), chunk("lo", "stop"))


def router(upstream: Upstream, **options: Any) -> headrace.Router:
    entries = [
        {
            "model_name": "gpt",
            "litellm_params": {"model": "openai/m", "api_key": "sk-test", "base_url": upstream.url},
            "model_info": {"id": name},
        }
        for name in "ab"
    ]
    return headrace.Router(entries, worlds=RealWorlds(OWN), num_retries=0, **options)


def learned(client: Client, upstream: Upstream, stream: bool) -> headrace.Router:
    """A Router that knows what is usual."""
    upstream.answer(Reply(pieces=STREAM) if stream else Reply(CHAT))
    made = router(upstream, hedge=1.0)
    for _ in range(ENOUGH):
        client.call("completion", "gpt", MESSAGES, on=made, stream=stream)
    return made


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_second_attempt_answers_where_the_first_is_silent(client: Client, upstream: Upstream, stream: bool) -> None:
    made = learned(client, upstream, stream)
    before = threading.active_count()
    good = Reply(pieces=STREAM) if stream else Reply(CHAT)
    upstream.answer(Reply(CHAT, delay=30), good)
    answer = client.call("completion", "gpt", MESSAGES, on=made, stream=stream)
    hidden = answer[0]._hidden_params if stream else answer._hidden_params
    said = "".join(item.choices[0].delta.content or "" for item in answer) if stream else answer.choices[0].message.content
    assert said == "hello"
    assert hidden["headrace"]["hedge"] is True
    assert wait_until(lambda: not any(row["in_flight"] for row in made.snapshot()["deployments"].values())), "the loser is settled"
    assert wait_until(lambda: threading.active_count() <= before + 4)  # of both servers' ends, and none that stays for long
    assert wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "headrace-errand"])
    if client.name == "sync":
        transport = sync_transport(OWN)
        assert wait_until(lambda: len(transport._open) == sum(map(len, transport._idle.values()))), "and its connection closed"


def test_a_stream_that_lost_after_its_head_is_closed(client: Client, upstream: Upstream) -> None:
    """The first one's head is there, its first token is not."""
    made = learned(client, upstream, True)
    gate = threading.Event()
    upstream.answer(Reply(pieces=[b": wait\n\n", gate, *STREAM, *STREAM]), Reply(pieces=STREAM))
    answer = client.call("completion", "gpt", MESSAGES, on=made, stream=True)
    assert answer[0]._hidden_params["headrace"]["hedge"] is True
    gate.set()
    assert wait_until(lambda: not any(row["in_flight"] for row in made.snapshot()["deployments"].values()))


def test_both_silent_until_the_caller_s_time_is_up_end_together(client: Client, upstream: Upstream) -> None:
    made = learned(client, upstream, False)
    upstream.answer(Reply(CHAT, delay=30))
    with pytest.raises(headrace.Timeout):
        client.call("completion", "gpt", MESSAGES, on=made, total_timeout=0.5)
    assert len(upstream.seen) == ENOUGH + 2
    assert not any(row["in_flight"] for row in made.snapshot()["deployments"].values())


def test_a_threads_errand_that_is_called_back_closes_its_connection(upstream: Upstream) -> None:
    """Whoever waits for bytes in another thread is woken, and none of its kept connections is used by anybody else."""
    from headrace.runtime.background import spawn
    from headrace.wire import HttpRequest, Timeouts

    upstream.answer(Reply(CHAT, delay=30))
    transport, ended = sync_transport(HttpSettings(idle_expiry=28.5)), threading.Event()

    async def errand() -> None:
        try:
            await transport.fetch(HttpRequest("POST", upstream.url, (), b"{}"), Timeouts())
        finally:
            ended.set()

    call_back = spawn(errand())
    assert wait_until(lambda: bool(upstream.seen))
    call_back()
    assert ended.wait(5)
    assert not transport._open

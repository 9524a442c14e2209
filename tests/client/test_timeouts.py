"""Each timeout of a Router takes effect, is named in the error, and leaves nothing held: connecting, first token, between chunks,
one attempt, and the whole call with its wait in the queue, its attempts and its stream."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream, chunk, sse

import headrace
from headrace import Timeouts

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address that takes no connection and refuses none: a listener whose queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        filling = [socket.socket() for _ in range(8)]
        for sock in filling:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        for sock in filling:
            sock.close()


def router(*addresses: str, **options: Any) -> headrace.Router:
    """A deployment at each address; no further attempts unless told otherwise."""
    entries = [
        {
            "model_name": "gpt",
            "litellm_params": {"model": "openai/m", "api_key": "sk-test", "base_url": address},
            "model_info": {"id": f"d{number}"},
        }
        for number, address in enumerate(addresses)
    ]
    return headrace.Router(entries, **{"num_retries": 0, **options})


def idle(made: headrace.Router) -> bool:
    snapshot = made.snapshot()
    return not any(row["in_flight"] for row in snapshot["deployments"].values()) and not any(snapshot["queues"].values())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_connecting(client: Client, nowhere: str, stream: bool) -> None:
    made = router(nowhere, timeout=Timeouts(connect=0.2, first_byte=30, total=60))
    with pytest.raises(headrace.Timeout, match="connecting took too long"):
        client.call("completion", "gpt", MESSAGES, on=made, stream=stream)
    assert idle(made)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_first_token(client: Client, upstream: Upstream, stream: bool) -> None:
    upstream.answer(Reply(CHAT, delay=20))
    made = router(upstream.url, timeout=Timeouts(first_byte=0.2, total=60))
    with pytest.raises(headrace.Timeout, match="no response in time"):
        client.call("completion", "gpt", MESSAGES, on=made, stream=stream)
    assert idle(made)


def test_the_silence_between_two_chunks(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=[*sse(chunk("one ")), threading.Event(), *sse(chunk("two", "stop"))]))
    made = router(upstream.url, timeout=Timeouts(first_byte=30, between_bytes=0.2))
    with pytest.raises(headrace.Timeout, match="the response stalled") as caught:
        client.call("completion", "gpt", MESSAGES, on=made, stream=True)
    assert caught.value.received == "one "
    assert idle(made)


def test_a_stream_that_goes_on_is_not_ended_by_the_limit_of_its_silences(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=sse(*[chunk("word ")] * 12, chunk(None, "stop")), pause=0.05))
    made = router(upstream.url, timeout=Timeouts(first_byte=30, between_bytes=0.5))
    assert len(client.call("completion", "gpt", MESSAGES, on=made, stream=True)) == 13


def test_a_stream_that_drips_for_ever_ends_with_the_whole_call(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=sse(*[chunk("word ")] * 5_000), pause=0.02))
    made = router(upstream.url, timeout=Timeouts(first_byte=30, between_bytes=30))
    with pytest.raises(headrace.Timeout, match="the call took too long") as caught:
        client.call("completion", "gpt", MESSAGES, on=made, stream=True, total_timeout=0.4)
    assert str(caught.value.received).startswith("word ")
    assert upstream.left.wait(10), "the connection was closed"
    assert idle(made)


def test_attempts_elsewhere_share_the_time_of_the_whole_call(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(CHAT, delay=20))
    made = router(*[upstream.url] * 4, num_retries=3, timeout=Timeouts(first_byte=0.3))
    with pytest.raises(headrace.Timeout):
        client.call("completion", "gpt", MESSAGES, on=made, total_timeout=0.5)
    assert len(upstream.seen) < 4, "later attempts had what the first ones left"
    assert idle(made)


def test_the_place_in_line_counts_towards_the_whole_call(client: Client, upstream: Upstream) -> None:
    entry = {"model": "openai/m", "api_key": "sk-test", "base_url": upstream.url, "rpm": 1}
    made = headrace.Router([{"model_name": "gpt", "litellm_params": entry}])
    client.call("completion", "gpt", MESSAGES, on=made)
    with pytest.raises(headrace.QueueTimeout, match="rpm will have some in about"):
        client.call("completion", "gpt", MESSAGES, on=made, total_timeout=0.2)
    assert len(upstream.seen) == 1
    assert idle(made)


@pytest.mark.parametrize(
    ("options", "call", "expected"),
    [
        ({"timeout": 30, "stream_timeout": 0.2}, {}, "no response in time"),
        ({"timeout": 30}, {"stream_timeout": 0.2}, "no response in time"),
        ({"timeout": 0.2}, {}, "no response in time"),
        ({"timeout": 30}, {"timeout": 0.2}, "no response in time"),
    ],
)
def test_a_stream_has_its_own_limit_and_a_call_over_its_router(
    client: Client, upstream: Upstream, options: dict[str, Any], call: dict[str, Any], expected: str
) -> None:
    upstream.answer(Reply(CHAT, delay=20))
    with pytest.raises(headrace.Timeout, match=expected):
        client.call("completion", "gpt", MESSAGES, on=router(upstream.url, **options), stream=True, **call)


BEAT = b": OPENROUTER PROCESSING\n\n"
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


@pytest.mark.parametrize("beat", [BEAT, b"\r\n"], ids=["comment", "blank line"])
def test_keep_alive_comments_are_no_first_token(client: Client, upstream: Upstream, beat: bytes) -> None:
    upstream.answer(Reply(pieces=[beat] * 5_000, pause=0.02))
    made = router(upstream.url, timeout=Timeouts(first_byte=0.3, between_bytes=0.3, total=60))
    with pytest.raises(headrace.Timeout, match="no response in time"):
        client.call("completion", "gpt", MESSAGES, on=made, stream=True)
    assert upstream.left.wait(10)
    assert idle(made)


def test_pings_are_no_first_token(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=[PING] * 5_000, pause=0.02))
    with pytest.raises(headrace.Timeout, match="no response in time"):
        client.chat(model="anthropic/claude", stream=True, max_tokens=9, timeout=Timeouts(first_byte=0.3, between_bytes=0.3, total=60))
    assert upstream.left.wait(10)


def test_keep_alive_comments_do_not_break_the_silence_between_two_chunks(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=[*sse(chunk("one "), done=False), *[BEAT] * 5_000], pause=0.02))
    made = router(upstream.url, timeout=Timeouts(first_byte=30, between_bytes=0.3))
    with pytest.raises(headrace.Timeout, match="the response stalled") as caught:
        client.call("completion", "gpt", MESSAGES, on=made, stream=True)
    assert caught.value.received == "one "
    assert idle(made)


def test_comments_among_tokens_change_nothing(client: Client, upstream: Upstream) -> None:
    pieces = [piece for said in sse(*[chunk("word ")] * 12, chunk(None, "stop")) for piece in (BEAT, said)]
    upstream.answer(Reply(pieces=pieces, pause=0.03))
    made = router(upstream.url, timeout=Timeouts(first_byte=30, between_bytes=0.6))
    assert len(client.call("completion", "gpt", MESSAGES, on=made, stream=True)) == 13


def test_whoever_reads_slowly_is_not_told_of_a_silence(client: Client, upstream: Upstream) -> None:
    """The caller takes longer over a chunk than the provider may be silent; what came meanwhile was there in time."""
    upstream.answer(Reply(pieces=sse(*[chunk("word ")] * 3, chunk(None, "stop")), pause=0.01))
    made = router(upstream.url, timeout=Timeouts(first_byte=30, between_bytes=0.3))

    def slowly(pieces: Iterator[Any]) -> int:
        return len([time.sleep(0.4) for _ in pieces])

    async def slowly_awaited() -> int:
        return len([await asyncio.sleep(0.4) async for _ in await made.acompletion("gpt", MESSAGES, stream=True)])

    if client.name == "sync":
        assert slowly(made.completion("gpt", MESSAGES, stream=True)) == 4
    else:
        assert asyncio.run(slowly_awaited()) == 4


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_whole_of_a_call_without_a_router(client: Client, upstream: Upstream, stream: bool) -> None:
    upstream.answer(Reply(CHAT, delay=20))
    with pytest.raises(headrace.Timeout, match="the call took too long"):
        client.chat(stream=stream, total_timeout=0.3)


def test_the_whole_of_a_call_without_a_router_bounds_its_attempts(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"error": {"message": "boom"}}, status=500, headers={"retry-after": "30"}))
    began = time.monotonic()
    with pytest.raises(headrace.InternalServerError):
        client.chat(total_timeout=2, num_retries=5)
    assert time.monotonic() - began < 2.5
    assert len(upstream.seen) == 1, "the next attempt would have come too late"


def test_the_whole_of_a_call_without_a_router_bounds_its_stream(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=sse(*[chunk("word ")] * 5_000), pause=0.02))
    with pytest.raises(headrace.Timeout, match="the call took too long"):
        client.chat(stream=True, total_timeout=0.4)
    assert upstream.left.wait(10)


def test_a_time_for_the_whole_call_must_be_a_number(client: Client) -> None:
    with pytest.raises(headrace.ConfigurationError, match="total_timeout must be a number of seconds"):
        client.chat(total_timeout="soon")

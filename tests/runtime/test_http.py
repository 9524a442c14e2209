"""Both shells over real sockets: what arrives, what is kept, what ends."""

from __future__ import annotations

import asyncio
import gc
import gzip
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from tests.runtime.wires import ASYNC, OK, OURS, Driver, Server, chunked, post, serving

from headrace.bridge import complete
from headrace.runtime.http1 import Exchange, way_of, written
from headrace.runtime.http_async import AsyncTransport, Begun, async_transport
from headrace.runtime.http_settings import HttpSettings
from headrace.runtime.http_sync import SyncTransport, sync_transport
from headrace.wire import Fault, HttpRequest, Timeouts, TransportError

both = pytest.mark.parametrize("driver", OURS, ids=repr)
SHORT = Timeouts(connect=5, total=8)


@both
def test_a_request_is_written_and_its_response_read(driver: Driver) -> None:
    with serving() as server:
        response = driver.fetch(post(server.url + "/chat?x=1", **{"Authorization": "Bearer k", "X-Mine": "1"}))
    assert (response.status, response.body, response.headers["Content-Length"]) == (200, b"ok", "2")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /v1/chat?x=1 HTTP/1.1"
    assert {b"host: 127.0.0.1:%d" % server.port, b"authorization: Bearer k", b"x-mine: 1", b"content-length: 18"} <= set(lines)
    assert body == b'{"hello": "world"}'


@both
def test_a_request_tells_when_it_leaves(driver: Driver) -> None:
    told: list[int] = []
    with serving() as server:
        driver.fetch(HttpRequest("GET", server.url, leaving=lambda: told.append(len(server.requests))))
        assert told == [0]
        with pytest.raises(TransportError):
            driver.fetch(HttpRequest("GET", "http://127.0.0.1:9", leaving=lambda: told.append(-1)))
    assert told == [0], "nothing leaves without a connection"


@both
def test_a_get_has_no_body(driver: Driver) -> None:
    with serving() as server:
        assert driver.fetch(HttpRequest("GET", server.url)).status == 200
    assert b"content-length" not in server.requests[0]


@both
@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (chunked(b"hel", b"lo"), 200, b"hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, 200, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", 500, b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-trailer: 1\r\n\r\n", 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, b""),
    ],
)
def test_every_framing_is_read(driver: Driver, raw: bytes, status: int, body: bytes) -> None:
    with serving(["read", raw]) as server:
        response = driver.fetch(post(server.url))
    assert (response.status, response.body) == (status, body)


@both
def test_a_body_without_length_ends_with_the_connection(driver: Driver) -> None:
    with serving(["read", b"HTTP/1.1 200 OK\r\n\r\nall of it", "close"]) as server:
        assert driver.fetch(post(server.url)).body == b"all of it"


@both
@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("identity", bytes),
    ],
)
def test_content_codings_are_taken_off(driver: Driver, coding: str, encode: Any) -> None:
    text = b"word " * 10_000
    packed = encode(text)
    raw = b"HTTP/1.1 200 OK\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n%b" % (coding.encode(), len(packed), packed)
    with serving(["read", raw]) as server:
        assert driver.fetch(post(server.url)).body == text


@both
@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", Fault.CLOSED),
        (b"HTTP/1.1 200 OK\r\ncontent-le", Fault.CLOSED),
        (b"", Fault.CLOSED),
        (chunked(b"half", end=False), Fault.CLOSED),
        (b"this is not HTTP\r\n\r\n", Fault.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", Fault.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok", Fault.PROTOCOL),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", Fault.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\nxx", Fault.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope", Fault.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\n" + b"x-pad: %b\r\n" % (b"a" * 70_000) + b"\r\n", Fault.TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 300 + b"\r\n", Fault.TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", Fault.TOO_LARGE),
    ],
)
def test_what_is_wrong_with_a_response_has_a_name(driver: Driver, raw: bytes, fault: Fault) -> None:
    with serving(["read", raw, "close"]) as server, pytest.raises(TransportError) as caught:
        driver.fetch(post(server.url))
    assert caught.value.fault is fault
    assert caught.value.sent is True
    assert caught.value.received is bool(raw)


@both
def test_a_bomb_is_noticed_without_being_built(driver: Driver) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    raw = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(bomb), bomb)
    with serving(["read", raw]) as server, pytest.raises(TransportError) as caught:
        driver.use(lambda transport: transport.fetch(post(server.url), SHORT, max_body=1_000_000))
    assert caught.value.fault is Fault.TOO_LARGE


@both
@pytest.mark.parametrize(("name", "value"), [("X-A", "b\r\nEvil: 1"), ("X-A", "b\0"), ("X\n", "1"), ("Content-Length", "5"), ("Host", "x")])
def test_a_header_cannot_break_out_of_its_line(driver: Driver, name: str, value: str) -> None:
    with serving() as server, pytest.raises(TransportError) as caught:
        driver.fetch(post(server.url, **{name: value}))
    assert caught.value.fault is Fault.PROTOCOL
    assert caught.value.sent is False
    assert server.connections == 0


# ---- connections


@both
def test_a_connection_is_kept_and_used_again(driver: Driver) -> None:
    async def three(transport: Any) -> str:
        for _ in range(3):
            assert (await transport.fetch(post(server.url), SHORT)).body == b"ok"
        return repr(transport)

    with serving() as server:
        assert "1 open, 1 idle" in driver.use(three)
        assert server.connections == 1


@both
@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + b"and something nobody asked for",
    ],
)
def test_a_connection_that_cannot_be_trusted_is_not_used_again(driver: Driver, raw: bytes) -> None:
    async def two(transport: Any) -> str:
        for _ in range(2):
            assert (await transport.fetch(post(server.url), SHORT)).body == b"ok"
        return repr(transport)

    with serving(["read", raw]) as server:
        assert "0 idle" in driver.use(two)
        assert server.connections == 2


@both
def test_a_kept_connection_that_the_server_closed_is_replaced_without_a_word(driver: Driver) -> None:
    async def two(transport: Any) -> bytes:
        await transport.fetch(post(server.url), SHORT)
        closed.wait(5)
        time.sleep(0.05)  # noqa: ASYNC251 - the asyncio shell must not have seen the end either
        return (await transport.fetch(post(server.url), SHORT)).body

    closed = threading.Event()
    with serving(["read", OK, "close"], ["read", OK]) as server:
        closed.set()
        assert driver.use(two) == b"ok"
        assert server.connections == 2


@both
def test_a_fresh_connection_that_closes_is_not_tried_again(driver: Driver) -> None:
    with serving(["read", "close"]) as server:
        with pytest.raises(TransportError):
            driver.fetch(post(server.url))
        assert server.connections == 1


@both
def test_a_reset_is_a_closed_connection(driver: Driver) -> None:
    with serving(["read", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nha", "reset"]) as server, pytest.raises(TransportError) as caught:
        driver.fetch(post(server.url))
    assert caught.value.fault is Fault.CLOSED


@both
def test_an_idle_connection_expires(driver: Driver) -> None:
    async def two(transport: Any) -> None:
        await transport.fetch(post(server.url), SHORT)
        await (asyncio.sleep(0.2) if driver is ASYNC else _nap(0.2))
        await transport.fetch(post(server.url), SHORT)

    with serving() as server:
        driver.use(two, idle_expiry=0.1)
        assert server.connections == 2


async def _nap(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 - a blocking world


def test_no_more_connections_are_opened_than_allowed_and_all_are_served() -> None:
    async def many(transport: AsyncTransport) -> str:
        answers = await asyncio.gather(*[transport.fetch(post(server.url), SHORT) for _ in range(40)])
        assert [answer.body for answer in answers] == [b"ok"] * 40
        return repr(transport)

    with serving() as server:
        assert ASYNC.use(many, max_connections=3) == "<AsyncTransport 3 open, 3 idle, 0 opening, 0 waiting>"
        assert server.connections == 3


def test_threads_share_the_connections_of_one_transport() -> None:
    with serving() as server:
        transport = SyncTransport(HttpSettings(max_connections=4))
        bodies: list[bytes] = []

        def work() -> None:
            for _ in range(20):
                bodies.append(complete(transport.fetch(post(server.url), SHORT)).body)

        threads = [threading.Thread(target=work) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert bodies == [b"ok"] * 240
        assert server.connections <= 4
        transport.close()


def test_whoever_waits_for_a_connection_too_long_is_told() -> None:
    never = threading.Event()

    async def crowded(transport: AsyncTransport) -> Fault:
        first = asyncio.create_task(transport.fetch(post(server.url), SHORT))
        await asyncio.sleep(0.1)
        with pytest.raises(TransportError) as caught:
            await transport.fetch(post(server.url), Timeouts(total=0.1))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert "0 waiting" in repr(transport)
        return caught.value.fault

    with serving(["read", never]) as server:
        assert ASYNC.use(crowded, max_connections=1) is Fault.TOTAL_TIMEOUT
        never.set()


# ---- time


@both
@pytest.mark.parametrize(
    ("script", "timeouts", "fault", "received"),
    [
        (["read"], Timeouts(total=0.1), Fault.TOTAL_TIMEOUT, False),
        (["read"], Timeouts(first_byte=0.1), Fault.FIRST_BYTE_TIMEOUT, False),
        (["read", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"], Timeouts(first_byte=0.1), Fault.FIRST_BYTE_TIMEOUT, True),
        (["read", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nha"], Timeouts(between_bytes=0.1), Fault.BETWEEN_BYTES_TIMEOUT, True),
        (["read", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nha"], Timeouts(first_byte=5, total=0.1), Fault.TOTAL_TIMEOUT, True),
    ],
)
def test_each_time_limit_is_a_fault_of_its_own(driver: Driver, script: Any, timeouts: Timeouts, fault: Fault, received: bool) -> None:
    never = threading.Event()
    with serving([*script, never]) as server:
        with pytest.raises(TransportError) as caught:
            driver.fetch(post(server.url), timeouts)
        never.set()
    assert (caught.value.fault, caught.value.sent, caught.value.received) == (fault, True, received)


@both
def test_connecting_has_its_own_limit(driver: Driver) -> None:
    """A listener whose queue is full takes no more connections: TCP retries in silence."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        filling = [socket.socket() for _ in range(8)]
        for sock in filling:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        with pytest.raises(TransportError) as caught:
            driver.fetch(post(f"http://127.0.0.1:{port}/"), Timeouts(connect=0.2, total=5))
        for sock in filling:
            sock.close()
    assert caught.value.fault is Fault.CONNECT_TIMEOUT
    assert caught.value.sent is False


@both
def test_a_refused_connection_was_not_sent(driver: Driver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(TransportError) as caught:
        driver.fetch(post(f"http://127.0.0.1:{port}/"))
    assert (caught.value.fault, caught.value.sent) == (Fault.CONNECT, False)


# ---- streams


@both
def test_a_stream_hands_out_bytes_as_they_come(driver: Driver) -> None:
    first_read = threading.Event()
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n"

    async def read(transport: Any) -> tuple[list[bytes], str]:
        stream = await transport.open(post(server.url), SHORT)
        parts = [await stream.read()]
        first_read.set()
        while part := await stream.read():
            parts.append(part)
        return parts, repr(transport)

    with serving(["read", head, first_read, b"3\r\ntwo\r\n0\r\n\r\n", "read", OK]) as server:
        parts, state = driver.use(read)
    assert parts == [b"one", b"two"]
    assert "1 idle" in state


@both
def test_a_cut_stream_is_an_error_after_what_arrived(driver: Driver) -> None:
    async def read(transport: Any) -> bytes:
        stream = await transport.open(post(server.url), SHORT)
        got = await stream.read()
        with pytest.raises(TransportError) as caught:
            await stream.read()
        assert caught.value.fault is Fault.CLOSED
        assert caught.value.received
        with pytest.raises(TransportError):
            await stream.read()
        return got

    with serving(["read", chunked(b"half", end=False), "close"]) as server:
        assert driver.use(read) == b"half"


@both
def test_silence_inside_a_stream_has_a_limit(driver: Driver) -> None:
    never = threading.Event()

    async def read(transport: Any) -> Fault:
        stream = await transport.open(post(server.url), Timeouts(first_byte=5, between_bytes=0.1))
        assert await stream.read() == b"half"
        with pytest.raises(TransportError) as caught:
            await stream.read()
        return caught.value.fault

    with serving(["read", chunked(b"half", end=False), never]) as server:
        assert driver.use(read) is Fault.BETWEEN_BYTES_TIMEOUT
        never.set()


@both
def test_a_closed_stream_closes_its_connection_at_once(driver: Driver) -> None:
    async def leave(transport: Any) -> str:
        stream = await transport.open(post(server.url), SHORT)
        await stream.read()
        stream.close()
        stream.close()
        if driver is ASYNC:
            await asyncio.sleep(0.01)
        assert server.hung_up.wait(5)
        return repr(transport)

    with serving(["read", chunked(b"half", end=False)]) as server:
        assert "0 open, 0 idle" in driver.use(leave)


@both
def test_an_abandoned_stream_closes_its_connection(driver: Driver) -> None:
    async def abandon(transport: Any) -> None:
        stream = await transport.open(post(server.url), SHORT)
        await stream.read()
        del stream
        gc.collect()
        if driver is ASYNC:
            await asyncio.sleep(0.01)
        assert server.hung_up.wait(5)

    with serving(["read", chunked(b"half", end=False)]) as server:
        driver.use(abandon)


def test_a_stream_that_ended_while_reading_was_paused_does_not_hang_the_next_request() -> None:
    """Symptom: after a long stream that its caller read slowly, the next call on that connection waited for ever."""
    big = [b"x" * 100_000] * 12

    async def slow(transport: AsyncTransport) -> None:
        stream = await transport.open(post(server.url), SHORT)
        await asyncio.sleep(0.3)  # let more arrive than may wait
        size = 0
        while part := await stream.read():
            size += len(part)
            await asyncio.sleep(0.001)
        assert size == 1_200_000
        assert (await transport.fetch(post(server.url), SHORT)).body == b"ok"
        assert (await transport.fetch(post(server.url), SHORT)).body == b"ok"

    with serving(["read", chunked(*big), "read", OK, "read", OK]) as server:
        ASYNC.use(slow)
        assert server.connections == 1


def test_a_sender_is_held_back_while_nobody_reads() -> None:
    async def unread(transport: AsyncTransport) -> int:
        stream = await transport.open(post(server.url), SHORT)
        await asyncio.sleep(0.5)
        waiting = sum(map(len, stream._exchange.parts))
        stream.close()
        return waiting

    with serving(["read", chunked(*[b"x" * 65_536] * 800, end=False)]) as server:
        assert ASYNC.use(unread) < 2_000_000


# ---- leaving


def test_random_cancellation_leaks_nothing_and_mixes_nothing_up() -> None:
    """Callers leave at any moment; whoever stays gets his own answer, and afterwards nothing is held."""
    seeded = random.Random(3)

    async def soak(transport: AsyncTransport) -> str:
        tasks = [asyncio.create_task(transport.fetch(post(server.url), SHORT)) for _ in range(300)]
        for task in tasks:
            if seeded.random() < 0.5:
                asyncio.get_running_loop().call_later(seeded.random() * 0.05, task.cancel)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(answer, asyncio.CancelledError) or answer.body == b"ok" for answer in answers)
        assert sum(not isinstance(answer, asyncio.CancelledError) for answer in answers) >= 100
        for _ in range(50):
            assert (await transport.fetch(post(server.url), SHORT)).body == b"ok"
        await asyncio.sleep(0.01)
        assert len(transport._open) == sum(map(len, transport._idle.values())) <= 20
        return repr(transport)

    with serving() as server:
        assert "0 opening, 0 waiting" in ASYNC.use(soak, max_connections=20)


async def _begun(transport: AsyncTransport, server: Server, ready: Callable[[Exchange], bool]) -> Begun:
    """A request on its way, past ASGI and tasks, of whose answer so much has come."""
    request = post(server.url)
    came, sent = asyncio.Event(), asyncio.get_running_loop().create_future()
    given = way_of(request), written(request), SHORT, None, lambda _: came.set()
    begun = transport.begin(*given, streaming=True)
    if begun is None:
        transport.begin_anew(*given, sent.set_result, streaming=True)
        begun = await sent
    while not ready(begun.exchange):
        came.clear()
        await asyncio.wait_for(came.wait(), 5)
    return begun


def test_who_leaves_a_stream_leaves_a_new_connection_for_the_next_call() -> None:
    async def run(transport: AsyncTransport) -> None:
        begun = await _begun(transport, server, lambda exchange: exchange.begun)
        begun.leave()
        await asyncio.wait(transport._replacing.values(), timeout=5)
        assert server.hung_up.wait(5)
        for _ in range(500):  # its thread takes the new one when it comes to it
            if server.connections == 2:
                break
            await asyncio.sleep(0.01)
        next_one = await _begun(transport, server, lambda exchange: exchange.complete)
        assert next_one.take() == b"ok"
        assert server.connections == 2

    with serving(["read", chunked(b"one", end=False)], ["read", OK]) as server:
        ASYNC.use(run)


def test_no_connection_is_made_in_the_place_of_one_whose_provider_was_silent() -> None:
    async def run(transport: AsyncTransport) -> None:
        begun = await _begun(transport, server, lambda exchange: True)
        begun.leave()
        await asyncio.sleep(0)
        assert "0 open, 0 idle, 0 opening" in repr(transport)

    with serving(["read", "read"]) as server:
        ASYNC.use(run)


def test_who_leaves_a_provider_that_takes_nobody_any_more_hears_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refused(*_: Any) -> Any:
        raise TransportError(Fault.CONNECT, "refused", sent=False)

    async def run(transport: AsyncTransport) -> None:
        begun = await _begun(transport, server, lambda exchange: exchange.begun)
        monkeypatch.setattr(transport, "_dial", refused)
        begun.leave()
        await asyncio.wait(transport._replacing.values(), timeout=5)
        assert "0 open, 0 idle, 0 opening" in repr(transport)

    with serving(["read", chunked(b"one", end=False)]) as server:
        ASYNC.use(run)
    assert not caplog.records


def test_many_short_event_loops_in_a_row_share_nothing() -> None:
    async def one() -> bytes:
        return (await async_transport().fetch(post(server.url), SHORT)).body

    with serving() as server:
        assert [asyncio.run(one()) for _ in range(20)] == [b"ok"] * 20
        assert server.connections == 20


def test_blocking_calls_work_inside_a_running_event_loop() -> None:
    async def inside() -> bytes:
        return complete(sync_transport().fetch(post(server.url), SHORT)).body

    with serving() as server:
        assert asyncio.run(inside()) == b"ok"
        sync_transport().close()


def _in_child(url: str, queue: Any) -> None:
    queue.put(complete(sync_transport().fetch(post(url), SHORT)).body)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork exists on POSIX only")
def test_a_forked_child_leaves_the_parents_connections_alone() -> None:
    context = multiprocessing.get_context("fork")
    with serving() as server:
        transport = sync_transport()
        assert complete(transport.fetch(post(server.url), SHORT)).body == b"ok"
        queue = context.Queue()
        child = context.Process(target=_in_child, args=(server.url, queue))
        child.start()
        assert queue.get(timeout=10) == b"ok"
        child.join(10)
        assert complete(transport.fetch(post(server.url), SHORT)).body == b"ok"
        assert server.connections == 2
        transport.close()


@pytest.mark.parametrize("program", ["asyncio.run(main())", "complete(sync_transport().fetch(r, T))", "asyncio.run(left_open())"])
def test_nothing_is_printed_at_exit(program: str) -> None:
    """Warnings are errors, and development mode watches for what was left open."""
    with serving() as server:
        code = f"""
import asyncio, logging
logging.disable(logging.WARNING)  # asyncio's development mode also remarks on a slow machine
from headrace.bridge import complete
from headrace.runtime.http_async import async_transport
from headrace.runtime.http_sync import sync_transport
from headrace.wire import HttpRequest, Timeouts
r, T = HttpRequest("POST", {server.url!r}, (), b"{{}}"), Timeouts(total=8)
async def main():
    await async_transport().fetch(r, T)
async def left_open():
    global stream
    stream = await async_transport().open(r, T)
{program}
"""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-X", "dev", "-c", code], capture_output=True, text=True, timeout=30, check=False
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

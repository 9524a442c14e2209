"""A connection to a single Valkey or Redis server that can call scripts: the part of RESP that shared limits need.

Why not redis-py: docs/decisions/0014-one-limit-for-many-processes.md.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import IO, Any

from msgspec import Struct


class ReplyError(Exception):
    """The server replied with an error."""


class NoScriptError(ReplyError):
    """The server does not know a script with that digest."""


class Server(Struct, frozen=True):
    """A single server and how to connect to it."""

    place: str | tuple[str, int]
    """The path of a unix socket, or host and port."""
    login: tuple[str, ...]
    """Empty, a password, or a user and a password."""
    db: int
    tls: bool
    connect: float
    """Seconds allowed for connecting."""
    timeout: float
    """Seconds allowed for a reply."""


class RedisConnection:
    """Connects with the first command, and again after a failure or a fork. One command at a time.

    Raises OSError if the server is unreachable or closes the connection, ReplyError for its errors. No command is sent twice.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._socket: socket.socket | None = None
        self._replies: IO[bytes] | None = None
        self._pid = 0

    def eval(self, source: str, *arguments: Any) -> Any:
        return self._command("EVAL", source, *arguments)

    def evalsha(self, digest: str, *arguments: Any) -> Any:
        return self._command("EVALSHA", digest, *arguments)

    def close(self) -> None:
        if self._replies is not None:
            self._replies.close()
        if self._socket is not None:
            self._socket.close()
        self._socket = self._replies = None

    def _command(self, *words: Any) -> Any:
        if self._socket is None or self._pid != os.getpid() or self._ended(self._socket):
            self._connect()
        return self._exchange(words)

    def _exchange(self, words: Sequence[Any]) -> Any:
        """One command and its reply. A failure in between closes the connection: a late reply must not answer the next command."""
        assert self._socket is not None
        try:
            self._socket.sendall(written(words))
            reply = self._reply()
        except BaseException:
            self.close()
            raise
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def _connect(self) -> None:
        self.close()
        server = self._server
        self._socket, self._pid = _opened(server), os.getpid()
        self._socket.settimeout(server.timeout)
        self._replies = self._socket.makefile("rb")
        try:
            if server.login:
                self._exchange(("AUTH", *server.login))
            if server.db:
                self._exchange(("SELECT", server.db))
        except ReplyError:
            self.close()
            raise

    def _ended(self, connection: socket.socket) -> bool:
        """Whether the server has closed the connection meanwhile, or sent something unexpected."""
        connection.setblocking(False)
        try:
            connection.recv(1)
        except BlockingIOError:
            return False
        except OSError as error:
            return type(error).__name__ != "SSLWantReadError"  # by name: `ssl` is only loaded where TLS is used
        finally:
            connection.settimeout(self._server.timeout)
        return True

    def _reply(self) -> Any:
        line = self._line()
        kind, said = line[:1], line[1:]
        if kind == b"$":
            return None if said == b"-1" else self._text(int(said))
        if kind == b"*":
            return [self._reply() for _ in range(int(said))]
        if kind == b"-":
            return NoScriptError(said.decode()) if said.startswith(b"NOSCRIPT") else ReplyError(said.decode())
        return int(said) if kind == b":" else said.decode()

    def _line(self) -> bytes:
        assert self._replies is not None
        line = self._replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        return line[:-2]

    def _text(self, size: int) -> str:
        assert self._replies is not None
        text = self._replies.read(size + 2)
        if len(text) < size + 2:
            raise ConnectionError("the server closed the connection")
        return text[:-2].decode()

    def __repr__(self) -> str:
        return f"<RedisConnection {self._server.place!r}>"


def written(words: Sequence[Any]) -> bytes:
    """A command in RESP."""
    pieces = [f"*{len(words)}\r\n".encode()]
    for word in words:
        text = (word if isinstance(word, str) else repr(word)).encode()
        pieces.append(b"$%d\r\n%b\r\n" % (len(text), text))
    return b"".join(pieces)


def _opened(server: Server) -> socket.socket:
    if isinstance(server.place, str):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(server.connect)
        try:
            connection.connect(server.place)
        except OSError:
            connection.close()
            raise
        return connection
    connection = socket.create_connection(server.place, server.connect)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not server.tls:
        return connection
    import ssl  # late: few stores use TLS

    return ssl.create_default_context().wrap_socket(connection, server_hostname=server.place[0])

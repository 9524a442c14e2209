"""Listening sockets of several workers: each has its own on the shared address, and the kernel distributes connections.

On a single socket the worker that wakes first takes all waiting connections: of a client's 32 connections one worker
got all 32. Only Linux distributes them (SO_REUSEPORT).
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import Any, Final

QUEUE: Final = 2048
"""The listen backlog."""
_mine: Final[list[socket.socket]] = []
"""The socket of this process, once it has one."""


class OwnSocket:
    """Handed to workers in place of a socket: each makes its own on unpickling. This one only reserves the address."""

    def __init__(self, address: Any, family: socket.AddressFamily) -> None:
        self.kept = _bound(address, family)

    def __reduce__(self) -> tuple[Callable[..., socket.socket], tuple[Any, socket.AddressFamily]]:
        return _handed, (self.kept.getsockname(), self.kept.family)


def for_each_worker(listening: socket.socket) -> Any:
    """A stand-in for a listening socket, which is closed, if each worker can have its own; otherwise the socket itself."""
    if sys.platform != "linux":
        return listening
    address, family = listening.getsockname(), listening.family
    listening.close()
    return OwnSocket(address, family)


def begin_listening() -> None:
    """Start listening, once this process is ready to accept connections."""
    for one in _mine:
        one.listen(QUEUE)


def _handed(address: Any, family: socket.AddressFamily) -> socket.socket:
    made = _bound(address, family)
    _mine.append(made)
    return made


def _bound(address: Any, family: socket.AddressFamily) -> socket.socket:
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind(address)
    return made

"""Where several workers listen: each at a socket of its own with the address of all, among which the kernel shares connections out.

At one socket whoever wakes first takes all that have come: of 32 connections of a client 32 were one worker's. Only Linux shares out.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import Any, Final

QUEUE: Final = 2048
"""Connections that may wait to be taken."""
_mine: Final[list[socket.socket]] = []
"""The one of this process, once it was handed a place."""


class OwnSocket:
    """What is handed to workers in a socket's place: each makes one of its own of it. Here it only keeps the address from others."""

    def __init__(self, address: Any, family: socket.AddressFamily) -> None:
        self.kept = _bound(address, family)

    def __reduce__(self) -> tuple[Callable[..., socket.socket], tuple[Any, socket.AddressFamily]]:
        return _handed, (self.kept.getsockname(), self.kept.family)


def for_each_worker(listening: socket.socket) -> Any:
    """What stands for a listening socket, which is closed, where each worker can have its own; elsewhere the socket itself."""
    if sys.platform != "linux":
        return listening
    address, family = listening.getsockname(), listening.family
    listening.close()
    return OwnSocket(address, family)


def begin_listening() -> None:
    """From now on connections come to this process: what waits for them is ready."""
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

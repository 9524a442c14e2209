"""Background work in the blocking world: a coroutine over blocking ports in a thread of its own, which can be cancelled."""

from __future__ import annotations

import contextvars
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from headrace.bridge import complete


class CalledBack(BaseException):
    """Raised in a cancelled errand's thread when it uses a connection. Not an Exception, so that no handler takes it for a failure."""


class BackgroundTask:
    """One coroutine in its thread. A thread cannot be cancelled, but the connection it waits for can be shut down."""

    __slots__ = ("_lock", "_socket", "called_back")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.called_back = False

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        _local.errand = self
        with suppress(CalledBack):
            complete(coroutine)

    def call_back(self) -> None:
        """Cancel the coroutine while it waits for its connection, or when it next uses one."""
        with self._lock:
            self.called_back = True
            if self._socket is not None:
                _shut(self._socket)

    @contextmanager
    def waiting_for(self, sock: socket.socket) -> Iterator[None]:
        """A context for waiting on a connection. Raises CalledBack if the errand is cancelled in it, or was before."""
        self._take(sock)
        try:
            yield
        except Exception as error:
            if self.called_back:
                raise CalledBack from error
            raise
        finally:
            self._take(None)

    def _take(self, sock: socket.socket | None) -> None:
        with self._lock:
            if sock is not None and self.called_back:
                raise CalledBack
            self._socket = sock


_local = threading.local()


def spawn(coroutine: Coroutine[Any, Any, None]) -> Callable[[], object]:
    """Start a coroutine in a thread: a `ports.Spawn`."""
    errand = BackgroundTask()
    run = contextvars.copy_context().run
    threading.Thread(target=run, args=(errand.run, coroutine), name="headrace-errand", daemon=True).start()
    return errand.call_back


def errand_here() -> BackgroundTask | None:
    """The errand that the current thread runs; None in other threads."""
    return getattr(_local, "errand", None)


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # already closed
        # The plain socket's method: that of SSLSocket drops the TLS state while another thread reads.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)

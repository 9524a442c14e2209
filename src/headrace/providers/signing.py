"""Credentials shown with every call, and renewed ahead of their end in a thread of their own: a call waits only where there are none
that hold.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from headrace.dialects.failures import mask
from headrace.errors import Failure, HeadraceError, Kind, error_of
from headrace.ports import Clock, Waiter
from headrace.wire import HttpRequest

EARLY: Final = 900.0
"""Seconds before their end from which credentials are renewed beside the calls; botocore's own figure."""

LATE: Final = 60.0
"""Seconds before their end from which a call waits for new ones."""

PATIENCE: Final = 60.0
"""Seconds a call waits for credentials."""

PAUSE: Final = 30.0
"""Seconds between two renewals beside the calls: some sources hand the same token out again until shortly before its end."""


class Credentials(Protocol):
    """One cloud's credentials, as its own library finds and renews them."""

    def load(self) -> None:
        """Find or renew them. Blocks, and raises whatever its library raises."""
        ...

    def left(self) -> float:
        """Seconds they still hold: 0.0 when there are none, inf when they do not end. Never blocks."""
        ...

    def apply(self, request: HttpRequest) -> HttpRequest:
        """The request with the headers that show them. Never blocks."""
        ...

    def forget(self) -> None:
        """Find them anew with the next `load`: they were refused."""
        ...


class Signer:
    """Shows credentials with every request and renews them in time, for all calls and threads at once."""

    def __init__(
        self, provider: str, credentials: Credentials, *, identity: str | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        """identity: whose credentials they are, the same in every process that has them; without one nobody else has them."""
        self.identity = str(id(self)) if identity is None else identity
        self._provider = provider
        self._credentials = credentials
        self._now = now
        self._lock = threading.Lock()
        self._waiting: list[Waiter] = []
        self._busy = False
        self._failure: Failure | None = None
        self._renewed_at = -PAUSE

    def __repr__(self) -> str:
        return f"<Signer {self._provider}>"

    async def sign(self, request: HttpRequest, clock: Clock) -> HttpRequest:
        """Raises AuthenticationError when there are no credentials, Timeout when they do not come."""
        left = self._credentials.left()
        if left <= LATE:
            await self._wait(clock)
        elif left <= EARLY and self._now() - self._renewed_at >= PAUSE:
            self._renew()
        return self._credentials.apply(request)

    def refused(self) -> None:
        """The other side takes the credentials for no good. Files and environments change, so the next call looks again, at most every
        `PAUSE` seconds."""
        if self._now() - self._renewed_at >= PAUSE:
            self._credentials.forget()

    async def _wait(self, clock: Clock) -> None:
        waiter = clock.waiter()
        self._renew(waiter)
        came = await waiter.wait(PATIENCE)
        if self._credentials.left() > 0:
            return
        if not came:
            raise error_of(Failure(Kind.TIMEOUT, f"{self._provider}: no credentials came within {PATIENCE:.0f} s", sent=False))
        raise error_of(self._failure or Failure(Kind.AUTHENTICATION, f"{self._provider}: the credentials have expired", sent=False))

    def _renew(self, waiter: Waiter | None = None) -> None:
        with self._lock:
            if waiter is not None:
                self._waiting.append(waiter)
            if self._busy:
                return
            self._busy = True
        threading.Thread(target=self._load, name="headrace-credentials", daemon=True).start()

    def _load(self) -> None:
        failure = None
        try:
            self._credentials.load()
        except HeadraceError as error:
            failure = error.failure
        except Exception as error:  # whatever a cloud's library raises, a call must hear of it
            text = f"{self._provider}: no credentials: {type(error).__name__}: {mask(str(error))[:500]}"
            failure = Failure(Kind.AUTHENTICATION, text, provider=self._provider, sent=False)
        with self._lock:
            self._failure = failure
            self._busy = False
            self._renewed_at = self._now()
            waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            with suppress(RuntimeError):  # its event loop was closed while it waited
                waiter.wake()

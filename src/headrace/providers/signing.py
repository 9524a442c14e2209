"""Signs calls with credentials that are renewed before they expire, in a separate thread.

A call only waits if there are no valid ones.
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
"""Seconds before expiry from which credentials are renewed in the background; botocore's own figure."""

LATE: Final = 60.0
"""Seconds before expiry from which calls wait for new credentials."""

PATIENCE: Final = 60.0
"""Maximum seconds a call waits for credentials."""

PAUSE: Final = 30.0
"""Minimum seconds between background renewals: some sources return the same token until shortly before it expires."""


class Credentials(Protocol):
    """One cloud's credentials, found and renewed by its own library."""

    def load(self) -> None:
        """Find or renew the credentials. Blocks, and raises whatever the library raises."""
        ...

    def left(self) -> float:
        """Seconds until the credentials expire: 0.0 if there are none, inf if they never do. Never blocks."""
        ...

    def apply(self, request: HttpRequest) -> HttpRequest:
        """The request with the authentication headers. Never blocks."""
        ...

    def forget(self) -> None:
        """Discard the credentials, so that the next `load` finds them anew: they were rejected."""
        ...


class Signer:
    """Signs requests and renews the credentials in time, for all calls and threads."""

    def __init__(
        self, provider: str, credentials: Credentials, *, identity: str | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        """identity: identifies the credentials, the same in every process that has them; by default unique to this signer."""
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
        """The signed request. Raises AuthenticationError if there are no credentials, Timeout if they take too long."""
        left = self._credentials.left()
        if left <= LATE:
            await self._wait(clock)
        elif left <= EARLY and self._now() - self._renewed_at >= PAUSE:
            self._renew()
        return self._credentials.apply(request)

    def refused(self) -> None:
        """Reports that the credentials were rejected.

        The next call looks for new ones, since files and environments change, but at most every `PAUSE` seconds.
        """
        if self._now() - self._renewed_at >= PAUSE:
            self._credentials.forget()

    async def _wait(self, clock: Clock) -> None:
        waiter = clock.waiter()
        self._renew(waiter)
        came = await waiter.wait(PATIENCE)
        if self._credentials.left() > 0:
            return
        if not came:
            raise error_of(Failure(Kind.TIMEOUT, f"{self._provider}: no credentials within {PATIENCE:.0f} s", sent=False))
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
        except Exception as error:  # the call must fail with whatever a cloud's library raises
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

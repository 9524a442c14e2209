"""What a caller asks of the limiter, and what the limiter answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from headrace.limits.limit import Charge
from headrace.limits.queue import Priority

URGENT: Final = int(Priority.INTERACTIVE)
"""The lowest class for which a share of every limit is reserved."""


class Ask(Struct, frozen=True):
    """A call's request for a reservation."""

    group: str
    charge: Charge
    tenant: str = ""
    weight: float = 1.0
    priority: int = Priority.NORMAL
    deadline: float | None = None
    """Clock seconds by which it must have started."""
    max_wait: float | None = None
    """Seconds it may wait; 0 to fail at once."""
    avoid: frozenset[str] = frozenset()
    """Deployments to use only if there is no other."""
    only: frozenset[str] | None = None
    """Deployments it may use; None for all of the group."""
    scopes: tuple[str, ...] = ()
    """Names of scopes whose limits apply as well."""
    again: bool = False
    """Whether an earlier attempt was sent and failed: then the call goes to the front of its tenant's queue."""
    prefer: Callable[[str], float] | None = None
    """Cost of a deployment for this call, lower is better; decides where limits leave a choice."""
    charges: Mapping[str, Charge] | None = None
    """Charges at deployments where they differ from `charge`."""
    call: int = 0
    attempt: int = 1
    """Identify the attempt in events."""

    def charge_at(self, deployment: str) -> Charge:
        return self.charge if self.charges is None else self.charges.get(deployment, self.charge)


class Candidate(Struct, frozen=True, gc=False):
    """A deployment that was considered and not chosen."""

    deployment: str
    wait: float
    """Seconds until the call would have fitted; 0 if it fitted and another was better; inf if a running call had to end
    first."""
    binding: str | None
    """The limit without room."""


class Availability(Struct, frozen=True):
    """What a call would find now."""

    waiting: int
    """Calls in the queue."""
    position: int
    """Its position among them: 1 is served next."""
    wait: float
    """Expected wait in seconds."""
    binding: str | None
    """The limit that determines the wait."""
    deployments: Mapping[str, tuple[float, str | None]]
    """For each deployment, the seconds until it has room for the call regardless of other waiting calls, and the limit
    that determines it."""

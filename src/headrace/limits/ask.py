"""What a caller asks for, and what he is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from headrace.limits.limit import Charge
from headrace.limits.queue import Priority

URGENT: Final = int(Priority.INTERACTIVE)
"""The class of calls that a share of every limit is kept for, and those above it."""


class Ask(Struct, frozen=True):
    """A call that wants to be sent."""

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
    """Deployments it goes to only when there is no other."""
    only: frozenset[str] | None = None
    """Deployments it may go to; None for all of the group."""
    scopes: tuple[str, ...] = ()
    """Limits of our own that apply as well."""
    again: bool = False
    """Whether it waited once already and was sent in vain: then it goes to the front of its tenant's line."""
    prefer: Callable[[str], float] | None = None
    """Cost of a deployment for this call, lower is better; decides while limits leave a choice."""
    charges: Mapping[str, Charge] | None = None
    """Deployments where the call costs something else than `charge`."""
    call: int = 0
    attempt: int = 1
    """By which whoever listens knows it."""

    def charge_at(self, deployment: str) -> Charge:
        return self.charge if self.charges is None else self.charges.get(deployment, self.charge)


class Candidate(Struct, frozen=True, gc=False):
    """A deployment that was thought of and not taken."""

    deployment: str
    wait: float
    """Seconds until the call would have fitted; 0 when nothing spoke against it and another was better; inf when one had to end first."""
    binding: str | None
    """The limit that stood in the way."""


class Availability(Struct, frozen=True):
    """What a call would find now."""

    waiting: int
    """Calls in the line."""
    position: int
    """Its place among them: 1 is served next."""
    wait: float
    """Seconds it would probably wait."""
    binding: str | None
    """The limit that would decide it."""
    deployments: Mapping[str, tuple[float, str | None]]
    """Each deployment: the seconds until it has room for the call, whoever else waits, and the limit that decides it."""

"""State of a call: the deployments at work, one attempt on one of them, and the trail of all its attempts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct

from headrace.calls import Call
from headrace.destinations import Destination
from headrace.errors import HeadraceError, Kind
from headrace.limits import Ask, Charge, Reservation, Used
from headrace.models.cost import Rates, bill_of
from headrace.models.prices import Beside
from headrace.routing.health import Health
from headrace.routing.plan import Deployment, Plan
from headrace.routing.strategies import Load


class Member(Struct, eq=False):
    """A deployment with its runtime state."""

    deployment: Deployment
    to: Destination
    price: Rates | None
    """Its price, looked up only if something needs it."""
    most_output: int | None = None
    """The output limit from its own `max_tokens`, where the caller gives none."""
    health: Health = msgspec.field(default_factory=Health)
    load: Load = msgspec.field(default_factory=Load)


class Attempt(Struct, eq=False):
    """One attempt in progress, settled exactly once."""

    member: Member
    reservation: Reservation
    charge: Charge
    call: Call
    began: float
    ask: Ask
    record: dict[str, Any] = msgspec.field(default_factory=dict)
    """The decision record, as its caller reads it."""


class Failed(Struct, eq=False):
    """A first attempt that was made outside the engine's loop, and its error: the loop continues from there."""

    attempt: Attempt
    error: HeadraceError | None

    def take(self) -> HeadraceError:
        """The attempt's error, to be raised."""
        error, self.error = self.error, None
        assert error is not None
        return error


class Over(Protocol):
    """What is known of a stream that has ended."""

    @property
    def usage(self) -> dict[str, Any] | None: ...
    @property
    def count(self) -> int:
        """Chunks received: about one token each."""
        ...

    @property
    def hidden(self) -> Beside: ...


class Held(Struct, frozen=True, eq=False):
    """A reservation under a deployment's limits, ended once: with the usage in OpenAI's form, or with an error."""

    to: Destination
    record: dict[str, Any]
    settle: Callable[[Any], None]
    fail: Callable[[HeadraceError], None]


class Trail(Struct, eq=False):
    """What a call has been through, and what may still follow."""

    asked: list[str]
    """Groups, in order; for a pattern, the name that it matched."""
    given: Sequence[str]
    """Fallback groups given by the caller, tried before the configured ones."""
    ends_at: float
    """Clock seconds."""
    number: int
    """Identifies the call in its events."""
    called: str = ""
    """The model that its caller named."""
    bound: bool = False
    """Whether only one deployment can answer."""
    before: Failed | None = None
    """The first attempt, if it was made already."""
    ahead: list[str] = []
    """Fallbacks of earlier groups that may still be tried, the next one first."""
    spent: dict[str, HeadraceError] = {}
    """Providers without room under their budget, and the budget error."""
    refused: set[str] = set()
    """Groups that the call may not fall back to."""
    failed: list[tuple[str, str | None]] = []
    """Kind and model of each failed attempt."""
    error: HeadraceError | None = None
    """The latest failure, kept only while it may have to be raised: an error keeps all frames of its traceback alive."""
    only: frozenset[str] | None = None
    """Deployments that can continue a partial response, once there is one."""
    continued: int | None = None
    """Characters of the response that came from another deployment."""
    breaks: int = 0
    """How often its stream broke off and was continued."""
    retries: int = 0
    """Attempts beyond the first that count against the retry budget."""
    waited: float = 0.0
    """Seconds in the queue, over all its attempts."""

    def note(self, error: HeadraceError) -> None:
        self.failed.append((error.failure.kind.value, error.model))
        self.error = error

    def take(self) -> HeadraceError:
        """The latest failure, to be raised."""
        error, self.error = self.error, None
        assert error is not None
        return error

    def behind(self, plan: Plan, group: str, kind: Kind) -> list[str]:
        """Groups to try after a failure of that kind in `group`, the next one first."""
        if self.bound:
            return []
        also = [self.called] if len(self.asked) == 1 and self.called else []
        known = list(dict.fromkeys([*also, group, plan.group_of(group) or group]))
        names = (*self.given, *plan.fallbacks.behind(known, kind), *self.ahead)
        groups = dict.fromkeys(map(plan.step, names))
        left = plan.fallbacks.most + 1 - len(self.asked)
        able = [name for name in groups if name not in self.asked and name not in self.refused and plan.serves(name)]
        return able[: max(0, left)]

    def fall_back(self, plan: Plan, kind: Kind) -> str:
        """Advance to the next group after a failure of that kind, and return it."""
        group, *self.ahead = self.behind(plan, self.asked[-1], kind)
        self.asked.append(group)
        return group

    def record(self, member: Member, reservation: Reservation, ask: Ask) -> dict[str, Any]:
        """The decision record of an attempt."""
        return decision(member, reservation, ask, self.waited, self.continued, self.failed)


def decision(
    member: Member,
    reservation: Reservation,
    ask: Ask,
    waited: float = 0.0,
    continued: int | None = None,
    failed: Sequence[tuple[str, str | None]] = (),
) -> dict[str, Any]:
    """The decision record: the deployment, the time waited, the binding limit and earlier failures.

    `settled` is filled in later.
    """
    return {
        "deployment": member.deployment.id,
        "waited": waited,
        "binding": reservation.binding,
        "candidates": reservation.decided,
        "scopes": ask.scopes,
        "reserved": reservation.charge,
        "settled": None,
        "continued": continued,
        "hedge": False,
        "failed": list(failed),
    }


NUMBERS: Final = count(1)
"""Numbers that identify calls in their events."""


def used_of(usage: Any, price: Rates | None, known: Beside | None = None) -> Used | None:
    """The usage that the provider reports; None if it reports none.

    known: what computes the cost of the same usage, or has done so.
    """
    if usage is None:
        return None
    money = 0 if price is None else (known.cost() or 0) if known is not None else price.of(bill_of(usage))
    details = usage.get("prompt_tokens_details")
    cached = (details.get("cached_tokens") if details is not None else 0) or 0
    input = usage.get("prompt_tokens") or usage.get("input_tokens") or 0
    return Used(input=input, output=usage.get("completion_tokens") or usage.get("output_tokens") or 0, cached=cached, money=money)

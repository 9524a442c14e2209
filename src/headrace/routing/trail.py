"""What a call goes through: the deployments at work, an attempt on one of them, and the trail of all its attempts."""

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
    """A deployment at work."""

    deployment: Deployment
    to: Destination
    price: Rates | None
    """What it costs, as far as anybody has to know."""
    most_output: int | None = None
    """What its own `max_tokens` lets the model write where the caller gives none."""
    health: Health = msgspec.field(default_factory=Health)
    load: Load = msgspec.field(default_factory=Load)


class Attempt(Struct, eq=False):
    """One attempt under way, settled exactly once."""

    member: Member
    reservation: Reservation
    charge: Charge
    call: Call
    began: float
    ask: Ask
    record: dict[str, Any] = msgspec.field(default_factory=dict)
    """How it came about, as its caller reads it."""


class Failed(Struct, eq=False):
    """A first attempt that was made outside of the loop, and what became of it: the loop goes on from there."""

    attempt: Attempt
    error: HeadraceError | None

    def take(self) -> HeadraceError:
        """What became of it, to be raised."""
        error, self.error = self.error, None
        assert error is not None
        return error


class Over(Protocol):
    """What is known of a stream that is over."""

    @property
    def usage(self) -> dict[str, Any] | None: ...
    @property
    def count(self) -> int:
        """Pieces that came: about one token each."""
        ...

    @property
    def hidden(self) -> Beside: ...


class Held(Struct, frozen=True, eq=False):
    """Room under a deployment's limits, given back once: with what was used, in OpenAI's form, or with why not."""

    to: Destination
    record: dict[str, Any]
    settle: Callable[[Any], None]
    fail: Callable[[HeadraceError], None]


class Trail(Struct, eq=False):
    """What a call has been through, and what stands before it."""

    asked: list[str]
    """Groups, in order; of a pattern, the name that it stood for."""
    given: Sequence[str]
    """Groups that the caller wants asked before the configured ones."""
    ends_at: float
    """Clock seconds."""
    number: int
    """By which its events name the call."""
    called: str = ""
    """What its caller named."""
    bound: bool = False
    """Whether only one deployment can answer."""
    before: Failed | None = None
    """The first attempt, where it was made already."""
    ahead: list[str] = []
    """Groups that stood behind an earlier one and may still be asked, the next one first."""
    spent: dict[str, HeadraceError] = {}
    """Providers without room under a budget of theirs, and what that was."""
    refused: set[str] = set()
    """Groups that it may not fall back to."""
    failed: list[tuple[str, str | None]] = []
    """Kind and model of each attempt that failed."""
    error: HeadraceError | None = None
    """The last failure, for as long as it may have to be raised: what keeps an error keeps all frames that it came through."""
    only: frozenset[str] | None = None
    """Deployments that can go on from a begun answer, once there is one."""
    continued: int | None = None
    """Characters of the answer that another deployment had given."""
    breaks: int = 0
    """How often its stream broke off and was continued."""
    retries: int = 0
    """Attempts beyond the first that count against the budget."""
    waited: float = 0.0
    """Seconds in line, over all its attempts."""

    def note(self, error: HeadraceError) -> None:
        self.failed.append((error.failure.kind.value, error.model))
        self.error = error

    def take(self) -> HeadraceError:
        """The last failure, to be raised."""
        error, self.error = self.error, None
        assert error is not None
        return error

    def behind(self, plan: Plan, group: str, kind: Kind) -> list[str]:
        """Groups to ask after a failure of that kind in `group`, the next one first."""
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
        """On to the next group after a failure of that kind."""
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
    """The decision record: which deployment, after what wait, what bound, what failed before. `settled` follows."""
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
"""Of calls, one after the other: by which their events name them."""


def used_of(usage: Any, price: Rates | None, known: Beside | None = None) -> Used | None:
    """What the provider says was used; None when it says nothing. known: where the cost of the same is reckoned already, or will be."""
    if usage is None:
        return None
    money = 0 if price is None else (known.cost() or 0) if known is not None else price.of(bill_of(usage))
    details = usage.get("prompt_tokens_details")
    cached = (details.get("cached_tokens") if details is not None else 0) or 0
    input = usage.get("prompt_tokens") or usage.get("input_tokens") or 0
    return Used(input=input, output=usage.get("completion_tokens") or usage.get("output_tokens") or 0, cached=cached, money=money)

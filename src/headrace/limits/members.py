"""Participants: accounts, the deployments that use them, the groups these serve, and the calls that wait for a group."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from headrace.errors import HeadraceError
from headrace.limits.account import Account, Costs, Taken
from headrace.limits.ask import Ask, Candidate
from headrace.limits.learn import Learner
from headrace.limits.learn_settings import LearnSettings
from headrace.limits.limit import Charge
from headrace.limits.queue import Crowd, FairQueue, Place
from headrace.limits.tabs import Put, Slate
from headrace.ports import Waiter

NO_CALL: Final = Charge()


class Ledger:
    """An account, its learner, and the groups that wait for its room."""

    __slots__ = ("account", "groups", "learner")

    def __init__(self, account: Account, settings: LearnSettings, kin: list[Learner] | None = None) -> None:
        """kin: see `Learner`."""
        self.account = account
        self.learner = Learner(account, settings, kin)
        self.groups: dict[str, Group] = {}


class Member:
    """One deployment as the scheduler sees it."""

    __slots__ = ("account", "groups", "id", "ledger", "passed", "paused_until")

    def __init__(self, id: str, ledger: Ledger, groups: Sequence[str]) -> None:
        self.id = id
        self.ledger = ledger
        self.account = ledger.account
        self.groups = tuple(groups)
        self.paused_until = -math.inf
        self.passed = Candidate(id, 0.0, None)
        """Its entry in decision records when it had room and another was better."""

    def open_at(self, now: float, urgent: bool = False) -> float:
        at = self.account.open_at(now, urgent)
        return at if at > self.paused_until else self.paused_until


class Reservation(Struct, eq=False, gc=False):
    """Room held for one call until it is settled."""

    id: int
    deployment: str
    charge: Charge
    waited: float
    """Seconds."""
    binding: str | None
    """The limit that it waited for."""
    decided: tuple[Candidate, ...]
    """The other deployments, and why they were not chosen."""
    ledger: Ledger
    taken: Taken
    scopes: tuple[tuple[Account, Taken], ...] = ()
    open: bool = True
    put: Put | None = None
    """Set instead of `taken` and `scopes` while the call is only on tabs."""
    heard: bool = True
    """Whether the limiter learns from its response's headers: of calls on one tab, only the first."""

    def itemise(self) -> None:
        """Turn what it has on closed tabs into ordinary holds."""
        if self.put is not None:
            *scopes, (_, self.taken) = self.put.taken()
            self.scopes, self.put = tuple(scopes), None

    def all_taken(self) -> Sequence[Taken]:
        """What it holds of its deployment's account, and of each scope's."""
        return (self.taken, *[taken for _, taken in self.scopes])

    def __repr__(self) -> str:
        return f"<Reservation {self.id} {self.deployment} waited {self.waited:.3f} s{'' if self.open else ' settled'}>"


class Waiting(Place, eq=False, kw_only=True):
    """A call in the queue, and how to wake it."""

    ask: Ask
    group: Group
    scopes: tuple[Account, ...]
    slates: dict[Account, Slate] = msgspec.field(default_factory=dict)
    """Open slates by a deployment's account; see `Seat`."""
    allowed: frozenset[str] | None
    """Deployments it may use; None for all."""
    since: float
    until: float
    """Clock seconds by which it must have started; inf for never."""
    urgent: bool
    waiter: Waiter | None = None
    granted: Reservation | None = None
    refused: HeadraceError | None = None
    binding: str | None = None

    def may(self, member: Member) -> bool:
        return self.allowed is None or member.id in self.allowed

    def costs_at(self, member: Member) -> Costs:
        ask = self.ask
        return member.account.costs(ask.charge if ask.charges is None else ask.charge_at(member.id))

    def wake(self) -> None:
        if self.waiter is not None:
            self.waiter.wake()


class Group:
    """The deployments of one model name, and the queue before them.

    One of the waiters is the keeper, which watches the time for all.
    """

    __slots__ = (
        "binding",
        "closed_until",
        "fitting",
        "keeper",
        "line",
        "looked_at",
        "members",
        "name",
        "opens_at",
        "others",
        "waiters",
        "wake_at",
    )

    def __init__(self, name: str, crowd: Crowd | None = None) -> None:
        """crowd: counts the waiting calls of all groups."""
        self.name = name
        self.members: list[Member] = []
        self.others: dict[Member, tuple[Candidate, ...]] = {}
        """Decision record entries of the other members, by the member chosen for being less full."""
        self.line: FairQueue[Waiting] = FairQueue(crowd)
        self.waiters: OrderedDict[Waiting, None] = OrderedDict()
        """The calls that really wait, newest last, since the newest will watch the time longest."""
        self.keeper: Waiting | None = None
        self.wake_at = math.inf
        """When the queue must be matched again."""
        self.opens_at = math.inf
        """When the first call becomes eligible that is blocked by its scopes or its own deployments."""
        self.looked_at = -math.inf
        self.closed_until = -math.inf
        """The moment before which no deployment admits any call that is not interactive, as far as known."""
        self.binding: str | None = None
        """The limit that the first waiting call waited for at that time."""
        self.fitting = NO_CALL
        """The largest call known to fit a deployment's limits since the queue was last matched."""

    def fits(self, charge: Charge) -> bool:
        """Whether a call takes no more of any limit than one that is known to fit."""
        known = self.fitting
        return (
            charge.stated
            and charge.input <= known.input
            and charge.max_output <= known.max_output
            and charge.money <= known.money
            and charge.requests <= known.requests
        )

    def found_fitting(self, charge: Charge) -> None:
        known = self.fitting
        if charge.stated and not charge.cached and charge.input + charge.max_output > known.input + known.max_output:
            self.fitting = charge

    def passed_for(self, taken: Member) -> tuple[Candidate, ...]:
        """Decision record entries of the other members, which had room as well."""
        others = self.others.get(taken)
        if others is None:
            others = self.others[taken] = tuple([member.passed for member in self.members if member is not taken])
        return others

    def allowed(self, ask: Ask) -> frozenset[str] | None:
        """The deployments a call may use: those of `only`, without those to avoid unless none would be left."""
        if ask.only is None and not ask.avoid:
            return None
        ids = [member.id for member in self.members if ask.only is None or member.id in ask.only]
        return frozenset([id for id in ids if id not in ask.avoid] or ids)

    def choice(self, ask: Ask) -> list[Member]:
        """The same as members."""
        allowed = self.allowed(ask)
        return self.members if allowed is None else [member for member in self.members if member.id in allowed]

    def wake_keeper(self) -> None:
        if self.keeper is not None:
            self.keeper.wake()


class Seat(Struct, frozen=True, eq=False):
    """A group and the scopes of one caller, looked up once for many calls."""

    group: Group
    scopes: tuple[Account, ...]
    slates: dict[Account, Slate] = msgspec.field(default_factory=dict)
    """By a deployment's account, the open tabs for calls that come close together."""

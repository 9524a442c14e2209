"""The configuration of a limiter: deployments and their accounts, groups, and scopes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from headrace.errors import ConfigurationError
from headrace.limits.account import Account
from headrace.limits.ask import Ask
from headrace.limits.learn import Learner
from headrace.limits.learn_settings import LearnSettings
from headrace.limits.limit import Charge, Limit
from headrace.limits.members import Group, Ledger, Member
from headrace.limits.meter import Meter
from headrace.limits.meter_settings import MeterSettings
from headrace.limits.profile import Profile
from headrace.limits.queue import Crowd
from headrace.limits.refusals import nobody

OWN: Final = Profile(accounting="settle", source="our own limits", confidence="documented")
EXACT: Final = MeterSettings(spread=0.0, short_spread=0.0, kept_for_urgent=0.0, paced=False)
"""Settings of scopes: without safety margins, because only headrace counts."""


class Place(Struct, frozen=True):
    """A deployment to add: the groups it serves, and the limits of its account."""

    deployment: str
    groups: Sequence[str]
    limits: Sequence[Limit]
    profile: Profile
    account: str | None = None
    provider: str = ""
    """Accounts of the same provider learn from each other how it enforces limits; empty if unknown."""

    def never(self, charge: Charge) -> tuple[Meter, float] | None:
        """The limit that such a call exceeds by itself, and its cost there; None if it fits."""
        account = Account(self.deployment, self.limits, self.profile, MeterSettings())
        return account.never(account.costs(charge))


class Roster:
    """All groups, members, ledgers and scopes by name. Callers hold the lock."""

    def __init__(self, meters: MeterSettings, learn: LearnSettings) -> None:
        self._meters = meters
        self._learn = learn
        self.crowd = Crowd()
        """Counts the waiting calls of all groups."""
        self.groups: dict[str, Group] = {}
        self.members: dict[str, Member] = {}
        self.ledgers: dict[str, Ledger] = {}
        self._kin: defaultdict[str, list[Learner]] = defaultdict(list)
        """Learners that share findings, by provider."""
        self.scopes: dict[str, Account] = {}

    def group(self, name: str) -> Group:
        """The group of that name. Raises BadRequestError if no deployment serves it."""
        group = self.groups.get(name)
        if group is None or not group.members:
            raise nobody(name)
        return group

    def scope(self, name: str) -> Account:
        """The account of a scope. Raises ConfigurationError for a scope that was never added."""
        account = self.scopes.get(name)
        if account is None:
            raise ConfigurationError(f"scopes: there is no {name!r}; call add_scope first")
        return account

    def scopes_of(self, ask: Ask) -> tuple[Account, ...]:
        return tuple([self.scope(name) for name in ask.scopes])

    def accounts(self) -> Iterator[Account]:
        """The accounts of deployments, then those of scopes."""
        for ledger in self.ledgers.values():
            yield ledger.account
        yield from self.scopes.values()

    def swap(self, gone: Iterable[str], come: Iterable[Place]) -> list[Group]:
        """Remove and add deployments. Returns the groups that changed."""
        changed: dict[str, None] = {}
        for deployment in gone:
            changed |= dict.fromkeys(self._withdraw(deployment))
        for place in come:
            self._settle_in(place)
            changed |= dict.fromkeys(place.groups)
        return [self.groups[name] for name in changed]

    def _withdraw(self, deployment: str) -> Sequence[str]:
        member = self.members.pop(deployment, None)
        if member is None:
            return ()
        for name in member.groups:
            self.groups[name].members.remove(member)
            self.groups[name].others.clear()
        return member.groups

    def _settle_in(self, place: Place) -> None:
        if place.deployment in self.members:
            raise ConfigurationError(f"deployment {place.deployment!r} exists already: remove it first")
        ledger = self._ledger(place)
        member = self.members[place.deployment] = Member(place.deployment, ledger, tuple(place.groups))
        for name in place.groups:
            found = self.groups.setdefault(name, Group(name, self.crowd))
            found.members.append(member)
            found.others.clear()
            ledger.groups[name] = found

    def _ledger(self, place: Place) -> Ledger:
        name, limits, profile = place.account or place.deployment, place.limits, place.profile
        ledger = self.ledgers.get(name)
        if ledger is None:
            account = Account(name, limits, profile, self._meters)
            ledger = self.ledgers[name] = Ledger(account, self._learn, self._kin[place.provider] if place.provider else None)
        elif any(member.ledger is ledger for member in self.members.values()):
            ledger.account.join(limits)
        else:
            ledger.account.configure(limits, profile)  # unused for a while, but its accounting is still valid
        return ledger

    def add_scope(self, name: str, limits: Sequence[Limit]) -> bool:
        """Add a scope or replace its limits. Returns whether it existed."""
        known = self.scopes.get(name)
        if known is None:
            self.scopes[name] = Account(name, limits, OWN, EXACT)
        else:
            known.configure(limits, OWN)
        return known is not None

    def snapshot(self, now: float) -> dict[str, Any]:
        """The usage of limits by deployment and scope, and the queue of each group, as plain values."""
        deployments = {
            member.id: {"held": max(0.0, max(member.account.held_until, member.paused_until) - now), **_use(member.account, now)}
            for member in self.members.values()
        }
        return {
            "deployments": deployments,
            "scopes": {name: _use(account, now) for name, account in self.scopes.items()},
            "queues": {name: len(group.line) for name, group in self.groups.items()},
        }


def _use(account: Account, now: float) -> dict[str, Any]:
    return {"in_flight": account.in_flight, "limits": {meter.limit.label: _gauge(meter, now) for meter in account.meters}}


def _gauge(meter: Meter, now: float) -> dict[str, float]:
    share = meter.share(now)
    return {"limit": meter.room, "used": share * meter.room, "share": share}

"""Matches waiting calls with deployments that have room: pure functions without lock, waiting or clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from headrace.limits.account import Account, Costs
from headrace.limits.ask import URGENT, Ask, Candidate
from headrace.limits.limit import Charge, Unit
from headrace.limits.members import Group, Member, Waiting
from headrace.limits.meter import Meter
from headrace.limits.queue import FairQueue, P

NEGLIGIBLE: Final = 1e-6
"""A price this low counts as zero: what one call in a thousand costs of a half-used limit."""
ALIKE: Final = 0.01
"""Relative difference up to which prices count as equal, so that preferences decide."""


# ---- when

Scopes: TypeAlias = Sequence[Account]


def earliest(member: Member, costs: Costs, ask: Ask, scopes: Scopes, now: float) -> tuple[float, Meter | None]:
    """The moment at which a call fits into all limits that apply, and the limit that determines it."""
    urgent = ask.priority <= URGENT
    at, binding = member.account.when(costs, now, urgent)
    if member.paused_until > at:
        at, binding = member.paused_until, None
    for scope in scopes:
        opens, meter = scope.when(scope.costs(ask.charge_at(member.id)), now, urgent)
        if opens > at:
            at, binding = opens, meter
    return at, binding


def soonest(group: Group, waiting: Waiting, now: float) -> tuple[float, Meter | None, Member | None]:
    """The earliest moment at which a call fits, with limit and deployment; inf if it depends on the end of a running call."""
    best: tuple[float, Meter | None, Member | None] = (math.inf, None, None)
    for member in group.members:
        if waiting.may(member):
            at, binding = earliest(member, waiting.costs_at(member), waiting.ask, waiting.scopes, now)
            if at < best[0] or best[2] is None:
                best = (at, binding, member)
    return best


def shut_until(group: Group, waiting: Waiting, now: float) -> float:
    """The moment before which the call's scopes or its own deployments block it, whatever room other deployments have."""
    at, urgent = now, waiting.urgent
    if waiting.allowed is not None:
        at = min((member.open_at(now, urgent) for member in group.members if waiting.may(member)), default=math.inf)
    if waiting.scopes:
        charges = waiting.ask.charges
        offered = (waiting.ask.charge,) if charges is None else [waiting.ask.charge_at(member.id) for member in group.members]
        at = max(at, min(max(scope.when(scope.costs(charge), now, urgent)[0] for scope in waiting.scopes) for charge in offered))
    return at


def label(meter: Meter | None) -> str | None:
    """The user's name for a limit."""
    return None if meter is None else meter.limit.label


def fits(member: Member, waiting: Waiting, costs: Costs, now: float) -> bool:
    """Whether a call with these costs can go to the deployment now."""
    if member.paused_until > now or not member.account.has_room(costs, now, waiting.urgent):
        return False
    return not waiting.scopes or within(waiting.scopes, waiting.ask.charge_at(member.id), now, waiting.urgent) is not None


def within(scopes: Scopes, charge: Charge, now: float, urgent: bool) -> Sequence[Costs] | None:
    """What a call takes of each scope; None if it does not fit all of them now."""
    found = []
    for scope in scopes:
        costs = scope.costs(charge)
        if not scope.has_room(costs, now, urgent):
            return None
        found.append(costs)
    return found


def passed_over(member: Member, waiting: Waiting, now: float) -> Candidate:
    """The decision record entry of a deployment that was not chosen."""
    if not waiting.may(member):
        return Candidate(member.id, math.inf, None)
    costs = waiting.costs_at(member)
    return member.passed if fits(member, waiting, costs, now) else shut_out(member, costs, waiting.ask, waiting.scopes, now)


def shut_out(member: Member, costs: Costs, ask: Ask, scopes: Scopes, now: float) -> Candidate:
    """The decision record entry of a deployment without room."""
    at, binding = earliest(member, costs, ask, scopes, now)
    return Candidate(member.id, at - now, label(binding))


# ---- prices


class Rooms:
    """The state of a group's deployments at one moment, cached and updated after each admission."""

    __slots__ = ("_said", "_shut", "_urgent", "group", "now", "open")

    def __init__(self, group: Group, now: float) -> None:
        self.group = group
        self.now = now
        self.open: list[Member] = []
        """Deployments that admit some call, as far as known."""
        self._shut: dict[Member, Candidate] = {}
        """Entries of deployments that admit no call: the same for all calls admitted at this moment."""
        self._said: dict[Member, tuple[Candidate, ...]] = {}
        """Entries of the others by chosen deployment, for calls that may use any, valid while the same deployments are
        open."""
        self._urgent: bool | None = None

    def look(self, urgent: bool) -> bool:
        """Whether any deployment is open to a call of that urgency."""
        if urgent is not self._urgent:
            self._urgent = urgent
            self.open = [member for member in self.group.members if member.open_at(self.now, urgent) <= self.now]
            self._said.clear()
        return bool(self.open)

    def failed(self, account: Account) -> None:
        """A call had no room at this account: check whether any call has."""
        if account.open_at(self.now, bool(self._urgent)) > self.now:
            self.open = [member for member in self.open if member.account is not account]
            self._said.clear()

    def passed(self, taken: Member, waiting: Waiting, tried: Sequence[Member]) -> tuple[Candidate, ...]:
        """Decision record entries of the others when a call goes to `taken`. tried: those that had no room for it."""
        alike = not tried and waiting.allowed is None
        said = self._said.get(taken) if alike else None
        if said is None:
            said = tuple([self._said_of(member, waiting, tried) for member in self.group.members if member is not taken])
            if alike:
                self._said[taken] = said
        return said

    def _said_of(self, member: Member, waiting: Waiting, tried: Sequence[Member]) -> Candidate:
        if member in tried or not waiting.may(member):
            return passed_over(member, waiting, self.now)
        if member in self.open:
            return member.passed
        shut = self._shut.get(member)
        if shut is None:
            shut = self._shut[member] = passed_over(member, waiting, self.now)
        return shut


# ---- matching


class Match(Struct):
    """A call and the deployment it goes to."""

    position: int
    member: Member
    costs: Costs
    """What the call takes there."""
    regret: float = 0.0
    tried: Sequence[Member] = ()
    """Better deployments that had no room for it."""


def pick(ahead: Sequence[Waiting], rooms: Rooms, *, behind: float, most_bypassed: int) -> Match | None:
    """The pair with the least loss: large calls go where tokens are plentiful, small ones where requests are.

    A pair's loss is the deployment's price above the cheapest for that call, plus `behind` for each call it passes. If
    the first call was passed too often, the deployment that opens to it first is reserved for it.
    """
    kept = _kept(ahead[0], rooms.group, rooms.now) if ahead[0].bypassed >= most_bypassed else None
    if len(rooms.group.members) == 1:
        return _first_for(rooms.group.members[0], ahead if kept is None else ahead[:1], rooms)
    best: Match | None = None
    most = math.inf
    for position, waiting in enumerate(ahead):
        passing = behind * position
        if passing >= most or not rooms.open:
            break
        found = _first_that_fits(position, waiting, rooms, kept if position else None, passing, most)
        if found is not None:
            best, most = found, found.regret
    return best


def _first_for(member: Member, ahead: Sequence[Waiting], rooms: Rooms) -> Match | None:
    """The first call with room in the only deployment, where the only loss is the calls it passes."""
    for position, waiting in enumerate(ahead):
        if waiting.allowed is None or member.id in waiting.allowed:
            costs = waiting.costs_at(member)
            if fits(member, waiting, costs, rooms.now):
                return Match(position, member, costs)
            rooms.failed(member.account)
            if not rooms.open:
                break
    return None


def _first_that_fits(position: int, waiting: Waiting, rooms: Rooms, kept: Member | None, passing: float, most: float) -> Match | None:
    """The best deployment with room for the call, except the reserved one; None if the loss would be `most` or more."""
    offers, least = _offers(waiting, rooms, kept)
    tried: list[Member] = []
    while offers:
        lowest, member = offers[0] if len(offers) == 1 else cheapest(offers, waiting.ask)
        regret = (lowest - least) / (least + NEGLIGIBLE) + passing
        if regret >= most:
            break
        costs = waiting.costs_at(member)
        if fits(member, waiting, costs, rooms.now):
            return Match(position, member, costs, regret, tried)
        tried.append(member)
        rooms.failed(member.account)
        offers = [offer for offer in offers if offer[1] is not member]
    return None


Offer: TypeAlias = tuple[float, Member]
"""A call's shadow price, and the deployment."""


def _offers(waiting: Waiting, rooms: Rooms, kept: Member | None) -> tuple[list[Offer], float]:
    """The open deployments that a call may use except the reserved one, and the lowest price of all, open or not."""
    allowed, ask, now, open = waiting.allowed, waiting.ask, rooms.now, rooms.open
    charge, least = ask.charge, math.inf
    offers: list[Offer] = []
    for member in rooms.group.members:
        if allowed is None or member.id in allowed:
            if ask.charges is not None:
                charge = ask.charge_at(member.id)
            price = member.account.price(charge, now)
            if price < least:
                least = price
            if member in open and member is not kept:
                offers.append((price, member))
    return offers, least


def cheapest(offers: Sequence[Offer], ask: Ask) -> Offer:
    """The lowest price, and among those of equal price the preferred deployment, else the one with most room left."""
    lowest = min([price for price, _ in offers])
    alike, best, first = lowest * (1 + ALIKE) + NEGLIGIBLE, offers[0][1], math.inf
    for price, member in offers:
        if price <= alike:
            rank = member.account.rank(ask.charge) if ask.prefer is None else ask.prefer(member.id)
            if rank < first:
                first, best = rank, member
    return lowest, best


def _kept(first: Waiting, group: Group, now: float) -> Member | None:
    """The deployment reserved for a call that was passed too often.

    Only for a short time: a day's limit would stand idle with room for others.
    """
    at, _, member = soonest(group, first, now)
    return member if at - now <= KEPT_FOR else None


# ---- time


KEPT_FOR: Final = 90.0
"""Seconds for which a deployment may be reserved for one call: every window of a minute has passed by then."""
LOOK_AGAIN: Final = 0.05
"""Seconds until the queue is matched again when all of it seems to fit and still waits. Only saves work."""


def next_opening(ahead: Sequence[Waiting], group: Group, now: float) -> float:
    """The next moment at which one of these calls may fit somewhere.

    A deployment that admits no call is checked once, not for each of them, and calls with equal costs once. Those that
    fit already and were not served are skipped: they wait for the first call's deployment, or were passed too often,
    and matching again at once would not change that.
    """
    openings = []
    for member in group.members:
        opens = member.open_at(now, ahead[0].urgent)
        if opens > now:
            openings.append(opens)
            continue
        asked: set[object] = set()
        for each in ahead:
            if each.may(member):
                costs = each.costs_at(member)
                alike: object = each if each.scopes else (costs[1], each.ask.priority)
                if alike not in asked:
                    asked.add(alike)
                    openings.append(earliest(member, costs, each.ask, each.scopes, now)[0])
    return min((at for at in openings if at > now), default=now + LOOK_AGAIN)


def flow(group: Group, allowed: frozenset[str] | None) -> tuple[float, float]:
    """Requests and tokens per second that the deployments' limits allow together; inf if unlimited."""
    requests = tokens = 0.0
    for member in group.members:
        if allowed is None or member.id in allowed:
            rates = [(meter.limit.unit, meter.room / meter.limit.window) for meter in member.account.meters if meter.limit.window]
            requests += min([rate for unit, rate in rates if unit is Unit.REQUESTS], default=math.inf)
            tokens += min([rate for unit, rate in rates if unit is Unit.TOKENS], default=math.inf)
    return requests, tokens


def queueing(line: FairQueue[P], group: Group, ask: Ask, allowed: frozenset[str] | None, call_cost: float) -> float:
    """Expected seconds to serve the calls ahead of one that joins now."""
    calls, cost = line.ahead_of(ask.tenant, ask.weight, int(ask.priority), ask.charge.input + call_cost)
    requests, tokens = flow(group, allowed)
    return max(calls / max(requests, 1e-9), max(0.0, cost - calls * call_cost) / max(tokens, 1e-9))
